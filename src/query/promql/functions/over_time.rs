//! Aggregations of one series over a window: `*_over_time`.

use super::Arguments;
use crate::query::promql::numeric::{Mean, Spread, Sum, quantile};
use crate::query::promql::window::Window;

/// Number of samples.
pub(super) fn count(window: &Window<'_>, _: &mut Arguments<'_>) -> Option<f64> {
    Some(window.len() as f64)
}

/// Compensated sum.
pub(super) fn sum(window: &Window<'_>, _: &mut Arguments<'_>) -> Option<f64> {
    let mut sum = Sum::default();
    window.values.iter().for_each(|v| sum.add(*v));
    Some(sum.value())
}

/// Mean of the samples, each counted alike.
pub(super) fn avg(window: &Window<'_>, _: &mut Arguments<'_>) -> Option<f64> {
    let mut mean = Mean::default();
    window.values.iter().for_each(|v| mean.add(*v));
    Some(mean.value())
}

/// Smallest value; NaN only if all are.
pub(super) fn min(window: &Window<'_>, _: &mut Arguments<'_>) -> Option<f64> {
    extreme(window.values, f64::INFINITY, |best, v| v < best)
}

/// Largest value; NaN only if all are.
pub(super) fn max(window: &Window<'_>, _: &mut Arguments<'_>) -> Option<f64> {
    extreme(window.values, f64::NEG_INFINITY, |best, v| v > best)
}

/// Values that are compared side by side.
const LANES: usize = 8;

/// Returns the best value, the first of equal ones; NaN only if all are.
#[inline]
fn extreme(values: &[f64], worst: f64, is_better: impl Fn(f64, f64) -> bool) -> Option<f64> {
    let better = |best: f64, v: f64| if is_better(best, v) { v } else { best };
    let rows = values.chunks_exact(LANES);
    let rest = rows.remainder().iter().fold(worst, |best, v| better(best, *v));
    let mut lanes = [worst; LANES];
    for row in rows {
        lanes.iter_mut().zip(row).for_each(|(lane, v)| *lane = better(*lane, *v));
    }
    let best = lanes.into_iter().fold(rest, better);
    if best != worst && best != 0.0 {
        return Some(best);
    }
    // There may be nothing but NaN, or zeros of either sign.
    values.iter().copied().reduce(|best, v| if is_better(best, v) || best.is_nan() { v } else { best })
}

/// Newest value.
pub(super) fn last(window: &Window<'_>, _: &mut Arguments<'_>) -> Option<f64> {
    window.values.last().copied()
}

/// Oldest value.
pub(super) fn first(window: &Window<'_>, _: &mut Arguments<'_>) -> Option<f64> {
    window.values.first().copied()
}

/// 1 if there is any sample.
pub(super) fn present(_: &Window<'_>, _: &mut Arguments<'_>) -> Option<f64> {
    Some(1.0)
}

/// Population variance.
pub(super) fn stdvar(window: &Window<'_>, _: &mut Arguments<'_>) -> Option<f64> {
    let mut spread = Spread::default();
    window.values.iter().for_each(|v| spread.add(*v));
    Some(spread.variance())
}

/// Population standard deviation.
pub(super) fn stddev(window: &Window<'_>, arguments: &mut Arguments<'_>) -> Option<f64> {
    stdvar(window, arguments).map(f64::sqrt)
}

/// The quantile named by the first argument.
pub(super) fn quantile_over(window: &Window<'_>, arguments: &mut Arguments<'_>) -> Option<f64> {
    let q = arguments.scalars.first().copied()?;
    arguments.scratch.clear();
    arguments.scratch.extend_from_slice(window.values);
    Some(quantile(q, arguments.scratch))
}

/// Median of the distances from the median; NaN if a value is.
pub(super) fn mad(window: &Window<'_>, arguments: &mut Arguments<'_>) -> Option<f64> {
    if window.values.iter().any(|v| v.is_nan()) {
        return Some(f64::NAN);
    }
    arguments.scratch.clear();
    arguments.scratch.extend_from_slice(window.values);
    let median = quantile(0.5, arguments.scratch);
    arguments.scratch.iter_mut().for_each(|v| *v = (*v - median).abs());
    Some(quantile(0.5, arguments.scratch))
}

/// Time of the newest of the largest values, in seconds.
pub(super) fn ts_of_max(window: &Window<'_>, _: &mut Arguments<'_>) -> Option<f64> {
    time_of(window, |best, v| v >= best || best.is_nan())
}

/// Time of the newest of the smallest values, in seconds.
pub(super) fn ts_of_min(window: &Window<'_>, _: &mut Arguments<'_>) -> Option<f64> {
    time_of(window, |best, v| v <= best || best.is_nan())
}

/// Time of the oldest sample, in seconds.
pub(super) fn ts_of_first(window: &Window<'_>, _: &mut Arguments<'_>) -> Option<f64> {
    window.timestamps.first().map(|t| *t as f64 / 1000.0)
}

/// Time of the newest sample, in seconds.
pub(super) fn ts_of_last(window: &Window<'_>, _: &mut Arguments<'_>) -> Option<f64> {
    window.timestamps.last().map(|t| *t as f64 / 1000.0)
}

fn time_of(window: &Window<'_>, is_better: impl Fn(f64, f64) -> bool) -> Option<f64> {
    let samples = window.timestamps.iter().zip(window.values);
    samples.reduce(|best, next| if is_better(*best.1, *next.1) { next } else { best }).map(|(t, _)| *t as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values: &[f64], smallest: f64, largest: f64) {
        let min = extreme(values, f64::INFINITY, |best, v| v < best);
        let max = extreme(values, f64::NEG_INFINITY, |best, v| v > best);
        assert_eq!((min.map(f64::to_bits), max.map(f64::to_bits)), (Some(smallest.to_bits()), Some(largest.to_bits())));
    }

    #[test]
    fn extremes_are_found_in_every_place() {
        for length in 1..40 {
            for at in 0..length {
                let mut values = vec![2.0; length];
                values[at] = 1.0;
                check(&values, 1.0, if length == 1 { 1.0 } else { 2.0 });
                values[at] = 3.0;
                check(&values, if length == 1 { 3.0 } else { 2.0 }, 3.0);
            }
        }
    }

    #[test]
    fn what_is_no_number_counts_only_alone() {
        let mut values = vec![f64::NAN; 20];
        check(&values, f64::NAN, f64::NAN);
        values[17] = f64::NEG_INFINITY;
        check(&values, f64::NEG_INFINITY, f64::NEG_INFINITY);
        values[3] = f64::INFINITY;
        check(&values, f64::NEG_INFINITY, f64::INFINITY);
    }

    #[test]
    fn of_two_zeros_the_first_is_taken() {
        let mut values = vec![0.0; 20];
        values[0] = -0.0;
        check(&values, -0.0, -0.0);
        values[0] = 5.0;
        values[1] = 0.0;
        values[9] = -0.0;
        check(&values, 0.0, 5.0);
    }
}
