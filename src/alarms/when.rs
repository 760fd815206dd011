//! Times in plain words: `2h`, `until the end of the shift`, `every Saturday 06:00 to 14:00`. Pure.
//!
//! ```text
//! 2h | 90m | for 2h                                      from now on, so long
//! until 14:00 | until tomorrow 06:00                     from now on
//! until the end of the shift                             as the settings say: by default 06:00, 14:00 and 22:00
//! today 12:00 to 13:00 | tomorrow 06:00 to 14:00         once
//! 2026-12-24 06:00 to 2026-12-27 22:00                   once
//! every day 22:00 to 06:00                               each week; to a time that is not later: the next day
//! every Saturday and Sunday 06:00 to 14:00
//! every weekday 12:00 to 12:30 except 2026-12-24, 2026-12-25
//! every weekday 06:00 to 14:00 except holidays           or except one of them by its name
//! every Sunday and holiday 00:00 to 24:00
//! ```

use std::time::Duration;

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, Zoned};

use super::calendar::{Calendar, is_among};
use crate::model::{Holiday, Timestamp, parse_duration};

/// How far ahead the next time is looked for.
const AHEAD_DAYS: i32 = 400;

/// Days that may be left out.
const EXCEPT_MAX: usize = 100;

/// The longest time once.
const ONCE_MAX: Duration = Duration::from_secs(365 * 86_400);

/// What words mean.
#[derive(Debug, Clone, PartialEq)]
pub enum When {
    /// Once.
    Once {
        /// From when.
        from: Timestamp,
        /// Until when.
        until: Timestamp,
    },
    /// Again and again.
    Every(Weekly),
}

/// Times of a week.
#[derive(Debug, Clone, PartialEq)]
pub struct Weekly {
    /// Monday first.
    days: [bool; 7],
    /// Days that count whatever day of the week they are.
    holidays: Vec<Holiday>,
    from: Time,
    to: Time,
    except: Vec<Date>,
    except_holidays: Vec<Holiday>,
}

/// Reads words; the error says what could be written.
///
/// # Errors
/// What is not understood, in a sentence.
pub(super) fn parse_when(words: &str, now: Timestamp, zone: &TimeZone, calendar: &Calendar) -> Result<When, String> {
    let lower = words.trim().to_lowercase();
    let tokens: Vec<&str> = lower.split([' ', ',']).filter(|t| !t.is_empty()).collect();
    let here = zoned(now, zone).ok_or("the clock of this box cannot be read")?;
    let found = match tokens.as_slice() {
        [] => None,
        ["every", rest @ ..] => return weekly(rest, calendar).map(When::Every),
        ["until", "the", "end", "of", "the", "shift"] | ["until", "end", "of", "shift"] => {
            let ends = calendar.shift_ends.iter().filter_map(|end| next_clock(&here, *end));
            ends.min().map(|until| (now, until))
        }
        ["until", "tomorrow", clock] => at(&here, 1, clock).map(|until| (now, until)),
        ["until", clock] => time(clock).and_then(|t| next_clock(&here, t)).map(|until| (now, until)),
        ["until", day, clock] => on(day, clock, zone).map(|until| (now, until)),
        ["today", from, "to" | "until", to] => span(&here, 0, from, to),
        ["tomorrow", from, "to" | "until", to] => span(&here, 1, from, to),
        [day, from, "to" | "until", last, to] => on(day, from, zone).zip(on(last, to, zone)),
        ["for", rest @ ..] => lasting(rest, now),
        rest => lasting(rest, now),
    };
    match found {
        Some((from, until)) if until > from && until > now => {
            let until = until.min(from + ONCE_MAX);
            Ok(When::Once { from, until })
        }
        Some(_) => Err("that is over already, or ends before it begins".to_owned()),
        None => Err(format!(
            "{words:?} is not understood; write 2h, until 14:00, until the end of the shift, tomorrow 06:00 to 14:00, or \
             every Saturday 06:00 to 14:00"
        )),
    }
}

