//! `/api/v1/metrics/...`: what a tenant is shown of itself.
//!
//! Each question carries the tenant's key (`Authorization: Bearer KEY` or `X-API-Key: KEY`) and is answered from that
//! tenant's account only; there is no parameter that names a tenant. Answers are `{"success":true,"data":..,"tier":..}`;
//! how much they hold depends on the tier.

mod analytics;
mod history;

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Map, Value, json};

use self::history::History;
use super::format::ApiError;
use super::parameters::Parameters;
use crate::alarms::{Event, HistoryQuery};
use crate::http::AppState;
use crate::model::{MatchOp, Matcher, Timestamp};
use crate::tenants::{ClientView, Forecast, Health, Kind, Tenant, TenantView, Tier};

/// Kinds of subjects in an answer, at most.
const SUBJECTS_MAX: usize = 100;
/// Hours of a month, for predictions.
const MONTH_HOURS: usize = 720;
/// Days that alarms are remembered.
const ANOMALY_HOURS_MAX: u64 = 90 * 24;

/// Returns the five paths.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/v1/metrics/realtime", get(realtime))
        .route("/api/v1/metrics/presence", get(presence))
        .route("/api/v1/metrics/analytics", get(analytics::analytics))
        .route("/api/v1/metrics/anomalies", get(anomalies))
        .route("/api/v1/metrics/health-check", get(health_check))
}

/// A question that is not answered, in the shape of these paths.
pub(super) struct Refusal(StatusCode, String);

impl Refusal {
    fn tier(what: &str, tier: Tier) -> Refusal {
        Refusal(StatusCode::FORBIDDEN, format!("{what} need the plan {} or above", tier.as_str()))
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Refusal(error.status, error.message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let challenge = (self.0 == StatusCode::UNAUTHORIZED).then_some([(header::WWW_AUTHENTICATE, "Bearer")]);
        (self.0, challenge, Json(json!({ "success": false, "error": self.1 }))).into_response()
    }
}

/// The tenant that asks, known by its key.
pub(super) struct Asking {
    tenant: Tenant,
    view: TenantView,
}

impl FromRequestParts<AppState> for Asking {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Refusal> {
        let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let bearer = text("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let key = bearer.or_else(|| text("x-api-key")).map(str::trim).unwrap_or_default();
        let Some(tenant) = state.tenants.of_key(key) else {
            let what = if key.is_empty() { "the key of a tenant is needed" } else { "the key is not known" };
            return Err(Refusal(StatusCode::UNAUTHORIZED, what.to_owned()));
        };
        state.tenants.asked(&tenant.id).await;
        let Some(view) = state.tenants.view(&tenant.id).await else {
            return Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, "the box is starting or stopping".to_owned()));
        };
        Ok(Asking { tenant, view })
    }
}

impl Asking {
    fn needs(&self, tier: Tier, what: &str) -> Result<(), Refusal> {
        if self.tenant.tier >= tier { Ok(()) } else { Err(Refusal::tier(what, tier)) }
    }

