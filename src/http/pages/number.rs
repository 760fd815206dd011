//! Numbers, ages and times as people read them.

use std::time::Duration;

use jiff::tz::TimeZone;

use crate::model::{Labels, Timestamp};

/// Between a number and its unit: a narrow space that does not break.
const GAP: &str = "\u{202f}";

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Unit {
    /// Nothing in particular.
    #[default]
    Plain,
    /// Things a second.
    PerSecond,
    /// Things a minute.
    PerMinute,
    /// Hundredths, as 0 to 100.
    Percent,
    /// Hundredths, as 0 to 1.
    Ratio,
    /// Bytes, shown in multiples of 1024.
    Bytes,
    /// Bytes a second.
    BytesPerSecond,
    /// Seconds, shown in the unit that fits.
    Seconds,
    /// A unit with a sign of its own, such as `°F`.
    Sign(&'static str),
}

impl Unit {
    /// Guesses the unit from the last words of a metric name, as the naming conventions have it.
    pub(super) fn of_metric(name: &str) -> Unit {
        if name.starts_with("factory_oee_") {
            return Unit::Ratio;
        }
        let name = name.strip_suffix("_total").unwrap_or(name);
        let last = name.rsplit(['_', ':']).next().unwrap_or("");
        match last {
            "bytes" => Unit::Bytes,
            "seconds" => Unit::Seconds,
            "ratio" => Unit::Ratio,
            "percent" | "percentage" => Unit::Percent,
            "celsius" => Unit::Sign("°C"),
            "fahrenheit" => Unit::Sign("°F"),
            "volts" => Unit::Sign("V"),
            "amperes" => Unit::Sign("A"),
            "watts" => Unit::Sign("W"),
            "hertz" => Unit::Sign("Hz"),
            "bar" => Unit::Sign("bar"),
            _ => Unit::Plain,
        }
    }

    /// Reads the unit that a device names, as the label `unit` has it; what is not known here is the guess from
    /// the metric's name.
    pub(super) fn of_labels(labels: &Labels) -> Unit {
        match labels.get("unit").unwrap_or("") {
            "fahrenheit" | "F" | "°F" => Unit::Sign("°F"),
            "celsius" | "C" | "°C" => Unit::Sign("°C"),
            "percent" | "%" => Unit::Percent,
            "bytes" => Unit::Bytes,
            "seconds" | "s" => Unit::Seconds,
            "bar" => Unit::Sign("bar"),
            "mm/s" => Unit::Sign("mm/s"),
            "m/min" => Unit::Sign("m/min"),
            "rpm" => Unit::Sign("rpm"),
            _ => Unit::of_metric(labels.metric_name()),
        }
    }

    /// Writes a value with its unit; a value that is not a number becomes a dash.
    pub(super) fn show(self, value: f64) -> String {
        if value.is_nan() {
            return "–".to_owned();
        }
        if value.is_infinite() {
            return if value > 0.0 { "∞".to_owned() } else { "−∞".to_owned() };
        }
        match self {
            Unit::Plain => plain(value),
            Unit::PerSecond => format!("{}{GAP}/s", plain(value)),
            Unit::PerMinute => format!("{}{GAP}/min", plain(value)),
            Unit::Percent => format!("{}{GAP}%", fraction(value)),
            Unit::Ratio => format!("{}{GAP}%", fraction(value * 100.0)),
            Unit::Bytes => bytes(value),
            Unit::BytesPerSecond => format!("{}/s", bytes(value)),
            Unit::Seconds => seconds(value),
            Unit::Sign(sign) => format!("{}{GAP}{sign}", fraction(value)),
        }
    }

    /// Returns by what a value is divided before round steps are looked for: 1024 and its powers for bytes,
    /// a minute, an hour or a day for seconds.
    pub(super) fn round_to(self, largest: f64) -> f64 {
        match self {
            Unit::Bytes | Unit::BytesPerSecond => [1_099_511_627_776.0, 1_073_741_824.0, 1_048_576.0, 1024.0]
                .into_iter()
                .find(|s| largest >= *s)
                .unwrap_or(1.0),
            Unit::Seconds => [86_400.0, 3600.0, 60.0].into_iter().find(|s| largest >= 2.0 * s).unwrap_or(1.0),
            Unit::Plain | Unit::PerSecond | Unit::PerMinute | Unit::Percent | Unit::Ratio | Unit::Sign(_) => 1.0,
        }
    }
}

/// Writes a number with about three digits, and a letter for thousands where it is long.
fn plain(value: f64) -> String {
    let size = value.abs();
    if size < 10_000.0 && value.fract() == 0.0 {
        return minus(format!("{value:.0}"));
    }
    for (scale, letter) in [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")] {
        if size >= scale && (size >= 10_000.0 || scale > 1e3) {
            return format!("{}{GAP}{letter}", fraction(value / scale));
        }
    }
    fraction(value)
}

/// Writes a number with as many digits after the point as its size asks for, without zeros at the end.
fn fraction(value: f64) -> String {
    let size = value.abs();
    let digits = match size {
        0.0 => 0,
        s if s >= 1000.0 => 0,
        s if s >= 10.0 => 1,
        s if s >= 1.0 => 2,
        s if s >= 0.001 => 3,
        _ => return minus(format!("{value:.1e}")),
    };
    let text = format!("{value:.digits$}");
    minus(if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text })
}

fn minus(text: String) -> String {
    match text.strip_prefix('-') {
        Some("0") => "0".to_owned(),
        Some(rest) => format!("−{rest}"),
        None => text,
    }
}

