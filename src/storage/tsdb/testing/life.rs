//! One life of a store.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::Random;
use super::model::{Model, Points};
use crate::clock::Clock;
use crate::instrument::Registry;
use crate::model::{Labels, MatchOp, Matcher, Timestamp, stale_nan};
use crate::storage::disk::{Disk, Fault, FaultyDisk};
use crate::storage::tsdb::{AppendOutcome, Batch, Config, Db, Error, SeriesRef, SeriesSet, WalSync};

pub(super) const FOLDER: &str = "/data/tsdb";
const START_MS: i64 = 1_790_000_000_000;
const HOUR_MS: i64 = 3_600_000;
const MINUTE_MS: i64 = 60_000;
const AHEAD_MS: i64 = 600_000;

/// A store that is asked to stop a call for so long is held up by its own lock: the call goes on then.
const MEANWHILE: Duration = Duration::from_millis(10);

/// One sample on its way.
#[derive(Debug, Clone)]
struct Sent {
    series: usize,
    time: i64,
    value: f64,
    by_reference: bool,
}

/// A reader that is in no hurry.
#[derive(Debug)]
struct Held {
    set: SeriesSet,
    expected: Points,
}

/// A store, its disk and clock, and beside it what it must hold.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) seed: u64,
    pub(super) random: Random,
    pub(super) disk: FaultyDisk,
    clock: Clock,
    config: Config,
    db: Option<Db>,
    series: Vec<Labels>,
    references: BTreeMap<usize, SeriesRef>,
    values: BTreeMap<usize, f64>,
    pub(super) model: Model,
    held: Option<Held>,
    sync_failed: bool,
    step: u64,
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

