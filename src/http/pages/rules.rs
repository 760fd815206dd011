//! Rules: what is worked out and watched, how it fares, and what is wrong in the files.

use std::collections::BTreeMap;
use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::ask::{Asker, ask};
use super::layout::Frame;
use super::number::{Unit, ago, span};
use super::rule::href;
use super::visit::Visit;
use super::{failed, page};
use crate::http::AppState;
use crate::model::{LABEL_NAME, Labels, Timestamp, priority_of};
use crate::rules::{Facts, GroupSnapshot, Health, Remark, RuleKind, RuleSnapshot, Snapshot, Subject, lint};

/// How often the page is fetched again, in seconds.
const REFRESH_S: u32 = 10;

/// Metrics that had samples so long ago are there.
const THERE: Duration = Duration::from_secs(86_400);

/// Remarks on the page; a rule's own page has all of its.
const REMARKS_MAX: usize = 200;

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
    /// What is odd about it: problem, and what would be right.
    remarks: Vec<(String, String)>,
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
    /// Rules that something is odd about.
    odd: usize,
}

/// Answers `GET /rules`.
pub(super) async fn rules(State(state): State<AppState>, visit: Visit) -> Response {
    let frame = Frame::new(&state, &visit, "/rules", "Rules", REFRESH_S);
    let snapshot = state.rules.snapshot();
    let groups = snapshot.groups.clone();
    let work = move |asker: &Asker| {
        let of_own = facts(asker, false);
        let of_packs = facts(asker, true);
        let rules = groups.iter().flat_map(|g| g.rules.iter().map(move |r| (g, r)));
        let looked_at = rules.map(|(g, r)| {
            let facts = if g.file.starts_with("builtin:") { &of_packs } else { &of_own };
            (key(g, r), remarks_of(r, facts))
        });
        looked_at.filter(|(_, remarks)| !remarks.is_empty()).take(REMARKS_MAX).collect::<BTreeMap<_, _>>()
    };
    let Ok(remarks) = ask(&state, visit.now, work).await else { return failed(frame) };
    page(&view(frame, &snapshot, &remarks, visit.now))
}

/// Names a rule among all.
type Key = (String, String, usize);

fn key(group: &GroupSnapshot, rule: &RuleSnapshot) -> Key {
    (group.file.clone(), group.name.clone(), rule.line)
}

/// Returns what is known of this box; of the packs that come along metrics may be missing, since they are for boxes that
/// have more.
pub(super) fn facts(asker: &Asker, is_builtin: bool) -> Facts {
    let db = &asker.state.db;
    let names = db.querier().label_values(LABEL_NAME, &[], asker.now - THERE, asker.now);
    let rules = asker.state.rules.snapshot();
    let recorded = rules.groups.iter().flat_map(|g| &g.rules).filter(|r| r.kind == RuleKind::Recording);
    Facts {
        metrics: names.ok().filter(|names| !is_builtin && !names.is_empty()).map(|names| names.into_iter().collect()),
        kinds: db.metadata().into_iter().map(|(name, metadata)| (name, metadata.kind)).collect(),
        retention: Some(db.retention()),
        recorded: recorded.map(|r| r.name.clone()).collect(),
    }
}

/// Returns what is odd about a rule.
pub(super) fn remarks_of(rule: &RuleSnapshot, facts: &Facts) -> Vec<Remark> {
    let nothing = Labels::empty();
    let annotations = match &rule.kind {
        RuleKind::Recording => &nothing,
        RuleKind::Alerting(alerting) => &alerting.annotations,
    };
    let is_alerting = rule.kind != RuleKind::Recording;
    lint(&Subject { name: &rule.name, expression: &rule.expression, is_alerting, annotations }, facts)
}

fn view(frame: Frame, snapshot: &Snapshot, remarks: &BTreeMap<Key, Vec<Remark>>, now: Timestamp) -> Rules {
    let rules = || snapshot.groups.iter().flat_map(|g| &g.rules);
    let is_recording = |r: &&RuleSnapshot| r.kind == RuleKind::Recording;
    let outdated = snapshot.files.iter().filter(|f| f.is_outdated || f.loaded_at.is_none());
    Rules {
        groups: snapshot.groups.iter().map(|g| group(g, remarks, now)).collect(),
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
        odd: remarks.len(),
        frame,
    }
}

fn group(group: &GroupSnapshot, remarks: &BTreeMap<Key, Vec<Remark>>, now: Timestamp) -> Group {
    let of = |rule: &RuleSnapshot| {
        let found = remarks.get(&key(group, rule)).map_or(&[][..], Vec::as_slice);
        found.iter().map(|r| (r.problem.clone(), r.remedy.clone())).collect()
    };
    Group {
        name: group.name.clone(),
        file: group.file.clone(),
        every: span(group.interval),
        age: group.last_evaluation.map_or_else(|| "not yet".to_owned(), |t| ago(t, now)),
        took: Unit::Seconds.show(group.evaluation_time.as_secs_f64()),
        missed: group.missed,
        rows: group.rules.iter().map(|r| row(group, r, of(r), now)).collect(),
    }
}

fn row(group: &GroupSnapshot, rule: &RuleSnapshot, remarks: Vec<(String, String)>, now: Timestamp) -> Row {
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
        href: href(group, rule),
        remarks,
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
