//! The newest, mutable part of the store: series by reference and by labels, and what they hold.
//!
//! A plain structure without lock or disk; `db.rs` locks it, logs a batch first and then applies it here.
//! Memory per series: its labels, two entries in maps, its place in the index, up to 64 samples in the clear
//! (16 bytes each) and the sealed rest (about a byte each; timestamps are shared by series of one scrape).

mod index;
mod late;
mod series;
#[cfg(test)]
mod series_test;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::FixedState;

use self::index::Index;
pub(crate) use self::late::Late;
pub(crate) use self::series::{Added, Parts, Series};
use super::chunk::Chunk;
use super::postings::Postings;
use super::wal::{Logged, LoggedChunk, LoggedSample, NewSeries};
use crate::model::{Labels, Metadata};

/// What may be in memory at most of what senders say about metric names.
const METADATA_MAX: usize = 50_000;

#[derive(Debug, Default)]
pub(crate) struct Head {
    series: HashMap<u32, Box<Series>, FixedState>,
    by_labels: HashMap<Labels, u32, FixedState>,
    index: Index,
    next_ref: u32,
    columns: Columns,
    pub(crate) late: Late,
    pub(crate) metadata: HashMap<String, Metadata>,
    /// Raised with each cut; series that were not touched since the one before have ended.
    epoch: u32,
    pub(crate) samples: u64,
    pub(crate) late_samples: u64,
}

/// Timestamp columns, shared by content.
#[derive(Debug, Default)]
struct Columns {
    last: Option<Arc<[u8]>>,
    all: HashSet<Arc<[u8]>, FixedState>,
}

/// What replay met.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Replayed {
    pub(crate) samples: u64,
    /// Samples whose series no record names.
    pub(crate) orphans: u64,
}

impl Columns {
    fn share(&mut self, column: Vec<u8>) -> Arc<[u8]> {
        if let Some(last) = self.last.as_ref().filter(|l| ***l == *column) {
            return last.clone();
        }
        let shared = match self.all.get(column.as_slice()) {
            Some(shared) => shared.clone(),
            None => {
                let shared: Arc<[u8]> = column.into();
                self.all.insert(shared.clone());
                shared
            }
        };
        self.last = Some(shared.clone());
        shared
    }

    /// Drops columns that no chunk has any more.
    fn clean(&mut self) {
        self.last = None;
        self.all.retain(|column| Arc::strong_count(column) > 1);
    }
}

impl Head {
    /// Returns the reference of a series, making it if it is new and there are fewer than `series_max`.
    pub(crate) fn reference(&mut self, labels: &Labels, series_max: usize) -> Option<u32> {
        if let Some(reference) = self.by_labels.get(labels) {
            return Some(*reference);
        }
        if self.series.len() >= series_max || self.next_ref == u32::MAX {
            return None;
        }
        let reference = self.next_ref;
        self.insert(reference, labels.clone());
        Some(reference)
    }

    fn insert(&mut self, reference: u32, labels: Labels) {
        self.next_ref = self.next_ref.max(reference.saturating_add(1));
        self.index.add(reference, &labels);
        self.by_labels.insert(labels.clone(), reference);
        self.series.insert(reference, Box::new(Series::new(labels, self.epoch)));
    }

    pub(crate) fn get(&self, reference: u32) -> Option<&Series> {
        self.series.get(&reference).map(|s| &**s)
    }

    /// Returns labels and references of the series among these that the WAL does not know yet.
    pub(crate) fn unlogged(&self, samples: &[LoggedSample]) -> Vec<NewSeries> {
        let unlogged = |s: &LoggedSample| self.get(s.series).filter(|series| !series.is_logged);
        let mut new: Vec<NewSeries> =
            samples.iter().filter_map(|s| unlogged(s).map(|series| (s.series, series.labels.clone()))).collect();
        new.sort_by_key(|(reference, _)| *reference);
        new.dedup_by_key(|(reference, _)| *reference);
        new
    }

    /// Adds a sample of the batch with this sequence; `None` if the series is not known.
    pub(crate) fn add(&mut self, sample: LoggedSample, sequence: u64) -> Option<Added> {
        let series = self.series.get_mut(&sample.series)?;
        let columns = &mut self.columns;
        let added = series.add(sample.time, sample.value, |column| columns.share(column));
        series.is_logged = true;
        series.touched = self.epoch;
        if matches!(added, Added::InOrder | Added::OutOfOrder) {
            self.samples += 1;
            self.late_samples += u64::from(added == Added::OutOfOrder);
            self.late.note(sample.time, sequence);
        }
        Some(added)
    }

    /// Takes in a record of the WAL or of a checkpoint.
    pub(crate) fn replay(&mut self, logged: Logged, sequence: u64, replayed: &mut Replayed) {
        match logged {
            Logged::Batch { new, samples } => {
                self.replay_series(new);
                for sample in samples {
                    self.next_ref = self.next_ref.max(sample.series.saturating_add(1));
                    match self.add(sample, sequence) {
                        Some(_) => replayed.samples += 1,
                        None => replayed.orphans += 1,
                    }
                }
            }
            Logged::Chunks { new, chunks } => {
                self.replay_series(new);
                chunks.into_iter().for_each(|chunk| self.replay_chunk(chunk, replayed));
            }
            Logged::Late(late) => self.late.restore(&late),
            Logged::Metadata(metadata) => {
                metadata.into_iter().for_each(|(name, about)| {
                    self.set_metadata(&name, about);
                });
            }
        }
    }

