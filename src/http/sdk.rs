//! `/sdk/...`: the device's end of the wire in other languages, one file each, for download.

use axum::Router;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::AppState;

/// Name, type and content of each file.
const FILES: [(&str, &str, &str); 2] = [
    ("andon_device.py", "text/x-python; charset=utf-8", include_str!("../../web/sdk/andon_device.py")),
    ("andon-device.js", "text/javascript; charset=utf-8", include_str!("../../web/sdk/andon-device.js")),
];

/// Returns the path of all files.
pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/sdk/{name}", get(file))
}

async fn file(Path(asked): Path<String>) -> Response {
    match FILES.iter().find(|(name, ..)| *name == asked) {
        Some((_, kind, content)) => ([(header::CONTENT_TYPE, *kind)], *content).into_response(),
        None => {
            let names = FILES.map(|(name, ..)| name).join(", ");
            (StatusCode::NOT_FOUND, format!("no such file; there are {names}\n")).into_response()
        }
    }
}
