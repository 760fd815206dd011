//! `/federate`: the newest sample of chosen series as text, for another Prometheus to scrape.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::format::ApiError;
use super::parameters::Parameters;
use crate::http::AppState;
use crate::model::{LABEL_NAME, Labels, Matcher, Sample, Timestamp, is_stale};
use crate::query::limits::Deadline;
use crate::query::promql;
use crate::storage::tsdb::{self, Querier};
use crate::wire::exposition;

/// A sample older than this is not the series' value any more, as in a query.
const LOOKBACK_MS: i64 = 5 * 60 * 1000;

/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Samples that one answer may read.
const SAMPLES_MAX: usize = 10_000_000;

/// Returns the paths of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/federate", get(federate))
}

async fn federate(State(state): State<AppState>, parameters: Parameters) -> Response {
    match exposed(&state, parameters).await {
        Ok(text) => ([(header::CONTENT_TYPE, exposition::CONTENT_TYPE)], text).into_response(),
        // Who asks for text is told in text.
        Err(error) => (error.status, error.retry_after(), format!("{}\n", error.message)).into_response(),
    }
}

async fn exposed(state: &AppState, parameters: Parameters) -> Result<String, ApiError> {
    let (db, now) = (state.db.clone(), state.clock.now());
    let external = state.settings.borrow().external_labels.clone();
    let asked = state.engine.asked().clone();
    super::query::on_pool(state, move |gone| {
        let deadline = Deadline::after(TIMEOUT, Some(gone));
        let selectors = parameters.selectors("match[]")?;
        selectors.iter().for_each(|matchers| asked.note_selector(matchers, now));
        let found = newest(&db.querier(), &deadline, &selectors, &external, now)?;
        Ok(exposition::render_untyped(found.iter().map(|(labels, sample)| (labels, *sample))))
    })
    .await
}

/// Returns the newest sample of each series that passes one of the selectors, under the labels that tell this box
/// from others.
fn newest(
    querier: &Querier,
    deadline: &Deadline,
    selectors: &[Vec<Matcher>],
    external: &Labels,
    now: Timestamp,
) -> Result<BTreeMap<Labels, Sample>, ApiError> {
    let from = Timestamp::from_millis(now.as_millis().saturating_sub(LOOKBACK_MS - 1));
    let mut found = BTreeMap::new();
    for selector in selectors {
        for series in querier.select(selector, from, now, SAMPLES_MAX)? {
            deadline.check().map_err(promql::Error::from)?;
            let series = series.map_err(|e: tsdb::Error| ApiError::from(e))?;
            let (Some(time), Some(value)) = (series.timestamps.last(), series.values.last()) else { continue };
            if !is_stale(*value) && series.labels.get(LABEL_NAME).is_some() {
                found.insert(series.labels.or(external), Sample::new(Timestamp::from_millis(*time), *value));
            }
        }
    }
    Ok(found)
}
