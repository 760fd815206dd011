//! One rule: what it says, how it fares, what is odd about it, and what it would have done on stored history with another
//! limit or other times.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::ask::{Asker, ask};
use super::chart::{Cell, Strip, Svg};
use super::layout::Frame;
use super::number::{Unit, ago, brief, clock, span};
use super::rules::{facts, remarks_of};
use super::visit::{Visit, encode};
use super::window::Window;
use super::{failed, message, page};
use crate::http::AppState;
use crate::model::{AlertState, Labels, Timestamp, format_duration, parse_duration};
use crate::query::promql::Options;
use crate::rules::{
    AlertingSnapshot, GroupSnapshot, Remark, Replay, RuleKind, RuleSnapshot, Threshold, Trial, replay, threshold,
};

/// The window of the back-test if nothing is said.
const USUAL: Duration = Duration::from_secs(7 * 86_400);
/// Cells of the strip.
const CELLS: u64 = 168;
/// Firings and alerts that are listed.
const LISTED: usize = 20;
/// How long a back-test may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// What the rule would have done in one of its forms.
#[derive(Debug)]
struct Tried {
    title: &'static str,
    words: String,
    strip: Svg,
    firings: Vec<FiringLine>,
    cost: String,
    error: String,
}

/// One time that it would have fired.
#[derive(Debug)]
struct FiringLine {
    when: String,
    lasted: String,
    labels: Vec<(String, String)>,
}

/// An alert that is there.
#[derive(Debug)]
struct AlertLine {
    state: &'static str,
    since: String,
    value: String,
    labels: Vec<(String, String)>,
    href: String,
}

#[derive(Debug, Template)]
#[template(path = "pages/rule.html")]
struct Rule {
    frame: Frame,
    window: Window,
    name: String,
    group: String,
    file: String,
    line: usize,
    version: String,
    kind: &'static str,
    expression: String,
    explore: String,
    timing: String,
    error: String,
    hold: String,
    keep: String,
    /// The limit that it compares with; empty if it does not compare with a number.
    limit: String,
    comparison: &'static str,
    measure: String,
    labels: Vec<(String, String)>,
    annotations: Vec<(String, String)>,
    alerts: Vec<AlertLine>,
    alerts_more: usize,
    remarks: Vec<Remark>,
    tried: Vec<Tried>,
    start: String,
    end: String,
    others: Vec<(String, String)>,
}

/// What the address asks to be tried.
#[derive(Debug, Clone, PartialEq)]
struct Wanted {
    limit: Option<f64>,
    hold: Duration,
    keep: Duration,
}

impl Wanted {
    fn read(visit: &Visit, alerting: &AlertingSnapshot) -> Wanted {
        let duration = |name, usual| visit.params.get(name).and_then(|t| parse_duration(t).ok()).unwrap_or(usual);
        Wanted {
            limit: visit.params.get("limit").and_then(|text| text.trim().parse().ok()),
            hold: duration("for", alerting.hold),
            keep: duration("keep", alerting.keep_firing),
        }
    }
}

/// Answers `GET /rules/rule`: `name`, and `group` and `file` where there are several; `limit`, `for`, `keep`, `range`.
pub(super) async fn rule(State(state): State<AppState>, visit: Visit) -> Response {
    let mut frame = Frame::new(&state, &visit, "/rules", "Rule", 0);
    let Some((group, rule, others)) = find(&state, &visit) else {
        return message(frame, StatusCode::NOT_FOUND, "There is no such rule.");
    };
    let (group, rule) = (&*group, &rule);
    frame.title.clone_from(&rule.name);
    let window = Window::read(&visit.params, USUAL, visit.now);
    let (trials, of_rule, span) = (trials(&visit, group, rule, &window), rule.clone(), window.clone());
    let is_builtin = group.file.starts_with("builtin:");
    let work = move |asker: &Asker| {
        let facts = facts(asker, is_builtin);
        let tried: Vec<Tried> = trials.iter().map(|(title, trial)| attempt(asker, title, trial, &span)).collect();
        (remarks_of(&of_rule, &facts), tried)
    };
    let Ok((remarks, tried)) = ask(&state, visit.now, work).await else { return failed(frame) };
    page(&view(frame, group, rule, window, remarks, tried, others, &visit, &state))
}

