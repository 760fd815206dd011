//! Arithmetic that must agree with Prometheus to the last digits: compensated sums, quantiles, regression. Pure.

use super::columns::{ABSENT, is_present};

/// A sum that keeps what rounding loses (Kahan and Neumaier), as Prometheus 3 adds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sum {
    sum: f64,
    lost: f64,
}

impl Sum {
    /// A place for a sum: there is none, and a number that is added begins one.
    pub(super) const NONE: Sum = Sum { sum: ABSENT, lost: 0.0 };

    /// Tells whether it is only a place for one.
    pub(super) fn is_none(&self) -> bool {
        !is_present(self.sum)
    }

    /// Adds another sum, of numbers that come behind.
    pub(super) fn join(&mut self, other: Sum) {
        self.add(other.sum);
        self.lost += other.lost;
    }

    /// Adds a number.
    pub(super) fn add(&mut self, value: f64) {
        let total = self.sum + value;
        if total.is_infinite() {
            self.lost = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.lost += (self.sum - total) + value;
        } else {
            self.lost += (value - total) + self.sum;
        }
        self.sum = total;
    }

    /// Returns the sum.
    pub(super) fn value(self) -> f64 {
        self.sum + self.lost
    }
}

/// A mean that does not overflow: a compensated sum until that would be infinite, from then on a running mean.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mean {
    total: Sum,
    count: f64,
    is_running: bool,
}

impl Mean {
    /// The mean of nothing.
    pub(super) const NOTHING: Mean = Mean { total: Sum { sum: 0.0, lost: 0.0 }, count: 0.0, is_running: false };

    /// Tells whether nothing was added.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0.0
    }

    /// Adds another mean, of numbers that come behind.
    pub(super) fn join(&mut self, other: Mean) {
        let mut both = self.total;
        both.join(other.total);
        if !self.is_running && !other.is_running && !both.sum.is_infinite() {
            self.total = both;
            self.count += other.count;
            return;
        }
        let (mean, others) = (self.value(), other.value());
        let count = self.count + other.count;
        let total = Sum { sum: mean * (self.count / count) + others * (other.count / count), lost: 0.0 };
        *self = Mean { total, count, is_running: true };
    }

    /// Adds a number.
    pub(super) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if !self.is_running {
            let mut next = self.total;
            next.add(value);
            if !next.sum.is_infinite() || self.count == 1.0 {
                self.total = next;
                return;
            }
            self.is_running = true;
            self.total.sum /= self.count - 1.0;
            self.total.lost /= self.count - 1.0;
        }
        let weight = (self.count - 1.0) / self.count;
        self.total.sum *= weight;
        self.total.lost *= weight;
        self.total.add(value / self.count);
    }

    /// Returns the mean; NaN if nothing was added.
    pub(super) fn value(self) -> f64 {
        if self.is_running { self.total.value() } else { self.total.sum / self.count + self.total.lost / self.count }
    }
}

/// Running mean and sum of squared distances from it (Welford).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spread {
    count: f64,
    mean: Sum,
    squares: Sum,
}

impl Spread {
    /// The spread of nothing.
    pub(super) const NOTHING: Spread =
        Spread { count: 0.0, mean: Sum { sum: 0.0, lost: 0.0 }, squares: Sum { sum: 0.0, lost: 0.0 } };

    /// Tells whether nothing was added.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0.0
    }

    /// Adds another spread, of numbers that come behind (Chan).
    pub(super) fn join(&mut self, other: Spread) {
        let count = self.count + other.count;
        let distance = other.mean.value() - self.mean.value();
        self.mean.add(distance * (other.count / count));
        self.squares.join(other.squares);
        self.squares.add(distance * distance * (self.count * other.count / count));
        self.count = count;
    }

    /// Adds a number.
    pub(super) fn add(&mut self, value: f64) {
        self.count += 1.0;
        let distance = value - self.mean.value();
        self.mean.add(distance / self.count);
        self.squares.add(distance * (value - self.mean.value()));
    }

    /// Returns the population variance.
    pub(super) fn variance(self) -> f64 {
        self.squares.value() / self.count
    }
}

/// Orders numbers with NaN before all others, as Prometheus sorts for quantiles.
pub(super) fn nan_first(a: &f64, b: &f64) -> std::cmp::Ordering {
    a.partial_cmp(b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

/// Returns the `q`-quantile of the values, which it sorts: linear between the two nearest ranks.
///
/// No values or a NaN `q` give NaN; `q` below 0 gives -Inf, above 1 +Inf.
pub(super) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    values.sort_unstable_by(nan_first);
    quantile_sorted(q, values)
}

/// As [`quantile`], for values that are sorted.
pub(super) fn quantile_sorted(q: f64, values: &[f64]) -> f64 {
    let Some(last) = values.len().checked_sub(1) else { return f64::NAN };
    if q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let rank = q * last as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rank lies within the slice")]
    let lower = (rank.floor() as usize).min(last);
    let upper = (lower + 1).min(last);
    let weight = rank - rank.floor();
    values[lower] * (1.0 - weight) + values[upper] * weight
}

/// A straight line through samples by least squares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Line {
    /// Change per second.
    pub(super) slope: f64,
    /// Value at the reference time.
    pub(super) intercept: f64,
}

