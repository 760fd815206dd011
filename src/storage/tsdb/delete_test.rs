//! Deleting series: at once, over a restart, through merges, on failing disks.

use std::path::Path;
use std::time::Duration;

use super::{Batch, Config, Db, Error, WalSync};
use crate::clock::{Change, Clock, Trust};
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

/// Stamps a sample of `a` and one of `b` by the box's clock.
fn stamp(db: &Db, clock: &Clock) {
    let mut batch = Batch::default();
    for instance in ["a", "b"] {
        batch.push(&Labels::from_pairs([("__name__", "up"), ("instance", instance)]), clock.now(), 1.0);
    }
    assert_eq!(db.append_stamped(&batch, clock.moved_ms()).unwrap().appended, 2);
}

/// Returns a store that holds four hours of provisional samples, of `a` and `b`, from the start of `START_MS` on, and
/// its clock, that is behind true time by a day.
fn in_doubt(disk: &FaultyDisk) -> (Db, Clock) {
    let clock = Clock::hand_set(at(START_MS));
    clock.begin(Trust::Synchronized, None);
    let db = open(disk, &clock);
    for _ in 0..4 {
        stamp(&db, &clock);
        clock.advance(Duration::from_secs(3600));
    }
    assert!(db.has_provisional() && !clock.is_trusted());
    (db, clock)
}

/// A time server sets the clock right: a day on. Returns by how much samples move.
fn find_time(db: &Db, clock: &Clock) -> i64 {
    clock.set_wall(clock.now() + Duration::from_secs(24 * 3600), true);
    let (guide, change) = clock.look().unwrap();
    let Change::Found(by_ms) = change else { panic!("{change:?}") };
    db.move_provisional(by_ms, || clock.commit(guide));
    by_ms
}

#[test]
fn provisional_samples_are_deleted_too_and_do_not_come_back_when_they_are_moved() {
    let disk = FaultyDisk::new(1);
    let (db, clock) = in_doubt(&disk);
    let [second, third] = [1, 2].map(|hour| at(START_MS + hour * HOUR_MS));
    db.delete_series(&matcher("a"), second, third).unwrap();
    assert_eq!((hours(&db, "a"), hours(&db, "b")), (vec![0, -3], vec![0, -1, -2, -3]));
    // What comes later to the same place stays.
    stamp(&db, &clock);
    assert_eq!(hours(&db, "a"), [0, -3, -4]);
    db.close();
    drop(db);
    let db = open(&disk, &clock);
    db.resume_provisional(None).unwrap();
    assert_eq!(hours(&db, "a"), [0, -3, -4], "after a restart");
    find_time(&db, &clock);
    db.maintain();
    assert!(!db.has_provisional());
    assert_eq!((hours(&db, "a"), hours(&db, "b")), (vec![-24, -27, -28], vec![-24, -25, -26, -27, -28]));
}

#[test]
fn samples_that_wait_to_be_moved_are_deleted_by_the_times_they_move_to() {
    let disk = FaultyDisk::new(1);
    let (db, clock) = in_doubt(&disk);
    assert_eq!(find_time(&db, &clock), 24 * HOUR_MS);
    assert!(db.has_provisional());
    let third = at(START_MS + 26 * HOUR_MS);
    db.delete_series(&matcher("a"), third, Timestamp::MAX).unwrap();
    assert_eq!((hours(&db, "a"), hours(&db, "b").len()), (vec![-24, -25], 4));
    db.maintain();
    assert!(!db.has_provisional());
    assert_eq!((hours(&db, "a"), hours(&db, "b").len()), (vec![-24, -25], 4));
}
