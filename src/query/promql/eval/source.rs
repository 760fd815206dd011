//! Where rows come from: selectors and windows over selectors or subqueries. Each selector is read once for all steps.

use std::sync::Arc;

use super::parts::samples_about;
use super::repeated::{KEPT_MAX, Kept, Repeated};
use super::{Evaluation, Sink};
use crate::model::{Labels, Sample, Timestamp};
use crate::query::limits::Pace;
use crate::query::promql::columns::{ABSENT, Grid, Numbers, is_present};
use crate::query::promql::functions::{Arguments, PerWindow, Remark};
use crate::query::promql::lookback::{self, Cell, Shift};
use crate::query::promql::syntax::Extent;
use crate::query::promql::tree::{Range, Scalar, Selector};
use crate::query::promql::window::{self, Margins, Series, Window};
use crate::query::promql::{Error, RangeSeries, Result};
use crate::storage::tsdb::{SeriesSamples, SeriesSet};

/// A series costs as much as so many of its samples, beside them.
const OF_A_SERIES: usize = 512;

/// A window function with its input.
pub(super) struct Windows<'p> {
    pub(super) function: &'p PerWindow,
    pub(super) input: &'p Range,
    pub(super) scalars: &'p [Scalar],
    /// Where the first argument stands.
    pub(super) place: usize,
}

/// What takes the samples of one series as they are read: labels, times, values.
type SamplesSink<'s> = &'s mut dyn FnMut(Labels, &mut Vec<i64>, &mut Vec<f64>) -> Result<()>;

