//! The store beside a plain map, through cuts, merges, crashes, full and failing disks. A failure names the
//! seed that replays it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::due::Cut;
use super::{Batch, Config, Db, Error, SeriesRef, WalSync};
use crate::clock::Clock;
use crate::instrument::Registry;
use crate::model::{Labels, MatchOp, Matcher, Metadata, MetricKind, TimeRange, Timestamp, stale_nan};
use crate::storage::disk::{Disk, Fault, FaultyDisk};

const FOLDER: &str = "/data/tsdb";
const START_MS: i64 = 1_790_000_000_000;
const HOUR_MS: i64 = 3_600_000;

fn config(wal_sync: WalSync) -> Config {
    Config {
        retention: Duration::from_secs(30 * 24 * 3600),
        wal_sync,
        series_max: 1000,
        ahead_max: Duration::from_secs(600),
    }
}

fn open_at(disk: &FaultyDisk, clock: &Clock, wal_sync: WalSync) -> Result<Db, Error> {
    Db::open_without_threads(config(wal_sync), disk.shared(), Path::new(FOLDER), clock.clone(), &Registry::default())
}

fn open(disk: &FaultyDisk, clock: &Clock) -> Db {
    open_at(disk, clock, WalSync::Never).unwrap()
}

fn labels(metric: &str, instance: &str) -> Labels {
    Labels::from_pairs([("__name__", metric), ("instance", instance)])
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn append(db: &Db, labels: &Labels, samples: &[(i64, f64)]) -> super::AppendOutcome {
    let mut batch = Batch::default();
    samples.iter().for_each(|(t, v)| batch.push(labels, at(*t), *v));
    db.append(&batch).unwrap()
}

type Model = BTreeMap<Labels, BTreeMap<i64, u64>>;

fn read(db: &Db) -> Model {
    let set = db.querier().select(&[], Timestamp::MIN, Timestamp::MAX, usize::MAX).unwrap();
    let series = set.map(|s| s.unwrap());
    series.map(|s| (s.labels, s.timestamps.into_iter().zip(s.values.iter().map(|v| v.to_bits())).collect())).collect()
}

fn selected(db: &Db, matchers: &[Matcher]) -> Vec<String> {
    let set = db.querier().select(matchers, Timestamp::MIN, Timestamp::MAX, usize::MAX).unwrap();
    set.map(|s| s.unwrap().labels.to_string()).collect()
}

#[test]
fn samples_survive_the_end_of_the_process() {
    let (disk, clock) = (FaultyDisk::new(1), Clock::hand_set(at(START_MS)));
    let db = open(&disk, &clock);
    let values =
        [(START_MS - 5, 1.5), (START_MS - 4, stale_nan()), (START_MS - 3, -0.0), (START_MS - 2, f64::INFINITY)];
    assert_eq!(append(&db, &labels("up", "a"), &values).appended, 4);
    db.set_metadata("up", Metadata { kind: MetricKind::Gauge, help: "Up.".to_owned(), unit: String::new() });
    let before = read(&db);
    drop(db);
    let db = open(&disk, &clock);
    assert_eq!(read(&db), before);
    assert_eq!(db.metadata().len(), 1);
    assert_eq!(before[&labels("up", "a")].len(), 4);
}

#[test]
fn a_segment_that_is_gone_is_missed() {
    let (disk, clock) = (FaultyDisk::new(1), Clock::hand_set(at(START_MS)));
    let segments = |disk: &FaultyDisk| disk.files(&Path::new(FOLDER).join("wal"));
    let db = open(&disk, &clock);
    append(&db, &labels("up", "a"), &[(START_MS - 2, 1.0)]);
    db.close();
    drop(db);
    let db = open(&disk, &clock);
    assert_eq!(db.stats().damages, [""; 0]);
    append(&db, &labels("up", "a"), &[(START_MS - 1, 2.0)]);
    db.close();
    drop(db);
    assert_eq!(segments(&disk).len(), 2);
    for kept in [1, 0] {
        let disk = disk.fork();
        for (path, _) in segments(&disk).drain(kept..) {
            disk.shared().remove_file(&path).unwrap();
        }
        let db = open(&disk, &clock);
        let told = db.stats().damages.join("; ");
        assert!(told.contains(&format!("segments {} to 2 are missing", kept + 1)), "{told}");
        assert!(told.contains("begins at 2026-"), "{told}");
        assert_eq!(read(&db).values().map(BTreeMap::len).sum::<usize>(), kept);
        // It is told until something newer is there.
        append(&db, &labels("up", "a"), &[(START_MS, 3.0)]);
        db.close();
        drop(db);
        let db = open(&disk, &clock);
        assert_eq!(db.stats().damages, [""; 0]);
        assert_eq!(read(&db).values().map(BTreeMap::len).sum::<usize>(), kept + 1);
        // What blocks have is not missed.
        db.flush().unwrap();
        db.close();
        drop(db);
        assert!(segments(&disk).is_empty());
        let db = open(&disk, &clock);
        assert_eq!(db.stats().damages, [""; 0]);
        assert_eq!(read(&db).values().map(BTreeMap::len).sum::<usize>(), kept + 1);
    }
}

#[test]
fn a_slice_of_a_window_goes_to_a_block_and_its_series_go_on() {
    let (disk, clock) = (FaultyDisk::new(1), Clock::hand_set(at(START_MS)));
    let db = open(&disk, &clock);
    let series = db.series_ref(&labels("up", "a")).unwrap();
    let append = |time: i64| {
        let mut batch = Batch::default();
        batch.push_ref(series, at(time), time as f64);
        db.append(&batch).unwrap()
    };
    let window = TimeRange::new(at(START_MS - HOUR_MS), at(START_MS + HOUR_MS));
    for slice in 0..3 {
        for i in 0..50 {
            assert_eq!(append(START_MS - 200_000 + (slice * 50 + i) * 1000).appended, 1);
        }
        db.0.cut(Cut::Slice(window)).unwrap();
    }
    assert_eq!(append(START_MS).appended, 1);
    assert_eq!(append(START_MS - 199_500).out_of_order, 1);
    assert_eq!((db.stats().blocks, db.stats().head_series), (3, 1));
    let before = read(&db);
    assert_eq!(before[&labels("up", "a")].len(), 152);
    drop(db);
    let db = open(&disk, &clock);
    assert_eq!(read(&db), before);
}

#[test]
fn what_is_refused_is_counted_by_reason() {
    let (disk, clock) = (FaultyDisk::new(1), Clock::hand_set(at(START_MS)));
    let db = open(&disk, &clock);
    let up = labels("up", "a");
    let retention_ms = 30 * 24 * HOUR_MS;
    let samples = [
        (START_MS, 1.0),
        (START_MS, 1.0),
        (START_MS, 2.0),
        (START_MS + 600_000, 3.0),
        (START_MS + 600_001, 3.0),
        (START_MS - retention_ms, 4.0),
        (START_MS - retention_ms - 1, 4.0),
    ];
    let mut batch = Batch::default();
    samples.iter().for_each(|(t, v)| batch.push(&up, at(*t), *v));
    batch.push_ref(SeriesRef(77), at(START_MS), 1.0);
    let outcome = db.append(&batch).unwrap();
    assert_eq!((outcome.appended, outcome.out_of_order), (3, 1));
    assert_eq!((outcome.duplicate, outcome.conflicting), (1, 1));
    assert_eq!((outcome.too_new, outcome.too_old), (1, 1));
    assert_eq!((outcome.unknown_ref, outcome.unknown), (1, vec![7]));
    let again = db.append(&batch).unwrap();
    assert_eq!((again.appended, again.duplicate, again.conflicting), (0, 4, 1));
    for i in 0..1100 {
        let _ = db.series_ref(&labels("m", &i.to_string()));
    }
    assert_eq!(db.series_ref(&labels("m", "x")), None);
    assert_eq!(append(&db, &labels("m", "y"), &[(START_MS, 1.0)]).over_series_limit, 1);
    assert_eq!(append(&db, &up, &[(START_MS + 1, 1.0)]).appended, 1);
}

#[test]
fn samples_of_1970_are_taken_and_read_when_retention_allows() {
    let (disk, clock) = (FaultyDisk::new(1), Clock::hand_set(at(START_MS)));
    let century = Config { retention: Duration::from_secs(100 * 366 * 24 * 3600), ..config(WalSync::Never) };
    let reopen = || {
        let (shared, registry) = (disk.shared(), Registry::default());
        Db::open_without_threads(century.clone(), shared, Path::new(FOLDER), clock.clone(), &registry).unwrap()
    };
    let db = reopen();
    let samples: Vec<(i64, f64)> = (0..1000).map(|i| (i * 60_000, i as f64)).collect();
    for chunk in samples.chunks(10) {
        append(&db, &labels("old", "a"), chunk);
        append(&db, &labels("new", "a"), &[(START_MS + chunk[0].0 / 60_000, 1.0)]);
    }
    let expected = read(&db);
    assert_eq!(expected[&labels("old", "a")].len(), 1000);
    clock.advance(Duration::from_secs(10));
    db.maintain();
    assert_eq!(read(&db), expected);
    assert!(db.stats().blocks > 0);
    drop(db);
    assert_eq!(read(&reopen()), expected);
}

#[test]
fn matchers_select_the_same_from_head_and_blocks() {
    let (disk, clock) = (FaultyDisk::new(1), Clock::hand_set(at(START_MS)));
    let db = open(&disk, &clock);
    for i in 0..30 {
        append(&db, &labels("up", &format!("10.0.0.{i}")), &[(START_MS, 1.0)]);
        append(&db, &labels("down", &format!("press{i}")), &[(START_MS, 1.0)]);
    }
    append(&db, &Labels::from_pairs([("__name__", "bare")]), &[(START_MS, 1.0)]);
    let check = |name: &str, op, value: &str, expected: usize| {
        let matcher = Matcher::new(name, op, value).unwrap();
        assert_eq!(selected(&db, &[matcher]).len(), expected, "{name} {op:?} {value}");
        let both =
            [Matcher::new("__name__", MatchOp::Regex, "up|bare").unwrap(), Matcher::new(name, op, value).unwrap()];
        let plain = db.querier().series(&[], Timestamp::MIN, Timestamp::MAX).unwrap();
        let plain = plain.iter().filter(|l| both.iter().all(|m| m.matches_labels(l))).count();
        assert_eq!(selected(&db, &both).len(), plain, "up|bare and {name} {op:?} {value}");
    };
    for round in 0..2 {
        check("__name__", MatchOp::Equal, "up", 30);
        check("__name__", MatchOp::NotEqual, "up", 31);
        check("instance", MatchOp::Equal, "", 1);
        check("instance", MatchOp::NotEqual, "", 60);
        check("instance", MatchOp::Regex, "press.*", 30);
        check("instance", MatchOp::Regex, "press1|press2|10.0.0.3", 3);
        check("instance", MatchOp::Regex, ".*", 61);
        check("instance", MatchOp::Regex, ".+", 60);
        check("instance", MatchOp::NotRegex, "press.*", 31);
        check("instance", MatchOp::NotRegex, "press1|", 59);
        check("nothing", MatchOp::Equal, "x", 0);
        check("nothing", MatchOp::NotEqual, "x", 61);
        if round == 0 {
            db.flush().unwrap();
            assert_eq!(db.stats().head_samples, 0);
        }
    }
    let names = db.querier().label_names(&[], Timestamp::MIN, Timestamp::MAX).unwrap();
    assert_eq!(names, ["__name__", "instance"]);
    let metrics = db.querier().label_values("__name__", &[], Timestamp::MIN, Timestamp::MAX).unwrap();
    assert_eq!(metrics, ["bare", "down", "up"]);
}

#[test]
fn a_budget_of_samples_ends_a_selection() {
    let db = Db::in_memory();
    append(&db, &labels("a", "1"), &[(1, 1.0), (2, 1.0)]);
    append(&db, &labels("b", "1"), &[(1, 1.0), (2, 1.0)]);
    let read = |limit| db.querier().select(&[], at(0), at(9), limit).unwrap().collect::<Vec<_>>();
    assert_eq!(read(4).len(), 2);
    let over = read(3);
    assert!(over[0].is_ok() && matches!(over[1], Err(Error::TooManySamples { limit: 3 })));
    assert_eq!(over.len(), 2);
}

#[test]
fn blocks_are_cut_merged_and_retired_as_time_goes() {
    let (disk, clock) = (FaultyDisk::new(1), Clock::hand_set(at(START_MS)));
    let db = open(&disk, &clock);
    let reference = db.series_ref(&labels("up", "a")).unwrap();
    let mut appended = 0;
    for _ in 0..(40 * 24 * 2) {
        clock.advance(Duration::from_secs(1800));
        let mut batch = Batch::default();
        batch.push_ref(reference, clock.now(), 1.0);
        appended += db.append(&batch).unwrap().appended;
        db.maintain();
    }
    assert_eq!(appended, 40 * 48);
    let stats = db.stats();
    let kept_days = (stats.max_time.unwrap().as_millis() - stats.min_time.unwrap().as_millis()) / (24 * HOUR_MS);
    assert!((30..=31).contains(&kept_days), "{kept_days} days kept");
    assert!((30..=50).contains(&stats.blocks), "{} blocks", stats.blocks);
    assert!(stats.head_samples < 10 && stats.wal_bytes < 10_000, "{stats:?}");
    let samples = read(&db)[&labels("up", "a")].len();
    assert!((30 * 48..=32 * 48).contains(&samples), "{samples}");
    db.set_bytes_max(Some(1), Duration::from_secs(24 * 3600));
    db.maintain();
    let stats = db.stats();
    let left = stats.max_time.unwrap().as_millis() - stats.min_time.unwrap().as_millis();
    assert!((24 * HOUR_MS..=52 * HOUR_MS).contains(&left), "a day is kept whatever the limit: {left}");
}

#[test]
fn a_series_that_ended_leaves_the_head_and_its_reference_is_unknown() {
    let (disk, clock) = (FaultyDisk::new(1), Clock::hand_set(at(START_MS)));
    let db = open(&disk, &clock);
    let reference = db.series_ref(&labels("up", "a")).unwrap();
    append(&db, &labels("up", "a"), &[(START_MS, 1.0)]);
    for _ in 0..2 {
        clock.advance(Duration::from_secs(3 * 3600));
        append(&db, &labels("up", "b"), &[(clock.now().as_millis(), 1.0)]);
        db.maintain();
    }
    assert_eq!(db.stats().head_series, 1);
    let mut batch = Batch::default();
    batch.push_ref(reference, clock.now(), 1.0);
    assert_eq!(db.append(&batch).unwrap().unknown, [0]);
    assert_eq!(selected(&db, &[Matcher::equal("instance", "a")]).len(), 1);
    drop(db);
    let db = open(&disk, &clock);
    assert_eq!(selected(&db, &[]).len(), 2);
}

#[test]
fn a_slot_that_is_given_out_again_does_not_mix_two_series() {
    let (disk, clock) = (FaultyDisk::new(1), Clock::hand_set(at(START_MS)));
    let mut db = open(&disk, &clock);
    let name = |round: u64, i: u64| labels("up", &format!("{round}.{i}"));
    let mut stale = Vec::new();
    for round in 0..12 {
        for i in 0..3 {
            append(&db, &name(round, i), &[(clock.now().as_millis(), round as f64)]);
        }
        let mut batch = Batch::default();
        stale.iter().for_each(|r| batch.push_ref(*r, clock.now(), -1.0));
        assert_eq!(db.append(&batch).unwrap().unknown.len(), stale.len());
        // An ended series leaves with the second cut after its last sample.
        if round >= 2 {
            stale.truncate(30);
        }
        let references: Vec<SeriesRef> = (0..3).map(|i| db.series_ref(&name(round, i)).unwrap()).collect();
        db.flush().unwrap();
        db.flush().unwrap();
        assert_eq!(db.stats().head_series, 0);
        stale.extend(references);
        clock.advance(Duration::from_secs(3600));
        if round % 4 == 3 {
            drop(db);
            stale.clear();
            db = open(&disk, &clock);
        }
    }
    assert!(db.series_ref(&name(99, 0)).unwrap().0 & 0xffff_ffff < 12, "slots are given out again");
    let found = read(&db);
    assert_eq!(found.len(), 36);
    for round in 0..12 {
        for i in 0..3 {
            let samples = &found[&name(round, i)];
            assert_eq!(samples.values().copied().collect::<Vec<_>>(), [(round as f64).to_bits()]);
        }
    }
}

#[test]
fn late_samples_are_found_by_a_reader_with_a_cursor_also_after_a_restart() {
    let (disk, clock) = (FaultyDisk::new(1), Clock::hand_set(at(START_MS)));
    let db = open(&disk, &clock);
    append(&db, &labels("up", "a"), &[(START_MS, 1.0)]);
    let (cursor, ranges) = db.late_since(0);
    assert!(ranges.is_empty());
    append(&db, &labels("up", "b"), &[(START_MS - 5 * HOUR_MS, 1.0)]);
    for _ in 0..3 {
        let db = open(&disk, &clock);
        let (next, ranges) = db.late_since(cursor);
        assert_eq!(ranges.len(), 1);
        assert!(ranges[0].contains(at(START_MS - 5 * HOUR_MS)));
        assert!(db.late_since(next).1.is_empty());
        db.flush().unwrap();
    }
}

#[test]
fn a_batch_that_is_sent_again_after_a_failed_sync_is_safe_when_it_is_acknowledged() {
    for call in 1..12 {
        let (disk, clock) = (FaultyDisk::new(call), Clock::hand_set(at(START_MS)));
        let db = open_at(&disk, &clock, WalSync::Always).unwrap();
        let mut batch = Batch::default();
        batch.push(&labels("up", "a"), at(START_MS), 1.0);
        disk.fail_call(call, Fault::Eio);
        let first = db.append(&batch);
        disk.mend();
        if first.is_err() {
            db.append(&batch).unwrap();
        }
        let expected = read(&db);
        assert_eq!(expected.len(), 1);
        disk.crash();
        drop(db);
        assert_eq!(read(&open(&disk, &clock)), expected, "call {call}, first {first:?}");
    }
}

#[test]
fn a_full_disk_refuses_and_recovers_by_itself() {
    let (disk, clock) = (FaultyDisk::new(1), Clock::hand_set(at(START_MS)));
    let db = open(&disk, &clock);
    append(&db, &labels("up", "a"), &[(START_MS, 1.0)]);
    let used = (1 << 40) - disk.space(Path::new("/")).unwrap().free_bytes;
    disk.set_capacity(Some(used + 10));
    let mut batch = Batch::default();
    batch.push(&labels("up", "a"), at(START_MS + 1), 2.0);
    assert!(matches!(db.append(&batch), Err(Error::ReadOnly { .. })));
    assert!(db.stats().is_read_only);
    assert_eq!(read(&db)[&labels("up", "a")].len(), 1);
    disk.set_capacity(None);
    assert_eq!(db.append(&batch).unwrap().appended, 1);
    assert!(!db.stats().is_read_only);
    drop(db);
    assert_eq!(read(&open(&disk, &clock))[&labels("up", "a")].len(), 2);
}

/// A store with a sample in each of three blocks.
fn three_blocks(disk: &FaultyDisk, clock: &Clock) -> Vec<std::path::PathBuf> {
    let db = open(disk, clock);
    append(&db, &labels("up", "a"), &[(START_MS - 30 * HOUR_MS, 1.0), (START_MS - 10 * HOUR_MS, 2.0), (START_MS, 3.0)]);
    db.flush().unwrap();
    let blocks = disk.list(Path::new("/data/tsdb/blocks")).unwrap();
    assert_eq!(blocks.len(), 3);
    blocks.iter().map(|b| Path::new("/data/tsdb/blocks").join(&b.name)).collect()
}

fn size(disk: &FaultyDisk, path: &Path) -> usize {
    usize::try_from(disk.open(path).unwrap().size().unwrap()).unwrap()
}

#[test]
fn what_a_block_has_twice_may_be_damaged_once() {
    // The end of `index` and of `chunks` is the magic of the contents; both begin with their own.
    for (file, from_end) in [("meta.json", 30), ("index", 1), ("chunks", 1), ("index", 0), ("chunks", 0)] {
        let (disk, clock) = (FaultyDisk::new(1), Clock::hand_set(at(START_MS)));
        let path = three_blocks(&disk, &clock)[0].join(file);
        let offset = if from_end > 0 { size(&disk, &path) - from_end } else { 0 };
        disk.flip(&path, offset, 0x20);
        let db = open(&disk, &clock);
        assert_eq!(read(&db)[&labels("up", "a")].len(), 3, "{file} {from_end}");
        let is_noticed = file != "chunks" || from_end == 0;
        assert_eq!(db.stats().damages.len(), usize::from(is_noticed), "{file} {from_end}");
        assert_eq!(db.stats().blocks, 3, "{file} {from_end}");
    }
}

#[test]
fn a_damaged_page_of_an_index_costs_its_series_and_is_reported_once() {
    let (disk, clock) = (FaultyDisk::new(1), Clock::hand_set(at(START_MS)));
    let path = three_blocks(&disk, &clock)[0].join("index");
    disk.flip(&path, 20, 0x20);
    let db = open(&disk, &clock);
    for _ in 0..3 {
        assert_eq!(read(&db)[&labels("up", "a")].len(), 2);
    }
    assert_eq!(db.stats().damages.len(), 1, "{:?}", db.stats().damages);
    assert_eq!(db.stats().blocks, 3);
    let notes = disk.list(Path::new("/data/quarantine")).unwrap();
    assert_eq!(notes.len(), 1);
}

#[test]
fn a_block_without_contents_is_put_aside_and_the_rest_served() {
    let (disk, clock) = (FaultyDisk::new(1), Clock::hand_set(at(START_MS)));
    let block = &three_blocks(&disk, &clock)[0];
    for file in ["index", "chunks"] {
        let path = block.join(file);
        disk.flip(&path, size(&disk, &path) - 1, 0x20);
    }
    let db = open(&disk, &clock);
    assert_eq!(read(&db)[&labels("up", "a")].len(), 2);
    assert_eq!(db.stats().damages.len(), 1);
    assert_eq!(db.stats().blocks, 2);
    assert_eq!(disk.list(Path::new("/data/quarantine")).unwrap().len(), 1);
}

#[test]
fn times_that_many_series_share_may_be_damaged_once() {
    let (disk, clock) = (FaultyDisk::new(1), Clock::hand_set(at(START_MS)));
    let db = open(&disk, &clock);
    let instances: Vec<String> = (0..20).map(|i| format!("i{i}")).collect();
    for instance in &instances {
        append(&db, &labels("up", instance), &[(START_MS - 30 * HOUR_MS, 1.5), (START_MS - 29 * HOUR_MS, 2.5)]);
    }
    db.flush().unwrap();
    let block = disk.list(Path::new("/data/tsdb/blocks")).unwrap().remove(0).name;
    // The first column behind the magic is that of the times.
    disk.flip(&Path::new("/data/tsdb/blocks").join(&block).join("chunks"), 10, 0x01);
    let found = read(&db);
    assert!(found.len() == 20 && found.values().all(|samples| samples.len() == 2), "{found:?}");
    assert_eq!(db.stats().damages.len(), 1);
}

#[test]
fn a_damaged_chunk_costs_that_chunk_only() {
    let (disk, clock) = (FaultyDisk::new(1), Clock::hand_set(at(START_MS)));
    let db = open(&disk, &clock);
    append(&db, &labels("up", "a"), &[(START_MS, 1.0)]);
    append(&db, &labels("up", "b"), &[(START_MS, 2.0)]);
    db.flush().unwrap();
    let block = disk.list(Path::new("/data/tsdb/blocks")).unwrap().remove(0).name;
    let chunks = Path::new("/data/tsdb/blocks").join(block).join("chunks");
    // The magic, a column of times, the first column of values, and into the second; checksums behind each.
    disk.flip(&chunks, 8 + (9 + 4) + (3 + 4) + 1, 0xff);
    assert_eq!(read(&db).keys().map(ToString::to_string).collect::<Vec<_>>(), ["up{instance=\"a\"}"]);
}

#[test]
fn a_block_whose_chunks_are_all_damaged_does_not_stop_the_merging_of_its_day() {
    let (disk, clock) = (FaultyDisk::new(1), Clock::hand_set(at(START_MS)));
    let db = open(&disk, &clock);
    for hours in [0, 2, 4, 6] {
        append(&db, &labels("up", "a"), &[(START_MS + hours * HOUR_MS, 1.0)]);
        clock.advance(Duration::from_secs(2 * 3600));
        db.flush().unwrap();
    }
    for block in disk.list(Path::new("/data/tsdb/blocks")).unwrap() {
        let chunks = Path::new("/data/tsdb/blocks").join(block.name).join("chunks");
        let size = usize::try_from(disk.open(&chunks).unwrap().size().unwrap()).unwrap();
        (8..size).for_each(|at| disk.flip(&chunks, at, 0xff));
    }
    clock.advance(Duration::from_secs(30 * 3600));
    db.maintain();
    assert_eq!(db.stats().blocks, 0);
    let quarantine = disk.list(Path::new("/data/quarantine")).unwrap();
    assert_eq!(quarantine.iter().filter(|e| e.is_folder).count(), 4);
}

#[test]
fn a_backfill_goes_to_blocks_while_it_comes_and_what_is_last_some_seconds_later() {
    let (disk, clock) = (FaultyDisk::new(1), Clock::hand_set(at(START_MS)));
    let db = open(&disk, &clock);
    let begin = (START_MS - 11 * HOUR_MS).div_euclid(2 * HOUR_MS) * 2 * HOUR_MS;
    // Newest window first, each in time order; a live series beside it.
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let mut model: BTreeMap<&str, BTreeMap<i64, u64>> = BTreeMap::new();
    for window in (0..3).rev() {
        for minute in 0..120 {
            let mut batch = Batch::default();
            for (i, name) in (0..600).zip(names.iter().cycle()) {
                let time = begin + window * 2 * HOUR_MS + minute * 60_000 + i * 100;
                batch.push(&labels("old", name), at(time), i as f64);
                model.entry(name).or_default().insert(time, (i as f64).to_bits());
            }
            db.append(&batch).unwrap();
        }
        append(&db, &labels("up", "a"), &[(clock.now().as_millis(), 1.0)]);
        clock.advance(Duration::from_secs(1));
        db.maintain();
    }
    let stats = db.stats();
    assert!((2..=3).contains(&stats.blocks), "{stats:?}");
    assert!(stats.head_samples < 80_000, "{stats:?}");
    clock.advance(Duration::from_secs(600));
    db.maintain();
    let stats = db.stats();
    assert_eq!(stats.blocks, 3, "each window once: {stats:?}");
    assert_eq!(stats.head_samples, 3, "only what is live is in the head");
    let check = |db: &Db| {
        let found = read(db);
        names.iter().for_each(|name| assert_eq!(found[&labels("old", name)], model[name], "{name}"));
    };
    check(&db);
    drop(db);
    check(&open(&disk, &clock));
}

#[test]
fn a_snapshot_is_a_store_with_all_that_was_acknowledged() {
    let (disk, clock) = (FaultyDisk::new(1), Clock::hand_set(at(START_MS)));
    let db = open(&disk, &clock);
    append(&db, &labels("up", "a"), &[(START_MS - 50 * HOUR_MS, 1.0), (START_MS - 5 * HOUR_MS, 2.0)]);
    db.flush().unwrap();
    append(&db, &labels("up", "a"), &[(START_MS, 3.0), (START_MS - 20 * HOUR_MS, 2.5)]);
    append(&db, &labels("up", "b"), &[(START_MS, 4.0)]);
    db.set_metadata("up", Metadata { kind: MetricKind::Gauge, help: "Up.".to_owned(), unit: String::new() });
    let before = read(&db);
    let into = Path::new("/data/copies/one");
    let used = disk.space(Path::new("/")).unwrap().free_bytes;
    let info = db.snapshot(into).unwrap();
    assert_eq!((info.blocks, info.samples), (4, 5));
    // Beside the blocks there is a checkpoint, mostly its gap and parity.
    let taken = used - disk.space(Path::new("/")).unwrap().free_bytes;
    assert!(info.written_bytes < info.bytes && taken < 2 * info.bytes + 10_000, "{taken} {info:?}");
    assert!(matches!(db.snapshot(into), Err(Error::Exists { .. })));
    append(&db, &labels("up", "a"), &[(START_MS + 1, 9.0)]);
    assert_eq!(db.stats().blocks, 2);
    drop(db);
    disk.crash();
    disk.remove_folder(Path::new(FOLDER)).unwrap();
    let registry = Registry::default();
    let copy = Db::open_without_threads(config(WalSync::Never), disk.shared(), into, clock, &registry).unwrap();
    assert_eq!(read(&copy), before);
    assert_eq!(copy.metadata().len(), 1);
    assert!(matches!(Db::in_memory().snapshot(into), Err(Error::InMemory)));
}

#[test]
fn a_snapshot_that_fails_leaves_nothing() {
    for n in 1.. {
        let (disk, clock) = (FaultyDisk::new(1), Clock::hand_set(at(START_MS)));
        let db = open(&disk, &clock);
        append(&db, &labels("up", "a"), &[(START_MS - 5 * HOUR_MS, 2.0)]);
        db.flush().unwrap();
        append(&db, &labels("up", "a"), &[(START_MS, 3.0)]);
        disk.fail_call(n, Fault::Enospc);
        let made = db.snapshot(Path::new("/data/copy"));
        disk.mend();
        assert_eq!(made.is_ok(), disk.exists(Path::new("/data/copy")), "call {n}");
        assert_eq!(read(&db)[&labels("up", "a")].len(), 2);
        if made.is_ok() && n > 60 {
            break;
        }
    }
}

#[test]
fn a_disk_that_fails_refuses_and_takes_again_by_itself() {
    for fault in [Fault::Eio, Fault::Enospc] {
        let (disk, clock) = (FaultyDisk::new(1), Clock::hand_set(at(START_MS)));
        let db = open(&disk, &clock);
        append(&db, &labels("up", "a"), &[(START_MS, 1.0)]);
        let mut batch = Batch::default();
        batch.push(&labels("up", "a"), at(START_MS + 1), 2.0);
        disk.fail_call(1, fault);
        assert!(matches!(db.append(&batch), Err(Error::ReadOnly { .. })), "{fault:?}");
        assert_eq!(read(&db)[&labels("up", "a")].len(), 1, "{fault:?}");
        // The disk takes writes again: so does the next append, without a restart.
        assert_eq!(db.append(&batch).unwrap().appended, 1, "{fault:?}");
        assert!(!db.stats().is_read_only);
        drop(db);
        disk.crash();
        let found = read(&open(&disk, &clock));
        assert!(found.get(&labels("up", "a")).is_none_or(|s| s.len() <= 2), "{fault:?}");
    }
}
