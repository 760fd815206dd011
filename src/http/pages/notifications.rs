//! Notifications: who is told, what waits, what was sent; which way labels would take; a test of a receiver.

use std::collections::BTreeMap;

use askama::Template;
use axum::Router;
use axum::extract::{Form, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::json;

use super::layout::Frame;
use super::number::{ago, clock, span};
use super::visit::Visit;
use super::{message, page};
use crate::http::AppState;
use crate::http::audit::{ANONYMOUS, audit};
use crate::model::{Labels, MatchOp, Timestamp, format_duration, parse_matchers};
use crate::notify::{
    GroupSnapshot, HeartbeatSnapshot, NoticeSnapshot, Outcome, ReceiverSnapshot, Snapshot, TakenRoute,
};

/// How often the page is fetched again, in seconds.
const REFRESH_S: u32 = 5;

/// Groups shown.
const GROUPS_MAX: usize = 50;

/// Returns the paths of this page.
pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/notifications", get(notifications)).route("/receivers/test", post(test))
}

/// Somebody who is told, or who sees the signs of life.
#[derive(Debug)]
struct Recipient {
    name: String,
    is_well: bool,
    words: String,
    error: String,
    /// Whether a test can be sent to it.
    has_test: bool,
}

/// A group that holds alarms.
#[derive(Debug)]
struct Group {
    labels: Labels,
    receiver: String,
    alarms: usize,
    next: String,
}

/// A way that the labels asked for would take.
#[derive(Debug)]
struct Route {
    receiver: String,
    path: String,
    labels: Labels,
    waits: String,
    intervals: String,
}

/// One notice.
#[derive(Debug)]
struct Notice {
    when: String,
    receiver: String,
    labels: Labels,
    what: String,
    class: &'static str,
    shape: &'static str,
    outcome: String,
    error: String,
}

/// A choice of notices, offered as a link.
#[derive(Debug)]
struct Choice {
    name: &'static str,
    href: String,
    is_current: bool,
}

#[derive(Debug, Template)]
#[template(path = "pages/notifications.html")]
struct Notifications {
    frame: Frame,
    waiting: usize,
    since: String,
    outbox_error: String,
    recipients: Vec<Recipient>,
    asked: String,
    mistake: String,
    taken: Vec<Route>,
    groups: Vec<Group>,
    groups_more: usize,
    choices: Vec<Choice>,
    notices: Vec<Notice>,
    has_notices: bool,
}

/// Which notices are wanted: the words of the address and of the page.
const WANTED: [(&str, &str, Option<Outcome>); 5] = [
    ("", "All", None),
    ("waiting", "Waiting", Some(Outcome::Waiting)),
    ("sent", "Sent", Some(Outcome::Sent)),
    ("folded", "In a digest", Some(Outcome::Folded)),
    ("given-up", "Given up", Some(Outcome::GivenUp)),
];

/// Answers `GET /notifications`: `labels` asks for a route, `outcome` and `receiver` choose notices.
async fn notifications(State(state): State<AppState>, visit: Visit) -> Response {
    let snapshot = state.notifier.snapshot();
    let now = visit.now;
    let asked = visit.params.get("labels").unwrap_or("").to_owned();
    let (taken, mistake) = match read_labels(&asked) {
        Ok(labels) => (labels.map_or_else(Vec::new, |labels| state.notifier.routes(&labels)), String::new()),
        Err(mistake) => (Vec::new(), mistake),
    };
    let outcome = visit.params.get("outcome").unwrap_or("");
    let receiver = visit.params.get("receiver");
    let wanted = WANTED.iter().find(|(word, ..)| *word == outcome).and_then(|(.., wanted)| *wanted);
    let chosen = snapshot.recent.iter().filter(|n| {
        wanted.is_none_or(|outcome| n.outcome == outcome) && receiver.is_none_or(|name| n.receiver == name)
    });
    let mut chosen: Vec<&NoticeSnapshot> = chosen.collect();
    chosen.sort_by_key(|n| std::cmp::Reverse((n.at, n.id)));
    page(&Notifications {
        frame: Frame::new(&state, &visit, "/alarms", "Notifications", REFRESH_S),
        waiting: snapshot.outbox_len,
        since: snapshot.outbox_since.map_or_else(String::new, |at| span(now.since(at))),
        outbox_error: snapshot.outbox_error.clone().unwrap_or_default(),
        recipients: recipients(&snapshot, now),
        asked,
        mistake,
        taken: taken.into_iter().map(route).collect(),
        groups: snapshot.groups.iter().take(GROUPS_MAX).map(|g| group(g, now)).collect(),
        groups_more: snapshot.groups.len().saturating_sub(GROUPS_MAX),
        choices: choices(&visit, outcome),
        notices: chosen.into_iter().map(|n| notice(n, now, &state.info.time_zone)).collect(),
        has_notices: !snapshot.recent.is_empty(),
    })
}

