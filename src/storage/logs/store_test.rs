//! The store through its door: order, limits, restart, retention, damage.

use std::path::Path;
use std::time::Duration;

use super::files::DAY_NS;
use super::*;
use crate::clock::Clock;
use crate::instrument::Registry;
use crate::model::{Labels, LogEntry, Matcher, Timestamp};
use crate::storage::disk::{Disk, FaultyDisk};

const FOLDER: &str = "/data/logs";
/// Noon of 2026-08-21.
const NOON_NS: i64 = 20_686 * DAY_NS + DAY_NS / 2;
const SECOND: i64 = 1_000_000_000;

fn clock() -> Clock {
    Clock::hand_set(Timestamp::from_millis(NOON_NS / 1_000_000))
}

fn config() -> Config {
    Config { sync_interval: Duration::ZERO, ..Config::usual() }
}

fn open_with(disk: &FaultyDisk, config: Config, clock: &Clock) -> LogStore {
    LogStore::open(disk.shared(), Path::new(FOLDER), config, clock.clone(), &Registry::default()).unwrap()
}

fn open(disk: &FaultyDisk) -> LogStore {
    open_with(disk, config(), &clock())
}

fn entry(device: &str, timestamp_ns: i64, line: &str) -> LogEntry {
    LogEntry { stream: Labels::from_pairs([("device", device)]), timestamp_ns, line: line.to_owned() }
}

fn all(direction: Direction) -> ScanRequest {
    ScanRequest { matchers: vec![], start_ns: i64::MIN, end_ns: i64::MAX, direction, needles: vec![] }
}

fn texts(store: &LogStore, request: &ScanRequest) -> Vec<String> {
    store.scan(request).unwrap().map(|e| e.unwrap().line).collect()
}

fn ascending(store: &LogStore) -> Vec<String> {
    texts(store, &all(Direction::Forward))
}

#[test]
fn lines_come_in_order_wherever_they_lie() {
    let disk = FaultyDisk::new(1);
    let store = open(&disk);
    let lines = |offsets: &[i64]| -> Vec<LogEntry> {
        let device = |o: i64| if o % 2 == 0 { "even" } else { "odd" };
        offsets.iter().map(|o| entry(device(*o), NOON_NS - o * 3600 * SECOND, &o.to_string())).collect()
    };
    store.append(lines(&[30, 2, 7])).unwrap();
    store.flush().unwrap();
    store.append(lines(&[1, 31, 5])).unwrap();
    store.flush().unwrap();
    store.append(lines(&[6, 0, 29, 4])).unwrap();
    let expected = ["0", "1", "2", "4", "5", "6", "7", "29", "30", "31"];
    for store in [store, open(&disk)] {
        assert_eq!(texts(&store, &all(Direction::Backward)), expected);
        assert_eq!(ascending(&store).iter().rev().map(String::as_str).collect::<Vec<_>>(), expected);
        let odd = ScanRequest { matchers: vec![Matcher::equal("device", "odd")], ..all(Direction::Backward) };
        assert_eq!(texts(&store, &odd), ["1", "5", "7", "29", "31"]);
        let hours = |from: i64, to: i64| ScanRequest {
            start_ns: NOON_NS - from * 3600 * SECOND,
            end_ns: NOON_NS - to * 3600 * SECOND,
            ..all(Direction::Backward)
        };
        assert_eq!(texts(&store, &hours(5, 2)), ["4", "5"]);
        assert_eq!(texts(&store, &hours(30, 7)), ["29", "30"]);
        assert!(texts(&store, &hours(2, 2)).is_empty());
        assert!(texts(&store, &hours(2, 5)).is_empty());
    }
}

#[test]
fn lines_of_the_same_time_keep_the_order_they_came_in() {
    let disk = FaultyDisk::new(1);
    let store = open(&disk);
    for n in 0..3 {
        store.append(vec![entry("a", NOON_NS, &format!("{n}.1")), entry("a", NOON_NS, &format!("{n}.2"))]).unwrap();
        if n < 2 {
            store.flush().unwrap();
        }
    }
    let expected = ["0.1", "0.2", "1.1", "1.2", "2.1", "2.2"];
    assert_eq!(ascending(&store), expected);
    let mut backward = texts(&store, &all(Direction::Backward));
    backward.reverse();
    assert_eq!(backward, expected);
}

