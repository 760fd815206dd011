-- What was last told, per aggregation group and receiver, so that a restart does not tell it again.
CREATE TABLE notifications (
    group_key    TEXT    NOT NULL,
    receiver     TEXT    NOT NULL,
    group_labels TEXT    NOT NULL,                  -- JSON object
    firing       TEXT    NOT NULL,                  -- JSON array of alert fingerprints (unsigned 64-bit)
    resolved     TEXT    NOT NULL,                  -- the same
    sent_at      INTEGER NOT NULL,                  -- ms since the epoch, UTC
    PRIMARY KEY (group_key, receiver)
) STRICT, WITHOUT ROWID;

CREATE INDEX notifications_by_time ON notifications (sent_at);
