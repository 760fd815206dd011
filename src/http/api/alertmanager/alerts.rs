//! `alerts` in and out, and `alerts/groups`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde::{Deserialize, Serialize};

use super::{Refusal, filter, passes};
use crate::http::AppState;
use crate::http::api::format::LabelsObject;
use crate::http::api::parameters::Parameters;
use crate::model::{Alarm, Alert, AlertState, AnchoredRegex, Labels, Matcher, Silence, Timestamp, is_label_name};
use crate::notify;

/// The most alerts in one request.
const ALERTS_MAX: usize = 10_000;

/// The longest address of where an alert comes from; a longer one is left out.
const SOURCE_BYTES_MAX: usize = 8 << 10;

/// Returns the paths of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/api/v2/alerts", get(list).post(hear)).route("/api/v2/alerts/groups", get(groups))
}

#[derive(Serialize)]
struct ReceiverObject<'a> {
    name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusObject {
    inhibited_by: Vec<String>,
    silenced_by: Vec<String>,
    state: &'static str,
}

/// An alert as upstream shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AlertObject<'a> {
    annotations: LabelsObject<'a>,
    ends_at: String,
    fingerprint: String,
    receivers: Vec<ReceiverObject<'a>>,
    starts_at: String,
    status: StatusObject,
    updated_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: String,
    labels: LabelsObject<'a>,
}

#[derive(Serialize)]
struct GroupObject<'a> {
    alerts: Vec<AlertObject<'a>>,
    labels: LabelsObject<'a>,
    receiver: ReceiverObject<'a>,
}

/// Everything at one moment, and what is asked of it.
struct View {
    now: Timestamp,
    external_url: String,
    /// Active alarms with the labels under which others know them.
    alarms: Vec<Alarm>,
    resolve_timeout: Duration,
    silences: Arc<Vec<Silence>>,
    notify: Arc<notify::Snapshot>,
    filter: Vec<Matcher>,
    /// States that are wanted: active, silenced, inhibited.
    wanted: (bool, bool, bool),
    receiver: Option<AnchoredRegex>,
}

impl View {
    fn new(app: &AppState, parameters: &Parameters) -> Result<View, Refusal> {
        let flag = |name: &str| match parameters.get(name) {
            None | Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(Refusal::bad(format!("parameter {name} must be true or false, not {other:?}"))),
        };
        let receiver = parameters.get("receiver").map(|text| {
            AnchoredRegex::new(text).map_err(|e| Refusal::bad(format!("failed to parse receiver param: {e}")))
        });
        let (board, settings) = (app.alarms.snapshot(), app.settings.borrow());
        let told = |a: &Alarm| Alarm { labels: a.labels_for_others(&settings.external_labels), ..a.clone() };
        Ok(View {
            now: app.clock.now(),
            external_url: app.info.external_url.clone(),
            alarms: board.active().map(told).collect(),
            resolve_timeout: board.resolve_timeout,
            silences: app.alarms.silences(),
            notify: app.notifier.snapshot(),
            filter: filter(parameters)?,
            wanted: (flag("active")?, flag("silenced")?, flag("inhibited")?),
            receiver: receiver.transpose()?,
        })
    }

    /// Returns whether somebody is told of an alarm, or why not.
    fn status(&self, alarm: &Alarm) -> StatusObject {
        let silenced = self.silences.iter().filter(|s| s.mutes(&alarm.labels, self.now));
        let silenced_by: Vec<String> = silenced.map(|s| s.id.clone()).collect();
        let inhibitor = self.notify.inhibited.get(&alarm.fingerprint);
        let inhibited_by: Vec<String> = inhibitor.iter().map(|by| format!("{by:016x}")).collect();
        let is_told = inhibited_by.is_empty() && silenced_by.is_empty();
        let state = if is_told { "active" } else { "suppressed" };
        StatusObject { inhibited_by, silenced_by, state }
    }

    /// Returns an alarm as an alert, if it is asked for.
    fn alert<'a>(&self, alarm: &'a Alarm, receivers: Vec<&'a str>) -> Option<AlertObject<'a>> {
        let status = self.status(alarm);
        let (active, silenced, inhibited) = self.wanted;
        let is_wanted = (active || status.state != "active")
            && (silenced || status.silenced_by.is_empty())
            && (inhibited || status.inhibited_by.is_empty())
            && passes(&self.filter, &alarm.labels);
        is_wanted.then(|| AlertObject {
            annotations: LabelsObject(&alarm.annotations),
            ends_at: (self.now + self.resolve_timeout).to_rfc3339(),
            fingerprint: format!("{:016x}", alarm.fingerprint),
            receivers: receivers.into_iter().map(|name| ReceiverObject { name }).collect(),
            starts_at: alarm.raised_at.to_rfc3339(),
            status,
            updated_at: alarm.changed_at.to_rfc3339(),
            generator_url: notify::generator_url(&self.external_url, &alarm.source_url, &alarm.expression),
            labels: LabelsObject(&alarm.labels),
        })
    }

