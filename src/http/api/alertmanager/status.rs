//! `status` and `receivers`.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde_json::json;

use crate::http::AppState;

/// Returns the paths of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/api/v2/status", get(status)).route("/api/v2/receivers", get(receivers))
}

/// One box is its own cluster.
async fn status(State(app): State<AppState>) -> Response {
    let body = json!({
        "cluster": { "status": "disabled", "peers": [] },
        "config": { "original": &*app.notifier.snapshot().routing },
        "uptime": app.info.started_at.to_rfc3339(),
        "versionInfo": {
            "version": app.info.version, "branch": "", "buildDate": "", "buildUser": "", "goVersion": "", "revision": "",
        },
    });
    Json(body).into_response()
}

async fn receivers(State(app): State<AppState>) -> Response {
    let snapshot = app.notifier.snapshot();
    let names: Vec<_> = snapshot.receivers.iter().map(|r| json!({ "name": r.name })).collect();
    Json(names).into_response()
}
