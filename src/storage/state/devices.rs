//! Known devices: who may connect, with which tokens, and what each may publish and subscribe to.
//!
//! When a device was last seen changes all the time and is not kept here but in `storage/last`.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Error, Result, State};
use crate::model::Timestamp;

/// How many devices a box may know: ten times the largest line we heard of.
pub(super) const DEVICES_MAX: u64 = 20_000;

/// Tokens of one device that are kept; the oldest go.
const TOKENS_MAX: i64 = 4;

const COLUMNS: &str = "id, device_type, role, device_group, publish, subscribe, enabled, created_at";

/// A device as it is to be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDevice {
    /// Its name; unique.
    pub id: String,
    /// What it is (`sensor`, `actuator`, ...); may be empty.
    pub device_type: String,
    /// A role of the settings; may be empty.
    pub role: String,
    /// What it belongs to; may be empty.
    pub group: String,
    /// SHA-256 of its token, as hex; nothing for a device without one.
    pub token_hash: Option<String>,
    /// Until when the token holds; nothing: for ever.
    pub token_expires_at: Option<Timestamp>,
    /// Subject patterns it may publish to.
    pub publish: Vec<String>,
    /// Subject patterns it may subscribe to.
    pub subscribe: Vec<String>,
    /// Whether it may connect.
    pub is_enabled: bool,
}

/// A known device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its name; unique.
    pub id: String,
    /// What it is (`sensor`, `actuator`, ...); may be empty.
    pub device_type: String,
    /// A role of the settings; may be empty.
    pub role: String,
    /// What it belongs to; may be empty.
    pub group: String,
    /// Its tokens, oldest first; none for a device that shows something else.
    pub tokens: Vec<Token>,
    /// Certificates by which it shows who it is, oldest first.
    pub certificates: Vec<DeviceCertificate>,
    /// Subject patterns it may publish to.
    pub publish: Vec<String>,
    /// Subject patterns it may subscribe to.
    pub subscribe: Vec<String>,
    /// Whether it may connect.
    pub is_enabled: bool,
    /// When it was added.
    pub created_at: Timestamp,
}

/// A token as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// SHA-256 of the token, as hex.
    pub hash: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when it holds; nothing: for ever.
    pub expires_at: Option<Timestamp>,
}

/// By what a certificate of a device is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceCertificate {
    /// `sha256:` and the fingerprint, or a name in small letters.
    pub mark: String,
    /// When it was entered.
    pub created_at: Timestamp,
}

/// What is to be changed of a device; nothing leaves it as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// What it is.
    pub device_type: Option<String>,
    /// A role of the settings; empty for none.
    pub role: Option<String>,
    /// What it belongs to; empty for nothing.
    pub group: Option<String>,
    /// Subject patterns it may publish to.
    pub publish: Option<Vec<String>>,
    /// Subject patterns it may subscribe to.
    pub subscribe: Option<Vec<String>>,
    /// Whether it may connect.
    pub is_enabled: Option<bool>,
}

/// The registry of devices.
#[derive(Debug)]
pub struct Devices<'a>(pub(super) &'a State);

