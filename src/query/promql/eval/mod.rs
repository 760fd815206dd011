//! Walks a plan, one node at a time over all steps.
//!
//! A node that works on one series at a time hands rows on as they come ([`Evaluation::each_row`]), so that
//! `sum(rate(x[5m]))` holds one series' samples and the sums. A node that needs its whole input asks for
//! [`Columns`]. Cost: each sample is decoded once and looked at once per window it lies in; nothing is allocated per
//! sample or step.

mod aggregate;
mod binary;
mod chain;
mod histogram;
mod info;
mod matching;
mod parts;
mod ranking;
mod repeated;
mod sets;
mod source;
mod traced;
mod whole;

pub(super) use binary::apply;
pub(super) use repeated::Repeated;

use std::sync::Mutex;

use super::columns::{ABSENT, Columns, Grid, Numbers, OF_LABELS, is_present};
use super::functions::ValueFunction;
use super::trace::{Counts, Tracer};
use super::tree::{Operator, Range, Scalar, Selector, Step, Vector};
use super::warnings::Remarks;
use super::{Error, RangeSeries, Result};
use crate::model::{LABEL_NAME, Labels, MatchOp, Sample, Timestamp};
use crate::query::limits::{Deadline, SampleBudget};
use crate::storage::tsdb::{Querier, SeriesSet};
use crate::task::Cores;

/// What takes the rows of a vector: labels and cells, which it may change.
type Sink<'s> = &'s mut dyn FnMut(Labels, &mut [f64]) -> Result<()>;

/// One evaluation: a view of the store, its bounds, and what there is to remark.
#[derive(Debug)]
pub(super) struct Evaluation<'a> {
    /// The store.
    pub(super) querier: &'a Querier,
    /// When to stop.
    pub(super) deadline: &'a Deadline,
    /// How many samples may be read and held.
    pub(super) budget: &'a SampleBudget,
    /// How far back a sample counts, milliseconds.
    pub(super) lookback_ms: i64,
    /// Whether the answer is a single step, so that order matters.
    pub(super) is_instant: bool,
    /// What there is to remark.
    pub(super) remarks: &'a Remarks,
    /// How many samples steps look at.
    pub(super) counts: &'a Counts,
    /// What the parts take, if somebody wants to know.
    pub(super) tracer: Option<&'a Tracer>,
    /// Cores that may help.
    pub(super) cores: &'a Cores,
    /// A part of a selection: what this thread is to read instead of selecting.
    pub(super) given: Mutex<Option<SeriesSet>>,
    /// Whether it was given one.
    pub(super) is_part: bool,
    /// The selectors of the query, and what is kept of those that stand more than once.
    pub(super) repeated: &'a Repeated,
}

