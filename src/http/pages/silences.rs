//! Silences: what nobody is told of for a while, since when, until when, who wants it and why.

use std::collections::BTreeMap;
use std::time::Duration;

use askama::Template;
use axum::extract::{Form, Path, State};
use axum::response::{IntoResponse, Redirect, Response};

use super::alarms::Row;
use super::ask::{Asker, ask};
use super::layout::Frame;
use super::number::{ago, clock, local, span};
use super::visit::{Visit, encode};
use super::{failed, message, page};
use crate::alarms::{Error, NewSilence, When, Window};
use crate::http::AppState;
use crate::http::api::{note_silence, refusal_status};
use crate::model::{AlarmState, Matcher, Silence, SilenceState, Timestamp, parse_matchers};

/// How often the page is fetched again, in seconds.
const REFRESH_S: u32 = 15;

/// Silences that are over and shown, at most.
const EXPIRED_MAX: usize = 50;

/// Lines and areas to choose from, at most, and how long ago they were there at most.
const PLACES_MAX: usize = 40;
const THERE: Duration = Duration::from_secs(86_400);

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
    /// Maintenance that comes again.
    windows: Vec<WindowRow>,
    /// Lines and areas to choose from: name, and the page with it filled in.
    places: Vec<(String, String)>,
    /// The plain words in the form, and what they mean.
    when: String,
    meant: String,
    /// When shifts end and which holidays there are.
    calendar: String,
}

/// Maintenance that comes again, as a row.
#[derive(Debug)]
struct WindowRow {
    id: String,
    matchers: String,
    words: String,
    next: String,
    by: String,
    comment: String,
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
    let when = visit.params.get("when").unwrap_or("").to_owned();
    let Ok(places) = ask(&state, visit.now, places).await else { return failed(frame) };
    page(&Silences {
        windows: windows(&state, visit.now),
        places,
        meant: meant(&when, &state, visit.now),
        calendar: calendar(&state),
        when,
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
    let external = state.settings.borrow().external_labels.clone();
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
        hides: board.active().filter(|a| silence.mutes(&a.labels_for_others(&external), now)).count(),
        is_over: silence.state(now) == SilenceState::Expired,
        again: format!("/silences?filter={}#new", encode(&as_text(&silence.matchers))),
    }
}

fn windows(state: &AppState, now: Timestamp) -> Vec<WindowRow> {
    let zone = &state.info.time_zone;
    let list = state.alarms.windows();
    let row = |window: &Window| WindowRow {
        id: window.id.clone(),
        matchers: window.matchers.clone(),
        words: window.words.clone(),
        next: state.alarms.next_of(window).map_or_else(
            || "never again".to_owned(),
            |s| format!("{} – {}", clock(s.starts_at, now, zone), clock(s.ends_at, now, zone)),
        ),
        by: window.created_by.clone(),
        comment: window.comment.clone(),
    };
    list.iter().map(row).collect()
}

/// Says what plain words mean.
fn meant(words: &str, state: &AppState, now: Timestamp) -> String {
    let zone = &state.info.time_zone;
    let told =
        |from, until| format!("{} until {}", local(from, zone, "%a %d %b %H:%M"), local(until, zone, "%a %d %b %H:%M"));
    match state.alarms.when(words, now) {
        _ if words.trim().is_empty() => String::new(),
        Ok(When::Once { from, until }) => told(from, until),
        Ok(When::Every(weekly)) => weekly.next(now, zone).map_or_else(
            || "there is no such time within a year".to_owned(),
            |(from, until)| format!("next {}, and so on", told(from, until)),
        ),
        Err(why) => why,
    }
}

/// Says what plain words may refer to.
fn calendar(state: &AppState) -> String {
    let calendar = state.alarms.calendar();
    let ends: Vec<String> = calendar.shift_ends.iter().map(|end| end.strftime("%H:%M").to_string()).collect();
    let names: Vec<&str> = calendar.holidays.iter().map(|h| h.name.as_str()).collect();
    let holidays = match names.as_slice() {
        [] => "No holidays are set.".to_owned(),
        names => format!("Holidays: {}.", names.join(", ")),
    };
    format!("Shifts end at {}. {holidays}", ends.join(", "))
}

/// Returns lines, areas and gateways that there are.
fn places(asker: &Asker) -> Vec<(String, String)> {
    let querier = asker.state.db.querier();
    let mut found = Vec::new();
    for label in ["line_id", "line", "area", "site"] {
        let values = querier.label_values(label, &[], asker.now - THERE, asker.now).unwrap_or_default();
        let of_label = values.into_iter().filter(|v| !v.is_empty()).take(PLACES_MAX).map(|value| {
            let matcher = Matcher::equal(label, &value).to_string();
            (format!("{label} {value}"), format!("/silences?filter={}#new", encode(&matcher)))
        });
        found.extend(of_label);
    }
    found.truncate(PLACES_MAX);
    found
}

fn as_text(matchers: &[Matcher]) -> String {
    matchers.iter().map(Matcher::to_string).collect::<Vec<_>>().join(", ")
}

fn preview(state: &AppState, matchers: &[Matcher], now: Timestamp) -> Vec<Row> {
    let board = state.alarms.snapshot();
    let external = state.settings.borrow().external_labels.clone();
    let is_hit = |a: &&crate::model::Alarm| {
        let labels = a.labels_for_others(&external);
        a.state == AlarmState::Active && matchers.iter().all(|m| m.matches_labels(&labels))
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
    let words = if text("when").is_empty() { text("lasts") } else { text("when") };
    let result = match (parse_matchers(text("filter")), state.alarms.when(words, visit.now)) {
        (Err(why), _) => Err(Error::Silence(why.to_string())),
        (_, Err(why)) => Err(Error::Silence(why)),
        (Ok(matchers), Ok(When::Once { from, until })) => {
            let new = NewSilence {
                id: None,
                matchers,
                starts_at: from,
                ends_at: until,
                created_by: text("by").to_owned(),
                comment: text("comment").to_owned(),
            };
            noted(&state, "silence.set", state.alarms.silence(new).await).await
        }
        (Ok(_), Ok(When::Every(_))) => {
            let window = Window {
                id: String::new(),
                matchers: text("filter").to_owned(),
                words: words.to_owned(),
                created_by: text("by").to_owned(),
                comment: text("comment").to_owned(),
            };
            state.alarms.plan(window).await.map(|_| ())
        }
    };
    answer(&state, &visit, result)
}

/// Answers `POST /silences/windows/{id}/forget`.
pub(super) async fn forget(State(state): State<AppState>, visit: Visit, Path(id): Path<String>) -> Response {
    let result = state.alarms.forget_window(&id).await;
    answer(&state, &visit, result)
}

/// Answers `POST /silences/{id}/expire`.
pub(super) async fn expire(State(state): State<AppState>, visit: Visit, Path(id): Path<String>) -> Response {
    let result = noted(&state, "silence.expire", state.alarms.expire_silence(&id).await).await;
    answer(&state, &visit, result)
}

/// Notes in the audit log what was done to a silence.
async fn noted(state: &AppState, action: &str, result: Result<Silence, Error>) -> Result<(), Error> {
    note_silence(state, action, &result?).await;
    Ok(())
}

/// Goes back to the page, or says what was wrong.
fn answer(state: &AppState, visit: &Visit, result: Result<(), Error>) -> Response {
    let error = match result {
        Ok(()) => return Redirect::to("/silences").into_response(),
        Err(error) => error,
    };
    let frame = Frame::new(state, visit, "/alarms", "Silences", 0);
    message(frame, refusal_status(&error), &format!("Nothing was changed: {error}."))
}
