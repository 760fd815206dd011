-- How far readers have come: one row per destination of forwarding and per other reader.
CREATE TABLE cursors (
    reader   TEXT    NOT NULL PRIMARY KEY,
    position INTEGER NOT NULL,                      -- the reader defines its meaning
    saved_at INTEGER NOT NULL                       -- ms since the epoch, UTC
) STRICT, WITHOUT ROWID;
