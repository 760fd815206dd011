//! Devices: all of them, and everything about one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::alarms::Row as AlarmRow;
use super::ask::{Asker, Latest, ask};
use super::chart::{Cell, Strip, Svg, spark};
use super::layout::Frame;
use super::lines::cells;
use super::log_lines::{LogLine, log_lines};
use super::number::{Unit, ago, clock, span};
use super::panel::{Panel, Question};
use super::visit::{Visit, encode};
use super::window::Window;
use super::{failed, message, page, trial};
use crate::gateway::DeviceView;
use crate::http::AppState;
use crate::model::{LABEL_NAME, Labels, MatchOp, Matcher, Sample, Timestamp};
use crate::query::promql::RangeSeries;

/// How often the pages are fetched again, in seconds.
const REFRESH_S: u32 = 5;
/// Cells of a heartbeat bar.
const CELLS: u64 = 60;
/// Series shown for one device.
const SERIES_MAX: usize = 60;
/// Bytes of a last message that are shown.
const MESSAGE_CHARS_MAX: usize = 400;

/// One device as a row.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// Its name.
    pub(super) id: String,
    /// Its page.
    pub(super) href: String,
    /// Its type; may be empty.
    pub(super) device_type: String,
    /// Whether it is connected.
    pub(super) is_online: bool,
    /// How long it has been so.
    pub(super) since: String,
    /// When it last sent something.
    pub(super) last_seen: String,
    /// Where it comes from; empty while it is away.
    pub(super) address: String,
    /// Messages a minute.
    pub(super) rate: String,
    /// Active alarms about it, by highest priority: shape and count.
    pub(super) alarms: usize,
    /// The highest priority of those.
    pub(super) priority: u8,
    /// Connected or not over the window.
    pub(super) strip: Svg,
}

/// Returns all devices, those that are away first.
pub(super) fn rows(asker: &Asker, window: &Window) -> Vec<Row> {
    let snapshot = asker.state.gateway.snapshot();
    let step = window.step(CELLS);
    let expression = connection("device_connection_state", "min by (device_id)", step);
    let mut history: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
    for RangeSeries { labels, points } in asker.range(&expression, window, step) {
        history.insert(labels.get("device_id").unwrap_or("").to_owned(), points);
    }
    let rates: BTreeMap<String, f64> = asker
        .vector("sum by (device_id) (rate(device_messages_published_total[5m])) * 60")
        .into_iter()
        .map(|(l, v)| (l.get("device_id").unwrap_or("").to_owned(), v))
        .collect();
    let mut alarms: BTreeMap<String, (usize, u8)> = BTreeMap::new();
    for alarm in asker.state.alarms.snapshot().active() {
        if let Some(id) = alarm.labels.get("device_id") {
            let (count, priority) = alarms.entry(id.to_owned()).or_insert((0, 4));
            *count += 1;
            *priority = alarm.priority().min(*priority);
        }
    }
    let mut rows: Vec<Row> = snapshot
        .devices
        .iter()
        .map(|device| {
            let points = history.get(&device.id).map_or(&[][..], Vec::as_slice);
            let (count, priority) = alarms.get(&device.id).copied().unwrap_or((0, 4));
            Row {
                strip: heartbeat(&device.id, points, window, asker),
                rate: rates.get(&device.id).map_or_else(String::new, |r| Unit::PerMinute.show(*r)),
                alarms: count,
                priority,
                ..row(device, asker.now)
            }
        })
        .collect();
    rows.sort_by(|a, b| (a.is_online, &a.id).cmp(&(b.is_online, &b.id)));
    rows
}

fn row(device: &DeviceView, now: Timestamp) -> Row {
    let since = match (&device.connection, device.disconnected_at) {
        (Some(connection), _) => format!("for {}", span(now.since(connection.connected_at))),
        (None, Some(at)) => format!("left {}", ago(at, now)),
        (None, None) => "not seen since this box started".to_owned(),
    };
    Row {
        id: device.id.clone(),
        href: format!("/devices/{}", encode(&device.id)),
        device_type: device.device_type.clone(),
        is_online: device.connection.is_some(),
        since,
        last_seen: device.last_seen.map_or_else(|| "–".to_owned(), |t| ago(t, now)),
        address: device.connection.as_ref().map_or_else(String::new, |c| c.address.to_string()),
        rate: String::new(),
        alarms: 0,
        priority: 4,
        strip: Svg::default(),
    }
}