impl Weekly {
    /// Returns the time that goes on, or the next: from when until when. `None` if there is none within a year.
    #[must_use]
    pub fn next(&self, now: Timestamp, zone: &TimeZone) -> Option<(Timestamp, Timestamp)> {
        let today = zoned(now, zone)?.date();
        for ahead in -1..AHEAD_DAYS {
            let day = today.checked_add(Span::new().days(ahead)).ok()?;
            let index = usize::try_from(day.weekday().to_monday_zero_offset()).ok()?;
            let is_wanted = self.days.get(index).copied().unwrap_or(false) || is_among(&self.holidays, day);
            if !is_wanted || self.except.contains(&day) || is_among(&self.except_holidays, day) {
                continue;
            }
            let last = if self.to > self.from { day } else { day.tomorrow().ok()? };
            let (from, until) = (stamp(day, self.from, zone)?, stamp(last, self.to, zone)?);
            if until > now {
                return Some((from, until));
            }
        }
        None
    }
}

fn weekly(tokens: &[&str], calendar: &Calendar) -> Result<Weekly, String> {
    let wrong = |what: &str| Err(format!("{what}; write for example: every Saturday 06:00 to 14:00"));
    let mut days = [false; 7];
    let mut holidays: Option<Vec<Holiday>> = None;
    let mut rest = tokens;
    while let [token, others @ ..] = rest {
        let here = rest;
        rest = others;
        match *token {
            "and" => {}
            "day" => days = [true; 7],
            "weekday" | "weekdays" => days.iter_mut().take(5).for_each(|d| *d = true),
            "weekend" => days.iter_mut().skip(5).for_each(|d| *d = true),
            name => {
                if let Some((named, words)) = calendar.named(here) {
                    holidays.get_or_insert_default().extend(named);
                    rest = here.get(words..).unwrap_or_default();
                } else if let Some(day) = weekday(name) {
                    let index = usize::try_from(day.to_monday_zero_offset()).unwrap_or(0);
                    days.iter_mut().skip(index).take(1).for_each(|d| *d = true);
                } else {
                    return weekly_times(days, holidays, here, calendar);
                }
            }
        }
    }
    wrong("from when to when is missing")
}

/// Reads what stands behind the days.
fn weekly_times(
    days: [bool; 7],
    holidays: Option<Vec<Holiday>>,
    rest: &[&str],
    calendar: &Calendar,
) -> Result<Weekly, String> {
    let wrong = |what: &str| Err(format!("{what}; write for example: every Saturday 06:00 to 14:00"));
    if days == [false; 7] && holidays.is_none() {
        return wrong("which days is missing");
    }
    let [from, "to" | "until", to, rest @ ..] = rest else { return wrong("from when to when is missing") };
    let (Some(from), Some(to)) = (time(from), time(to)) else { return wrong("times are written as 06:00") };
    let holidays = holidays.unwrap_or_default();
    let mut weekly = Weekly { days, holidays, from, to, except: Vec::new(), except_holidays: Vec::new() };
    let mut rest = match rest {
        [] => rest,
        ["except", days @ ..] if days.len() <= EXCEPT_MAX => days,
        [word, ..] => return wrong(&format!("{word:?} is not understood")),
    };
    while let [token, others @ ..] = rest {
        let here = rest;
        rest = others;
        match (*token, token.parse::<Date>(), calendar.named(here)) {
            ("and", ..) => {}
            (_, Ok(day), _) => weekly.except.push(day),
            (_, _, Some((named, words))) => {
                weekly.except_holidays.extend(named);
                rest = here.get(words..).unwrap_or_default();
            }
            (word, ..) => {
                return Err(format!("{word:?} is neither a holiday of the settings nor a day as 2026-12-24"));
            }
        }
    }
    Ok(weekly)
}

/// Reads a day by its name, its plural or its first letters.
fn weekday(name: &str) -> Option<Weekday> {
    let all = [
        ("monday", Weekday::Monday),
        ("tuesday", Weekday::Tuesday),
        ("wednesday", Weekday::Wednesday),
        ("thursday", Weekday::Thursday),
        ("friday", Weekday::Friday),
        ("saturday", Weekday::Saturday),
        ("sunday", Weekday::Sunday),
    ];
    let name = name.trim_end_matches('s');
    let found = all
        .into_iter()
        .find(|(day, _)| name.len() >= 3 && (day.starts_with(name) || day.trim_end_matches('s') == name));
    found.map(|(_, day)| day)
}

fn time(clock: &str) -> Option<Time> {
    let (hour, minute) = clock.split_once(':')?;
    match (hour.parse::<i8>().ok()?, minute.parse::<i8>().ok()?) {
        // Midnight at the end of a day is that of the next.
        (24, 0) => Some(Time::midnight()),
        (hour, minute) => Time::new(hour, minute, 0, 0).ok(),
    }
}

