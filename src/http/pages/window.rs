//! The stretch of time that a page shows, kept in its address.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::number::local;
use super::visit::Params;
use crate::model::{Timestamp, format_duration, parse_duration};

/// Ranges offered as links.
const CHOICES: [&str; 5] = ["15m", "1h", "6h", "24h", "7d"];
/// The longest range a page shows.
const RANGE_MAX: Duration = Duration::from_secs(90 * 86_400);
/// The shortest.
const RANGE_MIN: Duration = Duration::from_secs(60);

/// A stretch of time, and links to others.
#[derive(Debug, Clone)]
pub(super) struct Window {
    /// Left end.
    pub(super) start: Timestamp,
    /// Right end: now, unless the address says otherwise.
    pub(super) end: Timestamp,
    /// How long it is.
    pub(super) range: Duration,
    /// Whether it ends now and moves on.
    pub(super) is_live: bool,
    /// The range as the address has it: `6h`.
    pub(super) name: String,
    /// Links to the ranges offered.
    pub(super) choices: Vec<Choice>,
    /// Link to half a window before.
    pub(super) earlier: String,
    /// Link to half a window after.
    pub(super) later: String,
    /// Link to the window that ends now.
    pub(super) now: String,
}

/// A range offered as a link.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    /// How it is called: `6h`.
    pub(super) name: String,
    /// Where it leads.
    pub(super) href: String,
    /// Whether it is the one shown.
    pub(super) is_current: bool,
}

impl Window {
    /// Reads `range` and `end` of the address; what cannot be read counts as not given.
    pub(super) fn read(params: &Params, usual: Duration, now: Timestamp) -> Window {
        let range = params.get("range").and_then(|text| parse_duration(text).ok()).unwrap_or(usual);
        let range = range.clamp(RANGE_MIN, RANGE_MAX);
        let asked_end = params.get("end").and_then(|text| Timestamp::parse(text).ok()).filter(|t| *t < now);
        let end = asked_end.unwrap_or(now);
        let half = range / 2;
        let at = |t: Timestamp| (t.as_millis().div_euclid(1000)).to_string();
        let later = end + half;
        let choices = CHOICES.iter().map(|name| Choice {
            name: (*name).to_owned(),
            href: params.with(&[("range", name)]),
            is_current: parse_duration(name).ok() == Some(range),
        });
        let mut choices: Vec<Choice> = choices.collect();
        if !choices.iter().any(|c| c.is_current) {
            let name = format_duration(range);
            choices.push(Choice { href: params.with(&[("range", &name)]), name, is_current: true });
        }
        Window {
            start: end - range,
            end,
            range,
            is_live: asked_end.is_none(),
            name: format_duration(range),
            choices,
            earlier: params.with(&[("end", &at(end - half))]),
            later: if later >= now { params.without("end") } else { params.with(&[("end", &at(later))]) },
            now: params.without("end"),
        }
    }

    /// Returns a window that stays where it is, without links to others.
    pub(super) fn fixed(start: Timestamp, end: Timestamp) -> Window {
        let range = end.since(start).max(RANGE_MIN);
        Window {
            start: end - range,
            end,
            range,
            is_live: false,
            name: format_duration(range),
            choices: Vec::new(),
            earlier: String::new(),
            later: String::new(),
            now: String::new(),
        }
    }

    /// Returns the distance of points that gives about `points` of them, at least a second, in whole seconds.
    pub(super) fn step(&self, points: u64) -> Duration {
        Duration::from_secs(self.range.as_secs().div_ceil(points.max(1)).max(1))
    }

    /// Returns the step and the number of cells of a strip of about so many.
    pub(super) fn cells(&self, about: u64) -> (Duration, usize) {
        let step = self.step(about);
        (step, usize::try_from(self.range.as_secs().div_ceil(step.as_secs())).unwrap_or(1))
    }

    /// Writes the window as a person would: from when to when.
    pub(super) fn words(&self, zone: &TimeZone) -> String {
        let day = "%Y-%m-%d";
        let is_one_day = local(self.start, zone, day) == local(self.end, zone, day);
        let from = local(self.start, zone, if is_one_day { "%H:%M" } else { "%d %b %H:%M" });
        let to = local(self.end, zone, if is_one_day { "%H:%M" } else { "%d %b %H:%M" });
        format!("{from} – {to}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_holds_the_window() {
        let now = Timestamp::from_millis(10_000_000_000);
        let params = Params::of(&[("range", "6h"), ("end", "9990000"), ("q", "a b")]);
        let window = Window::read(&params, Duration::from_secs(3600), now);
        assert_eq!(window.range, Duration::from_secs(6 * 3600));
        assert_eq!((window.end.as_millis(), window.is_live), (9_990_000_000, false));
        assert_eq!(window.earlier, "?end=9979200&q=a+b&range=6h");
        assert_eq!(window.later, "?q=a+b&range=6h");
    }

    #[test]
    fn nonsense_in_the_address_counts_as_nothing() {
        let now = Timestamp::from_millis(10_000_000_000);
        let params = Params::of(&[("range", "yesterday"), ("end", "NaN")]);
        let window = Window::read(&params, Duration::from_secs(3600), now);
        assert_eq!((window.range, window.end, window.is_live), (Duration::from_secs(3600), now, true));
        let window = Window::read(&Params::of(&[("range", "10y")]), Duration::from_secs(3600), now);
        assert_eq!(window.range, RANGE_MAX);
        assert_eq!(window.step(300), Duration::from_secs(25_920));
        let window = Window::read(&Params::of(&[("range", "15m")]), Duration::from_secs(3600), now);
        assert_eq!(window.cells(240), (Duration::from_secs(4), 225));
    }
}
