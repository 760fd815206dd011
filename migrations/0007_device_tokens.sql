-- Tokens apart from devices, so that an old and a new one hold side by side while a device is given the new one.
CREATE TABLE device_tokens (
    hash       TEXT    NOT NULL PRIMARY KEY,        -- SHA-256 of the token, hex
    device_id  TEXT    NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,                    -- ms since the epoch, UTC
    expires_at INTEGER                              -- the same; nothing: never
) STRICT, WITHOUT ROWID;
CREATE INDEX device_tokens_by_device ON device_tokens (device_id);
INSERT OR IGNORE INTO device_tokens (hash, device_id, created_at) SELECT token_hash, id, created_at FROM devices;
ALTER TABLE devices DROP COLUMN token_hash;
-- A role of the settings, whose lists the device has beside its own; empty: none.
ALTER TABLE devices ADD COLUMN role TEXT NOT NULL DEFAULT '';
-- What {group} stands for in patterns; empty: no group.
ALTER TABLE devices ADD COLUMN device_group TEXT NOT NULL DEFAULT '';
