//! Where samples come from: scrape targets, sources read without a scrape, device messages.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::layout::Frame;
use super::number::{ago, span};
use super::page;
use super::relabel::address;
use super::room::{Room, room};
use super::visit::{Visit, encode};
use crate::collect::{Health, JobSnapshot, Snapshot};
use crate::http::AppState;
use crate::model::{Labels, Timestamp};

/// How often the page is fetched again, in seconds.
const REFRESH_S: u32 = 10;

/// One target or source.
#[derive(Debug)]
struct Row {
    name: String,
    labels: String,
    /// How its labels came to be; empty for a source.
    relabel: String,
    shape: &'static str,
    class: &'static str,
    state: &'static str,
    error: String,
    age: String,
    took: String,
    every: String,
    samples: usize,
}

/// A job with its targets.
#[derive(Debug)]
struct Job {
    name: String,
    up: usize,
    problems: Vec<String>,
    rows: Vec<Row>,
    /// Addresses that relabelling dropped, each with the page that shows why.
    dropped: Vec<(String, String)>,
    /// What becomes of its metrics.
    relabel: String,
}

#[derive(Debug, Template)]
#[template(path = "pages/targets.html")]
struct Targets {
    frame: Frame,
    jobs: Vec<Job>,
    sources: Vec<Row>,
    messages: u64,
    unmapped: u64,
    telemetry_samples: u64,
    telemetry_lines: u64,
    room: Room,
}

/// Answers `GET /targets`.
pub(super) async fn targets(State(state): State<AppState>, visit: Visit) -> Response {
    let frame = Frame::new(&state, &visit, "/targets", "Targets", REFRESH_S);
    let snapshot = state.collector.snapshot();
    let room = room(&state, &snapshot.refused, visit.now);
    page(&view(frame, &snapshot, room, visit.now))
}

fn view(frame: Frame, snapshot: &Snapshot, room: Room, now: Timestamp) -> Targets {
    let sources = snapshot.sources.iter().map(|s| Row {
        name: format!("{} {}", s.job, s.instance),
        labels: s.origin.clone(),
        took: took(s.last_read.is_some(), s.last_duration),
        samples: s.samples,
        every: span(s.interval),
        ..row(s.health, &s.last_error, s.last_read, now)
    });
    Targets {
        jobs: snapshot.jobs.iter().map(|j| job(j, now)).collect(),
        sources: sources.collect(),
        messages: snapshot.telemetry.messages,
        unmapped: snapshot.telemetry.unmapped,
        telemetry_samples: snapshot.telemetry.samples,
        telemetry_lines: snapshot.telemetry.log_lines,
        room,
        frame,
    }
}

fn job(job: &JobSnapshot, now: Timestamp) -> Job {
    let rows: Vec<Row> = job
        .targets
        .iter()
        .map(|t| Row {
            name: t.url.clone(),
            labels: label_text(&t.labels),
            relabel: address(&format!("targets of {}", job.name), &t.discovered_labels),
            took: took(t.last_scrape.is_some(), t.last_duration),
            samples: t.samples,
            every: span(t.interval),
            ..row(t.health, &t.last_error, t.last_scrape, now)
        })
        .collect();
    Job {
        name: job.name.clone(),
        relabel: format!("/targets/relabel?rules={}", encode(&format!("metrics of {}", job.name))),
        up: job.targets.iter().filter(|t| t.health == Health::Up).count(),
        problems: job.problems.clone(),
        rows,
        dropped: job.dropped.iter().map(|labels| dropped(job, labels)).collect(),
    }
}

/// Returns what a dropped target is called, and the page that shows which rule dropped it.
fn dropped(job: &JobSnapshot, labels: &Labels) -> (String, String) {
    let name = labels.get("__address__").unwrap_or("").to_owned();
    (name, address(&format!("targets of {}", job.name), labels))
}

fn row(health: Health, error: &str, last: Option<Timestamp>, now: Timestamp) -> Row {
    let (shape, class) = match health {
        Health::Up => ("ok", ""),
        Health::Unknown => ("off", ""),
        Health::Down => ("p2", "p2"),
    };
    Row {
        name: String::new(),
        labels: String::new(),
        relabel: String::new(),
        shape,
        class,
        state: if health == Health::Unknown { "not tried yet" } else { health.as_str() },
        error: error.to_owned(),
        age: last.map_or_else(|| "–".to_owned(), |t| ago(t, now)),
        took: String::new(),
        every: String::new(),
        samples: 0,
    }
}

fn took(was_tried: bool, duration: std::time::Duration) -> String {
    if was_tried { super::number::Unit::Seconds.show(duration.as_secs_f64()) } else { "–".to_owned() }
}

fn label_text(labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(n, v)| format!("{n}={v}")).collect();
    pairs.join(" ")
}
