//! The JSON API: Prometheus's paths and shapes, and Andon's own under `/api/v1`.
//!
//! Each file here has a `routes()` that returns its paths; this door only merges them.

use axum::Router;

use super::AppState;

/// Returns all paths of the API.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
}
