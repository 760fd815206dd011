//! `series`, `labels`, label values and `metadata`: what there is to ask about.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use serde::Serialize;

use super::format::{ApiError, LabelsObject, success_with};
use super::parameters::Parameters;
use crate::http::AppState;
use crate::model::{Labels, Matcher, Timestamp};
use crate::query::limits::Deadline;
use crate::query::promql;
use crate::storage::tsdb::{self, Querier};

/// How long a question may take, that of many selectors too.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Returns the paths of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/v1/series", get(series).post(series))
        .route("/api/v1/labels", get(labels).post(labels))
        .route("/api/v1/label/{name}/values", get(label_values))
        .route("/api/v1/metadata", get(metadata))
}

/// Which series are asked about.
struct Question {
    /// Sets of matchers; a series must pass one of them. Empty: all series.
    selectors: Vec<Vec<Matcher>>,
    min: Timestamp,
    max: Timestamp,
    limit: Option<usize>,
}

impl Question {
    fn read(parameters: &Parameters) -> Result<Self, ApiError> {
        let limit = parameters.limit()?;
        let min = parameters.time("start", Timestamp::MIN)?;
        let max = parameters.time("end", Timestamp::MAX)?;
        Ok(Question { selectors: parameters.selectors("match[]")?, min, max, limit })
    }

    /// Asks for each selector, while the client is there, and joins the answers. As upstream, a time that ends
    /// before it starts has nothing.
    fn gather<T: Ord>(
        &self,
        deadline: &Deadline,
        ask: impl Fn(&[Matcher]) -> tsdb::Result<Vec<T>>,
    ) -> Result<BTreeSet<T>, ApiError> {
        let mut found = BTreeSet::new();
        if self.max < self.min {
            return Ok(found);
        }
        if self.selectors.is_empty() {
            found.extend(ask(&[])?);
        }
        for selector in &self.selectors {
            deadline.check().map_err(promql::Error::from)?;
            found.extend(ask(selector)?);
        }
        Ok(found)
    }

    /// Returns the answer, cut to the limit, with a remark if it was cut.
    fn answer<'a, T, S: Serialize>(&self, found: &'a BTreeSet<T>, shape: impl Fn(&'a T) -> S) -> Response {
        let limit = self.limit.unwrap_or(usize::MAX);
        let items: Vec<S> = found.iter().take(limit).map(shape).collect();
        let cut = ["results truncated due to limit".to_owned()];
        success_with(&items, if found.len() > limit { &cut } else { &[] })
    }
}

/// Asks the store on the pool. The question is read there too: thousands of selectors are work.
async fn on_pool<T: Send + 'static>(
    state: &AppState,
    work: impl FnOnce(&Querier, &Deadline) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let db = state.db.clone();
    super::query::on_pool(state, move |gone| work(&db.querier(), &Deadline::after(TIMEOUT, Some(gone)))).await
}

async fn series(State(state): State<AppState>, parameters: Parameters) -> Result<Response, ApiError> {
    if parameters.all("match[]").next().is_none() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    on_pool(&state, move |querier, deadline| {
        let question = Question::read(&parameters)?;
        let found: BTreeSet<Labels> = question.gather(deadline, |m| querier.series(m, question.min, question.max))?;
        Ok(question.answer(&found, LabelsObject))
    })
    .await
}

async fn labels(State(state): State<AppState>, parameters: Parameters) -> Result<Response, ApiError> {
    on_pool(&state, move |querier, deadline| {
        let question = Question::read(&parameters)?;
        let found = question.gather(deadline, |m| querier.label_names(m, question.min, question.max))?;
        Ok(question.answer(&found, String::as_str))
    })
    .await
}

async fn label_values(
    State(state): State<AppState>,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let name = unescaped(&name);
    on_pool(&state, move |querier, deadline| {
        let question = Question::read(&parameters)?;
        let found = question.gather(deadline, |m| querier.label_values(&name, m, question.min, question.max))?;
        Ok(question.answer(&found, String::as_str))
    })
    .await
}

/// Reads a name that was written with `U__` so that it fits into an address: `__` is `_`, `_2e_` is a dot. Other names
/// are as they are.
fn unescaped(name: &str) -> String {
    let Some(mut rest) = name.strip_prefix("U__") else { return name.to_owned() };
    let mut text = String::new();
    while let Some((before, after)) = rest.split_once('_') {
        text.push_str(before);
        if let Some(after) = after.strip_prefix('_') {
            text.push('_');
            rest = after;
            continue;
        }
        let code = after.split_once('_').and_then(|(hex, after)| {
            let code = u32::from_str_radix(hex, 16).ok()?;
            Some((char::from_u32(code)?, after))
        });
        let Some((character, after)) = code else { return name.to_owned() };
        text.push(character);
        rest = after;
    }
    text.push_str(rest);
    text
}

async fn metadata(State(state): State<AppState>, parameters: Parameters) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct Entry {
        r#type: &'static str,
        help: String,
        unit: String,
    }
    // As upstream here, and not as elsewhere: zero is none, and what is negative is all.
    let limit = |name: &str| match parameters.get(name).map(str::parse::<i64>) {
        None => Ok(usize::MAX),
        Some(Ok(limit)) => Ok(usize::try_from(limit).unwrap_or(usize::MAX)),
        Some(Err(_)) => Err(ApiError::bad_data(format!("{name} must be a number"))),
    };
    let (limit, _) = (limit("limit")?, limit("limit_per_metric")?);
    let metric = parameters.get("metric");
    let known = state.db.metadata().into_iter().filter(|(name, _)| metric.is_none_or(|m| m == name)).take(limit);
    let found: BTreeMap<String, [Entry; 1]> =
        known.map(|(name, m)| (name, [Entry { r#type: m.kind.as_str(), help: m.help, unit: m.unit }])).collect();
    Ok(super::format::success(&found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names_are_read() {
        assert_eq!(unescaped("U__http_2e_status"), "http.status");
        assert_eq!(unescaped("U__a__b"), "a_b");
        assert_eq!(unescaped("plain_name"), "plain_name");
        assert_eq!(unescaped("U__bad_zz_"), "U__bad_zz_");
    }
}