impl<'a> Evaluation<'a> {
    /// Returns a number for each step.
    pub(super) fn scalar(&self, plan: &Scalar, grid: &Grid) -> Result<Numbers<'a>> {
        let all = |number: f64| Numbers::new(number, grid.count, self.budget);
        let two = |a: &Scalar, b: &Scalar, function: &dyn Fn(f64, f64) -> f64| {
            let (mut left, right) = (self.scalar(a, grid)?, self.scalar(b, grid)?);
            left.iter_mut().zip(right.iter()).for_each(|(l, r)| *l = function(*l, *r));
            Ok(left)
        };
        match plan {
            Scalar::Number(value) => Ok(all(*value)?),
            Scalar::Time => {
                let mut times = all(0.0)?;
                times.iter_mut().zip(grid.times()).for_each(|(to, t)| *to = t as f64 / 1000.0);
                Ok(times)
            }
            Scalar::Only(input) => self.only(input, grid),
            Scalar::Negate(input) => {
                let mut values = self.scalar(input, grid)?;
                values.iter_mut().for_each(|v| *v = -*v);
                Ok(values)
            }
            Scalar::Chain(first, steps) => {
                let mut left = self.scalar(first, grid)?;
                for (operator, right) in steps {
                    self.deadline.check()?;
                    let right = self.scalar(right, grid)?;
                    left.iter_mut().zip(right.iter()).for_each(|(l, r)| *l = apply(*operator, *l, *r));
                }
                Ok(left)
            }
            Scalar::Traced(span, input) => self.traced_scalar(*span, input, grid),
            Scalar::Smaller(a, b) => two(a, b, &|l, r| if l.is_nan() || r.is_nan() { f64::NAN } else { l.min(r) }),
            Scalar::Larger(a, b) => two(a, b, &|l, r| if l.is_nan() || r.is_nan() { f64::NAN } else { l.max(r) }),
        }
    }

    /// Returns the value of the only series of a vector at each step; NaN where there is none, or more than one.
    fn only(&self, input: &Vector, grid: &Grid) -> Result<Numbers<'a>> {
        let mut only = Numbers::new(f64::NAN, grid.count, self.budget)?;
        let mut is_seen = vec![false; grid.count];
        self.each_row(input, grid, &mut |_, row| {
            for ((value, is_seen), only) in row.iter().zip(&mut is_seen).zip(only.iter_mut()) {
                if is_present(*value) {
                    *only = if *is_seen { f64::NAN } else { *value };
                    *is_seen = true;
                }
            }
            Ok(())
        })?;
        Ok(only)
    }

    /// Returns a number for each step and each of several scalars.
    pub(super) fn scalars(&self, plans: &[Scalar], grid: &Grid) -> Result<Vec<Numbers<'a>>> {
        plans.iter().map(|s| self.scalar(s, grid)).collect()
    }

    /// Returns a whole vector.
    pub(super) fn vector(&self, plan: &Vector, grid: &Grid) -> Result<Columns<'a>> {
        self.deadline.check()?;
        match plan {
            Vector::Chain(first, steps) => self.chain(first, steps, grid),
            Vector::Aggregate(total, input, grouping) => self.aggregate(*total, input, grouping, grid),
            Vector::Rank(ranking, input, grouping) => self.rank(ranking, input, grouping, grid),
            Vector::Sort(input, order, place) => self.sort(input, order, *place, grid),
            Vector::LabelReplace { .. } | Vector::LabelJoin { .. } => self.relabelled(plan, grid),
            Vector::Histogram(input, what, place) => self.histogram(input, what, *place, grid),
            Vector::Info(input, info) => self.info(input, info, grid),
            Vector::Traced(span, input) => self.traced_vector(*span, input, grid),
            Vector::Nothing(_)
            | Vector::Select(_)
            | Vector::SampleTimes(_)
            | Vector::StepTimes(_)
            | Vector::OfScalar(_)
            | Vector::Negate(_)
            | Vector::PerValue { .. }
            | Vector::Calendar(..)
            | Vector::PerWindow { .. }
            | Vector::Absent(..)
            | Vector::AbsentOverTime(..) => {
                let parts = self.in_parts(plan, grid, |part| {
                    let mut columns = Columns::new(grid.count, self.budget);
                    part.each_row(plan, grid, &mut |labels, row| Ok(columns.push(labels, row)?))?;
                    Ok(columns)
                })?;
                let joined = parts.into_iter().reduce(Columns::and);
                Ok(joined.unwrap_or_else(|| Columns::new(grid.count, self.budget)))
            }
        }
    }

    /// Returns the rows of a vector as series of points, in the vector's order; those without any are left out.
    pub(super) fn matrix(&self, plan: &Vector, grid: &Grid) -> Result<Vec<RangeSeries>> {
        let parts = self.in_parts(plan, grid, |part| {
            let mut found = Vec::new();
            part.each_row(plan, grid, &mut |labels, row| {
                let samples = row.iter().enumerate().filter(|(_, v)| is_present(**v));
                // As long as it is to be, and no longer: an answer may be most of what there is room for.
                let mut points = Vec::with_capacity(samples.clone().count());
                points.extend(samples.map(|(i, v)| Sample::new(Timestamp::from_millis(grid.at(i)), *v)));
                if !points.is_empty() {
                    // Held to the end: this is the answer.
                    self.budget.hold(points.len() + OF_LABELS)?;
                    found.push(RangeSeries { labels, points });
                }
                Ok(())
            })?;
            Ok(found)
        })?;
        Ok(parts.into_iter().flatten().collect())
    }

    /// Hands the rows of a vector to `sink`, one after the other, in the vector's order.
    pub(super) fn each_row(&self, plan: &Vector, grid: &Grid, sink: Sink<'_>) -> Result<()> {
        match plan {
            Vector::Nothing(input) => self.each_row(input, grid, &mut |_, _| Ok(())),
            Vector::Select(selector) => self.select(selector, super::lookback::Cell::Value, grid, sink),
            Vector::SampleTimes(selector) => self.unnamed(has_one_name(plan), grid, sink, &mut |row_sink| {
                self.select(selector, super::lookback::Cell::Time, grid, row_sink)
            }),
            Vector::StepTimes(input) => self.mapped(input, grid, sink, &mut |row| {
                for (i, value) in row.iter_mut().enumerate().filter(|(_, v)| is_present(**v)) {
                    *value = grid.at(i) as f64 / 1000.0;
                }
            }),
            Vector::OfScalar(scalar) => sink(Labels::empty(), &mut self.scalar(scalar, grid)?),
            Vector::Negate(input) => self.mapped(input, grid, sink, &mut |row| {
                row.iter_mut().filter(|v| is_present(**v)).for_each(|v| *v = -*v);
            }),
            Vector::PerValue { function, input, scalars } => self.per_value(*function, input, scalars, grid, sink),
            Vector::Calendar(part, input) => self.mapped(input, grid, sink, &mut |row| {
                row.iter_mut().filter(|v| is_present(**v)).for_each(|v| *v = part(*v));
            }),
            Vector::PerWindow { row, input, scalars, place } => {
                let windows = source::Windows { function: row, input, scalars, place: *place };
                if row.keeps_name {
                    return self.per_window(&windows, grid, sink);
                }
                self.unnamed(has_one_name(plan), grid, sink, &mut |row_sink| self.per_window(&windows, grid, row_sink))
            }
            Vector::Absent(input, labels) => self.absent(input, labels, grid, sink),
            Vector::AbsentOverTime(input, labels) => self.absent_over_time(input, labels, grid, sink),
            Vector::Chain(first, steps) => self.chain_rows(first, steps, grid, sink),
            Vector::Traced(span, input) => self.traced_rows(*span, input, grid, sink),
            Vector::Aggregate(..)
            | Vector::Rank(..)
            | Vector::Sort(..)
            | Vector::LabelReplace { .. }
            | Vector::LabelJoin { .. }
            | Vector::Histogram(..)
            | Vector::Info(..) => {
                let mut columns = self.vector(plan, grid)?;
                hand_on(&mut columns, sink)
            }
        }
    }

    /// Applies a function of numbers to all values.
    fn per_value(
        &self,
        function: ValueFunction,
        input: &Vector,
        scalars: &[Scalar],
        grid: &Grid,
        sink: Sink<'_>,
    ) -> Result<()> {
        let numbers = self.scalars(scalars, grid)?;
        let mut arguments = vec![0.0; numbers.len()];
        self.mapped(input, grid, sink, &mut |row| {
            for (i, value) in row.iter_mut().enumerate().filter(|(_, v)| is_present(**v)) {
                arguments.iter_mut().zip(&numbers).for_each(|(a, n)| *a = n[i]);
                *value = function(*value, &arguments);
            }
        })
    }

    /// Changes the values of all rows and drops the metric name.
    fn mapped(&self, input: &Vector, grid: &Grid, sink: Sink<'_>, map: &mut dyn FnMut(&mut [f64])) -> Result<()> {
        self.unnamed(has_one_name(input), grid, sink, &mut |row_sink| {
            self.each_row(input, grid, &mut |labels, row| {
                map(row);
                row_sink(labels, row)
            })
        })
    }

    /// Runs `rows` and drops the metric name of what it hands on. Where series may differ by name only, they are
    /// gathered first and joined; it is an error if two have a sample at the same step.
    fn unnamed(
        &self,
        has_one_name: bool,
        grid: &Grid,
        sink: Sink<'_>,
        rows: &mut dyn FnMut(Sink<'_>) -> Result<()>,
    ) -> Result<()> {
        if has_one_name {
            return rows(&mut |labels, row| sink(labels.without_name(), row));
        }
        let mut columns = Columns::new(grid.count, self.budget);
        rows(&mut |labels, row| Ok(columns.push(labels.without_name(), row)?))?;
        hand_on(&mut self.unique(columns)?, sink)
    }

    /// Joins rows with the same labels.
    fn unique(&self, columns: Columns<'a>) -> Result<Columns<'a>> {
        columns.merged()?.ok_or_else(duplicate)
    }
}

/// Hands on the rows of a vector.
fn hand_on(columns: &mut Columns<'_>, sink: Sink<'_>) -> Result<()> {
    for i in 0..columns.len() {
        let labels = columns.labels(i).clone();
        sink(labels, columns.row_mut(i))?;
    }
    Ok(())
}

/// Two series of a result have the same labels and a sample at the same step.
fn duplicate() -> Error {
    Error::Execution("vector cannot contain metrics with the same labelset".to_owned())
}

/// Tells whether all series of a vector have the same metric name or none, so that they stay apart without it.
fn has_one_name(plan: &Vector) -> bool {
    match plan {
        Vector::Select(s) | Vector::SampleTimes(s) => selects_one(s),
        Vector::PerWindow { input, .. } => samples_have_one_name(input),
        Vector::Traced(_, input) => has_one_name(input),
        Vector::PerValue { .. }
        | Vector::Calendar(..)
        | Vector::Negate(_)
        | Vector::StepTimes(_)
        | Vector::OfScalar(_)
        | Vector::Nothing(_)
        | Vector::Absent(..)
        | Vector::AbsentOverTime(..)
        | Vector::Histogram(..) => true,
        Vector::Chain(first, steps) => {
            let are_numbers = steps.iter().all(|s| matches!(s, Step::Number(_)));
            let drops_name = steps.iter().any(|s| matches!(s, Step::Number(with) if !with.is_filter()));
            are_numbers && (drops_name || has_one_name(first))
        }
        Vector::Aggregate(_, _, grouping) => grouping.is_without || !grouping.names.iter().any(|n| n == LABEL_NAME),
        Vector::Sort(input, ..) => has_one_name(input),
        Vector::Rank(..) | Vector::LabelReplace { .. } | Vector::LabelJoin { .. } | Vector::Info(..) => false,
    }
}

fn samples_have_one_name(plan: &Range) -> bool {
    match plan {
        Range::Select(s, _) => selects_one(s),
        Range::Subquery { input, .. } => has_one_name(input),
        Range::Traced(_, input) => samples_have_one_name(input),
    }
}

fn selects_one(selector: &Selector) -> bool {
    selector.matchers.iter().any(|m| m.name() == LABEL_NAME && m.op() == MatchOp::Equal && !m.value().is_empty())
}

/// Returns 1 or 0.
fn truth(is_true: bool) -> f64 {
    f64::from(u8::from(is_true))
}

/// Returns the value of an operation as a filter leaves it: a comparison that fails leaves no sample.
fn filtered(operator: Operator, left: f64, right: f64, is_bool: bool, kept: f64) -> f64 {
    if !operator.is_comparison() {
        return apply(operator, left, right);
    }
    match (apply(operator, left, right) == 1.0, is_bool) {
        (is_true, true) => truth(is_true),
        (true, false) => kept,
        (false, false) => ABSENT,
    }
}
