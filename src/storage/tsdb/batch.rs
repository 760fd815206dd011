//! What is appended, and what became of it.

use crate::model::{Labels, Timestamp};

/// Names a series in the running store; found once per series and kept by senders. It is not written
/// anywhere by them: after a restart, and after the series has been dropped from the head, it is unknown.
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

    /// Returns the reference of the sample at `index`; `None` if it was pushed with labels.
    #[must_use]
    pub fn series_ref(&self, index: usize) -> Option<SeriesRef> {
        match self.samples.get(index)?.0 {
            Key::Ref(series) => Some(series),
            Key::Labels(_) => None,
        }
    }

    /// Tells whether the batch has no sample.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Forgets the samples, keeps the memory.
    pub fn clear(&mut self) {
        self.samples.clear();
    }
}

/// What became of a batch. Refused samples are not errors: devices send late and twice.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct AppendOutcome {
    /// Taken.
    pub appended: u64,
    /// Of those taken, how many came after newer ones of their series.
    pub out_of_order: u64,
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
