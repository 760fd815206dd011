//! Silences: what nobody is told of for a while, since when, until when, who wants it and why.

use std::collections::BTreeMap;
use std::time::Duration;

use askama::Template;
use axum::extract::{Form, Path, State};
use axum::response::{IntoResponse, Redirect, Response};

use super::alarms::Row;
use super::layout::Frame;
use super::number::{ago, clock, span};
use super::visit::{Visit, encode};
use super::{message, page};
use crate::alarms::{Error, NewSilence};
use crate::http::AppState;
use crate::http::api::refusal_status;
use crate::model::{AlarmState, Matcher, Silence, SilenceState, Timestamp, parse_duration, parse_matchers};

/// How often the page is fetched again, in seconds.
const REFRESH_S: u32 = 15;

/// Silences that are over and shown, at most.
const EXPIRED_MAX: usize = 50;

/// Lengths to choose from, as they are sent and in words.
const LENGTHS: [(&str, &str); 7] = [
    ("30m", "30 minutes"),
    ("1h", "1 hour"),
    ("2h", "2 hours"),
    ("8h", "8 hours, a shift"),
    ("1d", "1 day"),
    ("3d", "3 days"),
    ("1w", "1 week"),
];

/// A silence as a row.
#[derive(Debug)]
struct SilenceRow {
    id: String,
    matchers: Vec<String>,
    /// When it holds, in words.
    when: String,
    by: String,
    comment: String,
    /// How many alarms it hides now.
    hides: usize,
    is_over: bool,
    /// The page with the same filled in.
    again: String,
}

#[derive(Debug, Template)]
#[template(path = "pages/silences.html")]
struct Silences {
    frame: Frame,
    rows: Vec<SilenceRow>,
    over: Vec<SilenceRow>,
    lengths: &'static [(&'static str, &'static str)],
    /// What the form holds.
    filter: String,
    /// What is wrong with it; empty if nothing is.
    mistake: String,
    /// Active alarms that the form would hide; `None` while it is empty.
    preview: Option<Vec<Row>>,
}

/// Answers `GET /silences`; `filter` fills the form in and shows what it would hide.
pub(super) async fn silences(State(state): State<AppState>, visit: Visit) -> Response {
    let filter = visit.params.get("filter").unwrap_or("").to_owned();
    let refresh = if filter.is_empty() { REFRESH_S } else { 0 };
    let frame = Frame::new(&state, &visit, "/alarms", "Silences", refresh);
    let (mistake, preview) = match parse_matchers(&filter) {
        _ if filter.trim().is_empty() => (String::new(), None),
        Ok(matchers) => (String::new(), Some(preview(&state, &matchers, visit.now))),
        Err(why) => (why.to_string(), None),
    };
    let all = state.alarms.silences();
    let (mut over, mut rows): (Vec<&Silence>, Vec<&Silence>) =
        all.iter().partition(|s| s.state(visit.now) == SilenceState::Expired);
    rows.sort_by_key(|s| (s.state(visit.now), s.ends_at));
    over.sort_by_key(|s| std::cmp::Reverse(s.ends_at));
    over.truncate(EXPIRED_MAX);
    let row = |s: &Silence| row(s, &state, visit.now);
    page(&Silences {
        rows: rows.into_iter().map(row).collect(),
        over: over.into_iter().map(row).collect(),
        lengths: &LENGTHS,
        filter,
        mistake,
        preview,
        frame,
    })
}

fn row(silence: &Silence, state: &AppState, now: Timestamp) -> SilenceRow {
    let zone = &state.info.time_zone;
    let at = |time| clock(time, now, zone);
    let lasts = span(silence.ends_at.since(now));
    let board = state.alarms.snapshot();
    SilenceRow {
        id: silence.id.clone(),
        matchers: silence.matchers.iter().map(Matcher::to_string).collect(),
        when: match silence.state(now) {
            SilenceState::Active => format!("until {}, {lasts} more", at(silence.ends_at)),
            SilenceState::Pending => format!("from {} until {}", at(silence.starts_at), at(silence.ends_at)),
            SilenceState::Expired => format!("ended {}", ago(silence.ends_at, now)),
        },
        by: silence.created_by.clone(),
        comment: silence.comment.clone(),
        hides: board.active().filter(|a| silence.mutes(&a.labels, now)).count(),
        is_over: silence.state(now) == SilenceState::Expired,
        again: format!("/silences?filter={}#new", encode(&as_text(&silence.matchers))),
    }
}

fn as_text(matchers: &[Matcher]) -> String {
    matchers.iter().map(Matcher::to_string).collect::<Vec<_>>().join(", ")
}

fn preview(state: &AppState, matchers: &[Matcher], now: Timestamp) -> Vec<Row> {
    let board = state.alarms.snapshot();
    let is_hit = |a: &&crate::model::Alarm| {
        a.state == AlarmState::Active && matchers.iter().all(|m| m.matches_labels(&a.labels))
    };
    board.alarms.iter().filter(is_hit).map(|a| Row::of(a, state, now)).collect()
}

/// Answers `POST /silences`.
pub(super) async fn silence(
    State(state): State<AppState>,
    visit: Visit,
    Form(fields): Form<BTreeMap<String, String>>,
) -> Response {
    let text = |name| fields.get(name).map_or("", |t: &String| t.trim());
    let new = parse_matchers(text("filter")).map_err(|e| e.to_string()).and_then(|matchers| {
        let lasts = parse_duration(text("lasts")).map_err(|e| e.to_string())?;
        Ok(NewSilence {
            id: None,
            matchers,
            starts_at: visit.now,
            ends_at: visit.now + lasts.min(Duration::from_secs(365 * 86_400)),
            created_by: text("by").to_owned(),
            comment: text("comment").to_owned(),
        })
    });
    let result = match new {
        Ok(new) => state.alarms.silence(new).await,
        Err(why) => Err(Error::Silence(why)),
    };
    answer(&state, &visit, result)
}

/// Answers `POST /silences/{id}/expire`.
pub(super) async fn expire(State(state): State<AppState>, visit: Visit, Path(id): Path<String>) -> Response {
    let result = state.alarms.expire_silence(&id).await;
    answer(&state, &visit, result)
}

/// Goes back to the page, or says what was wrong.
fn answer(state: &AppState, visit: &Visit, result: Result<Silence, Error>) -> Response {
    let error = match result {
        Ok(_) => return Redirect::to("/silences").into_response(),
        Err(error) => error,
    };
    let frame = Frame::new(state, visit, "/alarms", "Silences", 0);
    message(frame, refusal_status(&error), &format!("Nothing was changed: {error}."))
}
