//! `targets`, their metadata, and `scrape_pools`: what is scraped and how that goes.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use serde::Serialize;

use super::format::{ApiError, LabelsObject, success};
use super::parameters::Parameters;
use crate::collect::TargetSnapshot;
use crate::http::AppState;
use crate::model::{LABEL_NAME, Labels, Matcher, Metadata, Timestamp, format_duration};
use crate::query::promql::parse_selector;
use crate::storage::tsdb::Db;

/// Whose samples lie further back is no metric of a target any more, as in a query.
const LOOKBACK_MS: i64 = 5 * 60 * 1000;

/// Endings of the series of a histogram or summary, whose metadata stands under the name without them.
const ENDINGS: [&str; 3] = ["_bucket", "_count", "_sum"];

/// What upstream writes for a time that has not come.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Returns the paths of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/v1/targets", get(targets))
        .route("/api/v1/targets/metadata", get(metadata))
        .route("/api/v1/scrape_pools", get(scrape_pools))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Targets<'a> {
    active_targets: Vec<Active<'a>>,
    dropped_targets: Vec<Dropped<'a>>,
    dropped_target_counts: BTreeMap<&'a str, usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Active<'a> {
    discovered_labels: LabelsObject<'a>,
    labels: LabelsObject<'a>,
    scrape_pool: &'a str,
    scrape_url: &'a str,
    global_url: &'a str,
    last_error: &'a str,
    last_scrape: String,
    last_scrape_duration: f64,
    health: &'static str,
    scrape_interval: String,
    scrape_timeout: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Dropped<'a> {
    discovered_labels: LabelsObject<'a>,
    scrape_pool: &'a str,
}

async fn targets(State(app): State<AppState>, parameters: Parameters) -> Response {
    // As upstream: a state that is not known shows nothing, and is no mistake.
    let state = parameters.get("state").unwrap_or("any").to_lowercase();
    let pool = parameters.get("scrapePool").unwrap_or("");
    let (with_active, with_dropped) =
        (matches!(state.as_str(), "" | "any" | "active"), matches!(state.as_str(), "" | "any" | "dropped"));
    let snapshot = app.collector.snapshot();
    let mut answer =
        Targets { active_targets: Vec::new(), dropped_targets: Vec::new(), dropped_target_counts: BTreeMap::new() };
    for job in snapshot.jobs.iter().filter(|job| pool.is_empty() || job.name == pool) {
        if with_active {
            answer.active_targets.extend(job.targets.iter().map(|target| active(&job.name, target)));
        }
        if with_dropped {
            let dropped = |labels| Dropped { discovered_labels: LabelsObject(labels), scrape_pool: job.name.as_str() };
            answer.dropped_targets.extend(job.dropped.iter().map(dropped));
        }
        answer.dropped_target_counts.insert(&job.name, job.dropped.len());
    }
    success(answer)
}

fn active<'a>(job: &'a str, target: &'a TargetSnapshot) -> Active<'a> {
    Active {
        discovered_labels: LabelsObject(&target.discovered_labels),
        labels: LabelsObject(&target.labels),
        scrape_pool: job,
        scrape_url: &target.url,
        global_url: &target.url,
        last_error: &target.last_error,
        last_scrape: target.last_scrape.map_or_else(|| NEVER.to_owned(), Timestamp::to_rfc3339),
        last_scrape_duration: target.last_duration.as_secs_f64(),
        health: target.health.as_str(),
        scrape_interval: format_duration(target.interval),
        scrape_timeout: format_duration(target.timeout),
    }
}

async fn scrape_pools(State(app): State<AppState>) -> Response {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Pools<'a> {
        scrape_pools: Vec<&'a str>,
    }
    let snapshot = app.collector.snapshot();
    success(Pools { scrape_pools: snapshot.jobs.iter().map(|job| job.name.as_str()).collect() })
}

/// What a target says about one of its metrics.
#[derive(Serialize)]
struct MetricOfTarget {
    target: BTreeMap<String, String>,
    /// Left out where one metric was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    metric: Option<String>,
    r#type: &'static str,
    help: String,
    unit: String,
}

async fn metadata(State(app): State<AppState>, parameters: Parameters) -> Result<Response, ApiError> {
    let limit = match parameters.get("limit").map(str::parse::<i64>) {
        None => usize::MAX,
        Some(Ok(limit)) => usize::try_from(limit).unwrap_or(usize::MAX),
        Some(Err(_)) => return Err(ApiError::bad_data("limit must be a number")),
    };
    let matchers = parameters.get("match_target").map_or(Ok(Vec::new()), parse_selector);
    let matchers = matchers.map_err(|e| ApiError::parameter("match_target", e))?;
    let wanted = parameters.get("metric").map(str::to_owned);
    let snapshot = app.collector.snapshot();
    let (db, now) = (app.db.clone(), app.clock.now());
    super::query::on_pool(&app, move |_| {
        let known = db.metadata();
        let mut found = Vec::new();
        let targets = snapshot.jobs.iter().flat_map(|job| &job.targets);
        for labels in targets.map(|target| &target.labels).filter(|l| passes(l, &matchers)) {
            let metrics = metrics_of(&db, labels, now)?;
            for (name, Metadata { kind, help, unit }) in &known {
                if found.len() < limit && wanted.as_ref().is_none_or(|w| w == name) && exposes(&metrics, name) {
                    found.push(MetricOfTarget {
                        target: labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
                        metric: wanted.is_none().then(|| name.clone()),
                        r#type: kind.as_str(),
                        help: help.clone(),
                        unit: unit.clone(),
                    });
                }
            }
        }
        Ok(success(found))
    })
    .await
}

fn passes(labels: &Labels, matchers: &[Matcher]) -> bool {
    matchers.iter().all(|m| m.matches(labels.get(m.name()).unwrap_or("")))
}

/// Returns the names of the series that a target has now, sorted.
fn metrics_of(db: &Db, target: &Labels, now: Timestamp) -> Result<Vec<String>, ApiError> {
    let matchers: Vec<Matcher> = target.iter().map(|(name, value)| Matcher::equal(name, value)).collect();
    let from = Timestamp::from_millis(now.as_millis().saturating_sub(LOOKBACK_MS));
    Ok(db.querier().label_values(LABEL_NAME, &matchers, from, now)?)
}

/// Tells whether a metric is among these series, itself or in parts.
fn exposes(series: &[String], metric: &str) -> bool {
    let has = |name: &str| series.binary_search_by(|s| s.as_str().cmp(name)).is_ok();
    has(metric) || ENDINGS.iter().any(|ending| has(&format!("{metric}{ending}")))
}
