-- Certificates by which a device shows who it is: by what each is known, one device only.
CREATE TABLE device_certificates (
    mark       TEXT    NOT NULL PRIMARY KEY,        -- 'sha256:' and 64 hexadecimal digits, or a name in small letters
    device_id  TEXT    NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL                     -- ms since the epoch, UTC
) STRICT, WITHOUT ROWID;
CREATE INDEX device_certificates_by_device ON device_certificates (device_id);
