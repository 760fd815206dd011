//! How figures are said on the command line.

/// Says a number of bytes with three digits or so: `12.3 MiB`.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let name = UNITS.get(unit).unwrap_or(&"B");
    if unit == 0 || value >= 100.0 { format!("{value:.0} {name}") } else { format!("{value:.1} {name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_said_short() {
        let said = [0, 999, 1000, 12_345_678, 1 << 40, u64::MAX].map(bytes);
        assert_eq!(said, ["0 B", "999 B", "1.0 KiB", "11.8 MiB", "1.0 TiB", "16777216 TiB"]);
    }
}
