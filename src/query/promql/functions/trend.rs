//! Where a series is going: `deriv`, `predict_linear`, `double_exponential_smoothing`.

use super::Arguments;
use crate::query::promql::numeric::regression;
use crate::query::promql::window::Window;

/// Slope per second of the line through the samples; fewer than two give none.
pub(super) fn deriv(window: &Window<'_>, _: &mut Arguments<'_>) -> Option<f64> {
    let first = *window.timestamps.first().filter(|_| window.len() >= 2)?;
    Some(regression(window.timestamps, window.values, first).slope)
}

/// Value of that line so many seconds after the step.
pub(super) fn predict_linear(window: &Window<'_>, arguments: &mut Arguments<'_>) -> Option<f64> {
    let ahead = arguments.scalars.first().copied().filter(|_| window.len() >= 2)?;
    let line = regression(window.timestamps, window.values, window.step);
    Some(line.slope * ahead + line.intercept)
}

/// Smoothed value by Holt's method with a smoothing and a trend factor; fewer than two samples give none.
pub(super) fn double_exponential_smoothing(window: &Window<'_>, arguments: &mut Arguments<'_>) -> Option<f64> {
    let (&[smoothing, trending], [first, second, ..]) = (arguments.scalars, window.values) else { return None };
    let (mut level_before, mut level, mut trend) = (0.0, *first, second - first);
    for (i, value) in window.values.iter().enumerate().skip(1) {
        if i > 1 {
            trend = trending * (level - level_before) + (1.0 - trending) * trend;
        }
        let next = smoothing * value + (1.0 - smoothing) * (level + trend);
        level_before = level;
        level = next;
    }
    Some(level)
}

/// Refuses factors outside of 0 to 1.
pub(super) fn check_factors(scalars: &[f64]) -> Result<(), String> {
    for (name, factor) in ["smoothing", "trend"].iter().zip(scalars) {
        if !(*factor > 0.0 && *factor < 1.0) {
            let letter = if *name == "smoothing" { "sf" } else { "tf" };
            return Err(format!("invalid {name} factor. Expected: 0 < {letter} < 1, got: {factor:.6}"));
        }
    }
    Ok(())
}
