//! Aggregations with running totals: `sum`, `avg`, `min`, `max`, `count`, `group`, `stddev`, `stdvar`.
//!
//! Rows are folded into the totals of their group as they come and are not kept.

use foldhash::{HashMap, HashMapExt};

use super::Evaluation;
use crate::model::Labels;
use crate::query::promql::Result;
use crate::query::promql::columns::{ABSENT, Columns, Grid, is_present};
use crate::query::promql::numeric::{Mean, Spread, Sum};
use crate::query::promql::tree::{Grouping, Total, Vector};

/// Totals of one group at all steps.
trait Totals {
    /// Returns totals of nothing.
    fn new(steps: usize) -> Self;
    /// Adds a row.
    fn add(&mut self, row: &[f64]);
    /// Writes the results.
    fn finish(self, row: &mut [f64]);
}

/// Totals that are one number a step: `min`, `max`, `count`, `group`. `STEP` folds a value into what is there.
struct Single<F: Fold>(Vec<f64>, std::marker::PhantomData<F>);

trait Fold {
    fn first(value: f64) -> f64;
    fn next(total: f64, value: f64) -> f64;
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
    fn new(steps: usize) -> Self {
        Single(vec![ABSENT; steps], std::marker::PhantomData)
    }
    fn add(&mut self, row: &[f64]) {
        for (total, value) in self.0.iter_mut().zip(row).filter(|(_, v)| is_present(**v)) {
            *total = if is_present(*total) { F::next(*total, *value) } else { F::first(*value) };
        }
    }
    fn finish(self, row: &mut [f64]) {
        row.copy_from_slice(&self.0);
    }
}

/// Totals with a state of their own and a count: `sum`, `avg`, `stddev`, `stdvar`.
struct Stateful<S>(Vec<Option<S>>);

trait State: Clone + Default {
    fn add(&mut self, value: f64);
    fn value(self) -> f64;
}

impl State for Sum {
    fn add(&mut self, value: f64) {
        Sum::add(self, value);
    }
    fn value(self) -> f64 {
        Sum::value(self)
    }
}

impl State for Mean {
    fn add(&mut self, value: f64) {
        Mean::add(self, value);
    }
    fn value(self) -> f64 {
        Mean::value(self)
    }
}

impl State for Spread {
    fn add(&mut self, value: f64) {
        Spread::add(self, value);
    }
    fn value(self) -> f64 {
        Spread::variance(self)
    }
}

/// The root of [`Spread`].
#[derive(Clone, Default)]
struct Deviation(Spread);

impl State for Deviation {
    fn add(&mut self, value: f64) {
        self.0.add(value);
    }
    fn value(self) -> f64 {
        self.0.variance().sqrt()
    }
}

impl<S: State> Totals for Stateful<S> {
    fn new(steps: usize) -> Self {
        Stateful(vec![None; steps])
    }
    fn add(&mut self, row: &[f64]) {
        for (state, value) in self.0.iter_mut().zip(row).filter(|(_, v)| is_present(**v)) {
            state.get_or_insert_default().add(*value);
        }
    }
    fn finish(self, row: &mut [f64]) {
        for (out, state) in row.iter_mut().zip(self.0) {
            *out = state.map_or(ABSENT, State::value);
        }
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
        let mut columns = Columns::new(grid.count, self.budget);
        let mut totals: Vec<T> = Vec::new();
        let mut index: HashMap<Labels, usize> = HashMap::new();
        self.each_row(input, grid, &mut |labels, row| {
            let key = grouping.key(&labels);
            let group = match index.get(&key) {
                Some(group) => *group,
                None => {
                    index.insert(key.clone(), totals.len());
                    totals.push(T::new(grid.count));
                    columns.push_absent(key)?
                }
            };
            totals[group].add(row);
            Ok(())
        })?;
        for (i, total) in totals.into_iter().enumerate() {
            total.finish(columns.row_mut(i));
        }
        Ok(columns)
    }
}
