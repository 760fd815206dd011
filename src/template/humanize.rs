//! Numbers for people: metric and binary prefixes, durations, percentages.
//!
//! Source: Prometheus, `template/template.go` and `util/convert`; four significant digits throughout.

use std::time::Duration;

use super::format::{format_float, format_time};
use crate::model::Timestamp;

const ABOVE: [&str; 8] = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
const BELOW: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];
const BINARY: [&str; 8] = ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"];

fn four_digits(value: f64) -> String {
    format_float(value, 'g', Some(4))
}

/// Divides by `base` until the value is small, and returns it with the prefix for that.
fn scale_down(mut value: f64, base: f64, prefixes: &[&'static str]) -> (f64, &'static str) {
    let mut prefix = "";
    for p in prefixes {
        if value.abs() < base {
            break;
        }
        prefix = p;
        value /= base;
    }
    (value, prefix)
}

/// Multiplies by 1000 until the value is at least 1, and returns it with the prefix for that.
fn scale_up(mut value: f64) -> (f64, &'static str) {
    let mut prefix = "";
    for p in BELOW {
        if value.abs() >= 1.0 {
            break;
        }
        prefix = p;
        value *= 1000.0;
    }
    (value, prefix)
}

/// `1234567` to `1.235M`.
pub(super) fn humanize(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return four_digits(value);
    }
    let (value, prefix) = if value.abs() >= 1.0 { scale_down(value, 1000.0, &ABOVE) } else { scale_up(value) };
    four_digits(value) + prefix
}

/// `1048576` to `1Mi`.
pub(super) fn humanize_1024(value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        return four_digits(value);
    }
    let (value, prefix) = scale_down(value, 1024.0, &BINARY);
    four_digits(value) + prefix
}

/// Seconds to `1d 2h 3m 4s`, `12.35s` or `1.5ms`.
pub(super) fn humanize_duration(value: f64) -> String {
    if !value.is_finite() {
        return four_digits(value);
    }
    if value == 0.0 {
        return "0s".to_owned();
    }
    if value.abs() < 1.0 {
        let (value, prefix) = scale_up(value);
        return format!("{}{prefix}s", four_digits(value));
    }
    let sign = if value < 0.0 { "-" } else { "" };
    let value = value.abs();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive; saturates, as is meant")]
    let whole = value as u64;
    let (days, hours, minutes, seconds) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{sign}{}s", four_digits(value)),
        (0, 0, _) => format!("{sign}{minutes}m {seconds}s"),
        (0, _, _) => format!("{sign}{hours}h {minutes}m {seconds}s"),
        _ => format!("{sign}{days}d {hours}h {minutes}m {seconds}s"),
    }
}

/// `0.123` to `12.3%`.
pub(super) fn humanize_percentage(value: f64) -> String {
    four_digits(value * 100.0) + "%"
}

/// Seconds since the epoch to `2015-07-01 20:10:51.781 +0000 UTC`.
pub(super) fn humanize_timestamp(value: f64) -> String {
    if value.is_finite() {
        format_time(Timestamp::from_seconds(value), &jiff::tz::TimeZone::UTC)
    } else {
        four_digits(value)
    }
}

/// Writes a duration as Go's `time.Duration` prints itself: `1h30m0s`, `1.5s`, `20ms`.
pub(super) fn go_duration(seconds: f64) -> String {
    let sign = if seconds < 0.0 { "-" } else { "" };
    let Ok(duration) = Duration::try_from_secs_f64(seconds.abs()) else { return four_digits(seconds) };
    let trimmed = |value: f64| format!("{value}");
    let ns = duration.as_nanos();
    #[expect(clippy::cast_precision_loss, reason = "under a second, exact")]
    let below = ns as f64;
    if ns == 0 {
        return "0s".to_owned();
    }
    if ns < 1_000 {
        return format!("{sign}{ns}ns");
    }
    if ns < 1_000_000 {
        return format!("{sign}{}µs", trimmed(below / 1e3));
    }
    if ns < 1_000_000_000 {
        return format!("{sign}{}ms", trimmed(below / 1e6));
    }
    let whole = duration.as_secs();
    let rest = f64::from(u32::try_from(whole % 60).unwrap_or(0)) + f64::from(duration.subsec_nanos()) / 1e9;
    match (whole / 3600, whole / 60 % 60) {
        (0, 0) => format!("{sign}{}s", trimmed(rest)),
        (0, minutes) => format!("{sign}{minutes}m{}s", trimmed(rest)),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{}s", trimmed(rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_get_prefixes() {
        // Source: Prometheus, template_test.go.
        for (value, expected) in [
            (0.0, "0"),
            (1.0, "1"),
            (1_234_567.0, "1.235M"),
            (0.12, "120m"),
            (-1_500.0, "-1.5k"),
            (f64::INFINITY, "+Inf"),
            (1e-9, "1n"),
        ] {
            assert_eq!(humanize(value), expected);
        }
        assert_eq!(humanize_1024(1_048_576.0), "1Mi");
        assert_eq!(humanize_1024(0.12), "0.12");
        assert_eq!(humanize_percentage(0.1234567), "12.35%");
        assert_eq!(humanize_timestamp(1_435_065_584.128), "2015-06-23 13:19:44.128 +0000 UTC");
    }

    #[test]
    fn durations_are_told_in_words_of_time() {
        for (value, expected) in [
            (0.0, "0s"),
            (1.0, "1s"),
            (60.0, "1m 0s"),
            (3600.0, "1h 0m 0s"),
            (86_400.0, "1d 0h 0m 0s"),
            (86_400.0 + 3600.0, "1d 1h 0m 0s"),
            (-(86_400.0 * 2.0 + 3600.0 * 3.0 + 60.0 * 4.0 + 5.0), "-2d 3h 4m 5s"),
            (0.1, "100ms"),
            (0.0001, "100us"),
            (899.99, "14m 59s"),
            (12.3456, "12.35s"),
        ] {
            assert_eq!(humanize_duration(value), expected);
        }
        assert_eq!(go_duration(5400.0), "1h30m0s");
        assert_eq!(go_duration(1.5), "1.5s");
        assert_eq!(go_duration(0.02), "20ms");
    }
}
