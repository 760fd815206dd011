//! Operations one after the other: `a * 8 / 1000 > 5 and b`.
//!
//! Each step takes what the one before gave, in a loop: a chain may be longer than calls may nest. Steps with numbers
//! that follow each other are done row by row, in one pass; the others need both sides whole.

use std::cell::RefCell;

use super::{Evaluation, Sink, filtered, hand_on, has_one_name};
use crate::query::limits::Pace;
use crate::query::promql::Result;
use crate::query::promql::columns::{Columns, Grid, Numbers, is_present};
use crate::query::promql::tree::{Scalar, Step, Vector, WithNumber};

/// The number of an operation: the same, or one for each step of the query.
enum Number<'b> {
    Same(f64),
    Each(Numbers<'b>),
}

/// An operation with its numbers.
struct Operation<'p, 'b> {
    with: &'p WithNumber,
    number: Number<'b>,
}

impl Operation<'_, '_> {
    /// Combines each value of a row with its number. A comparison keeps the vector's value.
    fn apply(&self, row: &mut [f64]) {
        let WithNumber { operator, is_left, is_bool, .. } = self.with;
        for (i, value) in row.iter_mut().enumerate().filter(|(_, v)| is_present(**v)) {
            let number = match &self.number {
                Number::Same(number) => *number,
                Number::Each(numbers) => numbers[i],
            };
            let (left, right) = if *is_left { (number, *value) } else { (*value, number) };
            *value = filtered(*operator, left, right, *is_bool, *value);
        }
    }
}

impl<'a> Evaluation<'a> {
    /// Returns what a chain gives.
    pub(super) fn chain(&self, first: &Vector, steps: &[Step], grid: &Grid) -> Result<Columns<'a>> {
        let (numbers, mut rest) = numbers_first(steps);
        let mut columns = if numbers.is_empty() {
            self.vector(first, grid)?
        } else {
            self.gathered(grid, &mut |sink| {
                self.with_numbers(&numbers, has_one_name(first), grid, sink, &mut |row| self.each_row(first, grid, row))
            })?
        };
        while let Some((step, after)) = rest.split_first() {
            self.deadline.check()?;
            rest = after;
            columns = match step {
                Step::Join(join) => self.join(join, &columns, &self.vector(&join.right, grid)?)?,
                Step::Set(operator, right, matching) => {
                    self.set(*operator, &columns, &self.vector(right, grid)?, matching)?
                }
                Step::Number(with) => {
                    let (mut numbers, others) = numbers_first(after);
                    numbers.insert(0, with);
                    rest = others;
                    self.gathered(grid, &mut |sink| {
                        let rows = &mut |row: Sink<'_>| hand_on(&mut columns, row);
                        self.with_numbers(&numbers, false, grid, sink, rows)
                    })?
                }
            };
        }
        Ok(columns)
    }

    /// Hands on the rows that a chain gives, as they come if it has only numbers.
    pub(super) fn chain_rows(&self, first: &Vector, steps: &[Step], grid: &Grid, sink: Sink<'_>) -> Result<()> {
        match numbers_first(steps) {
            (numbers, []) => {
                let rows = &mut |row: Sink<'_>| self.each_row(first, grid, row);
                self.with_numbers(&numbers, has_one_name(first), grid, sink, rows)
            }
            _ => hand_on(&mut self.chain(first, steps, grid)?, sink),
        }
    }

    fn gathered(&self, grid: &Grid, rows: &mut dyn FnMut(Sink<'_>) -> Result<()>) -> Result<Columns<'a>> {
        let mut columns = Columns::new(grid.count, self.budget);
        rows(&mut |labels, row| Ok(columns.push(labels, row)?))?;
        Ok(columns)
    }

    /// Combines the values of `rows` with numbers. What is no filter drops the metric name.
    fn with_numbers(
        &self,
        steps: &[&WithNumber],
        has_one_name: bool,
        grid: &Grid,
        sink: Sink<'_>,
        rows: &mut dyn FnMut(Sink<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut operations = Vec::with_capacity(steps.len());
        for with in steps {
            let number = match &with.scalar {
                Scalar::Number(number) => Number::Same(*number),
                scalar => Number::Each(self.scalar(scalar, grid)?),
            };
            operations.push(Operation { with, number });
        }
        // What is handed on from columns reads nothing, and so looks at no deadline.
        let mut pace = Pace::new(self.deadline);
        let mut all = |operations: &[Operation<'_, '_>], row: &mut [f64]| {
            operations.iter().for_each(|o| o.apply(row));
            pace.work(row.len() * operations.len())
        };
        match operations.iter().position(|o| !o.with.is_filter()) {
            None => rows(&mut |labels, row| {
                all(&operations, row)?;
                sink(labels, row)
            }),
            // Two series may become one where the name falls, before what follows leaves one of them out.
            Some(drops_name) => {
                let (before, after) = operations.split_at(drops_name + 1);
                let all = RefCell::new(all);
                let sink = &mut |labels, row: &mut [f64]| {
                    all.borrow_mut()(after, row)?;
                    sink(labels, row)
                };
                self.unnamed(has_one_name, grid, sink, &mut |row_sink| {
                    rows(&mut |labels, row| {
                        all.borrow_mut()(before, row)?;
                        row_sink(labels, row)
                    })
                })
            }
        }
    }
}

/// Returns the steps with numbers that come first, and the others.
fn numbers_first<'a>(steps: &'a [Step]) -> (Vec<&'a WithNumber>, &'a [Step]) {
    let number = |step: &'a Step| match step {
        Step::Number(with) => Some(with),
        Step::Join(_) | Step::Set(..) => None,
    };
    let numbers: Vec<&WithNumber> = steps.iter().map_while(number).collect();
    let rest = steps.get(numbers.len()..).unwrap_or_default();
    (numbers, rest)
}