impl Devices<'_> {
    /// Adds a device. `false` if there is one with this name already, or with this token; nothing changes then.
    ///
    /// # Errors
    /// [`Error::Limit`] if there are as many as there may be; see [`Error`].
    pub fn add(&self, device: &NewDevice) -> Result<bool> {
        let now = self.0.now_ms();
        let (publish, subscribe) = (to_json(&device.publish), to_json(&device.subscribe));
        if self.count()? >= DEVICES_MAX {
            return Err(Error::Limit { what: "devices", max: DEVICES_MAX });
        }
        self.0.with(|c| {
            let transaction = c.transaction()?;
            let mut added = transaction.execute(
                "INSERT INTO devices (id, device_type, role, device_group, publish, subscribe, enabled, created_at) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (id) DO NOTHING",
                params![
                    device.id,
                    device.device_type,
                    device.role,
                    device.group,
                    publish,
                    subscribe,
                    device.is_enabled,
                    now
                ],
            )?;
            if let (1, Some(hash)) = (added, &device.token_hash) {
                added = add_token(&transaction, &device.id, hash, now, device.token_expires_at)?;
            }
            if added == 1 {
                transaction.commit()?;
            }
            Ok(added == 1)
        })
    }

    /// Returns a device by name.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn get(&self, id: &str) -> Result<Option<Device>> {
        let sql = format!("SELECT {COLUMNS} FROM devices WHERE id = ?1");
        let found = self.0.with(|c| {
            let found = c.prepare_cached(&sql)?.query_row([id], Stored::read).optional()?;
            Ok((found, Shown::read(c, Some(id))?))
        })?;
        let (found, mut shown) = found;
        found.map(|stored| stored.decode(&mut shown)).transpose()
    }

    /// Returns all devices by name.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn list(&self) -> Result<Vec<Device>> {
        let sql = format!("SELECT {COLUMNS} FROM devices ORDER BY id");
        let (found, mut shown) = self.0.with(|c| {
            let found = c.prepare_cached(&sql)?.query_map([], Stored::read)?.collect::<rusqlite::Result<Vec<_>>>()?;
            Ok((found, Shown::read(c, None)?))
        })?;
        found.into_iter().map(|stored| stored.decode(&mut shown)).collect()
    }

    /// Returns how many devices are known.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn count(&self) -> Result<u64> {
        let count = self.0.with(|c| c.query_row("SELECT count(*) FROM devices", [], |row| row.get::<_, i64>(0)))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// Removes a device and its tokens. `false` if it is not known.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn remove(&self, id: &str) -> Result<bool> {
        self.0.with(|c| c.execute("DELETE FROM devices WHERE id = ?1", [id])).map(|rows| rows == 1)
    }

    /// Gives a device one more token; those it has hold until `old_until` at the latest. Tokens that are over are
    /// forgotten. `false` if the device is not known, or the token is in use.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn rotate(
        &self,
        id: &str,
        token_hash: &str,
        old_until: Timestamp,
        expires_at: Option<Timestamp>,
    ) -> Result<bool> {
        let now = self.0.now_ms();
        self.0.with(|c| {
            let transaction = c.transaction()?;
            let known: i64 = transaction.query_row("SELECT count(*) FROM devices WHERE id = ?1", [id], |r| r.get(0))?;
            transaction.execute(
                "UPDATE device_tokens SET expires_at = min(ifnull(expires_at, ?2), ?2) WHERE device_id = ?1",
                params![id, old_until.as_millis()],
            )?;
            transaction.execute(
                "DELETE FROM device_tokens WHERE device_id = ?1 AND (expires_at <= ?2 OR hash NOT IN \
                 (SELECT hash FROM device_tokens WHERE device_id = ?1 ORDER BY created_at DESC, hash LIMIT ?3))",
                params![id, now, TOKENS_MAX - 1],
            )?;
            let is_added = known == 1 && add_token(&transaction, id, token_hash, now, expires_at)? == 1;
            if is_added {
                transaction.commit()?;
            }
            Ok(is_added)
        })
    }

    /// Enters a certificate of a device. `false` if the device is not known, or the certificate is entered already.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn add_certificate(&self, id: &str, mark: &str) -> Result<bool> {
        let now = self.0.now_ms();
        let added = self.0.with(|c| {
            c.execute(
                "INSERT INTO device_certificates (mark, device_id, created_at) SELECT ?1, id, ?3 FROM devices \
                 WHERE id = ?2 ON CONFLICT (mark) DO NOTHING",
                params![mark, id, now],
            )
        })?;
        Ok(added == 1)
    }

    /// Takes a certificate from a device. `false` if it has none like that.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn remove_certificate(&self, id: &str, mark: &str) -> Result<bool> {
        let sql = "DELETE FROM device_certificates WHERE device_id = ?1 AND mark = ?2";
        self.0.with(|c| c.execute(sql, [id, mark])).map(|rows| rows == 1)
    }

    /// Takes all tokens and certificates from a device and keeps it from connecting, without forgetting it. `false` if
    /// it is not known.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn revoke(&self, id: &str) -> Result<bool> {
        self.0.with(|c| {
            let transaction = c.transaction()?;
            transaction.execute("DELETE FROM device_tokens WHERE device_id = ?1", [id])?;
            transaction.execute("DELETE FROM device_certificates WHERE device_id = ?1", [id])?;
            let changed = transaction.execute("UPDATE devices SET enabled = 0 WHERE id = ?1", [id])?;
            transaction.commit()?;
            Ok(changed == 1)
        })
    }

    /// Changes what is given. `false` if the device is not known.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn change(&self, id: &str, change: &Change) -> Result<bool> {
        let (publish, subscribe) = (change.publish.as_deref().map(to_json), change.subscribe.as_deref().map(to_json));
        let changed = self.0.with(|c| {
            c.execute(
                "UPDATE devices SET device_type = ifnull(?2, device_type), role = ifnull(?3, role), \
                 device_group = ifnull(?4, device_group), publish = ifnull(?5, publish), \
                 subscribe = ifnull(?6, subscribe), enabled = ifnull(?7, enabled) WHERE id = ?1",
                params![id, change.device_type, change.role, change.group, publish, subscribe, change.is_enabled],
            )
        })?;
        Ok(changed == 1)
    }
}