#[test]
fn the_same_line_twice_is_one_line() {
    let disk = FaultyDisk::new(1);
    let store = open(&disk);
    for _ in 0..2 {
        store.append(vec![entry("a", NOON_NS, "x"), entry("b", NOON_NS, "x"), entry("a", NOON_NS, "y")]).unwrap();
        store.flush().unwrap();
    }
    store.append(vec![entry("a", NOON_NS, "x"), entry("a", NOON_NS + 1, "x")]).unwrap();
    assert_eq!(ascending(&store).len(), 4);
    assert_eq!(texts(&store, &all(Direction::Backward)).len(), 4);
}

#[test]
fn what_is_refused_and_cut_is_counted() {
    let disk = FaultyDisk::new(1);
    let config = Config { streams_max: 2, line_bytes_max: 5, ..config() };
    let store = open_with(&disk, config, &clock());
    let week = 7 * DAY_NS;
    let outcome = store
        .append(vec![
            entry("a", NOON_NS - week, "oldest"),
            entry("a", NOON_NS - week - 1, "older"),
            entry("a", NOON_NS + 600 * SECOND, "abcdü"),
            entry("a", NOON_NS + 600 * SECOND + 1, "newer"),
            entry("b", NOON_NS, "b"),
            entry("c", NOON_NS, "c"),
            entry("a", NOON_NS + 1, "a"),
            entry(&"x".repeat(5000), NOON_NS, "x"),
        ])
        .unwrap();
    let expected =
        AppendOutcome { appended: 4, too_old: 1, too_new: 1, truncated: 2, over_stream_limit: 1, over_label_limit: 1 };
    assert_eq!(outcome, expected);
    assert_eq!(ascending(&store), ["oldes", "b", "a", "abcd"]);
    store.flush().unwrap();
    // The limit is of active streams: a part makes room.
    assert_eq!(store.append(vec![entry("c", NOON_NS, "c")]).unwrap().appended, 1);
}

#[test]
fn the_tail_hears_what_was_taken() {
    let store = open(&FaultyDisk::new(1));
    let mut tail = store.tail();
    store.append(vec![entry("a", NOON_NS, "one"), entry("a", 0, "too old"), entry("b", NOON_NS, "two")]).unwrap();
    let heard: Vec<String> = std::iter::from_fn(|| tail.try_recv().ok()).map(|e| e.line.clone()).collect();
    assert_eq!(heard, ["one", "two"]);
}

#[test]
fn labels_are_listed_by_time_and_stream() {
    let disk = FaultyDisk::new(1);
    let store = open(&disk);
    let labelled = |pairs: &[(&str, &str)], timestamp_ns| LogEntry {
        stream: Labels::from_pairs(pairs.iter().copied()),
        timestamp_ns,
        line: "x".to_owned(),
    };
    store.append(vec![labelled(&[("job", "a"), ("level", "warn")], NOON_NS - DAY_NS)]).unwrap();
    store.flush().unwrap();
    store.append(vec![labelled(&[("job", "b"), ("unit", "u")], NOON_NS)]).unwrap();
    let names = |start, end| store.label_names(&[], start, end).unwrap();
    assert_eq!(names(0, i64::MAX), ["job", "level", "unit"]);
    assert_eq!(names(NOON_NS, i64::MAX), ["job", "unit"]);
    assert_eq!(names(NOON_NS - DAY_NS, NOON_NS), ["job", "level"]);
    assert_eq!(store.label_values("job", &[], 0, i64::MAX).unwrap(), ["a", "b"]);
    let matcher = [Matcher::equal("level", "warn")];
    assert_eq!(store.label_values("job", &matcher, 0, i64::MAX).unwrap(), ["a"]);
    assert_eq!(store.streams(&[], NOON_NS + 1, i64::MAX).unwrap(), []);
}

#[test]
fn needles_pass_blocks_over_and_lose_no_line() {
    let disk = FaultyDisk::new(1);
    let store = open(&disk);
    for device in ["a", "b", "c"] {
        let line = |n: i64| entry(device, NOON_NS + n, &format!("device {device} batch {n:04} done"));
        store.append((0..500).map(line).collect()).unwrap();
    }
    store.flush().unwrap();
    let request = ScanRequest { needles: vec!["device b batch 03".to_owned()], ..all(Direction::Backward) };
    let mut scan = store.scan(&request).unwrap();
    let found: Vec<LogEntry> =
        scan.by_ref().map(|e| e.unwrap()).filter(|e| e.line.contains("device b batch 03")).collect();
    assert_eq!(found.len(), 100);
    assert_eq!((scan.stats().blocks_read, scan.stats().blocks_passed), (1, 2));
}

