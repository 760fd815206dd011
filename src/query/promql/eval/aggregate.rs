//! Aggregations with running totals: `sum`, `avg`, `min`, `max`, `count`, `group`, `stddev`, `stdvar`.
//!
//! Rows are folded into the totals of their group as they come and are not kept.

use foldhash::{HashMap, HashMapExt};

use super::Evaluation;
use crate::model::Labels;
use crate::query::limits::SampleBudget;
use crate::query::promql::Result;
use crate::query::promql::columns::{ABSENT, Columns, Grid, OF_LABELS, is_present};
use crate::query::promql::numeric::{Mean, Spread, Sum};
use crate::query::promql::tree::{Grouping, Total, Vector};

/// Totals of one group at all steps.
trait Totals: Send {
    /// How many samples take as much memory as the totals of a step.
    const HELD: usize;
    /// Returns totals of nothing.
    fn new(steps: usize) -> Self;
    /// Adds a row.
    fn add(&mut self, row: &[f64]);
    /// Adds what was added to others, behind what was added to these.
    fn join(&mut self, other: Self);
    /// Writes the results.
    fn finish(self, row: &mut [f64]);
}

/// Totals that are one number a step: `min`, `max`, `count`, `group`. `STEP` folds a value into what is there.
struct Single<F: Fold>(Vec<f64>, std::marker::PhantomData<F>);

trait Fold: Send {
    fn first(value: f64) -> f64;
    fn next(total: f64, value: f64) -> f64;
    /// Folds the total of values that come behind into what is there.
    fn join(total: f64, other: f64) -> f64 {
        Self::next(total, other)
    }
}

struct Min;
impl Fold for Min {
    fn first(value: f64) -> f64 {
        value
    }
    fn next(total: f64, value: f64) -> f64 {
        if value < total || total.is_nan() { value } else { total }
    }
}

struct Max;
impl Fold for Max {
    fn first(value: f64) -> f64 {
        value
    }
    fn next(total: f64, value: f64) -> f64 {
        if value > total || total.is_nan() { value } else { total }
    }
}

struct Count;
impl Fold for Count {
    fn first(_: f64) -> f64 {
        1.0
    }
    fn next(total: f64, _: f64) -> f64 {
        total + 1.0
    }
    fn join(total: f64, other: f64) -> f64 {
        total + other
    }
}

struct Group;
impl Fold for Group {
    fn first(_: f64) -> f64 {
        1.0
    }
    fn next(total: f64, _: f64) -> f64 {
        total
    }
}

impl<F: Fold> Totals for Single<F> {
    const HELD: usize = 1;
    fn new(steps: usize) -> Self {
        Single(vec![ABSENT; steps], std::marker::PhantomData)
    }
    fn add(&mut self, row: &[f64]) {
        for (total, value) in self.0.iter_mut().zip(row).filter(|(_, v)| is_present(**v)) {
            *total = if is_present(*total) { F::next(*total, *value) } else { F::first(*value) };
        }
    }
    fn join(&mut self, other: Self) {
        for (total, other) in self.0.iter_mut().zip(other.0).filter(|(_, v)| is_present(*v)) {
            *total = if is_present(*total) { F::join(*total, other) } else { other };
        }
    }
    fn finish(self, row: &mut [f64]) {
        row.copy_from_slice(&self.0);
    }
}

/// Totals with a state of their own a step: `sum`, `avg`, `stddev`, `stdvar`.
struct Stateful<S>(Vec<S>);

trait State: Copy + Send {
    /// What nothing was added to.
    const NOTHING: Self;
    /// Tells whether nothing was added.
    fn is_empty(&self) -> bool;
    fn add(&mut self, value: f64);
    /// Adds what was added to another.
    fn join(&mut self, other: Self);
    fn value(self) -> f64;
}

impl State for Sum {
    const NOTHING: Self = Sum::NONE;
    fn is_empty(&self) -> bool {
        self.is_none()
    }
    fn add(&mut self, value: f64) {
        if self.is_none() {
            *self = Sum::default();
        }
        Sum::add(self, value);
    }
    fn join(&mut self, other: Self) {
        Sum::join(self, other);
    }
    fn value(self) -> f64 {
        Sum::value(self)
    }
}

impl State for Mean {
    const NOTHING: Self = Mean::NOTHING;
    fn is_empty(&self) -> bool {
        Mean::is_empty(self)
    }
    fn add(&mut self, value: f64) {
        Mean::add(self, value);
    }
    fn join(&mut self, other: Self) {
        Mean::join(self, other);
    }
    fn value(self) -> f64 {
        Mean::value(self)
    }
}

impl State for Spread {
    const NOTHING: Self = Spread::NOTHING;
    fn is_empty(&self) -> bool {
        Spread::is_empty(self)
    }
    fn add(&mut self, value: f64) {
        Spread::add(self, value);
    }
    fn join(&mut self, other: Self) {
        Spread::join(self, other);
    }
    fn value(self) -> f64 {
        Spread::variance(self)
    }
}

/// The root of [`Spread`].
#[derive(Clone, Copy)]
struct Deviation(Spread);