    fn replay_series(&mut self, new: Vec<NewSeries>) {
        for (reference, labels) in new {
            if self.series.contains_key(&reference) {
                continue;
            }
            // Two references for one label set would mean a lost record between; the newer one counts.
            self.insert(reference, labels);
            if let Some(series) = self.series.get_mut(&reference) {
                series.is_logged = true;
            }
        }
    }

    fn replay_chunk(&mut self, logged: LoggedChunk, replayed: &mut Replayed) {
        let Some(series) = self.series.get_mut(&logged.series) else {
            replayed.orphans += 1;
            return;
        };
        let Ok(window) = super::chunk::decode_window(&logged.times, &logged.values) else { return };
        let Some((min, max)) = window.range() else { return };
        let count = u32::try_from(window.len()).unwrap_or(u32::MAX);
        let chunk = Chunk { min, max, count, times: logged.times.into(), values: logged.values.into_boxed_slice() };
        let columns = &mut self.columns;
        let added = series.add_chunk(chunk, |column| columns.share(column)) as u64;
        self.samples += added;
        replayed.samples += added;
    }

    /// Keeps what a sender says about a metric name; returns whether that is news.
    pub(crate) fn set_metadata(&mut self, name: &str, about: Metadata) -> bool {
        let is_full = self.metadata.len() >= METADATA_MAX;
        match self.metadata.get_mut(name) {
            Some(known) if *known == about => false,
            Some(known) => {
                *known = about;
                true
            }
            None if is_full => false,
            None => {
                self.metadata.insert(name.to_owned(), about);
                true
            }
        }
    }

    pub(crate) fn series_count(&self) -> usize {
        self.series.len()
    }

    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    /// Returns all series with their references, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Series)> {
        self.series.iter().map(|(reference, series)| (*reference, &**series))
    }

    /// Returns first and last time of all samples.
    pub(crate) fn range(&self) -> Option<(i64, i64)> {
        self.series.values().filter_map(|s| s.range()).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// Begins a cut: from here on series are touched in a new epoch.
    pub(crate) fn begin_cut(&mut self) {
        self.epoch += 1;
    }

    /// Puts a series' samples before `cutoff` aside; see [`Series::detach`].
    pub(crate) fn detach(&mut self, reference: u32, cutoff: i64) -> Option<(i64, i64)> {
        let columns = &mut self.columns;
        self.series.get_mut(&reference)?.detach(cutoff, |column| columns.share(column))
    }

    /// Ends a cut that worked: forgets what blocks have now, and series that have ended.
    pub(crate) fn finish_cut(&mut self) {
        for series in self.series.values_mut() {
            self.samples = self.samples.saturating_sub(series.forget_detached());
        }
        self.late_samples = 0;
        let epoch = self.epoch;
        let gone: HashSet<u32> =
            self.iter().filter(|(_, s)| s.is_empty() && s.touched < epoch).map(|(reference, _)| reference).collect();
        let dropped: Vec<Box<Series>> = gone.iter().filter_map(|r| self.series.remove(r)).collect();
        for series in &dropped {
            if self.by_labels.get(&series.labels).is_some_and(|r| gone.contains(r)) {
                self.by_labels.remove(&series.labels);
            }
        }
        self.index.remove(&gone, dropped.iter().map(|s| &s.labels));
        self.columns.clean();
    }

    /// Ends a cut that failed.
    pub(crate) fn abandon_cut(&mut self) {
        self.series.values_mut().for_each(|s| s.take_back_detached());
    }

    /// Returns about how many bytes of memory the head holds. Cost: touches every series.
    pub(crate) fn memory_bytes(&self) -> usize {
        let series: usize = self.series.values().map(|s| s.memory_bytes() + 48).sum();
        let columns: usize = self.columns.all.iter().map(|c| c.len() + 48).sum();
        series + columns + self.index.memory_bytes()
    }
}

impl Postings for Head {
    fn all(&self) -> Vec<u32> {
        self.index.all().to_vec()
    }

    fn equal(&self, name: &str, value: &str) -> Vec<u32> {
        self.index.equal(name, value).to_vec()
    }

    fn matching(&self, name: &str, prefix: &str, visit: &mut dyn FnMut(&str) -> bool, found: &mut Vec<u32>) {
        for (value, references) in self.index.values(name, prefix) {
            if visit(value) {
                found.extend_from_slice(references);
            }
        }
    }

    fn value_count(&self, name: &str) -> usize {
        self.index.value_count(name)
    }

    fn label(&self, series: u32, name: &str) -> &str {
        self.get(series).and_then(|s| s.labels.get(name)).unwrap_or("")
    }
}