fn add_token(
    c: &Connection,
    device_id: &str,
    hash: &str,
    now_ms: i64,
    expires_at: Option<Timestamp>,
) -> rusqlite::Result<usize> {
    c.execute(
        "INSERT INTO device_tokens (hash, device_id, created_at, expires_at) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (hash) DO NOTHING",
        params![hash, device_id, now_ms, expires_at.map(Timestamp::as_millis)],
    )
}

/// Reads the tokens of one device, or of all, by device.
fn tokens(c: &Connection, device_id: Option<&str>) -> rusqlite::Result<HashMap<String, Vec<Token>>> {
    let mut by_device: HashMap<String, Vec<Token>> = HashMap::new();
    let mut statement = c.prepare_cached(
        "SELECT device_id, hash, created_at, expires_at FROM device_tokens \
         WHERE ?1 IS NULL OR device_id = ?1 ORDER BY created_at, hash",
    )?;
    let mut rows = statement.query([device_id])?;
    while let Some(row) = rows.next()? {
        by_device.entry(row.get(0)?).or_default().push(Token {
            hash: row.get(1)?,
            created_at: Timestamp::from_millis(row.get(2)?),
            expires_at: row.get::<_, Option<i64>>(3)?.map(Timestamp::from_millis),
        });
    }
    Ok(by_device)
}

/// What devices show, by device.
struct Shown {
    tokens: HashMap<String, Vec<Token>>,
    certificates: HashMap<String, Vec<DeviceCertificate>>,
}

impl Shown {
    /// Reads what one device shows, or all.
    fn read(c: &Connection, device_id: Option<&str>) -> rusqlite::Result<Self> {
        Ok(Shown { tokens: tokens(c, device_id)?, certificates: certificates(c, device_id)? })
    }
}

