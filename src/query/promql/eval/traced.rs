//! Parts of a query of which somebody wants to know what they take.
//!
//! A part that hands its rows on runs inside of the part that it hands them to, and the other way round: the time that
//! the other part spends on a row is taken off.

use std::time::Duration;

use super::source::SeriesSink;
use super::{Evaluation, Sink};
use crate::query::promql::Result;
use crate::query::promql::columns::{Columns, Grid, Numbers, is_present};
use crate::query::promql::syntax::Span;
use crate::query::promql::trace::Figures;
use crate::query::promql::tree::{Range, Scalar, Vector};

/// A part while it is worked out.
struct Begun {
    span: Span,
    at: Duration,
    read: usize,
    /// Time that the rows it handed on took elsewhere.
    elsewhere: Duration,
    series: usize,
}

impl<'a> Evaluation<'a> {
    fn begin(&self, span: Span) -> Begun {
        let (at, read) = (self.deadline.elapsed(), self.budget.read());
        Begun { span, at, read, elsewhere: Duration::ZERO, series: 0 }
    }

    fn end(&self, begun: &Begun) {
        let took = self.deadline.elapsed().saturating_sub(begun.at).saturating_sub(begun.elsewhere);
        let samples = self.budget.read().saturating_sub(begun.read);
        if let Some(tracer) = self.tracer {
            tracer.note(begun.span, Figures { series: begun.series, samples, took });
        }
    }

    pub(super) fn traced_scalar(&self, span: Span, input: &Scalar, grid: &Grid) -> Result<Numbers<'a>> {
        let begun = self.begin(span);
        let numbers = self.scalar(input, grid)?;
        self.end(&begun);
        Ok(numbers)
    }

    pub(super) fn traced_vector(&self, span: Span, input: &Vector, grid: &Grid) -> Result<Columns<'a>> {
        let mut begun = self.begin(span);
        let columns = self.vector(input, grid)?;
        begun.series = columns.rows().filter(|(_, row)| row.iter().any(|v| is_present(*v))).count();
        self.end(&begun);
        Ok(columns)
    }

    pub(super) fn traced_rows(&self, span: Span, input: &Vector, grid: &Grid, sink: Sink<'_>) -> Result<()> {
        let mut begun = self.begin(span);
        self.each_row(input, grid, &mut |labels, row| {
            begun.series += usize::from(row.iter().any(|v| is_present(*v)));
            self.elsewhere(&mut begun, || sink(labels, row))
        })?;
        self.end(&begun);
        Ok(())
    }

    pub(super) fn traced_series(&self, span: Span, input: &Range, grid: &Grid, sink: SeriesSink<'_>) -> Result<()> {
        let mut begun = self.begin(span);
        self.each_series(input, grid, &mut |labels, series| {
            begun.series += 1;
            self.elsewhere(&mut begun, || sink(labels, series))
        })?;
        self.end(&begun);
        Ok(())
    }

    fn elsewhere(&self, begun: &mut Begun, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let at = self.deadline.elapsed();
        let result = work();
        begun.elsewhere += self.deadline.elapsed().saturating_sub(at);
        result
    }
}
