//! A test of a receiver from the alarms page, and what came of it.

use std::collections::BTreeMap;

use axum::extract::{Form, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::layout::Frame;
use super::message;
use super::visit::Visit;
use crate::http::AppState;
use crate::http::audit::{ANONYMOUS, audit};

/// Answers `POST /receivers/test`: sends a test to each way of a receiver and says what came of each.
pub(super) async fn test(
    State(state): State<AppState>,
    visit: Visit,
    Form(fields): Form<BTreeMap<String, String>>,
) -> Response {
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
