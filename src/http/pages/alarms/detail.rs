//! One alarm: what it is about, why its rule says so, what the device logged, what was before.

use std::time::Duration;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use crate::alarms::{Event, HistoryQuery};
use crate::http::AppState;
use crate::http::pages::ask::{Asker, ask};
use crate::http::pages::chart::{Chart, Limit, Line, Svg};
use crate::http::pages::explore::parts;
use crate::http::pages::layout::Frame;
use crate::http::pages::log_lines::{LogLine, log_lines};
use crate::http::pages::number::{Unit, brief, clock, local, span};
use crate::http::pages::visit::{Visit, encode};
use crate::http::pages::window::Window;
use crate::http::pages::{failed, page};
use crate::model::{Alarm, Labels, Matcher, Timestamp};
use crate::query::promql::{Options, Value};
use crate::rules::threshold;

use super::history::Past;
use super::row::Row;

/// Parts of the expression that are worked out.
const PARTS_MAX: usize = 24;
/// Log lines shown, and how far around the alarm they lie.
const LOG_LINES: usize = 50;
const LOG_AROUND: Duration = Duration::from_secs(300);
/// Lines of the alarm's own history, and of the other times.
const OWN_LINES: usize = 30;
const SIMILAR: usize = 20;
/// How far back other times are looked for.
const SIMILAR_BACK: Duration = Duration::from_secs(90 * 86_400);
/// The chart begins so long before the alarm.
const BEFORE: Duration = Duration::from_secs(1800);

/// Lengths of shelving to choose from.
const LENGTHS: [(&str, &str); 5] =
    [("30m", "30 minutes"), ("2h", "2 hours"), ("8h", "8 hours, a shift"), ("1d", "1 day"), ("1w", "1 week")];

/// A part of the expression with what it gave for this alarm.
#[derive(Debug, Clone)]
struct Step {
    depth: usize,
    text: Vec<String>,
    whole: String,
    /// When the alarm was raised, and now.
    then: String,
    now: String,
}

#[derive(Debug, Default)]
struct Found {
    svg: Svg,
    steps: Vec<Step>,
    log: Vec<LogLine>,
}

#[derive(Debug, Template)]
#[template(path = "pages/alarm.html")]
struct Detail {
    frame: Frame,
    row: Row,
    labels: Vec<(String, String)>,
    raised: String,
    cleared: String,
    expression: String,
    /// Whether a rule of this box raised it: only then is here what it measures.
    has_rule: bool,
    /// Where another program shows what raised it; empty if it did not say.
    source: String,
    /// The same, without what stands behind the host.
    source_host: String,
    found: Found,
    log_href: String,
    /// Frames that were frozen: where they are, how many, of when.
    frozen: Vec<(String, String, String)>,
    own: Vec<Past>,
    similar: Vec<Past>,
    similar_count: usize,
    lengths: &'static [(&'static str, &'static str)],
    back: String,
    rule_href: String,
    history_href: String,
}

/// Answers `GET /alarms/{fingerprint}`.
pub(super) async fn detail(State(state): State<AppState>, visit: Visit, Path(text): Path<String>) -> Response {
    let mut frame = Frame::new(&state, &visit, "/alarms", "Alarm", 10);
    frame.events = super::EVENTS;
    let Ok(fingerprint) = u64::from_str_radix(&text, 16) else { return super::unknown(frame) };
    let of_this = HistoryQuery { fingerprint: Some(fingerprint), limit: OWN_LINES, ..HistoryQuery::default() };
    let Ok(own) = state.alarms.history(&of_this).await else { return failed(frame) };
    let on_board = state.alarms.snapshot().alarm(fingerprint).cloned();
    let Some(alarm) = on_board.or_else(|| own.first().map(|t| (*t.alarm).clone())) else {
        return super::unknown(frame);
    };
    let similar = HistoryQuery {
        start: Some(visit.now - SIMILAR_BACK),
        end: Some(alarm.raised_at),
        matchers: vec![Matcher::equal("alertname", alarm.name())],
        event: Some(Event::Cleared),
        ..HistoryQuery::default()
    };
    let Ok(similar) = state.alarms.history(&similar).await else { return failed(frame) };
    // What cannot be read of the black box does not take the page with it.
    let frozen = state.gateway.frozen_of_alarm(&format!("{fingerprint:016x}")).await.unwrap_or_default();
    let asked = alarm.clone();
    let Ok(found) = ask(&state, visit.now, move |asker| look(asker, &asked)).await else { return failed(frame) };
    frame.title = alarm.name().to_owned();
    let zone = &state.info.time_zone;
    let device = alarm.labels.get("device_id").unwrap_or("");
    page(&Detail {
        row: Row::of(&alarm, &state, visit.now),
        labels: alarm.labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
        raised: local(alarm.raised_at, zone, "%Y-%m-%d %H:%M:%S"),
        cleared: alarm.cleared_at.map_or_else(String::new, |at| {
            format!("{}, after {}", clock(at, visit.now, zone), span(at.since(alarm.raised_at)))
        }),
        expression: alarm.expression.clone(),
        has_rule: alarm.rule_version != 0,
        source: alarm.source_url.clone(),
        source_host: alarm.source_url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/"),
        found,
        log_href: match device {
            "" => String::new(),
            device => format!("/logs?q={}", encode(&format!("{{device_id=\"{device}\"}}"))),
        },
        frozen: frozen
            .iter()
            .map(|copy| {
                let href = format!("/devices/{}/frames?frozen={}", encode(&copy.device_id), copy.id);
                let when = local(copy.raised_at, zone, "%Y-%m-%d %H:%M:%S");
                (href, format!("{} frames of {}", copy.frames, copy.device_id), format!("raised {when}"))
            })
            .collect(),
        own: own.iter().map(|t| Past::of(t, &state, visit.now)).collect(),
        similar_count: similar.len(),
        similar: similar
            .iter()
            .take(SIMILAR)
            .map(|t| {
                let lasted = span(t.at.since(t.alarm.raised_at));
                Past {
                    value: lasted,
                    clock: local(t.alarm.raised_at, zone, "%Y-%m-%d %H:%M"),
                    ..Past::of(t, &state, visit.now)
                }
            })
            .collect(),
        lengths: &LENGTHS,
        back: format!("/alarms/{text}"),
        rule_href: format!("/rules/rule?name={}", encode(alarm.name())),
        history_href: format!(
            "/alarms/history?with={}",
            encode(&Matcher::equal("alertname", alarm.name()).to_string())
        ),
        frame,
    })
}

