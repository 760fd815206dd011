//! How often a series changes: `changes`, `resets`.

use super::Arguments;
use crate::query::promql::window::Window;

/// How often a value differs from the one before it; NaN after NaN is no change.
pub(super) fn changes(window: &Window<'_>, _: &mut Arguments<'_>) -> Option<f64> {
    Some(pairs(window, |before, after| before != after && !(before.is_nan() && after.is_nan())))
}

/// How often a value is below the one before it.
pub(super) fn resets(window: &Window<'_>, _: &mut Arguments<'_>) -> Option<f64> {
    if window.is_rising {
        return Some(0.0);
    }
    Some(pairs(window, |before, after| after < before))
}

fn pairs(window: &Window<'_>, counts: impl Fn(f64, f64) -> bool) -> f64 {
    window.values.windows(2).filter(|pair| matches!(pair, [a, b] if counts(*a, *b))).count() as f64
}