#[test]
fn days_go_after_retention() {
    let disk = FaultyDisk::new(1);
    let clock = clock();
    let store = open_with(&disk, config(), &clock);
    store.append(vec![entry("a", NOON_NS - 6 * DAY_NS, "old"), entry("a", NOON_NS, "new")]).unwrap();
    store.flush().unwrap();
    let days = |store: &LogStore| store.stats().days.into_iter().map(|(day, _)| day).collect::<Vec<_>>();
    store.retain();
    assert_eq!(days(&store), ["2026-08-15", "2026-08-21"]);
    clock.advance(Duration::from_secs(86_400 + 43_199));
    store.retain();
    assert_eq!(days(&store).len(), 2);
    clock.advance(Duration::from_secs(1));
    store.retain();
    assert_eq!(days(&store), ["2026-08-21"]);
    assert_eq!(ascending(&store), ["new"]);
    assert!(!disk.exists(&Path::new(FOLDER).join("days/2026-08-15")));
    assert_eq!(store.delete_oldest_day().unwrap(), None);
}

#[test]
fn the_oldest_day_makes_room_but_never_the_newest() {
    let disk = FaultyDisk::new(1);
    let store = open(&disk);
    store.append((0..3).map(|n| entry("a", NOON_NS - n * DAY_NS, &n.to_string())).collect()).unwrap();
    store.flush().unwrap();
    assert!(store.delete_oldest_day().unwrap().unwrap() > 100);
    assert_eq!(ascending(&store), ["1", "0"]);
    assert!(store.delete_oldest_day().unwrap().is_some());
    assert_eq!(store.delete_oldest_day().unwrap(), None);
    assert_eq!(ascending(&open(&disk)), ["0"]);
}

#[test]
fn a_scan_survives_that_its_day_is_deleted() {
    let disk = FaultyDisk::new(1);
    let store = open(&disk);
    store.append((0..2).map(|n| entry("a", NOON_NS - n * DAY_NS, &n.to_string())).collect()).unwrap();
    store.flush().unwrap();
    let mut scan = store.scan(&all(Direction::Backward)).unwrap();
    assert_eq!(scan.next().unwrap().unwrap().line, "0");
    store.delete_oldest_day().unwrap();
    assert!(scan.next().is_none());
    assert_eq!(scan.stats().blocks_damaged, 0);
}

#[test]
fn a_full_head_becomes_a_part() {
    let disk = FaultyDisk::new(1);
    let store = open_with(&disk, Config { head_bytes_max: 10_000, ..config() }, &clock());
    for n in 0..100 {
        store.append(vec![entry("a", NOON_NS + n, &"x".repeat(500))]).unwrap();
        assert!(store.stats().head_bytes < 11_000);
    }
    assert!(store.stats().days[0].1 > 0);
    assert!(store.stats().wal_bytes < 15_000);
    assert_eq!(ascending(&store).len(), 100);
}

#[test]
fn a_full_disk_refuses_appends_until_there_is_space() {
    let disk = FaultyDisk::new(1);
    let store = open(&disk);
    disk.set_capacity(Some(200_000));
    let line = |n: i64| vec![entry("a", NOON_NS + n, &format!("{n:04} {}", "x".repeat(1000)))];
    let taken = (0..1000).take_while(|n| store.append(line(*n)).is_ok()).count();
    assert!((100..200).contains(&taken), "{taken}");
    assert!(matches!(store.append(line(999)), Err(Error::ReadOnly { .. })));
    assert_eq!(ascending(&store).len(), taken);
    assert!(store.stats().is_read_only);
    disk.set_capacity(None);
    store.append(line(999)).unwrap();
    assert_eq!(ascending(&open(&disk)).len(), taken + 1);
}