/// Says in a line each how those who are told fare, for the alarms page: a name, empty for signs of life, and words.
pub(super) fn in_brief(state: &AppState, now: Timestamp) -> Vec<(String, bool, String)> {
    let line = |r: Recipient| {
        let words = if r.error.is_empty() { r.words } else { format!("{}: {}", r.words, r.error) };
        (r.name, r.is_well, words)
    };
    recipients(&state.notifier.snapshot(), now).into_iter().map(line).collect()
}

fn recipients(snapshot: &Snapshot, now: Timestamp) -> Vec<Recipient> {
    let told = snapshot.receivers.iter().map(|r| recipient(r, now));
    told.chain(snapshot.heartbeats.iter().map(|h| witness(h, now))).collect()
}

fn recipient(r: &ReceiverSnapshot, now: Timestamp) -> Recipient {
    let words = match (r.integrations, r.away_since, r.last_sent_at) {
        (0, ..) => "nobody is told, it has no way to send".to_owned(),
        (_, Some(since), _) => format!("not reached for {}, what it misses is kept", span(now.since(since))),
        (_, None, Some(at)) => format!("{} sent, the last {}", r.sent, ago(at, now)),
        (_, None, None) if r.last_error.is_some() => "the last attempt failed".to_owned(),
        (_, None, None) => "nothing sent yet".to_owned(),
    };
    Recipient {
        name: r.name.clone(),
        is_well: r.last_error.is_none() && r.integrations > 0,
        words,
        error: r.last_error.clone().unwrap_or_default(),
        has_test: r.integrations > 0,
    }
}

/// Whoever is to see the signs of life.
fn witness(h: &HeartbeatSnapshot, now: Timestamp) -> Recipient {
    let words = h.seen_at.map_or_else(
        || "has not seen this box yet".to_owned(),
        |at| format!("has seen this box {}, a sign every {}", ago(at, now), span(h.interval)),
    );
    Recipient {
        name: h.receiver.clone(),
        is_well: h.error.is_none() && h.seen_at.is_some(),
        words,
        error: h.error.clone().unwrap_or_default(),
        has_test: false,
    }
}

fn group(g: &GroupSnapshot, now: Timestamp) -> Group {
    let next = if g.next_at > now { format!("in {}", span(g.next_at.since(now))) } else { "now".to_owned() };
    Group { labels: g.labels.clone(), receiver: g.receiver.clone(), alarms: g.alarms.len(), next }
}

fn route(taken: TakenRoute) -> Route {
    let [wait, interval, repeat] = taken.waits.map(format_duration);
    let (mute, active) = (taken.intervals.0.join(", "), taken.intervals.1.join(", "));
    let intervals = [("silent in", mute), ("told only in", active)];
    let intervals = intervals.into_iter().filter(|(_, names)| !names.is_empty());
    Route {
        receiver: taken.receiver,
        path: taken.path,
        labels: taken.group_labels,
        waits: format!("waits {wait} first, {interval} for changes, {repeat} to tell the same again"),
        intervals: intervals.map(|(word, names)| format!("{word} {names}")).collect::<Vec<_>>().join("; "),
    }
}

