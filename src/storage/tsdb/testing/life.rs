//! One life of a store.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::Random;
use super::model::{Model, Points};
use super::readers::Held;
use crate::clock::Clock;
use crate::instrument::Registry;
use crate::model::{Labels, Timestamp};
use crate::storage::disk::{Fault, FaultyDisk};
use crate::storage::tsdb::{Config, Db, Error, SeriesRef, SeriesSet, WalSync};

pub(super) const FOLDER: &str = "/data/tsdb";
const START_MS: i64 = 1_790_000_000_000;
pub(super) const HOUR_MS: i64 = 3_600_000;
pub(super) const MINUTE_MS: i64 = 60_000;
pub(super) const AHEAD_MS: i64 = 600_000;

/// A store, its disk and clock, and beside it what it must hold.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) seed: u64,
    pub(super) random: Random,
    pub(super) disk: FaultyDisk,
    pub(super) clock: Clock,
    pub(super) config: Config,
    pub(super) db: Option<Db>,
    pub(super) series: Vec<Labels>,
    pub(super) references: BTreeMap<usize, SeriesRef>,
    pub(super) values: BTreeMap<usize, f64>,
    pub(super) model: Model,
    pub(super) held: Option<Held>,
    /// Failed syncs of the WAL that later ones made good, or a power cut settled.
    pub(super) settled_syncs: usize,
    pub(super) step: u64,
    /// What this life is about, for a failure.
    pub(super) what: String,
    /// Whether each step is told.
    is_told: bool,
}

pub(super) fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

/// Reads all that there is.
pub(super) fn read_all(db: &Db) -> Result<Points, Error> {
    let set = db.querier().select(&[], Timestamp::MIN, Timestamp::MAX, usize::MAX)?;
    collect(set)
}

pub(super) fn collect(set: SeriesSet) -> Result<Points, Error> {
    let mut points = Points::new();
    let mut last: Option<Labels> = None;
    for series in set {
        let series = series?;
        assert!(last.as_ref().is_none_or(|l| *l < series.labels), "series are not sorted: {}", series.labels);
        assert!(series.timestamps.is_sorted_by(|a, b| a < b), "times are not rising: {}", series.labels);
        assert_eq!(series.timestamps.len(), series.values.len());
        last = Some(series.labels.clone());
        let samples = series.timestamps.into_iter().zip(series.values.iter().map(|v| v.to_bits()));
        points.insert(series.labels, samples.collect());
    }
    Ok(points)
}

impl Life {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let wal_sync = match random.below(6) {
            0 | 1 => WalSync::Always,
            2 => WalSync::Never,
            _ => WalSync::Interval(Duration::from_secs(1)),
        };
        let retention_hours = *random.pick(&[30, 100, 24 * 30]);
        let series_count = *random.pick(&[3, 8, 8, 40, 150]);
        let is_limited = random.is_one_in(8);
        let config = Config {
            retention: Duration::from_secs(retention_hours * 3600),
            wal_sync,
            series_max: if is_limited { 1 + series_count / 2 } else { 1000 },
            ahead_max: Duration::from_millis(AHEAD_MS.unsigned_abs()),
        };
        let series = (0..series_count).map(|n| {
            let (metric, instance) = (format!("m{}", n % 3), format!("10.0.0.{n}"));
            Labels::from_pairs([("__name__", metric.as_str()), ("instance", instance.as_str())])
        });
        let mut life = Life {
            seed,
            disk: FaultyDisk::new(seed),
            clock: Clock::hand_set(at(START_MS)),
            config,
            db: None,
            series: series.collect(),
            references: BTreeMap::new(),
            values: BTreeMap::new(),
            model: Model::new(),
            held: None,
            settled_syncs: 0,
            step: 0,
            what: String::new(),
            is_told: super::number("ANDON_TEST_STORY", 0) == 1,
            random,
        };
        life.open();
        life
    }

    /// Lives all of it.
    pub(super) fn live(mut self) {
        let steps = 30 + self.random.below(60);
        for step in 0..steps {
            self.step = step;
            self.take_step();
        }
        self.kill();
        self.power_cut();
        if self.random.below(3) == 0 {
            self.damage();
        }
    }

    /// A short life that is always the same, but for what fails.
    pub(super) fn script(&mut self) {
        for hours in [0, 3, 30] {
            self.clock.advance(Duration::from_secs(hours * 3600));
            self.append();
            self.append();
            self.sync();
            if hours == 0 {
                self.flush()
            } else {
                self.maintain(false)
            }
            self.append();
            self.query();
        }
    }

    fn take_step(&mut self) {
        match self.random.below(100) {
            0..50 => self.append(),
            50..58 => self.sync(),
            58..66 => self.advance(),
            66..72 => self.maintain(false),
            72..76 => self.maintain(true),
            76..78 => self.flush(),
            78..84 => self.query(),
            84..86 => self.hold(),
            86..89 => self.kill(),
            89..92 => self.power_cut(),
            92..96 => {
                let fault = *self.random.pick(&[Fault::Eio, Fault::Enospc]);
                self.fail(fault);
            }
            96 => self.fail(Fault::PowerCut),
            97 => self.fill_disk(),
            98 => self.limit_bytes(),
            _ => self.damage(),
        }
    }

    pub(super) fn tell(&self, what: impl FnOnce() -> String) {
        if self.is_told {
            eprintln!("seed {} step {}: {}", self.seed, self.step, what());
        }
    }

    /// Says where we are, for a failure.
    pub(super) fn place(&self, what: &str) -> String {
        format!("{} step {}, {what}, {:?}", self.what, self.step, self.config.wal_sync)
    }

    pub(super) fn db(&self) -> Db {
        self.db.clone().unwrap()
    }

    pub(super) fn open_on(&self, disk: &FaultyDisk) -> Result<Db, Error> {
        let (config, clock) = (self.config.clone(), self.clock.clone());
        Db::open_without_threads(config, disk.shared(), Path::new(FOLDER), clock, &Registry::default())
    }

    pub(super) fn open(&mut self) {
        self.references.clear();
        self.db = Some(self.open_on(&self.disk).unwrap_or_else(|e| panic!("{}: {e}", self.place("open"))));
    }

    pub(super) fn now(&self) -> i64 {
        self.clock.now().as_millis()
    }

    pub(super) fn oldest(&self) -> i64 {
        self.now() - i64::try_from(self.config.retention.as_millis()).unwrap()
    }
}
