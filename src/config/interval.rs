//! `time_intervals`, as Alertmanager has them.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use jiff::tz::TimeZone;

use crate::model::Holiday;
use crate::notify::{NamedInterval, OnHolidays, TimeInterval};
use crate::yaml::{Fields, Item};

const WEEKDAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// The last is our own.
const KEYS: &[&str] = &["times", "weekdays", "days_of_month", "months", "years", "location", "holidays"];

/// Reads `time_intervals`, and `mute_time_intervals` as older files call them. `all` are the site's holidays.
pub(super) fn read(fields: &Fields<'_>, all: &[Holiday]) -> Vec<NamedInterval> {
    let mut names = HashSet::new();
    let mut intervals = Vec::new();
    let both = fields.items("time_intervals").into_iter().chain(fields.items("mute_time_intervals"));
    for item in both {
        let Some(named) = named(&item, all) else { continue };
        if names.insert(named.name.clone()) {
            intervals.push(named);
        } else {
            let _: Option<()> = item.mistake(format!("a second interval is named {:?}", named.name));
        }
    }
    intervals
}

fn named(item: &Item<'_>, all: &[Holiday]) -> Option<NamedInterval> {
    let fields = item.fields(&["name", "time_intervals"])?;
    let intervals = fields.items("time_intervals").iter().filter_map(|item| interval(item, all)).collect();
    Some(NamedInterval { name: fields.required_string("name")?, intervals })
}

fn interval(item: &Item<'_>, all: &[Holiday]) -> Option<TimeInterval> {
    let fields = item.fields(KEYS)?;
    let ranges = |key, read: fn(&str) -> Option<i16>| -> Vec<(i16, i16, Item<'_>)> {
        fields.items(key).into_iter().filter_map(|item| range(&item, read)).collect()
    };
    let narrow = |list: Vec<(i16, i16, Item<'_>)>, min: i16, max: i16| -> Vec<RangeInclusive<u8>> {
        list.into_iter().filter_map(|(a, b, item)| ordered(&item, a, b, min, max)).collect()
    };
    let mut read = TimeInterval {
        times: fields.items("times").iter().filter_map(times).collect(),
        weekdays: narrow(ranges("weekdays", |t| position(&WEEKDAYS, t)), 0, 6),
        days_of_month: ranges("days_of_month", |t| t.parse().ok()).into_iter().filter_map(days).collect(),
        months: narrow(ranges("months", |t| position(&MONTHS, t).map(|m| m + 1).or_else(|| t.parse().ok())), 1, 12),
        years: ranges("years", |t| t.parse().ok()).into_iter().map(|(a, b, _)| a..=b).collect(),
        location: TimeZone::UTC,
        holidays: fields.bool("holidays").map(|is_wanted| OnHolidays { is_wanted, days: all.to_vec() }),
    };
    if let Some(item) = fields.get("location") {
        read.location = location(&item)?;
    }
    Some(read)
}

fn location(item: &Item<'_>) -> Option<TimeZone> {
    let name = item.string()?;
    match if name == "Local" { Ok(TimeZone::system()) } else { TimeZone::get(&name) } {
        Ok(zone) => Some(zone),
        Err(_) => item.mistake_with(format!("not a time zone: {name:?}"), "write it like Europe/Berlin"),
    }
}

fn position(words: &[&str], text: &str) -> Option<i16> {
    let text = text.to_lowercase();
    i16::try_from(words.iter().position(|w| *w == text)?).ok()
}

/// Reads `a` or `a:b`.
fn range<'a>(item: &Item<'a>, read: fn(&str) -> Option<i16>) -> Option<(i16, i16, Item<'a>)> {
    let text = item.string()?;
    let (first, last) = text.split_once(':').unwrap_or((&text, &text));
    match (read(first.trim()), read(last.trim())) {
        (Some(first), Some(last)) => Some((first, last, item.clone())),
        _ => item.mistake_with(format!("not a range: {text:?}"), "write it like monday:friday, 1:15 or 2030"),
    }
}

fn ordered(item: &Item<'_>, first: i16, last: i16, min: i16, max: i16) -> Option<RangeInclusive<u8>> {
    if first > last || first < min || last > max {
        return item.mistake("the range must begin before it ends, within its bounds");
    }
    Some(u8::try_from(first).ok()?..=u8::try_from(last).ok()?)
}

fn days((first, last, item): (i16, i16, Item<'_>)) -> Option<RangeInclusive<i8>> {
    let legal = |d: i16| d != 0 && (-31..=31).contains(&d);
    if !legal(first) || !legal(last) || (first.signum() == last.signum() && first > last) || (first < 0 && last > 0) {
        return item.mistake("days go from 1 to 31, or from -31 to -1 counted from the month's end");
    }
    Some(i8::try_from(first).ok()?..=i8::try_from(last).ok()?)
}

fn times(item: &Item<'_>) -> Option<std::ops::Range<u16>> {
    let fields = item.fields(&["start_time", "end_time"])?;
    let start = minute(&fields.required("start_time")?)?;
    let end = minute(&fields.required("end_time")?)?;
    if start >= end {
        return item.mistake_with("end_time must be after start_time", "write an interval over midnight as two");
    }
    Some(start..end)
}

fn minute(item: &Item<'_>) -> Option<u16> {
    let text = item.string()?;
    let read = || {
        let (hours, minutes) = text.split_once(':')?;
        let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
        let minute = hours * 60 + minutes;
        (minutes < 60 && minute <= 24 * 60).then_some(minute)
    };
    read().or_else(|| {
        item.mistake_with(format!("not a time of day: {text:?}"), "write it like 08:30; 24:00 is the day's end")
    })
}