fn bytes(value: f64) -> String {
    for (scale, name) in [(1_099_511_627_776.0, "TiB"), (1_073_741_824.0, "GiB"), (1_048_576.0, "MiB"), (1024.0, "KiB")]
    {
        if value.abs() >= scale {
            return format!("{}{GAP}{name}", fraction(value / scale));
        }
    }
    format!("{}{GAP}B", fraction(value))
}

fn seconds(value: f64) -> String {
    let size = value.abs();
    let (scale, name) = match size {
        0.0 => (1.0, "s"),
        s if s < 1e-3 => (1e-6, "µs"),
        s if s < 1.0 => (1e-3, "ms"),
        s if s < 120.0 => (1.0, "s"),
        s if s < 7200.0 => (60.0, "min"),
        s if s < 172_800.0 => (3600.0, "h"),
        _ => (86_400.0, "d"),
    };
    format!("{}{GAP}{name}", fraction(value / scale))
}

/// Writes how long something took or is ago, in the two largest units that matter: `42 s`, `3 min`, `2 h 5 min`.
pub(super) fn span(duration: Duration) -> String {
    let s = duration.as_secs();
    let two = |large: u64, large_name: &str, small: u64, small_name: &str| match small {
        0 => format!("{large}{GAP}{large_name}"),
        _ => format!("{large}{GAP}{large_name} {small}{GAP}{small_name}"),
    };
    match s {
        0 if duration.as_millis() > 0 => format!("{}{GAP}ms", duration.as_millis()),
        0..=119 => format!("{s}{GAP}s"),
        120..=3599 => format!("{}{GAP}min", s / 60),
        3600..=86_399 => two(s / 3600, "h", s % 3600 / 60, "min"),
        _ => two(s / 86_400, "d", s % 86_400 / 3600, "h"),
    }
}

/// Writes how long ago something was; `now` for less than a second and for times ahead.
pub(super) fn ago(then: Timestamp, now: Timestamp) -> String {
    match now.since(then) {
        age if age < Duration::from_secs(1) => "now".to_owned(),
        age => format!("{} ago", span(age)),
    }
}

/// Writes a time in the site's zone by a `strftime` pattern.
pub(super) fn local(time: Timestamp, zone: &TimeZone, pattern: &str) -> String {
    match jiff::Timestamp::from_millisecond(time.as_millis()) {
        Ok(t) => t.to_zoned(zone.clone()).strftime(pattern).to_string(),
        Err(_) => "–".to_owned(),
    }
}

/// Writes a time so short as it stays clear: the clock today, day and clock otherwise.
pub(super) fn clock(time: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let day = "%Y-%m-%d";
    let pattern = if local(time, zone, day) == local(now, zone, day) { "%H:%M:%S" } else { "%d %b %H:%M" };
    local(time, zone, pattern)
}

/// Writes a value as exactly as it is kept.
pub(super) fn exact(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-6..1e15).contains(&size) { format!("{value:e}") } else { format!("{value}") }
}

/// Writes a value for a column of a table: as it is if that is short, else to six digits.
pub(super) fn brief(value: f64) -> String {
    let text = exact(value);
    if text.len() <= 10 || !value.is_finite() {
        return text;
    }
    let size = value.abs();
    if !(1e-4..1e9).contains(&size) {
        return format!("{value:.5e}");
    }
    let whole = size.log10().floor().max(0.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 9")]
    let digits = (5.0 - whole).max(0.0) as usize;
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(unit: Unit, value: f64, expected: &str) {
        assert_eq!(unit.show(value).replace(GAP, " "), expected, "{unit:?} {value}");
    }

    #[test]
    fn numbers_have_about_three_digits_and_their_unit() {
        check(Unit::Plain, 0.0, "0");
        check(Unit::Plain, 7.0, "7");
        check(Unit::Plain, 9999.0, "9999");
        check(Unit::Plain, 12_345.0, "12.3 k");
        check(Unit::Plain, 1_234_567.0, "1.23 M");
        check(Unit::Plain, 3.24159, "3.24");
        check(Unit::Plain, -0.25, "−0.25");
        check(Unit::Plain, 0.000_012, "1.2e-5");
        check(Unit::Plain, f64::NAN, "–");
        check(Unit::Plain, f64::NEG_INFINITY, "−∞");
        check(Unit::Percent, 99.94, "99.9 %");
        check(Unit::Ratio, 0.5, "50 %");
        check(Unit::Bytes, 1536.0, "1.5 KiB");
        check(Unit::Bytes, 12.0, "12 B");
        check(Unit::Seconds, 0.0032, "3.2 ms");
        check(Unit::Seconds, 300.0, "5 min");
        check(Unit::Sign("°F"), 74.25, "74.2 °F");
        check(Unit::PerMinute, 45.0, "45 /min");
    }

    #[test]
    fn columns_hold_six_digits() {
        let texts = [0.792_619_030_590_293_3, 123_456_789.0, 1_234.567_890_1, 1.0, f64::NAN].map(brief);
        assert_eq!(texts, ["0.79262", "123456789", "1234.57", "1", "NaN"]);
    }

    #[test]
    fn ages_name_the_two_largest_units() {
        let show = |s| span(Duration::from_secs(s)).replace(GAP, " ");
        assert_eq!(show(0), "0 s");
        assert_eq!(show(119), "119 s");
        assert_eq!(show(120), "2 min");
        assert_eq!(show(7500), "2 h 5 min");
        assert_eq!(show(86_400), "1 d");
    }

    #[test]
    fn the_unit_is_guessed_from_the_name() {
        assert_eq!(Unit::of_metric("node_network_receive_bytes_total"), Unit::Bytes);
        assert_eq!(Unit::of_metric("scrape_duration_seconds"), Unit::Seconds);
        assert_eq!(Unit::of_metric("up"), Unit::Plain);
    }
}
