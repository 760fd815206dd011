//! How fast a series changes: `rate`, `increase`, `delta`, `irate`, `idelta`. Source: Prometheus 3.

use super::Arguments;
use crate::query::promql::window::Window;

/// What the samples of a window measure.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    /// Something that only grows; a drop is a restart from zero.
    Counter,
    /// Something that goes up and down.
    Gauge,
}

/// Returns the per-second rate of increase of a counter over one window.
///
/// Shape: fewer than two samples give none.
/// Resets: a drop counts as a restart from zero, so its height before the drop is added.
/// The result is extrapolated to the window's ends, but only by half an average sample interval where the first
/// or last sample lies 1.1 intervals or more inside, and never below zero.
pub(super) fn rate(window: &Window<'_>, _: &mut Arguments<'_>) -> Option<f64> {
    extrapolated(window, Of::Counter, window.seconds())
}

/// Returns the increase of a counter over one window; as [`rate`], for the whole window.
pub(super) fn increase(window: &Window<'_>, _: &mut Arguments<'_>) -> Option<f64> {
    extrapolated(window, Of::Counter, 1.0)
}

/// Returns the difference between the window's ends, extrapolated as [`rate`] is.
pub(super) fn delta(window: &Window<'_>, _: &mut Arguments<'_>) -> Option<f64> {
    extrapolated(window, Of::Gauge, 1.0)
}

/// Returns the per-second rate between the last two samples; a drop is a restart from zero.
pub(super) fn irate(window: &Window<'_>, _: &mut Arguments<'_>) -> Option<f64> {
    let (before, last, seconds) = last_two(window)?;
    let change = if last < before { last } else { last - before };
    Some(change / seconds)
}

/// Returns the difference between the last two samples.
pub(super) fn idelta(window: &Window<'_>, _: &mut Arguments<'_>) -> Option<f64> {
    let (before, last, _) = last_two(window)?;
    Some(last - before)
}

fn last_two(window: &Window<'_>) -> Option<(f64, f64, f64)> {
    let [.., before, last] = window.values else { return None };
    let [.., t_before, t_last] = window.timestamps else { return None };
    Some((*before, *last, (t_last - t_before) as f64 / 1000.0))
}

/// Returns the change over the whole window, divided by `per`.
fn extrapolated(window: &Window<'_>, of: Of, per: f64) -> Option<f64> {
    let ([first, .., last], [t_first, .., t_last]) = (window.values, window.timestamps) else { return None };
    let mut change = last - first;
    if of == Of::Counter && !window.is_rising {
        for pair in window.values.windows(2) {
            if let [before, after] = pair
                && after < before
            {
                change += before;
            }
        }
    }
    let sampled = (t_last - t_first) as f64 / 1000.0;
    let interval = sampled / (window.len() - 1) as f64;
    let threshold = interval * 1.1;
    let limited = |gap_ms: i64| {
        let gap = gap_ms as f64 / 1000.0;
        if gap >= threshold { interval / 2.0 } else { gap }
    };
    let mut to_start = limited(t_first - window.start);
    if of == Of::Counter && change > 0.0 && *first >= 0.0 {
        // Where the line through first and last would be zero.
        to_start = to_start.min(sampled * (first / change));
    }
    let to_end = limited(window.end - t_last);
    // In upstream's order of operations: the last digit decides in which bucket a quantile falls.
    Some(change * ((sampled + to_start + to_end) / sampled / per))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(timestamps: &[i64], values: &[f64], expected: Option<f64>) {
        let window = Window { timestamps, values, start: 0, end: 60_000, step: 60_000, is_rising: false };
        let got = increase(&window, &mut Arguments { scalars: &[], scratch: &mut Vec::new() });
        match (got, expected) {
            (Some(a), Some(b)) => assert!((a - b).abs() < 1e-9, "{a} {b}"),
            (a, b) => assert_eq!(a, b),
        }
    }

    #[test]
    fn increase_reaches_to_the_ends_of_the_window() {
        // 15 s apart, 4 samples from 15 s to 60 s: 3 intervals seen, 4 in the window; 10 each.
        check(&[15_000, 30_000, 45_000, 60_000], &[10.0, 20.0, 30.0, 40.0], Some(40.0));
        // A reset to 5 between 20 and 30: 10 + 5 + 10 seen.
        check(&[15_000, 30_000, 45_000, 60_000], &[10.0, 20.0, 5.0, 15.0], Some(25.0 * 4.0 / 3.0));
        // The counter would have been 0 at 10 s, so it is not extended further than that.
        check(&[15_000, 30_000, 45_000, 60_000], &[1.0, 4.0, 7.0, 10.0], Some(9.0 * 50.0 / 45.0));
        check(&[15_000], &[1.0], None);
    }

    #[test]
    fn a_far_end_is_extended_by_half_an_interval() {
        // Samples at 30 s and 40 s: gaps of 30 s and 20 s are both over 11 s, so 5 s each.
        check(&[30_000, 40_000], &[100.0, 110.0], Some(20.0));
    }
}
