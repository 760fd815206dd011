//! `receivers`: how those who are told fare, and a test of one that shows the whole way there and back.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Serialize;
use serde_json::json;

use super::format::{ApiError, success};
use super::parameters::Parameters;
use crate::http::AppState;
use crate::http::audit::{ANONYMOUS, audit};
use crate::model::Timestamp;

/// Returns the paths of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/api/v1/receivers", get(list)).route("/api/v1/receivers/test", post(test))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReceiverJson<'a> {
    name: &'a str,
    ways: usize,
    sent: u64,
    failed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_sent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    away_since: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HeartbeatJson<'a> {
    receiver: &'a str,
    interval_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    seen: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

async fn list(State(app): State<AppState>) -> Response {
    let snapshot = app.notifier.snapshot();
    let time = |at: Option<Timestamp>| at.map(Timestamp::to_rfc3339);
    let receivers: Vec<ReceiverJson<'_>> = snapshot
        .receivers
        .iter()
        .map(|r| ReceiverJson {
            name: &r.name,
            ways: r.integrations,
            sent: r.sent,
            failed: r.failed,
            last_sent: time(r.last_sent_at),
            last_error: r.last_error.as_deref(),
            away_since: time(r.away_since),
        })
        .collect();
    let heartbeats: Vec<HeartbeatJson<'_>> = snapshot
        .heartbeats
        .iter()
        .map(|h| HeartbeatJson {
            receiver: &h.receiver,
            interval_seconds: h.interval.as_secs_f64(),
            seen: time(h.seen_at),
            error: h.error.as_deref(),
        })
        .collect();
    success(json!({ "receivers": receivers, "heartbeats": heartbeats, "waiting": snapshot.outbox_len }))
}

/// Sends a test to each way of the receiver named by the parameter and answers when all have taken or refused it.
async fn test(State(app): State<AppState>, parameters: Parameters) -> Result<Response, ApiError> {
    let name = parameters.get("receiver").unwrap_or("");
    let Some(tested) = app.notifier.test(name).await else {
        let message = format!("no receiver is named {name:?}");
        return Err(ApiError { status: StatusCode::NOT_FOUND, kind: "not_found", message });
    };
    let failed = tested.iter().filter(|t| t.failure.is_some()).count();
    let detail = json!({ "ways": tested.len(), "failed": failed });
    audit(&app, ANONYMOUS, "receiver.test", format!("receiver/{name}"), detail).await;
    let ways: Vec<_> = tested
        .iter()
        .map(|t| json!({ "way": t.integration, "seconds": t.took.as_secs_f64(), "error": t.failure }))
        .collect();
    Ok(success(json!({ "receiver": name, "ways": ways })))
}
