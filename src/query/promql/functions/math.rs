//! Functions of one number: `abs` to `tan`, `round`, `clamp*`.

use crate::query::promql::columns::ABSENT;

/// Sign: -1, 0 or 1; NaN stays.
pub(super) fn sgn(value: f64) -> f64 {
    if value < 0.0 {
        -1.0
    } else if value > 0.0 {
        1.0
    } else {
        value
    }
}

/// Nearest multiple of the argument, ties up; 1 without one.
pub(super) fn round(value: f64, scalars: &[f64]) -> f64 {
    // The inverse, because 1/0.1 is exact where 0.1 is not.
    let inverse = 1.0 / scalars.first().copied().unwrap_or(1.0);
    (value * inverse + 0.5).floor() / inverse
}

/// Value held between two bounds; no sample if they are crossed, NaN if one is.
pub(super) fn clamp(value: f64, scalars: &[f64]) -> f64 {
    match *scalars {
        [low, high] if high < low => ABSENT,
        [low, high] => larger(low, smaller(high, value)),
        _ => value,
    }
}

/// Value, but at least the argument.
pub(super) fn clamp_min(value: f64, scalars: &[f64]) -> f64 {
    scalars.first().map_or(value, |low| larger(*low, value))
}

/// Value, but at most the argument.
pub(super) fn clamp_max(value: f64, scalars: &[f64]) -> f64 {
    scalars.first().map_or(value, |high| smaller(*high, value))
}

/// The smaller number; NaN if one is, but -Inf is smaller than everything.
fn smaller(a: f64, b: f64) -> f64 {
    if a == f64::NEG_INFINITY || b == f64::NEG_INFINITY {
        f64::NEG_INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.min(b)
    }
}

/// The larger number; NaN if one is, but +Inf is larger than everything.
fn larger(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        f64::INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.max(b)
    }
}