impl State for Deviation {
    const NOTHING: Self = Deviation(Spread::NOTHING);
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    fn add(&mut self, value: f64) {
        self.0.add(value);
    }
    fn join(&mut self, other: Self) {
        self.0.join(other.0);
    }
    fn value(self) -> f64 {
        self.0.variance().sqrt()
    }
}

impl<S: State> Totals for Stateful<S> {
    const HELD: usize = size_of::<S>().div_ceil(size_of::<f64>());
    fn new(steps: usize) -> Self {
        Stateful(vec![S::NOTHING; steps])
    }
    fn add(&mut self, row: &[f64]) {
        self.0.iter_mut().zip(row).filter(|(_, v)| is_present(**v)).for_each(|(state, value)| state.add(*value));
    }
    fn join(&mut self, other: Self) {
        let others = self.0.iter_mut().zip(other.0).filter(|(_, other)| !other.is_empty());
        others.for_each(|(state, other)| if state.is_empty() { *state = other } else { state.join(other) });
    }
    fn finish(self, row: &mut [f64]) {
        for (out, state) in row.iter_mut().zip(self.0) {
            *out = if state.is_empty() { ABSENT } else { state.value() };
        }
    }
}

/// Totals of the groups seen so far, in the order in which they were first seen. Held until dropped.
struct Groups<'b, T> {
    keys: Vec<Labels>,
    totals: Vec<T>,
    index: HashMap<Labels, usize>,
    steps: usize,
    /// Samples that one of them holds.
    held: usize,
    budget: &'b SampleBudget,
}

impl<'b, T: Totals> Groups<'b, T> {
    fn new(steps: usize, budget: &'b SampleBudget) -> Self {
        Groups {
            keys: Vec::new(),
            totals: Vec::new(),
            index: HashMap::new(),
            steps,
            held: steps * T::HELD + OF_LABELS,
            budget,
        }
    }

    /// Adds a row to its group.
    fn add(&mut self, key: Labels, row: &[f64]) -> Result<()> {
        if let Some(total) = self.index.get(&key).and_then(|group| self.totals.get_mut(*group)) {
            total.add(row);
            return Ok(());
        }
        let mut total = T::new(self.steps);
        total.add(row);
        self.push(key, total)
    }

    fn push(&mut self, key: Labels, total: T) -> Result<()> {
        self.index.insert(key.clone(), self.totals.len());
        self.keys.push(key);
        self.totals.push(total);
        Ok(self.budget.hold(self.held)?)
    }

    /// Adds the groups of rows that come behind.
    fn join(&mut self, mut others: Self) -> Result<()> {
        for (key, other) in std::mem::take(&mut others.keys).into_iter().zip(std::mem::take(&mut others.totals)) {
            // They are dropped one by one; then others holds nothing.
            self.budget.release(self.held);
            match self.index.get(&key).and_then(|group| self.totals.get_mut(*group)) {
                Some(total) => total.join(other),
                None => self.push(key, other)?,
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Columns<'b>> {
        let mut columns = Columns::new(self.steps, self.budget);
        for (key, total) in std::mem::take(&mut self.keys).into_iter().zip(std::mem::take(&mut self.totals)) {
            self.budget.release(self.held);
            let row = columns.push_absent(key)?;
            total.finish(columns.row_mut(row));
        }
        Ok(columns)
    }
}

impl<T> Drop for Groups<'_, T> {
    fn drop(&mut self) {
        self.budget.release(self.totals.len() * self.held);
    }
}

impl<'a> Evaluation<'a> {
    /// Returns one row a group, in the order in which groups are first seen.
    pub(super) fn aggregate(
        &self,
        total: Total,
        input: &Vector,
        grouping: &Grouping,
        grid: &Grid,
    ) -> Result<Columns<'a>> {
        match total {
            Total::Sum => self.totals::<Stateful<Sum>>(input, grouping, grid),
            Total::Avg => self.totals::<Stateful<Mean>>(input, grouping, grid),
            Total::Min => self.totals::<Single<Min>>(input, grouping, grid),
            Total::Max => self.totals::<Single<Max>>(input, grouping, grid),
            Total::Count => self.totals::<Single<Count>>(input, grouping, grid),
            Total::Group => self.totals::<Single<Group>>(input, grouping, grid),
            Total::Stddev => self.totals::<Stateful<Deviation>>(input, grouping, grid),
            Total::Stdvar => self.totals::<Stateful<Spread>>(input, grouping, grid),
        }
    }

    fn totals<T: Totals>(&self, input: &Vector, grouping: &Grouping, grid: &Grid) -> Result<Columns<'a>> {
        let mut parts = self
            .in_parts(input, grid, |part| {
                let mut groups = Groups::<T>::new(grid.count, self.budget);
                part.each_row(input, grid, &mut |labels, row| groups.add(grouping.key(&labels), row))?;
                Ok(groups)
            })?
            .into_iter();
        let mut groups = parts.next().unwrap_or_else(|| Groups::new(grid.count, self.budget));
        parts.try_for_each(|part| groups.join(part))?;
        groups.finish()
    }
}
