//! Forwarding: how far each destination has come, and what keeps it.

use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::ask::ask;
use super::layout::Frame;
use super::number::{Unit, ago, clock, span};
use super::panel::{Panel, Question};
use super::visit::Visit;
use super::window::Window;
use super::{failed, page};
use crate::forward::{DestinationSnapshot, Stage};
use crate::http::AppState;
use crate::model::Timestamp;

/// How often the page is fetched again, in seconds.
const REFRESH_S: u32 = 5;

/// One destination.
#[derive(Debug)]
struct Destination {
    name: String,
    url: String,
    shape: &'static str,
    class: &'static str,
    stage: &'static str,
    next: String,
    cursor: String,
    lag: String,
    backlog: String,
    last_success: String,
    error: String,
    sent: String,
    refused: u64,
    dropped: u64,
    retries: u64,
    bytes: String,
}

#[derive(Debug, Template)]
#[template(path = "pages/forward.html")]
struct Forward {
    frame: Frame,
    window: Window,
    destinations: Vec<Destination>,
    panels: Vec<Panel>,
    kept: String,
}

/// Answers `GET /forwarding`.
pub(super) async fn forward(State(state): State<AppState>, visit: Visit) -> Response {
    let frame = Frame::new(&state, &visit, "/forwarding", "Forwarding", REFRESH_S);
    let window = Window::read(&visit.params, Duration::from_secs(3600), visit.now);
    let snapshot = state.forwarder.snapshot();
    let is_used = !snapshot.destinations.is_empty();
    let shown = window.clone();
    let panels = ask(&state, visit.now, move |asker| {
        if !is_used {
            return Vec::new();
        }
        let questions = [
            Question {
                title: "Behind the clock",
                expression: "max by (destination) (andon_forward_lag_seconds)",
                unit: Unit::Seconds,
                label: "destination",
                is_filled: true,
                ..Question::default()
            },
            Question {
                title: "Samples sent per second",
                expression: "sum by (destination) (rate(andon_forward_samples_total[2m]))",
                unit: Unit::PerSecond,
                label: "destination",
                is_filled: true,
                ..Question::default()
            },
        ];
        questions.iter().map(|q| q.panel(asker, &shown)).collect::<Vec<_>>()
    });
    let Ok(panels) = panels.await else { return failed(frame) };
    let oldest = state.db.stats().min_time;
    let destinations = snapshot.destinations.iter().map(|d| destination(d, visit.now, &state));
    page(&Forward {
        destinations: destinations.collect(),
        kept: oldest.map_or_else(String::new, |t| span(visit.now.since(t))),
        frame,
        window,
        panels,
    })
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn destination(d: &DestinationSnapshot, now: Timestamp, state: &AppState) -> Destination {
    let (shape, class) = match d.stage {
        Stage::Live => ("ok", ""),
        Stage::Starting | Stage::CatchingUp | Stage::Unsure => ("off", ""),
        Stage::Waiting => ("p2", "p2"),
    };
    let wait = d.next_attempt.map(|t| t.since(now)).filter(|w| !w.is_zero());
    let when = |t: Option<Timestamp>| t.map_or_else(|| "never".to_owned(), |t| ago(t, now));
    Destination {
        name: d.name.clone(),
        url: d.url.clone(),
        shape,
        class,
        stage: d.stage.as_str(),
        next: wait.map_or_else(String::new, |w| format!("next attempt in {}", span(w))),
        cursor: d.cursor.map_or_else(|| "–".to_owned(), |t| clock(t, now, &state.info.time_zone)),
        lag: span(Duration::from_secs_f64(d.lag_s.clamp(0.0, 1e9))),
        backlog: span(Duration::from_secs_f64(d.backlog_s.clamp(0.0, 1e9))),
        last_success: when(d.last_success),
        error: match (d.last_error.as_str(), d.last_error_at) {
            ("", _) => String::new(),
            (error, at) => format!("{error} ({})", when(at)),
        },
        sent: Unit::Plain.show(d.samples_sent as f64),
        refused: d.samples_refused,
        dropped: d.samples_dropped,
        retries: d.retries,
        bytes: Unit::Bytes.show(d.bytes_sent as f64),
    }
}