/// A rule with its group, and others of its name with their addresses.
type Found = (Arc<GroupSnapshot>, RuleSnapshot, Vec<(String, String)>);

/// Finds the rule that the address names, and others of that name.
fn find(state: &AppState, visit: &Visit) -> Option<Found> {
    let snapshot = state.rules.snapshot();
    let asked = |name| visit.params.get(name);
    let mut found: Option<(Arc<GroupSnapshot>, RuleSnapshot)> = None;
    let mut others = Vec::new();
    for group in &snapshot.groups {
        let is_asked =
            asked("group").is_none_or(|name| group.name == name) && asked("file").is_none_or(|file| group.file == file);
        for rule in group.rules.iter().filter(|r| is_asked && Some(r.name.as_str()) == asked("name")) {
            let is_this = asked("line").is_none_or(|line| rule.line.to_string() == line);
            if is_this && found.is_none() {
                found = Some((group.clone(), rule.clone()));
            } else if is_this {
                others.push((format!("{} in {}", rule.expression, group.name), href(group, rule)));
            }
        }
    }
    found.map(|(group, rule)| (group, rule, others))
}

/// Returns the address of a rule's page.
pub(super) fn href(group: &GroupSnapshot, rule: &RuleSnapshot) -> String {
    let (name, file) = (encode(&rule.name), encode(&group.file));
    format!("/rules/rule?name={name}&group={}&file={file}&line={}", encode(&group.name), rule.line)
}

/// Returns what is tried: the rule as it stands and, if the address asks for something else, that.
fn trials(visit: &Visit, group: &GroupSnapshot, rule: &RuleSnapshot, window: &Window) -> Vec<(&'static str, Trial)> {
    let RuleKind::Alerting(alerting) = &rule.kind else { return Vec::new() };
    let (_, cells) = window.cells(CELLS);
    let as_it_stands = Trial {
        expression: rule.expression.clone(),
        hold: alerting.hold,
        keep_firing: alerting.keep_firing,
        limit: group.limit,
        interval: group.interval,
        start: window.start,
        end: window.end,
        cells,
    };
    let wanted = Wanted::read(visit, alerting);
    let threshold = threshold(&rule.expression);
    let other = wanted.limit.zip(threshold.as_ref()).filter(|(limit, t)| *limit != t.limit);
    let changed = Trial {
        expression: other.map_or_else(|| rule.expression.clone(), |(limit, t)| t.with_limit(limit)),
        hold: wanted.hold,
        keep_firing: wanted.keep,
        ..as_it_stands.clone()
    };
    let mut trials = vec![("As it stands", as_it_stands)];
    if trials.first().is_none_or(|(_, first)| *first != changed) {
        trials.push(("With these changes", changed));
    }
    trials
}

/// Tries and draws.
fn attempt(asker: &Asker, title: &'static str, trial: &Trial, window: &Window) -> Tried {
    let options = Options { timeout: Some(TIMEOUT), ..asker.options().clone() };
    let started = asker.state.clock.elapsed();
    let found = replay(&asker.state.engine, trial, &options);
    let took = asker.state.clock.elapsed().saturating_sub(started);
    match found {
        Err(error) => Tried {
            title,
            words: String::new(),
            strip: Svg::default(),
            firings: Vec::new(),
            cost: String::new(),
            error: error.to_string(),
        },
        Ok(found) => Tried {
            title,
            words: words(&found),
            strip: strip(&found, window, asker),
            firings: found.firings.iter().take(LISTED).map(|f| firing(f, asker)).collect(),
            cost: format!(
                "{} evaluations every {} in {}",
                found.evaluations,
                format_duration(found.interval),
                Unit::Seconds.show(took.as_secs_f64())
            ),
            error: String::new(),
        },
    }
}

/// Says what a rule would have done.
fn words(found: &Replay) -> String {
    let times = |n: usize| if n == 1 { "once".to_owned() } else { format!("{n} times") };
    let short = match found.short {
        0 => String::new(),
        n => format!(" Its condition held {} more, but not for long enough.", times(n)),
    };
    let over = match found.over_limit {
        0 => String::new(),
        n => format!(" At {n} evaluations there were more alerts than its group allows, which dropped them all."),
    };
    match found.count {
        0 => format!("It would not have fired.{short}{over}"),
        n => format!(
            "It would have fired {}, at most {} at once; for {} there would have been an alarm.{short}{over}",
            times(n),
            found.at_once,
            span(found.some_firing)
        ),
    }
}

