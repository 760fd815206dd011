//! Wide selections in parts, one on each core that has nothing else to do.
//!
//! A vector whose rows come from a single selector, each from one series, can be worked out for some of the series by
//! themselves. The selection is made once, at one moment, and cut where it is about equally wide on both sides; each
//! thread then reads, decodes and works out one part after the other, up to where rows are gathered or added up. Parts are
//! put together in their order. Cost: a thread is started for each helper, some 50 us, so that this is for
//! selections that take milliseconds.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::repeated::KEPT_MAX;
use super::source::reach;
use super::{Evaluation, has_one_name};
use crate::query::promql::Result;
use crate::query::promql::columns::Grid;
use crate::query::promql::lookback::Cell;
use crate::query::promql::tree::{Range, Scalar, Selector, Step, Vector};
use crate::query::promql::window::Margins;
use crate::storage::tsdb::SeriesSet;

/// A selection is cut if it reads about so many samples for each part: a millisecond or two.
const PART_SAMPLES: usize = 1 << 16;

/// How far apart samples are taken to be, milliseconds.
const INTERVAL_MS: i64 = 15_000;

/// To find and begin a series takes as long as to read so many samples.
const SERIES_SAMPLES: i64 = 100;

/// So many parts are made for each thread: who is done with one takes the next, and a helper that the machine has little
/// time for holds up only one of them. More would read more columns of times and pages twice.
const PARTS_PER_THREAD: usize = 2;

/// More parts are not made of one selection.
const PARTS_MAX: usize = 16;

impl<'a> Evaluation<'a> {
    /// Runs `work`, which asks for the rows of `input`: as it is, or on several threads, for each with a part of the
    /// rows. Returns what it gave, in the order of the rows.
    pub(super) fn in_parts<T: Send>(
        &self,
        input: &Vector,
        grid: &Grid,
        work: impl Fn(&Evaluation<'a>) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let whole = || Ok(vec![work(self)?]);
        // Within a part there are no further ones; and who wants to know what parts take wants them one by one.
        if self.cores.idle() == 0 || self.is_part || self.tracer.is_some() {
            return whole();
        }
        let Some((selector, around)) = self.only_selector(input) else { return whole() };
        let Some((min, max)) = reach(selector, around, grid) else { return whole() };
        if self.repeated.has(&selector.matchers, min, max) {
            return whole();
        }
        let Some(set) = self.series_of(selector, around, grid)? else { return whole() };
        let samples = samples_about(&set, min, max);
        let is_to_be_kept = samples <= KEPT_MAX && self.repeated.is_repeated(&selector.matchers);
        let parts = if is_to_be_kept { 1 } else { (samples / PART_SAMPLES).min(PARTS_MAX) };
        let helpers = self.cores.helpers(parts.saturating_sub(1));
        if helpers.count() == 0 {
            return Ok(vec![work(&self.with_given(set, false))?]);
        }
        let sets = set.split(parts.min((helpers.count() + 1) * PARTS_PER_THREAD));
        let has_failed = AtomicBool::new(false);
        let results = helpers.spread(sets, |set| {
            // What is not begun need not be any more.
            let result = (!has_failed.load(Ordering::Relaxed)).then(|| work(&self.with_given(set, true)))?;
            has_failed.fetch_or(result.is_err(), Ordering::Relaxed);
            Some(result)
        });
        results.into_iter().flatten().collect()
    }

    /// Returns an evaluation that reads this when it selects: a part of what is selected, or all.
    fn with_given(&self, set: SeriesSet, is_part: bool) -> Evaluation<'a> {
        Evaluation { given: Mutex::new(Some(set)), is_part, ..*self }
    }

    /// Returns the part of a selection that is to be read instead of selecting, once.
    pub(super) fn take_given(&self) -> Option<SeriesSet> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Returns the selector that all rows of a vector come from, and how far around the steps it reads, if each row
    /// comes from one series and nothing else is read.
    fn only_selector<'p>(&self, plan: &'p Vector) -> Option<(&'p Selector, (i64, i64))> {
        match plan {
            Vector::Select(selector) => Some((selector, self.around(selector, Cell::Value))),
            Vector::SampleTimes(selector) => {
                has_one_name(plan).then_some((selector, self.around(selector, Cell::Time)))
            }
            Vector::StepTimes(input) | Vector::Negate(input) | Vector::Calendar(_, input) => self.of_one_name(input),
            Vector::PerValue { input, scalars, .. } if scalars.iter().all(reads_nothing) => self.of_one_name(input),
            Vector::PerWindow { row, input: Range::Select(selector, length), scalars, .. } => {
                let Margins { before, after } = self.margins(selector.extent);
                let stays_apart = row.keeps_name || has_one_name(plan);
                let is_alone = stays_apart && scalars.iter().all(reads_nothing);
                is_alone.then_some((selector, (length.saturating_add(before), after)))
            }
            Vector::Chain(first, steps) => {
                let is_row_by_row = |s: &Step| matches!(s, Step::Number(with) if reads_nothing(&with.scalar));
                let keeps_name = steps.iter().all(|s| matches!(s, Step::Number(with) if with.is_filter()));
                let found = if keeps_name { self.only_selector(first) } else { self.of_one_name(first) };
                found.filter(|_| steps.iter().all(is_row_by_row))
            }
            _ => None,
        }
    }

    /// As [`Evaluation::only_selector`], for what loses its name: series must not become the same by that.
    fn of_one_name<'p>(&self, input: &'p Vector) -> Option<(&'p Selector, (i64, i64))> {
        if has_one_name(input) { self.only_selector(input) } else { None }
    }
}

/// Returns about how much it is to read a set, in samples, before it is read.
pub(super) fn samples_about(set: &SeriesSet, min: i64, max: i64) -> usize {
    let per_series = max.saturating_sub(min) / INTERVAL_MS + SERIES_SAMPLES;
    set.series_max().saturating_mul(usize::try_from(per_series).unwrap_or(usize::MAX))
}

/// Tells whether a number is worked out without reading series.
fn reads_nothing(scalar: &Scalar) -> bool {
    match scalar {
        Scalar::Number(_) | Scalar::Time => true,
        Scalar::Only(_) => false,
        Scalar::Negate(input) | Scalar::Traced(_, input) => reads_nothing(input),
        Scalar::Chain(first, steps) => reads_nothing(first) && steps.iter().all(|(_, right)| reads_nothing(right)),
        Scalar::Smaller(a, b) | Scalar::Larger(a, b) => reads_nothing(a) && reads_nothing(b),
    }
}
