//! Health, readiness, reload, own metrics, and what the box is.

use std::collections::HashMap;
use std::hash::Hash;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use tokio::sync::oneshot;

use super::format::{ApiError, success};
use super::parameters::Parameters;
use crate::http::{AppState, ReloadRequest};
use crate::model::{LABEL_NAME, Labels, Timestamp};
use crate::wire::exposition;

/// The version of Prometheus whose API and PromQL this is; clients choose their features by it. What follows
/// the plus sign is Andon's own version.
const COMPATIBLE_VERSION: &str = concat!("3.5.0+andon.", env!("CARGO_PKG_VERSION"));

/// Names that each list of `status/tsdb` has, unless `limit` says otherwise.
const LIMIT_DEFAULT: usize = 10;

/// Series that `status/tsdb` looks at, from this long ago until now.
const RECENT_MS: i64 = 3_600_000;

/// Returns the paths of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/-/healthy", get(async || "Andon is healthy.\n"))
        .route("/-/ready", get(async || "Andon is ready.\n"))
        .route("/-/reload", post(reload).put(reload))
        .route("/metrics", get(metrics))
        .route("/api/v1/status/buildinfo", get(build_info))
        .route("/api/v1/status/runtimeinfo", get(runtime_info))
        .route("/api/v1/status/flags", get(flags))
        .route("/api/v1/status/config", get(config))
        .route("/api/v1/status/tsdb", get(tsdb))
}

/// Reads the settings again; a mistake changes nothing and is the answer.
async fn reload(State(app): State<AppState>) -> Response {
    let (answer, outcome) = oneshot::channel();
    if app.reload.try_send(ReloadRequest { answer }).is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, "a reload is under way\n").into_response();
    }
    match outcome.await {
        Ok(Ok(())) => StatusCode::OK.into_response(),
        Ok(Err(mistakes)) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("settings were not reloaded:\n{mistakes}\n")).into_response()
        }
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the box is stopping\n").into_response(),
    }
}

async fn metrics(State(app): State<AppState>) -> Response {
    let text = exposition::render(&app.registry.gather());
    ([(header::CONTENT_TYPE, exposition::CONTENT_TYPE)], text).into_response()
}

async fn build_info() -> Response {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct BuildInfo {
        version: &'static str,
        revision: &'static str,
        branch: &'static str,
        build_user: &'static str,
        build_date: &'static str,
        go_version: &'static str,
        application: &'static str,
    }
    success(BuildInfo {
        version: COMPATIBLE_VERSION,
        revision: "",
        branch: "",
        build_user: "",
        build_date: "",
        go_version: "",
        application: "Andon",
    })
}

async fn runtime_info(State(app): State<AppState>) -> Response {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct RuntimeInfo<'a> {
        start_time: String,
        server_time: String,
        hostname: &'a str,
        #[serde(rename = "CWD")]
        folder: &'a str,
        #[serde(rename = "GOMAXPROCS")]
        cores: usize,
    }
    success(RuntimeInfo {
        start_time: app.info.started_at.to_rfc3339(),
        server_time: app.clock.now().to_rfc3339(),
        hostname: &app.info.box_name,
        folder: &app.info.data_dir,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
    })
}

async fn flags(State(app): State<AppState>) -> Response {
    let flags = [("storage.tsdb.path", app.info.data_dir.as_str()), ("web.external-url", &app.info.external_url)];
    success(HashMap::from(flags))
}

async fn config(State(app): State<AppState>) -> Response {
    #[derive(Serialize)]
    struct Settings<'a> {
        yaml: &'a str,
    }
    success(Settings { yaml: &app.info.settings })
}

/// A name and how much there is of it.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Count {
    name: String,
    value: u64,
}

