//! `query`, `query_range`, `format_query`, `parse_query`: PromQL over HTTP, as upstream has it.
//!
//! A query runs on the pool and ends when its client goes away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use serde_json::value::RawValue;

use super::format::{ApiError, Extras, answer, success};
use super::parameters::Parameters;
use crate::http::AppState;
use crate::model::Timestamp;
use crate::query::promql::{self, Engine, Options, QueryResult, Value};

/// Steps of a range query after its first; asked before the query is parsed, as upstream does.
const STEPS_MAX: u128 = 11_000;

/// Upper bound of work that waits for the pool; further queries are told to come again.
const WAITING_MAX: usize = 32;

/// Returns the paths of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/v1/query", get(instant).post(instant))
        .route("/api/v1/query_range", get(range).post(range))
        .route("/api/v1/format_query", get(format).post(format))
        .route("/api/v1/parse_query", get(syntax).post(syntax))
        .route("/api/v1/query_exemplars", get(exemplars).post(exemplars))
}

async fn instant(State(state): State<AppState>, parameters: Parameters) -> Result<Response, ApiError> {
    let limit = parameters.limit()?;
    let at = parameters.time("time", state.clock.now())?;
    let options = options(&parameters)?;
    let query = query(&parameters)?;
    let started = state.clock.elapsed();
    let result = run(&state, options, move |engine, options| engine.instant(&query, at, options)).await?;
    Ok(respond(result, limit, parameters.get("stats").is_some(), state.clock.elapsed().saturating_sub(started)))
}

async fn range(State(state): State<AppState>, parameters: Parameters) -> Result<Response, ApiError> {
    let limit = parameters.limit()?;
    let (start, end) = (required_time(&parameters, "start")?, required_time(&parameters, "end")?);
    if end < start {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    let step = parameters.duration("step")?;
    let step = step.ok_or_else(|| ApiError::parameter("step", "cannot parse \"\" to a valid duration"))?;
    if step.as_millis() == 0 {
        let reason = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(ApiError::parameter("step", reason));
    }
    if end.since(start).as_millis() / step.as_millis() > STEPS_MAX {
        return Err(ApiError::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ));
    }
    let options = options(&parameters)?;
    let query = query(&parameters)?;
    let started = state.clock.elapsed();
    let result = run(&state, options, move |engine, options| engine.range(&query, start, end, step, options)).await?;
    Ok(respond(result, limit, parameters.get("stats").is_some(), state.clock.elapsed().saturating_sub(started)))
}

async fn format(parameters: Parameters) -> Result<Response, ApiError> {
    Ok(success(promql::format(&query(&parameters)?)?))
}

async fn syntax(parameters: Parameters) -> Result<Response, ApiError> {
    let tree = RawValue::from_string(promql::syntax_tree(&query(&parameters)?)?);
    Ok(success(tree.map_err(|e| ApiError::internal(e.to_string()))?))
}

/// Exemplars are not kept, so there are none of any query; a wrong one is told.
async fn exemplars(State(state): State<AppState>, parameters: Parameters) -> Result<Response, ApiError> {
    let (start, end) = (parameters.time("start", Timestamp::MIN)?, parameters.time("end", state.clock.now())?);
    if end < start {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    promql::check(&query(&parameters)?)?;
    Ok(success([(); 0]))
}

fn query(parameters: &Parameters) -> Result<String, ApiError> {
    Ok(parameters.get("query").unwrap_or_default().to_owned())
}

fn required_time(parameters: &Parameters, name: &str) -> Result<Timestamp, ApiError> {
    if parameters.get(name).is_none() {
        return Err(ApiError::parameter(name, "cannot parse \"\" to a valid timestamp"));
    }
    parameters.time(name, Timestamp::MIN)
}

fn options(parameters: &Parameters) -> Result<Options, ApiError> {
    Ok(Options {
        lookback: parameters.duration("lookback_delta")?.filter(|d| !d.is_zero()),
        timeout: parameters.duration("timeout")?,
        ..Options::default()
    })
}

/// Sets a flag when it is dropped: hyper drops a handler's future when the client goes away.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

async fn run(
    state: &AppState,
    mut options: Options,
    work: impl FnOnce(&Engine, &Options) -> promql::Result<QueryResult> + Send + 'static,
) -> Result<QueryResult, ApiError> {
    let guard = CancelOnDrop(Arc::default());
    options.cancelled = Some(guard.0.clone());
    let engine = state.engine.clone();
    let result = on_pool(state, move || work(&engine, &options)).await;
    drop(guard);
    Ok(result??)
}

/// Runs work on the pool, unless too many wait for it.
pub(super) async fn on_pool<T: Send + 'static>(
    state: &AppState,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    let pool = state.tasks.pool();
    if pool.waiting() >= WAITING_MAX {
        return Err(ApiError::unavailable(format!("{WAITING_MAX} queries wait already")));
    }
    pool.run(work).await.map_err(|_| ApiError::internal("the query failed inside; the log has more"))
}

fn respond(mut result: QueryResult, limit: Option<usize>, with_stats: bool, took: Duration) -> Response {
    if let Some(limit) = limit {
        let is_cut = match &mut result.value {
            Value::Vector(series) if series.len() > limit => {
                series.truncate(limit);
                true
            }
            Value::Matrix(series) if series.len() > limit => {
                series.truncate(limit);
                true
            }
            _ => false,
        };
        if is_cut {
            result.warnings.push("results truncated due to limit".to_owned());
        }
    }
    let stats = with_stats.then(|| {
        let seconds = took.as_secs_f64();
        serde_json::json!({
            "timings": { "evalTotalTime": seconds, "execTotalTime": seconds },
            "samples": { "totalQueryableSamples": result.samples },
        })
        .to_string()
    });
    answer(result.value, &Extras { warnings: result.warnings, infos: result.infos, stats })
}
