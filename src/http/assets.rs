//! Files of `web/static`, embedded, under names that change with their content.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::AppState;

/// Name, type and content of each file.
const FILES: [(&str, &str, &str); 5] = [
    ("andon.css", "text/css; charset=utf-8", include_str!("../../web/static/andon.css")),
    ("andon.js", "text/javascript; charset=utf-8", include_str!("../../web/static/andon.js")),
    ("andon.svg", "image/svg+xml", include_str!("../../web/static/andon.svg")),
    ("explore.js", "text/javascript; charset=utf-8", include_str!("../../web/static/explore.js")),
    ("alarms.js", "text/javascript; charset=utf-8", include_str!("../../web/static/alarms.js")),
];

/// Addresses of the files, as pages write them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Assets {
    /// The style sheet.
    pub(super) css: String,
    /// The script.
    pub(super) js: String,
    /// The picture in the browser's tab.
    pub(super) icon: String,
    /// The script of the page for questions.
    pub(super) explore_js: String,
    /// The script of the alarms' pages.
    pub(super) alarms_js: String,
}

/// Addresses of the files in this build.
pub(super) static ASSETS: LazyLock<Assets> = LazyLock::new(|| Assets {
    css: address(0),
    js: address(1),
    icon: address(2),
    explore_js: address(3),
    alarms_js: address(4),
});

/// Returns the paths of all files.
pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/assets/{name}", get(file))
}

fn address(index: usize) -> String {
    FILES.get(index).map_or_else(String::new, |(name, _, content)| format!("/assets/{}", hashed(name, content)))
}

/// Returns `andon-0123456789abcdef.css` for `andon.css`.
fn hashed(name: &str, content: &str) -> String {
    let hash = xxhash_rust::xxh3::xxh3_64(content.as_bytes());
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    format!("{stem}-{hash:016x}.{extension}")
}

async fn file(Path(asked): Path<String>) -> Response {
    match FILES.iter().find(|(name, _, content)| hashed(name, content) == asked) {
        Some((_, kind, content)) => {
            let headers =
                [(header::CONTENT_TYPE, *kind), (header::CACHE_CONTROL, "public, max-age=31536000, immutable")];
            (headers, *content).into_response()
        }
        None => (StatusCode::NOT_FOUND, "no such file in this version\n").into_response(),
    }
}
