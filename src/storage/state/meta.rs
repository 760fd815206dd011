//! Single facts about this box: its id, the pepper of its tokens.

use rusqlite::{OptionalExtension, params};

use super::{Result, State};

/// Single facts about the box.
#[derive(Debug)]
pub struct Meta<'a>(pub(super) &'a State);

impl Meta<'_> {
    /// Returns a fact.
    ///
    /// # Errors
    /// See [`super::Error`].
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.0.with(|c| c.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).optional())
    }

    /// Sets a fact.
    ///
    /// # Errors
    /// See [`super::Error`].
    pub fn set(&self, key: &str, value: &[u8]) -> Result<()> {
        let sql = "INSERT INTO meta (key, value) VALUES (?1, ?2) \
                   ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        self.0.with(|c| c.execute(sql, params![key, value]).map(|_| ()))
    }

    /// Returns a fact, or sets it to what `make` gives if there is none yet. Two callers get the same value.
    ///
    /// # Errors
    /// See [`super::Error`].
    pub fn get_or_set(&self, key: &str, make: impl FnOnce() -> Vec<u8>) -> Result<Vec<u8>> {
        if let Some(value) = self.get(key)? {
            return Ok(value);
        }
        let value = make();
        self.0.with(|c| {
            c.execute(
                "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO NOTHING",
                params![key, value],
            )?;
            c.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_is_made_once() {
        let state = State::in_memory();
        assert_eq!(state.meta().get("box-id").unwrap(), None);
        assert_eq!(state.meta().get_or_set("box-id", || vec![1]).unwrap(), [1]);
        assert_eq!(state.meta().get_or_set("box-id", || vec![2]).unwrap(), [1]);
        state.meta().set("box-id", &[3]).unwrap();
        assert_eq!(state.meta().get("box-id").unwrap(), Some(vec![3]));
    }
}
