//! Who changed what, newest first.

use rusqlite::params;

use super::{Result, State};
use crate::model::Timestamp;

/// How many entries are kept; the oldest go.
const ENTRIES_MAX: i64 = 100_000;

/// A change as it is to be noted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Who did it; `cli` or `anonymous` while there are no accounts.
    pub actor: String,
    /// From where: an address, or `cli`.
    pub origin: String,
    /// What was done: `device.add`.
    pub action: String,
    /// To what: `device/press-1`.
    pub object: String,
    /// More about it as JSON; no secrets.
    pub detail: serde_json::Value,
}

/// A noted change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// Counts up from 1.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub entry: AuditEntry,
}

/// The audit log.
#[derive(Debug)]
pub struct Audit<'a>(pub(super) &'a State);

impl Audit<'_> {
    /// Notes a change.
    ///
    /// # Errors
    /// See [`super::Error`]. The caller should refuse the change then.
    pub fn append(&self, entry: &AuditEntry) -> Result<()> {
        let now = self.0.now_ms();
        let detail = entry.detail.to_string();
        self.0.with(|c| {
            let transaction = c.transaction()?;
            transaction.execute(
                "INSERT INTO audit (at, actor, origin, action, object, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![now, entry.actor, entry.origin, entry.action, entry.object, detail],
            )?;
            let oldest_kept = transaction.last_insert_rowid() - ENTRIES_MAX;
            transaction.execute("DELETE FROM audit WHERE id <= ?1", [oldest_kept])?;
            transaction.commit()
        })
    }

    /// Returns up to `limit` entries with an id below `before` (`None`: from the newest), newest first.
    ///
    /// # Errors
    /// See [`super::Error`].
    pub fn list(&self, before: Option<i64>, limit: u32) -> Result<Vec<AuditRecord>> {
        self.0.with(|c| {
            c.prepare_cached(
                "SELECT id, at, actor, origin, action, object, detail FROM audit WHERE id < ?1 \
                 ORDER BY id DESC LIMIT ?2",
            )?
            .query_map(params![before.unwrap_or(i64::MAX), limit], read)?
            .collect()
        })
    }
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<AuditRecord> {
    let detail: String = row.get(6)?;
    Ok(AuditRecord {
        id: row.get(0)?,
        at: Timestamp::from_millis(row.get(1)?),
        entry: AuditEntry {
            actor: row.get(2)?,
            origin: row.get(3)?,
            action: row.get(4)?,
            object: row.get(5)?,
            // Text that is not JSON is shown as text rather than hiding the entry.
            detail: serde_json::from_str(&detail).unwrap_or(serde_json::Value::String(detail)),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_newest_first_and_in_pages() {
        let state = State::in_memory();
        for n in 1..=5 {
            let entry = AuditEntry {
                actor: "cli".to_owned(),
                origin: "cli".to_owned(),
                action: "device.add".to_owned(),
                object: format!("device/{n}"),
                detail: serde_json::json!({ "n": n }),
            };
            state.audit().append(&entry).unwrap();
        }
        let objects = |before| -> Vec<String> {
            state.audit().list(before, 2).unwrap().into_iter().map(|r| r.entry.object).collect()
        };
        assert_eq!(objects(None), ["device/5", "device/4"]);
        assert_eq!(objects(Some(4)), ["device/3", "device/2"]);
        assert_eq!(state.audit().list(Some(2), 9).unwrap()[0].entry.detail, serde_json::json!({ "n": 1 }));
    }
}
