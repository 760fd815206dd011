//! The log of what was last told, per aggregation group and receiver, so that a restart does not tell it
//! again. What is still to be sent is not here but in the outbox of `notify`.

use rusqlite::{OptionalExtension, Row, params};

use super::{Error, Result, State};
use crate::model::{Labels, Timestamp};

/// What was last told to one receiver about one aggregation group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// The group; `notify` defines how it is written.
    pub group_key: String,
    /// Who was told.
    pub receiver: String,
    /// The labels that the group's alarms share.
    pub group_labels: Labels,
    /// Fingerprints of the alarms told as firing.
    pub firing: Vec<u64>,
    /// Fingerprints of the alarms told as resolved.
    pub resolved: Vec<u64>,
    /// When the receiver took it.
    pub sent_at: Timestamp,
}

/// The log of what was told.
#[derive(Debug)]
pub struct Notifications<'a>(pub(super) &'a State);

const COLUMNS: &str = "group_key, receiver, group_labels, firing, resolved, sent_at";

impl Notifications<'_> {
    /// Records what was told; replaces what was recorded before for the same group and receiver.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn record(&self, notification: &Notification) -> Result<()> {
        let n = notification;
        let labels: serde_json::Map<String, serde_json::Value> =
            n.group_labels.iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        let labels = serde_json::Value::Object(labels).to_string();
        let (firing, resolved) = (serde_json::json!(n.firing).to_string(), serde_json::json!(n.resolved).to_string());
        self.0.with(|c| {
            c.prepare_cached(
                "INSERT INTO notifications (group_key, receiver, group_labels, firing, resolved, sent_at) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (group_key, receiver) DO UPDATE SET \
                 group_labels = excluded.group_labels, firing = excluded.firing, resolved = excluded.resolved, \
                 sent_at = excluded.sent_at",
            )?
            .execute(params![n.group_key, n.receiver, labels, firing, resolved, n.sent_at.as_millis()])
            .map(|_| ())
        })
    }

    /// Returns what was last told to a receiver about a group.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn get(&self, group_key: &str, receiver: &str) -> Result<Option<Notification>> {
        let sql = format!("SELECT {COLUMNS} FROM notifications WHERE group_key = ?1 AND receiver = ?2");
        let found =
            self.0.with(|c| c.prepare_cached(&sql)?.query_row([group_key, receiver], Stored::read).optional())?;
        found.map(Stored::decode).transpose()
    }

    /// Returns everything recorded, by group and receiver.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn list(&self) -> Result<Vec<Notification>> {
        let sql = format!("SELECT {COLUMNS} FROM notifications ORDER BY group_key, receiver");
        let found = self
            .0
            .with(|c| c.prepare_cached(&sql)?.query_map([], Stored::read)?.collect::<rusqlite::Result<Vec<_>>>())?;
        found.into_iter().map(Stored::decode).collect()
    }

    /// Forgets one group of one receiver. `false` if there was nothing.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn remove(&self, group_key: &str, receiver: &str) -> Result<bool> {
        let sql = "DELETE FROM notifications WHERE group_key = ?1 AND receiver = ?2";
        self.0.with(|c| c.execute(sql, [group_key, receiver])).map(|rows| rows == 1)
    }

    /// Forgets what was told before `time`; returns how many.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn prune(&self, time: Timestamp) -> Result<usize> {
        self.0.with(|c| c.execute("DELETE FROM notifications WHERE sent_at < ?1", [time.as_millis()]))
    }
}

/// A row before its JSON columns are read.
struct Stored {
    group_key: String,
    receiver: String,
    group_labels: String,
    firing: String,
    resolved: String,
    sent_at: i64,
}

impl Stored {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Stored {
            group_key: row.get(0)?,
            receiver: row.get(1)?,
            group_labels: row.get(2)?,
            firing: row.get(3)?,
            resolved: row.get(4)?,
            sent_at: row.get(5)?,
        })
    }

    fn decode(self) -> Result<Notification> {
        let fail = |e: serde_json::Error| Error::Row {
            table: "notifications",
            key: self.group_key.clone(),
            reason: e.to_string(),
        };
        let labels: std::collections::BTreeMap<String, String> =
            serde_json::from_str(&self.group_labels).map_err(fail)?;
        Ok(Notification {
            group_labels: Labels::from_pairs(labels),
            firing: serde_json::from_str(&self.firing).map_err(fail)?,
            resolved: serde_json::from_str(&self.resolved).map_err(fail)?,
            sent_at: Timestamp::from_millis(self.sent_at),
            group_key: self.group_key,
            receiver: self.receiver,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(group_key: &str, receiver: &str, sent_at: i64) -> Notification {
        Notification {
            group_key: group_key.to_owned(),
            receiver: receiver.to_owned(),
            group_labels: Labels::from_pairs([("alertname", "Überdruck \"1\"")]),
            firing: vec![0, u64::MAX],
            resolved: Vec::new(),
            sent_at: Timestamp::from_millis(sent_at),
        }
    }

    #[test]
    fn what_was_told_last_is_kept_per_group_and_receiver() {
        let state = State::in_memory();
        let log = state.notifications();
        log.record(&told("g", "a", 1)).unwrap();
        log.record(&told("g", "b", 2)).unwrap();
        let newer = Notification { resolved: vec![7], ..told("g", "a", 3) };
        log.record(&newer).unwrap();
        assert_eq!(log.get("g", "a").unwrap(), Some(newer));
        assert_eq!(log.list().unwrap().len(), 2);
        assert_eq!(log.prune(Timestamp::from_millis(3)).unwrap(), 1);
        assert_eq!(log.get("g", "b").unwrap(), None);
        assert!(log.remove("g", "a").unwrap());
    }
}
