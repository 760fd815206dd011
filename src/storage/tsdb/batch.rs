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
    /// By how much the clock had been moved when it stamped the samples; `None` if they were stamped elsewhere.
    pub(crate) moved_ms: Option<i64>,
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
    /// Returns an empty batch for samples that this box stamped, by a clock that had been moved by so much
    /// then (`Clock::moved_ms`). While that clock is doubted such samples are provisional.
    #[must_use]
    pub fn stamped(moved_ms: i64) -> Self {
        Batch { samples: Vec::new(), moved_ms: Some(moved_ms) }
    }

    /// Makes the samples, all of them, such as [`Batch::stamped`] is for.
    pub fn mark_stamped(&mut self, moved_ms: i64) {
        self.moved_ms = Some(moved_ms);
    }

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

    /// Returns the same samples so much later.
    pub(super) fn shifted(&self, by_ms: i64) -> Self {
        let later = |t: Timestamp| Timestamp::from_millis(t.as_millis().saturating_add(by_ms));
        let samples = self.samples.iter().map(|(key, at, value)| (key.clone(), later(*at), *value)).collect();
        Batch { samples, moved_ms: None }
    }

    /// Forgets the samples, keeps the memory.
    pub fn clear(&mut self) {
        self.samples.clear();
        self.moved_ms = None;
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

impl AppendOutcome {
    /// Adds what became of another batch; its indexes stay its own and are left out.
    pub fn add(&mut self, other: AppendOutcome) {
        self.appended += other.appended;
        self.out_of_order += other.out_of_order;
        self.duplicate += other.duplicate;
        self.conflicting += other.conflicting;
        self.too_old += other.too_old;
        self.too_new += other.too_new;
        self.over_series_limit += other.over_series_limit;
        self.unknown_ref += other.unknown_ref;
    }
}
