//! `/api/v1/clock`: what time it is by this box, and whether that is believed.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use tracing::error;

use super::format::{ApiError, success};
use crate::clock::{Belief, Doubt, Standing};
use crate::http::AppState;

/// Returns the paths of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/api/v1/clock", get(show)).route("/api/v1/clock/confirm", post(confirm))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ClockJson {
    /// The box's time.
    time: String,
    /// The machine's wall clock.
    system_time: String,
    ahead_seconds: f64,
    trusted: bool,
    reason: &'static str,
    synchronized: bool,
    steps: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_step: Option<StepJson>,
    provisional_samples: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StepJson {
    at: String,
    seconds: f64,
}

/// Returns why the clock is believed or not, in one word.
fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Believed(Belief::Plausible) => "plausible",
        Standing::Believed(Belief::Synchronized) => "synchronized",
        Standing::Believed(Belief::Operator) => "operator",
        Standing::Believed(Belief::Always) => "always",
        Standing::Doubted(Doubt::BeforeBuild) => "before_build",
        Standing::Doubted(Doubt::BeforeLastStamp) => "before_last_stamp",
        Standing::Doubted(Doubt::FarAhead) => "far_ahead",
        Standing::Doubted(Doubt::Stepped) => "stepped",
        Standing::Doubted(Doubt::Unsynchronized) => "unsynchronized",
    }
}

async fn show(State(app): State<AppState>) -> Response {
    answer(&app)
}

/// Takes the word of whoever asks that the system's clock is right now.
async fn confirm(State(app): State<AppState>) -> Response {
    match confirmed(&app).await {
        Ok(()) => answer(&app),
        Err(refused) => refused.into_response(),
    }
}

/// Takes an operator's word that the system's clock is right now.
///
/// # Errors
/// When it could not be kept: the disk takes nothing.
pub(in crate::http) async fn confirmed(app: &AppState) -> Result<(), ApiError> {
    let storage = app.storage.clone();
    match app.tasks.pool().run(move || storage.confirm_time()).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(ApiError::unavailable("the disk takes nothing now, so that samples cannot be moved safely")),
        Err(panicked) => {
            error!(%panicked, "cannot confirm the time");
            Err(ApiError::internal("cannot confirm the time; the log says why"))
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "seconds of a clock are far below 2^53 milliseconds")]
fn answer(app: &AppState) -> Response {
    let Some(state) = app.clock.state() else {
        let message = "nobody looks after the clock".to_owned();
        return ApiError { status: StatusCode::NOT_FOUND, kind: "not_found", message }.into_response();
    };
    let seconds = |ms: i64| ms as f64 / 1000.0;
    success(ClockJson {
        time: app.clock.now().to_rfc3339(),
        system_time: state.wall.to_rfc3339(),
        ahead_seconds: seconds(state.ahead_ms),
        trusted: matches!(state.standing, Standing::Believed(_)),
        reason: word(state.standing),
        synchronized: state.is_synchronized,
        steps: state.steps,
        last_step: state.last_step.map(|s| StepJson { at: s.at.to_rfc3339(), seconds: seconds(s.by_ms) }),
        provisional_samples: app.db.provisional_samples(),
    })
}
