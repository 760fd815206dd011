//! `silences` and `silence/{id}`.

use std::cmp::Reverse;

use axum::Router;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde::{Deserialize, Serialize};

use super::{Refusal, filter};
use crate::alarms::NewSilence;
use crate::http::api::parameters::Parameters;
use crate::http::{AppState, audit};
use crate::model::{Labels, MatchOp, Matcher, Silence, SilenceState, Timestamp};

/// Returns the paths of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/api/v2/silences", get(list).post(set)).route("/api/v2/silence/{id}", get(one).delete(expire))
}

/// A matcher as upstream writes it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MatcherObject {
    name: String,
    value: String,
    is_regex: bool,
    #[serde(default = "yes")]
    is_equal: bool,
}

fn yes() -> bool {
    true
}

/// A silence as upstream writes it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SilenceObject<'a> {
    id: &'a str,
    status: Status,
    updated_at: String,
    comment: &'a str,
    created_by: &'a str,
    ends_at: String,
    matchers: Vec<MatcherObject>,
    starts_at: String,
}

#[derive(Serialize)]
struct Status {
    state: &'static str,
}

/// A silence as upstream takes it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PostedSilence {
    id: Option<String>,
    comment: String,
    created_by: String,
    ends_at: String,
    matchers: Vec<MatcherObject>,
    starts_at: String,
}

fn object(silence: &Silence, now: Timestamp) -> SilenceObject<'_> {
    SilenceObject {
        id: &silence.id,
        status: Status { state: silence.state(now).as_str() },
        updated_at: silence.updated_at.to_rfc3339(),
        comment: &silence.comment,
        created_by: &silence.created_by,
        ends_at: silence.ends_at.to_rfc3339(),
        matchers: silence.matchers.iter().map(matcher_object).collect(),
        starts_at: silence.starts_at.to_rfc3339(),
    }
}

fn matcher_object(matcher: &Matcher) -> MatcherObject {
    MatcherObject {
        name: matcher.name().to_owned(),
        value: matcher.value().to_owned(),
        is_regex: matches!(matcher.op(), MatchOp::Regex | MatchOp::NotRegex),
        is_equal: matches!(matcher.op(), MatchOp::Equal | MatchOp::Regex),
    }
}

fn read_matcher(matcher: &MatcherObject) -> Result<Matcher, Refusal> {
    let op = match (matcher.is_equal, matcher.is_regex) {
        (true, false) => MatchOp::Equal,
        (false, false) => MatchOp::NotEqual,
        (true, true) => MatchOp::Regex,
        (false, true) => MatchOp::NotRegex,
    };
    if matcher.name.is_empty() {
        return Err(Refusal::bad("invalid silence: a matcher has no label name"));
    }
    Matcher::new(&matcher.name, op, &matcher.value).map_err(|e| Refusal::bad(format!("invalid silence: {e}")))
}

fn read(posted: &PostedSilence) -> Result<NewSilence, Refusal> {
    let time = |text: &str| Timestamp::parse(text).map_err(Refusal::bad);
    Ok(NewSilence {
        id: posted.id.clone().filter(|id| !id.is_empty()),
        matchers: posted.matchers.iter().map(read_matcher).collect::<Result<_, _>>()?,
        starts_at: time(&posted.starts_at)?,
        ends_at: time(&posted.ends_at)?,
        created_by: posted.created_by.clone(),
        comment: posted.comment.clone(),
    })
}

/// Tells whether a filter means this silence: its equalities are held against the filter as if they were labels.
fn is_meant(filter: &[Matcher], silence: &Silence) -> bool {
    let meant = silence.matchers.iter().filter(|m| matches!(m.op(), MatchOp::Equal | MatchOp::Regex));
    let labels = Labels::from_pairs(meant.map(|m| (m.name(), m.value())));
    super::passes(filter, &labels)
}

/// Those that hold first, by their end; then those to come, by their start; then what is over, the latest first.
async fn list(State(app): State<AppState>, parameters: Parameters) -> Result<Response, Refusal> {
    let filter = filter(&parameters)?;
    let now = app.clock.now();
    let all = app.alarms.silences();
    let mut found: Vec<&Silence> = all.iter().filter(|s| is_meant(&filter, s)).collect();
    found.sort_by_key(|s| match s.state(now) {
        state @ SilenceState::Active => (state, s.ends_at, Reverse(s.ends_at)),
        state @ SilenceState::Pending => (state, s.starts_at, Reverse(s.ends_at)),
        state @ SilenceState::Expired => (state, Timestamp::MIN, Reverse(s.ends_at)),
    });
    Ok(Json(found.into_iter().map(|s| object(s, now)).collect::<Vec<_>>()).into_response())
}

async fn set(
    State(app): State<AppState>,
    posted: Result<Json<PostedSilence>, JsonRejection>,
) -> Result<Response, Refusal> {
    let Json(posted) = posted.map_err(|e| Refusal(e.status(), e.body_text()))?;
    let silence = app.alarms.silence(read(&posted)?).await?;
    audit(&app, "silence.set", &silence).await;
    Ok(Json(serde_json::json!({ "silenceID": silence.id })).into_response())
}

async fn one(State(app): State<AppState>, Path(id): Path<String>) -> Response {
    let silences = app.alarms.silences();
    match silences.iter().find(|s| s.id == id) {
        Some(silence) => Json(object(silence, app.clock.now())).into_response(),
        // Upstream has no words for it either.
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn expire(State(app): State<AppState>, Path(id): Path<String>) -> Result<StatusCode, Refusal> {
    let silence = app.alarms.expire_silence(&id).await?;
    audit(&app, "silence.expire", &silence).await;
    Ok(StatusCode::OK)
}

/// Notes in the audit log that a silence was set or ended.
pub(in crate::http) async fn audit(app: &AppState, action: &str, silence: &Silence) {
    let matchers: Vec<String> = silence.matchers.iter().map(Matcher::to_string).collect();
    let detail = serde_json::json!({ "matchers": matchers, "endsAt": silence.ends_at.to_rfc3339() });
    audit::audit(app, &silence.created_by, action, format!("silence/{}", silence.id), detail).await;
}
