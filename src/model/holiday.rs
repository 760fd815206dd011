//! Days on which a site does not work as usual.

use std::ops::RangeInclusive;

use jiff::Span;
use jiff::civil::{Date, date};

/// A day, or some, with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holiday {
    /// As people call it.
    pub name: String,
    /// Which days.
    pub days: HolidayDays,
}

/// Which days a holiday is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HolidayDays {
    /// Once: from the first to the last day.
    Dates(RangeInclusive<Date>),
    /// Each year: month and day.
    Yearly(i8, i8),
    /// Each year, so many days after Easter Sunday; below zero before it.
    Easter(i16),
}

impl Holiday {
    /// Tells whether a day is one of it.
    #[must_use]
    pub fn covers(&self, day: Date) -> bool {
        match &self.days {
            HolidayDays::Dates(days) => days.contains(&day),
            HolidayDays::Yearly(month, of_month) => (day.month(), day.day()) == (*month, *of_month),
            HolidayDays::Easter(after) => {
                easter(day.year()).checked_add(Span::new().days(*after)).is_ok_and(|found| found == day)
            }
        }
    }
}

/// Returns Easter Sunday of a year of the Gregorian calendar.
///
/// Source: the algorithm of 1876 that Meeus, Astronomical Algorithms, chapter 8, gives.
fn easter(year: i16) -> Date {
    let y = i32::from(year);
    let (a, b, c) = (y % 19, y / 100, y % 100);
    let (d, e, g) = (b / 4, b % 4, (b - (b + 8) / 25 + 1) / 3);
    let h = (19 * a + b - d - g + 15) % 30;
    let l = (32 + 2 * e + 2 * (c / 4) - h - c % 4) % 7;
    let n = h + l - 7 * ((a + 11 * h + 22 * l) / 451) + 114;
    let (month, day) = (i8::try_from(n / 31).unwrap_or(4), i8::try_from(n % 31 + 1).unwrap_or(1));
    Date::new(year, month, day).unwrap_or(date(year, 4, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(days: HolidayDays, day: Date, expected: bool) {
        assert_eq!(Holiday { name: String::new(), days }.covers(day), expected, "{day}");
    }

    #[test]
    fn easter_is_when_the_churches_say() {
        for (year, month, day) in [(1818, 3, 22), (2024, 3, 31), (2026, 4, 5), (2038, 4, 25), (2000, 4, 23)] {
            assert_eq!(easter(year), date(year, month, day));
        }
        check(HolidayDays::Easter(-2), date(2026, 4, 3), true);
        check(HolidayDays::Easter(-2), date(2027, 4, 3), false);
        check(HolidayDays::Easter(50), date(2026, 5, 25), true);
    }

    #[test]
    fn days_come_each_year_or_once() {
        check(HolidayDays::Yearly(12, 25), date(2031, 12, 25), true);
        check(HolidayDays::Yearly(12, 25), date(2031, 12, 26), false);
        let closed = HolidayDays::Dates(date(2026, 12, 24)..=date(2027, 1, 2));
        for (day, expected) in [
            (date(2026, 12, 23), false),
            (date(2026, 12, 24), true),
            (date(2027, 1, 2), true),
            (date(2027, 1, 3), false),
            (date(2027, 12, 25), false),
        ] {
            check(closed.clone(), day, expected);
        }
    }
}
