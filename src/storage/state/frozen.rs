//! Copies of a device's last frames that an alarm had made: few, and the oldest go.

use rusqlite::{OptionalExtension, Row, params};

use super::{Result, State};
use crate::model::Timestamp;

const COLUMNS: &str = "id, device_id, alarm, alarm_name, raised_at, frames";

/// What a copy is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrozenFrames {
    /// Its number; 0 before it is stored.
    pub id: i64,
    /// Whose frames.
    pub device_id: String,
    /// Names the alarm.
    pub alarm: String,
    /// The alarm's name.
    pub alarm_name: String,
    /// When the alarm was raised.
    pub raised_at: Timestamp,
    /// How many frames.
    pub frames: u32,
}

/// The copies.
#[derive(Debug)]
pub struct Frozen<'a>(pub(super) &'a State);

impl Frozen<'_> {
    /// Stores a copy; the oldest of the same alarm and of all go until there are so many.
    ///
    /// # Errors
    /// See [`super::Error`].
    pub fn add(&self, copy: &FrozenFrames, content: &[u8], of_alarm_max: u32, all_max: u32) -> Result<()> {
        self.0.with(|c| {
            let transaction = c.transaction()?;
            let at = copy.raised_at.as_millis();
            transaction.execute(
                "INSERT INTO frozen_frames (device_id, alarm, alarm_name, raised_at, frames, content) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![copy.device_id, copy.alarm, copy.alarm_name, at, copy.frames, content],
            )?;
            transaction.execute(
                "DELETE FROM frozen_frames WHERE alarm = ?1 AND id NOT IN \
                 (SELECT id FROM frozen_frames WHERE alarm = ?1 ORDER BY id DESC LIMIT ?2)",
                params![copy.alarm, of_alarm_max],
            )?;
            transaction.execute(
                "DELETE FROM frozen_frames WHERE id NOT IN (SELECT id FROM frozen_frames ORDER BY id DESC LIMIT ?1)",
                params![all_max],
            )?;
            transaction.commit()
        })
    }

    /// Returns the copies of a device, the newest first.
    ///
    /// # Errors
    /// See [`super::Error`].
    pub fn of_device(&self, device_id: &str) -> Result<Vec<FrozenFrames>> {
        self.list("device_id", device_id)
    }

    /// Returns the copies of an alarm, the newest first.
    ///
    /// # Errors
    /// See [`super::Error`].
    pub fn of_alarm(&self, alarm: &str) -> Result<Vec<FrozenFrames>> {
        self.list("alarm", alarm)
    }

    fn list(&self, column: &str, value: &str) -> Result<Vec<FrozenFrames>> {
        let sql = format!("SELECT {COLUMNS} FROM frozen_frames WHERE {column} = ?1 ORDER BY id DESC");
        self.0.with(|c| c.prepare_cached(&sql)?.query_map([value], read)?.collect())
    }

    /// Returns a copy with its content.
    ///
    /// # Errors
    /// See [`super::Error`].
    pub fn get(&self, id: i64) -> Result<Option<(FrozenFrames, Vec<u8>)>> {
        let sql = format!("SELECT {COLUMNS}, content FROM frozen_frames WHERE id = ?1");
        self.0.with(|c| c.prepare_cached(&sql)?.query_row([id], |row| Ok((read(row)?, row.get("content")?))).optional())
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<FrozenFrames> {
    Ok(FrozenFrames {
        id: row.get("id")?,
        device_id: row.get("device_id")?,
        alarm: row.get("alarm")?,
        alarm_name: row.get("alarm_name")?,
        raised_at: Timestamp::from_millis(row.get("raised_at")?),
        frames: row.get("frames")?,
    })
}
