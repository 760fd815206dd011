//! Log lines over HTTP: Loki's paths and shapes for queries and pushes, and the live tail for our pages.
//!
//! | path | what |
//! |---|---|
//! | `GET /loki/api/v1/query_range`, `query` | lines of a query, grouped by stream; `query` is of the last hour |
//! | `GET /loki/api/v1/labels`, `label/{name}/values`, `series` | what there is to select |
//! | `POST /loki/api/v1/push` | lines in, as JSON (plain or gzip) or protobuf in snappy |
//! | `GET /api/v1/logs/tail?query=` | lines as they come, as server-sent events |
//!
//! Source: Loki 3's HTTP API, <https://grafana.com/docs/loki/latest/reference/loki-http-api/>.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Read;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::stream::{Stream, unfold};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::format::{ApiError, LabelsObject, success};
use super::parameters::Parameters;
use crate::http::AppState;
use crate::model::{Labels, LogEntry, MatchOp, Matcher, Timestamp, is_label_name};
use crate::query::logql::{self, Answer, Filter, LogLine, Request};
use crate::storage::logs::{self, AppendOutcome, Direction};
use crate::task::Phase;
use crate::wire;

/// Lines of an answer if nothing is said; as in Loki.
const LINES_DEFAULT: usize = 100;
/// Lines of an answer at most; as in Loki.
const LINES_MAX: usize = 5000;
/// How far back a question goes if nothing is said.
const RANGE_DEFAULT: Duration = Duration::from_secs(3600);
/// How far back labels are looked for if nothing is said; as in Loki.
const LABELS_RANGE_DEFAULT: Duration = Duration::from_secs(6 * 3600);
/// Bytes of a push after unpacking.
const PUSH_BYTES_MAX: u64 = 32 << 20;
/// Lines of one push.
const PUSH_LINES_MAX: usize = wire::loki_push::LINES_MAX;
/// Something is sent so often, so that a dead connection is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Returns the paths of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/loki/api/v1/query_range", get(query_range).post(query_range))
        .route("/loki/api/v1/query", get(query).post(query))
        .route("/loki/api/v1/labels", get(label_names).post(label_names))
        .route("/loki/api/v1/label/{name}/values", get(label_values))
        .route("/loki/api/v1/series", get(series).post(series))
        .route("/loki/api/v1/push", post(push))
        .route("/api/v1/logs/tail", get(tail))
}

/// A refusal in Loki's way: text, with the status that its clients act on.
#[derive(Debug)]
struct Refusal(StatusCode, String);

impl Refusal {
    fn bad(message: impl Into<String>) -> Self {
        Refusal(StatusCode::BAD_REQUEST, message.into())
    }

    fn inside() -> Self {
        Refusal(StatusCode::INTERNAL_SERVER_ERROR, "the question failed inside; the log has more".to_owned())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let retry = (self.0 == StatusCode::SERVICE_UNAVAILABLE).then_some([(header::RETRY_AFTER, "5")]);
        (self.0, retry, self.1).into_response()
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Refusal(error.status, error.message)
    }
}

impl From<logql::Error> for Refusal {
    fn from(error: logql::Error) -> Self {
        match error {
            logql::Error::Parse { .. } => Refusal::bad(error.to_string()),
            logql::Error::Timeout => Refusal(StatusCode::GATEWAY_TIMEOUT, error.to_string()),
            logql::Error::Storage(error) => error.into(),
        }
    }
}

