//! Acknowledging by the link of a notification: a page with one button. Fetching the link changes nothing, because mail
//! scanners and chats fetch what they are sent; the button does.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;
use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};

use super::row::{Row, untold};
use crate::http::AppState;
use crate::http::pages::layout::Frame;
use crate::http::pages::number::{clock, local};
use crate::http::pages::visit::{Visit, encode};
use crate::http::pages::{message, page};
use crate::model::{Alarm, AlarmState, Timestamp};
use crate::notify::{AckClaim, AckMeant, AckRefusal};

/// The longest name that the journal takes.
const NAME_CHARS: usize = 100;

/// Alarms that are shown one by one; the button means the others too.
const LINES_MAX: usize = 100;

/// What has become of an alarm that a link means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// It is as it was, and nobody has taken note of it.
    Waiting,
    /// It was cleared and raised again since.
    Again,
    /// Somebody has taken note of it.
    Noted,
    /// Its cause went, and it is not one that waits for somebody nevertheless.
    Over,
}

/// A line of the page.
#[derive(Debug)]
struct Line {
    row: Row,
    /// Whether it still needs somebody: then it has its colour.
    is_open: bool,
    /// What there is to say of it.
    text: String,
}

#[derive(Debug, Template)]
#[template(path = "pages/ack.html")]
struct Ack {
    frame: Frame,
    lines: Vec<Line>,
    /// Alarms that are meant and have no line.
    more: usize,
    /// How many wait to be acknowledged.
    waiting: usize,
    receiver: String,
    until: String,
    /// Where the form goes: the link itself.
    action: String,
}

/// Answers `GET /a/{code}`: says what the link means.
pub(super) async fn show(State(state): State<AppState>, visit: Visit, Path(code): Path<String>) -> Response {
    let frame = Frame::new(&state, &visit, "/alarms", "Acknowledge", 0);
    let claim = match state.notifier.read_ack(&code, visit.now) {
        Ok(claim) => claim,
        Err(refusal) => return refused(frame, &state, &refusal, visit.now),
    };
    let board = state.alarms.snapshot();
    let meant = meant(&board, &claim, &state, visit.now);
    page(&Ack {
        waiting: meant.iter().filter(|(fate, _)| *fate == Fate::Waiting).count(),
        more: meant.len().saturating_sub(LINES_MAX),
        lines: meant.iter().take(LINES_MAX).map(|(fate, alarm)| line(*fate, alarm, &state, visit.now)).collect(),
        until: local(claim.until, &state.info.time_zone, "%a %d %b %H:%M"),
        receiver: claim.receiver,
        action: format!("/a/{}", encode(&code)),
        frame,
    })
}

/// Answers `POST /a/{code}`: acknowledges what still waits, as taken by the receiver that the link was made for.
pub(super) async fn acknowledge(
    State(state): State<AppState>,
    visit: Visit,
    Path(code): Path<String>,
    Form(fields): Form<BTreeMap<String, String>>,
) -> Response {
    let frame = Frame::new(&state, &visit, "/alarms", "Acknowledge", 0);
    let claim = match state.notifier.read_ack(&code, visit.now) {
        Ok(claim) => claim,
        Err(refusal) => return refused(frame, &state, &refusal, visit.now),
    };
    let board = state.alarms.snapshot();
    let meant = meant(&board, &claim, &state, visit.now);
    let waiting = meant.iter().filter(|(fate, _)| *fate == Fate::Waiting);
    let waiting: Vec<u64> = waiting.map(|(_, alarm)| alarm.fingerprint).collect();
    if !waiting.is_empty() {
        let by: String = claim.receiver.chars().take(NAME_CHARS).collect();
        let note = match fields.get("note").map_or("", |note| note.trim()) {
            "" => "by the link of a notification".to_owned(),
            note => format!("{note} (by the link of a notification)"),
        };
        if let Err(error) = state.alarms.acknowledge_all(waiting, &by, &note).await {
            return super::refused(frame, "Not acknowledged", &error);
        }
    }
    Redirect::to(&format!("/a/{}", encode(&code))).into_response()
}

/// Returns the alarms of the board that a link means, what waits first. Of a group, those that the message could not
/// tell of are not meant: raised later, or silenced, shelved or muted.
fn meant<'a>(
    board: &'a crate::alarms::Snapshot,
    claim: &AckClaim,
    state: &AppState,
    now: Timestamp,
) -> Vec<(Fate, &'a Alarm)> {
    let mut meant: Vec<(Fate, &Alarm)> = match &claim.meant {
        AckMeant::One(fingerprint, raised_at) => {
            let alarm = board.alarm(*fingerprint).into_iter();
            alarm.map(|a| (if a.raised_at == *raised_at { fate(a) } else { Fate::Again }, a)).collect()
        }
        AckMeant::Group(fingerprints, raised_until) => {
            let fingerprints: BTreeSet<u64> = fingerprints.iter().copied().collect();
            let told = board.alarms.iter().filter(|a| {
                fingerprints.contains(&a.fingerprint)
                    && a.raised_at <= *raised_until
                    && untold(a, state, now).is_empty()
            });
            told.map(|a| (fate(a), a)).collect()
        }
    };
    meant.sort_by_key(|(fate, _)| *fate);
    meant
}

fn fate(alarm: &Alarm) -> Fate {
    match (&alarm.acknowledgement, alarm.state) {
        (Some(_), _) => Fate::Noted,
        (None, AlarmState::Cleared) if alarm.priority() > 2 => Fate::Over,
        (None, _) => Fate::Waiting,
    }
}

fn line(fate: Fate, alarm: &Alarm, state: &AppState, now: Timestamp) -> Line {
    let row = Row::of(alarm, state, now);
    let text = match fate {
        Fate::Waiting | Fate::Over => String::new(),
        Fate::Noted => format!("Taken by {}", row.acknowledged),
        Fate::Again => {
            let at = clock(alarm.raised_at, now, &state.info.time_zone);
            format!("Was over and came again at {at}; the link does not mean that, its page does.")
        }
    };
    Line { is_open: row.is_new(), row, text }
}

fn refused(frame: Frame, state: &AppState, refusal: &AckRefusal, now: Timestamp) -> Response {
    let (status, more) = match refusal {
        AckRefusal::Damaged => (StatusCode::BAD_REQUEST, String::new()),
        AckRefusal::Forged => (StatusCode::FORBIDDEN, String::new()),
        AckRefusal::NoKey => (StatusCode::SERVICE_UNAVAILABLE, String::new()),
        AckRefusal::CalledBack => (StatusCode::GONE, ". Use the page Alarms".to_owned()),
        AckRefusal::Expired(until) => {
            let until = clock(*until, now, &state.info.time_zone);
            (StatusCode::GONE, format!(", it was good until {until}. Use the page Alarms"))
        }
    };
    message(frame, status, &format!("Nothing was acknowledged: {refusal}{more}."))
}
