//! Numbers as text.

/// NaN as Prometheus writes it to its store when a target says `NaN`.
const NORMAL_NAN_BITS: u64 = 0x7ff8_0000_0000_0001;

/// Reads a sample's value: decimal, `NaN`, `+Inf`, `-Inf`, in any case.
pub(super) fn parse_value(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    Some(if value.is_nan() { f64::from_bits(NORMAL_NAN_BITS) } else { value })
}

/// Returns a bucket's bound or a quantile as Prometheus 3 normalises it: `1` becomes `1.0`, so that senders
/// of both formats agree. Text that is no number is returned as it is.
///
/// Source: Prometheus 3, `model/textparse`, `formatOpenMetricsFloat`, which is Go's `strconv.FormatFloat` with
/// `g` and the fewest digits: an exponent below 1e-4 and from 1e6.
#[must_use]
pub fn normal_bound(text: &str) -> String {
    let Ok(value) = text.parse::<f64>() else { return text.to_owned() };
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let digits = format!("{value:e}");
    let (mantissa, exponent) = digits.split_once('e').unwrap_or((&digits, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value != 0.0 && !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{value}");
    if plain.contains('.') { plain } else { format!("{plain}.0") }
}

/// Appends a value as the text format has it: whole numbers without a point, long ones with an exponent.
pub fn push_value(out: &mut String, value: f64) {
    use std::fmt::Write;
    let written = if value.is_nan() {
        write!(out, "NaN")
    } else if value.is_infinite() {
        write!(out, "{}Inf", if value > 0.0 { '+' } else { '-' })
    } else if value == 0.0 || (1e-5..1e17).contains(&value.abs()) {
        write!(out, "{value}")
    } else {
        write!(out, "{value:e}")
    };
    debug_assert!(written.is_ok(), "bug: a String takes every text");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_normal() {
        for (text, expected) in [
            ("1", "1.0"),
            ("0", "0.0"),
            ("-1", "-1.0"),
            ("0.005", "0.005"),
            ("5e-05", "5e-05"),
            ("0.0001", "0.0001"),
            ("+Inf", "+Inf"),
            ("2.50", "2.5"),
            ("100000", "100000.0"),
            ("words", "words"),
            ("1e-07", "1e-07"),
            ("1048576", "1.048576e+06"),
        ] {
            assert_eq!(normal_bound(text), expected, "{text}");
        }
    }

    #[test]
    fn values_are_read_and_written() {
        for text in ["1", "-0.5", "1e300", "+Inf", "-Inf", "NaN", "1700000000123", "0"] {
            let mut out = String::new();
            push_value(&mut out, parse_value(text).unwrap());
            assert_eq!(out, text);
        }
        assert_eq!(parse_value("nan").unwrap().to_bits(), NORMAL_NAN_BITS);
        assert!(parse_value("0x").is_none() && parse_value("").is_none() && parse_value("1_0").is_none());
    }
}
