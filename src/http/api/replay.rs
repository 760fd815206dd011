//! `GET /api/v1/rules/replay?expr=&for=&keep_firing_for=&interval=&start=&end=`: what a rule would have done on stored
//! history. Durations as in rule files; the last seven days if nothing is said.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use serde::Serialize;

use super::format::{ApiError, LabelsObject, success};
use super::parameters::Parameters;
use super::query::on_pool;
use crate::http::AppState;
use crate::model::{Timestamp, parse_duration};
use crate::query::promql::Options;
use crate::rules::{Firing, Trial, replay};

/// The window if nothing is said.
const USUAL: Duration = Duration::from_secs(7 * 86_400);
/// Between evaluations if nothing is said.
const INTERVAL: Duration = Duration::from_secs(60);
/// Firings that are told.
const TOLD: usize = 100;

/// Returns the paths of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/api/v1/rules/replay", get(try_rule))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    /// How often it would have fired.
    count: usize,
    /// How often its condition held, but not for long enough.
    short: usize,
    /// Seconds of all alerts together.
    firing_seconds: f64,
    /// Seconds in which at least one would have fired.
    some_firing_seconds: f64,
    at_once: usize,
    /// Evaluations with more alerts than `limit`, which dropped them all.
    over_limit: usize,
    series: usize,
    evaluations: usize,
    interval_seconds: f64,
    /// The newest first.
    firings: Vec<FiringObject<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FiringObject<'a> {
    labels: LabelsObject<'a>,
    fired_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved_at: Option<String>,
}

async fn try_rule(State(app): State<AppState>, parameters: Parameters) -> Result<Response, ApiError> {
    let now = app.clock.now();
    let end = parameters.time("end", now)?;
    let duration = |name: &str, usual| match parameters.get(name) {
        None | Some("") => Ok(usual),
        Some(text) => parse_duration(text).map_err(|e| ApiError::parameter(name, e)),
    };
    let trial = Trial {
        expression: parameters.get("expr").unwrap_or("").to_owned(),
        hold: duration("for", Duration::ZERO)?,
        keep_firing: duration("keep_firing_for", Duration::ZERO)?,
        limit: parameters.limit()?.unwrap_or(0),
        interval: duration("interval", INTERVAL)?.max(Duration::from_secs(1)),
        start: parameters.time("start", end - USUAL)?,
        end,
        cells: 1,
    };
    if trial.start > trial.end {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    let engine = app.engine.clone();
    let found = on_pool(&app, move |gone| {
        let options = Options { cancelled: Some(gone), asked_at: Some(now), ..Options::default() };
        Ok(replay(&engine, &trial, &options)?)
    })
    .await?;
    Ok(success(Answer {
        count: found.count,
        short: found.short,
        firing_seconds: found.firing.as_secs_f64(),
        some_firing_seconds: found.some_firing.as_secs_f64(),
        at_once: found.at_once,
        over_limit: found.over_limit,
        series: found.series,
        evaluations: found.evaluations,
        interval_seconds: found.interval.as_secs_f64(),
        firings: found.firings.iter().take(TOLD).map(firing).collect(),
    }))
}

fn firing(firing: &Firing) -> FiringObject<'_> {
    FiringObject {
        labels: LabelsObject(&firing.labels),
        fired_at: firing.fired_at.to_rfc3339(),
        resolved_at: firing.resolved_at.map(Timestamp::to_rfc3339),
    }
}
