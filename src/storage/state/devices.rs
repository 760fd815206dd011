//! Known devices: who may connect, and what each may publish and subscribe to.
//!
//! When a device was last seen changes all the time and is not kept here but in `storage/last`.

use rusqlite::{OptionalExtension, Row, params};

use super::{Error, Result, State};
use crate::model::Timestamp;

/// How many devices a box may know: ten times the largest line we heard of.
pub(super) const DEVICES_MAX: u64 = 20_000;

const COLUMNS: &str = "id, device_type, token_hash, publish, subscribe, enabled, created_at";

/// A device as it is to be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDevice {
    /// Its name; unique.
    pub id: String,
    /// What it is (`sensor`, `actuator`, ...); may be empty.
    pub device_type: String,
    /// SHA-256 of its token, as hex.
    pub token_hash: String,
    /// Subject patterns it may publish to.
    pub publish: Vec<String>,
    /// Subject patterns it may subscribe to.
    pub subscribe: Vec<String>,
}

/// A known device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its name; unique.
    pub id: String,
    /// What it is (`sensor`, `actuator`, ...); may be empty.
    pub device_type: String,
    /// SHA-256 of its token, as hex.
    pub token_hash: String,
    /// Subject patterns it may publish to.
    pub publish: Vec<String>,
    /// Subject patterns it may subscribe to.
    pub subscribe: Vec<String>,
    /// Whether it may connect.
    pub is_enabled: bool,
    /// When it was added.
    pub created_at: Timestamp,
}

/// The registry of devices.
#[derive(Debug)]
pub struct Devices<'a>(pub(super) &'a State);

impl Devices<'_> {
    /// Adds a device, enabled. `false` if there is one with this name already; nothing changes then.
    ///
    /// # Errors
    /// [`Error::Limit`] if there are as many as there may be; see [`Error`].
    pub fn add(&self, device: &NewDevice) -> Result<bool> {
        let now = self.0.now_ms();
        let (publish, subscribe) = (to_json(&device.publish), to_json(&device.subscribe));
        if self.count()? >= DEVICES_MAX {
            return Err(Error::Limit { what: "devices", max: DEVICES_MAX });
        }
        let added = self.0.with(|c| {
            c.execute(
                "INSERT INTO devices (id, device_type, token_hash, publish, subscribe, created_at) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (id) DO NOTHING",
                params![device.id, device.device_type, device.token_hash, publish, subscribe, now],
            )
        })?;
        Ok(added == 1)
    }

    /// Returns a device by name.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn get(&self, id: &str) -> Result<Option<Device>> {
        let sql = format!("SELECT {COLUMNS} FROM devices WHERE id = ?1");
        let found = self.0.with(|c| c.prepare_cached(&sql)?.query_row([id], Stored::read).optional())?;
        found.map(Stored::decode).transpose()
    }

    /// Returns all devices by name.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn list(&self) -> Result<Vec<Device>> {
        let sql = format!("SELECT {COLUMNS} FROM devices ORDER BY id");
        let found = self
            .0
            .with(|c| c.prepare_cached(&sql)?.query_map([], Stored::read)?.collect::<rusqlite::Result<Vec<_>>>())?;
        found.into_iter().map(Stored::decode).collect()
    }

    /// Returns how many devices are known.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn count(&self) -> Result<u64> {
        let count = self.0.with(|c| c.query_row("SELECT count(*) FROM devices", [], |row| row.get::<_, i64>(0)))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// Removes a device. `false` if it is not known.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn remove(&self, id: &str) -> Result<bool> {
        self.change("DELETE FROM devices WHERE id = ?1", &[&id])
    }

    /// Replaces the token of a device; the old one is void from now on. `false` if it is not known.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn replace_token(&self, id: &str, token_hash: &str) -> Result<bool> {
        self.change("UPDATE devices SET token_hash = ?2 WHERE id = ?1", &[&id, &token_hash])
    }

    /// Replaces what a device may publish and subscribe to. `false` if it is not known.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn replace_permissions(&self, id: &str, publish: &[String], subscribe: &[String]) -> Result<bool> {
        self.change(
            "UPDATE devices SET publish = ?2, subscribe = ?3 WHERE id = ?1",
            &[&id, &to_json(publish), &to_json(subscribe)],
        )
    }

    /// Lets a device connect again. `false` if it is not known.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn enable(&self, id: &str) -> Result<bool> {
        self.change("UPDATE devices SET enabled = 1 WHERE id = ?1", &[&id])
    }

    /// Keeps a device from connecting, without forgetting it. `false` if it is not known.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn disable(&self, id: &str) -> Result<bool> {
        self.change("UPDATE devices SET enabled = 0 WHERE id = ?1", &[&id])
    }

    fn change(&self, sql: &str, values: &[&dyn rusqlite::ToSql]) -> Result<bool> {
        self.0.with(|c| c.execute(sql, values)).map(|rows| rows == 1)
    }
}