impl From<logs::Error> for Refusal {
    fn from(error: logs::Error) -> Self {
        match error {
            logs::Error::ReadOnly { .. } | logs::Error::Overfull { .. } => {
                Refusal(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
            }
            logs::Error::Disk(_) => {
                error!(%error, "log store failed");
                Refusal(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
            }
        }
    }
}

async fn query_range(State(state): State<AppState>, parameters: Parameters) -> Result<Response, Refusal> {
    let (start_ns, end_ns) = time_range(&parameters, state.clock.now_ns(), RANGE_DEFAULT)?;
    answer(&state, &parameters, start_ns, end_ns).await
}

/// Loki's instant query is for numbers; of lines we give the newest of the hour before `time`.
async fn query(State(state): State<AppState>, parameters: Parameters) -> Result<Response, Refusal> {
    let end_ns = time(&parameters, "time")?.unwrap_or(state.clock.now_ns()).saturating_add(1);
    answer(&state, &parameters, end_ns.saturating_sub(ns(RANGE_DEFAULT)), end_ns).await
}

async fn answer(state: &AppState, parameters: &Parameters, start_ns: i64, end_ns: i64) -> Result<Response, Refusal> {
    let direction = match parameters.get("direction").map(str::to_ascii_lowercase).as_deref() {
        None | Some("backward") => Direction::Backward,
        Some("forward") => Direction::Forward,
        Some(other) => return Err(Refusal::bad(format!("invalid direction '{other}'"))),
    };
    let limit = parameters.limit()?.unwrap_or(LINES_DEFAULT);
    if limit > LINES_MAX {
        return Err(Refusal::bad(format!(
            "max entries limit per query exceeded, limit > max_entries_limit ({limit} > {LINES_MAX})"
        )));
    }
    let query = parameters.get("query").unwrap_or_default().to_owned();
    let request = Request { query, start_ns, end_ns, limit, direction };
    let engine = state.log_engine.clone();
    let answer = state
        .tasks
        .questions()
        .run_long(move || engine.query(&request), || ())
        .await
        .map_err(|_| Refusal::inside())??;
    Ok(success(streams_json(&answer)))
}

/// Lines grouped by stream, as Loki shows them; streams in the order of their first line.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StreamsJson<'a> {
    result_type: &'static str,
    result: Vec<StreamJson<'a>>,
    stats: StatsJson,
}

#[derive(Serialize)]
struct StreamJson<'a> {
    stream: LabelsObject<'a>,
    values: Vec<(String, &'a str)>,
}

#[derive(Serialize)]
struct StatsJson {
    summary: SummaryJson,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SummaryJson {
    total_lines_processed: u64,
    total_bytes_processed: u64,
    total_entries_returned: usize,
}

fn streams_json(answer: &Answer) -> StreamsJson<'_> {
    let mut places: BTreeMap<&Labels, usize> = BTreeMap::new();
    let mut result: Vec<StreamJson<'_>> = Vec::new();
    for line in &answer.lines {
        let place = *places.entry(&line.labels).or_insert_with(|| {
            result.push(StreamJson { stream: LabelsObject(&line.labels), values: Vec::new() });
            result.len() - 1
        });
        if let Some(stream) = result.get_mut(place) {
            stream.values.push((line.entry.timestamp_ns.to_string(), &line.entry.line));
        }
    }
    let summary = SummaryJson {
        total_lines_processed: answer.scanned_lines,
        total_bytes_processed: answer.scanned_bytes,
        total_entries_returned: answer.lines.len(),
    };
    StreamsJson { result_type: "streams", result, stats: StatsJson { summary } }
}

async fn label_names(State(state): State<AppState>, parameters: Parameters) -> Result<Response, Refusal> {
    let names =
        label_question(&state, &parameters, |logs, matchers, start, end| logs.label_names(matchers, start, end));
    Ok(success(names.await?))
}

async fn label_values(
    State(state): State<AppState>,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<Response, Refusal> {
    if !is_label_name(&name) {
        return Err(Refusal::bad(format!("invalid label name {name:?}")));
    }
    let values = label_question(&state, &parameters, move |logs, matchers, start, end| {
        logs.label_values(&name, matchers, start, end)
    });
    Ok(success(values.await?))
}

async fn series(State(state): State<AppState>, parameters: Parameters) -> Result<Response, Refusal> {
    let found = label_question(&state, &parameters, |logs, matchers, start, end| logs.streams(matchers, start, end));
    let found = found.await?;
    Ok(success(found.iter().map(LabelsObject).collect::<Vec<_>>()))
}

/// Asks for labels within `start` and `end`, of the streams that `query` or `match[]` selects.
async fn label_question<T: Send + 'static>(
    state: &AppState,
    parameters: &Parameters,
    ask: impl FnOnce(&logs::LogStore, &[Matcher], i64, i64) -> logs::Result<T> + Send + 'static,
) -> Result<T, Refusal> {
    let (start_ns, end_ns) = time_range(parameters, state.clock.now_ns(), LABELS_RANGE_DEFAULT)?;
    let selector = parameters.get("query").or_else(|| parameters.get("match[]")).or_else(|| parameters.get("match"));
    let filter = selector.map(Filter::new).transpose()?;
    let logs = state.logs.clone();
    let work = move || ask(&logs, filter.as_ref().map_or(&[], Filter::matchers), start_ns, end_ns);
    Ok(state.tasks.pool().run(work).await.map_err(|_| Refusal::inside())??)
}

/// Returns `start` (included) and `end` (excluded), or `since` before `end`, or `missing` before now.
fn time_range(parameters: &Parameters, now_ns: i64, missing: Duration) -> Result<(i64, i64), Refusal> {
    let end_ns = time(parameters, "end")?.unwrap_or(now_ns.saturating_add(1));
    let since = parameters.duration("since")?.unwrap_or(missing);
    let start_ns = time(parameters, "start")?.unwrap_or(end_ns.saturating_sub(ns(since)));
    if end_ns < start_ns {
        return Err(Refusal::bad("end timestamp must not be before start time"));
    }
    Ok((start_ns, end_ns))
}

/// Returns a time as Loki takes it: RFC 3339, nanoseconds as a number of more than ten digits, or seconds.
fn time(parameters: &Parameters, name: &str) -> Result<Option<i64>, Refusal> {
    let Some(text) = parameters.get(name) else { return Ok(None) };
    if let Ok(ns) = text.parse()
        && text.len() > 10
    {
        return Ok(Some(ns));
    }
    if let Ok(precise) = text.parse::<jiff::Timestamp>() {
        return Ok(i64::try_from(precise.as_nanosecond()).ok());
    }
    let at = parameters.time(name, Timestamp::MIN)?;
    Ok(Some(at.as_millis().saturating_mul(1_000_000)))
}

fn ns(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// A push as Loki's clients send it.
#[derive(Deserialize)]
struct PushJson {
    streams: Vec<PushStream>,
}

#[derive(Deserialize)]
struct PushStream {
    stream: BTreeMap<String, String>,
    /// Time in nanoseconds as text, line, and perhaps structured metadata, which is not kept.
    values: Vec<PushValue>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum PushValue {
    Plain(String, String),
    WithMetadata(String, String, IgnoredAny),
}

/// How a push is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PushForm {
    Json,
    GzipJson,
    /// Protobuf in snappy: Promtail, Alloy, Vector.
    Protobuf,
}

async fn push(State(state): State<AppState>, headers: HeaderMap, body: Bytes) -> Result<StatusCode, Refusal> {
    let form = push_form(&headers)?;
    let logs = state.logs.clone();
    let work = move || -> Result<AppendOutcome, Refusal> {
        let entries = match form {
            PushForm::Json => entries(&body)?,
            PushForm::GzipJson => entries(&unpack(&body)?)?,
            PushForm::Protobuf => protobuf_entries(&body)?,
        };
        Ok(logs.append(entries)?)
    };
    let outcome = state.tasks.pool().run(work).await.map_err(|_| Refusal::inside())??;
    match refusal_of(&outcome) {
        None => Ok(StatusCode::NO_CONTENT),
        Some(message) => Err(Refusal::bad(message)),
    }
}

fn push_form(headers: &HeaderMap) -> Result<PushForm, Refusal> {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("").trim().to_ascii_lowercase();
    let (content, encoding) = (text(header::CONTENT_TYPE), text(header::CONTENT_ENCODING));
    let content = content.split(';').next().unwrap_or("").trim();
    match (content, encoding.as_str()) {
        ("" | "application/json", "" | "identity") => Ok(PushForm::Json),
        ("" | "application/json", "gzip") => Ok(PushForm::GzipJson),
        ("application/x-protobuf", "" | "snappy") => Ok(PushForm::Protobuf),
        _ => Err(Refusal(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("{content} {encoding} is not supported: push JSON, plain or gzip, or protobuf in snappy"),
        )),
    }
}

fn protobuf_entries(body: &[u8]) -> Result<Vec<LogEntry>, Refusal> {
    let refuse = |error: wire::Error| match error {
        wire::Error::TooLarge { .. } | wire::Error::TooMany { .. } => {
            Refusal(StatusCode::PAYLOAD_TOO_LARGE, error.to_string())
        }
        error => Refusal::bad(error.to_string()),
    };
    let mut plain = Vec::new();
    wire::remote_write::unpack(body, &mut plain).map_err(refuse)?;
    let mut entries = Vec::new();
    for stream in wire::loki_push::decode(&plain).map_err(refuse)? {
        let labels = written_labels(&stream.labels)?;
        entries.extend(stream.lines.into_iter().map(|(timestamp_ns, line)| LogEntry {
            stream: labels.clone(),
            timestamp_ns,
            line: line.into_owned(),
        }));
    }
    Ok(entries)
}

/// Reads a label set as text, which looks like a selector of it.
fn written_labels(text: &str) -> Result<Labels, Refusal> {
    let filter = Filter::new(text)?;
    let pairs = filter.matchers().iter().map(|m| (m.op() == MatchOp::Equal).then(|| (m.name(), m.value())));
    match pairs.collect::<Option<Vec<_>>>() {
        Some(pairs) if !pairs.is_empty() => Ok(Labels::from_pairs(pairs)),
        Some(_) | None => Err(Refusal::bad(format!("not the labels of a stream: {text}"))),
    }
}

fn unpack(body: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut plain = Vec::new();
    let mut unpacked = flate2::read::MultiGzDecoder::new(body).take(PUSH_BYTES_MAX + 1);
    unpacked.read_to_end(&mut plain).map_err(|e| Refusal::bad(format!("gzip: {e}")))?;
    if plain.len() as u64 > PUSH_BYTES_MAX {
        return Err(Refusal(StatusCode::PAYLOAD_TOO_LARGE, format!("more than {PUSH_BYTES_MAX} bytes unpacked")));
    }
    Ok(plain)
}

fn entries(body: &[u8]) -> Result<Vec<LogEntry>, Refusal> {
    let push: PushJson = serde_json::from_slice(body).map_err(|e| Refusal::bad(e.to_string()))?;
    let mut entries = Vec::new();
    for PushStream { stream, values } in push.streams {
        if let Some(name) = stream.keys().find(|name| !is_label_name(name)) {
            return Err(Refusal::bad(format!("invalid label name {name:?}")));
        }
        let labels = Labels::from_pairs(&stream);
        if labels.is_empty() {
            return Err(Refusal::bad("a stream needs at least one label"));
        }
        if entries.len() + values.len() > PUSH_LINES_MAX {
            return Err(Refusal(StatusCode::PAYLOAD_TOO_LARGE, format!("more than {PUSH_LINES_MAX} lines")));
        }
        for value in values {
            let (at, line) = match value {
                PushValue::Plain(at, line) | PushValue::WithMetadata(at, line, _) => (at, line),
            };
            let timestamp_ns = at.parse().map_err(|_| Refusal::bad(format!("not a time in nanoseconds: {at:?}")))?;
            entries.push(LogEntry { stream: labels.clone(), timestamp_ns, line });
        }
    }
    Ok(entries)
}

/// Says what was refused of a push whose other lines were taken; Loki's clients do not send those again.
fn refusal_of(outcome: &AppendOutcome) -> Option<String> {
    let parts = [
        (outcome.too_old, "older than retention"),
        (outcome.too_new, "too far ahead of the clock"),
        (outcome.over_stream_limit, "of streams beyond the limit"),
        (outcome.over_label_limit, "with labels too long"),
    ];
    let parts: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, why)| format!("{n} {why}")).collect();
    (!parts.is_empty()).then(|| format!("{} lines taken; refused: {}", outcome.appended, parts.join(", ")))
}