#[test]
fn a_damaged_block_costs_itself_and_a_damaged_part_goes_to_quarantine() {
    let disk = FaultyDisk::new(1);
    let store = open(&disk);
    for device in ["a", "b"] {
        store.append((0..50).map(|n| entry(device, NOON_NS + n, &format!("{device}{n}"))).collect()).unwrap();
    }
    store.flush().unwrap();
    let part = Path::new(FOLDER).join("days/2026-08-21/00000001.part");
    let bytes = {
        let file = disk.open(&part).unwrap();
        file.read_exact_at(0, usize::try_from(file.size().unwrap()).unwrap()).unwrap()
    };
    // Inside the first block's frame, which begins with zstd's magic.
    let frame = bytes.windows(4).position(|w| w == [0x28, 0xb5, 0x2f, 0xfd]).unwrap();
    disk.flip(&part, frame + 20, 0x20);
    for store in [store, open(&disk)] {
        let mut scan = store.scan(&all(Direction::Forward)).unwrap();
        let found: Vec<String> = scan.by_ref().map(|e| e.unwrap().line).collect();
        assert_eq!((found.len(), found[0].as_str()), (50, "b0"));
        assert_eq!(scan.stats().blocks_damaged, 1);
    }
    disk.flip(&part, bytes.len() - 10, 0x20);
    let store = open(&disk);
    assert!(ascending(&store).is_empty());
    assert!(!disk.exists(&part));
    assert_eq!(disk.list(Path::new("/data/quarantine")).unwrap().len(), 1);
    store.append(vec![entry("a", NOON_NS, "after")]).unwrap();
    store.flush().unwrap();
    assert_eq!(ascending(&open(&disk)), ["after"]);
}

#[test]
fn a_line_whose_definition_was_lost_keeps_its_text() {
    for has_part in [false, true] {
        let disk = FaultyDisk::new(1);
        let store = open(&disk);
        if has_part {
            store.append(vec![entry("a", NOON_NS, "in a part")]).unwrap();
            store.flush().unwrap();
        }
        store.append(vec![entry("a", NOON_NS + 1, "first of its segment")]).unwrap();
        store.append(vec![entry("a", NOON_NS + 2, "second")]).unwrap();
        let wal = Path::new(FOLDER).join("wal");
        let newest = disk.list(&wal).unwrap().pop().unwrap().name;
        disk.flip(&wal.join(newest), 60, 0x01);
        let store = open(&disk);
        let found: Vec<LogEntry> = store.scan(&all(Direction::Backward)).unwrap().map(|e| e.unwrap()).collect();
        assert_eq!(found[0].line, "second", "part: {has_part}");
        let expected = if has_part { "device" } else { "stream_id" };
        assert_eq!(found[0].stream.iter().next().unwrap().0, expected);
        assert_eq!(found.len(), 1 + usize::from(has_part));
    }
}

#[test]
fn threads_sync_and_end_with_the_last_handle() {
    let folder = tempfile::tempdir().unwrap();
    let disk: std::sync::Arc<dyn Disk> = std::sync::Arc::new(crate::storage::disk::OsDisk);
    let config = Config { sync_interval: Duration::from_millis(5), ..Config::usual() };
    let registry = Registry::default();
    let open = || LogStore::open(disk.clone(), folder.path(), config.clone(), Clock::system(), &registry).unwrap();
    let store = open();
    let now = Clock::system().now_ns();
    store.append((0..10).map(|n| entry("a", now + n, &n.to_string())).collect()).unwrap();
    store.close().unwrap();
    drop(store);
    assert_eq!(ascending(&open()).len(), 10);
}

#[test]
fn a_snapshot_has_what_was_there_and_stays_when_days_go() {
    let disk = FaultyDisk::new(1);
    let store = open(&disk);
    let old = NOON_NS - DAY_NS;
    store.append(vec![entry("a", old, "yesterday"), entry("a", NOON_NS, "in a part")]).unwrap();
    store.flush().unwrap();
    store.append(vec![entry("b", NOON_NS + SECOND, "in the log")]).unwrap();
    store.snapshot(Path::new("/data/copy/logs")).unwrap();
    store.delete_oldest_day().unwrap().unwrap();
    store.append(vec![entry("b", NOON_NS + 2 * SECOND, "after")]).unwrap();
    store.flush().unwrap();
    drop(store);
    let copy =
        LogStore::open(disk.shared(), Path::new("/data/copy/logs"), config(), clock(), &Registry::default()).unwrap();
    let lines = ascending(&copy);
    assert_eq!(
        lines.get(..3),
        Some(["yesterday", "in a part", "in the log"].map(str::to_owned).as_slice()),
        "{lines:?}"
    );
}
