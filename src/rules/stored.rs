//! The rule file that people write on the pages: kept in `storage/state` with the versions before it.
//!
//! It is one file in Prometheus' form like any other, `stored:rules.yml`, behind those of the settings. A version with a
//! mistake is not stored; what is stored is on disk before the answer.

use serde::{Deserialize, Serialize};

use super::config::RuleSource;
use super::file::read;
use super::snapshot::Mistake;
use crate::model::Timestamp;
use crate::storage::state::State;

/// Its path among the rule files.
pub const STORED: &str = "stored:rules.yml";

/// The fact that holds it, as JSON.
const FACT: &str = "stored-rules";

/// The longest text.
const TEXT_BYTES_MAX: usize = 256 << 10;

/// Versions that are kept, and how much they may take together; the oldest go first.
const VERSIONS_MAX: usize = 50;
const VERSIONS_BYTES_MAX: usize = 2 << 20;

/// One version of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredVersion {
    /// Counts from 1.
    pub number: u64,
    /// When it was stored, milliseconds.
    at_ms: i64,
    /// Who stored it.
    pub by: String,
    /// Why.
    pub note: String,
    /// The file.
    pub text: String,
}

impl StoredVersion {
    /// Returns when it was stored.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        Timestamp::from_millis(self.at_ms)
    }
}

/// Why a version was not stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// What is wrong with the file.
    #[error("{} mistakes", .0.len())]
    Mistakes(Vec<Mistake>),
    /// It was stored by somebody else meanwhile.
    #[error("{by} stored version {number} meanwhile")]
    Overtaken {
        /// Who.
        by: String,
        /// Which.
        number: u64,
    },
    /// It is too long, or nobody's.
    #[error("{0}")]
    Refused(String),
    /// It could not be written.
    #[error("it could not be kept: {0}")]
    Storage(String),
}

/// Returns all versions, oldest first; empty if there is none or they cannot be read.
pub(super) fn versions(state: &State) -> Vec<StoredVersion> {
    let found = state.meta().get(FACT).map_err(|e| e.to_string());
    let versions = found.and_then(|text| match text {
        Some(text) => serde_json::from_slice(&text).map_err(|e| e.to_string()),
        None => Ok(Vec::new()),
    });
    versions.unwrap_or_else(|error| {
        tracing::error!(%error, "cannot read the stored rules");
        Vec::new()
    })
}

/// Returns the file that is to run, if there is one.
pub(super) fn source(versions: &[StoredVersion]) -> Option<RuleSource> {
    let newest = versions.last().filter(|v| !v.text.trim().is_empty())?;
    Some(RuleSource { path: STORED.to_owned(), text: Ok(newest.text.clone()) })
}

/// Stores a version after the one that its writer saw; returns all.
pub(super) fn store(
    state: &State,
    text: &str,
    (by, note): (&str, &str),
    after: u64,
    now: Timestamp,
) -> Result<Vec<StoredVersion>, StoreError> {
    let by = by.trim();
    if by.is_empty() || by.chars().count() > 100 || note.chars().count() > 2000 {
        return Err(StoreError::Refused(
            "a name of up to 100 and a note of up to 2000 characters are needed".to_owned(),
        ));
    }
    if text.len() > TEXT_BYTES_MAX {
        return Err(StoreError::Refused(format!("it is longer than {} KiB", TEXT_BYTES_MAX >> 10)));
    }
    let mistakes = if text.trim().is_empty() { Vec::new() } else { read(STORED, text).mistakes };
    if !mistakes.is_empty() {
        return Err(StoreError::Mistakes(mistakes));
    }
    let mut versions = versions(state);
    let newest = versions.last().map_or(0, |v| v.number);
    if let Some(newest) = versions.last().filter(|v| v.number != after) {
        return Err(StoreError::Overtaken { by: newest.by.clone(), number: newest.number });
    }
    versions.push(StoredVersion {
        number: newest + 1,
        at_ms: now.as_millis(),
        by: by.to_owned(),
        note: note.trim().to_owned(),
        text: text.to_owned(),
    });
    let bytes = |versions: &[StoredVersion]| versions.iter().map(|v| v.text.len()).sum::<usize>();
    while versions.len() > VERSIONS_MAX || bytes(&versions) > VERSIONS_BYTES_MAX {
        versions.remove(0);
    }
    let json = serde_json::to_vec(&versions).map_err(|e| StoreError::Storage(e.to_string()))?;
    state.meta().set(FACT, &json).map_err(|e| StoreError::Storage(e.to_string()))?;
    Ok(versions)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "groups: [{name: g, rules: [{alert: A, expr: up == 0}]}]";

    fn save(state: &State, text: &str, after: u64) -> Result<Vec<StoredVersion>, StoreError> {
        store(state, text, ("Eva", "why"), after, Timestamp::from_millis(5))
    }

    #[test]
    fn good_versions_are_kept_and_bad_ones_are_not() {
        let state = State::in_memory();
        assert_eq!(source(&versions(&state)), None);
        assert_eq!(save(&state, GOOD, 0).unwrap().len(), 1);
        let bad = save(&state, "groups: [{name: g, rules: [{alert: A, expr: up ==}]}]", 1);
        assert!(matches!(bad, Err(StoreError::Mistakes(m)) if m.len() == 1));
        let kept = versions(&state);
        assert_eq!((kept.len(), kept[0].number, kept[0].by.as_str()), (1, 1, "Eva"));
        assert_eq!(source(&kept).unwrap().text.unwrap(), GOOD);
        // Nothing is a version too: then nothing of it runs.
        assert_eq!(source(&save(&state, " ", 1).unwrap()), None);
    }

    #[test]
    fn who_did_not_see_the_newest_does_not_overwrite_it() {
        let state = State::in_memory();
        save(&state, GOOD, 0).unwrap();
        assert_eq!(save(&state, "", 0), Err(StoreError::Overtaken { by: "Eva".to_owned(), number: 1 }));
        assert!(matches!(store(&state, GOOD, (" ", ""), 1, Timestamp::MIN), Err(StoreError::Refused(_))));
        assert!(matches!(save(&state, &"#".repeat(TEXT_BYTES_MAX + 1), 1), Err(StoreError::Refused(_))));
    }

    #[test]
    fn the_oldest_versions_go() {
        let state = State::in_memory();
        for after in 0..60 {
            save(&state, GOOD, after).unwrap();
        }
        let kept = versions(&state);
        assert_eq!((kept.len(), kept[0].number, kept[49].number), (50, 11, 60));
    }
}
