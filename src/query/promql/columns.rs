//! What the evaluator works on: all steps of a query as a grid, and an instant vector at all of them as columns.

use foldhash::{HashMap, HashMapExt};

use crate::model::{Labels, STALE_NAN_BITS};
use crate::query::limits::{SampleBudget, Stop};

/// No sample at this step. It is the staleness marker, which can not be a value of an instant vector and does not
/// come out of any arithmetic (that sets the quiet bit).
pub(super) const ABSENT: f64 = f64::from_bits(STALE_NAN_BITS);

/// Tells whether there is a sample.
#[inline]
pub(super) fn is_present(value: f64) -> bool {
    value.to_bits() != STALE_NAN_BITS
}

/// The steps of an evaluation: `start`, `start + step`, ...; all in milliseconds. An instant query has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grid {
    /// Time of the first step.
    pub(super) start: i64,
    /// Distance; positive.
    pub(super) step: i64,
    /// How many steps; may be 0 for a subquery that falls between two multiples of its step.
    pub(super) count: usize,
}

impl Grid {
    /// Returns the time of step `i`.
    pub(super) fn at(&self, i: usize) -> i64 {
        self.start.saturating_add(self.step.saturating_mul(i64::try_from(i).unwrap_or(i64::MAX)))
    }

    /// Returns the time of the last step.
    pub(super) fn last(&self) -> i64 {
        self.at(self.count.saturating_sub(1))
    }

    /// Returns all times.
    pub(super) fn times(self) -> impl Iterator<Item = i64> {
        (0..self.count).map(move |i| self.at(i))
    }
}

/// How many samples take as much memory as the labels of a series, about.
pub(super) const OF_LABELS: usize = 12;

/// Up to so many cells, rows may take twice the memory that they need.
const CELLS_FEW: usize = 1 << 17;

/// An instant vector at all steps: for each series a row of `width` cells, [`ABSENT`] where it has no sample.
/// Shape: rows are unique by labels where they have cells at the same step. Cost: 8 bytes a cell, and the labels;
/// counted as held until dropped.
#[derive(Debug)]
pub(super) struct Columns<'b> {
    width: usize,
    labels: Vec<Labels>,
    cells: Vec<f64>,
    budget: &'b SampleBudget,
}

impl<'b> Columns<'b> {
    /// Returns no rows of `width` steps.
    pub(super) fn new(width: usize, budget: &'b SampleBudget) -> Self {
        Columns { width, labels: Vec::new(), cells: Vec::new(), budget }
    }

    /// Adds a row.
    pub(super) fn push(&mut self, labels: Labels, row: &[f64]) -> Result<(), Stop> {
        self.grow()?;
        self.labels.push(labels);
        self.cells.extend_from_slice(row);
        Ok(())
    }

    /// Makes room for a row. Large ones grow by a quarter, not to twice as much: with what is copied from, that stays
    /// near the 16 bytes that a held sample counts for.
    fn grow(&mut self) -> Result<(), Stop> {
        self.budget.hold(self.width + OF_LABELS)?;
        if self.cells.capacity() - self.cells.len() < self.width {
            let more = if self.cells.len() < CELLS_FEW { self.cells.len() } else { self.cells.len() / 4 };
            self.cells.reserve_exact(more.max(self.width));
        }
        Ok(())
    }

    /// Adds a row without samples and returns its number.
    pub(super) fn push_absent(&mut self, labels: Labels) -> Result<usize, Stop> {
        self.grow()?;
        self.labels.push(labels);
        self.cells.resize(self.cells.len() + self.width, ABSENT);
        Ok(self.labels.len() - 1)
    }