/// Asks for the lowest value of each step, so that a short absence shows; where a step is shorter than the
/// distance of samples, for the last one known.
fn connection(selector: &str, aggregate: &str, step: Duration) -> String {
    format!("{aggregate} (min_over_time({selector}[{}s]) or {selector})", step.as_secs())
}

fn heartbeat(id: &str, points: &[Sample], window: &Window, asker: &Asker) -> Svg {
    let cells = cells(points, window, window.cells(CELLS).1, |v| if v >= 1.0 { Cell::Good } else { Cell::Bad });
    Strip {
        title: id,
        start: window.start,
        end: window.end,
        cells: &cells,
        words: ["connected", "idle", "away"],
        is_band: false,
        zone: &asker.state.info.time_zone,
    }
    .svg()
}

#[derive(Debug, Template)]
#[template(path = "pages/devices.html")]
struct Devices {
    frame: Frame,
    window: Window,
    rows: Vec<Row>,
    connected: usize,
    all: usize,
    find: String,
    problems: Vec<String>,
}

/// Answers `GET /devices`.
pub(super) async fn devices(State(state): State<AppState>, visit: Visit) -> Response {
    let frame = Frame::new(&state, &visit, "/devices", "Devices", REFRESH_S);
    let window = Window::read(&visit.params, Duration::from_secs(3600), visit.now);
    let shown = window.clone();
    let answers = ask(&state, visit.now, move |asker| (rows(asker, &shown), asker.problems())).await;
    let Ok((rows, problems)) = answers else { return failed(frame) };
    let find = visit.params.get("find").unwrap_or("").to_lowercase();
    let all = rows.len();
    let connected = rows.iter().filter(|r| r.is_online).count();
    let is_wanted = |r: &Row| r.id.to_lowercase().contains(&find) || r.device_type.to_lowercase().contains(&find);
    let rows = rows.into_iter().filter(is_wanted).collect();
    page(&Devices { frame, window, rows, connected, all, find, problems })
}

/// One series of a device.
#[derive(Debug)]
struct Reading {
    name: String,
    labels: String,
    value: String,
    age: String,
    is_stale: bool,
    spark: Svg,
    href: String,
}

/// One last message of a device.
#[derive(Debug)]
struct LastMessage {
    /// The page that shows what it becomes.
    href: String,
    subject: String,
    age: String,
    text: String,
}

