//! Alarms: what is there, who takes care of it, what was.

mod detail;
mod follow;
mod health;
mod history;
mod link;
mod row;

use std::collections::BTreeMap;
use std::time::Duration;

use askama::Template;
use axum::Router;
use axum::extract::{Form, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};

use super::layout::Frame;
use super::notifications::in_brief;
use super::number::ago;
use super::visit::Visit;
use super::{message, page};
use crate::alarms::Error;
use crate::http::AppState;
use crate::model::{Alarm, AlarmState, Timestamp, parse_duration};

pub(in crate::http) use follow::Followers;
pub(super) use row::Row;

/// How often the page is fetched again, in seconds; what happens is told at once.
const REFRESH_S: u32 = 10;
/// Rows on the page.
const ROWS_MAX: usize = 200;
/// Rows on the wall.
const WALL_ROWS: usize = 12;
/// The longest shelving: a week.
const SHELVED_MAX: Duration = Duration::from_secs(7 * 86_400);

/// Where the alarms' pages are told of changes.
const EVENTS: &str = "/alarms/events";

/// Returns the paths of these pages.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/alarms", get(alarms))
        .route("/alarms/wall", get(wall))
        .route("/alarms/events", get(follow::events))
        .route("/alarms/history", get(history::history))
        .route("/alarms/health", get(health::health))
        .route("/a/{code}", get(link::show).post(link::acknowledge))
        .route("/alarms/acknowledge", post(acknowledge_many))
        .route("/alarms/{fingerprint}", get(detail::detail))
        .route("/alarms/{fingerprint}/acknowledge", post(acknowledge))
        .route("/alarms/{fingerprint}/shelve", post(shelve))
        .route("/alarms/{fingerprint}/unshelve", post(unshelve))
}

#[derive(Debug, Template)]
#[template(path = "pages/alarms.html")]
struct Alarms {
    frame: Frame,
    rows: Vec<Row>,
    /// Alarms that are wanted and have no row.
    more: usize,
    /// Whether there are alarms at all.
    has_alarms: bool,
    /// Alarms that wait for somebody, of those shown, as the form sends them.
    waiting: String,
    waiting_count: usize,
    filters: Vec<Filter>,
    /// Words that are searched for.
    find: String,
    rules: usize,
    /// Who is told: a name, whether all is well, and words.
    told: Vec<(String, bool, String)>,
    /// Silences that hold or will.
    silences: usize,
    /// Says that more alarms come than a person can take in; empty if not.
    flood: String,
    first_out: String,
}

/// A filter offered as a link.
#[derive(Debug)]
struct Filter {
    name: String,
    href: String,
    is_current: bool,
}

/// Which alarms are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    All,
    New,
    Acknowledged,
    Shelved,
    Cleared,
}

const WANTED: [(Wanted, &str, &str); 5] = [
    (Wanted::All, "", "All"),
    (Wanted::New, "new", "New"),
    (Wanted::Acknowledged, "acknowledged", "Acknowledged"),
    (Wanted::Shelved, "shelved", "Shelved or silenced"),
    (Wanted::Cleared, "cleared", "Cleared"),
];

impl Wanted {
    fn read(visit: &Visit) -> Wanted {
        let asked = visit.params.get("state").unwrap_or("");
        WANTED.iter().find(|(_, name, _)| *name == asked).map_or(Wanted::All, |(wanted, ..)| *wanted)
    }

    fn takes(self, alarm: &Alarm, state: &AppState, now: Timestamp) -> bool {
        let is_active = alarm.state == AlarmState::Active;
        let is_noted = alarm.acknowledgement.is_some();
        let is_withheld = || row::silence_of(alarm, state, now).is_some();
        match self {
            Wanted::All => true,
            Wanted::New => is_active && !is_noted && !is_withheld(),
            Wanted::Acknowledged => is_active && is_noted,
            Wanted::Shelved => is_active && is_withheld(),
            Wanted::Cleared => !is_active,
        }
    }
}

/// Tells whether a label's value or a text of an alarm holds some words, in any case.
fn says(alarm: &Alarm, words: &str) -> bool {
    let words = words.to_lowercase();
    let texts = alarm.labels.iter().chain(alarm.annotations.iter());
    texts.into_iter().any(|(_, text)| text.to_lowercase().contains(&words))
}

