//! `alarms`: de-bounce by class of alarms, when shifts end, holidays.

use std::time::Duration;

use jiff::civil::{Date, Time};

use super::matcher;
use crate::alarms::{Calendar, Delay};
use crate::model::{Holiday, HolidayDays};
use crate::yaml::{Fields, Item};

/// The longest delay: what takes longer is no bouncing.
const DELAY_MAX: Duration = Duration::from_secs(3600);

/// The most classes and the most holidays.
const LIST_MAX: usize = 500;

/// Reads the section. Without it nothing is delayed, there are three shifts and no holidays.
pub(super) fn read(root: &Fields<'_>) -> (Vec<Delay>, Calendar) {
    let mut calendar = Calendar::default();
    let Some(fields) = root.fields("alarms", &["delays", "shift_ends", "holidays"]) else {
        return (Vec::new(), calendar);
    };
    let items = |key| {
        let items = fields.items(key);
        if let Some(surplus) = items.get(LIST_MAX) {
            let _: Option<()> = surplus.mistake(format!("at most {LIST_MAX} are taken"));
        }
        items
    };
    if let Some(item) = fields.get("shift_ends") {
        calendar.shift_ends = fields.items("shift_ends").iter().filter_map(time).collect();
        if calendar.shift_ends.is_empty() {
            let _: Option<()> = item.mistake_with("at least one time of day", "write them like [06:00, 14:00, 22:00]");
        }
    }
    calendar.holidays = items("holidays").iter().filter_map(holiday).collect();
    (items("delays").iter().filter_map(delay).collect(), calendar)
}

fn delay(item: &Item<'_>) -> Option<Delay> {
    let fields = item.fields(&["matchers", "on", "off"])?;
    let time = |key| {
        let item = fields.get(key)?;
        let time = item.duration()?;
        if time > DELAY_MAX { item.mistake("a delay is at most 1h") } else { Some(time) }
    };
    Some(Delay {
        matchers: fields.items("matchers").iter().flat_map(matcher::read).collect(),
        on: time("on").unwrap_or_default(),
        off: time("off").unwrap_or_default(),
    })
}

fn time(item: &Item<'_>) -> Option<Time> {
    let text = item.string()?;
    let read = || {
        let (hour, minute) = text.split_once(':')?;
        Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
    };
    read().or_else(|| item.mistake_with(format!("not a time of day: {text:?}"), "write it like 06:00"))
}

/// Reads a holiday: a name, and `date`, `from` and `to`, or days after Easter Sunday.
fn holiday(item: &Item<'_>) -> Option<Holiday> {
    let fields = item.fields(&["name", "date", "from", "to", "easter"])?;
    let name = fields.required_string("name")?;
    let days = match (fields.get("date"), fields.get("from").zip(fields.get("to")), fields.get("easter")) {
        (Some(day), None, None) => date(&day)?,
        (None, Some((from, to)), None) => match (date(&from)?, date(&to)?) {
            (HolidayDays::Dates(from), HolidayDays::Dates(to)) if from.start() <= to.end() => {
                HolidayDays::Dates(*from.start()..=*to.end())
            }
            _ => {
                return to.mistake_with("from and to are days with their year, in order", "write them like 2026-12-24");
            }
        },
        (None, None, Some(after)) => {
            let text = after.string()?;
            let days = text.parse::<i16>().ok().filter(|days| days.abs() <= 300);
            HolidayDays::Easter(days.or_else(|| {
                after.mistake_with(format!("not a number of days: {text:?}"), "Good Friday is -2, Whit Monday 50")
            })?)
        }
        _ => {
            return item.mistake_with("one of date, from and to, or easter says when", "write for example date: 12-25");
        }
    };
    Some(Holiday { name, days })
}

/// Reads `12-25`, each year, or `2026-12-24`.
fn date(item: &Item<'_>) -> Option<HolidayDays> {
    let text = item.string()?;
    let yearly = || {
        let (month, day) = text.split_once('-')?;
        let (month, day): (i8, i8) = (month.parse().ok()?, day.parse().ok()?);
        // In a leap year, so that 29 February may be one.
        Date::new(2024, month, day).ok().map(|_| HolidayDays::Yearly(month, day))
    };
    let once = || text.parse::<Date>().ok().map(|day| HolidayDays::Dates(day..=day));
    once().or_else(yearly).or_else(|| {
        item.mistake_with(format!("not a day: {text:?}"), "write it like 2026-12-24, or 12-25 for each year")
    })
}
