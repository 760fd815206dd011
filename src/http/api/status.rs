//! Health, readiness, reload, own metrics, and what the box is.

use std::collections::HashMap;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use tokio::sync::oneshot;

use super::format::{ApiError, success};
use super::parameters::Parameters;
use crate::http::{AppState, ReloadRequest};
use crate::model::Timestamp;
use crate::wire::exposition;

/// The version of Prometheus whose API and PromQL this is; clients choose their features by it. What follows
/// the plus sign is Andon's own version.
const COMPATIBLE_VERSION: &str = concat!("3.5.0+andon.", env!("CARGO_PKG_VERSION"));

/// Names that each list of `status/tsdb` has, unless `limit` says otherwise.
const LIMIT_DEFAULT: usize = 10;

/// Returns the paths of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/-/healthy", get(async || "Andon is healthy.\n"))
        .route("/-/ready", get(async || "Andon is ready.\n"))
        .route("/-/reload", post(reload).put(reload))
        .route("/metrics", get(metrics))
        .route("/api/v1/status/buildinfo", get(build_info))
        .route("/api/v1/status/runtimeinfo", get(runtime_info))
        .route("/api/v1/status/flags", get(flags))
        .route("/api/v1/status/config", get(config))
        .route("/api/v1/status/tsdb", get(tsdb))
        .route("/api/v1/status/walreplay", get(wal_replay))
        .route("/api/v1/notifications", get(async || success([(); 0])))
}

/// Reads the settings again; a mistake changes nothing and is the answer.
async fn reload(State(app): State<AppState>) -> Response {
    let (answer, outcome) = oneshot::channel();
    if app.reload.try_send(ReloadRequest { answer }).is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, "a reload is under way\n").into_response();
    }
    match outcome.await {
        Ok(Ok(())) => StatusCode::OK.into_response(),
        Ok(Err(mistakes)) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("settings were not reloaded:\n{mistakes}\n")).into_response()
        }
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the box is stopping\n").into_response(),
    }
}

/// Who reaches this path meets a box whose log has been read.
async fn wal_replay() -> Response {
    #[derive(Serialize)]
    struct Replay {
        min: u64,
        max: u64,
        current: u64,
    }
    success(Replay { min: 0, max: 0, current: 0 })
}

async fn metrics(State(app): State<AppState>) -> Response {
    let text = exposition::render(&app.registry.gather());
    ([(header::CONTENT_TYPE, exposition::CONTENT_TYPE)], text).into_response()
}

async fn build_info() -> Response {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct BuildInfo {
        version: &'static str,
        revision: &'static str,
        branch: &'static str,
        build_user: &'static str,
        build_date: &'static str,
        go_version: &'static str,
        application: &'static str,
    }
    success(BuildInfo {
        version: COMPATIBLE_VERSION,
        revision: "",
        branch: "",
        build_user: "",
        build_date: "",
        go_version: "",
        application: "Andon",
    })
}

async fn runtime_info(State(app): State<AppState>) -> Response {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct RuntimeInfo<'a> {
        start_time: String,
        server_time: String,
        hostname: &'a str,
        #[serde(rename = "CWD")]
        folder: &'a str,
        #[serde(rename = "GOMAXPROCS")]
        cores: usize,
    }
    success(RuntimeInfo {
        start_time: app.info.started_at.to_rfc3339(),
        server_time: app.clock.now().to_rfc3339(),
        hostname: &app.info.box_name,
        folder: &app.info.data_dir,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
    })
}

async fn flags(State(app): State<AppState>) -> Response {
    let flags = [("storage.tsdb.path", app.info.data_dir.as_str()), ("web.external-url", &app.info.external_url)];
    success(HashMap::from(flags))
}

async fn config(State(app): State<AppState>) -> Response {
    #[derive(Serialize)]
    struct Settings<'a> {
        yaml: &'a str,
    }
    let yaml = app.settings.borrow().text.clone();
    success(Settings { yaml: &yaml })
}

/// A name and how much there is of it.
#[derive(Serialize)]
struct Count {
    name: String,
    value: u64,
}

async fn tsdb(State(app): State<AppState>, parameters: Parameters) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct HeadStats {
        num_series: u64,
        num_label_pairs: u64,
        min_time: i64,
        max_time: i64,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        head_stats: HeadStats,
        series_count_by_metric_name: Vec<Count>,
        label_value_count_by_label_name: Vec<Count>,
        memory_in_bytes_by_label_name: Vec<Count>,
        series_count_by_label_value_pair: Vec<Count>,
    }
    let limit = parameters.limit()?.unwrap_or(LIMIT_DEFAULT);
    let db = app.db.clone();
    let read = app.tasks.pool().run(move || (db.stats(), db.cardinality(limit))).await;
    let (stats, cardinality) = read.map_err(|panicked| ApiError::internal(panicked.to_string()))?;
    let counts = |list: Vec<(String, u64)>| list.into_iter().map(|(name, value)| Count { name, value }).collect();
    Ok(success(Answer {
        head_stats: HeadStats {
            num_series: stats.head_series,
            num_label_pairs: cardinality.label_pairs,
            min_time: stats.head_min_time.map_or(i64::MAX, Timestamp::as_millis),
            max_time: stats.head_max_time.map_or(i64::MIN, Timestamp::as_millis),
        },
        series_count_by_metric_name: counts(cardinality.series_by_metric),
        label_value_count_by_label_name: counts(cardinality.values_by_label),
        memory_in_bytes_by_label_name: counts(cardinality.bytes_by_label),
        series_count_by_label_value_pair: counts(cardinality.series_by_pair),
    }))
}
