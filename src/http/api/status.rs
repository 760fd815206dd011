//! Health, readiness, reload, own metrics, and what the box is.

use std::collections::HashMap;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use tokio::sync::oneshot;

use super::format::success;
use crate::http::{AppState, ReloadRequest};
use crate::model::format_duration;
use crate::wire::exposition;

/// The version of Prometheus whose API and PromQL this is; clients choose their features by it. What follows
/// the plus sign is Andon's own version.
const COMPATIBLE_VERSION: &str = concat!("3.5.0+andon.", env!("CARGO_PKG_VERSION"));

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
        reload_config_success: bool,
        last_config_time: String,
        corruption_count: usize,
        goroutine_count: usize,
        #[serde(rename = "GOMAXPROCS")]
        cores: usize,
        #[serde(rename = "GOMEMLIMIT")]
        memory_limit_bytes: u64,
        #[serde(rename = "GOGC")]
        gc: &'a str,
        #[serde(rename = "GODEBUG")]
        debug: &'a str,
        storage_retention: String,
    }
    let settings = app.settings.borrow().clone();
    let mut retention = format_duration(app.db.retention());
    if let Some(bytes) = app.info.size_limit {
        retention = format!("{retention} or {bytes}B");
    }
    success(RuntimeInfo {
        start_time: app.info.started_at.to_rfc3339(),
        server_time: app.clock.now().to_rfc3339(),
        hostname: &app.info.box_name,
        folder: &app.info.data_dir,
        reload_config_success: settings.refused_at.is_none(),
        last_config_time: settings.taken_at.to_rfc3339(),
        corruption_count: app.db.stats().damages.len(),
        // What does not belong to Go's runtime has its nearest counterpart here; what has none is empty.
        goroutine_count: app.tasks.running().len(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        memory_limit_bytes: app.db.headroom().limit_bytes().unwrap_or(i64::MAX.unsigned_abs()),
        gc: "",
        debug: "",
        storage_retention: retention,
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
