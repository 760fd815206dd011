//! Selectors that stand more than once in a query: `x / (x + y)`, `max_over_time(x[5m]) - min_over_time(x[5m])`.
//!
//! What was read and decoded for one is kept, if it is not much, and serves the next that looks at no more of it. Wide
//! selections are not kept but read again, on several cores: memory is dearer than time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::Matcher;
use crate::query::limits::SampleBudget;
use crate::storage::tsdb::SeriesSamples;

/// So many samples are kept of a selector at most: 8 MiB.
pub(super) const KEPT_MAX: usize = 1 << 19;

/// How much of the budget a kept sample takes: a time and a value.
const HELD: usize = 2;

/// The selectors of a query and what is kept of them.
#[derive(Debug, Default)]
pub(in crate::query::promql) struct Repeated(Mutex<HashMap<String, Entry>>);

/// A selector.
#[derive(Debug, Default)]
struct Entry {
    /// How often it is still to be read.
    left: usize,
    kept: Option<Arc<Kept>>,
}

/// All samples of a selector in `[min, max]`.
#[derive(Debug)]
pub(super) struct Kept {
    min: i64,
    max: i64,
    pub(super) series: Vec<SeriesSamples>,
    samples: usize,
}

/// Samples that are to be kept, while they are read.
#[derive(Debug)]
pub(super) struct Keeping<'r> {
    repeated: &'r Repeated,
    key: String,
    budget: &'r SampleBudget,
    /// `None` when there were too many.
    kept: Option<Kept>,
}

impl Repeated {
    /// Counts a selector of the query.
    pub(in crate::query::promql) fn count(&self, matchers: &[Matcher]) {
        self.lock().entry(key(matchers)).or_default().left += 1;
    }

    /// Returns what is kept of a selector if that has all of `[min, max]`; it counts as read.
    pub(super) fn read(
        &self,
        matchers: &[Matcher],
        (min, max): (i64, i64),
        budget: &SampleBudget,
    ) -> Option<Arc<Kept>> {
        let mut entries = self.lock();
        let entry = entries.get_mut(&key(matchers))?;
        entry.left = entry.left.saturating_sub(1);
        let kept = if entry.left == 0 { entry.kept.take() } else { entry.kept.clone() }?;
        if kept.min <= min && max <= kept.max {
            return Some(kept);
        }
        Repeated::done(kept, budget);
        None
    }

    /// Tells whether all of `[min, max]` is kept of a selector.
    pub(super) fn has(&self, matchers: &[Matcher], min: i64, max: i64) -> bool {
        let entries = self.lock();
        let kept = entries.get(&key(matchers)).and_then(|entry| entry.kept.as_ref());
        kept.is_some_and(|kept| kept.min <= min && max <= kept.max)
    }

    /// Tells whether a selector is to be read more than once from now on.
    pub(super) fn is_repeated(&self, matchers: &[Matcher]) -> bool {
        let entries = self.lock();
        entries.get(&key(matchers)).is_some_and(|entry| entry.left > 1)
    }

    /// Returns what keeps the samples of a selector, if it is to be read again.
    pub(super) fn keep<'r>(
        &'r self,
        matchers: &[Matcher],
        min: i64,
        max: i64,
        budget: &'r SampleBudget,
    ) -> Option<Keeping<'r>> {
        let key = key(matchers);
        let entries = self.lock();
        // It counts as read already.
        entries.get(&key).filter(|entry| entry.left > 0)?;
        let kept = Some(Kept { min, max, series: Vec::new(), samples: 0 });
        Some(Keeping { repeated: self, key, budget, kept })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes back what [`Repeated::read`] gave.
    pub(super) fn done(kept: Arc<Kept>, budget: &SampleBudget) {
        if let Some(kept) = Arc::into_inner(kept) {
            budget.release(kept.samples * HELD);
        }
    }
}

impl Keeping<'_> {
    /// Keeps a series, unless it is one too many.
    pub(super) fn push(&mut self, series: &SeriesSamples) {
        let Some(kept) = &mut self.kept else { return };
        kept.samples += series.values.len();
        let is_held = self.budget.hold(series.values.len() * HELD).is_ok();
        // A part of what may be held, so that it is not for what is kept that a query ends.
        if is_held && kept.samples <= KEPT_MAX.min(self.budget.max() / 16) {
            kept.series.push(series.clone());
        } else {
            self.budget.release(kept.samples * HELD);
            self.kept = None;
        }
    }

    /// Says that all series were pushed.
    pub(super) fn finish(mut self) {
        let mut entries = self.repeated.lock();
        if let (Some(entry), Some(kept)) = (entries.get_mut(&self.key), self.kept.take()) {
            entry.kept = Some(Arc::new(kept));
        }
    }
}

fn key(matchers: &[Matcher]) -> String {
    matchers.iter().map(|matcher| format!("{matcher},")).collect()
}