fn zoned(at: Timestamp, zone: &TimeZone) -> Option<Zoned> {
    jiff::Timestamp::from_millisecond(at.as_millis()).ok().map(|t| t.to_zoned(zone.clone()))
}

fn stamp(day: Date, clock: Time, zone: &TimeZone) -> Option<Timestamp> {
    let zoned = day.to_datetime(clock).to_zoned(zone.clone()).ok()?;
    Some(Timestamp::from_millis(zoned.timestamp().as_millisecond()))
}

/// Returns when the clock shows this next.
fn next_clock(here: &Zoned, clock: Time) -> Option<Timestamp> {
    let day = if clock > here.time() { here.date() } else { here.date().tomorrow().ok()? };
    stamp(day, clock, here.time_zone())
}

fn at(here: &Zoned, days: i32, clock: &str) -> Option<Timestamp> {
    let day = here.date().checked_add(Span::new().days(days)).ok()?;
    stamp(day, time(clock)?, here.time_zone())
}

fn on(day: &str, clock: &str, zone: &TimeZone) -> Option<Timestamp> {
    stamp(day.parse().ok()?, time(clock)?, zone)
}

fn span(here: &Zoned, days: i32, from: &str, to: &str) -> Option<(Timestamp, Timestamp)> {
    let next_day = i32::from(time(to)? <= time(from)?);
    at(here, days, from).zip(at(here, days + next_day, to))
}