/// Fits a line; times are in milliseconds, `reference` is where the intercept is taken. Values that are all
/// the same give a level line without rounding (or NaN if they are infinite).
pub(super) fn regression(timestamps: &[i64], values: &[f64], reference: i64) -> Line {
    let first = values.first().copied().unwrap_or(f64::NAN);
    if values.iter().all(|v| *v == first) {
        return if first.is_infinite() {
            Line { slope: f64::NAN, intercept: f64::NAN }
        } else {
            Line { slope: 0.0, intercept: first }
        };
    }
    let (mut sum_x, mut sum_y, mut sum_xy, mut sum_xx) =
        (Sum::default(), Sum::default(), Sum::default(), Sum::default());
    for (&t, &y) in timestamps.iter().zip(values) {
        let x = (t - reference) as f64 / 1000.0;
        sum_x.add(x);
        sum_y.add(y);
        sum_xy.add(x * y);
        sum_xx.add(x * x);
    }
    let n = values.len() as f64;
    let (x, y) = (sum_x.value(), sum_y.value());
    let covariance = sum_xy.value() - x * y / n;
    let variance = sum_xx.value() - x * x / n;
    let slope = covariance / variance;
    Line { slope, intercept: y / n - slope * x / n }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_sum(values: &[f64], expected: f64) {
        let mut sum = Sum::default();
        values.iter().for_each(|v| sum.add(*v));
        assert_eq!(sum.value(), expected, "{values:?}");
    }

    #[test]
    fn a_sum_keeps_what_rounding_loses() {
        check_sum(&[1e100, 1.0, -1e100], 1.0);
        check_sum(&[0.1; 10], 1.0);
        check_sum(&[1.0, f64::INFINITY], f64::INFINITY);
        check_sum(&[], 0.0);
    }

    #[test]
    fn a_mean_does_not_overflow() {
        let mut mean = Mean::default();
        [f64::MAX, f64::MAX, f64::MAX].iter().for_each(|v| mean.add(*v));
        assert!((mean.value() / f64::MAX - 1.0).abs() < 1e-15);
    }

    #[test]
    fn what_was_added_in_parts_is_the_same() {
        let check = |values: &[f64]| {
            for at in 1..values.len() {
                let (before, behind) = values.split_at(at);
                let close = |a: f64, b: f64| {
                    let is_close = (a - b).abs() <= b.abs() * 1e-14 || a == b || (a.is_nan() && b.is_nan());
                    assert!(is_close, "{a} is not {b}, for {values:?} in parts at {at}");
                };
                let sum = |values: &[f64]| values.iter().fold(Sum::default(), |mut s, v| (s.add(*v), s).1);
                let mut joined = sum(before);
                joined.join(sum(behind));
                close(joined.value(), sum(values).value());
                let mean = |values: &[f64]| values.iter().fold(Mean::default(), |mut s, v| (s.add(*v), s).1);
                let mut joined = mean(before);
                joined.join(mean(behind));
                close(joined.value(), mean(values).value());
                let spread = |values: &[f64]| values.iter().fold(Spread::default(), |mut s, v| (s.add(*v), s).1);
                let mut joined = spread(before);
                joined.join(spread(behind));
                close(joined.variance(), spread(values).variance());
            }
        };
        check(&[1.0, 4.0, 1e9, -3.5, 0.1, 0.2]);
        check(&[0.1; 10]);
        check(&[1e16, 1.0, -1e16, 1.0]);
        check(&[1.0, f64::NAN, 2.0]);
    }

    #[test]
    fn parts_of_a_mean_do_not_overflow() {
        let mean = |values: &[f64]| values.iter().fold(Mean::default(), |mut s, v| (s.add(*v), s).1);
        let mut joined = mean(&[f64::MAX, f64::MAX]);
        joined.join(mean(&[f64::MAX]));
        assert!((joined.value() / f64::MAX - 1.0).abs() < 1e-15);
        let mut joined = mean(&[f64::INFINITY]);
        joined.join(mean(&[1.0]));
        assert_eq!(joined.value(), f64::INFINITY);
        joined.join(mean(&[f64::NEG_INFINITY]));
        assert!(joined.value().is_nan());
    }

    #[test]
    fn quantiles_lie_between_ranks() {
        assert_eq!(quantile(0.5, &mut [3.0, 1.0]), 2.0);
        assert_eq!(quantile(0.25, &mut [0.0, 1.0, 2.0, 3.0, 4.0]), 1.0);
        assert_eq!(quantile(1.0, &mut [1.0, 2.0]), 2.0);
        assert_eq!(quantile(-0.1, &mut [1.0]), f64::NEG_INFINITY);
        assert_eq!(quantile(1.1, &mut [1.0]), f64::INFINITY);
        assert!(quantile(0.5, &mut []).is_nan());
        assert!(quantile(f64::NAN, &mut [1.0]).is_nan());
    }

    #[test]
    fn variance_is_that_of_the_population() {
        let mut spread = Spread::default();
        [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0].iter().for_each(|v| spread.add(*v));
        assert_eq!(spread.variance(), 4.0);
    }

    #[test]
    fn a_line_goes_through_its_points() {
        let line = regression(&[0, 1000, 2000], &[1.0, 3.0, 5.0], 0);
        assert_eq!(line, Line { slope: 2.0, intercept: 1.0 });
        assert_eq!(regression(&[0, 1000], &[5.0, 5.0], 0), Line { slope: 0.0, intercept: 5.0 });
    }
}