fn certificates(c: &Connection, device_id: Option<&str>) -> rusqlite::Result<HashMap<String, Vec<DeviceCertificate>>> {
    let mut by_device: HashMap<String, Vec<DeviceCertificate>> = HashMap::new();
    let mut statement = c.prepare_cached(
        "SELECT device_id, mark, created_at FROM device_certificates \
         WHERE ?1 IS NULL OR device_id = ?1 ORDER BY created_at, mark",
    )?;
    let mut rows = statement.query([device_id])?;
    while let Some(row) = rows.next()? {
        let created_at = Timestamp::from_millis(row.get(2)?);
        by_device.entry(row.get(0)?).or_default().push(DeviceCertificate { mark: row.get(1)?, created_at });
    }
    Ok(by_device)
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
            role: row.get("role")?,
            group: row.get("device_group")?,
            tokens: Vec::new(),
            certificates: Vec::new(),
            publish: Vec::new(),
            subscribe: Vec::new(),
            is_enabled: row.get("enabled")?,
            created_at: Timestamp::from_millis(row.get("created_at")?),
        };
        Ok(Stored { device, publish: row.get("publish")?, subscribe: row.get("subscribe")? })
    }

    fn decode(self, shown: &mut Shown) -> Result<Device> {
        let read = |text: &str| {
            serde_json::from_str(text).map_err(|e| Error::Row {
                table: "devices",
                key: self.device.id.clone(),
                reason: e.to_string(),
            })
        };
        let (publish, subscribe) = (read(&self.publish)?, read(&self.subscribe)?);
        let tokens = shown.tokens.remove(&self.device.id).unwrap_or_default();
        let certificates = shown.certificates.remove(&self.device.id).unwrap_or_default();
        Ok(Device { publish, subscribe, tokens, certificates, ..self.device })
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
            role: String::new(),
            group: "line1".to_owned(),
            token_hash: Some("ab".repeat(32)),
            token_expires_at: None,
            publish: vec!["devices.press-1.>".to_owned(), "telemetry.\"odd\".*".to_owned()],
            subscribe: Vec::new(),
            is_enabled: true,
        }
    }

    #[test]
    fn a_device_comes_back_as_it_was_added() {
        let state = State::in_memory_at(Clock::hand_set(Timestamp::from_millis(7)));
        assert!(state.devices().add(&press()).unwrap());
        let device = state.devices().get("press-1").unwrap().unwrap();
        assert_eq!((device.publish, device.subscribe), (press().publish, Vec::new()));
        assert_eq!((device.is_enabled, device.created_at.as_millis(), device.group.as_str()), (true, 7, "line1"));
        let token = Token { hash: "ab".repeat(32), created_at: Timestamp::from_millis(7), expires_at: None };
        assert_eq!(device.tokens, [token]);
        assert_eq!(state.devices().get("press-2").unwrap(), None);
    }

    #[test]
    fn a_name_and_a_token_are_taken_once() {
        let state = State::in_memory();
        assert!(state.devices().add(&press()).unwrap());
        let other = NewDevice { token_hash: Some("cd".repeat(32)), ..press() };
        assert!(!state.devices().add(&other).unwrap());
        let same_token = NewDevice { id: "press-2".to_owned(), ..press() };
        assert!(!state.devices().add(&same_token).unwrap());
        assert_eq!(state.devices().get("press-1").unwrap().unwrap().tokens[0].hash, "ab".repeat(32));
        assert_eq!(state.devices().count().unwrap(), 1);
    }

    #[test]
    fn changes_reach_one_device_and_say_whether_it_is_known() {
        let state = State::in_memory();
        let devices = state.devices();
        for id in ["a", "b"] {
            devices.add(&NewDevice { id: id.to_owned(), token_hash: Some(id.repeat(32)), ..press() }).unwrap();
        }
        let change = Change {
            role: Some("monitor".to_owned()),
            publish: Some(Vec::new()),
            subscribe: Some(vec!["x.>".to_owned()]),
            is_enabled: Some(false),
            ..Change::default()
        };
        assert!(devices.change("a", &change).unwrap());
        assert!(!devices.change("c", &change).unwrap());
        let list = devices.list().unwrap();
        assert_eq!((list[0].role.as_str(), list[0].group.as_str(), list[0].is_enabled), ("monitor", "line1", false));
        assert_eq!((list[0].publish.len(), list[0].subscribe.len(), list[0].tokens.len()), (0, 1, 1));
        assert_eq!((list[1].is_enabled, list[1].publish.len(), list[1].tokens.len()), (true, 2, 1));
        assert!(devices.revoke("b").unwrap());
        let revoked = devices.get("b").unwrap().unwrap();
        assert_eq!((revoked.is_enabled, revoked.tokens.len()), (false, 0));
        assert!(devices.remove("b").unwrap());
        assert!(!devices.remove("b").unwrap());
        assert_eq!(devices.list().unwrap().len(), 1);
    }

    #[test]
    fn a_new_token_and_the_old_one_hold_side_by_side_for_a_while() {
        let clock = Clock::hand_set(Timestamp::from_millis(1000));
        let state = State::in_memory_at(clock.clone());
        let at = Timestamp::from_millis;
        state.devices().add(&press()).unwrap();
        assert!(state.devices().rotate("press-1", "new", at(5000), None).unwrap());
        let tokens = |state: &State| -> Vec<(String, Option<i64>)> {
            let device = state.devices().get("press-1").unwrap().unwrap();
            device.tokens.into_iter().map(|t| (t.hash, t.expires_at.map(Timestamp::as_millis))).collect()
        };
        assert_eq!(tokens(&state), [("ab".repeat(32), Some(5000)), ("new".to_owned(), None)]);
        // A later end does not lengthen what ends earlier; what is over is forgotten.
        clock.advance(std::time::Duration::from_secs(2));
        assert!(state.devices().rotate("press-1", "newer", at(9000), Some(at(99_000))).unwrap());
        assert_eq!(tokens(&state).iter().map(|t| t.1).collect::<Vec<_>>(), [Some(5000), Some(9000), Some(99_000)]);
        clock.advance(std::time::Duration::from_secs(4));
        assert!(state.devices().rotate("press-1", "newest", at(9000), None).unwrap());
        assert_eq!(tokens(&state).iter().map(|t| t.1).collect::<Vec<_>>(), [Some(9000), Some(9000), None]);
        assert!(!state.devices().rotate("press-2", "x", at(0), None).unwrap(), "not known");
        assert!(!state.devices().rotate("press-1", "newest", at(9000), None).unwrap(), "in use");
        assert_eq!(tokens(&state).len(), 3, "a refused change changes nothing");
    }

    #[test]
    fn a_device_has_only_so_many_tokens() {
        let state = State::in_memory();
        state.devices().add(&press()).unwrap();
        for n in 0..10 {
            assert!(state.devices().rotate("press-1", &n.to_string(), Timestamp::from_millis(i64::MAX), None).unwrap());
        }
        assert_eq!(state.devices().get("press-1").unwrap().unwrap().tokens.len(), 4);
    }

    #[test]
    fn a_certificate_is_one_devices_and_goes_with_it() {
        let state = State::in_memory();
        let devices = state.devices();
        for id in ["a", "b"] {
            devices.add(&NewDevice { id: id.to_owned(), token_hash: None, ..press() }).unwrap();
        }
        assert!(devices.add_certificate("a", "gate.example").unwrap());
        assert!(!devices.add_certificate("b", "gate.example").unwrap(), "another has it");
        assert!(!devices.add_certificate("c", "other.example").unwrap(), "not known");
        let marks = |id: &str| -> Vec<String> {
            devices.get(id).unwrap().unwrap().certificates.into_iter().map(|c| c.mark).collect()
        };
        assert_eq!((marks("a"), marks("b")), (vec!["gate.example".to_owned()], Vec::new()));
        assert!(!devices.remove_certificate("b", "gate.example").unwrap());
        assert!(devices.remove_certificate("a", "gate.example").unwrap());
        assert!(devices.add_certificate("b", "gate.example").unwrap());
        devices.revoke("b").unwrap();
        assert!(marks("b").is_empty());
        devices.add_certificate("a", "gate.example").unwrap();
        devices.remove("a").unwrap();
        assert!(devices.add_certificate("b", "gate.example").unwrap());
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
