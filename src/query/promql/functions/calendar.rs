//! Parts of a time given in seconds since the epoch, UTC: `hour`, `day_of_week`, ...

/// A day in the Gregorian calendar.
struct Day {
    year: i64,
    month: i64,
    day: i64,
}

const DAY_SECONDS: i64 = 86_400;

#[expect(clippy::cast_possible_truncation, reason = "a float cast to an integer saturates, which is meant")]
fn seconds(value: f64) -> i64 {
    value as i64
}

fn days(value: f64) -> i64 {
    seconds(value).div_euclid(DAY_SECONDS)
}

/// Source: H. Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`.
fn day(value: f64) -> Day {
    let shifted = days(value) + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Day { year, month, day: of_year - (153 * from_march + 2) / 5 + 1 }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Minute of the hour, 0 to 59.
pub(super) fn minute(value: f64) -> f64 {
    (seconds(value).div_euclid(60).rem_euclid(60)) as f64
}

/// Hour of the day, 0 to 23.
pub(super) fn hour(value: f64) -> f64 {
    (seconds(value).div_euclid(3600).rem_euclid(24)) as f64
}

/// Day of the week, 0 is Sunday.
pub(super) fn day_of_week(value: f64) -> f64 {
    (days(value) + 4).rem_euclid(7) as f64
}

/// Day of the month, from 1.
pub(super) fn day_of_month(value: f64) -> f64 {
    day(value).day as f64
}

/// Day of the year, from 1.
pub(super) fn day_of_year(value: f64) -> f64 {
    const BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let Day { year, month, day } = day(value);
    let before = usize::try_from(month - 1).ok().and_then(|m| BEFORE.get(m)).copied().unwrap_or(0);
    (before + day + i64::from(month > 2 && is_leap(year))) as f64
}

/// Days of the month, 28 to 31.
pub(super) fn days_in_month(value: f64) -> f64 {
    let Day { year, month, .. } = day(value);
    match month {
        2 if is_leap(year) => 29.0,
        2 => 28.0,
        4 | 6 | 9 | 11 => 30.0,
        _ => 31.0,
    }
}

/// Month, from 1.
pub(super) fn month(value: f64) -> f64 {
    day(value).month as f64
}

/// Year.
pub(super) fn year(value: f64) -> f64 {
    day(value).year as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: f64, expected: [f64; 8]) {
        let parts = [minute, hour, day_of_week, day_of_month, day_of_year, days_in_month, month, year];
        assert_eq!(parts.map(|f| f(value)), expected);
    }

    #[test]
    fn parts_of_a_time() {
        check(0.0, [0.0, 0.0, 4.0, 1.0, 1.0, 31.0, 1.0, 1970.0]);
        // 2024-02-29T23:59:59Z, a Thursday.
        check(1_709_251_199.0, [59.0, 23.0, 4.0, 29.0, 60.0, 29.0, 2.0, 2024.0]);
        // 1969-12-31T23:59:00Z, a Wednesday.
        check(-60.0, [59.0, 23.0, 3.0, 31.0, 365.0, 31.0, 12.0, 1969.0]);
        // 2000-12-31, a Sunday and the 366th day.
        check(978_220_800.0, [0.0, 0.0, 0.0, 31.0, 366.0, 31.0, 12.0, 2000.0]);
    }
}
