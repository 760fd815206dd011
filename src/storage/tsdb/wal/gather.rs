//! Samples of the log on their way to the head: they wait until there are several of a series, and go series by
//! series.
//!
//! The log has them scrape by scrape, and in memory series lie apart: one by one each sample would wait for memory
//! two or three times. A series that takes several at once is waited for once, and its neighbour comes by itself.

use super::record::{Logged, LoggedSample};

/// So many samples wait for each series, on average. More would spread over more times than a group
/// remembers, see `head/groups.rs`.
const EACH: usize = 8;

/// So many wait at least, and at most: 6 MiB, and as much again on their way.
const WAITING_MIN: usize = 4_000;
const WAITING_MAX: usize = 400_000;

/// How far the base lies before the first of its times.
const BASE_BEFORE_MS: i64 = 7 * 24 * 3_600_000;

/// What a start takes in, in this order.
#[derive(Debug)]
pub(crate) enum Step {
    /// A record; a batch without its samples.
    Record(Logged),
    Samples(Gathered),
}

/// Samples in order of their series, those of one as they came.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    /// What their times count from.
    base: i64,
    samples: Vec<Waiting>,
    /// What came: sequence of the batch, time, and how many samples of both follow each other.
    pub(crate) arrived: Vec<(u64, i64, u64)>,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    slot: u32,
    /// Milliseconds since the base.
    offset: u32,
    value: f64,
}

/// Stands where a sample will be.
const NOTHING: Waiting = Waiting { slot: 0, offset: 0, value: 0.0 };

impl Gathered {
    /// Returns the highest slot among them.
    pub(crate) fn slot_max(&self) -> Option<u32> {
        self.samples.last().map(|w| w.slot)
    }

    /// Returns each series' slot with its samples.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (u32, impl ExactSizeIterator<Item = (i64, f64)> + Clone)> {
        self.samples.chunk_by(|a, b| a.slot == b.slot).map(|run| {
            let slot = run.first().map_or(0, |w| w.slot);
            (slot, run.iter().map(|w| (self.base + i64::from(w.offset), w.value)))
        })
    }
}

/// Gathers samples of batches.
#[derive(Debug, Default)]
pub(super) struct Gather {
    /// Samples by arrival.
    waiting: Vec<Waiting>,
    base: i64,
    arrived: Vec<(u64, i64, u64)>,
    /// The lowest and the highest slot among them.
    slots: Option<(u32, u32)>,
    /// How many series were named.
    series: usize,
    /// Room to put them in order: where the next sample of each slot goes.
    places: Vec<u32>,
}

impl Gather {
    /// Takes a record; hands on what is due.
    pub(super) fn take(&mut self, sequence: u64, logged: Logged, hand_on: &mut dyn FnMut(Step)) {
        let (record, samples) = match logged {
            Logged::Batch { new, samples } if new.is_empty() => (None, samples),
            Logged::Batch { new, samples } => {
                self.series += new.len();
                (Some(Logged::Batch { new, samples: Vec::new() }), samples)
            }
            Logged::Chunks { new, chunks } => {
                self.series += new.len();
                (Some(Logged::Chunks { new, chunks }), Vec::new())
            }
            other => (Some(other), Vec::new()),
        };
        if let Some(record) = record {
            // What waits for a slot goes to the series that has it now.
            self.finish(hand_on);
            hand_on(Step::Record(record));
        }
        for sample in samples {
            self.wait(sequence, sample, hand_on);
        }
        if self.waiting.len() >= self.series.saturating_mul(EACH).clamp(WAITING_MIN, WAITING_MAX) {
            self.finish(hand_on);
        }
    }

    #[inline]
    fn wait(&mut self, sequence: u64, sample: LoggedSample, hand_on: &mut dyn FnMut(Step)) {
        let offset = match u32::try_from(sample.time.wrapping_sub(self.base)) {
            Ok(offset) if !self.waiting.is_empty() && sample.time >= self.base => offset,
            _ => self.rebase(sample.time, hand_on),
        };
        match self.arrived.last_mut() {
            Some((same, time, count)) if (*same, *time) == (sequence, sample.time) => *count += 1,
            _ => self.arrived.push((sequence, sample.time, 1)),
        }
        let (low, high) = self.slots.unwrap_or((u32::MAX, 0));
        self.slots = Some((low.min(sample.series), high.max(sample.series)));
        self.waiting.push(Waiting { slot: sample.series, offset, value: sample.value });
    }

    /// Lets times count from another base; returns the offset of this one.
    #[cold]
    fn rebase(&mut self, time: i64, hand_on: &mut dyn FnMut(Step)) -> u32 {
        self.finish(hand_on);
        // Most that come are newer, few a little older.
        self.base = time.saturating_sub(BASE_BEFORE_MS);
        u32::try_from(time - self.base).unwrap_or(0)
    }

    /// Hands on what waits.
    pub(super) fn finish(&mut self, hand_on: &mut dyn FnMut(Step)) {
        let Some((low, high)) = self.slots.take() else { return };
        let samples = if (high - low) as usize > self.waiting.len() * EACH {
            let mut samples = std::mem::take(&mut self.waiting);
            samples.sort_by_key(|w| w.slot);
            samples
        } else {
            let ordered = self.in_order(low, high);
            self.waiting.clear();
            ordered
        };
        hand_on(Step::Samples(Gathered { base: self.base, samples, arrived: std::mem::take(&mut self.arrived) }));
    }

    /// Returns what waits in order of slots, by counting.
    fn in_order(&mut self, low: u32, high: u32) -> Vec<Waiting> {
        let Gather { waiting, places, .. } = self;
        let place = |w: &Waiting| w.slot.saturating_sub(low) as usize;
        places.clear();
        places.resize((high - low) as usize + 1, 0);
        for w in waiting.iter() {
            if let Some(count) = places.get_mut(place(w)) {
                *count += 1;
            }
        }
        let mut sum = 0;
        for count in places.iter_mut() {
            sum += std::mem::replace(count, sum);
        }
        let mut ordered = vec![NOTHING; waiting.len()];
        for w in waiting.iter() {
            let Some(next) = places.get_mut(place(w)) else { continue };
            if let Some(to) = ordered.get_mut(*next as usize) {
                *to = *w;
            }
            *next += 1;
        }
        ordered
    }
}
