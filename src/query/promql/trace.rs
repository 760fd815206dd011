//! What a query took: as a whole ([`Stats`]) and, if somebody wants to know why, part by part ([`Trace`]).

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
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
pub(super) struct Tracer(Mutex<BTreeMap<(usize, Reverse<usize>), Figures>>);

impl Tracer {
    /// Notes what a part took.
    pub(super) fn note(&self, span: Span, figures: Figures) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert((span.start, Reverse(span.end)), figures);
    }

    /// Returns the tree of what was noted; `None` if nothing was.
    pub(super) fn into_trace(self, expression: &str) -> Option<Trace> {
        let mut open: Vec<Trace> = Vec::new();
        for ((start, Reverse(end)), Figures { series, samples, took }) in self.0.into_inner().unwrap_or_default() {
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

/// Counts the samples that steps look at, on all threads that work on a query.
#[derive(Debug, Default)]
pub(super) struct Counts {
    total: AtomicU64,
    /// Of each step, if asked for; else empty.
    at_steps: Mutex<Vec<u64>>,
    /// Whether a subquery is being worked out: what it reads counts when the windows over it are looked at.
    is_in_subquery: AtomicBool,
}

impl Counts {
    /// Returns counts of a whole, and of each of so many steps if that is more than none.
    pub(super) fn new(steps: usize) -> Self {
        Counts { at_steps: Mutex::new(vec![0; steps]), ..Counts::default() }
    }

    /// Returns what one thread counts into, for one selector.
    pub(super) fn part(&self) -> PartCounts<'_> {
        let is_wanted = !self.is_in_subquery.load(Ordering::Relaxed);
        let steps = self.at_steps.lock().map_or(0, |at_steps| at_steps.len());
        let at_steps = if is_wanted { vec![0; steps] } else { Vec::new() };
        PartCounts { all: is_wanted.then_some(self), total: 0, at_steps }
    }

    /// Says whether what follows belongs to a subquery; returns whether what came before did.
    pub(super) fn set_in_subquery(&self, is_in_subquery: bool) -> bool {
        self.is_in_subquery.swap(is_in_subquery, Ordering::Relaxed)
    }

    /// Returns the whole, and what was asked for of each step.
    pub(super) fn into_parts(self, grid: &Grid) -> (u64, Vec<(Timestamp, u64)>) {
        let at_steps = self.at_steps.into_inner().unwrap_or_default();
        let with_time = |(i, count)| (Timestamp::from_millis(grid.at(i)), count);
        (self.total.into_inner(), at_steps.into_iter().enumerate().map(with_time).collect())
    }
}

/// Counts of one thread; added to the whole when dropped.
#[derive(Debug)]
pub(super) struct PartCounts<'c> {
    /// `None` within a subquery.
    all: Option<&'c Counts>,
    total: u64,
    at_steps: Vec<u64>,
}

impl PartCounts<'_> {
    /// Counts a sample at each step that has one.
    pub(super) fn add_row(&mut self, row: &[f64]) {
        if self.at_steps.is_empty() {
            self.total += row.iter().filter(|v| is_present(**v)).count() as u64;
        } else {
            row.iter().enumerate().filter(|(_, v)| is_present(**v)).for_each(|(step, _)| self.add(step, 1));
        }
    }

    /// Counts the samples of the window at a step.
    #[inline]
    pub(super) fn add(&mut self, step: usize, samples: usize) {
        self.total += samples as u64;
        if let Some(of_step) = self.at_steps.get_mut(step) {
            *of_step += samples as u64;
        }
    }
}

impl Drop for PartCounts<'_> {
    fn drop(&mut self) {
        let Some(all) = self.all else { return };
        all.total.fetch_add(self.total, Ordering::Relaxed);
        if !self.at_steps.is_empty() {
            let mut whole = all.at_steps.lock().unwrap_or_else(PoisonError::into_inner);
            whole.iter_mut().zip(&self.at_steps).for_each(|(whole, part)| *whole += part);
        }
    }
}
