//! Every file and folder name of this store.

use std::path::{Path, PathBuf};

use jiff::civil::Date;

/// Nanoseconds in a day.
pub(super) const DAY_NS: i64 = 86_400 * 1_000_000_000;

const PART_SUFFIX: &str = ".part";

/// Returns the folder of the WAL.
pub(super) fn wal(folder: &Path) -> PathBuf {
    folder.join("wal")
}

/// Tells whether a name in the store's folder is that of what a start replays.
pub(crate) fn is_wal(name: &str) -> bool {
    name == "wal"
}

/// Returns the folder of the days.
pub(super) fn days(folder: &Path) -> PathBuf {
    folder.join("days")
}

/// Returns the folder of what did not check out: that of the data folder.
pub(super) fn quarantine(folder: &Path) -> PathBuf {
    folder.parent().unwrap_or(folder).join("quarantine")
}

/// Returns the day of a time: whole days since the epoch, UTC.
pub(super) fn day_of(timestamp_ns: i64) -> i64 {
    timestamp_ns.div_euclid(DAY_NS)
}

/// Returns a day's folder name: `2026-08-21`.
pub(super) fn day_name(day: i64) -> String {
    let date = i32::try_from(day).ok().and_then(|days| {
        let span = jiff::Span::new().try_days(days).ok()?;
        Date::constant(1970, 1, 1).checked_add(span).ok()
    });
    date.map_or_else(|| format!("day{day}"), |date| date.to_string())
}

/// Reads a day's folder name.
pub(super) fn parse_day(name: &str) -> Option<i64> {
    let date: Date = name.parse().ok()?;
    let days = date.since((jiff::Unit::Day, Date::constant(1970, 1, 1))).ok()?.get_days();
    (day_name(i64::from(days)) == name).then_some(i64::from(days))
}

/// Returns a part's file name: `00000001.part`.
pub(super) fn part_name(number: u64) -> String {
    format!("{number:08}{PART_SUFFIX}")
}

/// Reads a part's file name.
pub(super) fn parse_part(name: &str) -> Option<u64> {
    let number = name.strip_suffix(PART_SUFFIX)?;
    (number.len() >= 8 && number.bytes().all(|b| b.is_ascii_digit())).then(|| number.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_as_written() {
        for day in [0, -1, 20_686, 36_524] {
            assert_eq!(parse_day(&day_name(day)), Some(day), "{}", day_name(day));
        }
        assert_eq!(day_name(20_686), "2026-08-21");
        assert_eq!(day_of(-1), -1);
        for name in ["", "2026-8-21", "2026-02-30", "20260821", "x"] {
            assert_eq!(parse_day(name), None, "{name}");
        }
        assert_eq!(parse_part(&part_name(7)), Some(7));
        assert_eq!(parse_part("00000001.part.tmp"), None);
    }
}
