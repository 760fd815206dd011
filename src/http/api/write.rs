//! Remote write in, 1.0 and 2.0: samples that others push.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;

use crate::collect::{WriteError, WriteOutcome, WriteVersion};
use crate::http::AppState;
use crate::http::server::Peer;
use crate::storage::tsdb;
use crate::task::BlockingPool;
use crate::wire;

/// Writes at once. They have places of their own, so that a long query never keeps a sample from the disk;
/// two, because the next request can be unpacked while one waits for the disk.
const WRITES_MAX: usize = 2;

/// What a sender is asked to wait while the store takes nothing.
const RETRY_AFTER_S: &str = "5";

/// What a sender is asked to wait before it sends new series again.
const RETRY_NEW_SERIES_AFTER_S: &str = "60";

/// Tells one Andon from another that only new series were refused: to send the same again would hold up what
/// comes behind.
const REFUSED: HeaderName = HeaderName::from_static("andon-refused");

/// Returns the path of this file.
pub(super) fn routes() -> Router<AppState> {
    let pool = BlockingPool::new(WRITES_MAX);
    Router::new().route(
        "/api/v1/write",
        post(move |state: State<AppState>, peer: Extension<Peer>, headers: HeaderMap, body: Bytes| {
            write(pool, state, peer, headers, body)
        }),
    )
}

async fn write(
    pool: BlockingPool,
    State(app): State<AppState>,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let version = match version(&headers) {
        Ok(version) => version,
        Err(message) => return with_counts(0, (StatusCode::UNSUPPORTED_MEDIA_TYPE, message)),
    };
    let remote_write = app.collector.remote_write();
    match pool.run(move || remote_write.write(&body, version, peer.ip())).await {
        Ok(Ok(outcome)) => with_counts(outcome.accepted, answer(outcome)),
        Ok(Err(error)) => with_counts(0, refuse(&error)),
        Err(panicked) => with_counts(0, (StatusCode::INTERNAL_SERVER_ERROR, format!("{panicked}\n"))),
    }
}

/// Says what became of a request that was sound. 400, do not send again, goes before 429: what is bad by itself
/// would be refused for ever.
fn answer(outcome: WriteOutcome) -> Response {
    let WriteOutcome { samples, refused, first_offender, over_limit, .. } = outcome;
    let is_bad = first_offender.is_some();
    let why: Vec<String> = [first_offender, over_limit.clone()].into_iter().flatten().collect();
    let message = format!("{refused} of {samples} samples refused, the others are kept: {}\n", why.join("; "));
    match over_limit {
        _ if why.is_empty() => StatusCode::NO_CONTENT.into_response(),
        Some(_) if !is_bad => {
            let headers = [(header::RETRY_AFTER, RETRY_NEW_SERIES_AFTER_S), (REFUSED, "new-series")];
            (StatusCode::TOO_MANY_REQUESTS, headers, message).into_response()
        }
        _ => (StatusCode::BAD_REQUEST, message).into_response(),
    }
}

/// Says how much was written, as 2.0 asks of each answer. Histograms and exemplars are not kept.
fn with_counts(samples: u64, answer: impl IntoResponse) -> Response {
    let counts = [
        (HeaderName::from_static("x-prometheus-remote-write-samples-written"), samples.to_string()),
        (HeaderName::from_static("x-prometheus-remote-write-histograms-written"), "0".to_owned()),
        (HeaderName::from_static("x-prometheus-remote-write-exemplars-written"), "0".to_owned()),
    ];
    (counts, answer).into_response()
}

/// Checks that the body is what we read, packed with snappy. A header that is missing is taken as meant so,
/// as upstream does.
fn version(headers: &HeaderMap) -> Result<WriteVersion, String> {
    let text = |name| headers.get(name).map(|v| v.to_str().unwrap_or("?").trim().to_lowercase());
    if let Some(encoding) = text(header::CONTENT_ENCODING).filter(|e| e != "snappy") {
        return Err(format!("content encoding {encoding:?} is not supported; send snappy\n"));
    }
    let Some(kind) = text(header::CONTENT_TYPE) else { return Ok(WriteVersion::One) };
    let mut parts = kind.split(';').map(str::trim);
    if parts.next() != Some("application/x-protobuf") {
        return Err(format!("content type {kind:?} is not supported; send application/x-protobuf\n"));
    }
    match parts.find_map(|p| p.strip_prefix("proto=")) {
        None | Some("prometheus.writerequest") => Ok(WriteVersion::One),
        Some("io.prometheus.write.v2.request") => Ok(WriteVersion::Two),
        Some(other) => Err(format!("message {other:?} is not supported; send remote write 1.0 or 2.0\n")),
    }
}

fn refuse(error: &WriteError) -> Response {
    let message = format!("{error}\n");
    match error {
        WriteError::Wire(wire::Error::TooLarge { .. }) => (StatusCode::PAYLOAD_TOO_LARGE, message).into_response(),
        WriteError::Wire(_) => (StatusCode::BAD_REQUEST, message).into_response(),
        WriteError::Store(tsdb::Error::ReadOnly { .. }) => {
            (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, RETRY_AFTER_S)], message).into_response()
        }
        WriteError::Store(error) => {
            tracing::error!(%error, "cannot keep pushed samples");
            (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, RETRY_AFTER_S)], message).into_response()
        }
    }
}
