//! Prometheus duration text (`1h30m`, `15d`) to and from [`Duration`].

use std::time::Duration;

use super::{Error, Result};

/// Units, largest first, in milliseconds. A year is 365 days, a week 7, a day 24 hours.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 24 * 3600 * 1000),
    ("w", 7 * 24 * 3600 * 1000),
    ("d", 24 * 3600 * 1000),
    ("h", 3600 * 1000),
    ("m", 60 * 1000),
    ("s", 1000),
    ("ms", 1),
];

/// Reads a duration as Prometheus writes it: `5m`, `1h30m`, `1d`, `0`.
///
/// Units must fall from large to small and none may repeat, as upstream demands.
///
/// # Errors
/// [`Error::Duration`] if the text is empty, has no or unknown units, or is too long a time.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let fail = || Error::Duration(text.to_owned());
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.is_empty() {
        return Err(fail());
    }
    let mut rest = text;
    let mut next_unit = 0;
    let mut total_ms: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let number: u64 = number.parse().map_err(|_| fail())?;
        let letters = tail.bytes().take_while(u8::is_ascii_lowercase).count();
        let (unit, tail) = tail.split_at(letters);
        let at = UNITS.iter().position(|(name, _)| *name == unit).ok_or_else(fail)?;
        if at < next_unit {
            return Err(fail());
        }
        next_unit = at + 1;
        let ms = UNITS.get(at).map_or(0, |(_, ms)| *ms);
        total_ms = number.checked_mul(ms).and_then(|n| total_ms.checked_add(n)).ok_or_else(fail)?;
        rest = tail;
    }
    // Prometheus keeps nanoseconds in 64 bits, so more than 292 years is an error there too.
    if total_ms > 9_223_372_036_854 {
        return Err(fail());
    }
    Ok(Duration::from_millis(total_ms))
}

/// Writes a duration the way Prometheus does: `1h30m`, `15s`, `0s`.
///
/// Weeks and years are written only when nothing else remains, as upstream does.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let mut ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, size) in UNITS {
        let whole_only = unit == "y" || unit == "w";
        if ms < size || (whole_only && ms % size != 0) {
            continue;
        }
        text.push_str(&format!("{}{unit}", ms / size));
        ms %= size;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, ms: u64) {
        assert_eq!(parse_duration(text).unwrap(), Duration::from_millis(ms), "{text}");
    }

    #[test]
    fn durations_are_read_as_prometheus_reads_them() {
        check("0", 0);
        check("100ms", 100);
        check("15s", 15_000);
        check("1h30m", 5_400_000);
        check("15d", 15 * 86_400_000);
        check("1y", 365 * 86_400_000);
        for bad in ["", "5", "m", "5x", "1m1h", "1m1m", "-5m", "1.5h", "300y", " 5m"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_written_as_prometheus_writes_them() {
        for text in ["0s", "100ms", "15s", "1m30s", "1h30m", "15d", "1w", "1y", "1d12h"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
    }
}