/// Reads `2h`, `2 h`, `2 hours`.
fn lasting(tokens: &[&str], now: Timestamp) -> Option<(Timestamp, Timestamp)> {
    let text: String = tokens.concat();
    let units = [
        ("minutes", "m"),
        ("minute", "m"),
        ("min", "m"),
        ("hours", "h"),
        ("hour", "h"),
        ("days", "d"),
        ("day", "d"),
        ("weeks", "w"),
        ("week", "w"),
    ];
    let short = units
        .iter()
        .find(|(long, _)| text.ends_with(long))
        .map_or(text.clone(), |(long, unit)| format!("{}{unit}", text.strip_suffix(long).unwrap_or("")));
    parse_duration(&short).ok().map(|lasts| (now, now + lasts.min(ONCE_MAX)))
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::model::HolidayDays;

    /// Wednesday 25 November 2026, 10:30 in Berlin.
    fn now() -> Timestamp {
        Timestamp::parse("2026-11-25T09:30:00Z").unwrap()
    }

    fn berlin() -> TimeZone {
        TimeZone::get("Europe/Berlin").unwrap()
    }

    fn calendar() -> Calendar {
        let holiday = |name: &str, days| Holiday { name: name.to_owned(), days };
        let holidays = vec![
            holiday("Day of Repentance", HolidayDays::Dates(date(2026, 11, 26)..=date(2026, 11, 26))),
            holiday("Christmas", HolidayDays::Yearly(12, 25)),
        ];
        Calendar { holidays, ..Calendar::default() }
    }

    #[track_caller]
    fn check(words: &str, expected: Option<(&str, &str)>) {
        let found = match parse_when(words, now(), &berlin(), &calendar()) {
            Ok(When::Once { from, until }) => Some((from, until)),
            Ok(When::Every(weekly)) => weekly.next(now(), &berlin()),
            Err(_) => None,
        };
        let told = found.map(|(from, until)| {
            let text = |t: Timestamp| zoned(t, &berlin()).unwrap().strftime("%a %d %b %H:%M").to_string();
            (text(from), text(until))
        });
        let told = told.as_ref().map(|(from, until)| (from.as_str(), until.as_str()));
        assert_eq!(told, expected, "{words}");
    }

    #[test]
    fn times_once() {
        check("2h", Some(("Wed 25 Nov 10:30", "Wed 25 Nov 12:30")));
        check("for 90 minutes", Some(("Wed 25 Nov 10:30", "Wed 25 Nov 12:00")));
        check("until 14:00", Some(("Wed 25 Nov 10:30", "Wed 25 Nov 14:00")));
        check("until 06:00", Some(("Wed 25 Nov 10:30", "Thu 26 Nov 06:00")));
        check("Until the end of the shift", Some(("Wed 25 Nov 10:30", "Wed 25 Nov 14:00")));
        check("until tomorrow 08:15", Some(("Wed 25 Nov 10:30", "Thu 26 Nov 08:15")));
        check("tomorrow 22:00 to 06:00", Some(("Thu 26 Nov 22:00", "Fri 27 Nov 06:00")));
        check("2026-12-24 06:00 to 2026-12-27 22:00", Some(("Thu 24 Dec 06:00", "Sun 27 Dec 22:00")));
    }

    #[test]
    fn times_of_each_week() {
        check("every Saturday 06:00 to 14:00", Some(("Sat 28 Nov 06:00", "Sat 28 Nov 14:00")));
        check("every saturdays and sunday 06:00 to 14:00", Some(("Sat 28 Nov 06:00", "Sat 28 Nov 14:00")));
        check("every Wednesday 10:00 to 11:00", Some(("Wed 25 Nov 10:00", "Wed 25 Nov 11:00")));
        check("every Wednesday 09:00 to 10:00", Some(("Wed 02 Dec 09:00", "Wed 02 Dec 10:00")));
        check("every day 22:00 to 06:00", Some(("Wed 25 Nov 22:00", "Thu 26 Nov 06:00")));
        check("every Tue 22:00 to 11:00", Some(("Tue 24 Nov 22:00", "Wed 25 Nov 11:00")));
        check(
            "every weekday 12:00 to 12:30 except 2026-11-25, 2026-11-26",
            Some(("Fri 27 Nov 12:00", "Fri 27 Nov 12:30")),
        );
        check("every weekend 00:00 to 24:00", Some(("Sat 28 Nov 00:00", "Sun 29 Nov 00:00")));
    }

    #[test]
    fn holidays_are_left_out_or_meant_by_name() {
        check("every weekday 06:00 to 09:00 except holidays", Some(("Fri 27 Nov 06:00", "Fri 27 Nov 09:00")));
        check("every weekday 06:00 to 09:00 except Christmas", Some(("Thu 26 Nov 06:00", "Thu 26 Nov 09:00")));
        check(
            "every Thursday 06:00 to 09:00 except Day of Repentance and 2026-12-03",
            Some(("Thu 10 Dec 06:00", "Thu 10 Dec 09:00")),
        );
        check("every holiday 00:00 to 24:00", Some(("Thu 26 Nov 00:00", "Fri 27 Nov 00:00")));
        check("every Sunday and Christmas 06:00 to 14:00", Some(("Sun 29 Nov 06:00", "Sun 29 Nov 14:00")));
        check("every Christmas 06:00 to 14:00", Some(("Fri 25 Dec 06:00", "Fri 25 Dec 14:00")));
        check("every day 06:00 to 14:00 except Easter", None);
        let none = parse_when("every holiday 06:00 to 14:00", now(), &berlin(), &Calendar::default()).unwrap();
        let When::Every(weekly) = none else { panic!() };
        assert_eq!(weekly.next(now(), &berlin()), None);
    }

    #[test]
    fn shifts_end_when_the_settings_say() {
        let two =
            Calendar { shift_ends: vec![Time::constant(5, 30, 0, 0), Time::constant(17, 30, 0, 0)], ..calendar() };
        let When::Once { until, .. } = parse_when("until the end of the shift", now(), &berlin(), &two).unwrap() else {
            panic!()
        };
        assert_eq!(until.to_rfc3339(), "2026-11-25T16:30:00.000Z");
    }

    #[test]
    fn the_hour_that_summer_takes_is_no_trouble() {
        let march = Timestamp::parse("2027-03-27T12:00:00Z").unwrap();
        let Ok(When::Every(weekly)) = parse_when("every Sunday 02:30 to 04:00", march, &berlin(), &calendar()) else {
            panic!()
        };
        let (from, until) = weekly.next(march, &berlin()).unwrap();
        assert_eq!(until.since(from), Duration::from_secs(1800));
    }

    #[test]
    fn what_is_not_understood_is_told() {
        for words in [
            "",
            "soon",
            "every",
            "every Foo 06:00 to 14:00",
            "every day",
            "every day 6 to 14",
            "until 25:00",
            "today 08:00 to 09:00",
            "every day 06:00 to 08:00 but",
        ] {
            check(words, None);
        }
        let told = parse_when("soon", now(), &berlin(), &calendar()).unwrap_err();
        assert!(told.contains("every Saturday 06:00 to 14:00"), "{told}");
    }
}