    fn answer(&self, data: impl Into<Value>) -> Response {
        Json(json!({ "success": true, "data": data.into(), "tier": self.tenant.tier.as_str() })).into_response()
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of messages and bytes are exact up to 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}

async fn realtime(State(state): State<AppState>, asking: Asking, parameters: Parameters) -> Result<Response, Refusal> {
    let Asking { tenant, view } = &asking;
    let with_clients = match parameters.get("include_clients") {
        None | Some("false" | "0") => false,
        Some("true" | "1") => true,
        Some(other) => {
            return Err(ApiError::parameter("include_clients", format_args!("{other:?} is not true or false")).into());
        }
    };
    let mut data = Map::new();
    let mut put = |name: &str, value: Value| data.insert(name.to_owned(), value);
    put("messages", view.hour.0.into());
    put("bytes", view.hour.1.into());
    put("window_seconds", 3600.into());
    put("counted_since", view.since.to_rfc3339().into());
    put("active_clients", view.clients.iter().filter(|c| c.is_online).count().into());
    put("active_channels", view.channels.into());
    if view.lost > 0 {
        // How many, and whose, is not known; how many there are of all tenants is nobody's business but the box's.
        put("counts_may_be_low", true.into());
    }
    if tenant.tier >= Tier::Professional {
        let subjects = view.subjects.iter().take(SUBJECTS_MAX);
        put("average_latency_ms", view.latency.map(|l| l.as_secs_f64() * 1000.0).into());
        put("throughput_mbps", (float(view.minute.1) * 8.0 / 60.0 / 1e6).into());
        put("message_rate_per_second", (float(view.minute.0) / 60.0).into());
        put("subject_distribution", subjects.map(|(p, n)| (p.clone(), Value::from(*n))).collect::<Map<_, _>>().into());
    }
    if tenant.tier >= Tier::Enterprise {
        put("error_rate", view.error_ratio.into());
        put("normal_rate_per_second", view.normal_per_second.into());
        put("anomalies_detected", view.anomalies.into());
        put("predictive_insights", insights(&state, &asking).await?);
        if with_clients {
            let clients = view.clients.iter().map(|client| (client.id.clone(), client_analytics(client)));
            put("client_analytics", clients.collect::<Map<_, _>>().into());
        }
    }
    Ok(asking.answer(data))
}

fn client_analytics(client: &ClientView) -> Value {
    json!({
        "status": status(client),
        "message_count": client.messages,
        "last_seen": client.last_seen.to_rfc3339(),
        "connection": connection(client),
    })
}

/// A week of hours, and the line through it for a month.
async fn insights(state: &AppState, asking: &Asking) -> Result<Value, Refusal> {
    let week = history::PERIODS.iter().find(|p| p.name == "7d").copied().unwrap_or(history::PERIODS[0]);
    let hourly = history::Period { steps: 168, step_s: 3600, ..week };
    let history = History::read(state, &asking.tenant.id, hourly).await?;
    let course = history.whole_steps();
    let forecast = crate::tenants::forecast(&course, MONTH_HOURS);
    let month_ago: f64 = course.0.iter().sum::<f64>() * float(MONTH_HOURS as u64) / float(course.0.len().max(1) as u64);
    Ok(json!({
        "predicted_monthly_messages": forecast.map(|f| f.sum.round()),
        "prediction": forecast.map(prediction),
        "based_on_hours": course.0.len(),
        "capacity_recommendation": capacity(forecast, month_ago),
        "cost_optimization_tips": tips(&asking.view),
    }))
}

/// A forecast with its error.
pub(super) fn prediction(forecast: Forecast) -> Value {
    json!({
        "messages": forecast.sum.round(),
        "error_95_percent": forecast.error.round(),
        "change_per_step": forecast.slope,
        "r_squared": forecast.r_squared,
        "points": forecast.points,
    })
}

fn capacity(forecast: Option<Forecast>, month_ago: f64) -> String {
    let Some(forecast) = forecast else { return "fewer than three hours are known".to_owned() };
    if forecast.error > forecast.sum {
        return "traffic is too uneven for a prediction: its error is larger than itself".to_owned();
    }
    match crate::tenants::growth(month_ago, forecast.sum) {
        Some(growth) if growth > 10.0 => format!("plan for {growth:.0} % more messages a month than now"),
        Some(growth) if growth < -10.0 => format!("{:.0} % fewer messages a month are to be expected", -growth),
        _ => "what there is now is enough".to_owned(),
    }
}

/// What stands out in the figures; nothing that they do not say.
fn tips(view: &TenantView) -> Vec<String> {
    let mut tips = Vec::new();
    let all: u64 = view.subjects.iter().map(|(_, n)| n).sum();
    if let Some((subject, n)) = view.subjects.first().filter(|(_, n)| all >= 1000 && 2 * n > all) {
        tips.push(format!("{:.0} % of all messages are {subject}", float(*n) / float(all) * 100.0));
    }
    let away = view.clients.iter().filter(|c| !c.is_online).count();
    if away > view.clients.len() / 2 {
        tips.push(format!("{away} of {} clients of the last day are away", view.clients.len()));
    }
    tips
}

/// What a client is to its tenant: how it says it is while it is there, else `offline`.
fn status(client: &ClientView) -> &'static str {
    if client.is_online { "online" } else { "offline" }
}

fn connection(client: &ClientView) -> Value {
    let Some(c) = &client.connection else { return Value::Null };
    json!({
        "address": c.address, "identity": c.identity, "rtt": c.rtt, "pending_bytes": c.pending_bytes,
        "in_messages": c.in_messages, "out_messages": c.out_messages,
        "in_bytes": c.in_bytes, "out_bytes": c.out_bytes,
    })
}