    fn takes_receiver(&self, name: &str) -> bool {
        self.receiver.as_ref().is_none_or(|r| r.is_match(name))
    }
}

async fn list(State(app): State<AppState>, parameters: Parameters) -> Result<Response, Refusal> {
    let view = View::new(&app, &parameters)?;
    let mut receivers: HashMap<u64, Vec<&str>> = HashMap::new();
    for group in view.notify.groups.iter() {
        for fingerprint in &group.alarms {
            let names = receivers.entry(*fingerprint).or_default();
            if !names.contains(&group.receiver.as_str()) {
                names.push(&group.receiver);
            }
        }
    }
    let mut found = Vec::new();
    for alarm in &view.alarms {
        let names = receivers.remove(&alarm.fingerprint).unwrap_or_default();
        if view.receiver.is_none() || names.iter().any(|n| view.takes_receiver(n)) {
            found.extend(view.alert(alarm, names));
        }
    }
    found.sort_by(|a, b| a.fingerprint.cmp(&b.fingerprint));
    Ok(Json(found).into_response())
}

async fn groups(State(app): State<AppState>, parameters: Parameters) -> Result<Response, Refusal> {
    let view = View::new(&app, &parameters)?;
    let alarms: HashMap<u64, &Alarm> = view.alarms.iter().map(|a| (a.fingerprint, a)).collect();
    let mut found = Vec::new();
    for group in view.notify.groups.iter().filter(|g| view.takes_receiver(&g.receiver)) {
        let members = group.alarms.iter().filter_map(|fingerprint| alarms.get(fingerprint));
        let alerts: Vec<_> = members.filter_map(|alarm| view.alert(alarm, vec![&group.receiver])).collect();
        if !alerts.is_empty() {
            let receiver = ReceiverObject { name: &group.receiver };
            found.push(GroupObject { alerts, labels: LabelsObject(&group.labels), receiver });
        }
    }
    Ok(Json(found).into_response())
}

/// An alert as upstream takes it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PostedAlert {
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    starts_at: Option<String>,
    ends_at: Option<String>,
    #[serde(default, rename = "generatorURL")]
    generator_url: String,
}

/// Takes what is right, and answers with 400 if something was not, as upstream does.
async fn hear(
    State(app): State<AppState>,
    posted: Result<Json<Vec<PostedAlert>>, JsonRejection>,
) -> Result<StatusCode, Refusal> {
    let Json(posted) = posted.map_err(|e| Refusal(e.status(), e.body_text()))?;
    if posted.len() > ALERTS_MAX {
        return Err(Refusal::bad(format!("{} alerts in one request; at most {ALERTS_MAX} are taken", posted.len())));
    }
    let (now, timeout) = (app.clock.now(), app.alarms.snapshot().resolve_timeout);
    let mut alerts = Vec::new();
    let mut mistakes = Vec::new();
    for one in posted {
        match read(one, now, timeout) {
            Ok(alert) => alerts.push(alert),
            Err(why) => mistakes.push(why),
        }
    }
    app.alarms.hear(alerts).await?;
    if mistakes.is_empty() { Ok(StatusCode::OK) } else { Err(Refusal::bad(mistakes.join("; "))) }
}

