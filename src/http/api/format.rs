//! The envelope of Prometheus's API and the shape of query answers, byte for byte as upstream writes them: values as
//! text in plain decimal, times as numbers with up to three decimals, empty lists as `[]`.
//!
//! Answers may be large, so they are written piece by piece while the client reads, not built as a tree first.

use std::fmt::Write as _;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::model::{Labels, Sample, Timestamp};
use crate::query::limits::Kept;
use crate::query::promql::{Error, InstantSeries, RangeSeries, Value};

/// Upstream's word for a server that cannot answer now.
const UNAVAILABLE: &str = "unavailable";

/// Bytes gathered before they are handed to the connection.
const PIECE_BYTES: usize = 64 << 10;

/// A refusal in upstream's shape: `{"status":"error","errorType":...,"error":...}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::http) struct ApiError {
    /// Status of the answer.
    pub(in crate::http) status: StatusCode,
    /// One of upstream's words: `bad_data`, `execution`, `timeout`, `canceled`, `internal`, `not_found`, `unavailable`.
    pub(in crate::http) kind: &'static str,
    /// What is wrong, for people.
    pub(in crate::http) message: String,
}

impl ApiError {
    /// The request cannot be understood.
    pub(in crate::http) fn bad_data(message: impl Into<String>) -> Self {
        ApiError { status: StatusCode::BAD_REQUEST, kind: "bad_data", message: message.into() }
    }

    /// A parameter cannot be understood.
    pub(in crate::http) fn parameter(name: &str, reason: impl std::fmt::Display) -> Self {
        ApiError::bad_data(format!("invalid parameter {name:?}: {reason}"))
    }

    /// Too much is asked at once; the answer says to come again.
    pub(in crate::http) fn unavailable(message: impl Into<String>) -> Self {
        ApiError { status: StatusCode::SERVICE_UNAVAILABLE, kind: UNAVAILABLE, message: message.into() }
    }