async fn presence(asking: Asking) -> Response {
    let clients = &asking.view.clients;
    let shown: Vec<Value> = clients
        .iter()
        .map(|client| {
            json!({
                "client_id": client.id,
                "status": status(client),
                "last_seen": client.last_seen.to_rfc3339(),
                "last_heartbeat": client.last_heartbeat.map(Timestamp::to_rfc3339),
                "health_status": client.health.as_str(),
                "version": client.version,
                "message_count": client.messages,
                "uptime_seconds": client.uptime_s,
                "reported": client.reported.map(|(sent, received, errors)| {
                    json!({ "messages_sent": sent, "messages_received": received, "errors": errors })
                }),
                "metadata": { "name": client.name, "type": client.kind, "capabilities": client.capabilities },
                "connection": connection(client),
            })
        })
        .collect();
    let online = clients.iter().filter(|c| c.is_online).count();
    asking.answer(json!({ "total_clients": clients.len(), "online_clients": online, "clients": shown }))
}

async fn health_check(asking: Asking) -> Response {
    let clients = &asking.view.clients;
    let of = |health: Health| clients.iter().filter(|c| c.is_online && c.health == health).count();
    let (healthy, degraded, unhealthy) = (of(Health::Healthy), of(Health::Degraded), of(Health::Unhealthy));
    let offline = clients.iter().filter(|c| !c.is_online).count();
    let overall = if unhealthy > 0 {
        "unhealthy"
    } else if degraded > 0 || offline > healthy {
        "degraded"
    } else {
        "healthy"
    };
    let issues = clients.iter().filter_map(|client| {
        let (kind, severity) = match (client.is_online, client.health) {
            (false, _) => ("offline", "medium"),
            (true, Health::Unhealthy) => ("unhealthy", "high"),
            (true, Health::Degraded) => ("degraded", "medium"),
            (true, Health::Healthy | Health::Unknown) => return None,
        };
        Some(json!({ "client_id": client.id, "type": kind, "severity": severity }))
    });
    asking.answer(json!({
        "overall_health": overall,
        "clients": {
            "total": clients.len(), "healthy": healthy, "degraded": degraded, "unhealthy": unhealthy,
            "offline": offline, "unknown": of(Health::Unknown),
        },
        "issues": issues.collect::<Vec<_>>(),
    }))
}

/// Anomalies out of the journal of alarms, so that they outlive a restart.
async fn anomalies(State(state): State<AppState>, asking: Asking, parameters: Parameters) -> Result<Response, Refusal> {
    asking.needs(Tier::Enterprise, "anomalies")?;
    let hours: u64 = match parameters.get("hours").map(str::parse) {
        None => 24,
        Some(Ok(hours)) if (1..=ANOMALY_HOURS_MAX).contains(&hours) => hours,
        Some(_) => {
            let why = format_args!("it is a number of hours from 1 to {ANOMALY_HOURS_MAX}");
            return Err(ApiError::parameter("hours", why).into());
        }
    };
    let now = state.clock.now();
    let mut matchers = vec![Matcher::equal("tenant", &asking.tenant.id)];
    matchers.extend(Matcher::new("anomaly", MatchOp::NotEqual, "").ok());
    let query = HistoryQuery {
        start: Some(now - std::time::Duration::from_secs(hours * 3600)),
        matchers,
        ..HistoryQuery::default()
    };
    let transitions = state.alarms.history(&query).await.map_err(|e| ApiError::internal(e.to_string()))?;
    let raised: Vec<_> = transitions.iter().filter(|t| t.event == Event::Raised).collect();
    let count = |label: &str, word: &str| raised.iter().filter(|t| t.alarm.labels.get(label) == Some(word)).count();
    let shown: Vec<Value> = raised
        .iter()
        .map(|t| {
            let label = |name: &str| t.alarm.labels.get(name);
            let cleared = transitions
                .iter()
                .find(|c| c.event == Event::Cleared && c.alarm.fingerprint == t.alarm.fingerprint && c.at >= t.at);
            json!({
                "type": label("anomaly"),
                "severity": label("severity"),
                "client_id": label("client_id"),
                "subject": label("subject"),
                "detected_at": t.at.to_rfc3339(),
                "cleared_at": cleared.map(|c| c.at.to_rfc3339()),
                "value": t.alarm.value,
                "message": t.alarm.annotations.get("summary"),
            })
        })
        .collect();
    let kinds: Map<String, Value> =
        Kind::ALL.iter().map(|k| (k.as_str().to_owned(), count("anomaly", k.as_str()).into())).collect();
    let severities: Map<String, Value> = ["low", "medium", "high", "critical"]
        .iter()
        .map(|word| ((*word).to_owned(), count("severity", word).into()))
        .collect();
    Ok(asking.answer(json!({
        "anomalies": shown,
        "summary": { "total_anomalies": raised.len(), "by_type": kinds, "severity_distribution": severities },
    })))
}
