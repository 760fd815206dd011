//! `alerts`: what is pending and what fires, in the shape of Prometheus; and `/graph`, where links of notices and
//! templates lead, as they do there.

use axum::Router;
use axum::extract::State;
use axum::response::{Redirect, Response};
use axum::routing::get;
use serde::Serialize;

use super::format::{LabelsObject, success};
use super::parameters::Parameters;
use crate::http::AppState;
use crate::model::{Alert, encode_query};

/// Returns the paths of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/v1/alerts", get(alerts))
        .route("/api/v1/alertmanagers", get(alertmanagers))
        .route("/graph", get(graph))
}

/// One alert as upstream shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AlertObject<'a> {
    labels: LabelsObject<'a>,
    annotations: LabelsObject<'a>,
    state: &'static str,
    active_at: String,
    value: String,
}

impl<'a> AlertObject<'a> {
    pub(super) fn of(alert: &'a Alert) -> Self {
        AlertObject {
            labels: LabelsObject(&alert.labels),
            annotations: LabelsObject(&alert.annotations),
            state: alert.state.as_str(),
            active_at: alert.active_at.to_rfc3339(),
            value: scientific(alert.value),
        }
    }
}

async fn alerts(State(app): State<AppState>) -> Response {
    #[derive(Serialize)]
    struct Alerts<'a> {
        alerts: Vec<AlertObject<'a>>,
    }
    let snapshot = app.rules.snapshot();
    success(Alerts { alerts: snapshot.alerts().map(AlertObject::of).collect() })
}

/// Alertmanagers elsewhere that alarms are handed on to.
async fn alertmanagers(State(app): State<AppState>) -> Response {
    #[derive(Serialize)]
    struct Place {
        url: String,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Alertmanagers {
        active_alertmanagers: Vec<Place>,
        dropped_alertmanagers: Vec<Place>,
    }
    let places = |urls: Vec<String>| urls.into_iter().map(|url| Place { url }).collect();
    let known = app.notifier.alertmanagers();
    success(Alertmanagers { active_alertmanagers: places(known.active), dropped_alertmanagers: places(known.dropped) })
}

/// Sends `/graph?g0.expr=up&g0.tab=1` to the page for questions.
async fn graph(parameters: Parameters) -> Redirect {
    let expression = parameters.get("g0.expr").unwrap_or("");
    Redirect::to(&format!("/explore?q={}", encode_query(expression)))
}

/// Writes a value as upstream does here, and only here: the shortest digits with an exponent, `1e+00`.
pub(super) fn scientific(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() };
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |e| ('-', e));
    format!("{digits}e{sign}{exponent:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_alerts_have_an_exponent() {
        for (value, text) in [(1.0, "1e+00"), (0.0, "0e+00"), (81.5, "8.15e+01"), (-0.001, "-1e-03"), (1e100, "1e+100")]
        {
            assert_eq!(scientific(value), text);
        }
        assert_eq!(scientific(f64::NAN), "NaN");
    }
}
