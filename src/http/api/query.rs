//! `query`, `query_range`, `format_query`, `parse_query`: PromQL over HTTP, as upstream has it.
//!
//! A query runs on the pool and ends when its client goes away.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Extension, State};
use axum::response::Response;
use axum::routing::get;
use serde::Serialize;
use serde_json::value::RawValue;

use super::format::{ApiError, Extras, answer, success};
use super::parameters::Parameters;
use crate::http::AppState;
use crate::http::server::Peer;
use crate::model::Timestamp;
use crate::query::log::Origin;
use crate::query::promql::{self, Engine, Options, QueryResult, Stats, Value};

/// Steps of a range query after its first; asked before the query is parsed, as upstream does.
const STEPS_MAX: u128 = 11_000;

/// Questions that may wait for a place; one more is told to come again. As many as there are connections: what waits
/// is small, and who has waited long is told so.
const WAITING_MAX: usize = 1024;

/// Returns the paths of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/v1/query", get(instant).post(instant))
        .route("/api/v1/query_range", get(range).post(range))
        .route("/api/v1/format_query", get(format).post(format))
        .route("/api/v1/parse_query", get(syntax).post(syntax))
        .route("/api/v1/query_exemplars", get(exemplars).post(exemplars))
}

async fn instant(
    State(state): State<AppState>,
    Extension(Peer(peer)): Extension<Peer>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let limit = parameters.limit()?;
    let at = parameters.time("time", state.clock.now())?;
    let options = options(&parameters, peer)?;
    let query = query(&parameters)?;
    let asked = run(&state, options, move |engine, options| engine.instant(&query, at, options)).await?;
    Ok(respond(asked, limit, parameters.get("stats").is_some()))
}

async fn range(
    State(state): State<AppState>,
    Extension(Peer(peer)): Extension<Peer>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let limit = parameters.limit()?;
    let (start, end) = (parameters.required_time("start")?, parameters.required_time("end")?);
    if end < start {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    let step = parameters.duration("step")?;
    let step = step.ok_or_else(|| ApiError::parameter("step", "cannot parse \"\" to a valid duration"))?;
    let too_small = "zero or negative query resolution step widths are not accepted. Try a positive integer";
    if step.is_zero() {
        return Err(ApiError::parameter("step", too_small));
    }
    if end.since(start).as_nanos() / step.as_nanos() > STEPS_MAX {
        return Err(ApiError::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ));
    }
    if step.as_millis() == 0 {
        return Err(ApiError::parameter("step", too_small));
    }
    let options = options(&parameters, peer)?;
    let query = query(&parameters)?;
    let asked = run(&state, options, move |engine, options| engine.range(&query, start, end, step, options)).await?;
    Ok(respond(asked, limit, parameters.get("stats").is_some()))
}

async fn format(State(state): State<AppState>, parameters: Parameters) -> Result<Response, ApiError> {
    let query = query(&parameters)?;
    Ok(success(on_pool(&state, move |_| Ok(promql::format(&query)?)).await?))
}

async fn syntax(State(state): State<AppState>, parameters: Parameters) -> Result<Response, ApiError> {
    let query = query(&parameters)?;
    let tree = RawValue::from_string(on_pool(&state, move |_| Ok(promql::syntax_tree(&query)?)).await?);
    Ok(success(tree.map_err(|e| ApiError::internal(e.to_string()))?))
}

/// Exemplars are not kept, so there are none of any query; a wrong one is told.
async fn exemplars(State(state): State<AppState>, parameters: Parameters) -> Result<Response, ApiError> {
    let (start, end) = (parameters.time("start", Timestamp::MIN)?, parameters.time("end", state.clock.now())?);
    if end < start {
        return Err(ApiError::bad_data("end timestamp must not be before start timestamp"));
    }
    let query = query(&parameters)?;
    on_pool(&state, move |_| Ok(promql::check(&query)?)).await?;
    Ok(success([(); 0]))
}

fn query(parameters: &Parameters) -> Result<String, ApiError> {
    Ok(parameters.get("query").unwrap_or_default().to_owned())
}

fn options(parameters: &Parameters, peer: SocketAddr) -> Result<Options, ApiError> {
    Ok(Options {
        lookback: parameters.duration("lookback_delta")?.filter(|d| !d.is_zero()),
        timeout: parameters.duration("timeout")?,
        counts_steps: parameters.get("stats") == Some("all"),
        origin: Origin::Program(peer.ip()),
        ..Options::default()
    })
}