/// What takes the samples of one series of a range.
pub(super) type SeriesSink<'s> = &'s mut dyn FnMut(Labels, &Series<'_>) -> Result<()>;

impl Evaluation<'_> {
    /// Hands on the values of selected series.
    pub(super) fn select(&self, selector: &Selector, cell: Cell, grid: &Grid, sink: Sink<'_>) -> Result<()> {
        let mut row = vec![ABSENT; grid.count];
        let is_smoothed = selector.extent == Extent::Smoothed && cell == Cell::Value;
        let mut counts = self.counts.part();
        self.read(selector, self.around(selector, cell), grid, &mut |labels, timestamps, values| {
            let any = if is_smoothed {
                window::remove_markers(timestamps, values);
                lookback::fill_smoothed((timestamps, values), grid, selector.shift, self.lookback_ms, &mut row)
            } else {
                lookback::fill((timestamps, values), grid, selector.shift, self.lookback_ms, cell, &mut row)
            };
            if any {
                counts.add_row(&row);
                sink(labels, &mut row)?;
            }
            Ok(())
        })
    }

    /// Hands on what a function makes of windows, with the metric name.
    pub(super) fn per_window(&self, windows: &Windows<'_>, grid: &Grid, sink: Sink<'_>) -> Result<()> {
        let (shift, range) = windows.input.extent();
        let margins = self.margins(windows.input.extent_of_samples());
        let numbers = self.scalars(windows.scalars, grid)?;
        self.check_scalars(windows, &numbers)?;
        let mut scalars = vec![0.0; numbers.len()];
        let mut scratch = Vec::new();
        let mut row = vec![ABSENT; grid.count];
        let mut is_named = windows.function.remark != Remark::NotACounter;
        let mut counts = self.counts.part();
        // Long windows at many steps are the one thing that costs more than samples were read.
        let mut pace = Pace::new(self.deadline);
        let mut stopped = Ok(());
        self.each_series(windows.input, grid, &mut |labels, series| {
            let any = window::walk(series, grid, shift, (range, margins), &mut row, |i, window: &Window<'_>| {
                counts.add(i, window.len());
                if stopped.is_ok() {
                    stopped = pace.work(window.len());
                }
                if stopped.is_err() {
                    return None;
                }
                scalars.iter_mut().zip(&numbers).for_each(|(s, n)| *s = n[i]);
                let mut arguments = Arguments { scalars: &scalars, scratch: &mut scratch };
                (windows.function.function)(window, &mut arguments)
            });
            stopped?;
            if any && !is_named {
                is_named = true;
                self.remark_on_name(labels.metric_name(), windows.place);
            }
            if any { sink(labels, &mut row) } else { Ok(()) }
        })
    }

    fn check_scalars(&self, windows: &Windows<'_>, numbers: &[Numbers<'_>]) -> Result<()> {
        let steps = numbers.first().map_or(0, |n| n.len());
        for i in 0..steps {
            let at: Vec<f64> = numbers.iter().map(|n| n[i]).collect();
            if let Some(check) = windows.function.check {
                check(&at).map_err(Error::Execution)?;
            }
            if windows.function.remark == Remark::Quantile
                && let Some(q) = at.first()
            {
                self.remark_on_quantile(*q, windows.place);
            }
        }
        Ok(())
    }

    /// Says that a quantile makes no sense.
    pub(super) fn remark_on_quantile(&self, q: f64, place: usize) {
        if !(0.0..=1.0).contains(&q) {
            let q = crate::query::promql::format_value(q);
            self.remarks.warn(place, format_args!("quantile value should be between 0 and 1, got {q}"));
        }
    }

    fn remark_on_name(&self, name: &str, place: usize) {
        let is_counter = ["_total", "_sum", "_count", "_bucket"].iter().any(|end| name.ends_with(end));
        if !name.is_empty() && !is_counter {
            let remark = "metric might not be a counter, name does not end in _total/_sum/_count/_bucket";
            self.remarks.inform(place, format_args!("{remark}: {name:?}"));
        }
    }

    /// Returns the samples of a range's windows at a single step, sorted by labels.
    pub(in crate::query::promql) fn samples(&self, range: &Range, grid: &Grid) -> Result<Vec<RangeSeries>> {
        let mut found = Vec::new();
        let mut counts = self.counts.part();
        self.each_series(range, grid, &mut |labels, series| {
            self.budget.hold(series.values.len())?;
            counts.add(0, series.values.len());
            let pairs = series.timestamps.iter().zip(series.values);
            let points: Vec<Sample> = pairs.map(|(t, v)| Sample::new(Timestamp::from_millis(*t), *v)).collect();
            if !points.is_empty() {
                found.push(RangeSeries { labels, points });
            }
            Ok(())
        })?;
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(found)
    }

    /// Hands on the samples of a range, for all its windows at once.
    pub(super) fn each_series(&self, range: &Range, grid: &Grid, sink: SeriesSink<'_>) -> Result<()> {
        match range {
            Range::Select(selector, length) => {
                let Margins { before, after } = self.margins(selector.extent);
                let back = length.saturating_add(before);
                self.read(selector, (back, after), grid, &mut |labels, timestamps, values| {
                    window::remove_markers(timestamps, values);
                    sink(labels, &Series { timestamps, values })
                })
            }
            Range::Subquery { input, range, step, shift } => {
                let Some(inner) = subquery_grid(grid, *shift, *range, *step) else { return Ok(()) };
                // A row, and a series of times and values. Before anything is allocated for them: a year has 3 * 10^10
                // milliseconds.
                let held = inner.count.saturating_mul(3);
                self.budget.hold(held)?;
                let (mut timestamps, mut values) = (Vec::new(), Vec::new());
                let was_in_subquery = self.counts.set_in_subquery(true);
                let result = self.each_row(input, &inner, &mut |labels, row| {
                    timestamps.clear();
                    values.clear();
                    for (i, value) in row.iter().enumerate().filter(|(_, v)| is_present(**v)) {
                        timestamps.push(inner.at(i));
                        values.push(*value);
                    }
                    sink(labels, &Series { timestamps: &timestamps, values: &values })
                });
                self.counts.set_in_subquery(was_in_subquery);
                self.budget.release(held);
                result
            }
            Range::Traced(span, input) => self.traced_series(*span, input, grid, sink),
        }
    }

    /// Returns how far before and behind each step a selector of values looks.
    pub(super) fn around(&self, selector: &Selector, cell: Cell) -> (i64, i64) {
        let is_smoothed = selector.extent == Extent::Smoothed && cell == Cell::Value;
        (self.lookback_ms, if is_smoothed { self.lookback_ms } else { 0 })
    }

    /// Returns how far around its windows an extended selector looks.
    pub(super) fn margins(&self, extent: Extent) -> Margins {
        match extent {
            Extent::Plain => Margins::default(),
            Extent::Anchored => Margins { before: self.lookback_ms, after: 0 },
            Extent::Smoothed => Margins { before: self.lookback_ms, after: self.lookback_ms },
        }
    }

    /// Reads the series of a selector with all samples that any step looks at.
    fn read(&self, selector: &Selector, around: (i64, i64), grid: &Grid, sink: SamplesSink<'_>) -> Result<()> {
        let Some((min, max)) = reach(selector, around, grid) else { return Ok(()) };
        let kept = if self.is_part { None } else { self.repeated.read(&selector.matchers, (min, max), self.budget) };
        if let Some(kept) = kept {
            return self.read_kept(kept, (min, max), sink);
        }
        let Some(mut set) = self.series_of(selector, around, grid)? else { return Ok(()) };
        let mut keeping = None;
        if !self.is_part && samples_about(&set, min, max) <= KEPT_MAX {
            keeping = self.repeated.keep(&selector.matchers, min, max, self.budget);
        }
        let mut series = SeriesSamples::default();
        let mut pace = Pace::new(self.deadline);
        while set.next_into(&mut series)? {
            let samples = series.values.len();
            pace.work(samples + OF_A_SERIES)?;
            self.budget.add_read(samples)?;
            self.budget.hold(samples)?;
            if let Some(keeping) = &mut keeping {
                keeping.push(&series);
            }
            sink(series.labels.clone(), &mut series.timestamps, &mut series.values)?;
            self.budget.release(samples);
        }
        if let Some(keeping) = keeping {
            keeping.finish();
        }
        Ok(())
    }

    /// Hands on what was read before.
    fn read_kept(&self, kept: Arc<Kept>, (min, max): (i64, i64), sink: SamplesSink<'_>) -> Result<()> {
        let mut pace = Pace::new(self.deadline);
        let (mut timestamps, mut values) = (Vec::new(), Vec::new());
        for series in &kept.series {
            let from = series.timestamps.partition_point(|t| *t < min);
            let to = series.timestamps.partition_point(|t| *t <= max);
            pace.work(to - from + OF_A_SERIES)?;
            timestamps.clear();
            timestamps.extend_from_slice(&series.timestamps[from..to]);
            values.clear();
            values.extend_from_slice(&series.values[from..to]);
            if from < to {
                self.budget.hold(to - from)?;
                sink(series.labels.clone(), &mut timestamps, &mut values)?;
                self.budget.release(to - from);
            }
        }
        Repeated::done(kept, self.budget);
        Ok(())
    }

    /// Returns the series of a selector: the part of them that this thread was given, or else all.
    pub(super) fn series_of(&self, selector: &Selector, around: (i64, i64), grid: &Grid) -> Result<Option<SeriesSet>> {
        if let Some(given) = self.take_given() {
            return Ok(Some(given));
        }
        let Some((min, max)) = reach(selector, around, grid) else { return Ok(None) };
        let (min, max) = (Timestamp::from_millis(min), Timestamp::from_millis(max));
        Ok(Some(self.querier.select(&selector.matchers, min, max, self.budget.left_to_read())?))
    }
}

