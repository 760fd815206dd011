//! The data folder: one owner, clear refusals, one size limit.

use std::time::Duration;

use super::{Config, Error, Storage, logs, tsdb};
use crate::clock::{Clock, Trust};
use crate::instrument::Registry;
use crate::model::{Labels, Timestamp};

fn config(folder: &std::path::Path) -> Config {
    Config {
        folder: folder.to_owned(),
        size_limit: None,
        reserve_bytes: 0,
        tsdb: tsdb::Config {
            retention: Duration::from_secs(15 * 24 * 3600),
            wal_sync: tsdb::WalSync::Interval(Duration::from_secs(1)),
            series_max: 1000,
            ahead_max: Duration::from_secs(600),
        },
        clock_trust: Trust::default(),
        logs: logs::Config::usual(),
    }
}

fn open(config: Config) -> Result<Storage, Error> {
    Storage::open(config, Clock::system(), &Registry::default())
}

#[test]
fn a_data_folder_has_one_owner_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(config(folder.path())).unwrap();
    let refused = open(config(folder.path())).unwrap_err();
    assert!(matches!(refused, Error::InUse { .. }), "{refused}");
    assert!(refused.to_string().contains(&folder.path().display().to_string()), "{refused}");
    first.close();
    drop(first);
    open(config(folder.path())).unwrap();
}

#[test]
fn a_data_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = tempfile::NamedTempFile::new_in(folder.path()).unwrap();
    let refused = open(config(&file.path().join("data"))).unwrap_err();
    assert!(matches!(refused, Error::NotWritable { .. }), "{refused}");
    assert!(refused.to_string().contains("data"), "{refused}");
}

#[test]
fn over_the_size_limit_the_oldest_block_goes() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(Config { size_limit: Some(1), ..config(folder.path()) }).unwrap();
    let now = Clock::system().now();
    for hours in [100, 50, 0] {
        let mut batch = tsdb::Batch::default();
        batch.push(&Labels::from_pairs([("__name__", "up")]), now - Duration::from_secs(hours * 3600), 1.0);
        storage.db.append(&batch).unwrap();
    }
    storage.db.flush().unwrap();
    storage.balance();
    storage.db.maintain();
    assert_eq!(storage.db.stats().blocks, 1, "the newest hour is kept");
    let left = storage.db.querier().select(&[], Timestamp::MIN, Timestamp::MAX, 10).unwrap();
    assert_eq!(left.map(|s| s.unwrap().timestamps.len()).sum::<usize>(), 1);
}

/// Appends a sample of so many hours ago for each of a hundred series, and makes a block of them.
fn block(storage: &Storage, hours: u64) {
    let mut batch = tsdb::Batch::default();
    let at = Clock::system().now() - Duration::from_secs(hours * 3600);
    for i in 0..100_u32 {
        let labels = Labels::from_pairs([("__name__", "up"), ("instance", &i.to_string())]);
        batch.push(&labels, at, f64::from(i) + hours as f64 / 7.0);
    }
    storage.db.append(&batch).unwrap();
    storage.db.flush().unwrap();
}

/// More than a checkpoint takes that says next to nothing.
const SMALL: u64 = 10_000;

#[test]
fn snapshots_are_listed_with_what_only_they_hold_and_go_before_any_data() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(config(folder.path())).unwrap();
    for hours in [100, 50] {
        block(&storage, hours);
    }
    storage.keep_snapshot("1", true).unwrap();
    block(&storage, 2);
    storage.keep_snapshot("2", false).unwrap();
    let block_bytes = |storage: &Storage| storage.db.stats().block_bytes;
    let links = |storage: &Storage| storage.kept_snapshots().iter().map(|k| k.bytes).collect::<Vec<_>>();
    let own = |storage: &Storage| storage.kept_snapshots().iter().map(|k| k.own_bytes).collect::<Vec<_>>();
    assert!(links(&storage)[0] < links(&storage)[1]);
    // Beside links there is the small checkpoint of what readers need beside samples, mostly its gap and parity.
    assert!(own(&storage).iter().all(|bytes| *bytes < SMALL), "{:?}", own(&storage));

    // The store gives up its oldest block: only snapshots hold it, and of those the younger one is counted with it.
    let before = block_bytes(&storage);
    storage.db.set_bytes_max(Some(storage.db.disk_bytes() - 1), Duration::ZERO);
    storage.db.maintain();
    let freed = before - block_bytes(&storage);
    assert!(freed > 0 && storage.db.stats().blocks == 2);
    let [first, second] = own(&storage)[..] else { panic!() };
    assert!(first < SMALL && second >= freed, "{first} {second} {freed}");
    storage.db.set_bytes_max(None, Duration::ZERO);
    let (parts, _) = storage.usage();
    assert!(parts.contains(&(super::Part::Snapshots, first + second)));

    // Within the limit with them, nothing goes; a byte less, and they go while the data stay.
    let used = storage.db.disk_bytes() + storage.logs.stats().disk_bytes + first + second;
    let limited = |size_limit| {
        let config = Config { size_limit: Some(size_limit), ..config(folder.path()) };
        let storage = open(config).unwrap();
        storage.balance();
        storage.db.maintain();
        let left = (storage.kept_snapshots().len(), storage.db.stats().blocks);
        storage.close();
        left
    };
    storage.close();
    drop(storage);
    // The logs of the stores may have grown by some bytes with the start.
    assert_eq!(limited(used + 4096), (2, 2));
    assert_eq!(limited(used - first - second + 200), (0, 2));
}
