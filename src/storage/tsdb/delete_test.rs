//! Deleting series: at once, over a restart, through merges, on failing disks.

use std::path::Path;
use std::time::Duration;

use super::{Batch, Config, Db, Error, WalSync};
use crate::clock::Clock;
use crate::instrument::Registry;
use crate::model::{Labels, Matcher, Timestamp};
use crate::storage::disk::{Disk, Fault, FaultyDisk};

const FOLDER: &str = "/data/tsdb";
const START_MS: i64 = 1_790_000_000_000;
const HOUR_MS: i64 = 3_600_000;

fn open(disk: &FaultyDisk, clock: &Clock) -> Db {
    let config = Config {
        retention: Duration::from_secs(30 * 24 * 3600),
        wal_sync: WalSync::Never,
        series_max: 1000,
        ahead_max: Duration::from_secs(600),
    };
    Db::open_without_threads(config, disk.shared(), Path::new(FOLDER), clock.clone(), &Registry::default()).unwrap()
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

/// Appends a sample an hour, for `hours` before the start, to the series `a` and `b`.
fn fill(db: &Db, hours: i64) {
    let mut batch = Batch::default();
    for hour in (0..hours).rev() {
        for instance in ["a", "b"] {
            let labels = Labels::from_pairs([("__name__", "up"), ("instance", instance)]);
            batch.push(&labels, at(START_MS - hour * HOUR_MS), 1.0);
        }
    }
    db.append(&batch).unwrap();
}

fn matcher(instance: &str) -> Vec<Matcher> {
    vec![Matcher::equal("instance", instance)]
}

/// Returns the hours before the start that a series has samples of.
fn hours(db: &Db, instance: &str) -> Vec<i64> {
    let set = db.querier().select(&matcher(instance), Timestamp::MIN, Timestamp::MAX, usize::MAX).unwrap();
    set.flat_map(|s| s.unwrap().timestamps).map(|t| (START_MS - t) / HOUR_MS).collect()
}

#[test]
fn what_is_deleted_is_gone_at_once_and_after_a_restart_and_a_merge() {
    let (disk, clock) = (FaultyDisk::new(1), Clock::hand_set(at(START_MS)));
    let db = open(&disk, &clock);
    fill(&db, 60);
    db.flush().unwrap();
    fill(&db, 3);
    db.delete_series(&matcher("a"), at(START_MS - 50 * HOUR_MS), at(START_MS - HOUR_MS)).unwrap();
    let mut kept: Vec<i64> = (51..60).rev().collect();
    kept.push(0);
    let check = |db: &Db| {
        assert_eq!(hours(db, "a"), kept);
        assert_eq!(hours(db, "b").len(), 60);
    };
    check(&db);
    drop(db);
    disk.crash();
    let db = open(&disk, &clock);
    check(&db);
    clock.advance(Duration::from_secs(4 * 24 * 3600));
    let before = db.stats().block_samples;
    db.clean_tombstones().unwrap();
    // Two of them stood in two blocks.
    assert_eq!(db.stats().block_samples, before - 52);
    assert!(!disk.exists(&Path::new(FOLDER).join("tombstones")));
    check(&db);
    drop(db);
    check(&open(&disk, &clock));
}

#[test]
fn what_comes_later_into_a_deleted_stretch_is_kept() {
    let (disk, clock) = (FaultyDisk::new(1), Clock::hand_set(at(START_MS)));
    let db = open(&disk, &clock);
    fill(&db, 10);
    db.delete_series(&matcher("a"), Timestamp::MIN, Timestamp::MAX).unwrap();
    assert_eq!(hours(&db, "a"), [0; 0]);
    fill(&db, 2);
    assert_eq!(hours(&db, "a"), [1, 0]);
    db.flush().unwrap();
    drop(db);
    let db = open(&disk, &clock);
    assert_eq!(hours(&db, "a"), [1, 0]);
    db.clean_tombstones().unwrap();
    assert_eq!(hours(&db, "a"), [1, 0]);
    let series = db.querier().series(&[], Timestamp::MIN, at(START_MS - 5 * HOUR_MS)).unwrap();
    assert_eq!(series.len(), 1, "{series:?}");
}

#[test]
fn a_series_without_samples_left_is_not_listed() {
    let (disk, clock) = (FaultyDisk::new(1), Clock::hand_set(at(START_MS)));
    let db = open(&disk, &clock);
    fill(&db, 10);
    db.flush().unwrap();
    db.delete_series(&matcher("a"), Timestamp::MIN, Timestamp::MAX).unwrap();
    let series = db.querier().series(&[], Timestamp::MIN, Timestamp::MAX).unwrap();
    assert_eq!(series.len(), 1, "{series:?}");
}

#[test]
fn nothing_is_written_for_what_is_not_there() {
    let (disk, clock) = (FaultyDisk::new(1), Clock::hand_set(at(START_MS)));
    let db = open(&disk, &clock);
    fill(&db, 10);
    db.flush().unwrap();
    let calls = disk.calls();
    db.delete_series(&matcher("c"), Timestamp::MIN, Timestamp::MAX).unwrap();
    db.delete_series(&matcher("a"), Timestamp::MIN, at(START_MS - 100 * HOUR_MS)).unwrap();
    assert_eq!(disk.calls(), calls);
    assert!(matches!(Db::in_memory().delete_series(&[], Timestamp::MIN, Timestamp::MAX), Err(Error::InMemory)));
}

#[test]
fn tombstones_go_with_the_blocks_they_are_meant_for() {
    let (disk, clock) = (FaultyDisk::new(1), Clock::hand_set(at(START_MS)));
    let db = open(&disk, &clock);
    fill(&db, 10);
    db.delete_series(&matcher("a"), Timestamp::MIN, Timestamp::MAX).unwrap();
    assert!(disk.exists(&Path::new(FOLDER).join("tombstones")));
    clock.advance(Duration::from_secs(40 * 24 * 3600));
    // A clock that jumped is believed after a while only.
    for _ in 0..4 {
        db.maintain();
        clock.advance(Duration::from_secs(3600));
    }
    assert_eq!(db.stats().blocks, 0);
    assert!(!disk.exists(&Path::new(FOLDER).join("tombstones")));
}

#[test]
fn a_failing_disk_deletes_all_of_it_or_nothing() {
    for n in 1.. {
        let (disk, clock) = (FaultyDisk::new(n), Clock::hand_set(at(START_MS)));
        let db = open(&disk, &clock);
        fill(&db, 10);
        disk.fail_call(n, Fault::Eio);
        let deleted = db.delete_series(&matcher("a"), Timestamp::MIN, Timestamp::MAX);
        disk.mend();
        let expected = if deleted.is_ok() { 0 } else { 10 };
        assert_eq!(hours(&db, "a").len(), expected, "call {n}");
        drop(db);
        let db = open(&disk, &clock);
        let left = hours(&db, "a").len();
        assert!(left == expected || (left == 0 && deleted.is_err()), "call {n}: {left}");
        assert_eq!(hours(&db, "b").len(), 10, "call {n}");
        if deleted.is_ok() && n > 200 {
            break;
        }
    }
}

#[test]
fn damaged_tombstones_are_put_aside_and_reported() {
    let (disk, clock) = (FaultyDisk::new(1), Clock::hand_set(at(START_MS)));
    let db = open(&disk, &clock);
    fill(&db, 10);
    db.delete_series(&matcher("a"), Timestamp::MIN, Timestamp::MAX).unwrap();
    drop(db);
    disk.flip(&Path::new(FOLDER).join("tombstones"), 12, 0x10);
    let db = open(&disk, &clock);
    assert_eq!(hours(&db, "a").len(), 10);
    assert_eq!(db.stats().damages.len(), 1);
    assert_eq!(disk.list(Path::new("/data/quarantine")).unwrap().len(), 1);
}