async fn tsdb(State(app): State<AppState>, parameters: Parameters) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct HeadStats {
        num_series: u64,
        num_label_pairs: usize,
        min_time: i64,
        max_time: i64,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        head_stats: HeadStats,
        series_count_by_metric_name: Vec<Count>,
        label_value_count_by_label_name: Vec<Count>,
        memory_in_bytes_by_label_name: Vec<Count>,
        series_count_by_label_value_pair: Vec<Count>,
    }
    let limit = parameters.limit()?.unwrap_or(LIMIT_DEFAULT);
    let now = app.clock.now();
    let db = app.db.clone();
    let read = move || {
        let (stats, start) = (db.stats(), Timestamp::from_millis(now.as_millis() - RECENT_MS));
        Ok((stats, Cardinality::of(&db.querier().series(&[], start, now)?)))
    };
    let read: crate::storage::tsdb::Result<_> =
        app.tasks.pool().run(read).await.map_err(|panicked| ApiError::internal(panicked.to_string()))?;
    let (stats, cardinality) = read?;
    Ok(success(Answer {
        head_stats: HeadStats {
            num_series: stats.head_series,
            num_label_pairs: cardinality.pairs.len(),
            min_time: stats.min_time.map_or(i64::MAX, Timestamp::as_millis),
            max_time: stats.max_time.map_or(i64::MIN, Timestamp::as_millis),
        },
        label_value_count_by_label_name: largest(values_by_name(&cardinality.pairs), limit),
        series_count_by_metric_name: largest(cardinality.metrics, limit),
        memory_in_bytes_by_label_name: largest(cardinality.bytes, limit),
        series_count_by_label_value_pair: largest(
            cardinality.pairs.into_iter().map(|((name, value), n)| (format!("{name}={value}"), n)).collect(),
            limit,
        ),
    }))
}

/// Series counted by what names them.
#[derive(Debug, Default)]
struct Cardinality {
    /// By metric name.
    metrics: HashMap<String, u64>,
    /// By label and value.
    pairs: HashMap<(String, String), u64>,
    /// Bytes of values by label.
    bytes: HashMap<String, u64>,
}

impl Cardinality {
    fn of(series: &[Labels]) -> Self {
        let mut counted = Cardinality::default();
        for labels in series {
            for (name, value) in labels.iter() {
                if name == LABEL_NAME {
                    *counted.metrics.entry(value.to_owned()).or_default() += 1;
                }
                let before = counted.pairs.entry((name.to_owned(), value.to_owned())).or_default();
                *before += 1;
                if *before == 1 {
                    *counted.bytes.entry(name.to_owned()).or_default() += value.len() as u64;
                }
            }
        }
        counted
    }
}

fn values_by_name(pairs: &HashMap<(String, String), u64>) -> HashMap<String, u64> {
    let mut values: HashMap<String, u64> = HashMap::new();
    for (name, _) in pairs.keys() {
        *values.entry(name.clone()).or_default() += 1;
    }
    values
}

/// Returns the largest counts, largest first; equal ones by name.
fn largest<K: Hash + Eq + Into<String>>(counts: HashMap<K, u64>, limit: usize) -> Vec<Count> {
    let mut counts: Vec<Count> = counts.into_iter().map(|(name, value)| Count { name: name.into(), value }).collect();
    counts.sort_by(|a, b| b.value.cmp(&a.value).then_with(|| a.name.cmp(&b.name)));
    counts.truncate(limit);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_counted_by_what_names_them() {
        let series = |name: &str, job: &str| Labels::from_pairs([("__name__", name), ("job", job)]);
        let counted = Cardinality::of(&[series("up", "a"), series("up", "bcd"), series("down", "a")]);
        let text =
            |counts: Vec<Count>| counts.iter().map(|c| format!("{}={}", c.name, c.value)).collect::<Vec<_>>().join(" ");
        assert_eq!(text(largest(values_by_name(&counted.pairs), 10)), "__name__=2 job=2");
        assert_eq!(text(largest(counted.metrics, 1)), "up=2");
        assert_eq!(text(largest(counted.bytes, 10)), "__name__=6 job=4");
    }
}