    /// Returns these rows and behind them the others.
    pub(super) fn and(mut self, mut others: Columns<'b>) -> Columns<'b> {
        self.labels.append(&mut others.labels);
        self.cells.append(&mut others.cells);
        self
    }

    /// Returns how many rows there are.
    pub(super) fn len(&self) -> usize {
        self.labels.len()
    }

    /// Returns how many steps a row has.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Returns the labels of a row.
    pub(super) fn labels(&self, row: usize) -> &Labels {
        &self.labels[row]
    }

    /// Returns the cells of a row.
    pub(super) fn row(&self, row: usize) -> &[f64] {
        &self.cells[row * self.width..][..self.width]
    }

    /// Returns the cells of a row, to change.
    pub(super) fn row_mut(&mut self, row: usize) -> &mut [f64] {
        &mut self.cells[row * self.width..][..self.width]
    }

    /// Returns the value of a row at a step.
    #[inline]
    pub(super) fn cell(&self, row: usize, step: usize) -> f64 {
        self.cells[row * self.width + step]
    }

    /// Returns labels and cells of all rows.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&Labels, &[f64])> {
        (0..self.len()).map(|i| (self.labels(i), self.row(i)))
    }

    /// Replaces the labels of a row. The caller keeps rows unique.
    pub(super) fn set_labels(&mut self, row: usize, labels: Labels) {
        self.labels[row] = labels;
    }

    /// Joins rows that have the same labels; `None` if two of them have a sample at the same step.
    pub(super) fn merged(self) -> Result<Option<Columns<'b>>, Stop> {
        let mut first: HashMap<&Labels, usize> = HashMap::with_capacity(self.len());
        let is_unique = self.labels.iter().enumerate().all(|(i, l)| first.insert(l, i).is_none());
        drop(first);
        if is_unique {
            return Ok(Some(self));
        }
        let mut rows = Rows::new(self.width, self.budget);
        for (labels, cells) in self.rows() {
            let row = rows.row(labels.clone())?;
            for (to, from) in rows.columns.row_mut(row).iter_mut().zip(cells) {
                if is_present(*from) {
                    if is_present(*to) {
                        return Ok(None);
                    }
                    *to = *from;
                }
            }
        }
        Ok(Some(rows.columns))
    }
}

impl Drop for Columns<'_> {
    fn drop(&mut self) {
        self.budget.release((self.width + OF_LABELS) * self.labels.len());
    }
}

/// A number at each step, counted as held until dropped.
#[derive(Debug)]
pub(super) struct Numbers<'b> {
    numbers: Vec<f64>,
    budget: &'b SampleBudget,
}

impl<'b> Numbers<'b> {
    /// Returns the same number at all steps.
    pub(super) fn new(number: f64, steps: usize, budget: &'b SampleBudget) -> Result<Self, Stop> {
        // Before they are allocated.
        budget.hold(steps)?;
        Ok(Numbers { numbers: vec![number; steps], budget })
    }
}

impl std::ops::Deref for Numbers<'_> {
    type Target = [f64];
    fn deref(&self) -> &[f64] {
        &self.numbers
    }
}

impl std::ops::DerefMut for Numbers<'_> {
    fn deref_mut(&mut self) -> &mut [f64] {
        &mut self.numbers
    }
}

impl Drop for Numbers<'_> {
    fn drop(&mut self) {
        self.budget.release(self.numbers.len());
    }
}

/// Columns in the making, whose rows are found by labels.
#[derive(Debug)]
pub(super) struct Rows<'b> {
    /// The rows so far.
    pub(super) columns: Columns<'b>,
    index: HashMap<Labels, usize>,
}

impl<'b> Rows<'b> {
    /// Returns no rows of `width` steps.
    pub(super) fn new(width: usize, budget: &'b SampleBudget) -> Self {
        Rows { columns: Columns::new(width, budget), index: HashMap::new() }
    }

    /// Returns the row with these labels, which is made if there is none.
    pub(super) fn row(&mut self, labels: Labels) -> Result<usize, Stop> {
        if let Some(row) = self.index.get(&labels) {
            return Ok(*row);
        }
        let row = self.columns.push_absent(labels.clone())?;
        self.index.insert(labels, row);
        Ok(row)
    }
}