/// Sets a flag when it is dropped: hyper drops a handler's future when the client goes away.
#[derive(Debug, Default)]
pub(in crate::http) struct GoneFlag(Arc<AtomicBool>);

impl GoneFlag {
    /// Returns the flag, for the work that is to stop.
    pub(in crate::http) fn flag(&self) -> Arc<AtomicBool> {
        self.0.clone()
    }
}

impl Drop for GoneFlag {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// An answer and how long its question waited for a place.
struct Asked {
    result: QueryResult,
    waited: Duration,
}

async fn run(
    state: &AppState,
    mut options: Options,
    work: impl FnOnce(&Engine, &Options) -> promql::Result<QueryResult> + Send + 'static,
) -> Result<Asked, ApiError> {
    options.asked_at = Some(state.clock.now());
    let (engine, clock, asked_at) = (state.engine.clone(), state.clock.clone(), state.clock.elapsed());
    on_pool(state, move |gone| {
        let waited = clock.elapsed().saturating_sub(asked_at);
        options.cancelled = Some(gone);
        // As upstream, who names a time counts it from the moment of asking.
        options.timeout = options.timeout.map(|timeout| timeout.saturating_sub(waited));
        Ok(Asked { result: work(&engine, &options)?, waited })
    })
    .await
}

/// Runs work in the pool for questions, unless too many wait for it. The flag that it is handed says that it is to end:
/// its client has gone, or it takes long while others wait and there is no room beside.
pub(super) async fn on_pool<T: Send + 'static>(
    state: &AppState,
    work: impl FnOnce(Arc<AtomicBool>) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let pool = state.tasks.questions();
    if pool.waiting() >= WAITING_MAX {
        return Err(ApiError::unavailable(format!("{WAITING_MAX} queries wait already; come again")));
    }
    let (gone, crowded) = (GoneFlag::default(), AtomicBool::new(false));
    let flag = gone.flag();
    let crowd_out = || {
        crowded.store(true, Ordering::Relaxed);
        gone.flag().store(true, Ordering::Relaxed);
    };
    let done = pool.run_long(move || work(flag), crowd_out).await;
    match done.map_err(|_| ApiError::internal("the query failed inside; the log has more"))? {
        Err(_) if crowded.load(Ordering::Relaxed) => {
            Err(ApiError::unavailable("others wait, and as many long queries run as there is room for; come again"))
        }
        done => done,
    }
}

fn respond(Asked { mut result, waited }: Asked, limit: Option<usize>, with_stats: bool) -> Response {
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
    let stats = with_stats.then(|| figures(&result.stats, waited));
    answer(result.value, result.kept, &Extras { warnings: result.warnings, infos: result.infos, stats })
}

/// Writes what a query took, as upstream does. Results come sorted, so that sorting takes no time of its own.
fn figures(stats: &Stats, waited: Duration) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Timings {
        eval_total_time: f64,
        result_sort_time: f64,
        query_preparation_time: f64,
        inner_eval_time: f64,
        exec_queue_time: f64,
        exec_total_time: f64,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Samples {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        total_queryable_samples_per_step: Vec<(f64, u64)>,
        total_queryable_samples: u64,
        peak_samples: usize,
    }
    #[derive(Serialize)]
    struct Figures {
        timings: Timings,
        samples: Samples,
    }
    let (preparing, evaluating) = (stats.preparing.as_secs_f64(), stats.evaluating.as_secs_f64());
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of any time in use fit into a float")]
    let seconds = |at: Timestamp| at.as_millis() as f64 / 1e3;
    let figures = Figures {
        timings: Timings {
            eval_total_time: preparing + evaluating,
            result_sort_time: 0.0,
            query_preparation_time: preparing,
            inner_eval_time: evaluating,
            exec_queue_time: waited.as_secs_f64(),
            exec_total_time: waited.as_secs_f64() + preparing + evaluating,
        },
        samples: Samples {
            total_queryable_samples_per_step: stats.queryable_at.iter().map(|(at, n)| (seconds(*at), *n)).collect(),
            total_queryable_samples: stats.queryable,
            peak_samples: stats.peak,
        },
    };
    serde_json::to_string(&figures).unwrap_or_else(|_| "{}".to_owned())
}
