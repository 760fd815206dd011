//! Alertmanager's API v2, so that amtool, Grafana, dashboards of alarms and a Prometheus elsewhere can use this box
//! as their Alertmanager: alerts in and out, their groups, silences, receivers, status.

mod alerts;
mod silences;
mod status;

pub(in crate::http) use self::silences::audit as note_silence;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};

use super::alarms::status_of;
use super::parameters::Parameters;
use crate::alarms;
use crate::http::AppState;
use crate::model::{Labels, Matcher, parse_matchers};

/// Returns the paths of this folder.
pub(super) fn routes() -> Router<AppState> {
    Router::new().merge(alerts::routes()).merge(silences::routes()).merge(status::routes())
}

/// A refusal as upstream writes it: the reason as a JSON text.
struct Refusal(StatusCode, String);

impl Refusal {
    fn bad(reason: impl std::fmt::Display) -> Self {
        Refusal(StatusCode::BAD_REQUEST, reason.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

impl From<super::format::ApiError> for Refusal {
    fn from(error: super::format::ApiError) -> Self {
        Refusal(error.status, error.message)
    }
}

impl From<alarms::Error> for Refusal {
    fn from(error: alarms::Error) -> Self {
        Refusal(status_of(&error), error.to_string())
    }
}

/// Reads the parameters `filter`: matchers that all must pass.
fn filter(parameters: &Parameters) -> Result<Vec<Matcher>, Refusal> {
    let mut all = Vec::new();
    for text in parameters.all("filter") {
        all.extend(parse_matchers(text).map_err(|e| Refusal::bad(format!("bad matcher format: {e}")))?);
    }
    Ok(all)
}

/// Tells whether labels pass all matchers.
fn passes(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|m| m.matches_labels(labels))
}
