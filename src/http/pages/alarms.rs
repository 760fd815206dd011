//! Alarms: what is there, who takes care of it, what was.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};

use super::layout::Frame;
use super::number::{ago, brief, clock, span};
use super::visit::{Visit, encode};
use super::{message, page};
use crate::alarms::{Error, HistoryQuery};
use crate::http::AppState;
use crate::model::{Alarm, AlarmState, Matcher, Timestamp};

/// How often the page is fetched again, in seconds.
const REFRESH_S: u32 = 5;
/// Lines of history on the page.
const HISTORY_MAX: usize = 100;

/// One alarm as a row.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// Names it in links.
    pub(super) fingerprint: String,
    /// 1 is the highest.
    pub(super) priority: u8,
    /// The rule's name.
    pub(super) name: String,
    /// What is the matter.
    pub(super) text: String,
    /// What is meant by it: device, line or machine.
    pub(super) place: String,
    /// Page of that device; empty if it is not one.
    pub(super) place_href: String,
    /// The value when last seen.
    pub(super) value: String,
    /// What to do; may be empty.
    pub(super) action: String,
    /// Where that is told at length; may be empty. Only `http`, `https` or a page of ours.
    pub(super) runbook: String,
    /// When it was raised.
    pub(super) raised: String,
    /// How long ago.
    pub(super) age: String,
    /// Whether the cause is still there.
    pub(super) is_active: bool,
    /// State in words.
    pub(super) state: String,
    /// Who took note, when, and what they wrote; empty if nobody did.
    pub(super) acknowledged: String,
    /// The expression, on the page for questions; empty for an alarm of another program that does not say it.
    pub(super) explore: String,
    /// Why nobody is told, in words; empty if somebody is.
    pub(super) untold: String,
    /// The silences page with this alarm filled in.
    pub(super) silence: String,
}

impl Row {
    /// Returns the board: by priority, unacknowledged before acknowledged, then newest first.
    pub(super) fn all(state: &AppState, now: Timestamp) -> Vec<Row> {
        let snapshot = state.alarms.snapshot();
        let mut alarms: Vec<&Alarm> = snapshot.alarms.iter().collect();
        alarms.sort_by_key(|a| {
            (a.state == AlarmState::Cleared, a.priority(), a.acknowledgement.is_some(), std::cmp::Reverse(a.raised_at))
        });
        alarms.into_iter().map(|a| Row::of(a, state, now)).collect()
    }

