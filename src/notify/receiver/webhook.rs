//! A notice as an HTTP POST, with the JSON body of Alertmanager's webhook receiver, version 4.
//!
//! Source: Alertmanager, `notify/webhook` and `template.Data`.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Method, StatusCode};
use serde::Serialize;

use super::{Failure, Notice, NoticeAlarm, generator_url};
use crate::model::{Labels, Timestamp};
use crate::notify::config::Webhook;
use crate::outbound::Outbound;

/// How Alertmanager writes the end of an alarm that has none: Go's zero time.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// Longest part of an answer that is kept as a reason.
const REASON_CHARS_MAX: usize = 200;

/// One webhook ready to send.
#[derive(Debug, Clone)]
pub(in crate::notify) struct Sender {
    settings: Webhook,
    /// Or why no client could be made: a file of its TLS settings is missing.
    client: Result<Outbound, String>,
}

impl Sender {
    pub(in crate::notify) fn new(settings: Webhook) -> Self {
        let client = Outbound::new(&settings.http, settings.timeout).map_err(|e| e.to_string());
        Sender { settings, client }
    }

    /// Returns the settings it was made from.
    pub(in crate::notify) fn settings(&self) -> &Webhook {
        &self.settings
    }

    /// Posts a notice; any answer of the 200s takes it.
    pub(in crate::notify) async fn send(&self, notice: &Notice, external_url: &str) -> Result<(), Failure> {
        let client = self.client.as_ref().map_err(Failure::passing)?;
        let body = body(notice, self.settings.alerts_max, external_url);
        let request = client.request(Method::POST, self.settings.url.expose());
        let request = request.map_err(|e| Failure::passing(e.to_string()))?;
        let request = request.header(CONTENT_TYPE, "application/json").body(body);
        // The address may carry a secret, so it is taken out of what is shown.
        let mut response = request.send().await.map_err(|e| Failure::passing(told(&e.without_url())))?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()).and_then(seconds);
        let text = match response.chunk().await {
            Ok(Some(bytes)) => String::from_utf8_lossy(&bytes).chars().take(REASON_CHARS_MAX).collect(),
            _ => String::new(),
        };
        let passes =
            status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
        let reason = format!("answered {status}: {}", text.lines().next().unwrap_or("").trim());
        let reason = reason.trim_end_matches([':', ' ']).to_owned();
        Err(Failure { reason, is_refusal: !passes, retry_after })
    }
}

/// Returns what went wrong with its causes, which is where the useful part is.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// Reads `Retry-After` in seconds; dates are rare and fall back to our own waits.
fn seconds(text: &str) -> Option<Duration> {
    text.trim().parse().ok().map(Duration::from_secs)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    receiver: &'a str,
    status: &'static str,
    alerts: Vec<BodyAlert<'a>>,
    group_labels: BTreeMap<&'a str, &'a str>,
    common_labels: BTreeMap<&'a str, &'a str>,
    common_annotations: BTreeMap<&'a str, &'a str>,
    #[serde(rename = "externalURL")]
    external_url: &'a str,
    version: &'static str,
    group_key: &'a str,
    truncated_alerts: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BodyAlert<'a> {
    status: &'static str,
    labels: BTreeMap<&'a str, &'a str>,
    annotations: BTreeMap<&'a str, &'a str>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: String,
    fingerprint: String,
}

/// Returns the body. `alerts_max` of 0 is no limit.
fn body(notice: &Notice, alerts_max: usize, external_url: &str) -> String {
    let shown = if alerts_max == 0 { notice.alarms.len() } else { alerts_max.min(notice.alarms.len()) };
    let alerts = notice.alarms.iter().take(shown);
    let body = Body {
        receiver: &notice.receiver,
        status: status(notice.firing() > 0),
        alerts: alerts.map(|alarm| alert(alarm, external_url)).collect(),
        group_labels: map(&notice.group_labels),
        common_labels: common(notice, |a| &a.labels),
        common_annotations: common(notice, |a| &a.annotations),
        external_url,
        version: "4",
        group_key: &notice.group_key,
        truncated_alerts: notice.alarms.len() - shown,
    };
    // Maps of texts and numbers always have a JSON form.
    serde_json::to_string(&body).unwrap_or_default()
}

