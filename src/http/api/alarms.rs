//! Andon's own `alarms`: the board, acknowledging, the history.
//!
//! `GET /api/v1/alarms`, `GET /api/v1/alarms/history?start=&end=&match[]=&fingerprint=&event=&text=&limit=`, the same with
//! `history.csv` for all there is of 90 days,
//! `POST /api/v1/alarms/{fingerprint}/acknowledge` with `by` and `note` as JSON or as a form; a form of a
//! browser is answered by going back to the alarms page.

use std::io::Write as _;

use axum::Router;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};

use super::format::{ApiError, LabelsObject, success};
use super::parameters::Parameters;
use super::pieces;
use crate::alarms::{Error, Event, HistoryQuery, Transition};
use crate::http::AppState;
use crate::model::{Alarm, Timestamp};
use crate::query::promql::{format_value, parse_selector};
use crate::task::BlockingPool;

/// Histories written as CSV at once, and that may wait; a slow reader holds one of the former.
const CSV_AT_ONCE: usize = 1;
const CSV_WAITING_MAX: usize = 8;

/// Returns the paths of this file.
pub(super) fn routes() -> Router<AppState> {
    let pool = BlockingPool::new(CSV_AT_ONCE);
    let csv = move |state: State<AppState>, parameters: Parameters| history_csv(pool, state, parameters);
    Router::new()
        .route("/api/v1/alarms", get(board))
        .route("/api/v1/alarms/history", get(history))
        .route("/api/v1/alarms/history.csv", get(csv))
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
    /// Where another program shows what raised it; empty if it is a rule of this box.
    source_url: &'a str,
    rule_version: String,
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
    by: &'a str,
    note: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    alarm: AlarmObject<'a>,
}

/// Writes what names a rule's definition; empty for an alarm of another program.
fn version(alarm: &Alarm) -> String {
    if alarm.rule_version == 0 { String::new() } else { format!("{:08x}", alarm.rule_version) }
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
        source_url: &alarm.source_url,
        rule_version: version(alarm),
        changed_at: alarm.changed_at.to_rfc3339(),
    }
}

fn transition(transition: &Transition) -> TransitionObject<'_> {
    let at = transition.at.to_rfc3339();
    TransitionObject {
        event: transition.event.as_str(),
        at,
        by: &transition.by,
        note: &transition.note,
        until: transition.until.map(Timestamp::to_rfc3339),
        alarm: alarm(&transition.alarm),
    }
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
    let found = app.alarms.history(&wanted(&parameters)?).await.map_err(refused)?;
    Ok(success(History { transitions: found.iter().map(transition).collect() }))
}

/// Reads which transitions are wanted.
fn wanted(parameters: &Parameters) -> Result<HistoryQuery, ApiError> {
    let time = |name| parameters.get(name).map(|_| parameters.time(name, Timestamp::MIN)).transpose();
    let event = |text: &str| {
        let known = Event::ALL.into_iter().find(|event| event.as_str() == text);
        known.ok_or_else(|| ApiError::parameter("event", format_args!("not an event: {text:?}")))
    };
    let mut query = HistoryQuery {
        start: time("start")?,
        end: time("end")?,
        fingerprint: parameters.get("fingerprint").map(fingerprint).transpose()?,
        event: parameters.get("event").filter(|text| !text.is_empty()).map(event).transpose()?,
        text: parameters.get("text").unwrap_or("").to_owned(),
        limit: parameters.limit()?.unwrap_or(0),
        matchers: Vec::new(),
    };
    for text in parameters.all("match[]") {
        query.matchers.extend(parse_selector(text).map_err(|e| ApiError::parameter("match[]", e))?);
    }
    Ok(query)
}

/// All that is wanted, newest first, in the form of RFC 4180.
async fn history_csv(
    pool: BlockingPool,
    State(app): State<AppState>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let query = wanted(&parameters)?;
    if pool.waiting() >= CSV_WAITING_MAX {
        return Err(ApiError::unavailable(format!("{CSV_WAITING_MAX} others wait already")));
    }
    let alarms = app.alarms.clone();
    let body = pieces::written(&app, pool, "alarm history", move |out| {
        let mut written = writeln!(out, "{CSV_HEAD}\r");
        alarms.visit_history(&query, &mut |transition| {
            written = writeln!(out, "{}\r", csv_line(&transition));
            written.is_ok()
        });
        written?;
        out.flush()
    });
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"alarms.csv\""),
    ];
    Ok((headers, body).into_response())
}

const CSV_HEAD: &str = "time,event,alarm,severity,priority,state,raised,cleared,value,by,note,until,rule_version,expression,summary,labels,fingerprint";

fn csv_line(transition: &Transition) -> String {
    let alarm = &transition.alarm;
    let time = |at: Option<Timestamp>| at.map(Timestamp::to_rfc3339).unwrap_or_default();
    let cells = [
        transition.at.to_rfc3339(),
        transition.event.as_str().to_owned(),
        alarm.name().to_owned(),
        alarm.severity().to_owned(),
        alarm.priority().to_string(),
        alarm.state.as_str().to_owned(),
        alarm.raised_at.to_rfc3339(),
        time(alarm.cleared_at),
        format_value(alarm.value),
        transition.by.clone(),
        transition.note.clone(),
        time(transition.until),
        version(alarm),
        alarm.expression.clone(),
        alarm.annotations.get("summary").unwrap_or("").to_owned(),
        alarm.labels.to_string(),
        format!("{:016x}", alarm.fingerprint),
    ];
    cells.map(|cell| csv_cell(&cell)).join(",")
}

/// Writes a cell; one that a spreadsheet would take for a formula begins with an apostrophe.
fn csv_cell(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '@', '\t']) || (text.starts_with('-') && text.parse::<f64>().is_err());
    let text = if is_formula { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
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
