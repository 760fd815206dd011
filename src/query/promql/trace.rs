//! What a query took: as a whole ([`Stats`]) and, if somebody wants to know why, part by part ([`Trace`]).

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::columns::{Grid, is_present};
use super::syntax::Span;
use crate::model::Timestamp;

/// What a part of an expression took, and the parts it is made of. Brackets and numbers are no parts of their own;
/// neither is what stands deeper than 64 operations, or within a chain of more than 32.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// Where it stands in the expression, in bytes.
    pub place: Range<usize>,
    /// How it is written.
    pub text: String,
    /// Series it gave; of a number, none.
    pub series: usize,
    /// Samples that were read from the store for it and its parts.
    pub samples: usize,
    /// How long it and its parts took.
    pub took: Duration,
    /// What it is made of, from left to right.
    pub parts: Vec<Trace>,
}

/// What a query took as a whole.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    /// Samples that steps looked at, each as often as one did: upstream's `totalQueryableSamples`.
    pub queryable: u64,
    /// The same at each step, if it was asked for; else empty.
    pub queryable_at: Vec<(Timestamp, u64)>,
    /// The most samples that were held at one time.
    pub peak: usize,
    /// Time for reading and planning the expression.
    pub preparing: Duration,
    /// Time for working it out.
    pub evaluating: Duration,
}

/// What is known of one part.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figures {
    pub(super) series: usize,
    pub(super) samples: usize,
    pub(super) took: Duration,
}

/// Collects what parts took. No two parts have the same place, and places of parts lie within that of the whole.
#[derive(Debug, Default)]
pub(super) struct Tracer(RefCell<BTreeMap<(usize, Reverse<usize>), Figures>>);

impl Tracer {
    /// Notes what a part took.
    pub(super) fn note(&self, span: Span, figures: Figures) {
        self.0.borrow_mut().insert((span.start, Reverse(span.end)), figures);
    }

    /// Returns the tree of what was noted; `None` if nothing was.
    pub(super) fn into_trace(self, expression: &str) -> Option<Trace> {
        let mut open: Vec<Trace> = Vec::new();
        for ((start, Reverse(end)), Figures { series, samples, took }) in self.0.into_inner() {
            while open.len() > 1 && open.last().is_some_and(|part| part.place.end <= start) {
                close(&mut open);
            }
            let text = expression.get(start..end).unwrap_or_default().to_owned();
            open.push(Trace { place: start..end, text, series, samples, took, parts: Vec::new() });
        }
        while open.len() > 1 {
            close(&mut open);
        }
        open.pop()
    }
}

/// Puts the last part into the one before it.
fn close(open: &mut Vec<Trace>) {
    if let Some(part) = open.pop()
        && let Some(whole) = open.last_mut()
    {
        whole.parts.push(part);
    }
}

/// Counts the samples that steps look at.
#[derive(Debug, Default)]
pub(super) struct Counts {
    total: Cell<u64>,
    /// Of each step, if asked for; else empty.
    at_steps: RefCell<Vec<u64>>,
    /// How many subqueries are being worked out: what they read counts when their windows are looked at.
    subqueries: Cell<usize>,
}

impl Counts {
    /// Returns counts of a whole, and of each of so many steps.
    pub(super) fn new(steps: usize) -> Self {
        Counts { at_steps: RefCell::new(vec![0; steps]), ..Counts::default() }
    }

    /// Counts a sample at each step that has one.
    pub(super) fn add_row(&self, row: &[f64]) {
        if self.subqueries.get() > 0 {
            return;
        }
        let mut at_steps = self.at_steps.borrow_mut();
        let mut total = 0;
        for (step, _) in row.iter().enumerate().filter(|(_, v)| is_present(**v)) {
            total += 1;
            if let Some(of_step) = at_steps.get_mut(step) {
                *of_step += 1;
            }
        }
        self.total.set(self.total.get() + total);
    }

    /// Counts the samples of the window at a step.
    pub(super) fn add(&self, step: usize, samples: usize) {
        if self.subqueries.get() == 0 {
            self.total.set(self.total.get() + samples as u64);
            if let Some(of_step) = self.at_steps.borrow_mut().get_mut(step) {
                *of_step += samples as u64;
            }
        }
    }

    /// What follows belongs to a subquery.
    pub(super) fn begin_subquery(&self) {
        self.subqueries.set(self.subqueries.get() + 1);
    }

    /// What follows does no longer.
    pub(super) fn end_subquery(&self) {
        self.subqueries.set(self.subqueries.get().saturating_sub(1));
    }

    /// Returns the whole, and what was asked for of each step.
    pub(super) fn into_parts(self, grid: &Grid) -> (u64, Vec<(Timestamp, u64)>) {
        let at_steps = self.at_steps.into_inner();
        let with_time = |(i, count)| (Timestamp::from_millis(grid.at(i)), count);
        (self.total.get(), at_steps.into_iter().enumerate().map(with_time).collect())
    }
}