/// A row before its JSON columns are read.
struct Stored {
    device: Device,
    publish: String,
    subscribe: String,
}

impl Stored {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let device = Device {
            id: row.get("id")?,
            device_type: row.get("device_type")?,
            token_hash: row.get("token_hash")?,
            publish: Vec::new(),
            subscribe: Vec::new(),
            is_enabled: row.get("enabled")?,
            created_at: Timestamp::from_millis(row.get("created_at")?),
        };
        Ok(Stored { device, publish: row.get("publish")?, subscribe: row.get("subscribe")? })
    }

    fn decode(self) -> Result<Device> {
        let read = |text: &str| {
            serde_json::from_str(text).map_err(|e| Error::Row {
                table: "devices",
                key: self.device.id.clone(),
                reason: e.to_string(),
            })
        };
        let (publish, subscribe) = (read(&self.publish)?, read(&self.subscribe)?);
        Ok(Device { publish, subscribe, ..self.device })
    }
}

fn to_json(patterns: &[String]) -> String {
    serde_json::json!(patterns).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn press() -> NewDevice {
        NewDevice {
            id: "press-1".to_owned(),
            device_type: "sensor".to_owned(),
            token_hash: "ab".repeat(32),
            publish: vec!["devices.press-1.>".to_owned(), "telemetry.\"odd\".*".to_owned()],
            subscribe: Vec::new(),
        }
    }

    #[test]
    fn a_device_comes_back_as_it_was_added() {
        let state = State::in_memory_at(Clock::hand_set(Timestamp::from_millis(7)));
        assert!(state.devices().add(&press()).unwrap());
        let device = state.devices().get("press-1").unwrap().unwrap();
        assert_eq!((device.publish, device.subscribe), (press().publish, Vec::new()));
        assert_eq!((device.is_enabled, device.created_at.as_millis()), (true, 7));
        assert_eq!(state.devices().get("press-2").unwrap(), None);
    }

    #[test]
    fn a_name_is_taken_once() {
        let state = State::in_memory();
        assert!(state.devices().add(&press()).unwrap());
        let other = NewDevice { token_hash: "cd".repeat(32), ..press() };
        assert!(!state.devices().add(&other).unwrap());
        assert_eq!(state.devices().get("press-1").unwrap().unwrap().token_hash, "ab".repeat(32));
        assert_eq!(state.devices().count().unwrap(), 1);
    }

    #[test]
    fn changes_reach_one_device_and_say_whether_it_is_known() {
        let state = State::in_memory();
        let devices = state.devices();
        for id in ["a", "b"] {
            devices.add(&NewDevice { id: id.to_owned(), ..press() }).unwrap();
        }
        assert!(devices.replace_token("a", "ee").unwrap());
        assert!(devices.disable("a").unwrap());
        assert!(devices.replace_permissions("a", &[], &["x.>".to_owned()]).unwrap());
        assert!(!devices.disable("c").unwrap());
        let list = devices.list().unwrap();
        assert_eq!((list[0].token_hash.as_str(), list[0].is_enabled, list[0].subscribe.len()), ("ee", false, 1));
        assert_eq!((list[1].is_enabled, list[1].publish.len()), (true, 2));
        assert!(devices.enable("a").unwrap());
        assert!(devices.remove("b").unwrap());
        assert!(!devices.remove("b").unwrap());
        assert_eq!(devices.list().unwrap().len(), 1);
    }

    #[test]
    fn a_row_that_cannot_be_read_is_named() {
        let state = State::in_memory();
        state.devices().add(&press()).unwrap();
        state.with(|c| c.execute("UPDATE devices SET publish = '[1'", [])).unwrap();
        let error = state.devices().get("press-1").unwrap_err().to_string();
        assert!(error.starts_with("devices \"press-1\" cannot be read"), "{error}");
    }
}
