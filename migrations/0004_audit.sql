-- Who changed what. Rows are only ever added, and pruned from the old end.
CREATE TABLE audit (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    at      INTEGER NOT NULL,                       -- ms since the epoch, UTC
    actor   TEXT    NOT NULL,
    origin  TEXT    NOT NULL,                       -- address or "cli"
    action  TEXT    NOT NULL,                       -- "device.add"
    object  TEXT    NOT NULL,                       -- "device/press-1"
    detail  TEXT    NOT NULL                        -- JSON object; no secrets
) STRICT;