fn status(is_firing: bool) -> &'static str {
    if is_firing { "firing" } else { "resolved" }
}

fn alert<'a>(alarm: &'a NoticeAlarm, external_url: &str) -> BodyAlert<'a> {
    BodyAlert {
        status: status(alarm.ends_at.is_none()),
        labels: map(&alarm.labels),
        annotations: map(&alarm.annotations),
        starts_at: alarm.starts_at.to_rfc3339(),
        ends_at: alarm.ends_at.map_or_else(|| NO_TIME.to_owned(), Timestamp::to_rfc3339),
        generator_url: generator_url(external_url, &alarm.expression),
        fingerprint: format!("{:016x}", alarm.fingerprint),
    }
}

fn map(labels: &Labels) -> BTreeMap<&str, &str> {
    labels.iter().collect()
}

/// Returns the pairs that all alarms of a notice have.
fn common<'a>(notice: &'a Notice, labels: impl Fn(&'a NoticeAlarm) -> &'a Labels) -> BTreeMap<&'a str, &'a str> {
    let Some((first, rest)) = notice.alarms.split_first() else { return BTreeMap::new() };
    let is_common = |(name, value): &(&str, &str)| rest.iter().all(|a| labels(a).get(name) == Some(*value));
    labels(first).iter().filter(is_common).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alarm(name: &str, device: &str, ends_at: Option<i64>) -> NoticeAlarm {
        NoticeAlarm {
            fingerprint: 0xab,
            labels: Labels::from_pairs([("alertname", name), ("device", device), ("severity", "critical")]),
            annotations: Labels::from_pairs([("summary", "s"), ("device", device)]),
            starts_at: Timestamp::from_millis(1_435_781_451_781),
            ends_at: ends_at.map(Timestamp::from_millis),
            expression: "up == 0".to_owned(),
        }
    }

    fn notice(alarms: Vec<NoticeAlarm>) -> Notice {
        Notice {
            id: 1,
            made_at: Timestamp::from_millis(0),
            group_key: "{}:{alertname=\"Hot\"}".to_owned(),
            receiver: "team".to_owned(),
            integration: "webhook[0]".to_owned(),
            group_labels: Labels::from_pairs([("alertname", "Hot")]),
            alarms,
        }
    }

    #[test]
    fn the_body_is_alertmanagers() {
        let text =
            body(&notice(vec![alarm("Hot", "a", None), alarm("Hot", "b", Some(1_435_781_461_000))]), 0, "http://box");
        let found: serde_json::Value = serde_json::from_str(&text).unwrap();
        let expected = serde_json::json!({
            "receiver": "team",
            "status": "firing",
            "alerts": [
                {
                    "status": "firing",
                    "labels": {"alertname": "Hot", "device": "a", "severity": "critical"},
                    "annotations": {"summary": "s", "device": "a"},
                    "startsAt": "2015-07-01T20:10:51.781Z",
                    "endsAt": "0001-01-01T00:00:00Z",
                    "generatorURL": "http://box/graph?g0.expr=up+%3D%3D+0&g0.tab=1",
                    "fingerprint": "00000000000000ab"
                },
                {
                    "status": "resolved",
                    "labels": {"alertname": "Hot", "device": "b", "severity": "critical"},
                    "annotations": {"summary": "s", "device": "b"},
                    "startsAt": "2015-07-01T20:10:51.781Z",
                    "endsAt": "2015-07-01T20:11:01.000Z",
                    "generatorURL": "http://box/graph?g0.expr=up+%3D%3D+0&g0.tab=1",
                    "fingerprint": "00000000000000ab"
                }
            ],
            "groupLabels": {"alertname": "Hot"},
            "commonLabels": {"alertname": "Hot", "severity": "critical"},
            "commonAnnotations": {"summary": "s"},
            "externalURL": "http://box",
            "version": "4",
            "groupKey": "{}:{alertname=\"Hot\"}",
            "truncatedAlerts": 0
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn alarms_above_the_limit_are_counted() {
        let text = body(&notice(vec![alarm("Hot", "a", None), alarm("Hot", "b", None)]), 1, "");
        let found: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((found["alerts"].as_array().unwrap().len(), found["truncatedAlerts"].as_u64()), (1, Some(1)));
    }
}
