//! `notifications` and `notifications/live`: what an operator of the box should know now. As upstream's page has
//! them; there is one so far, that settings were refused.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream::{Stream, unfold};
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::format::success;
use crate::http::AppState;
use crate::http::state::Settings;
use crate::model::Timestamp;
use crate::task::Phase;

/// What upstream says, so that pages which know it show it.
const RELOAD_FAILED: &str = "Configuration reload has failed.";

/// How often a silent connection is told that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Returns the paths of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/api/v1/notifications", get(now)).route("/api/v1/notifications/live", get(live))
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Notification {
    text: &'static str,
    date: String,
    active: bool,
}

impl Notification {
    fn reload_failed(at: Timestamp, active: bool) -> Self {
        Notification { text: RELOAD_FAILED, date: at.to_rfc3339(), active }
    }
}

async fn now(State(app): State<AppState>) -> Response {
    let refused_at = app.settings.borrow().refused_at;
    success(refused_at.map(|at| Notification::reload_failed(at, true)).into_iter().collect::<Vec<_>>())
}

async fn live(State(app): State<AppState>) -> Response {
    let stream = changes(app.settings.clone(), app.tasks.token(Phase::Intake));
    let headers = [(header::CACHE_CONTROL, "no-cache, no-transform")];
    (headers, Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))).into_response()
}

/// Tells what holds, then each change.
fn changes(
    mut settings: watch::Receiver<Settings>,
    end: CancellationToken,
) -> impl Stream<Item = Result<Event, Infallible>> {
    settings.mark_changed();
    unfold((settings, None, end), async |(mut settings, told, end)| {
        loop {
            let changed = tokio::select! {
                changed = settings.changed() => changed,
                () = end.cancelled() => return None,
            };
            changed.ok()?;
            let refused_at = settings.borrow_and_update().refused_at;
            let news = match (refused_at, told) {
                (Some(at), _) => Notification::reload_failed(at, true),
                (None, Some(at)) => Notification::reload_failed(at, false),
                (None, None) => continue,
            };
            let event = Event::default().json_data(news).unwrap_or_default();
            return Some((Ok(event), (settings, refused_at, end)));
        }
    })
}
