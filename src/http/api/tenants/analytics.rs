//! `analytics`: a tenant's past in figures.

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};

use super::history::{History, PERIODS, Period, Step};
use super::{Asking, Refusal, prediction};
use crate::http::AppState;
use crate::http::api::format::ApiError;
use crate::http::api::parameters::Parameters;
use crate::tenants::{Tier, forecast, growth, quiet, trend, usage};

/// Answers `GET .../analytics?period=`.
pub(super) async fn analytics(
    State(state): State<AppState>,
    asking: Asking,
    parameters: Parameters,
) -> Result<Response, Refusal> {
    asking.needs(Tier::Professional, "analytics")?;
    let name = parameters.get("period").unwrap_or(PERIODS[0].name);
    let Some(period) = PERIODS.iter().find(|p| p.name == name) else {
        let names: Vec<&str> = PERIODS.iter().map(|p| p.name).collect();
        return Err(ApiError::parameter("period", format_args!("it is one of {}", names.join(", "))).into());
    };
    asking.needs(period.tier, &format!("{name} of history"))?;
    let history = History::read(&state, &asking.tenant.id, *period).await?;
    let data = figures(&history, *period, asking.tenant.tier);
    Ok(asking.answer(data))
}

fn figures(history: &History, period: Period, tier: Tier) -> Value {
    let course = history.whole_steps();
    let sum = |of: fn(&Step) -> f64| history.steps.iter().map(of).sum::<f64>();
    let messages = sum(|s| s.messages);
    let steps: Vec<Value> = history.steps.iter().filter(|s| s.is_known).map(step).collect();
    let mut data = json!({
        "period": period.name,
        "step_seconds": period.step_s,
        "summary": {
            "total_messages": messages.round(),
            "total_bytes": sum(|s| s.bytes).round(),
            "total_errors": sum(|s| s.errors).round(),
            "total_api_calls": history.asked.round(),
            "unique_agents": history.clients,
            "unique_channels": history.channels,
        },
        "trends": {
            "message_growth": history.before.and_then(|before| growth(before, messages)),
            "throughput_trend": trend(&course).as_str(),
        },
        "history": steps,
    });
    if tier >= Tier::Enterprise {
        let known: Vec<&Step> = history.steps.iter().filter(|s| s.is_known).collect();
        let peak = known.iter().max_by(|a, b| a.messages.total_cmp(&b.messages));
        let quiet = quiet(&course).into_iter().filter_map(|i| known.get(i)).map(|s| s.end.to_rfc3339());
        let ahead = usize::try_from(period.steps).unwrap_or(0);
        data["advanced"] = json!({
            "peak_hour": peak.map(|s| s.end.to_rfc3339()),
            "quiet_periods": quiet.collect::<Vec<_>>(),
            "usage_pattern": usage(&course).as_str(),
            "predictions": { "next_period": forecast(&course, ahead).map(prediction) },
        });
    }
    data
}

fn step(step: &Step) -> Value {
    json!({
        "timestamp": step.end.to_rfc3339(),
        "messages": step.messages.round(),
        "bytes": step.bytes.round(),
        "errors": step.errors.round(),
        "active_clients": step.clients,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[test]
    fn a_line_of_the_past_goes_on_and_times_before_the_first_count_are_left_out() {
        let step = |i: i64, messages| Step {
            end: Timestamp::from_millis(i * 86_400_000),
            messages,
            is_known: i >= 2,
            ..Step::default()
        };
        let steps = (0..7).map(|i| step(i, if i < 2 { 0.0 } else { 100.0 })).collect();
        let history = History { steps, before: Some(250.0), asked: 3.0, channels: 2.0, clients: 4.0 };
        let data = figures(&history, PERIODS[2], Tier::Enterprise);
        assert_eq!(data["summary"]["total_messages"], 500.0);
        assert_eq!(data["trends"]["message_growth"], 100.0);
        assert_eq!(data["trends"]["throughput_trend"], "stable");
        assert_eq!(data["history"].as_array().unwrap().len(), 5);
        let next = &data["advanced"]["predictions"]["next_period"];
        assert_eq!((&next["messages"], &next["error_95_percent"]), (&json!(700.0), &json!(0.0)));
        assert_eq!(figures(&history, PERIODS[2], Tier::Professional).get("advanced"), None);
    }
}
