//! `anchored` and `smoothed`: changes over exactly the window, without extrapolation. The window comes with the samples
//! around it: those of a lookback before it, and for `smoothed` after it.
//!
//! `anchored` takes the last sample at or before the window's start as its start, so that an increase of whole pieces is
//! whole. `smoothed` works the values at both ends out of the samples on both sides of them.

use super::Arguments;
use crate::query::promql::window::Window;

/// Returns the increase of a counter from the anchor to the last sample; a drop is a restart from zero.
pub(super) fn anchored_increase(window: &Window<'_>, _: &mut Arguments<'_>) -> Option<f64> {
    let values = anchored(window)?;
    let (first, last) = (values.first()?, values.last()?);
    Some(last - first + lost_by_resets(values.iter().copied()))
}

/// Returns the increase a second; see [`anchored_increase`].
pub(super) fn anchored_rate(window: &Window<'_>, arguments: &mut Arguments<'_>) -> Option<f64> {
    anchored_increase(window, arguments).map(|increase| increase / window.seconds())
}

/// Returns the difference between the anchor and the last sample.
pub(super) fn anchored_delta(window: &Window<'_>, _: &mut Arguments<'_>) -> Option<f64> {
    let values = anchored(window)?;
    Some(values.last()? - values.first()?)
}

/// Returns how often the value changed since the anchor.
pub(super) fn anchored_changes(window: &Window<'_>, _: &mut Arguments<'_>) -> Option<f64> {
    let is_change = |a: f64, b: f64| a != b && !(a.is_nan() && b.is_nan());
    anchored(window).map(|values| pairs(values).filter(|(a, b)| is_change(*a, *b)).count() as f64)
}

/// Returns how often the value fell since the anchor.
pub(super) fn anchored_resets(window: &Window<'_>, _: &mut Arguments<'_>) -> Option<f64> {
    anchored(window).map(|values| pairs(values).filter(|(a, b)| b < a).count() as f64)
}

/// Returns the increase of a counter between the window's ends; a drop is a restart from zero.
pub(super) fn smoothed_increase(window: &Window<'_>, _: &mut Arguments<'_>) -> Option<f64> {
    let (left, inner, right) = smoothed(window, true)?;
    let all = std::iter::once(left).chain(inner.iter().copied()).chain([right]);
    Some(right - left + lost_by_resets(all))
}

/// Returns the increase a second; see [`smoothed_increase`].
pub(super) fn smoothed_rate(window: &Window<'_>, arguments: &mut Arguments<'_>) -> Option<f64> {
    smoothed_increase(window, arguments).map(|increase| increase / window.seconds())
}

/// Returns the difference between the window's ends.
pub(super) fn smoothed_delta(window: &Window<'_>, _: &mut Arguments<'_>) -> Option<f64> {
    smoothed(window, false).map(|(left, _, right)| right - left)
}

/// Returns the value at `t` on the line between two samples. Of a counter that fell between them, the line begins at
/// zero.
pub(in crate::query::promql) fn between(before: (i64, f64), after: (i64, f64), t: i64, is_counter: bool) -> f64 {
    let from = if is_counter && after.1 < before.1 { 0.0 } else { before.1 };
    from + (after.1 - from) * ((t - before.0) as f64 / (after.0 - before.0) as f64)
}

/// Returns the values from the anchor on; `None` if there is no sample in the window.
fn anchored<'w>(window: &Window<'w>) -> Option<&'w [f64]> {
    window.timestamps.last().filter(|last| **last > window.start)?;
    let behind_start = window.timestamps.partition_point(|t| *t <= window.start);
    window.values.get(behind_start.saturating_sub(1)..)
}

