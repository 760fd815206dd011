//! Durations and sizes as they stand in filters and in lines.

/// Units of a duration in nanoseconds, as Go and Loki write them; longer names first where one begins another.
const DURATION_UNITS: [(&str, f64); 10] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3600e9),
    ("d", 86_400e9),
    ("w", 604_800e9),
    ("y", 31_536_000e9),
];

/// Units of a size in bytes, in lower case.
const SIZE_UNITS: [(&str, f64); 9] = [
    ("b", 1.0),
    ("kb", 1e3),
    ("mb", 1e6),
    ("gb", 1e9),
    ("tb", 1e12),
    ("kib", 1024.0),
    ("mib", 1_048_576.0),
    ("gib", 1_073_741_824.0),
    ("tib", 1_099_511_627_776.0),
];

/// Reads a duration (`1m30s`, `1.5ms`, `-2h`); nanoseconds. A number without a unit is none, except `0`.
pub(super) fn parse_duration_ns(text: &str) -> Option<f64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text),
    };
    if rest == "0" {
        return Some(0.0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let (number, tail) = split_number(rest)?;
        let letters = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(letters)?;
        total += number * DURATION_UNITS.iter().find(|(name, _)| *name == unit)?.1;
        rest = tail;
    }
    Some(sign * total)
}

/// Reads a size (`10KB`, `1.5 MiB`, `42`); bytes.
pub(super) fn parse_bytes(text: &str) -> Option<f64> {
    let (number, unit) = split_number(text)?;
    let unit = unit.trim_start().to_ascii_lowercase();
    if unit.is_empty() {
        return Some(number);
    }
    Some(number * SIZE_UNITS.iter().find(|(name, _)| *name == unit)?.1)
}

fn split_number(text: &str) -> Option<(f64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, ns) in
            [("250ms", 250e6), ("1m30s", 90e9), ("1.5µs", 1500.0), ("-2h", -7200e9), ("0", 0.0), ("1d", 86_400e9)]
        {
            assert_eq!(parse_duration_ns(text), Some(ns), "{text}");
        }
        for text in ["", "5", "ms", "5 ms", "5x", "-", "1..2s", "1s5"] {
            assert_eq!(parse_duration_ns(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_read_with_and_without_unit() {
        for (text, bytes) in [("10KB", 10e3), ("1.5 MiB", 1_572_864.0), ("42", 42.0), ("3b", 3.0)] {
            assert_eq!(parse_bytes(text), Some(bytes), "{text}");
        }
        for text in ["", "KB", "5 X", "-5KB"] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
    }
}
