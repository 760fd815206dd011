-- What the black box had of a device when an alarm of it was raised; the oldest go when there are too many.
CREATE TABLE frozen_frames (
    id         INTEGER NOT NULL PRIMARY KEY,
    device_id  TEXT    NOT NULL,
    alarm      TEXT    NOT NULL,                    -- names the alarm in links: 16 hexadecimal digits
    alarm_name TEXT    NOT NULL,
    raised_at  INTEGER NOT NULL,                    -- ms since the epoch, UTC
    frames     INTEGER NOT NULL,                    -- how many
    content    BLOB    NOT NULL                     -- their owner's own form
) STRICT;
CREATE INDEX frozen_frames_by_device ON frozen_frames (device_id, raised_at);
CREATE INDEX frozen_frames_by_alarm ON frozen_frames (alarm, raised_at);
