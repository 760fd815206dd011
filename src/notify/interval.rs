//! Times of the week, month and year in which a route is silent or speaks.

use std::ops::RangeInclusive;

use jiff::tz::TimeZone;

use crate::model::{Holiday, Timestamp};

/// One entry of a `time_intervals` list. A part that is empty puts no condition.
///
/// Source: Alertmanager, `time_intervals`: all parts must cover the moment, and of each part one range.
#[derive(Debug, Clone, PartialEq)]
pub struct TimeInterval {
    /// `times`: minutes of the day, start included, end not (1440 is the day's end).
    pub times: Vec<std::ops::Range<u16>>,
    /// `weekdays`: 0 is Sunday, 6 Saturday.
    pub weekdays: Vec<RangeInclusive<u8>>,
    /// `days_of_month`: 1 to 31, or -31 to -1 counted from the month's end.
    pub days_of_month: Vec<RangeInclusive<i8>>,
    /// `months`: 1 to 12.
    pub months: Vec<RangeInclusive<u8>>,
    /// `years`.
    pub years: Vec<RangeInclusive<i16>>,
    /// `location`; UTC by default.
    pub location: TimeZone,
    /// `holidays`, our own.
    pub holidays: Option<OnHolidays>,
}

/// Whether an interval is on holidays only, or on all other days only.
#[derive(Debug, Clone, PartialEq)]
pub struct OnHolidays {
    /// On these days; else on all others.
    pub is_wanted: bool,
    /// The days that are meant.
    pub days: Vec<Holiday>,
}

impl TimeInterval {
    /// Tells whether the interval covers a moment.
    #[must_use]
    pub fn covers(&self, at: Timestamp) -> bool {
        let Ok(instant) = jiff::Timestamp::from_millisecond(at.as_millis()) else { return false };
        let local = instant.to_zoned(self.location.clone());
        let minute = u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
        let weekday = local.weekday().to_sunday_zero_offset().unsigned_abs();
        let month = local.month().unsigned_abs();
        any(&self.times, |r| r.contains(&minute))
            && any(&self.weekdays, |r| r.contains(&weekday))
            && any(&self.days_of_month, |r| covers_day(r, local.day(), local.days_in_month()))
            && any(&self.months, |r| r.contains(&month))
            && any(&self.years, |r| r.contains(&local.year()))
            && self.holidays.as_ref().is_none_or(|h| h.is_wanted == h.days.iter().any(|d| d.covers(local.date())))
    }
}

/// Tells whether there is no condition or one that passes.
fn any<T>(ranges: &[T], passes: impl Fn(&T) -> bool) -> bool {
    ranges.is_empty() || ranges.iter().any(passes)
}

/// Tells whether a day of the month lies in a range whose ends may be counted from the month's end; ends
/// beyond the month are drawn in to it.
fn covers_day(range: &RangeInclusive<i8>, day: i8, days: i8) -> bool {
    let from_start = |d: i8| if d < 0 { days + 1 + d } else { d };
    let (start, end) = (from_start(*range.start()).max(1), from_start(*range.end()).min(days));
    (start..=end).contains(&day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::HolidayDays;

    fn always() -> TimeInterval {
        TimeInterval {
            times: vec![],
            weekdays: vec![],
            days_of_month: vec![],
            months: vec![],
            years: vec![],
            location: TimeZone::UTC,
            holidays: None,
        }
    }

    #[track_caller]
    fn check(interval: &TimeInterval, at: &str, expected: bool) {
        assert_eq!(interval.covers(Timestamp::parse(at).unwrap()), expected, "{at}");
    }

    #[test]
    fn an_interval_without_conditions_covers_everything() {
        check(&always(), "2024-02-29T12:00:00Z", true);
    }

    #[test]
    fn times_end_before_their_end() {
        let office =
            TimeInterval { times: std::iter::once(9 * 60..17 * 60).collect(), weekdays: vec![1..=5], ..always() };
        check(&office, "2026-11-20T09:00:00Z", true);
        check(&office, "2026-11-20T16:59:59Z", true);
        check(&office, "2026-11-20T17:00:00Z", false);
        check(&office, "2026-11-21T10:00:00Z", false);
    }

    #[test]
    fn days_may_be_counted_from_the_end_of_the_month() {
        let last_three = TimeInterval { days_of_month: vec![-3..=-1], ..always() };
        check(&last_three, "2024-02-26T00:00:00Z", false);
        check(&last_three, "2024-02-27T00:00:00Z", true);
        check(&last_three, "2024-02-29T23:59:59Z", true);
        check(&last_three, "2024-03-01T00:00:00Z", false);
    }

    #[test]
    fn an_interval_may_be_on_holidays_only_or_on_all_other_days() {
        let days = vec![Holiday { name: "Christmas".to_owned(), days: HolidayDays::Yearly(12, 25) }];
        for is_wanted in [true, false] {
            let interval = TimeInterval { holidays: Some(OnHolidays { is_wanted, days: days.clone() }), ..always() };
            check(&interval, "2026-12-25T23:59:59Z", is_wanted);
            check(&interval, "2026-12-26T00:00:00Z", !is_wanted);
        }
        let none = TimeInterval { holidays: Some(OnHolidays { is_wanted: true, days: vec![] }), ..always() };
        check(&none, "2026-12-25T12:00:00Z", false);
    }

    #[test]
    fn the_location_moves_the_day() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let noon = TimeInterval { times: std::iter::once(12 * 60..13 * 60).collect(), location: berlin, ..always() };
        check(&noon, "2026-07-01T10:30:00Z", true);
        check(&noon, "2026-12-01T10:30:00Z", false);
        check(&noon, "2026-12-01T11:30:00Z", true);
    }
}