/// Answers `GET /alarms`: `state`, `priority` and `find` choose.
async fn alarms(State(state): State<AppState>, visit: Visit) -> Response {
    let mut frame = Frame::new(&state, &visit, "/alarms", "Alarms", REFRESH_S);
    frame.events = EVENTS;
    let wanted = Wanted::read(&visit);
    let find = visit.params.get("find").unwrap_or("").to_owned();
    let priority: Option<u8> = visit.params.get("priority").and_then(|text| text.parse().ok());
    let takes = |alarm: &Alarm| {
        wanted.takes(alarm, &state, visit.now)
            && priority.is_none_or(|p| alarm.priority() == p)
            && (find.is_empty() || says(alarm, &find))
    };
    let snapshot = state.alarms.snapshot();
    let all = snapshot.alarms.iter().filter(|a| takes(a)).count();
    let rows = Row::some(&state, visit.now, ROWS_MAX, takes);
    let waiting: Vec<&str> = rows.iter().filter(|r| r.can_acknowledge()).map(|r| r.fingerprint.as_str()).collect();
    let (flood, first_out) = flood(&state, visit.now);
    page(&Alarms {
        waiting_count: waiting.len(),
        waiting: waiting.join(","),
        more: all.saturating_sub(rows.len()),
        has_alarms: !snapshot.alarms.is_empty(),
        filters: filters(&visit, wanted, priority),
        rules: state.rules.snapshot().groups.iter().map(|g| g.rules.len()).sum(),
        told: in_brief(&state, visit.now),
        silences: state.alarms.silences().iter().filter(|s| s.ends_at > visit.now).count(),
        flood,
        first_out,
        rows,
        find,
        frame,
    })
}

fn filters(visit: &Visit, wanted: Wanted, priority: Option<u8>) -> Vec<Filter> {
    let by_state = WANTED.iter().map(|(one, value, name)| Filter {
        name: (*name).to_owned(),
        href: visit.params.with(&[("state", value)]),
        is_current: *one == wanted,
    });
    let by_priority = (1..=4u8).map(|p| {
        let text = p.to_string();
        let is_current = priority == Some(p);
        let value = if is_current { "" } else { text.as_str() };
        Filter { name: format!("P{p}"), href: visit.params.with(&[("priority", value)]), is_current }
    });
    by_state.chain(by_priority).collect()
}

/// Says that more alarms come than a person can take in, and which was the first.
fn flood(state: &AppState, now: Timestamp) -> (String, String) {
    let snapshot = state.alarms.snapshot();
    let Some(flood) = snapshot.flood else { return (String::new(), String::new()) };
    let text = format!("{} alarms since {}: a flood. The first was", flood.alarms, ago(flood.start, now));
    let first = snapshot.alarm(flood.first_out).map_or("one that is gone", Alarm::name);
    (text, first.to_owned())
}

/// The board for a wall: large, nothing to click, fetched again by the browser itself.
#[derive(Debug, Template)]
#[template(path = "pages/wall.html")]
struct Wall {
    frame: Frame,
    rows: Vec<Row>,
    more: usize,
    flood: String,
    first_out: String,
}

/// Answers `GET /alarms/wall`. A header has the browser fetch it again, so that it needs no script and cannot grow.
async fn wall(State(state): State<AppState>, visit: Visit) -> Response {
    let mut frame = Frame::new(&state, &visit, "/alarms", "Alarms", REFRESH_S);
    frame.events = EVENTS;
    let is_shown = |alarm: &Alarm| {
        alarm.state == AlarmState::Active
            && !row::silence_of(alarm, &state, visit.now).is_some_and(|s| s.is_shelving(&alarm.labels))
    };
    let all = state.alarms.snapshot().alarms.iter().filter(|a| is_shown(a)).count();
    let rows = Row::some(&state, visit.now, WALL_ROWS, is_shown);
    let (flood, first_out) = flood(&state, visit.now);
    let page = page(&Wall { more: all.saturating_sub(rows.len()), rows, flood, first_out, frame });
    ([(header::REFRESH, "30")], page).into_response()
}