#[derive(Debug, Template)]
#[template(path = "pages/device.html")]
struct Device {
    frame: Frame,
    window: Window,
    row: Row,
    strip: Svg,
    strip_ends: (String, String),
    role: String,
    group: String,
    is_enabled: bool,
    is_registered: bool,
    /// One sentence a token: since when, until when.
    tokens: Vec<String>,
    /// By what each certificate is known, and since when it is entered.
    certificates: Vec<(String, String)>,
    /// Whether clients are asked for certificates at all.
    asks_for_certificates: bool,
    publish: String,
    subscribe: String,
    /// As registered, one pattern a line, for the form.
    own_publish: String,
    own_subscribe: String,
    subscriptions: String,
    frames: String,
    created: String,
    /// What it says of itself: what, and how much.
    says: Vec<(&'static str, String)>,
    readings: Vec<Reading>,
    readings_more: usize,
    messages: Panel,
    alarms: Vec<AlarmRow>,
    last: Vec<LastMessage>,
    logs: Vec<LogLine>,
    logs_href: String,
    problems: Vec<String>,
}

/// What was asked from the stores about one device.
struct Answers {
    strip: Svg,
    readings: Vec<Reading>,
    readings_more: usize,
    messages: Panel,
    last: Vec<LastMessage>,
    logs: Vec<LogLine>,
    problems: Vec<String>,
}

/// Answers `GET /devices/{id}`.
pub(super) async fn device(State(state): State<AppState>, visit: Visit, Path(id): Path<String>) -> Response {
    let frame = Frame::new(&state, &visit, "/devices", &id, REFRESH_S);
    let window = Window::read(&visit.params, Duration::from_secs(3600), visit.now);
    let snapshot = state.gateway.snapshot();
    let Some(view) = snapshot.device(&id) else {
        return message(
            frame,
            StatusCode::NOT_FOUND,
            "No device of this name is registered. Devices are added with: andon device add NAME",
        );
    };
    let (shown, asked) = (window.clone(), id.clone());
    let Ok(answers) = ask(&state, visit.now, move |asker| about(asker, &asked, &shown)).await else {
        return failed(frame);
    };
    let zone = &state.info.time_zone;
    let mut alarms = AlarmRow::all(&state, visit.now);
    alarms.retain(|a| a.place == id && !a.place_href.is_empty());
    let connection = view.connection.as_ref();
    page(&Device {
        row: row(view, visit.now),
        strip_ends: (clock(window.start, visit.now, zone), clock(window.end, visit.now, zone)),
        role: view.role.clone(),
        group: view.group.clone(),
        is_enabled: view.is_enabled,
        is_registered: view.is_registered,
        tokens: view.tokens.iter().map(|token| token_text(*token, visit.now, zone)).collect(),
        certificates: view.certificates.iter().map(|(mark, at)| (mark.clone(), ago(*at, visit.now))).collect(),
        asks_for_certificates: state.settings.borrow().asks_for_certificates,
        publish: view.publish.join(", "),
        subscribe: view.subscribe.join(", "),
        own_publish: view.own_publish.join("\n"),
        own_subscribe: view.own_subscribe.join("\n"),
        subscriptions: connection.map_or_else(String::new, |c| c.subscriptions.join(", ")),
        frames: connection
            .map_or_else(String::new, |c| format!("{} in, {} out, {} refused", c.received, c.sent, c.refused)),
        created: clock(view.created_at, visit.now, zone),
        says: says(&state, &id, visit.now),
        strip: answers.strip,
        readings: answers.readings,
        readings_more: answers.readings_more,
        messages: answers.messages,
        alarms,
        last: answers.last,
        logs: answers.logs,
        logs_href: format!("/logs?q={}", encode(&selector(&id))),
        problems: answers.problems,
        window,
        frame,
    })
}

/// Returns what a device says of itself, in heartbeats and in its statistics.
fn says(state: &AppState, id: &str, now: Timestamp) -> Vec<(&'static str, String)> {
    let snapshot = state.collector.snapshot();
    let Some(device) = snapshot.telemetry.devices.iter().find(|device| device.device_id == id) else {
        return Vec::new();
    };
    let health = device.health.map(|health| match health {
        h if h >= 1.0 => "well",
        h if h > 0.0 => "degraded",
        _ => "not working",
    });
    let heartbeat = health.zip(device.last_heartbeat).map(|(word, at)| format!("{word}, {}", ago(at, now)));
    [
        ("Health", heartbeat),
        ("Latency", device.latency_s.map(|s| Unit::Seconds.show(s))),
        ("Waiting in it", device.waiting.map(|n| format!("{n} messages"))),
        ("Lost by it", device.lost.filter(|n| *n > 0.0).map(|n| format!("{n} messages"))),
        ("Reconnects", device.reconnects.map(|n| n.to_string())),
    ]
    .into_iter()
    .filter_map(|(what, text)| Some((what, text?)))
    .collect()
}

/// Says since when and until when a token holds.
fn token_text((made, ends): (Timestamp, Option<Timestamp>), now: Timestamp, zone: &jiff::tz::TimeZone) -> String {
    let since = format!("made {}", ago(made, now));
    match ends {
        None => since,
        Some(end) if end <= now => format!("{since}, over"),
        Some(end) => format!("{since}, holds until {}", clock(end, now, zone)),
    }
}

/// Returns the selector of everything that carries the device's name.
fn selector(id: &str) -> String {
    format!("{{device_id={}}}", quote(id))
}

/// Writes a text as PromQL and LogQL quote it.
fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

fn about(asker: &Asker, id: &str, window: &Window) -> Answers {
    let step = window.step(CELLS);
    let expression = connection(&format!("device_connection_state{}", selector(id)), "min", step);
    let strip = heartbeat(id, &asker.line(&expression, window, step), window, asker);
    let (readings, readings_more) = readings(asker, id, window);
    let messages = Question {
        title: "Messages per minute",
        expression: &format!("sum by (subject) (rate(device_messages_published_total{}[5m])) * 60", selector(id)),
        label: "subject",
        ..Question::default()
    }
    .panel(asker, window);
    let last = asker.state.last.list(id).into_iter().map(|m| LastMessage {
        href: trial::address(id, &m.subject, &String::from_utf8_lossy(&m.payload)),
        age: ago(m.received_at, asker.now),
        text: shorten(&String::from_utf8_lossy(&m.payload)),
        subject: m.subject,
    });
    let logs = log_lines(asker, &selector(id), window, 20).unwrap_or_default();
    Answers { strip, readings, readings_more, messages, last: last.collect(), logs, problems: asker.problems() }
}

/// Returns the series that carry the device's name with their newest values, and how many more there are.
fn readings(asker: &Asker, id: &str, window: &Window) -> (Vec<Reading>, usize) {
    // Shown in their own way on this page.
    let own = ["device_messages_published_total", "device_messages_received_total", "device_connection_state"];
    let mut matchers = vec![Matcher::equal("device_id", id)];
    matchers.extend(Matcher::new(LABEL_NAME, MatchOp::NotRegex, "ALERTS.*|gateway_.*").ok());
    let Ok(series) = asker.state.db.querier().series(&matchers, window.start, window.end) else {
        return (Vec::new(), 0);
    };
    // What the device measures comes before what is measured of the device.
    let names: BTreeSet<(bool, &str)> = series
        .iter()
        .map(Labels::metric_name)
        .filter(|n| !own.contains(n))
        .map(|n| (n.starts_with("device_"), n))
        .collect();
    let mut readings = Vec::new();
    let step = window.step(60);
    for (_, name) in names {
        if readings.len() >= SERIES_MAX {
            break;
        }
        let selector = format!("{{__name__={},device_id={}}}", quote(name), quote(id));
        let courses = asker.range(&selector, window, step);
        for latest in asker.latest(&selector) {
            let course = courses.iter().find(|c| c.labels == latest.labels).map_or(&[][..], |c| &c.points);
            let rest = latest.labels.drop(&["device_id", "device_type", "job", "instance", "unit", LABEL_NAME]);
            let rest: Vec<String> = rest.iter().map(|(n, v)| format!("{n}={v}")).collect();
            readings.push(Reading {
                name: name.to_owned(),
                labels: rest.join(" "),
                value: value_text(&latest, asker.now),
                age: ago(latest.at, asker.now),
                is_stale: asker.now.since(latest.at) > Duration::from_secs(120),
                spark: spark(course, window.start, window.end),
                href: format!("/explore?q={}", encode(&selector)),
            });
        }
    }
    let more = series.len().saturating_sub(readings.len().max(SERIES_MAX));
    readings.truncate(SERIES_MAX);
    (readings, more)
}

/// Writes a value with its unit; a point in time as how long ago it is.
fn value_text(latest: &Latest, now: Timestamp) -> String {
    let name = latest.labels.metric_name();
    if name.ends_with("_timestamp") || name.ends_with("_timestamp_seconds") {
        return ago(Timestamp::from_seconds(latest.value), now);
    }
    Unit::of_labels(&latest.labels).show(latest.value)
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= MESSAGE_CHARS_MAX {
        return text.to_owned();
    }
    text.chars().take(MESSAGE_CHARS_MAX).chain(['…']).collect()
}
