//! Doubles as decimal integers: exact to the bit, or not at all.

/// The highest exponent; see [`POWERS`].
pub(super) const EXPONENT_MAX: u8 = 15;

/// Powers of ten that a double holds exactly, as far as they are useful.
const POWERS: [f64; EXPONENT_MAX as usize + 1] =
    [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// Below this (2^52) a double holds an integer and a half, which rounding needs.
const EXACT_MAX: f64 = 4_503_599_627_370_496.0;

/// Returns `value * 10^exponent` if it is an integer from which [`unscale`] gives the same bits again.
#[expect(clippy::cast_possible_truncation, reason = "checked by the way back")]
pub(crate) fn scale(value: f64, exponent: u8) -> Option<i64> {
    let scaled = value * POWERS.get(usize::from(exponent))?;
    if scaled.is_nan() || scaled.abs() >= EXACT_MAX {
        return None;
    }
    let integer = (scaled + 0.5_f64.copysign(scaled)) as i64;
    (unscale(integer, exponent).to_bits() == value.to_bits()).then_some(integer)
}

/// Returns `integer / 10^exponent`, correctly rounded.
pub(crate) fn unscale(integer: i64, exponent: u8) -> f64 {
    integer as f64 / POWERS.get(usize::from(exponent)).copied().unwrap_or(f64::NAN)
}

/// Returns the smallest exponent, not below `from`, at which `value` scales.
pub(crate) fn exponent(value: f64, from: u8) -> Option<u8> {
    (from..=EXPONENT_MAX).find(|e| scale(value, *e).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: f64, expected: Option<(u8, i64)>) {
        let found = exponent(value, 0).and_then(|e| scale(value, e).map(|i| (e, i)));
        assert_eq!(found, expected, "{value}");
    }

    #[test]
    fn short_decimals_scale_and_nothing_else() {
        check(0.0, Some((0, 0)));
        check(-17.0, Some((0, -17)));
        check(21.5, Some((1, 215)));
        check(0.1 + 0.2, None);
        check(0.3, Some((1, 3)));
        check(-0.0, None);
        check(f64::NAN, None);
        check(f64::INFINITY, None);
        check(1e300, None);
        check(std::f64::consts::PI, Some((15, 3_141_592_653_589_793)));
        check(4_503_599_627_370_495.0, Some((0, 4_503_599_627_370_495)));
        check(4_503_599_627_370_496.0, None);
    }
}