/// Answers `POST /alarms/acknowledge`: those ticked (`f`), or all that were shown (`which=shown`).
async fn acknowledge_many(
    State(state): State<AppState>,
    visit: Visit,
    Form(fields): Form<Vec<(String, String)>>,
) -> Response {
    let text = |name: &str| fields.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value.trim());
    let shown: Vec<&str> = text("shown").split(',').collect();
    let ticked = fields.iter().filter(|(n, _)| n == "f").map(|(_, value)| value.as_str());
    let chosen: Vec<&str> = if text("which") == "shown" { shown } else { ticked.collect() };
    let fingerprints: Vec<u64> = chosen.iter().filter_map(|f| u64::from_str_radix(f, 16).ok()).take(ROWS_MAX).collect();
    let frame = Frame::new(&state, &visit, "/alarms", "Alarms", 0);
    if fingerprints.is_empty() {
        return message(frame, StatusCode::BAD_REQUEST, "Not acknowledged: tick the alarms that are meant.");
    }
    match state.alarms.acknowledge_all(fingerprints, text("by"), text("note")).await {
        Ok(_) => Redirect::to("/alarms").into_response(),
        Err(error) => refused(frame, "Not acknowledged", &error),
    }
}

/// Answers `POST /alarms/{fingerprint}/acknowledge`.
async fn acknowledge(
    State(state): State<AppState>,
    visit: Visit,
    Path(fingerprint): Path<String>,
    Form(fields): Form<BTreeMap<String, String>>,
) -> Response {
    let frame = Frame::new(&state, &visit, "/alarms", "Alarms", 0);
    let Ok(fingerprint) = u64::from_str_radix(&fingerprint, 16) else { return unknown(frame) };
    let text = |name| fields.get(name).map_or("", |t: &String| t.trim());
    match state.alarms.acknowledge(fingerprint, text("by"), text("note")).await {
        Ok(_) => back(text("back")),
        Err(error) => refused(frame, "Not acknowledged", &error),
    }
}

/// Answers `POST /alarms/{fingerprint}/shelve`.
async fn shelve(
    State(state): State<AppState>,
    visit: Visit,
    Path(fingerprint): Path<String>,
    Form(fields): Form<BTreeMap<String, String>>,
) -> Response {
    let frame = Frame::new(&state, &visit, "/alarms", "Alarms", 0);
    let Ok(fingerprint) = u64::from_str_radix(&fingerprint, 16) else { return unknown(frame) };
    let text = |name| fields.get(name).map_or("", |t: &String| t.trim());
    let Ok(lasts) = parse_duration(text("lasts")) else {
        return message(frame, StatusCode::BAD_REQUEST, "Not shelved: for how long is missing.");
    };
    let until = visit.now + lasts.min(SHELVED_MAX);
    match state.alarms.shelve(fingerprint, text("by"), text("note"), visit.now, until).await {
        Ok(_) => back(text("back")),
        Err(error) => refused(frame, "Not shelved", &error),
    }
}

/// Answers `POST /alarms/{fingerprint}/unshelve`.
async fn unshelve(
    State(state): State<AppState>,
    visit: Visit,
    Path(fingerprint): Path<String>,
    Form(fields): Form<BTreeMap<String, String>>,
) -> Response {
    let frame = Frame::new(&state, &visit, "/alarms", "Alarms", 0);
    let snapshot = state.alarms.snapshot();
    let alarm = u64::from_str_radix(&fingerprint, 16).ok().and_then(|f| snapshot.alarm(f));
    let Some(alarm) = alarm else { return unknown(frame) };
    let shelving = row::silence_of(alarm, &state, visit.now).filter(|s| s.is_shelving(&alarm.labels));
    if let Some(shelving) = shelving
        && let Err(error) = state.alarms.expire_silence(&shelving.id).await
    {
        return refused(frame, "Still shelved", &error);
    }
    back(fields.get("back").map_or("", String::as_str))
}

/// Goes back to a page of the alarms.
fn back(path: &str) -> Response {
    let is_ours = path.starts_with("/alarms") && !path.contains(['\\', '\r', '\n']);
    Redirect::to(if is_ours { path } else { "/alarms" }).into_response()
}

fn unknown(frame: Frame) -> Response {
    message(frame, StatusCode::NOT_FOUND, "There is no such alarm.")
}

fn refused(frame: Frame, what: &str, error: &Error) -> Response {
    match error {
        Error::NotFound(_) => message(
            frame,
            StatusCode::NOT_FOUND,
            "This alarm is not on the board any more: it was cleared some time ago.",
        ),
        error => message(frame, crate::http::api::refusal_status(error), &format!("{what}: {error}.")),
    }
}