fn collect(set: SeriesSet) -> Result<Points, Error> {
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
            sync_failed: false,
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

    fn now(&self) -> i64 {
        self.clock.now().as_millis()
    }

    fn oldest(&self) -> i64 {
        self.now() - i64::try_from(self.config.retention.as_millis()).unwrap()
    }

    // -- What comes in ------------------------------------------------------------------------------------

    fn compose(&mut self) -> Vec<Sent> {
        let is_limited = self.config.series_max < self.series.len();
        let now = self.now();
        let shape = self.random.below(10);
        let single = usize::try_from(self.random.below(self.series.len() as u64)).unwrap();
        let late_by = self.random.below(72) * HOUR_MS.unsigned_abs();
        let mut batch = Vec::new();
        match shape {
            // A scrape: all series, one time.
            0..4 if !is_limited => {
                for series in 0..self.series.len() {
                    batch.push(self.sample(series, now));
                }
            }
            // A backfill of one series.
            4 | 5 => {
                let start = now - i64::try_from(late_by).unwrap();
                let every = 1 + i64::try_from(self.random.below(120_000)).unwrap();
                for i in 0..i64::try_from(self.random.below(150)).unwrap() {
                    batch.push(self.sample(single, (start + i * every).min(now + AHEAD_MS)));
                }
            }
            // Anything.
            _ => {
                for _ in 0..=self.random.below(20) {
                    let any = usize::try_from(self.random.below(self.series.len() as u64)).unwrap();
                    let series = if is_limited { single } else { any };
                    let time = self.time(now);
                    batch.push(self.sample(series, time));
                }
            }
        }
        batch
    }

    fn time(&mut self, now: i64) -> i64 {
        let ago = |random: &mut Random, bound: u64| i64::try_from(random.below(bound)).unwrap();
        match self.random.below(16) {
            0 => now - ago(&mut self.random, 72) * HOUR_MS,
            1 => now - ago(&mut self.random, 600_000),
            2 => now + ago(&mut self.random, 700_000),
            3 => self.oldest() + ago(&mut self.random, 3) - 1,
            // The border of a window.
            4 => {
                (now - ago(&mut self.random, 9) * HOUR_MS).div_euclid(HOUR_MS) * HOUR_MS - 1 + ago(&mut self.random, 2)
            }
            _ => now - ago(&mut self.random, 20),
        }
    }

    fn sample(&mut self, series: usize, time: i64) -> Sent {
        let before = self.values.get(&series).copied().unwrap_or(0.0);
        let small = self.random.below(1000) as f64;
        let value = match (series % 5, self.random.below(12)) {
            (_, 0) => *self.random.pick(&[stale_nan(), f64::INFINITY, f64::NEG_INFINITY, -0.0, f64::NAN, f64::MAX]),
            (_, 1) => f64::from_bits(self.random.below(u64::MAX)),
            // A gauge with two decimals, a counter, a state, floats without a decimal form.
            (0, _) => (before * 100.0 + small - 500.0).round() / 100.0,
            (1, _) => before + small,
            (2, _) => small % 2.0,
            (3, _) => small / 7.0,
            _ => small / 10.0,
        };
        let next = if value.is_finite() && value.abs() < 1e12 { value } else { 0.0 };
        self.values.insert(series, next);
        let by_reference = !self.random.is_one_in(3);
        Sent { series, time, value, by_reference }
    }

    fn batch(&self, sent: &[Sent]) -> Batch {
        let mut batch = Batch::default();
        for s in sent {
            match self.references.get(&s.series).filter(|_| s.by_reference) {
                Some(reference) => batch.push_ref(*reference, at(s.time), s.value),
                None => batch.push(&self.series[s.series], at(s.time), s.value),
            }
        }
        batch
    }

    pub(super) fn append(&mut self) {
        let mut sent = self.compose();
        self.tell(|| format!("append {} samples", sent.len()));
        for _ in 0..2 {
            let taken = self.db().append(&self.batch(&sent));
            let again = self.account(&sent, taken, &self.oldest_and_newest());
            if again.is_empty() {
                break;
            }
            // As senders do: by labels.
            self.references.retain(|series, _| again.iter().all(|s| s.series != *series));
            sent = again;
        }
        if self.random.is_one_in(4) {
            let series = usize::try_from(self.random.below(self.series.len() as u64)).unwrap();
            if let Some(reference) = self.db().series_ref(&self.series[series]) {
                self.references.insert(series, reference);
            }
        }
    }

    fn oldest_and_newest(&self) -> (i64, i64) {
        (self.oldest(), self.now() + AHEAD_MS)
    }

    /// Notes what became of a batch; returns what is to be sent again because its reference was unknown.
    fn account(&mut self, sent: &[Sent], taken: Result<AppendOutcome, Error>, bounds: &(i64, i64)) -> Vec<Sent> {
        let valid = |s: &Sent| (bounds.0..=bounds.1).contains(&s.time);
        let outcome = match taken {
            Ok(outcome) => outcome,
            Err(error) => {
                assert!(matches!(error, Error::ReadOnly { .. }), "{}: {error}", self.place("append"));
                for s in sent.iter().filter(|s| valid(s)) {
                    self.model.refuse(&self.series[s.series], s.time, s.value.to_bits());
                }
                return Vec::new();
            }
        };
        let place = self.place("append");
        let n = |of: u64| usize::try_from(of).unwrap();
        assert_eq!(n(outcome.too_old), sent.iter().filter(|s| s.time < bounds.0).count(), "{place}: too old");
        assert_eq!(n(outcome.too_new), sent.iter().filter(|s| s.time > bounds.1).count(), "{place}: too new");
        let told = outcome.appended + outcome.duplicate + outcome.conflicting + outcome.too_old + outcome.too_new;
        let told = told + outcome.over_series_limit + outcome.unknown_ref;
        assert_eq!(n(told), sent.len(), "{place}: each sample is counted once: {outcome:?}");
        assert_eq!(n(outcome.unknown_ref), outcome.unknown.len(), "{place}");
        if outcome.over_series_limit > 0 {
            let taken = outcome.appended + outcome.duplicate + outcome.conflicting;
            assert_eq!(taken, 0, "{place}: the limit refuses a series whole: {outcome:?}");
            return Vec::new();
        }
        let mut again = Vec::new();
        for (i, s) in sent.iter().enumerate() {
            if outcome.unknown.contains(&i) {
                again.push(s.clone());
            } else if valid(s) {
                self.model.acknowledge(&self.series[s.series], s.time, s.value.to_bits());
            }
        }
        if self.config.wal_sync == WalSync::Always {
            self.model.synced();
        }
        again
    }

    pub(super) fn sync(&mut self) {
        self.tell(|| "sync".to_owned());
        match self.db().0.stored.as_ref().unwrap().wal.sync() {
            Ok(()) if self.config.wal_sync != WalSync::Never => {
                self.model.synced();
                self.sync_failed = false;
            }
            Ok(()) => {}
            Err(_) => self.sync_failed = true,
        }
    }

    // -- Time and upkeep ----------------------------------------------------------------------------------

    fn advance(&mut self) {
        let by = match self.random.below(10) {
            0 => self.random.below(48 * 60),
            1..4 => self.random.below(240),
            _ => self.random.below(20),
        };
        self.tell(|| format!("{by} minutes pass"));
        self.clock.advance(Duration::from_millis(by * MINUTE_MS.unsigned_abs() + self.random.below(3)));
    }

    /// Runs maintenance, perhaps with an append and a query in its midst.
    fn maintain(&mut self, with_company: bool) {
        self.tell(|| format!("maintain, company: {with_company}"));
        self.model.kept_from = self.model.kept_from.max(self.oldest());
        let db = self.db();
        if with_company {
            self.beside(|db| db.maintain())
        } else {
            db.maintain()
        }
        if self.random.is_one_in(3) {
            self.check("after maintenance");
        }
    }

    fn flush(&mut self) {
        self.tell(|| "flush".to_owned());
        let company = self.random.is_one_in(2);
        if company {
            self.beside(|db| drop(db.flush()))
        } else {
            drop(self.db().flush())
        }
        self.check("after a flush");
    }

    /// Does `work`, and an append and a query right before one of its calls to the disk.
    fn beside(&mut self, work: impl FnOnce(&Db)) {
        let sent = self.compose();
        let (batch, db) = (self.batch(&sent), self.db());
        let result = Arc::new(Mutex::new(None));
        let thread = Arc::new(Mutex::new(None));
        let (slot, handle) = (result.clone(), thread.clone());
        let call = 1 + self.random.below(30);
        let beside = db.clone();
        self.disk.at_call(call, move || {
            let (done, is_done) = sync_channel(1);
            let work = move || {
                let taken = beside.append(&batch);
                let found = read_all(&beside);
                *slot.lock().unwrap() = Some((taken, found));
                let _ = done.send(());
            };
            *handle.lock().unwrap() = Some(std::thread::Builder::new().spawn(work).unwrap());
            let _ = is_done.recv_timeout(MEANWHILE);
        });
        let bounds = self.oldest_and_newest();
        work(&db);
        self.disk.forget_hook();
        if let Some(thread) = thread.lock().unwrap().take() {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        let taken = result.lock().unwrap().take();
        if let Some((taken, found)) = taken {
            self.account(&sent, taken, &bounds);
            if self.has_power()
                && let Ok(found) = found
            {
                self.compare(&found, "in the midst of maintenance");
            }
        }
    }

    fn limit_bytes(&mut self) {
        self.tell(|| "a tight size limit".to_owned());
        let newest = self.model.acknowledged.values().filter_map(|s| s.keys().next_back()).max().copied();
        if let Some(newest) = newest {
            self.model.kept_from = self.model.kept_from.max(newest - 24 * HOUR_MS);
        }
        self.db().set_bytes_max(Some(1));
        self.maintain(false);
        self.db().set_bytes_max(None);
        self.check("after a tight size limit");
    }

    // -- What goes out ------------------------------------------------------------------------------------

    /// Compares all that is read with what is acknowledged.
    pub(super) fn check(&mut self, what: &str) {
        if !self.has_power() {
            return;
        }
        let found = read_all(&self.db()).unwrap_or_else(|e| panic!("{}: {e}", self.place(what)));
        self.compare(&found, what);
    }

    fn compare(&self, found: &Points, what: &str) {
        let expected = &self.model.acknowledged;
        self.model.check(found, expected, expected, &self.place(what));
    }

    fn query(&mut self) {
        if !self.has_power() {
            return;
        }
        let matchers = self.matchers();
        let now = self.now();
        let back = |random: &mut Random| i64::try_from(random.below(80)).unwrap() * HOUR_MS;
        let (a, b) = (now - back(&mut self.random), now - back(&mut self.random) + MINUTE_MS);
        let (min, max) = (a.min(b), a.max(b));
        self.tell(|| format!("query {matchers:?} {min}..={max}"));
        let place = self.place(&format!("query {matchers:?} {min}..={max}"));
        let querier = self.db().querier();
        let set = querier.select(&matchers, at(min), at(max), usize::MAX);
        let found = set.and_then(collect).unwrap_or_else(|e| panic!("{place}: {e}"));
        let passes = |labels: &Labels| matchers.iter().all(|m| m.matches_labels(labels));
        for (series, samples) in &found {
            assert!(passes(series), "{place}: {series} does not match");
            assert!(samples.keys().all(|t| (min..=max).contains(t)), "{place}: outside of the window");
        }
        let expected = Model::window(&self.model.acknowledged, passes, min, max);
        self.model.check(&found, &expected, &expected, &place);
        let named = querier.series(&matchers, at(min), at(max)).unwrap_or_else(|e| panic!("{place}: {e}"));
        assert!(named.is_sorted_by(|a, b| a < b), "{place}: series are not sorted");
        assert!(found.keys().all(|s| named.contains(s)), "{place}: a series with samples is not named");
        assert!(named.iter().all(passes), "{place}: a series that does not match is named");
        let instances = querier.label_values("instance", &matchers, at(min), at(max)).unwrap();
        let is_named = |s: &Labels| instances.iter().any(|i| Some(i.as_str()) == s.get("instance"));
        assert!(found.keys().all(is_named), "{place}: a value is not named");
    }

    fn matchers(&mut self) -> Vec<Matcher> {
        let instance = format!("10.0.0.{}", self.random.below(self.series.len() as u64));
        let (name, op, value) = match self.random.below(8) {
            0 => return Vec::new(),
            1 => ("__name__", MatchOp::Equal, "m1".to_owned()),
            2 => ("__name__", MatchOp::NotEqual, "m1".to_owned()),
            3 => ("instance", MatchOp::Equal, instance),
            4 => ("instance", MatchOp::Regex, format!("{instance}|10.0.0.1")),
            5 => ("instance", MatchOp::Regex, "10.0.0.1.*".to_owned()),
            6 => ("instance", MatchOp::NotRegex, "10.0.0.[0-4]".to_owned()),
            _ => ("absent", MatchOp::Regex, "x?".to_owned()),
        };
        let first = Matcher::new(name, op, &value).unwrap();
        if self.random.is_one_in(2) { vec![first] } else { vec![first, Matcher::equal("__name__", "m0")] }
    }

    /// Begins a long query, or ends the one that was begun.
    fn hold(&mut self) {
        if !self.has_power() {
            return;
        }
        self.tell(|| "a reader that takes its time begins or ends".to_owned());
        if let Some(held) = self.held.take() {
            let found = collect(held.set).unwrap_or_else(|e| panic!("{}: {e}", self.place("held")));
            let place = self.place("a reader that took its time");
            self.model.check(&found, &held.expected, &held.expected, &place);
            return;
        }
        let set = self.db().querier().select(&[], Timestamp::MIN, Timestamp::MAX, usize::MAX);
        let set = set.unwrap_or_else(|e| panic!("{}: {e}", self.place("hold")));
        self.held = Some(Held { set, expected: self.model.acknowledged.clone() });
    }

    // -- What goes wrong ----------------------------------------------------------------------------------

    fn fail(&mut self, fault: Fault) {
        let call = 1 + self.random.below(40);
        self.tell(|| format!("{fault:?} at call {call} from now"));
        self.disk.fail_call(call, fault);
    }

    pub(super) fn has_power(&self) -> bool {
        self.disk.list(Path::new("/")).is_ok()
    }

    /// Ends the process and starts the next. A disk without power is switched on again too.
    pub(super) fn kill(&mut self) {
        self.tell(|| "kill".to_owned());
        self.disk.mend();
        if !self.has_power() {
            return self.power_cut();
        }
        self.end_process();
        self.open();
        self.check("after kill -9");
    }

    pub(super) fn end_process(&mut self) {
        self.disk.kill();
        self.held = None;
        self.db = None;
        if self.sync_failed {
            self.model.doubt();
            self.sync_failed = false;
        }
    }

    pub(super) fn power_cut(&mut self) {
        self.tell(|| "power cut".to_owned());
        self.disk.crash();
        self.held = None;
        self.db = None;
        self.sync_failed = false;
        self.open();
        let found = read_all(&self.db()).unwrap();
        let lasting = if self.config.wal_sync == WalSync::Never { Points::new() } else { self.model.lasting.clone() };
        self.model.check(&found, &lasting, &self.model.acknowledged, &self.place("after a power cut"));
        self.model.restart_with(&found);
    }

    /// Little space for some steps, then enough again.
    fn fill_disk(&mut self) {
        let used = (1 << 40) - self.disk.space(Path::new("/")).map_or(0, |s| s.free_bytes);
        let left = self.random.below(20_000);
        self.tell(|| format!("the disk has {left} bytes left"));
        self.disk.set_capacity(Some(used + left));
        for _ in 0..self.random.below(12) {
            match self.random.below(8) {
                0 => self.sync(),
                1 => self.maintain(false),
                2 => self.query(),
                3 if self.random.is_one_in(3) => self.kill(),
                _ => self.append(),
            }
        }
        self.disk.set_capacity(None);
        self.disk.mend();
        if !self.has_power() {
            return self.power_cut();
        }
        self.sync();
        let sent = vec![Sent { series: 0, time: self.now(), value: 1.0, by_reference: false }];
        let taken = self.db().append(&self.batch(&sent));
        assert!(taken.is_ok(), "{}: refused though there is space again: {taken:?}", self.place("disk"));
        self.account(&sent, taken, &self.oldest_and_newest());
        self.check("after a full disk");
    }
}