/// Returns the value at the window's start, those between, and the value at its end; `None` if all samples lie on one
/// side of it.
fn smoothed<'w>(window: &Window<'w>, is_counter: bool) -> Option<(f64, &'w [f64], f64)> {
    let sample = |i: usize| Some((*window.timestamps.get(i)?, *window.values.get(i)?));
    let first = window.timestamps.partition_point(|t| *t <= window.start).saturating_sub(1);
    let behind = window.timestamps.partition_point(|t| *t < window.end);
    let last = behind.min(window.len().checked_sub(1)?);
    let (start, end) = (sample(first)?, sample(last)?);
    if end.0 <= window.start || start.0 > window.end {
        return None;
    }
    let left = match sample(first + 1) {
        Some(next) if start.0 < window.start => between(start, next, window.start, is_counter),
        _ => start.1,
    };
    let right = match last.checked_sub(1).and_then(sample) {
        Some(before) if end.0 > window.end => between(before, end, window.end, is_counter),
        _ => end.1,
    };
    Some((left, window.values.get(first + 1..last).unwrap_or_default(), right))
}

fn pairs(values: &[f64]) -> impl Iterator<Item = (f64, f64)> {
    values.iter().copied().zip(values.iter().copied().skip(1))
}

/// Returns what a counter had before each of its resets.
fn lost_by_resets(values: impl Iterator<Item = f64>) -> f64 {
    let mut before = f64::NEG_INFINITY;
    values.fold(0.0, |lost, value| {
        let fell = value < before;
        let lost = if fell { lost + before } else { lost };
        before = value;
        lost
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Function = fn(&Window<'_>, &mut Arguments<'_>) -> Option<f64>;

    /// Asks for the window `(start, end]` of a series with samples each 15 s from 0 on; NaN is a gap.
    #[track_caller]
    fn check(function: Function, values: &[f64], start: i64, end: i64, expected: Option<f64>) {
        let (start, end) = (start * 1000, end * 1000);
        let samples = (0..).map(|i| i * 15_000).zip(values).filter(|(_, v)| !v.is_nan());
        let (timestamps, values): (Vec<i64>, Vec<f64>) = samples.unzip();
        let window = Window { timestamps: &timestamps, values: &values, start, end, step: end, is_rising: false };
        let found = function(&window, &mut Arguments { scalars: &[], scratch: &mut Vec::new() });
        match (found, expected) {
            (Some(a), Some(b)) => assert!((a - b).abs() < 1e-9, "{a} {b}"),
            (a, b) => assert_eq!(a, b),
        }
    }

    #[test]
    fn an_anchored_increase_is_whole() {
        let gap = f64::NAN;
        check(anchored_increase, &[1.0, 2.0], -55, 15, Some(1.0));
        check(anchored_increase, &[1.0], -55, 5, Some(0.0));
        check(anchored_increase, &[1.0, 2.0, 3.0, gap, gap, 9.0], 50, 110, Some(6.0));
        check(anchored_increase, &[1.0, 2.0], 15, 110, None);
        check(anchored_increase, &[3.0, 2.0, 4.0], 0, 30, Some(4.0));
        check(anchored_delta, &[3.0, 2.0], 0, 15, Some(-1.0));
        check(anchored_changes, &[1.0, 1.0, 2.0, 3.0], 0, 45, Some(2.0));
        check(anchored_resets, &[1.0, 0.0, 2.0, 1.0], 0, 45, Some(2.0));
        check(anchored_rate, &[0.0, 6.0], 0, 60, Some(0.1));
    }

    #[test]
    fn a_smoothed_increase_has_both_ends_worked_out() {
        check(smoothed_increase, &[1.0, 2.0], -55, 5, Some(1.0 / 3.0));
        check(smoothed_increase, &[1.0, 2.0, 3.0, 4.0], 5, 35, Some(2.0));
        check(smoothed_rate, &[100.0, 10.0], 2, 12, Some(10.0 / 15.0));
        check(smoothed_increase, &[f64::NAN, 5.0, 6.0], 0, 5, None);
        check(smoothed_increase, &[5.0, 6.0], 20, 30, None);
        check(smoothed_delta, &[11.0, -1.0, 100.0, 0.0], 7, 80, Some(0.0 - (11.0 - 12.0 * 7.0 / 15.0)));
    }
}