/// A line as the live tail tells it.
#[derive(Serialize)]
struct TailJson<'a> {
    /// Text, because it does not fit JavaScript's numbers.
    timestamp_ns: String,
    labels: LabelsObject<'a>,
    line: &'a str,
}

async fn tail(State(state): State<AppState>, parameters: Parameters) -> Result<Response, ApiError> {
    let query = parameters.get("query").unwrap_or("{}");
    let filter = Filter::new(query).map_err(|e| ApiError::parameter("query", e))?;
    let stream = tail_events(state.logs.tail(), filter, state.tasks.token(Phase::Intake));
    // Proxies would hold events back to compress them.
    let headers = [(header::CACHE_CONTROL, "no-cache, no-transform")];
    Ok((headers, Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))).into_response())
}

fn tail_events(
    lines: tokio::sync::broadcast::Receiver<std::sync::Arc<LogEntry>>,
    filter: Filter,
    end: CancellationToken,
) -> impl Stream<Item = Result<Event, Infallible>> {
    unfold((lines, filter, end), async |(mut lines, filter, end)| {
        loop {
            let received = tokio::select! {
                received = lines.recv() => received,
                () = end.cancelled() => return None,
            };
            let event = match received {
                Ok(entry) => match filter.apply((*entry).clone()) {
                    Some(line) => line_event(&line),
                    None => continue,
                },
                // A reader who cannot follow is told how much it missed.
                Err(RecvError::Lagged(missed)) => Event::default().event("missed").data(missed.to_string()),
                Err(RecvError::Closed) => return None,
            };
            return Some((Ok(event), (lines, filter, end)));
        }
    })
}

fn line_event(line: &LogLine) -> Event {
    let json = TailJson {
        timestamp_ns: line.entry.timestamp_ns.to_string(),
        labels: LabelsObject(&line.labels),
        line: &line.entry.line,
    };
    Event::default().json_data(json).unwrap_or_default()
}
