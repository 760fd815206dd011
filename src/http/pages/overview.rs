//! The first page: the plant at a glance.

use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::alarms::Row as AlarmRow;
use super::ask::{Asker, ask};
use super::chart::Limit;
use super::devices::{Row as DeviceRow, rows as device_rows};
use super::layout::Frame;
use super::lines::{Line, LineState, lines};
use super::number::{Unit, clock};
use super::panel::{Panel, Question};
use super::visit::Visit;
use super::vitals::{Vital, vitals};
use super::window::Window;
use super::{failed, page};
use crate::http::AppState;

/// How often the page is fetched again, in seconds.
const REFRESH_S: u32 = 5;
/// Alarms shown here; the rest is on their own page.
const ALARMS_MAX: usize = 6;
/// Devices shown here.
const DEVICES_MAX: usize = 24;

#[derive(Debug, Template)]
#[template(path = "pages/overview.html")]
struct Overview {
    frame: Frame,
    window: Window,
    headline: String,
    strip_ends: (String, String),
    lines: Vec<Line>,
    alarms: Vec<AlarmRow>,
    alarms_more: usize,
    vitals: Vec<Vital>,
    devices: Vec<DeviceRow>,
    devices_more: usize,
    panels: Vec<Panel>,
    traffic: Vec<Panel>,
    problems: Vec<String>,
}

/// What was asked from the stores.
struct Answers {
    lines: Vec<Line>,
    vitals: Vec<Vital>,
    devices: Vec<DeviceRow>,
    panels: Vec<Panel>,
    problems: Vec<String>,
}

/// Answers `GET /`.
pub(super) async fn overview(State(state): State<AppState>, visit: Visit) -> Response {
    let frame = Frame::new(&state, &visit, "/", "Overview", REFRESH_S);
    let window = Window::read(&visit.params, Duration::from_secs(3600), visit.now);
    let shown = window.clone();
    let answers = ask(&state, visit.now, move |asker| Answers {
        lines: lines(asker, &shown, &asker.state.info.time_zone),
        vitals: vitals(asker, &shown),
        devices: device_rows(asker, &shown),
        panels: panels(asker, &shown),
        problems: asker.problems(),
    });
    let Ok(mut answers) = answers.await else { return failed(frame) };
    let traffic = answers.panels.split_off(answers.panels.len() - 1);
    let alarms = AlarmRow::all(&state, visit.now);
    let headline = headline(&answers, &alarms);
    let zone = &state.info.time_zone;
    page(&Overview {
        strip_ends: (clock(window.start, visit.now, zone), clock(window.end, visit.now, zone)),
        window,
        headline,
        alarms_more: alarms.len().saturating_sub(ALARMS_MAX),
        alarms: alarms.into_iter().take(ALARMS_MAX).collect(),
        devices_more: answers.devices.len().saturating_sub(DEVICES_MAX),
        devices: answers.devices.into_iter().take(DEVICES_MAX).collect(),
        lines: answers.lines,
        vitals: answers.vitals,
        panels: answers.panels,
        traffic,
        problems: answers.problems,
        frame,
    })
}

fn panels(asker: &Asker, window: &Window) -> Vec<Panel> {
    // As in the rule pack `devices.yml`.
    let heat_limits = [
        Limit { value: 75.0, name: "warm".to_owned(), class: "p2" },
        Limit { value: 80.0, name: "too hot".to_owned(), class: "p1" },
    ];
    let questions = [
        Question {
            title: "OEE",
            expression: "max by (line_id) (factory_oee_overall)",
            unit: Unit::Ratio,
            label: "line_id",
            bounds: Some((0.0, 1.0)),
            ..Question::default()
        },
        Question {
            title: "Output per minute",
            expression: "sum by (line_id) (rate(factory_production_count_total[2m])) * 60",
            label: "line_id",
            is_filled: true,
            ..Question::default()
        },
        Question {
            title: "Rejects per minute by defect",
            expression: "sum by (defect_type) (rate(factory_defect_count_total[5m])) * 60",
            label: "defect_type",
            lines_max: 4,
            ..Question::default()
        },
        Question {
            title: "Temperature",
            expression: "factory_temperature{unit=\"fahrenheit\"}",
            unit: Unit::Sign("°F"),
            label: "device_id",
            limits: &heat_limits,
            ..Question::default()
        },
        Question {
            title: "Device messages per second",
            expression: "sum(rate(gateway_messages_received_total[1m]))",
            unit: Unit::PerSecond,
            label: "",
            is_filled: true,
            ..Question::default()
        },
    ];
    questions.iter().map(|q| q.panel(asker, window)).collect()
}

/// Tells the state of the plant in plain words.
fn headline(answers: &Answers, alarms: &[AlarmRow]) -> String {
    let mut sentences = Vec::new();
    let named =
        |state| answers.lines.iter().filter(|l| l.state == state && !l.is_stale).map(|l| l.id.as_str()).collect();
    let faults: Vec<&str> = named(LineState::Fault);
    let stopped: Vec<&str> = named(LineState::Stopped);
    let running: Vec<&str> = named(LineState::Running);
    if !faults.is_empty() {
        sentences.push(format!("{} {} a fault.", list(&faults), if faults.len() == 1 { "has" } else { "have" }));
    }
    if !stopped.is_empty() {
        sentences.push(format!("{} {} stopped.", list(&stopped), if stopped.len() == 1 { "is" } else { "are" }));
    }
    if !running.is_empty() {
        sentences.push(format!("{} {} running.", list(&running), if running.len() == 1 { "is" } else { "are" }));
    }
    let stale = answers.lines.iter().filter(|l| l.is_stale).count();
    if stale > 0 {
        sentences.push(format!("{stale} of {} lines do not report.", answers.lines.len()));
    }
    let connected = answers.devices.iter().filter(|d| d.is_online).count();
    if !answers.devices.is_empty() {
        let all = answers.devices.len();
        let how_many = if connected == all { format!("All {all}") } else { format!("{connected} of {all}") };
        sentences.push(format!("{how_many} devices are connected."));
    }
    let open = alarms.iter().filter(|a| a.is_active && a.acknowledged.is_empty() && a.priority < 4).count();
    sentences.push(match open {
        0 => "Nothing needs attention.".to_owned(),
        1 => "1 alarm needs attention.".to_owned(),
        n => format!("{n} alarms need attention."),
    });
    sentences.join(" ")
}

/// Joins names as a sentence does.
fn list(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
