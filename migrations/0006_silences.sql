-- For a while nobody is told of the alarms that match.
CREATE TABLE silences (
    id         TEXT    NOT NULL PRIMARY KEY,        -- UUID
    matchers   TEXT    NOT NULL,                    -- JSON array of [name, operator, value]
    starts_at  INTEGER NOT NULL,                    -- ms since the epoch, UTC
    ends_at    INTEGER NOT NULL,                    -- the same
    updated_at INTEGER NOT NULL,                    -- the same
    created_by TEXT    NOT NULL,
    comment    TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
