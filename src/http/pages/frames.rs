//! The black box of a device: its last frames, or those that an alarm had frozen.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::layout::Frame;
use super::number::{Unit, ago, clock, local};
use super::visit::{Visit, encode};
use super::{failed, message, page};
use crate::gateway::{FrameView, FrozenHead};
use crate::http::AppState;
use crate::http::frames::Wanted;
use crate::model::Timestamp;

/// How often the page is fetched again, in seconds; a frozen copy never is.
const REFRESH_S: u32 = 5;

/// Frames shown; all of them are in the files.
const ROWS_MAX: usize = 300;

/// Types to choose from, those that are looked for most first.
const KINDS: [&str; 13] = [
    "error",
    "publish",
    "message",
    "ack",
    "request",
    "reply",
    "subscribe",
    "unsubscribe",
    "auth",
    "ping",
    "pong",
    "begin",
    "end",
];

/// One frame.
#[derive(Debug)]
struct Row {
    time: String,
    is_in: bool,
    kind: &'static str,
    /// Whether it tells of something that went wrong.
    is_bad: bool,
    subject: String,
    size: String,
    mark: String,
    code: String,
    payload: String,
}

/// A copy to choose.
#[derive(Debug)]
struct Copy {
    href: String,
    name: String,
    alarm_href: String,
    when: String,
    frames: u32,
    is_shown: bool,
}

#[derive(Debug, Template)]
#[template(path = "pages/frames.html")]
struct Frames {
    frame: Frame,
    device_href: String,
    rows: Vec<Row>,
    found: usize,
    all: usize,
    wanted: Wanted,
    kinds: [&'static str; 13],
    /// The number of the copy that is shown; empty for what is there now.
    frozen: String,
    now_href: String,
    csv: String,
    jsonl: String,
    copies: Vec<Copy>,
    /// From when until when, in words.
    span: String,
}

/// Answers `GET /devices/{id}/frames`.
pub(super) async fn frames(State(state): State<AppState>, visit: Visit, Path(id): Path<String>) -> Response {
    let frozen = visit.params.get("frozen").unwrap_or("").to_owned();
    let refresh_s = if frozen.is_empty() { REFRESH_S } else { 0 };
    let frame = Frame::new(&state, &visit, "/devices", &format!("Frames of {id}"), refresh_s);
    let Ok(copies) = state.gateway.frozen_of_device(&id).await else { return failed(frame) };
    let is_known = state.gateway.snapshot().device(&id).is_some();
    let found = match frozen.parse::<i64>() {
        _ if frozen.is_empty() && is_known => Some(state.gateway.frames(&id).await),
        _ if frozen.is_empty() => None,
        Ok(number) => match state.gateway.frozen(number).await {
            Ok(copy) => copy.filter(|copy| copy.head.device_id == id).map(|copy| copy.frames),
            Err(_) => return failed(frame),
        },
        Err(_) => None,
    };
    let Some(found) = found else {
        return message(
            frame,
            StatusCode::NOT_FOUND,
            "There is no such device, or no such copy of its frames any more.",
        );
    };
    let zone = &state.info.time_zone;
    let wanted = Wanted::read(|name| visit.params.get(name));
    let chosen: Vec<&FrameView> = found.iter().filter(|frame| wanted.wants(frame)).collect();
    let file = |form| format!("/api/v1/devices/{}/frames{}", encode(&id), visit.params.with(&[("format", form)]));
    let device_href = format!("/devices/{}", encode(&id));
    page(&Frames {
        rows: chosen.iter().rev().take(ROWS_MAX).map(|frame| row(frame, zone)).collect(),
        found: chosen.len(),
        all: found.len(),
        kinds: KINDS,
        csv: file("csv"),
        jsonl: file("jsonl"),
        now_href: format!("{device_href}/frames"),
        copies: copies.iter().map(|copy| copy_row(copy, &device_href, &frozen, visit.now, zone)).collect(),
        span: span_words(&found, visit.now, zone),
        wanted,
        frozen,
        device_href,
        frame,
    })
}

fn row(frame: &FrameView, zone: &jiff::tz::TimeZone) -> Row {
    Row {
        time: local(frame.at, zone, "%H:%M:%S%.3f"),
        is_in: frame.direction() == "in",
        kind: frame.kind(),
        is_bad: !frame.code.is_empty() && frame.code != "normal",
        subject: frame.subject.clone(),
        size: if frame.size == 0 { String::new() } else { Unit::Bytes.show(f64::from(frame.size)) },
        mark: frame.mark.clone(),
        code: frame.code.clone(),
        payload: frame.payload.clone(),
    }
}

fn copy_row(copy: &FrozenHead, device_href: &str, shown: &str, now: Timestamp, zone: &jiff::tz::TimeZone) -> Copy {
    let number = copy.id.to_string();
    Copy {
        href: format!("{device_href}/frames?frozen={number}"),
        name: copy.alarm_name.clone(),
        alarm_href: format!("/alarms/{}", copy.alarm),
        when: format!("{}, {}", clock(copy.raised_at, now, zone), ago(copy.raised_at, now)),
        frames: copy.frames,
        is_shown: number == shown,
    }
}

fn span_words(frames: &[FrameView], now: Timestamp, zone: &jiff::tz::TimeZone) -> String {
    match (frames.first(), frames.last()) {
        (Some(first), Some(last)) => format!("{} to {}", clock(first.at, now, zone), clock(last.at, now, zone)),
        _ => String::new(),
    }
}