    /// Returns the header that says when to come again, if that is worth it.
    pub(super) fn retry_after(&self) -> Option<[(header::HeaderName, &'static str); 1]> {
        (self.kind == UNAVAILABLE).then_some([(header::RETRY_AFTER, "1")])
    }

    /// It is our fault.
    pub(in crate::http) fn internal(message: impl Into<String>) -> Self {
        ApiError { status: StatusCode::INTERNAL_SERVER_ERROR, kind: "internal", message: message.into() }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        let (status, kind) = match error {
            Error::Parse { .. } => return ApiError::parameter("query", message),
            Error::Execution(_) | Error::Limit(_) => (StatusCode::UNPROCESSABLE_ENTITY, "execution"),
            Error::Crowded => return ApiError::unavailable(message),
            Error::Timeout => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
            // Upstream's status for a client that closed the connection; a stop of the box is told with it too.
            Error::Cancelled => (StatusCode::from_u16(499).unwrap_or(StatusCode::SERVICE_UNAVAILABLE), "canceled"),
            Error::Storage(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        ApiError { status, kind, message }
    }
}

impl From<crate::storage::tsdb::Error> for ApiError {
    fn from(error: crate::storage::tsdb::Error) -> Self {
        Error::from(error).into()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Envelope {
            status: &'static str,
            error_type: &'static str,
            error: String,
        }
        let retry_after = self.retry_after();
        let body = Envelope { status: "error", error_type: self.kind, error: self.message };
        (self.status, retry_after, Json(body)).into_response()
    }
}

/// Returns `{"status":"success","data":...}`; for small answers.
pub(in crate::http) fn success(data: impl Serialize) -> Response {
    success_with(data, &[])
}

/// As [`success`], with remarks.
pub(in crate::http) fn success_with(data: impl Serialize, warnings: &[String]) -> Response {
    #[derive(Serialize)]
    struct Envelope<'a, T> {
        status: &'static str,
        data: T,
        #[serde(skip_serializing_if = "<[String]>::is_empty")]
        warnings: &'a [String],
    }
    Json(Envelope { status: "success", data, warnings }).into_response()
}

/// Remarks and figures that go along with an answer.
#[derive(Debug, Default)]
pub(super) struct Extras {
    /// Remarks that the answer may be wrong.
    pub(super) warnings: Vec<String>,
    /// Remarks that the question may be odd.
    pub(super) infos: Vec<String>,
    /// Figures as JSON text, if asked for.
    pub(super) stats: Option<String>,
}

/// Returns the answer of a query, written while it is read.
///
/// `kept` counts its samples; it is let go when all is written, or nobody reads any more.
pub(super) fn answer(value: Value, kept: Kept, extras: &Extras) -> Response {
    let (kind, head, items): (&str, &str, Items) = match value {
        Value::Scalar(sample) => ("scalar", "", one(|text| write_sample(text, &sample))),
        Value::String(at, string) => (
            "string",
            "",
            one(|text| {
                text.push('[');
                write_time(text, at);
                text.push(',');
                write_text(text, &string);
                text.push(']');
            }),
        ),
        Value::Vector(series) => ("vector", "[", Box::new(series.into_iter().enumerate().map(instant_item))),
        Value::Matrix(series) => ("matrix", "[", Box::new(series.into_iter().enumerate().map(range_item))),
    };
    let mut begin = format!("{{\"status\":\"success\",\"data\":{{\"resultType\":\"{kind}\",\"result\":{head}");
    begin.reserve(256);
    let mut end = if head.is_empty() { String::new() } else { "]".to_owned() };
    if let Some(stats) = &extras.stats {
        let _ = write!(end, ",\"stats\":{stats}");
    }
    end.push('}');
    for (name, remarks) in [("warnings", &extras.warnings), ("infos", &extras.infos)] {
        if !remarks.is_empty() {
            let texts = serde_json::to_string(remarks).unwrap_or_else(|_| "[]".to_owned());
            let _ = write!(end, ",\"{name}\":{texts}");
        }
    }
    end.push('}');
    let pieces = Pieces { begin: Some(begin), items, end: Some(end), _kept: kept };
    let body = Body::from_stream(futures_util::stream::iter(pieces.map(Ok::<_, std::convert::Infallible>)));
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Texts of the parts of an answer, made when they are wanted.
type Items = Box<dyn Iterator<Item = String> + Send>;

/// An answer in pieces of about [`PIECE_BYTES`].
struct Pieces {
    begin: Option<String>,
    items: Items,
    end: Option<String>,
    _kept: Kept,
}

impl Iterator for Pieces {
    type Item = Bytes;
    fn next(&mut self) -> Option<Bytes> {
        let end = self.end.as_ref()?;
        let mut piece = self.begin.take().unwrap_or_default();
        while piece.len() < PIECE_BYTES {
            match self.items.next() {
                Some(text) => piece.push_str(&text),
                None => {
                    piece.push_str(end);
                    self.end = None;
                    break;
                }
            }
        }
        Some(Bytes::from(piece))
    }
}

fn one(write: impl FnOnce(&mut String)) -> Items {
    let mut text = String::new();
    write(&mut text);
    Box::new(std::iter::once(text))
}

fn instant_item((i, series): (usize, InstantSeries)) -> String {
    let mut text = String::from(if i == 0 { "{\"metric\":" } else { ",{\"metric\":" });
    write_labels(&mut text, &series.labels);
    text.push_str(",\"value\":");
    write_sample(&mut text, &series.sample);
    text.push('}');
    text
}

fn range_item((i, series): (usize, RangeSeries)) -> String {
    let mut text = String::with_capacity(64 + series.points.len() * 24);
    text.push_str(if i == 0 { "{\"metric\":" } else { ",{\"metric\":" });
    write_labels(&mut text, &series.labels);
    text.push_str(",\"values\":[");
    for (i, point) in series.points.iter().enumerate() {
        if i > 0 {
            text.push(',');
        }
        write_sample(&mut text, point);
    }
    text.push_str("]}");
    text
}

fn write_sample(text: &mut String, sample: &Sample) {
    text.push('[');
    write_time(text, sample.timestamp);
    text.push_str(",\"");
    // As `promql::format_value`, without a text of its own for each sample.
    let value = sample.value;
    let _ = if value.is_infinite() {
        text.write_str(if value > 0.0 { "+Inf" } else { "-Inf" })
    } else {
        write!(text, "{value}")
    };
    text.push_str("\"]");
}

/// Writes seconds with as many decimals as the milliseconds need.
fn write_time(text: &mut String, at: Timestamp) {
    let ms = at.as_millis();
    let sign = if ms < 0 { "-" } else { "" };
    let _ = write!(text, "{sign}{}", ms.unsigned_abs() / 1000);
    let fraction = ms.unsigned_abs() % 1000;
    if fraction != 0 {
        let digits = format!(".{fraction:03}");
        text.push_str(digits.trim_end_matches('0'));
    }
}

fn write_text(text: &mut String, value: &str) {
    text.push_str(&serde_json::to_string(value).unwrap_or_else(|_| "\"\"".to_owned()));
}

/// Writes labels as an object.
fn write_labels(text: &mut String, labels: &Labels) {
    text.push('{');
    for (i, (name, value)) in labels.iter().enumerate() {
        if i > 0 {
            text.push(',');
        }
        write_text(text, name);
        text.push(':');
        write_text(text, value);
    }
    text.push('}');
}

/// Labels that are serialised as an object, sorted by name.
#[derive(Debug)]
pub(in crate::http) struct LabelsObject<'a>(pub(in crate::http) &'a Labels);

impl Serialize for LabelsObject<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: Value, expected: &str) {
        let response = answer(value, Kept::default(), &Extras::default());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let bytes = runtime.block_on(axum::body::to_bytes(response.into_body(), 1 << 20)).unwrap();
        let expected = format!("{{\"status\":\"success\",\"data\":{expected}}}");
        assert_eq!(String::from_utf8(bytes.to_vec()).unwrap(), expected);
    }

    fn sample(ms: i64, value: f64) -> Sample {
        Sample::new(Timestamp::from_millis(ms), value)
    }

    #[test]
    fn answers_look_as_upstream_writes_them() {
        check(
            Value::Scalar(sample(1_435_781_451_050, 1e21)),
            r#"{"resultType":"scalar","result":[1435781451.05,"1000000000000000000000"]}"#,
        );
        check(Value::Scalar(sample(-1500, -0.0)), r#"{"resultType":"scalar","result":[-1.5,"-0"]}"#);
        check(
            Value::String(Timestamp::from_millis(0), "a\"b".to_owned()),
            r#"{"resultType":"string","result":[0,"a\"b"]}"#,
        );
        check(Value::Vector(Vec::new()), r#"{"resultType":"vector","result":[]}"#);
        check(Value::Matrix(Vec::new()), r#"{"resultType":"matrix","result":[]}"#);
        let labels = Labels::from_pairs([("job", "a"), ("__name__", "up")]);
        check(
            Value::Vector(vec![InstantSeries { labels: labels.clone(), sample: sample(1000, f64::NAN) }]),
            r#"{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"a"},"value":[1,"NaN"]}]}"#,
        );
        let points = vec![sample(1000, f64::INFINITY), sample(1001, 0.1)];
        check(
            Value::Matrix(vec![RangeSeries { labels, points }]),
            r#"{"resultType":"matrix","result":[{"metric":{"__name__":"up","job":"a"},"values":[[1,"+Inf"],[1.001,"0.1"]]}]}"#,
        );
    }
}
