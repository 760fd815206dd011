-- Known devices: who may connect, and what each may publish and subscribe to.
CREATE TABLE devices (
    id          TEXT    NOT NULL PRIMARY KEY,
    device_type TEXT    NOT NULL,
    token_hash  TEXT    NOT NULL,                   -- SHA-256 of the token, hex
    publish     TEXT    NOT NULL,                   -- JSON array of subject patterns
    subscribe   TEXT    NOT NULL,                   -- JSON array of subject patterns
    enabled     INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),
    created_at  INTEGER NOT NULL                    -- ms since the epoch, UTC
) STRICT, WITHOUT ROWID;
