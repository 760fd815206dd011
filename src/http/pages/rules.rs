//! Rules: what is worked out and watched, how it fares, and what is wrong in the files.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::layout::Frame;
use super::number::{Unit, ago, span};
use super::page;
use super::visit::{Visit, encode};
use crate::http::AppState;
use crate::model::{Timestamp, priority_of};
use crate::rules::{GroupSnapshot, Health, RuleKind, RuleSnapshot, Snapshot};

/// How often the page is fetched again, in seconds.
const REFRESH_S: u32 = 10;

/// One rule.
#[derive(Debug)]
struct Row {
    name: String,
    expression: String,
    href: String,
    kind: &'static str,
    shape: &'static str,
    class: &'static str,
    state: String,
    hold: String,
    summary: String,
    error: String,
    age: String,
    took: String,
}

/// One group.
#[derive(Debug)]
struct Group {
    name: String,
    file: String,
    every: String,
    age: String,
    took: String,
    missed: u64,
    rows: Vec<Row>,
}

/// One file that does not run as written.
#[derive(Debug)]
struct File {
    path: String,
    state: String,
}

#[derive(Debug, Template)]
#[template(path = "pages/rules.html")]
struct Rules {
    frame: Frame,
    groups: Vec<Group>,
    mistakes: Vec<String>,
    files: Vec<File>,
    alerting: usize,
    recording: usize,
    failing: usize,
}

/// Answers `GET /rules`.
pub(super) async fn rules(State(state): State<AppState>, visit: Visit) -> Response {
    let frame = Frame::new(&state, &visit, "/rules", "Rules", REFRESH_S);
    page(&view(frame, &state.rules.snapshot(), visit.now))
}

fn view(frame: Frame, snapshot: &Snapshot, now: Timestamp) -> Rules {
    let rules = || snapshot.groups.iter().flat_map(|g| &g.rules);
    let is_recording = |r: &&RuleSnapshot| r.kind == RuleKind::Recording;
    let outdated = snapshot.files.iter().filter(|f| f.is_outdated || f.loaded_at.is_none());
    Rules {
        groups: snapshot.groups.iter().map(|g| group(g, now)).collect(),
        mistakes: snapshot.mistakes.iter().map(ToString::to_string).collect(),
        files: outdated
            .map(|f| File {
                path: f.path.clone(),
                state: match f.loaded_at {
                    Some(at) => format!("the version of {} goes on running with {} rules", ago(at, now), f.rules),
                    None => "nothing of it runs".to_owned(),
                },
            })
            .collect(),
        recording: rules().filter(is_recording).count(),
        alerting: rules().count() - rules().filter(is_recording).count(),
        failing: rules().filter(|r| r.health == Health::Err).count(),
        frame,
    }
}

fn group(group: &GroupSnapshot, now: Timestamp) -> Group {
    Group {
        name: group.name.clone(),
        file: group.file.clone(),
        every: span(group.interval),
        age: group.last_evaluation.map_or_else(|| "not yet".to_owned(), |t| ago(t, now)),
        took: Unit::Seconds.show(group.evaluation_time.as_secs_f64()),
        missed: group.missed,
        rows: group.rules.iter().map(|r| row(r, now)).collect(),
    }
}

fn row(rule: &RuleSnapshot, now: Timestamp) -> Row {
    let (kind, hold, summary) = match &rule.kind {
        RuleKind::Recording => ("recording", String::new(), String::new()),
        RuleKind::Alerting(a) => {
            let hold = if a.hold.is_zero() { String::new() } else { format!("for {}", span(a.hold)) };
            let note = |name| a.annotations.get(name).filter(|t| !t.is_empty());
            // A template with fields still open is not for people.
            let text = note("summary").or_else(|| note("description")).filter(|t| !t.contains("{{"));
            ("alerting", hold, text.unwrap_or("").to_owned())
        }
    };
    let alerts = rule.alerts().len();
    let (shape, class, state) = match (rule.health, rule.state()) {
        (Health::Err, _) => ("p2", "p2", "fails".to_owned()),
        (Health::Unknown, _) => ("off", "", "not evaluated yet".to_owned()),
        (Health::Ok, "firing") => {
            let mark =
                ["p1", "p2", "p3", "p4"][usize::from(priority_of(rule.labels.get("severity").unwrap_or("")) - 1) % 4];
            (mark, mark, format!("firing ({alerts})"))
        }
        (Health::Ok, "pending") => ("off", "", format!("pending ({alerts})")),
        (Health::Ok, _) => ("ok", "", if kind == "alerting" { "inactive".to_owned() } else { "ok".to_owned() }),
    };
    Row {
        name: rule.name.clone(),
        href: format!("/explore?q={}", encode(&rule.expression)),
        expression: rule.expression.clone(),
        kind,
        shape,
        class,
        state,
        hold,
        summary,
        error: rule.last_error.clone(),
        age: rule.last_evaluation.map_or_else(|| "–".to_owned(), |t| ago(t, now)),
        took: Unit::Seconds.show(rule.evaluation_time.as_secs_f64()),
    }
}
