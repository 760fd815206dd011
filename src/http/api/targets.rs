//! `targets` and `scrape_pools`: what is scraped and how that goes.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use serde::Serialize;

use super::format::{LabelsObject, success};
use super::parameters::Parameters;
use crate::collect::TargetSnapshot;
use crate::http::AppState;
use crate::model::{Timestamp, format_duration};

/// What upstream writes for a time that has not come.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Returns the paths of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/api/v1/targets", get(targets)).route("/api/v1/scrape_pools", get(scrape_pools))
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
