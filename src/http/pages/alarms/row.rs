//! One alarm, written as people read it.

use std::cmp::Reverse;

use crate::http::AppState;
use crate::http::pages::number::{ago, brief, clock, span};
use crate::http::pages::visit::encode;
use crate::model::{Alarm, AlarmState, Matcher, Silence, Timestamp};
use crate::rules::threshold;

/// One alarm as a row.
#[derive(Debug, Clone)]
pub(in crate::http::pages) struct Row {
    /// Names it in links.
    pub(in crate::http::pages) fingerprint: String,
    /// 1 is the highest.
    pub(in crate::http::pages) priority: u8,
    /// The rule's name.
    pub(in crate::http::pages) name: String,
    /// What is the matter.
    pub(in crate::http::pages) text: String,
    /// What is meant by it: device, line or machine.
    pub(in crate::http::pages) place: String,
    /// Page of that device; empty if it is not one.
    pub(in crate::http::pages) place_href: String,
    /// The area that it lies in: site, area or line; empty if that is the place, or not known.
    pub(in crate::http::pages) area: String,
    /// The value when last seen.
    pub(in crate::http::pages) value: String,
    /// What it is compared with, for example `> 80`; empty if it is not a number.
    pub(in crate::http::pages) limit: String,
    /// What to do; may be empty.
    pub(in crate::http::pages) action: String,
    /// Where that is told at length; may be empty. Only `http`, `https` or a page of ours.
    pub(in crate::http::pages) runbook: String,
    /// When it was raised.
    pub(in crate::http::pages) raised: String,
    /// How long ago.
    pub(in crate::http::pages) age: String,
    /// Whether the cause is still there.
    pub(in crate::http::pages) is_active: bool,
    /// State in words.
    pub(in crate::http::pages) state: String,
    /// Who took note, when, and what they wrote; empty if nobody did.
    pub(in crate::http::pages) acknowledged: String,
    /// The expression, on the page for questions; empty for an alarm of another program that does not say it.
    pub(in crate::http::pages) explore: String,
    /// Why nobody is told, in words; empty if somebody is.
    pub(in crate::http::pages) untold: String,
    /// Whether somebody put it aside.
    pub(in crate::http::pages) is_shelved: bool,
    /// Whether it is the first of a flood that goes on.
    pub(in crate::http::pages) is_first_out: bool,
    /// How many others are not told because of it.
    pub(in crate::http::pages) carries: usize,
    /// Whether it stands for more than a day.
    pub(in crate::http::pages) is_stale: bool,
    /// The silences page with this alarm filled in.
    pub(in crate::http::pages) silence: String,
}

impl Row {
    /// Returns the board: by priority, unacknowledged before acknowledged, then newest first.
    pub(in crate::http::pages) fn all(state: &AppState, now: Timestamp) -> Vec<Row> {
        Row::some(state, now, usize::MAX, |_| true)
    }

    /// Returns the first of those on the board that are wanted, in the order of [`Row::all`].
    pub(in crate::http::pages) fn some(
        state: &AppState,
        now: Timestamp,
        most: usize,
        wanted: impl Fn(&Alarm) -> bool,
    ) -> Vec<Row> {
        let snapshot = state.alarms.snapshot();
        let mut alarms: Vec<&Alarm> = snapshot.alarms.iter().filter(|a| wanted(a)).collect();
        let silences = state.alarms.silences();
        let inhibited = &state.notifier.snapshot().inhibited;
        // What is shelved or carried by another comes after what needs somebody.
        let is_aside = |a: &Alarm| {
            inhibited.contains_key(&a.fingerprint)
                || silences.iter().any(|s| s.mutes(&a.labels, now) && s.is_shelving(&a.labels))
        };
        alarms.sort_by_cached_key(|a| {
            let is_gone = a.state == AlarmState::Cleared;
            (is_gone, is_aside(a), a.priority(), a.acknowledgement.is_some(), Reverse(a.raised_at))
        });
        alarms.into_iter().take(most).map(|a| Row::of(a, state, now)).collect()
    }

