//! Last-known state across flushes, restarts and damage.

use std::path::Path;

use bytes::Bytes;

use super::*;
use crate::model::Origin;

fn open(folder: &Path) -> LastKnown {
    LastKnown::open(Config::at(folder.join("last")), Timestamp::from_millis(1_700), &Registry::default())
}

fn message(device: &str, subject: &str, body: &str, at: i64) -> DeviceMessage {
    DeviceMessage {
        device_id: device.to_owned(),
        device_type: String::new(),
        subject: subject.to_owned(),
        payload: Bytes::copy_from_slice(body.as_bytes()),
        received_at: Timestamp::from_millis(at),
        moved_ms: 0,
        origin: Origin::Gateway,
    }
}

fn bodies(last: &LastKnown, device: &str) -> Vec<String> {
    last.list(device).iter().map(|r| format!("{}={}", r.subject, String::from_utf8_lossy(&r.payload))).collect()
}

#[track_caller]
fn check_newest_wins(last: &LastKnown, between: impl Fn(&LastKnown)) {
    last.put(&message("a", "t.x", "1", 1));
    last.put(&message("a", "t.y", "2", 2));
    last.put(&message("ab", "t.x", "other", 2));
    between(last);
    last.put(&message("a", "t.x", "3", 3));
    assert_eq!(bodies(last, "a"), ["t.x=3", "t.y=2"]);
    assert_eq!(last.get("a", "t.y").unwrap().received_at.as_millis(), 2);
    assert_eq!(last.get("a", "t.z"), None);
    let seen: Vec<_> = last.devices().into_iter().map(|p| (p.device_id, p.last_seen.as_millis())).collect();
    assert_eq!(seen, [("a".to_owned(), 3), ("ab".to_owned(), 2)]);
}

#[test]
fn the_newest_message_per_subject_is_kept_in_memory_and_on_disk() {
    check_newest_wins(&LastKnown::in_memory(), LastKnown::flush);
    let folder = tempfile::tempdir().unwrap();
    check_newest_wins(&open(folder.path()), |_| ());
    let folder = tempfile::tempdir().unwrap();
    check_newest_wins(&open(folder.path()), LastKnown::flush);
}

#[test]
fn it_is_there_after_a_restart_and_nobody_is_online() {
    let folder = tempfile::tempdir().unwrap();
    let last = open(folder.path());
    last.connected("a", Timestamp::from_millis(5));
    last.put(&message("a", "t.x", "1", 6));
    assert!(last.device("a").unwrap().is_online);
    drop(last);
    let last = open(folder.path());
    assert_eq!(last.damage(), None);
    assert_eq!(bodies(&last, "a"), ["t.x=1"]);
    let presence = last.device("a").unwrap();
    assert_eq!((presence.last_seen.as_millis(), presence.is_online), (6, false));
    last.forget("a");
    assert!(bodies(&last, "a").is_empty() && last.device("a").is_none());
    drop(last);
    assert!(open(folder.path()).devices().is_empty());
}

#[test]
fn what_is_over_a_limit_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { subjects_per_device_max: 2, body_bytes_max: 3, ..Config::at(folder.path().join("last")) };
    let registry = Registry::default();
    let last = LastKnown::open(config, Timestamp::from_millis(0), &registry);
    last.put(&message("a", "large", "four", 1));
    for subject in ["1", "2"] {
        last.put(&message("a", subject, "abc", 1));
        last.flush();
    }
    last.put(&message("a", "3", "abc", 1));
    last.flush();
    last.put(&message("a", "2", "new", 1));
    last.flush();
    assert_eq!(bodies(&last, "a"), ["1=abc", "2=new"]);
    let dropped = registry.counters("andon_last_dropped_total", "", &["reason"]);
    assert_eq!((dropped.with(&["body_size"]).get(), dropped.with(&["subject_limit"]).get()), (1, 1));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test damages files")]
fn a_damaged_folder_is_put_aside_and_the_room_starts_empty() {
    for damage in 0..2 {
        let folder = tempfile::tempdir().unwrap();
        let last = open(folder.path());
        for n in 0..200 {
            last.put(&message("a", &format!("t.{n}"), "body of some length", n));
        }
        last.flush();
        drop(last);
        let path = folder.path().join("last");
        match damage {
            0 => {
                std::fs::remove_dir_all(&path).unwrap();
                std::fs::write(&path, b"a file where a folder should be").unwrap();
            }
            _ => {
                let foreign = sled::open(&path).unwrap();
                foreign.open_tree("retained").unwrap().insert("no separator", "x").unwrap();
                foreign.flush().unwrap();
            }
        }
        let last = open(folder.path());
        let found = last.damage().unwrap_or_else(|| panic!("damage {damage} went unnoticed"));
        assert!(found.quarantine.as_ref().unwrap().join("why.txt").exists());
        assert!(bodies(&last, "a").is_empty());
        last.put(&message("a", "t.x", "1", 1));
        drop(last);
        assert_eq!(bodies(&open(folder.path()), "a"), ["t.x=1"], "damage {damage}");
    }
}

#[test]
fn flipped_bytes_never_stop_the_start() {
    for seed in 0..12_usize {
        let folder = tempfile::tempdir().unwrap();
        let last = open(folder.path());
        for n in 0..300 {
            last.put(&message("a", &format!("t.{n}"), &"x".repeat(100), n));
        }
        last.flush();
        drop(last);
        flip(&folder.path().join("last").join("db"), seed);
        let last = open(folder.path());
        last.put(&message("b", "t.x", "1", 1));
        last.flush();
        assert_eq!(bodies(&last, "b"), ["t.x=1"], "seed {seed}");
    }
}

#[expect(clippy::disallowed_methods, reason = "the test damages files")]
fn flip(file: &Path, seed: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    let len = bytes.len().min(60_000);
    for n in 0..40 {
        bytes[(seed * 7919 + n * 1009) % len] ^= 1 << (n % 8);
    }
    std::fs::write(file, bytes).unwrap();
}
