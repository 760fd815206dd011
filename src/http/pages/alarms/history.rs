//! What happened to alarms in the last 90 days: search, pages, CSV.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use crate::alarms::{Event, HistoryQuery, Transition};
use crate::http::AppState;
use crate::http::pages::layout::Frame;
use crate::http::pages::number::{brief, local};
use crate::http::pages::visit::{Visit, encode};
use crate::http::pages::{failed, page};
use crate::model::{Timestamp, parse_matchers};

use super::row::Row;

/// Lines on a page.
const LINES: usize = 100;

/// One line.
#[derive(Debug)]
pub(super) struct Past {
    pub(super) clock: String,
    pub(super) event: &'static str,
    pub(super) fingerprint: String,
    pub(super) priority: u8,
    pub(super) name: String,
    pub(super) place: String,
    pub(super) text: String,
    pub(super) value: String,
    pub(super) version: String,
}

impl Past {
    pub(super) fn of(transition: &Transition, state: &AppState, now: Timestamp) -> Past {
        let zone = &state.info.time_zone;
        let row = Row::of(&transition.alarm, state, now);
        let until = transition.until.map_or_else(String::new, |t| format!(" until {}", local(t, zone, "%d %b %H:%M")));
        let by = if transition.by.is_empty() { String::new() } else { format!("by {}", transition.by) };
        let said = [by.as_str(), until.trim_start(), transition.note.as_str()];
        let said: Vec<&str> = said.into_iter().filter(|t| !t.is_empty()).collect();
        Past {
            clock: local(transition.at, zone, "%Y-%m-%d %H:%M:%S"),
            event: transition.event.as_str(),
            fingerprint: row.fingerprint,
            priority: row.priority,
            name: row.name,
            place: row.place,
            text: if said.is_empty() { row.text } else { said.join(" · ") },
            value: if transition.alarm.value.is_nan() { String::new() } else { brief(transition.alarm.value) },
            version: match transition.alarm.rule_version {
                0 => String::new(),
                version => format!("{version:08x}"),
            },
        }
    }
}

#[derive(Debug, Template)]
#[template(path = "pages/history.html")]
struct History {
    frame: Frame,
    lines: Vec<Past>,
    find: String,
    with: String,
    event: String,
    events: Vec<&'static str>,
    /// What is wrong with the matchers; empty if nothing is.
    mistake: String,
    older: String,
    newest: String,
    csv: String,
}

/// Answers `GET /alarms/history`: `find`, `with` (matchers), `event`, `end`.
pub(super) async fn history(State(state): State<AppState>, visit: Visit) -> Response {
    let frame = Frame::new(&state, &visit, "/alarms", "Alarm history", 0);
    let text = |name| visit.params.get(name).unwrap_or("").to_owned();
    let (find, with, event) = (text("find"), text("with"), text("event"));
    let (matchers, mistake) = match parse_matchers(&with) {
        _ if with.trim().is_empty() => (Vec::new(), String::new()),
        Ok(matchers) => (matchers, String::new()),
        Err(why) => (Vec::new(), why.to_string()),
    };
    let end = visit.params.get("end").and_then(|text| Timestamp::parse(text).ok());
    let query = HistoryQuery {
        end,
        matchers,
        event: Event::ALL.into_iter().find(|e| e.as_str() == event),
        text: find.clone(),
        limit: LINES,
        ..HistoryQuery::default()
    };
    let Ok(found) = state.alarms.history(&query).await else { return failed(frame) };
    let oldest = found.last().filter(|_| found.len() == LINES).map(|t| t.at.as_seconds().to_string());
    let matching = if with.is_empty() { String::new() } else { format!("&match[]={}", encode(&format!("{{{with}}}"))) };
    page(&History {
        lines: found.iter().map(|t| Past::of(t, &state, visit.now)).collect(),
        older: oldest.map_or_else(String::new, |at| visit.params.with(&[("end", &at)])),
        newest: if end.is_some() { visit.params.without("end") } else { String::new() },
        csv: format!("/api/v1/alarms/history.csv?text={}&event={}{matching}", encode(&find), encode(&event)),
        events: Event::ALL.into_iter().map(Event::as_str).collect(),
        find,
        with,
        event,
        mistake,
        frame,
    })
}
