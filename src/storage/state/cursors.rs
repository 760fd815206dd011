//! How far readers have come: forwarding to each destination, and others.

use rusqlite::{OptionalExtension, params};

use super::{Result, State};
use crate::model::Timestamp;

/// How far one reader has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Who reads.
    pub reader: String,
    /// How far; the reader defines the meaning.
    pub position: i64,
    /// When this was saved.
    pub saved_at: Timestamp,
}

/// The readers' cursors.
#[derive(Debug)]
pub struct Cursors<'a>(pub(super) &'a State);

impl Cursors<'_> {
    /// Returns a reader's cursor, if it ever saved one.
    ///
    /// # Errors
    /// See [`super::Error`].
    pub fn get(&self, reader: &str) -> Result<Option<Cursor>> {
        self.0.with(|c| {
            c.prepare_cached("SELECT reader, position, saved_at FROM cursors WHERE reader = ?1")?
                .query_row([reader], read)
                .optional()
        })
    }

    /// Saves a reader's cursor; it may also go back. Costs one file sync.
    ///
    /// # Errors
    /// See [`super::Error`].
    pub fn save(&self, reader: &str, position: i64) -> Result<()> {
        let now = self.0.now_ms();
        self.0.with(|c| {
            c.prepare_cached(
                "INSERT INTO cursors (reader, position, saved_at) VALUES (?1, ?2, ?3) \
                 ON CONFLICT (reader) DO UPDATE SET position = excluded.position, saved_at = excluded.saved_at",
            )?
            .execute(params![reader, position, now])
            .map(|_| ())
        })
    }

    /// Returns all cursors by reader.
    ///
    /// # Errors
    /// See [`super::Error`].
    pub fn list(&self) -> Result<Vec<Cursor>> {
        self.0.with(|c| {
            c.prepare_cached("SELECT reader, position, saved_at FROM cursors ORDER BY reader")?
                .query_map([], read)?
                .collect()
        })
    }

    /// Forgets a reader. `false` if it is not known.
    ///
    /// # Errors
    /// See [`super::Error`].
    pub fn remove(&self, reader: &str) -> Result<bool> {
        self.0.with(|c| c.execute("DELETE FROM cursors WHERE reader = ?1", [reader])).map(|rows| rows == 1)
    }
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Cursor> {
    let saved_at = Timestamp::from_millis(row.get(2)?);
    Ok(Cursor { reader: row.get(0)?, position: row.get(1)?, saved_at })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_what_was_saved_last() {
        let state = State::in_memory();
        assert_eq!(state.cursors().get("central").unwrap(), None);
        for position in [5, -3, i64::MAX] {
            state.cursors().save("central", position).unwrap();
            assert_eq!(state.cursors().get("central").unwrap().unwrap().position, position);
        }
        state.cursors().save("archive", 1).unwrap();
        let readers: Vec<String> = state.cursors().list().unwrap().into_iter().map(|c| c.reader).collect();
        assert_eq!(readers, ["archive", "central"]);
        assert!(state.cursors().remove("archive").unwrap());
        assert!(!state.cursors().remove("archive").unwrap());
    }
}
