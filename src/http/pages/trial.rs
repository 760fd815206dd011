//! What a message becomes: tried with the settings in force, without keeping anything.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;

use super::layout::Frame;
use super::page;
use super::visit::{Visit, encode};
use crate::bus::{Subject, SubjectPattern};
use crate::collect::telemetry::{Trial, TrialSample};
use crate::http::AppState;
use crate::model::{DeviceMessage, Origin, Timestamp};

/// Longest body that is tried; an address is not much longer.
const PAYLOAD_BYTES_MAX: usize = 16 * 1024;

/// One sample.
#[derive(Debug)]
struct Row {
    labels: String,
    value: String,
    kind: &'static str,
    /// Its own time; empty if it is that of its receipt.
    at: String,
    /// Why it would not be kept; empty if it would.
    refused: String,
}

/// What became of the message.
#[derive(Debug)]
struct Outcome {
    title: String,
    samples: Vec<Row>,
    /// Labels and text.
    line: Option<(String, String)>,
    remarks: Vec<String>,
}

#[derive(Debug, Template)]
#[template(path = "pages/trial.html")]
struct TrialPage {
    frame: Frame,
    device: String,
    devices: Vec<String>,
    subject: String,
    payload: String,
    outcome: Option<Outcome>,
}

/// Returns the address that shows what becomes of a message.
pub(super) fn address(device: &str, subject: &str, payload: &str) -> String {
    format!("/devices/try?device={}&subject={}&payload={}", encode(device), encode(subject), encode(payload))
}

/// Answers `GET /devices/try`: `device`, `subject`, `payload`.
pub(super) async fn trial(State(state): State<AppState>, visit: Visit) -> Response {
    let frame = Frame::new(&state, &visit, "/devices", "What a message becomes", 0);
    let text = |name: &str| visit.params.get(name).unwrap_or("").to_owned();
    let (device, subject, payload) = (text("device"), text("subject"), text("payload"));
    let snapshot = state.gateway.snapshot();
    let outcome = (!subject.is_empty()).then(|| match subject.parse::<Subject>() {
        Err(error) => refusal(error.to_string()),
        Ok(_) if payload.len() > PAYLOAD_BYTES_MAX => refusal(format!("more than {PAYLOAD_BYTES_MAX} bytes")),
        Ok(parsed) => {
            let view = snapshot.device(&device);
            let message = DeviceMessage {
                device_id: device.clone(),
                device_type: view.map(|v| v.device_type.clone()).unwrap_or_default(),
                subject: subject.clone(),
                payload: Bytes::from(payload.clone()),
                received_at: visit.now,
                moved_ms: state.clock.moved_ms(),
                origin: Origin::Gateway,
            };
            let mut outcome = outcome(state.collector.try_message(&message), visit.now);
            let may = |pattern: &String| pattern.parse::<SubjectPattern>().is_ok_and(|p| p.matches(&parsed));
            if view.is_some_and(|view| !view.publish.iter().any(may)) {
                outcome.remarks.insert(0, format!("{device} may not publish on this subject: it would be refused"));
            }
            outcome
        }
    });
    let devices = snapshot.devices.iter().map(|d| d.id.clone()).collect();
    page(&TrialPage { frame, device, devices, subject, payload, outcome })
}

fn refusal(why: String) -> Outcome {
    Outcome { title: "It cannot be published".to_owned(), samples: Vec::new(), line: None, remarks: vec![why] }
}

fn outcome(trial: Trial, now: Timestamp) -> Outcome {
    let title = match (trial.result, trial.samples.len()) {
        ("mapped", 0) => "No samples".to_owned(),
        ("mapped", 1) => "1 sample".to_owned(),
        ("mapped", n) => format!("{n} samples"),
        ("logged", _) => "A log line".to_owned(),
        ("stats", _) => "The device's report on itself: its device_ series".to_owned(),
        ("heartbeat", _) => "A sign of life: device_health and device_connection_state".to_owned(),
        ("malformed", _) => "Not understood".to_owned(),
        _ => "Nothing: it is handed on and not recorded".to_owned(),
    };
    let row = |sample: TrialSample| Row {
        labels: sample.labels.to_string(),
        value: crate::query::promql::format_value(sample.value),
        kind: sample.metadata.kind.as_str(),
        at: if sample.at == now { String::new() } else { sample.at.to_rfc3339() },
        refused: sample.refused.unwrap_or_default(),
    };
    Outcome {
        title,
        samples: trial.samples.into_iter().map(row).collect(),
        line: trial.line.map(|line| (line.stream.to_string(), line.line)),
        remarks: trial.remarks,
    }
}