    /// Returns one alarm as a row.
    pub(in crate::http::pages) fn of(alarm: &Alarm, state: &AppState, now: Timestamp) -> Row {
        let zone = &state.info.time_zone;
        let note = |name| alarm.annotations.get(name).unwrap_or("");
        let label = |name| alarm.labels.get(name).filter(|v| !v.is_empty());
        let device = label("device_id");
        let line = label("line_id").or_else(|| label("line"));
        let place = device.or(line).or_else(|| label("instance")).or_else(|| label("job"));
        let area = label("area").or_else(|| label("site")).or(line).filter(|area| Some(*area) != place);
        let shelving = silence_of(alarm, state, now).filter(|s| s.is_shelving(&alarm.labels));
        let is_active = alarm.state == AlarmState::Active;
        let flood = state.alarms.snapshot().flood;
        let notices = state.notifier.snapshot();
        let texts = [note("summary"), note("description"), note("message")];
        let runbook = note("runbook_url");
        let is_link = ["https://", "http://", "/"].iter().any(|start| runbook.starts_with(start));
        Row {
            fingerprint: format!("{:016x}", alarm.fingerprint),
            priority: alarm.priority(),
            name: alarm.name().to_owned(),
            text: texts.into_iter().find(|t| !t.is_empty()).unwrap_or("").to_owned(),
            place: place.unwrap_or("").to_owned(),
            place_href: device.map_or_else(String::new, |d| format!("/devices/{}", encode(d))),
            area: area.unwrap_or("").to_owned(),
            value: if alarm.value.is_nan() { String::new() } else { brief(alarm.value) },
            limit: threshold(&alarm.expression)
                .map_or_else(String::new, |t| format!("{} {}", t.comparison, brief(t.limit))),
            action: note("action").to_owned(),
            runbook: if is_link { runbook.to_owned() } else { String::new() },
            raised: clock(alarm.raised_at, now, zone),
            age: span(now.since(alarm.raised_at)),
            is_active,
            state: state_of(alarm, shelving.as_ref(), state, now),
            is_shelved: shelving.is_some(),
            is_first_out: flood.is_some_and(|flood| flood.first_out == alarm.fingerprint),
            carries: match is_active {
                true => notices.inhibited.values().filter(|by| **by == alarm.fingerprint).count(),
                false => 0,
            },
            is_stale: is_active && now.since(alarm.raised_at) > crate::alarms::STALE_AFTER,
            acknowledged: alarm.acknowledgement.as_ref().map_or_else(String::new, |a| {
                let note = if a.note.is_empty() { String::new() } else { format!(": {}", a.note) };
                format!("{} {}{note}", a.by, ago(a.at, now))
            }),
            explore: match alarm.expression.as_str() {
                "" => String::new(),
                expression => format!("/explore?q={}", encode(expression)),
            },
            untold: untold(alarm, state, now),
            silence: format!("/silences?filter={}#new", encode(&matchers_of(alarm))),
        }
    }

    /// Returns the place, unless the text names it already.
    pub(in crate::http::pages) fn place_apart(&self) -> &str {
        if self.text.contains(&self.place) { "" } else { &self.place }
    }

    /// Tells whether somebody still has to take note of what is there.
    pub(in crate::http::pages) fn is_new(&self) -> bool {
        self.is_active && self.acknowledged.is_empty() && !self.is_shelved
    }

    /// Tells whether taking note of it is offered.
    pub(in crate::http::pages) fn can_acknowledge(&self) -> bool {
        self.acknowledged.is_empty() && (self.is_active || self.priority <= 2)
    }
}

/// Says how far an alarm has come, in the words of ISA-18.2.
fn state_of(alarm: &Alarm, shelving: Option<&Silence>, state: &AppState, now: Timestamp) -> String {
    let at = |time| clock(time, now, &state.info.time_zone);
    match (alarm.state, &alarm.acknowledgement, shelving) {
        (AlarmState::Active, _, Some(shelving)) => format!("shelved until {}", at(shelving.ends_at)),
        (AlarmState::Active, Some(_), None) => "acknowledged".to_owned(),
        (AlarmState::Active, None, None) => "active".to_owned(),
        (AlarmState::Cleared, note, _) => {
            let unnoted = if note.is_none() && alarm.priority() <= 2 { ", not acknowledged" } else { "" };
            alarm.cleared_at.map_or_else(|| "cleared".to_owned(), |at| format!("cleared {}{unnoted}", ago(at, now)))
        }
    }
}

/// Returns the silence that an alarm is under: the one for it alone, else the one that ends last.
pub(super) fn silence_of(alarm: &Alarm, state: &AppState, now: Timestamp) -> Option<Silence> {
    let silences = state.alarms.silences();
    let labels = alarm.labels_for_others(&state.settings.borrow().external_labels);
    let holding = silences.iter().filter(|s| s.mutes(&labels, now));
    holding.max_by_key(|s| (s.is_shelving(&alarm.labels), s.ends_at)).cloned()
}

/// Says why nobody is told of an alarm; empty if somebody is.
pub(super) fn untold(alarm: &Alarm, state: &AppState, now: Timestamp) -> String {
    if alarm.state == AlarmState::Cleared {
        return String::new();
    }
    if let Some(silence) = silence_of(alarm, state, now) {
        let until = clock(silence.ends_at, now, &state.info.time_zone);
        let word = if silence.is_shelving(&alarm.labels) { "shelved" } else { "silenced" };
        return format!("{word} by {} until {until}", silence.created_by);
    }
    let notices = state.notifier.snapshot();
    let by = notices.inhibited.get(&alarm.fingerprint);
    let board = state.alarms.snapshot();
    let source = by.and_then(|by| board.alarms.iter().find(|a| a.fingerprint == *by));
    source.map_or_else(String::new, |source| format!("not told while {} is there", source.name()))
}

/// Writes the matchers that mean just this alarm.
fn matchers_of(alarm: &Alarm) -> String {
    let matchers: Vec<String> = alarm.labels.iter().map(|(n, v)| Matcher::equal(n, v).to_string()).collect();
    matchers.join(", ")
}
