//! What classic histogram buckets tell: quantiles and fractions. Pure. Source: Prometheus 3, `promql/quantile.go`.

/// Relative difference of counts that is taken for rounding.
const TOLERANCE: f64 = 1e-12;

/// A cumulative bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::query::promql) struct Bucket {
    /// Upper bound, included.
    pub(in crate::query::promql) bound: f64,
    /// Observations up to it.
    pub(in crate::query::promql) count: f64,
}

/// Whether counts had to be mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::query::promql) enum Repair {
    /// They rose as they must, but for rounding.
    None,
    /// Some fell, and were raised to the one before.
    ForcedMonotonic,
}

/// Returns the `q`-quantile, linear within a bucket. `buckets` are sorted by bound; they are joined and mended in place.
/// Without a bucket for +Inf, with only that one, or without observations the answer is NaN.
pub(in crate::query::promql) fn quantile(q: f64, buckets: &mut Vec<Bucket>) -> (f64, Repair) {
    if q.is_nan() {
        return (f64::NAN, Repair::None);
    }
    if !(0.0..=1.0).contains(&q) {
        return (if q < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY }, Repair::None);
    }
    if buckets.last().is_none_or(|b| b.bound != f64::INFINITY) {
        return (f64::NAN, Repair::None);
    }
    let repair = mend(buckets);
    let [.., second_highest, highest] = buckets.as_slice() else { return (f64::NAN, repair) };
    if highest.count == 0.0 || highest.count.is_nan() {
        return (f64::NAN, repair);
    }
    let rank = q * highest.count;
    let finite = buckets.len() - 1;
    let at = buckets[..finite].partition_point(|b| b.count < rank);
    if at == finite {
        return (second_highest.bound, repair);
    }
    let bucket = buckets[at];
    let before = match at.checked_sub(1) {
        Some(i) => buckets[i],
        None if bucket.bound <= 0.0 => return (bucket.bound, repair),
        None => Bucket { bound: 0.0, count: 0.0 },
    };
    let part = (rank - before.count) / (bucket.count - before.count);
    (before.bound + (bucket.bound - before.bound) * part, repair)
}

/// Returns the part of all observations that lies between two values; terms as for [`quantile`].
pub(in crate::query::promql) fn fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if buckets.last().is_none_or(|b| b.bound != f64::INFINITY) {
        return f64::NAN;
    }
    mend(buckets);
    let total = buckets.last().map_or(0.0, |b| b.count);
    if total == 0.0 || total.is_nan() || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    (rank_of(upper, buckets, total) - rank_of(lower, buckets, total)) / total
}

/// Returns how many observations lie below a value.
fn rank_of(value: f64, buckets: &[Bucket], total: f64) -> f64 {
    let mut before = Bucket { bound: f64::NEG_INFINITY, count: 0.0 };
    if buckets.first().is_some_and(|b| b.bound > 0.0) {
        before.bound = 0.0;
    }
    for bucket in buckets {
        if before.bound >= value {
            return before.count;
        }
        if bucket.bound > value {
            if before.bound.is_infinite() || bucket.bound.is_infinite() {
                // No line leads to infinity: all of an open bucket lies at its finite end.
                return if before.bound.is_infinite() { bucket.count } else { before.count };
            }
            let part = (value - before.bound) / (bucket.bound - before.bound);
            return (before.count + (bucket.count - before.count) * part).min(total);
        }
        before = *bucket;
    }
    total
}

/// Joins buckets with the same bound and makes counts rise.
fn mend(buckets: &mut Vec<Bucket>) -> Repair {
    buckets.dedup_by(|next, kept| {
        let is_same = next.bound == kept.bound;
        if is_same {
            kept.count += next.count;
        }
        is_same
    });
    let mut repair = Repair::None;
    let mut highest = buckets.first().map_or(0.0, |b| b.count);
    for bucket in buckets.iter_mut().skip(1) {
        if bucket.count == highest {
            continue;
        }
        if is_almost(bucket.count, highest) {
            bucket.count = highest;
        } else if bucket.count < highest {
            bucket.count = highest;
            repair = Repair::ForcedMonotonic;
        } else {
            highest = bucket.count;
        }
    }
    repair
}

fn is_almost(a: f64, b: f64) -> bool {
    let sum = a.abs() + b.abs();
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < TOLERANCE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(pairs: &[(f64, f64)]) -> Vec<Bucket> {
        pairs.iter().map(|(bound, count)| Bucket { bound: *bound, count: *count }).collect()
    }

    #[track_caller]
    fn check(q: f64, pairs: &[(f64, f64)], expected: f64) {
        let (got, _) = quantile(q, &mut buckets(pairs));
        assert!(got == expected || (got.is_nan() && expected.is_nan()), "{q} {pairs:?}: {got}");
    }

    const INF: f64 = f64::INFINITY;

    #[test]
    fn quantiles_are_linear_within_a_bucket() {
        let some = [(1.0, 10.0), (2.0, 30.0), (INF, 40.0)];
        check(0.5, &some, 1.5);
        check(0.125, &some, 0.5);
        check(0.9, &some, 2.0);
        check(-1.0, &some, -INF);
        check(2.0, &some, INF);
        check(0.5, &[(1.0, 10.0), (2.0, 30.0)], f64::NAN);
        check(0.5, &[(INF, 30.0)], f64::NAN);
        check(0.5, &[(1.0, 0.0), (INF, 0.0)], f64::NAN);
        check(0.5, &[(-1.0, 10.0), (INF, 10.0)], -1.0);
    }

    #[test]
    fn counts_that_fall_are_raised_and_told() {
        let mut some = buckets(&[(1.0, 10.0), (2.0, 8.0), (INF, 20.0)]);
        assert_eq!(quantile(0.5, &mut some), (1.0, Repair::ForcedMonotonic));
    }

    #[test]
    fn fractions_are_linear_within_a_bucket() {
        let some = [(1.0, 10.0), (2.0, 30.0), (INF, 40.0)];
        assert_eq!(fraction(0.0, 1.5, &mut buckets(&some)), 0.5);
        assert_eq!(fraction(1.0, 2.0, &mut buckets(&some)), 0.5);
        assert_eq!(fraction(2.0, 1.0, &mut buckets(&some)), 0.0);
        assert_eq!(fraction(-INF, INF, &mut buckets(&some)), 1.0);
    }
}
