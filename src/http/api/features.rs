//! `features`: what of Prometheus's language and API there is, for clients that choose by it.
//!
//! Experimental parts of the language are there without a flag.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;

use super::format::success;
use crate::http::AppState;
use crate::query::promql::{aggregation_names, function_names};
use crate::template;

/// Names and whether they are there.
type Features = BTreeMap<&'static str, bool>;

const API: [(&str, bool); 10] = [
    ("exclude_alerts", true),
    ("label_values_match", true),
    ("lifecycle", true),
    ("openapi_3.1", false),
    ("openapi_3.2", false),
    ("otlp_write_receiver", false),
    ("query_stats", true),
    ("query_warnings", true),
    ("remote_write_receiver", true),
    ("time_range_labels", true),
];

const LANGUAGE: [(&str, bool); 22] = [
    ("anchored", true),
    ("at_modifier", true),
    ("bool", true),
    ("by", true),
    ("delayed_name_removal", false),
    ("duration_expr", true),
    ("fill", true),
    ("fill_left", true),
    ("fill_right", true),
    ("group_left", true),
    ("group_right", true),
    ("ignoring", true),
    ("negative_offset", true),
    ("offset", true),
    ("on", true),
    ("per_query_lookback_delta", true),
    ("per_step_stats", true),
    ("smoothed", true),
    ("subqueries", true),
    ("type_and_unit_labels", false),
    ("without", true),
    ("native_histograms", false),
];

const OPERATORS: [&str; 19] =
    ["!=", "!~", "%", "*", "+", "-", "/", "<", "<=", "==", "=~", ">", ">=", "@", "^", "and", "atan2", "or", "unless"];

/// Returns the path of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/api/v1/features", get(features))
}

async fn features(State(app): State<AppState>) -> Response {
    let there = |name| (name, true);
    let mut api = Features::from(API);
    api.extend([("admin", app.info.has_admin_api), ("time_range_series", true)]);
    let all: BTreeMap<&str, Features> = BTreeMap::from([
        ("api", api),
        ("prometheus", Features::from([("agent_mode", false), ("server_mode", true), ("stringlabels", true)])),
        ("promql", Features::from(LANGUAGE)),
        ("promql_functions", function_names().map(there).collect()),
        ("promql_operators", OPERATORS.into_iter().chain(aggregation_names()).map(there).collect()),
        ("rules", Features::from([("concurrent_rule_eval", false), ("keep_firing_for", true), ("query_offset", true)])),
        ("scrape", Features::from([("extra_scrape_metrics", true), ("type_and_unit_labels", false)])),
        ("service_discovery_providers", Features::from([("file", true), ("static", true)])),
        ("templating_functions", template::function_names().into_iter().map(there).collect()),
        ("tsdb", Features::from([("exemplar_storage", false), ("isolation", true), ("native_histograms", false)])),
    ]);
    success(all)
}
