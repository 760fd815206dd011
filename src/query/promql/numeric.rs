//! Arithmetic that must agree with Prometheus to the last digits: compensated sums, quantiles, regression. Pure.

/// A sum that keeps what rounding loses (Kahan and Neumaier), as Prometheus 3 adds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sum {
    sum: f64,
    lost: f64,
}

impl Sum {
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