/// Returns first and last millisecond that any step looks at: `(first - back, last + ahead]`; `None` if there is none.
pub(super) fn reach(selector: &Selector, (back_ms, ahead_ms): (i64, i64), grid: &Grid) -> Option<(i64, i64)> {
    let min = selector.shift.apply(grid.start).saturating_sub(back_ms).saturating_add(1);
    let max = selector.shift.apply(grid.last()).saturating_add(ahead_ms);
    (grid.count > 0 && min <= max).then_some((min, max))
}

/// Returns the steps of a subquery for all its windows: multiples of `step` in `(first - range, last]`.
fn subquery_grid(grid: &Grid, shift: Shift, range: i64, step: i64) -> Option<Grid> {
    let after = shift.apply(grid.start).saturating_sub(range);
    let last = shift.apply(grid.last());
    let start = after.div_euclid(step).checked_add(1)?.checked_mul(step)?;
    let count = usize::try_from(last.checked_sub(start)?.div_euclid(step) + 1).ok()?;
    Some(Grid { start, step, count })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(start: i64, range: i64, step: i64, expected: &[i64]) {
        let grid = subquery_grid(&Grid { start, step: 1, count: 1 }, Shift::default(), range, step);
        let times: Vec<i64> = grid.map(|g| g.times().collect()).unwrap_or_default();
        assert_eq!(times, expected, "{start} {range} {step}");
    }

    #[test]
    fn a_subquery_steps_on_multiples_within_the_window() {
        check(50, 50, 10, &[10, 20, 30, 40, 50]);
        check(55, 50, 10, &[10, 20, 30, 40, 50]);
        check(-5, 20, 10, &[-20, -10]);
        check(9, 5, 10, &[]);
    }
}
