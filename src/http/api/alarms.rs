//! Andon's own `alarms`: the board, acknowledging, the history.
//!
//! `GET /api/v1/alarms`, `GET /api/v1/alarms/history?start=&end=&match[]=&fingerprint=&limit=`,
//! `POST /api/v1/alarms/{fingerprint}/acknowledge` with `by` and `note` as JSON or as a form; a form of a
//! browser is answered by going back to the alarms page.

use axum::Router;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};

use super::format::{ApiError, LabelsObject, success};
use super::parameters::Parameters;
use crate::alarms::{Error, HistoryQuery, Transition};
use crate::http::AppState;
use crate::model::{Alarm, Timestamp};
use crate::query::promql::{format_value, parse_selector};

/// Returns the paths of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/v1/alarms", get(board))
        .route("/api/v1/alarms/history", get(history))
        .route("/api/v1/alarms/{fingerprint}/acknowledge", post(acknowledge))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AlarmObject<'a> {
    fingerprint: String,
    name: &'a str,
    severity: &'a str,
    priority: u8,
    state: &'static str,
    labels: LabelsObject<'a>,
    annotations: LabelsObject<'a>,
    raised_at: String,
    cleared_at: Option<String>,
    acknowledgement: Option<AcknowledgementObject<'a>>,
    value: String,
    expression: &'a str,
    changed_at: String,
}

#[derive(Serialize)]
struct AcknowledgementObject<'a> {
    by: &'a str,
    note: &'a str,
    at: String,
}

#[derive(Serialize)]
struct TransitionObject<'a> {
    event: &'static str,
    at: String,
    alarm: AlarmObject<'a>,
}

fn alarm(alarm: &Alarm) -> AlarmObject<'_> {
    let acknowledgement = alarm.acknowledgement.as_ref();
    AlarmObject {
        fingerprint: format!("{:016x}", alarm.fingerprint),
        name: alarm.name(),
        severity: alarm.severity(),
        priority: alarm.priority(),
        state: alarm.state.as_str(),
        labels: LabelsObject(&alarm.labels),
        annotations: LabelsObject(&alarm.annotations),
        raised_at: alarm.raised_at.to_rfc3339(),
        cleared_at: alarm.cleared_at.map(Timestamp::to_rfc3339),
        acknowledgement: acknowledgement.map(|a| AcknowledgementObject {
            by: &a.by,
            note: &a.note,
            at: a.at.to_rfc3339(),
        }),
        value: format_value(alarm.value),
        expression: &alarm.expression,
        changed_at: alarm.changed_at.to_rfc3339(),
    }
}

fn transition(transition: &Transition) -> TransitionObject<'_> {
    let at = transition.at.to_rfc3339();
    TransitionObject { event: transition.event.as_str(), at, alarm: alarm(&transition.alarm) }
}

async fn board(State(app): State<AppState>) -> Response {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Board<'a> {
        alarms: Vec<AlarmObject<'a>>,
        journal_error: Option<&'a str>,
    }
    let snapshot = app.alarms.snapshot();
    success(Board {
        alarms: snapshot.alarms.iter().map(alarm).collect(),
        journal_error: snapshot.journal_error.as_deref(),
    })
}

async fn history(State(app): State<AppState>, parameters: Parameters) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct History<'a> {
        transitions: Vec<TransitionObject<'a>>,
    }
    let time = |name| parameters.get(name).map(|_| parameters.time(name, Timestamp::MIN)).transpose();
    let mut query = HistoryQuery {
        start: time("start")?,
        end: time("end")?,
        fingerprint: parameters.get("fingerprint").map(fingerprint).transpose()?,
        limit: parameters.limit()?.unwrap_or(0),
        matchers: Vec::new(),
    };
    for text in parameters.all("match[]") {
        query.matchers.extend(parse_selector(text).map_err(|e| ApiError::parameter("match[]", e))?);
    }
    let found = app.alarms.history(&query);
    Ok(success(History { transitions: found.iter().map(transition).collect() }))
}

/// Who takes care, and what they write.
#[derive(Deserialize)]
struct Note {
    by: String,
    #[serde(default)]
    note: String,
}

async fn acknowledge(
    State(app): State<AppState>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let fingerprint = fingerprint(&name)?;
    let is_page = is_html_form(request.headers());
    let note = read_note(request).await?;
    let acknowledged = app.alarms.acknowledge(fingerprint, &note.by, &note.note).await.map_err(refused)?;
    Ok(if is_page { Redirect::to("/alarms").into_response() } else { success(alarm(&acknowledged)) })
}

/// Tells whether a browser sent a form and wants a page as the answer.
fn is_html_form(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("");
    text(header::CONTENT_TYPE).starts_with("application/x-www-form-urlencoded")
        && text(header::ACCEPT).contains("text/html")
}

async fn read_note(request: Request) -> Result<Note, ApiError> {
    let content = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    if content.starts_with("application/json") {
        let read = axum::Json::<Note>::from_request(request, &()).await;
        return read.map(|json| json.0).map_err(|e| ApiError::bad_data(e.body_text()));
    }
    let read = axum::Form::<Note>::from_request(request, &()).await;
    read.map(|form| form.0).map_err(|e| ApiError::bad_data(e.body_text()))
}

fn fingerprint(text: &str) -> Result<u64, ApiError> {
    let number = if text.len() <= 16 { u64::from_str_radix(text, 16).ok() } else { None };
    number.ok_or_else(|| ApiError::parameter("fingerprint", "expected up to 16 hexadecimal digits"))
}

fn refused(error: Error) -> ApiError {
    let kind = match error {
        Error::NotFound(_) | Error::NoSilence(_) => "not_found",
        Error::Text { .. } | Error::Silence(_) => "bad_data",
        Error::Storage(_) => "internal",
        Error::Stopped => "unavailable",
    };
    ApiError { status: status_of(&error), kind, message: error.to_string() }
}

/// Returns the status that a refusal of the alarms room has, here, in Alertmanager's API and on pages.
pub(in crate::http) fn status_of(error: &Error) -> StatusCode {
    match error {
        Error::NotFound(_) | Error::NoSilence(_) => StatusCode::NOT_FOUND,
        Error::Text { .. } | Error::Silence(_) => StatusCode::BAD_REQUEST,
        Error::Storage(_) => StatusCode::INSUFFICIENT_STORAGE,
        Error::Stopped => StatusCode::SERVICE_UNAVAILABLE,
    }
}
