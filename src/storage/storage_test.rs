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
    assert_eq!(storage.db.stats().blocks, 3);
    storage.balance();
    storage.db.maintain();
    assert_eq!(storage.db.stats().blocks, 1, "the last day is kept");
    let left = storage.db.querier().select(&[], Timestamp::MIN, Timestamp::MAX, 10).unwrap();
    assert_eq!(left.map(|s| s.unwrap().timestamps.len()).sum::<usize>(), 1);
}