fn strip(found: &Replay, window: &Window, asker: &Asker) -> Svg {
    let cells: Vec<Cell> = found.strip.iter().map(|n| if *n > 0 { Cell::Bad } else { Cell::Idle }).collect();
    Strip {
        title: "Back-test",
        start: window.start,
        end: window.end,
        cells: &cells,
        words: ["", "quiet", "would have fired"],
        is_band: true,
        zone: &asker.state.info.time_zone,
    }
    .svg()
}

fn firing(firing: &crate::rules::Firing, asker: &Asker) -> FiringLine {
    FiringLine {
        when: clock(firing.fired_at, asker.now, &asker.state.info.time_zone),
        lasted: firing.resolved_at.map_or_else(|| "goes on".to_owned(), |at| span(at.since(firing.fired_at))),
        labels: pairs(&firing.labels.without_name()),
    }
}

fn pairs(labels: &Labels) -> Vec<(String, String)> {
    labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
}

#[expect(clippy::too_many_arguments, reason = "what one page is made of, called once")]
fn view(
    frame: Frame,
    group: &GroupSnapshot,
    rule: &RuleSnapshot,
    window: Window,
    remarks: Vec<Remark>,
    tried: Vec<Tried>,
    others: Vec<(String, String)>,
    visit: &Visit,
    state: &AppState,
) -> Rule {
    let zone = &state.info.time_zone;
    let threshold: Option<Threshold> = threshold(&rule.expression);
    let wanted = match &rule.kind {
        RuleKind::Alerting(alerting) => Some(Wanted::read(visit, alerting)),
        RuleKind::Recording => None,
    };
    let annotations = match &rule.kind {
        RuleKind::Alerting(alerting) => pairs(&alerting.annotations),
        RuleKind::Recording => Vec::new(),
    };
    let live: Vec<_> = rule.alerts().iter().filter(|a| a.state != AlertState::Resolved).collect();
    let duration = |d: Option<Duration>| d.map_or_else(String::new, format_duration);
    let limit = wanted.as_ref().and_then(|w| w.limit).or(threshold.as_ref().map(|t| t.limit));
    Rule {
        name: rule.name.clone(),
        group: group.name.clone(),
        file: group.file.clone(),
        line: rule.line,
        version: format!("{:08x}", rule.version),
        kind: if rule.kind == RuleKind::Recording { "Recording rule" } else { "Alerting rule" },
        explore: format!("/explore?q={}", encode(&rule.expression)),
        expression: rule.expression.clone(),
        timing: timing(group, rule, visit.now),
        error: rule.last_error.clone(),
        hold: duration(wanted.as_ref().map(|w| w.hold)),
        keep: duration(wanted.as_ref().map(|w| w.keep)),
        limit: limit.filter(|_| threshold.is_some()).map_or_else(String::new, |l| l.to_string()),
        comparison: threshold.as_ref().map_or("", |t| t.comparison),
        measure: threshold.map_or_else(String::new, |t| t.measure),
        labels: pairs(&rule.labels),
        annotations,
        alerts_more: live.len().saturating_sub(LISTED),
        alerts: live
            .iter()
            .take(LISTED)
            .map(|alert| AlertLine {
                state: alert.state.as_str(),
                since: format!("since {}", clock(alert.active_at, visit.now, zone)),
                value: brief(alert.value),
                labels: pairs(&alert.labels),
                href: format!("/alarms/{:016x}", alert.labels.stable_hash()),
            })
            .collect(),
        remarks,
        tried,
        start: clock(window.start, visit.now, zone),
        end: clock(window.end, visit.now, zone),
        others,
        window,
        frame,
    }
}

fn timing(group: &GroupSnapshot, rule: &RuleSnapshot, now: Timestamp) -> String {
    let last = rule.last_evaluation.map_or_else(|| "not evaluated yet".to_owned(), |t| format!("last {}", ago(t, now)));
    let took = Unit::Seconds.show(rule.evaluation_time.as_secs_f64());
    format!("every {}, {last}, took {took}", span(group.interval))
}