fn read(posted: PostedAlert, now: Timestamp, timeout: Duration) -> Result<Alert, String> {
    // Programs in Go write a time that is not set as the year 1.
    let time = |text: Option<String>| match text.filter(|t| !t.is_empty() && !t.starts_with("0001-01-01")) {
        Some(text) => Timestamp::parse(&text).map(Some).map_err(|e| e.to_string()),
        None => Ok(None),
    };
    let (starts_at, ends_at) = (time(posted.starts_at)?, time(posted.ends_at)?);
    let starts_at = starts_at.or(ends_at.map(|e| e.min(now))).unwrap_or(now);
    let expires_at = ends_at.unwrap_or(now + timeout);
    if expires_at < starts_at {
        return Err("start time must be before end time".to_owned());
    }
    let labels: Vec<_> = posted.labels.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    if labels.is_empty() {
        return Err("at least one label pair required".to_owned());
    }
    let mut names = labels.iter().map(|(name, _)| name).chain(posted.annotations.keys());
    if let Some(name) = names.find(|name| !is_label_name(name)) {
        return Err(format!("invalid name {name:?}"));
    }
    let is_over = expires_at <= now;
    Ok(Alert {
        labels: Labels::from_pairs(labels),
        annotations: Labels::from_pairs(posted.annotations),
        state: if is_over { AlertState::Resolved } else { AlertState::Firing },
        value: f64::NAN,
        active_at: starts_at,
        fired_at: Some(starts_at),
        resolved_at: is_over.then_some(expires_at),
        evaluated_at: now,
        expires_at,
        expression: expression(&posted.generator_url),
        source_url: if is_link(&posted.generator_url) { posted.generator_url } else { String::new() },
        group: String::new(),
        rule_version: 0,
    })
}

/// Tells whether an address is one to be shown to people as a link.
fn is_link(address: &str) -> bool {
    let is_web = ["http://", "https://"].iter().any(|scheme| address.starts_with(scheme));
    is_web && address.len() <= SOURCE_BYTES_MAX && !address.contains(|c: char| c.is_control() || c.is_whitespace())
}

/// Returns the expression that a Prometheus puts into the address of an alert; empty if there is none.
fn expression(address: &str) -> String {
    let query = address.split_once('?').map_or("", |(_, query)| query);
    let Ok(uri) = format!("/?{query}").parse::<Uri>() else { return String::new() };
    let pairs: Vec<(String, String)> = Query::try_from_uri(&uri).map(|Query(pairs)| pairs).unwrap_or_default();
    pairs.into_iter().find(|(name, _)| name == "g0.expr").map(|(_, expression)| expression).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn posted(text: &str) -> Result<Alert, String> {
        read(serde_json::from_str(text).unwrap(), NOW, Duration::from_secs(300))
    }

    #[test]
    fn an_alert_without_an_end_counts_for_the_timeout() {
        let alert =
            posted(r#"{"labels": {"alertname": "A", "empty": ""}, "startsAt": "2023-11-14T22:00:00Z"}"#).unwrap();
        assert_eq!((alert.state, alert.expires_at), (AlertState::Firing, NOW + Duration::from_secs(300)));
        assert_eq!(alert.labels, Labels::from_pairs([("alertname", "A")]));
        let alert = posted(r#"{"labels": {"a": "b"}, "endsAt": "0001-01-01T00:00:00Z"}"#).unwrap();
        assert_eq!((alert.state, alert.active_at), (AlertState::Firing, NOW));
    }

    #[test]
    fn an_alert_whose_end_has_come_is_resolved() {
        let alert = posted(r#"{"labels": {"alertname": "A"}, "endsAt": "2023-11-14T22:00:00Z"}"#).unwrap();
        assert_eq!(alert.state, AlertState::Resolved);
        assert_eq!(alert.resolved_at.map(Timestamp::to_rfc3339).as_deref(), Some("2023-11-14T22:00:00.000Z"));
    }

    #[test]
    fn what_is_no_alert_is_refused() {
        assert!(posted(r#"{"labels": {}}"#).unwrap_err().contains("label pair"));
        assert!(posted(r#"{"labels": {"": "c"}}"#).unwrap_err().contains("invalid name"));
        assert!(posted(r#"{"labels": {"a": "c"}, "startsAt": "soon"}"#).is_err());
    }

    #[test]
    fn the_address_is_kept_if_it_is_a_link() {
        for (address, expected) in [
            ("http://p:9090/graph?g0.expr=up+%3D%3D+0&g0.tab=1", true),
            ("https://p/alert", true),
            ("javascript:alert(1)", false),
            ("http://p/a b", false),
            ("/graph", false),
            ("", false),
        ] {
            let text = format!(r#"{{"labels": {{"a": "b"}}, "generatorURL": {address:?}}}"#);
            assert_eq!(posted(&text).unwrap().source_url, if expected { address } else { "" });
        }
    }

    #[test]
    fn the_expression_is_in_the_address() {
        assert_eq!(expression("http://p:9090/graph?g0.expr=up+%3D%3D+0&g0.tab=1"), "up == 0");
        assert_eq!(expression("http://p:9090/graph"), "");
        assert_eq!(expression("x?g0.expr=a%2"), "a%2");
    }
}
