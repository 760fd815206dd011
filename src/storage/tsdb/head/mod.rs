//! The newest, mutable part of the store: series by reference and by labels, and what they hold.
//!
//! A plain structure without lock or disk; `db.rs` locks it, logs a batch first and then applies it here.
//! Memory per series: 112 bytes of its own, 4 for each label here and in the index, 22 in tables; and its
//! samples, at about a byte each: the newest as differences in bytes that grow (`values.rs`), the rest sealed
//! as columns. Times stand once for all series of a scrape (`groups.rs`, `columns.rs`).

mod accounts;
mod arrivals;
mod columns;
mod groups;
mod index;
mod late;
mod order;
mod parts;
mod replay;
mod series;
#[cfg(test)]
mod series_test;
mod slab;
mod values;
mod view;

use std::cmp::Ordering;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

pub(crate) use self::accounts::{Accounts, LoggedAccount};
pub(crate) use self::arrivals::{Arrivals, Arrived};
pub(crate) use self::columns::Decoded;
use self::columns::Shared;
use self::index::{Index, Pairs};
pub(crate) use self::late::Late;
use self::order::Order;
pub(crate) use self::parts::Parts;
pub(crate) use self::replay::Replay;
pub(crate) use self::series::{Added, Series};
use self::slab::Slab;
pub(crate) use self::view::View;
use super::batch::SeriesRef;
use super::chunk::Chunk;
use super::postings::Postings;
use super::wal::{Logged, LoggedChunk, LoggedSample, NewSeries};
use crate::model::{Labels, Metadata};

/// What may be in memory at most of what senders say about metric names.
const METADATA_MAX: usize = 50_000;

/// The head.
///
/// A series is known by its slot: in the WAL, in the index, in [`SeriesRef`]s. The slot of a series that has
/// ended is given out again when no record on disk names it any more, and never twice in one epoch: slot and
/// epoch of birth together name a series in this process.
#[derive(Debug, Default)]
pub(crate) struct Head {
    series: Slab,
    /// Slots by the hash of their labels.
    by_labels: HashTable<u32>,
    index: Index,
    order: Order,
    /// Slots of series that have ended, but may stand in the WAL.
    ended: Vec<u32>,
    shared: Shared,
    pub(crate) accounts: Accounts,
    pub(crate) late: Late,
    pub(crate) arrivals: Arrivals,
    pub(crate) metadata: HashMap<String, Metadata>,
    /// Raised with each cut but slices; empty series that were not touched since have ended.
    epoch: u32,
    pub(crate) samples: u64,
    pub(crate) late_samples: u64,
}

/// A series that has ended: its slot, and its labels in the index.
pub(crate) type Gone = (u32, Pairs);

/// What replay met.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Replayed {
    pub(crate) samples: u64,
    /// Samples whose series no record names.
    pub(crate) orphans: u64,
}

impl Head {
    /// Returns the slot of a series, making the series if it is new and there are fewer than `series_max`.
    pub(crate) fn slot(&mut self, labels: &Labels, series_max: usize) -> Option<u32> {
        if let Some(slot) = self.find(labels) {
            return Some(slot);
        }
        if self.series.len() >= series_max {
            return None;
        }
        self.begin(labels, "")
    }

    /// Makes a series that is not there, on somebody's account.
    pub(crate) fn begin(&mut self, labels: &Labels, account: &str) -> Option<u32> {
        let slot = self.series.vacant()?;
        let _ = self.insert(slot, labels);
        self.accounts.put(slot, account);
        Some(slot)
    }

    /// Returns the slot of a series.
    pub(crate) fn find(&self, labels: &Labels) -> Option<u32> {
        self.by_labels.find(hash(labels.iter()), |slot| self.has_labels(*slot, labels)).copied()
    }

    /// Returns what names the series in a slot.
    pub(crate) fn reference(&self, slot: u32) -> Option<SeriesRef> {
        self.get(slot).map(|series| SeriesRef(u64::from(series.born) << 32 | u64::from(slot)))
    }

    /// Returns the slot that a reference names and the series there; `None` if it has ended.
    pub(crate) fn resolve(&self, reference: SeriesRef) -> Option<(u32, &Series)> {
        let slot = u32::try_from(reference.0 & u64::from(u32::MAX)).ok()?;
        let series = self.get(slot)?;
        (u64::from(series.born) == reference.0 >> 32).then_some((slot, series))
    }

    /// Makes a series; returns the slot of one with the same labels that is found no more.
    fn insert(&mut self, slot: u32, labels: &Labels) -> Option<u32> {
        let pairs = self.index.add(slot, labels);
        self.series.insert(slot, Series::new(pairs, self.epoch));
        self.order.add(slot);
        self.enter(slot)
    }