/// Asks the stores.
fn look(asker: &Asker, alarm: &Alarm) -> Found {
    let mut found = Found { log: log(asker, alarm), ..Found::default() };
    if alarm.rule_version != 0 {
        found.svg = chart(asker, alarm);
        found.steps = steps(asker, alarm);
    }
    found
}

/// Tells whether a series may be what an alarm is about: what both name is the same.
fn fits(series: &Labels, alarm: &Labels) -> bool {
    series.iter().all(|(name, value)| name == "__name__" || alarm.get(name).is_none_or(|v| v == value))
}

/// Draws what the rule measures, from before the alarm until now or its end, with the limit.
fn chart(asker: &Asker, alarm: &Alarm) -> Svg {
    let threshold = threshold(&alarm.expression);
    let measure = threshold.as_ref().map_or(alarm.expression.as_str(), |t| t.measure.as_str());
    let end = alarm.cleared_at.map_or(asker.now, |at| (at + BEFORE).min(asker.now));
    let window = Window::fixed(alarm.raised_at - BEFORE, end);
    let step = window.step(240);
    let lines: Vec<Line> = asker
        .range(measure, &window, step)
        .into_iter()
        .filter(|s| fits(&s.labels, &alarm.labels))
        .take(4)
        .map(|s| Line { name: String::new(), points: s.points })
        .collect();
    if !lines.iter().any(|l| l.points.iter().any(|p| p.value.is_finite())) {
        return Svg::default();
    }
    let limits: Vec<Limit> = threshold
        .iter()
        .map(|t| Limit { value: t.limit, name: format!("{} {}", t.comparison, brief(t.limit)), class: class(alarm) })
        .collect();
    Chart {
        title: measure,
        unit: Unit::Plain,
        start: window.start,
        end: window.end,
        step,
        lines: &lines,
        limits: &limits,
        bounds: None,
        height: 160,
        filled: false,
        zone: &asker.state.info.time_zone,
    }
    .svg()
}

fn class(alarm: &Alarm) -> &'static str {
    match alarm.priority() {
        1 => "p1",
        2 => "p2",
        3 => "p3",
        _ => "p4",
    }
}

/// Works out each part of the expression for this alarm: when it was raised, and now.
fn steps(asker: &Asker, alarm: &Alarm) -> Vec<Step> {
    let options = Options { is_traced: true, ..asker.options().clone() };
    let Ok(answer) = asker.state.engine.instant(&alarm.expression, alarm.raised_at, &options) else {
        return Vec::new();
    };
    let Some(trace) = answer.trace else { return Vec::new() };
    let found = parts(&trace).into_iter().take(PARTS_MAX);
    found
        .map(|part| Step {
            depth: part.depth,
            then: value(asker, &part.whole, alarm, alarm.raised_at),
            now: value(asker, &part.whole, alarm, asker.now),
            text: part.text,
            whole: part.whole,
        })
        .collect()
}

/// Returns what a part gives for an alarm at a time, in words.
fn value(asker: &Asker, expression: &str, alarm: &Alarm, at: Timestamp) -> String {
    let Ok(answer) = asker.state.engine.instant(expression, at, asker.options()) else { return String::new() };
    match answer.value {
        Value::Scalar(sample) => brief(sample.value),
        Value::String(_, text) => text,
        Value::Vector(series) => {
            let all = series.len();
            let mine: Vec<f64> =
                series.iter().filter(|s| fits(&s.labels, &alarm.labels)).map(|s| s.sample.value).collect();
            match mine.as_slice() {
                [one] => brief(*one),
                [] if all == 0 => "nothing".to_owned(),
                [] => "nothing of this".to_owned(),
                many => format!("{} series", many.len()),
            }
        }
        Value::Matrix(series) => {
            let mine = series.iter().find(|s| fits(&s.labels, &alarm.labels));
            mine.map_or_else(
                || "no samples".to_owned(),
                |s| {
                    let ends = s.points.first().zip(s.points.last());
                    let ends =
                        ends.map_or_else(String::new, |(a, b)| format!(", {} to {}", brief(a.value), brief(b.value)));
                    format!("{} samples{ends}", s.points.len())
                },
            )
        }
    }
}

/// Returns what the device logged around the time that the alarm was raised.
fn log(asker: &Asker, alarm: &Alarm) -> Vec<LogLine> {
    let Some(device) = alarm.labels.get("device_id").filter(|d| !d.is_empty() && !d.contains(['"', '\\'])) else {
        return Vec::new();
    };
    let end = (alarm.raised_at + LOG_AROUND).min(asker.now);
    let window = Window::fixed(alarm.raised_at - LOG_AROUND, end);
    log_lines(asker, &format!("{{device_id=\"{device}\"}}"), &window, LOG_LINES).unwrap_or_default()
}
