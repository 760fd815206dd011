//! Acknowledging by the link of a notification: a page with one button. Fetching the link changes nothing, because mail
//! scanners and chats fetch what they are sent; the button does.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::{Form, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};

use super::row::Row;
use crate::http::AppState;
use crate::http::pages::layout::Frame;
use crate::http::pages::number::{clock, local};
use crate::http::pages::visit::{Visit, encode};
use crate::http::pages::{message, page};
use crate::model::{Alarm, Timestamp};
use crate::notify::{AckClaim, AckLink, AckRefusal};

/// The longest name that the journal takes.
const NAME_CHARS: usize = 100;

/// What a link says, in this order.
const FIELDS: [&str; 4] = ["alarm", "by", "until", "sig"];

/// What has become of an alarm that a link names.
#[derive(Debug)]
enum Named<'a> {
    /// It is as it was, and nobody has taken note of it.
    Waiting(&'a Alarm),
    /// Somebody has.
    Noted(&'a Alarm),
    /// It was cleared and raised again since.
    Again(&'a Alarm),
    /// It is not on the board any more.
    Gone,
}

/// A line of the page.
#[derive(Debug)]
struct Line {
    /// `None` for an alarm that is not on the board.
    row: Option<Row>,
    /// What else there is to say of it.
    text: String,
}

#[derive(Debug, Template)]
#[template(path = "pages/ack.html")]
struct Ack {
    frame: Frame,
    lines: Vec<Line>,
    /// How many wait to be acknowledged.
    waiting: usize,
    receiver: String,
    until: String,
    /// What the form sends, the link itself.
    hidden: Vec<(&'static str, String)>,
}

/// Answers `GET /alarms/ack`: says what the link means.
pub(super) async fn show(State(state): State<AppState>, visit: Visit) -> Response {
    let frame = Frame::new(&state, &visit, "/alarms", "Acknowledge", 0);
    let given = |name: &str| visit.params.get(name).unwrap_or("").to_owned();
    let claim = match read(&state, &given, visit.now) {
        Ok(claim) => claim,
        Err(refusal) => return refused(frame, &state, &refusal, visit.now),
    };
    let board = state.alarms.snapshot();
    let named: Vec<Named<'_>> = claim.alarms.iter().map(|one| look(&board, *one)).collect();
    page(&Ack {
        waiting: named.iter().filter(|n| matches!(n, Named::Waiting(_))).count(),
        lines: named.iter().map(|n| line(n, &state, visit.now)).collect(),
        until: local(claim.until, &state.info.time_zone, "%a %d %b %H:%M"),
        receiver: claim.receiver,
        hidden: FIELDS.iter().map(|name| (*name, given(name))).collect(),
        frame,
    })
}

/// Answers `POST /alarms/ack`: acknowledges what still waits, as taken by the receiver that the link was made for.
pub(super) async fn acknowledge(
    State(state): State<AppState>,
    visit: Visit,
    Form(fields): Form<BTreeMap<String, String>>,
) -> Response {
    let frame = Frame::new(&state, &visit, "/alarms", "Acknowledge", 0);
    let given = |name: &str| fields.get(name).cloned().unwrap_or_default();
    let claim = match read(&state, &given, visit.now) {
        Ok(claim) => claim,
        Err(refusal) => return refused(frame, &state, &refusal, visit.now),
    };
    let board = state.alarms.snapshot();
    let waiting: Vec<u64> = claim
        .alarms
        .iter()
        .filter(|one| matches!(look(&board, **one), Named::Waiting(_)))
        .map(|(fingerprint, _)| *fingerprint)
        .collect();
    if !waiting.is_empty() {
        let by: String = claim.receiver.chars().take(NAME_CHARS).collect();
        let note = match given("note").trim() {
            "" => "by the link of a notification".to_owned(),
            note => format!("{note} (by the link of a notification)"),
        };
        if let Err(error) = state.alarms.acknowledge_all(waiting, &by, &note).await {
            return super::refused(frame, "Not acknowledged", &error);
        }
    }
    let parameters: Vec<String> = FIELDS.iter().map(|name| format!("{name}={}", encode(&given(name)))).collect();
    Redirect::to(&format!("/alarms/ack?{}", parameters.join("&"))).into_response()
}

/// Reads and checks the link.
fn read(state: &AppState, given: &dyn Fn(&str) -> String, now: Timestamp) -> Result<AckClaim, AckRefusal> {
    let [alarm, by, until, sig] = FIELDS.map(given);
    state.notifier.read_ack(AckLink { alarm: &alarm, by: &by, until: &until, sig: &sig }, now)
}

fn look(board: &crate::alarms::Snapshot, (fingerprint, raised_at): (u64, Timestamp)) -> Named<'_> {
    match board.alarm(fingerprint) {
        None => Named::Gone,
        Some(alarm) if alarm.raised_at != raised_at => Named::Again(alarm),
        Some(alarm) if alarm.acknowledgement.is_some() => Named::Noted(alarm),
        Some(alarm) => Named::Waiting(alarm),
    }
}

fn line(named: &Named<'_>, state: &AppState, now: Timestamp) -> Line {
    let row = |alarm: &Alarm| Some(Row::of(alarm, state, now));
    match named {
        Named::Waiting(alarm) => Line { row: row(alarm), text: String::new() },
        Named::Noted(alarm) => {
            let row = Row::of(alarm, state, now);
            Line { text: format!("taken by {}", row.acknowledged), row: Some(row) }
        }
        Named::Again(alarm) => {
            let at = clock(alarm.raised_at, now, &state.info.time_zone);
            let text = format!("was over and came again at {at}; the link does not mean that, its page does");
            Line { row: row(alarm), text }
        }
        Named::Gone => Line { row: None, text: "An alarm that is not on the board any more: it is over.".to_owned() },
    }
}

fn refused(frame: Frame, state: &AppState, refusal: &AckRefusal, now: Timestamp) -> Response {
    let (status, text) = match refusal {
        AckRefusal::Damaged => (StatusCode::BAD_REQUEST, format!("Nothing was acknowledged: {refusal}.")),
        AckRefusal::Forged => (StatusCode::FORBIDDEN, format!("Nothing was acknowledged: {refusal}.")),
        AckRefusal::NoKey => (StatusCode::SERVICE_UNAVAILABLE, format!("Nothing was acknowledged: {refusal}.")),
        AckRefusal::Expired(until) => {
            let until = clock(*until, now, &state.info.time_zone);
            let text = format!("Nothing was acknowledged: {refusal}, it was good until {until}. Use the page Alarms.");
            (StatusCode::GONE, text)
        }
    };
    message(frame, status, &text)
}
