//! What a plain text means: claims, numbers, byte sizes.

/// Reads a claim the way Prometheus's YAML does: also `yes`, `no`, `on`, `off`.
pub(super) fn parse_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Some(true),
        "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// Reads a whole number: decimal with optional sign and `_`, hexadecimal `0x`, octal `0o`.
pub(super) fn parse_integer(text: &str) -> Option<i64> {
    let text = text.replace('_', "");
    if let Some(hex) = text.strip_prefix("0x") {
        return i64::from_str_radix(hex, 16).ok();
    }
    if let Some(octal) = text.strip_prefix("0o") {
        return i64::from_str_radix(octal, 8).ok();
    }
    text.parse().ok()
}

/// Reads a number: whole, with fraction or exponent, `.inf`, `.nan`.
pub(super) fn parse_float(text: &str) -> Option<f64> {
    match text.to_ascii_lowercase().as_str() {
        ".inf" | "+.inf" => Some(f64::INFINITY),
        "-.inf" => Some(f64::NEG_INFINITY),
        ".nan" => Some(f64::NAN),
        _ if text.bytes().any(|b| b.is_ascii_digit()) => text.replace('_', "").parse().ok(),
        _ => None,
    }
}

/// Reads a size in bytes: `0`, `512KB`, `1.5GiB`, `20G`. Units are powers of 1024, as Prometheus has them.
#[must_use]
pub fn parse_byte_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
    let (number, unit) = text.split_at(digits);
    let power = match unit.trim_start().to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 1,
        "M" | "MB" | "MIB" => 2,
        "G" | "GB" | "GIB" => 3,
        "T" | "TB" | "TIB" => 4,
        "P" | "PB" | "PIB" => 5,
        _ => return None,
    };
    let scale = 1_u64 << (10 * power);
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(scale);
    }
    let bytes = number.parse::<f64>().ok()? * scale as f64;
    // Below 2^53 every whole number of bytes has its own float.
    (bytes < 9e15).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_sizes_are_powers_of_1024() {
        for (text, expected) in [
            ("0", Some(0)),
            ("17", Some(17)),
            ("512KB", Some(512 << 10)),
            ("1.5GiB", Some(3 << 29)),
            ("20G", Some(20 << 30)),
            ("2 MB", Some(2 << 20)),
            ("", None),
            ("GB", None),
            ("-1", None),
            ("1.2.3", None),
            ("5 parsecs", None),
            ("99999999999P", None),
        ] {
            assert_eq!(parse_byte_size(text), expected, "{text}");
        }
    }

    #[test]
    fn numbers_and_claims_are_read_as_yaml_has_them() {
        assert_eq!(parse_integer("0x10"), Some(16));
        assert_eq!(parse_integer("1_000"), Some(1000));
        assert_eq!(parse_integer("1.0"), None);
        assert_eq!(parse_float("1e3"), Some(1000.0));
        assert_eq!(parse_float("inf"), None);
        assert!(parse_float(".nan").unwrap().is_nan());
        assert_eq!(parse_bool("yes"), Some(true));
        assert_eq!(parse_bool("1"), None);
    }
}