    /// Makes a slot the one that is found by its labels; returns the one that was.
    fn enter(&mut self, slot: u32) -> Option<u32> {
        let (series, index) = (&self.series, &self.index);
        let pairs = |slot: u32| series.get(slot).map_or(&[][..], |s| &s.pairs);
        let hash_of = |slot: &u32| hash(index.texts(pairs(*slot)));
        match self.by_labels.entry(hash_of(&slot), |other| pairs(*other) == pairs(slot), hash_of) {
            hashbrown::hash_table::Entry::Occupied(mut known) => Some(std::mem::replace(known.get_mut(), slot)),
            hashbrown::hash_table::Entry::Vacant(free) => {
                free.insert(slot);
                None
            }
        }
    }

    fn has_labels(&self, slot: u32, labels: &Labels) -> bool {
        self.get(slot).is_some_and(|series| self.index.texts(&series.pairs).eq(labels.iter()))
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&Series> {
        self.series.get(slot)
    }

    /// Returns the labels of the series in a slot. Cost: puts them together.
    pub(crate) fn labels(&self, slot: u32) -> Labels {
        Labels::from_sorted(self.index.texts(self.pairs(slot)))
    }

    fn pairs(&self, slot: u32) -> &[u32] {
        self.get(slot).map_or(&[], |s| &s.pairs)
    }

    /// Works out the place of some of the new series in the order of labels; returns whether that was all. Whoever
    /// wants [`Head::sort`] to be quick calls this until then, and leaves the lock in between.
    pub(crate) fn rank_some(&self) -> bool {
        self.order.rank_some(|a, b| self.compare(a, b), |slot| self.get(slot).is_some())
    }

    fn compare(&self, a: u32, b: u32) -> Ordering {
        self.index.compare(self.pairs(a), self.pairs(b)).then(a.cmp(&b))
    }

    /// Puts slots in order of their series' labels.
    pub(crate) fn sort(&self, slots: &mut [u32]) {
        let ranks = self.order.ranks(|a, b| self.compare(a, b), |slot| self.get(slot).is_some());
        let rank = |slot: u32| ranks.get(slot as usize).copied().unwrap_or(u32::MAX);
        let mut ranked: Vec<(u32, u32)> = slots.iter().map(|slot| (rank(*slot), *slot)).collect();
        ranked.sort_unstable();
        slots.iter_mut().zip(ranked).for_each(|(place, (_, slot))| *place = slot);
    }

    /// Returns all slots in order of their series' labels.
    pub(crate) fn sorted(&self) -> Vec<u32> {
        let mut slots = self.all();
        self.sort(&mut slots);
        slots
    }

    /// Adds a sample of the batch with this sequence; `None` if the series is not known.
    pub(crate) fn add(&mut self, sample: LoggedSample, sequence: u64) -> Option<Added> {
        let series = self.series.get_mut(sample.series)?;
        let added = series.add(sample.time, sample.value, &mut self.shared);
        series.is_logged = true;
        series.touched = self.epoch;
        if matches!(added, Added::InOrder | Added::OutOfOrder) {
            self.samples += 1;
            self.late_samples += u64::from(added == Added::OutOfOrder);
            self.late.note(sample.time, sequence);
            self.arrivals.note(sample.time);
        }
        Some(added)
    }

    /// Adds samples of one series, oldest record first; `None` if the series is not known.
    fn add_run(&mut self, slot: u32, run: impl Iterator<Item = (i64, f64)>, decoded: &mut Decoded) -> Option<()> {
        let series = self.series.get_mut(slot)?;
        for (time, value) in run {
            if series.is_in_order(time) {
                series.push(time, value, &mut self.shared);
                self.samples += 1;
            } else if !series.has(time, &self.shared, decoded) {
                series.add_late(time, value, &mut self.shared);
                self.samples += 1;
                self.late_samples += 1;
            }
        }
        series.is_logged = true;
        series.touched = self.epoch;
        Some(())
    }

    /// Takes in a record of the WAL or of a checkpoint.
    fn replay(&mut self, logged: Logged, replayed: &mut Replayed) {
        match logged {
            Logged::Batch { .. } => unreachable!("bug: a batch goes in by series and samples"),
            Logged::Chunks { new, chunks } => {
                self.replay_series(new);
                chunks.into_iter().for_each(|chunk| self.replay_chunk(chunk, replayed));
            }
            Logged::Gap => {}
            Logged::Ended(runs) => self.replay_ended(&runs),
            Logged::Accounts(accounts) => self.replay_accounts(accounts),
            Logged::Late(late) => self.late.restore(&late),
            Logged::Metadata(metadata) => {
                metadata.into_iter().for_each(|(name, about)| {
                    self.set_metadata(&name, about);
                });
            }
        }
    }

    fn replay_series(&mut self, new: Vec<NewSeries>) {
        let mut moved = Vec::new();
        for (slot, labels) in new {
            if self.get(slot).is_some() {
                if self.has_labels(slot, &labels) {
                    continue;
                }
                // The end of the other series was lost with a record: what it has goes elsewhere.
                self.move_away(slot);
            }
            moved.extend(self.insert(slot, &labels).map(|before| (before, slot)));
            if let Some(series) = self.series.get_mut(slot) {
                series.is_logged = true;
            }
        }
        self.follow(&moved);
    }

    /// Moves what series have to the slots where they began anew: they had ended in a cut, but no checkpoint came
    /// to say so. A series stands in one slot only: in two it would take a second value for a time it has.
    fn follow(&mut self, moved: &[(u32, u32)]) {
        let mut gone = Vec::new();
        for (before, slot) in moved {
            let (Some(mut series), Some(there)) = (self.take(*before), self.series.get_mut(*slot)) else { continue };
            gone.push((*before, std::mem::replace(&mut series.pairs, std::mem::take(&mut there.pairs))));
            series.is_logged = true;
            *there = series;
            self.ended.push(*before);
        }
        self.index.remove(&gone);
    }

    fn replay_ended(&mut self, runs: &[(u32, u32)]) {
        let slots = runs.iter().flat_map(|(first, count)| self.series.among(*first, *count));
        let slots: Vec<u32> = slots.filter(|slot| self.get(*slot).is_some_and(Series::is_empty)).collect();
        let gone: Vec<_> = slots.into_iter().filter_map(|slot| Some((slot, self.take(slot)?.pairs))).collect();
        self.unlist(&gone);
    }

    fn replay_accounts(&mut self, accounts: Vec<LoggedAccount>) {
        for (name, runs) in accounts {
            for (first, count) in runs {
                self.series.among(first, count).for_each(|slot| self.accounts.put(slot, &name));
            }
        }
    }

    fn move_away(&mut self, slot: u32) {
        let (labels, account) = (self.labels(slot), self.accounts.of(slot).to_owned());
        let was_found = self.find(&labels) == Some(slot);
        let (Some(mut series), Some(vacant)) = (self.take(slot), self.series.vacant()) else { return };
        self.index.remove(&[(slot, std::mem::take(&mut series.pairs))]);
        series.pairs = self.index.add(vacant, &labels);
        series.is_logged = false;
        self.series.insert(vacant, series);
        self.accounts.put(vacant, &account);
        self.order.add(vacant);
        if was_found {
            let _ = self.enter(vacant);
        }
    }

    /// Takes a series out of its slot and of what finds it by labels; it stays in the index.
    fn take(&mut self, slot: u32) -> Option<Series> {
        let pairs = &self.get(slot)?.pairs;
        if let Ok(found) = self.by_labels.find_entry(hash(self.index.texts(pairs)), |other| *other == slot) {
            found.remove();
        }
        self.order.remove(slot);
        self.accounts.take(slot);
        self.series.take(slot)
    }

    fn replay_chunk(&mut self, logged: LoggedChunk, replayed: &mut Replayed) {
        let Some(series) = self.series.get_mut(logged.series) else {
            replayed.orphans += 1;
            return;
        };
        let Ok(window) = super::chunk::decode_window(&logged.times, &logged.values) else { return };
        let Some((min, max)) = window.range() else { return };
        let count = u32::try_from(window.len()).unwrap_or(u32::MAX);
        let chunk = Chunk { min, max, count, times: logged.times.into(), values: logged.values.into_boxed_slice() };
        let added = series.add_chunk(&chunk, &mut self.shared) as u64;
        self.samples += added;
        replayed.samples += added;
        // Mostly a chunk lies in one window; if not, this is near enough.
        self.arrivals.note_many(min, added);
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

    /// Returns all series with their slots, in order of these.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Series)> {
        self.series.iter()
    }

    /// Returns first and last time of all samples.
    pub(crate) fn range(&self) -> Option<(i64, i64)> {
        self.iter().filter_map(|(_, s)| s.range(&self.shared)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// Begins an epoch, before a cut: series that have nothing left after it and are not touched from here on
    /// have ended.
    pub(crate) fn begin_epoch(&mut self) {
        self.epoch += 1;
    }

    /// Tells whether some part of a series reaches into `[min, max]`.
    pub(crate) fn overlaps(&self, slot: u32, min: i64, max: i64) -> bool {
        self.get(slot).is_some_and(|s| s.overlaps(min, max, &self.shared))
    }

    /// Returns the value of a series at a time.
    pub(crate) fn value_at(&self, slot: u32, time: i64) -> Option<f64> {
        self.get(slot)?.find(time, &self.shared)
    }

    /// Returns a copy of the parts of a series that reach into `[min, max]`; empty if none does.
    pub(crate) fn parts(&self, slot: u32, min: i64, max: i64) -> Parts {
        self.get(slot).map(|s| s.parts(min, max, &self.shared)).unwrap_or_default()
    }

    /// Returns series of these slots, which are in order, with a copy of their parts that reach into `[min, max]`;
    /// without those of which none does.
    pub(crate) fn view(&self, slots: &[u32], min: i64, max: i64) -> View<Parts> {
        let parts = |series: &Series| Some(series.parts(min, max, &self.shared)).filter(|parts| !parts.is_empty());
        let series = slots.iter().filter_map(|slot| self.get(*slot));
        View::new(&self.index, series.filter_map(|series| Some((&series.pairs, parts(series)?))))
    }

    /// Returns series of these slots, which are in order, without those of which no part reaches into `[min, max]`.
    pub(crate) fn names(&self, slots: &[u32], min: i64, max: i64) -> View<()> {
        let series = slots.iter().filter_map(|slot| self.get(*slot));
        let series = series.filter(|series| series.overlaps(min, max, &self.shared));
        View::new(&self.index, series.map(|series| (&series.pairs, ())))
    }

    /// Returns what of a series is being written to a block and reaches into `[min, max]`.
    pub(crate) fn detached(&self, slot: u32, min: i64, max: i64) -> Parts {
        self.get(slot).map(|s| s.detached(min, max, &self.shared)).unwrap_or_default()
    }

    /// Returns what of a series is not being written to a block.
    pub(crate) fn kept(&self, slot: u32) -> Parts {
        self.get(slot).map(|s| s.kept(&self.shared)).unwrap_or_default()
    }

    /// Puts a series' samples in `[min, max]` aside; see [`Series::detach`].
    pub(crate) fn detach(&mut self, slot: u32, min: i64, max: i64) -> Option<(i64, i64)> {
        self.series.get_mut(slot)?.detach(min, max, &mut self.shared)
    }

    /// Forgets what blocks have now of these series. Those of them that have ended, because nothing is left and
    /// nothing came since the epoch began, are put into `gone` for [`Head::unlist`]. To be called for all series,
    /// some at a time.
    pub(crate) fn forget_detached(&mut self, slots: &[u32], gone: &mut Vec<Gone>) {
        for slot in slots {
            let Some(series) = self.series.get_mut(*slot) else { continue };
            self.samples = self.samples.saturating_sub(series.forget_detached(&self.shared));
            if series.is_empty()
                && series.touched < self.epoch
                && let Some(series) = self.take(*slot)
            {
                self.ended.push(*slot);
                gone.push((*slot, series.pairs));
            }
        }
    }

    /// Takes series that have ended out of the index. Many at a time: the list of a label that all series have is
    /// walked through each time.
    pub(crate) fn unlist(&mut self, gone: &[Gone]) {
        self.index.remove(gone);
    }

    /// Ends a cut that worked, after all was forgotten that it took.
    pub(crate) fn finish_cut(&mut self) {
        self.late_samples = 0;
        self.shared.keep(self.series.iter().flat_map(|(_, series)| series.columns()));
    }

    /// Tells that no record names series any more that had ended when the last cut was finished: what was
    /// logged before it has been removed.
    pub(crate) fn forget_ended(&mut self) {
        self.series.release(self.ended.drain(..));
    }

    /// Makes all slots free that no record names.
    fn release_unnamed(&mut self) {
        self.ended.sort_unstable();
        let unnamed = (0..self.series.end()).filter(|slot| self.ended.binary_search(slot).is_err());
        self.series.release(unnamed);
    }

    /// Ends a cut that failed.
    pub(crate) fn abandon_cut(&mut self) {
        self.series.values_mut().for_each(|s| s.take_back_detached());
    }

    /// Returns about how many bytes of memory these series hold.
    pub(crate) fn series_bytes(&self, slots: std::ops::Range<u32>) -> usize {
        slots.filter_map(|slot| self.get(slot)).map(Series::memory_bytes).sum()
    }

    /// Returns the first slot behind all series.
    pub(crate) fn slots_end(&self) -> u32 {
        self.series.end()
    }

    /// Returns about how many bytes of memory the head holds beside its series.
    pub(crate) fn memory_bytes(&self) -> usize {
        let table = self.by_labels.capacity() * 6;
        table
            + self.order.memory_bytes()
            + self.shared.memory_bytes()
            + self.series.memory_bytes()
            + self.index.memory_bytes()
            + self.accounts.memory_bytes()
    }
}

/// Returns the hash of a label set.
fn hash<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    pairs.for_each(|pair| pair.hash(&mut hasher));
    hasher.finish()
}

impl Postings for Head {
    fn all(&self) -> Vec<u32> {
        self.iter().map(|(slot, _)| slot).collect()
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
        let mut labels = self.index.texts(self.pairs(series));
        labels.find(|(n, _)| *n == name).map_or("", |(_, value)| value)
    }
}