fn notice(n: &NoticeSnapshot, now: Timestamp, zone: &jiff::tz::TimeZone) -> Notice {
    let counts = [(n.firing, "firing"), (n.resolved, "resolved")];
    let counts: Vec<_> = counts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
    let digest = if n.is_digest { "digest: " } else { "" };
    let again = if n.attempts > 1 { format!(", {} attempts", n.attempts) } else { String::new() };
    let (class, shape, word) = match n.outcome {
        Outcome::Waiting if n.attempts > 0 => ("p2", "p2", "is tried again"),
        Outcome::Waiting => ("", "off", "waits"),
        Outcome::Sent => ("", "ok", "sent"),
        Outcome::Folded => ("", "ok", "told in a digest"),
        Outcome::GivenUp => ("p2", "p2", "given up"),
    };
    Notice {
        when: clock(n.at, now, zone),
        receiver: n.receiver.clone(),
        labels: n.group_labels.clone(),
        what: format!("{digest}{}", counts.join(", ")),
        class,
        shape,
        outcome: format!("{word}{again}"),
        error: if n.outcome == Outcome::Sent { String::new() } else { n.error.clone() },
    }
}

fn choices(visit: &Visit, current: &str) -> Vec<Choice> {
    let choice = |(word, name, _): &(&'static str, &'static str, _)| Choice {
        name,
        href: visit.params.with(&[("outcome", word)]),
        is_current: *word == current,
    };
    WANTED.iter().map(choice).collect()
}

/// Reads the labels of an alarm: `severity="critical", line_id=line1`.
fn read_labels(text: &str) -> Result<Option<Labels>, String> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let matchers = parse_matchers(text).map_err(|e| e.to_string())?;
    let mut pairs = Vec::new();
    for m in &matchers {
        if m.op() != MatchOp::Equal {
            let (name, op) = (m.name(), m.op().as_str());
            return Err(format!("an alarm has labels, not conditions: write {name}=\"…\" instead of {name}{op}"));
        }
        pairs.push((m.name(), m.value()));
    }
    Ok(Some(Labels::from_pairs(pairs)))
}

/// Answers `POST /receivers/test`: sends a test to each way of a receiver and says what came of each.
async fn test(State(state): State<AppState>, visit: Visit, Form(fields): Form<BTreeMap<String, String>>) -> Response {
    let name = fields.get("receiver").map_or("", String::as_str);
    let frame = Frame::new(&state, &visit, "/alarms", "Test of a receiver", 0);
    let Some(tested) = state.notifier.test(name).await else {
        return message(frame, StatusCode::NOT_FOUND, &format!("No receiver is named {name:?}."));
    };
    let failed = tested.iter().filter(|t| t.failure.is_some()).count();
    let detail = json!({ "ways": tested.len(), "failed": failed });
    audit(&state, ANONYMOUS, "receiver.test", format!("receiver/{name}"), detail).await;
    let told = tested.iter().map(|t| match &t.failure {
        None => format!("{}: taken in {:.3} s.", t.integration, t.took.as_secs_f64()),
        Some(why) => format!("{}: not taken after {:.3} s: {why}.", t.integration, t.took.as_secs_f64()),
    });
    let told: Vec<String> = told.collect();
    let text = if told.is_empty() { "it has no way to send.".to_owned() } else { told.join(" ") };
    message(frame, StatusCode::OK, &format!("{name}: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_as_one_writes_them() {
        let labels = read_labels("severity=\"critical\", line_id=line 1").unwrap().unwrap();
        assert_eq!((labels.get("severity"), labels.get("line_id")), (Some("critical"), Some("line 1")));
        assert!(read_labels("  ").unwrap().is_none());
        assert!(read_labels("severity=~\"a|b\"").unwrap_err().contains("severity=\"…\""));
        assert!(read_labels("severity").is_err());
    }

    #[test]
    fn a_receiver_that_is_away_says_since_when_and_why() {
        let now = Timestamp::from_millis(600_000);
        let away = ReceiverSnapshot {
            name: "shift".to_owned(),
            integrations: 1,
            sent: 3,
            failed: 2,
            last_sent_at: Some(Timestamp::from_millis(1)),
            last_error: Some("connection refused".to_owned()),
            away_since: Some(Timestamp::from_millis(480_000)),
        };
        let seen = recipient(&away, now);
        assert!(!seen.is_well && seen.words.starts_with("not reached for 2"), "{seen:?}");
        assert_eq!(seen.error, "connection refused");
        let well = recipient(&ReceiverSnapshot { last_error: None, away_since: None, ..away }, now);
        assert!(well.is_well && well.words.starts_with("3 sent, the last 9"), "{well:?}");
    }
}
