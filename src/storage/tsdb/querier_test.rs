//! Sets of series that are cut to be read at the same time.

use std::path::Path;
use std::time::Duration;

use super::{Batch, Config, Db, Result, SeriesSamples, SeriesSet, WalSync};
use crate::clock::Clock;
use crate::instrument::Registry;
use crate::model::{Labels, Matcher, Timestamp};
use crate::storage::disk::FaultyDisk;

const START_MS: i64 = 1_790_000_000_000;
const HOUR_MS: i64 = 3_600_000;
/// More than a page of an index has.
const SERIES: i64 = 1500;

/// Returns a store with two blocks and a head, of which each has some of the series and the others not.
fn store() -> Db {
    let (disk, clock) = (FaultyDisk::new(1), Clock::hand_set(Timestamp::from_millis(START_MS)));
    let config = Config {
        retention: Duration::from_secs(30 * 24 * 3600),
        wal_sync: WalSync::Never,
        series_max: 10_000,
        ahead_max: Duration::from_secs(600),
    };
    let folder = Path::new("/data/tsdb");
    let db = Db::open_without_threads(config, disk.shared(), folder, clock, &Registry::default()).unwrap();
    let append = |ago_ms: i64, is_there: &dyn Fn(i64) -> bool| {
        let mut batch = Batch::default();
        for i in (0..SERIES).filter(|i| is_there(*i)) {
            let name = if i % 2 == 0 { "even" } else { "odd" };
            let labels = Labels::from_pairs([("__name__", name.to_owned()), ("i", i.to_string())]);
            (0..3).for_each(|n| batch.push(&labels, Timestamp::from_millis(START_MS - ago_ms + n), (i + n) as f64));
        }
        db.append(&batch).unwrap();
    };
    append(30 * HOUR_MS, &|i| i % 3 != 0);
    append(10 * HOUR_MS, &|i| i < 1200);
    db.flush().unwrap();
    append(100, &|i| i % 5 != 0);
    assert_eq!((db.stats().blocks, db.stats().head_samples), (2, 3 * 1200));
    db
}

fn select(db: &Db, matchers: &[Matcher], min: i64) -> SeriesSet {
    db.querier().select(matchers, Timestamp::from_millis(min), Timestamp::MAX, usize::MAX).unwrap()
}

#[test]
fn what_is_cut_is_together_the_whole() {
    let db = store();
    let read = |set: SeriesSet| set.collect::<Result<Vec<SeriesSamples>>>().unwrap();
    let names = [vec![], vec![Matcher::equal("__name__", "odd")], vec![Matcher::equal("i", "7")]];
    for (matchers, series) in names.iter().zip([1480, 740, 1]) {
        for min in [0, START_MS - 20 * HOUR_MS, START_MS - HOUR_MS] {
            let whole = read(select(&db, matchers, min));
            if min == 0 {
                assert_eq!(whole.len(), series);
            }
            for parts in [1, 2, 3, 7] {
                let parts = select(&db, matchers, min).split(parts);
                let read: Vec<Vec<SeriesSamples>> = parts.into_iter().map(read).collect();
                let sizes: Vec<usize> = read.iter().map(Vec::len).collect();
                assert_eq!(read.concat(), whole, "{matchers:?} from {min} in {sizes:?}");
                let is_even = sizes.iter().all(|size| *size * sizes.len() * 2 >= whole.len());
                assert!(is_even || whole.len() < 10, "{sizes:?}");
            }
        }
    }
}

#[test]
fn how_many_series_come_is_known_before() {
    let db = store();
    assert!(select(&db, &[], 0).series_max() >= 1200);
    assert_eq!(select(&db, &[Matcher::equal("i", "7")], 0).series_max(), 1);
    assert_eq!(select(&db, &[Matcher::equal("i", "x")], 0).series_max(), 0);
    assert_eq!(select(&db, &[Matcher::equal("i", "x")], 0).split(4).len(), 1);
}
