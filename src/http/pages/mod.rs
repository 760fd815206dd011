//! Pages rendered on the server: useful with scripts off, calm to look at, every number with its age.

use axum::Router;

use super::AppState;

/// Returns all paths of pages.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
}
