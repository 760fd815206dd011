//! What a target's lines became: series reference by the line's own text, and who vanished.
//!
//! A line that is known costs one hash of its series part; labels are read once in a series' life. The key is
//! a 64-bit hash with a seed of this process: among 50 000 series two share one with a chance of 1 in 10^10,
//! and nobody outside can make it happen. Memory: about 40 bytes a series.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use xxhash_rust::xxh3::xxh3_64_with_seed;

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
    entries: HashMap<u64, Entry, BuildHasherDefault<Hashed>>,
    seed: u64,
    round: u32,
}

impl LineCache {
    pub(super) fn new(seed: u64) -> Self {
        LineCache { entries: HashMap::default(), seed, round: 0 }
    }

    /// Begins a scrape.
    pub(super) fn begin(&mut self) {
        self.round = self.round.wrapping_add(1);
    }

    /// Returns the key of a line: its series part, and its kind, which decides how `le` is read.
    pub(super) fn key(&self, series: &str, kind: MetricKind) -> u64 {
        xxh3_64_with_seed(series.as_bytes(), self.seed ^ kind as u64)
    }

    /// Looks a line up and marks it as seen. `is_ours`: the sample has our time, so its end is ours to mark.
    pub(super) fn seen(&mut self, key: u64, is_ours: bool) -> Option<Known> {
        let entry = self.entries.get_mut(&key)?;
        entry.round = self.round;
        entry.is_live = is_ours;
        Some(entry.known)
    }

    /// Keeps what a line became.
    pub(super) fn keep(&mut self, key: u64, known: Known, is_ours: bool) {
        self.entries.insert(key, Entry { known, round: self.round, is_live: is_ours });
    }

    /// Forgets all references, because the store does.
    pub(super) fn forget(&mut self) {
        self.entries.clear();
    }

    /// Ends a scrape: adds a staleness marker for each series that was there and is no more.
    pub(super) fn end(&mut self, at: Timestamp, batch: &mut Batch) {
        let round = self.round;
        self.entries.retain(|_, entry| {
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

/// A hasher for keys that are hashes already.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