    /// Returns one alarm as a row.
    pub(super) fn of(alarm: &Alarm, state: &AppState, now: Timestamp) -> Row {
        let zone = &state.info.time_zone;
        let note = |name| alarm.annotations.get(name).unwrap_or("");
        let label = |name| alarm.labels.get(name).filter(|v| !v.is_empty());
        let device = label("device_id");
        let place = device.or_else(|| label("line_id")).or_else(|| label("instance")).or_else(|| label("job"));
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
            value: if alarm.value.is_nan() { String::new() } else { brief(alarm.value) },
            action: note("action").to_owned(),
            runbook: if is_link { runbook.to_owned() } else { String::new() },
            raised: clock(alarm.raised_at, now, zone),
            age: span(now.since(alarm.raised_at)),
            is_active: alarm.state == AlarmState::Active,
            state: match (alarm.state, alarm.cleared_at) {
                (AlarmState::Active, _) => "active".to_owned(),
                (AlarmState::Cleared, Some(at)) => format!("cleared {}", ago(at, now)),
                (AlarmState::Cleared, None) => "cleared".to_owned(),
            },
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
    pub(super) fn place_apart(&self) -> &str {
        if self.text.contains(&self.place) { "" } else { &self.place }
    }

    /// Tells whether somebody still has to take note.
    pub(super) fn is_new(&self) -> bool {
        self.is_active && self.acknowledged.is_empty()
    }
}

/// Says why nobody is told of an alarm; empty if somebody is.
fn untold(alarm: &Alarm, state: &AppState, now: Timestamp) -> String {
    if alarm.state == AlarmState::Cleared {
        return String::new();
    }
    let silences = state.alarms.silences();
    let holding = silences.iter().filter(|s| s.mutes(&alarm.labels, now));
    if let Some(silence) = holding.max_by_key(|s| s.ends_at) {
        let until = clock(silence.ends_at, now, &state.info.time_zone);
        return format!("silenced by {} until {until}", silence.created_by);
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

/// One line of the history.
#[derive(Debug)]
struct Past {
    clock: String,
    event: &'static str,
    priority: u8,
    name: String,
    place: String,
    text: String,
}

#[derive(Debug, Template)]
#[template(path = "pages/alarms.html")]
struct Alarms {
    frame: Frame,
    rows: Vec<Row>,
    history: Vec<Past>,
    history_since: String,
    rules: usize,
    receivers: Vec<String>,
    /// Silences that hold or will.
    silences: usize,
}

/// Answers `GET /alarms`.
pub(super) async fn alarms(State(state): State<AppState>, visit: Visit) -> Response {
    let frame = Frame::new(&state, &visit, "/alarms", "Alarms", REFRESH_S);
    let zone = &state.info.time_zone;
    let query = HistoryQuery { limit: HISTORY_MAX, ..HistoryQuery::default() };
    let history = state.alarms.history(&query).into_iter().map(|t| {
        let row = Row::of(&t.alarm, &state, visit.now);
        Past {
            clock: clock(t.at, visit.now, zone),
            event: t.event.as_str(),
            priority: row.priority,
            name: row.name,
            place: row.place,
            text: match (&t.alarm.acknowledgement, t.event) {
                (Some(a), crate::alarms::Event::Acknowledged) => format!("by {} {}", a.by, a.note),
                _ => row.text,
            },
        }
    });
    let since = state.alarms.snapshot().history_since;
    let notices = state.notifier.snapshot();
    let receivers = notices.receivers.iter().map(|r| match (&r.last_error, r.last_sent_at) {
        _ if r.integrations == 0 => format!("{}: nobody is told, it has no way to send", r.name),
        (Some(error), _) => format!("{}: the last attempt failed: {error}", r.name),
        (None, Some(at)) => format!("{}: {} notices sent, the last {}", r.name, r.sent, ago(at, visit.now)),
        (None, None) => format!("{}: nothing sent yet", r.name),
    });
    page(&Alarms {
        rows: Row::all(&state, visit.now),
        history: history.collect(),
        history_since: since.map_or_else(String::new, |t| clock(t, visit.now, zone)),
        rules: state.rules.snapshot().groups.iter().map(|g| g.rules.len()).sum(),
        receivers: receivers.collect(),
        silences: state.alarms.silences().iter().filter(|s| s.ends_at > visit.now).count(),
        frame,
    })
}

/// Answers `POST /alarms/{fingerprint}/acknowledge`.
pub(super) async fn acknowledge(
    State(state): State<AppState>,
    visit: Visit,
    Path(fingerprint): Path<String>,
    Form(fields): Form<BTreeMap<String, String>>,
) -> Response {
    let frame = Frame::new(&state, &visit, "/alarms", "Alarms", 0);
    let Ok(fingerprint) = u64::from_str_radix(&fingerprint, 16) else {
        return message(frame, StatusCode::NOT_FOUND, "There is no such alarm.");
    };
    let text = |name| fields.get(name).map_or("", |t: &String| t.trim());
    match state.alarms.acknowledge(fingerprint, text("by"), text("note")).await {
        Ok(_) => Redirect::to("/alarms").into_response(),
        Err(Error::NotFound(_)) => message(
            frame,
            StatusCode::NOT_FOUND,
            "This alarm is not on the board any more: it was cleared some time ago.",
        ),
        Err(error @ Error::Text { .. }) => {
            message(frame, StatusCode::BAD_REQUEST, &format!("Not acknowledged: {error}."))
        }
        Err(error) => message(frame, StatusCode::SERVICE_UNAVAILABLE, &format!("Not acknowledged: {error}.")),
    }
}
