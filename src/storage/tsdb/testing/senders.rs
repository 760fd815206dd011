//! What comes into a life: batches in order, late, twice, by reference and by labels.

use super::Random;
use super::life::{AHEAD_MS, HOUR_MS, Life, at};
use crate::model::stale_nan;
use crate::storage::tsdb::{AppendOutcome, Batch, Error, WalSync};

/// One sample on its way.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) series: usize,
    pub(super) time: i64,
    pub(super) value: f64,
    pub(super) by_reference: bool,
}

/// Returns samples as a story tells them: series@time=bits of the value.
pub(super) fn written(sent: &[Sent]) -> String {
    sent.iter().map(|s| format!("{}@{}={:x} ", s.series, s.time, s.value.to_bits())).collect()
}

impl Life {
    pub(super) fn compose(&mut self) -> Vec<Sent> {
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

    pub(super) fn batch(&self, sent: &[Sent]) -> Batch {
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
        self.tell(|| format!("append {} samples: {}", sent.len(), written(&sent)));
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

    pub(super) fn oldest_and_newest(&self) -> (i64, i64) {
        (self.oldest(), self.now() + AHEAD_MS)
    }

    /// Notes what became of a batch; returns what is to be sent again because its reference was unknown.
    pub(super) fn account(
        &mut self,
        sent: &[Sent],
        taken: Result<AppendOutcome, Error>,
        bounds: &(i64, i64),
    ) -> Vec<Sent> {
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
            self.synced();
        }
        again
    }

    pub(super) fn sync(&mut self) {
        self.tell(|| "sync".to_owned());
        match self.db().0.stored.as_ref().unwrap().wal.sync() {
            Ok(()) if self.config.wal_sync != WalSync::Never => self.synced(),
            Ok(()) | Err(_) => {}
        }
    }

    /// All that was acknowledged is safe, whatever went wrong before.
    fn synced(&mut self) {
        self.model.synced();
        self.settled_syncs = self.failed_syncs();
    }
}
