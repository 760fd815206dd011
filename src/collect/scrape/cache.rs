//! What a target's lines became: series reference by the line's own text, and who vanished.
//!
//! A line that is known costs a hash of its series part and, since a target keeps its order, one comparison;
//! labels are read once in a series' life. Memory: about 45 bytes a line.

use crate::collect::known::{Key, Known as Table};
use crate::model::{MetricKind, Timestamp, stale_nan};
use crate::storage::tsdb::{Batch, SeriesRef};

/// After how many scrapes an entry that was not seen is forgotten.
const ROUNDS_KEPT: u32 = 10;

/// What is known about a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// It is a sample of this series.
    Series(SeriesRef),
    /// Relabelling drops it.
    Dropped,
}

#[derive(Debug)]
struct Entry {
    known: Known,
    /// The last scrape that had the line.
    round: u32,
    /// Whether its end has to be marked when it vanishes: its last sample had our time and was taken.
    is_live: bool,
}

/// The lines of one target.
#[derive(Debug)]
pub(super) struct LineCache {
    entries: Table<Entry>,
    /// Where the next line is looked for first.
    next: usize,
    round: u32,
}

impl LineCache {
    pub(super) fn new(seed: u64) -> Self {
        LineCache { entries: Table::new(seed), next: 0, round: 0 }
    }

    /// Begins a scrape.
    pub(super) fn begin(&mut self) {
        self.round = self.round.wrapping_add(1);
        self.next = 0;
    }

    /// Returns the key of a line: its series part, and its kind, which decides how `le` is read.
    pub(super) fn key(&self, series: &str, kind: MetricKind) -> Key {
        self.entries.key_of(series.as_bytes(), kind as u64)
    }

    /// Looks a line up and marks it as seen. `is_ours`: the sample has our time, so its end is ours to mark.
    pub(super) fn seen(&mut self, key: Key, is_ours: bool) -> Option<Known> {
        let entry = self.entries.find_mut(key, &mut self.next)?;
        entry.round = self.round;
        entry.is_live = is_ours;
        Some(entry.known)
    }

    /// Keeps what a line became.
    pub(super) fn keep(&mut self, key: Key, known: Known, is_ours: bool) {
        self.entries.keep(key, Entry { known, round: self.round, is_live: is_ours });
    }

    /// Forgets all references, because the store does.
    pub(super) fn forget(&mut self) {
        self.entries.retain(|_| false);
    }

    /// Ends a scrape: adds a staleness marker for each series that was there and is no more.
    pub(super) fn end(&mut self, at: Timestamp, batch: &mut Batch) {
        let round = self.round;
        self.entries.retain(|entry| {
            if entry.round == round {
                return true;
            }
            if let (true, Known::Series(series)) = (entry.is_live, entry.known) {
                batch.push_ref(series, at, stale_nan());
            }
            entry.is_live = false;
            round.wrapping_sub(entry.round) < ROUNDS_KEPT
        });
    }
}
