//! Round steps for axes, and thinning of points to what a screen can show.

use jiff::tz::TimeZone;

use crate::http::pages::number::{Unit, local};
use crate::model::{Sample, Timestamp};

/// The vertical axis: what its ends stand for, and where its lines are.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scale {
    /// Value at the bottom.
    pub(super) low: f64,
    /// Value at the top; more than `low`.
    pub(super) high: f64,
    /// Values of the lines, rising, both ends among them.
    pub(super) ticks: Vec<f64>,
}

impl Scale {
    /// Returns an axis of two to four round steps that holds `low` to `high`.
    pub(super) fn around(low: f64, high: f64, unit: Unit) -> Scale {
        let (mut low, mut high) = if low.is_finite() && high.is_finite() { (low, high) } else { (0.0, 1.0) };
        // An axis that starts at zero does not make a ripple look like a storm; but a value far from zero
        // that hardly moves would become a line at the top.
        if low > 0.0 && low < high * 0.6 {
            low = 0.0;
        }
        // A value that does not move stands against zero.
        if high - low < f64::EPSILON * high.abs().max(1.0) {
            match high {
                0.0 => high = 1.0,
                h if h > 0.0 => low = 0.0,
                _ => high = 0.0,
            }
        }
        let base = unit.round_to(high.abs().max(low.abs()));
        let step = round_step((high - low) / base / 3.0) * base;
        let first = (low / step + 1e-9).floor();
        let last = (high / step - 1e-9).ceil().max(first + 1.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "two to five steps")]
        let count = (last - first) as usize;
        #[expect(clippy::cast_precision_loss, reason = "two to five steps")]
        let ticks: Vec<f64> = (0..=count).map(|i| (first + i as f64) * step).collect();
        Scale { low: first * step, high: last * step, ticks }
    }

    /// Returns where a value lies: 0 at the bottom, 1 at the top, held within.
    pub(super) fn place(&self, value: f64) -> f64 {
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }
}

/// Returns the smallest of 1, 2, 2.5, 5 times a power of ten that is not less than `rough`.
fn round_step(rough: f64) -> f64 {
    let power = 10_f64.powf(rough.max(1e-12).log10().floor());
    [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= rough * 0.999).unwrap_or(10.0 * power)
}

/// Steps of time that read well, in seconds.
const TIME_STEPS: [i64; 19] = [
    1, 5, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800, 2_419_200,
];

/// Returns up to `most` moments between the ends that are round in the site's zone, with their text.
pub(super) fn time_ticks(start: Timestamp, end: Timestamp, zone: &TimeZone, most: i64) -> Vec<(Timestamp, String)> {
    let (start_s, end_s) = (start.as_millis().div_euclid(1000), end.as_millis().div_euclid(1000));
    let span_s = (end_s - start_s).max(1);
    let step_s = TIME_STEPS.into_iter().find(|s| span_s / s <= most).unwrap_or(span_s);
    let offset_s = jiff::Timestamp::from_second(start_s).map_or(0, |t| i64::from(zone.to_offset(t).seconds()));
    let first = (start_s + offset_s).div_euclid(step_s) * step_s + step_s - offset_s;
    let pattern = match step_s {
        s if s < 60 => "%H:%M:%S",
        s if s < 86_400 && span_s <= 86_400 => "%H:%M",
        s if s < 86_400 => "%a %H:%M",
        _ => "%d %b",
    };
    (0..most)
        .map(|i| first + i * step_s)
        .take_while(|s| *s < end_s)
        .map(|s| Timestamp::from_millis(s * 1000))
        .map(|t| (t, local(t, zone, pattern)))
        .collect()
}

/// Thins points to what `columns` columns of pixels can show: of each column its first, lowest, highest and
/// last point, so that a spike of one sample is still there.
///
/// Source: M4, Jugel et al., VLDB 2014.
pub(super) fn thin(points: &[Sample], start: Timestamp, end: Timestamp, columns: i64) -> Vec<Sample> {
    let span_ms = (end.as_millis() - start.as_millis()).max(1);
    if i64::try_from(points.len()).unwrap_or(i64::MAX) <= columns * 2 {
        return points.to_vec();
    }
    let column_of = |p: &Sample| (p.timestamp.as_millis() - start.as_millis()).saturating_mul(columns) / span_ms;
    let mut kept = Vec::new();
    for column in points.chunk_by(|a, b| column_of(a) == column_of(b)) {
        let by_value = |a: &&Sample, b: &&Sample| a.value.total_cmp(&b.value);
        let mut four: Vec<Sample> =
            [column.first(), column.iter().min_by(by_value), column.iter().max_by(by_value), column.last()]
                .into_iter()
                .flatten()
                .copied()
                .collect();
        four.sort_by_key(|p| p.timestamp);
        four.dedup();
        kept.extend(four);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(low: f64, high: f64, unit: Unit, expected: &[f64]) {
        let scale = Scale::around(low, high, unit);
        assert_eq!(scale.ticks.len(), expected.len(), "{:?}", scale.ticks);
        assert!(scale.ticks.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{:?}", scale.ticks);
    }

    #[test]
    fn axes_have_two_to_four_round_steps() {
        check(0.0, 100.0, Unit::Percent, &[0.0, 50.0, 100.0]);
        check(3.0, 97.0, Unit::Percent, &[0.0, 50.0, 100.0]);
        check(71.0, 76.5, Unit::Plain, &[70.0, 72.0, 74.0, 76.0, 78.0]);
        check(0.0, 0.0, Unit::Plain, &[0.0, 0.5, 1.0]);
        check(1.0, 1.0, Unit::Plain, &[0.0, 0.5, 1.0]);
        check(-4.0, -4.0, Unit::Plain, &[-4.0, -2.0, 0.0]);
        check(0.0, 3.0 * 1_048_576.0, Unit::Bytes, &[0.0, 1_048_576.0, 2_097_152.0, 3_145_728.0]);
        check(f64::NAN, 1.0, Unit::Plain, &[0.0, 0.5, 1.0]);
    }

    #[test]
    fn time_ticks_are_round_in_the_zone() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let start = Timestamp::parse("2026-11-21T09:47:00Z").unwrap();
        let ticks = time_ticks(start, start + std::time::Duration::from_secs(3600), &zone, 5);
        let texts: Vec<&str> = ticks.iter().map(|(_, t)| t.as_str()).collect();
        assert_eq!(texts, ["12:00", "12:15", "12:30", "12:45"]);
    }

    #[test]
    fn a_spike_survives_thinning() {
        let at = |i: i64, v: f64| Sample::new(Timestamp::from_millis(i), v);
        let mut points: Vec<Sample> = (0..10_000).map(|i| at(i, 1.0)).collect();
        points[5_003].value = 99.0;
        let thinned = thin(&points, Timestamp::from_millis(0), Timestamp::from_millis(10_000), 100);
        assert!(thinned.len() <= 400, "{}", thinned.len());
        assert!(thinned.iter().any(|p| p.value == 99.0));
        assert!(thinned.is_sorted_by_key(|p| p.timestamp));
    }
}
