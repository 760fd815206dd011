//! The state file across restarts, damage and versions.

use std::path::Path;

use super::*;
use crate::model::Timestamp;

fn open(path: &Path) -> Result<State> {
    State::open(path, Clock::hand_set(Timestamp::from_millis(1_700_000_000_000)), &Registry::default())
}

#[test]
fn what_was_saved_is_there_after_a_restart_without_a_clean_stop() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let state = open(&path).unwrap();
    state.cursors().save("central", 42).unwrap();
    // The files as they are now, without SQLite having closed them: what `kill -9` leaves.
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    drop(state);
    for folder in [&folder, &copy] {
        let again = open(&folder.path().join("state.db")).unwrap();
        assert_eq!(again.cursors().get("central").unwrap().unwrap().position, 42);
        assert_eq!(again.damage(), None);
    }
}

#[test]
fn writes_are_synced_and_go_through_a_wal() {
    let folder = tempfile::tempdir().unwrap();
    let state = open(&folder.path().join("state.db")).unwrap();
    let (journal, synchronous): (String, i64) = state
        .with(|c| {
            let journal = c.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
            Ok((journal, c.query_row("PRAGMA synchronous", [], |row| row.get(0))?))
        })
        .unwrap();
    assert_eq!((journal.as_str(), synchronous), ("wal", 2));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test damages files")]
fn a_damaged_file_is_put_aside_and_the_room_starts_empty() {
    let damages: [fn(&mut Vec<u8>); 4] = [
        |bytes| bytes[..100].fill(0xa5),
        |bytes| bytes.truncate(bytes.len() / 2 - 7),
        |bytes| bytes[4096..].fill(0x77),
        |bytes| *bytes = b"not a database at all, but long enough to be looked at by SQLite ".repeat(20),
    ];
    for (n, damage) in damages.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let state = open(&path).unwrap();
        state.cursors().save("central", 42).unwrap();
        state.checkpoint().unwrap();
        drop(state);
        let mut bytes = std::fs::read(&path).unwrap();
        damage(&mut bytes);
        std::fs::write(&path, &bytes).unwrap();

        let state = open(&path).unwrap();
        let found = state.damage().unwrap_or_else(|| panic!("damage {n} went unnoticed")).clone();
        assert_eq!(std::fs::read(found.quarantine.join("state.db")).unwrap(), bytes, "damage {n}");
        assert!(found.quarantine.join("why.txt").exists());
        assert_eq!(state.cursors().get("central").unwrap(), None);
        state.cursors().save("central", 1).unwrap();
        drop(state);
        assert_eq!(open(&path).unwrap().damage(), None);
    }
}

#[test]
fn a_newer_schema_is_refused_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    open(&path).unwrap().with(|c| c.pragma_update(None, "user_version", 99)).unwrap();
    let error = open(&path).unwrap_err().to_string();
    assert!(error.contains("has schema 99") && error.contains("install a newer Andon"), "{error}");
}

#[test]
fn a_full_disk_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let state = open(&folder.path().join("state.db")).unwrap();
    state.with(|c| c.query_row("PRAGMA max_page_count=1", [], |_| Ok(()))).unwrap();
    let error = state.meta().set("large", &vec![7; 1 << 20]).unwrap_err();
    assert!(matches!(error, Error::DiskFull), "{error}");
    assert_eq!(state.meta().get("large").unwrap(), None);
}
