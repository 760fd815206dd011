//! Nodes that need their whole input at a step: `absent`, `sort`, labels, histograms, `info`.

use super::{Evaluation, Sink};
use crate::model::Labels;
use crate::query::limits::Pace;
use crate::query::promql::columns::{ABSENT, Columns, Grid, is_present};
use crate::query::promql::functions::{labels as relabel, sort as ordering};
use crate::query::promql::tree::{Order, Range, Vector};
use crate::query::promql::window::{self, Margins};
use crate::query::promql::{Error, Result};

/// To look at a series' labels and make new ones costs as much as so many samples.
const RELABELLED: usize = 1024;

/// Makes new labels of old ones; `None` leaves them as they are.
type Relabelling<'p> = Box<dyn Fn(&Labels) -> Option<Labels> + 'p>;

impl<'a> Evaluation<'a> {
    /// Hands on 1 at the steps where the input has nothing.
    pub(super) fn absent(&self, input: &Vector, labels: &Labels, grid: &Grid, sink: Sink<'_>) -> Result<()> {
        let mut absent = vec![1.0; grid.count];
        self.each_row(input, grid, &mut |_, row| {
            absent.iter_mut().zip(row).filter(|(_, v)| is_present(**v)).for_each(|(a, _)| *a = ABSENT);
            Ok(())
        })?;
        sink(labels.clone(), &mut absent)
    }

    /// Hands on 1 at the steps where no window of the input has a sample.
    pub(super) fn absent_over_time(&self, input: &Range, labels: &Labels, grid: &Grid, sink: Sink<'_>) -> Result<()> {
        let (shift, range) = input.extent();
        let mut absent = vec![1.0; grid.count];
        let mut row = vec![ABSENT; grid.count];
        let mut counts = self.counts.part();
        self.each_series(input, grid, &mut |_, series| {
            window::walk(series, grid, shift, (range, Margins::default()), &mut row, |i, window| {
                counts.add(i, window.len());
                Some(1.0)
            });
            absent.iter_mut().zip(&row).filter(|(_, v)| is_present(**v)).for_each(|(a, _)| *a = ABSENT);
            Ok(())
        })?;
        sink(labels.clone(), &mut absent)
    }

    /// Returns the rows in an order. A range query has none, and says so.
    pub(super) fn sort(&self, input: &Vector, order: &Order, place: usize, grid: &Grid) -> Result<Columns<'a>> {
        let input = self.vector(input, grid)?;
        if !self.is_instant || grid.count != 1 {
            let remark = "sort is ineffective for range queries since results are always ordered by labels";
            self.remarks.warn(place, remark);
            return Ok(input);
        }
        let mut rows: Vec<usize> = (0..input.len()).filter(|r| is_present(input.cell(*r, 0))).collect();
        rows.sort_by(|a, b| ordering::compare(order, &input, *a, *b));
        let mut sorted = Columns::new(input.width(), self.budget);
        for row in rows {
            sorted.push(input.labels(row).clone(), input.row(row))?;
        }
        Ok(sorted)
    }

    /// Returns the rows with a label made from others.
    pub(super) fn relabelled(&self, plan: &Vector, grid: &Grid) -> Result<Columns<'a>> {
        let (input, change): (&Vector, Relabelling<'_>) = match plan {
            Vector::LabelReplace { input, target, replacement, source, regex } => {
                (input, Box::new(|labels| relabel::replaced(labels, target, replacement, source, regex)))
            }
            Vector::LabelJoin { input, target, separator, sources } => {
                (input, Box::new(|labels| Some(relabel::joined(labels, target, separator, sources))))
            }
            _ => return Err(Error::Execution("bug: not a change of labels".to_owned())),
        };
        let mut columns = self.vector(input, grid)?;
        let mut pace = Pace::new(self.deadline);
        for row in 0..columns.len() {
            pace.work(RELABELLED)?;
            if let Some(labels) = change(columns.labels(row)) {
                columns.set_labels(row, labels);
            }
        }
        self.unique(columns)
    }
}
