//! A notice as an HTTP POST, with the JSON body of Alertmanager's webhook receiver, version 4.
//!
//! Source: Alertmanager, `notify/webhook` and `template.Data`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{NoticeAlarm, Post, generator_url};
use crate::model::{Labels, Secret, Timestamp};
use crate::notify::digest::Digest;
use crate::notify::message::{Message, common, status};

/// How Alertmanager writes the end of an alarm that has none: Go's zero time.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// One entry of `webhook_configs`.
#[derive(Debug, Clone, PartialEq)]
pub struct Webhook {
    /// Where to post.
    pub url: Secret,
    /// The most alarms in one body, the rest is counted in `truncatedAlerts`; 0 is no limit.
    pub alerts_max: usize,
}

impl Webhook {
    pub(super) fn post(&self, message: &Message<'_>) -> Post {
        Post {
            url: self.url.expose().to_owned(),
            content_type: "application/json",
            authorization: None,
            body: body(message, self.alerts_max),
        }
    }
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
    /// What a digest says; Alertmanager has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    /// The link that acknowledges all that fires; Alertmanager has none.
    #[serde(rename = "ackURL", skip_serializing_if = "String::is_empty")]
    ack_url: String,
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
    /// The link that acknowledges it; Alertmanager has none.
    #[serde(rename = "ackURL", skip_serializing_if = "String::is_empty")]
    ack_url: String,
}

/// Returns the body. `alerts_max` of 0 is no limit.
pub(super) fn body(message: &Message<'_>, alerts_max: usize) -> String {
    let (notice, external_url) = (message.notice, message.external_url);
    let shown = if alerts_max == 0 { notice.alarms.len() } else { alerts_max.min(notice.alarms.len()) };
    let alerts = notice.alarms.iter().take(shown);
    let body = Body {
        receiver: &notice.receiver,
        status: status(notice.firing() > 0),
        alerts: alerts.map(|alarm| alert(alarm, message)).collect(),
        group_labels: map(&notice.group_labels),
        common_labels: common(notice, |a| &a.labels),
        common_annotations: common(notice, |a| &a.annotations),
        external_url,
        version: "4",
        group_key: &notice.group_key,
        truncated_alerts: notice.alarms.len() - shown,
        digest: message.digest().map(Digest::text),
        ack_url: message.ack_url(),
    };
    // Maps of texts and numbers always have a JSON form.
    serde_json::to_string(&body).unwrap_or_default()
}

fn alert<'a>(alarm: &'a NoticeAlarm, message: &Message<'_>) -> BodyAlert<'a> {
    BodyAlert {
        status: status(alarm.ends_at.is_none()),
        labels: map(&alarm.labels),
        annotations: map(&alarm.annotations),
        starts_at: alarm.starts_at.to_rfc3339(),
        ends_at: alarm.ends_at.map_or_else(|| NO_TIME.to_owned(), Timestamp::to_rfc3339),
        generator_url: generator_url(message.external_url, &alarm.source_url, &alarm.expression),
        fingerprint: format!("{:016x}", alarm.fingerprint),
        ack_url: message.ack_url_of(alarm),
    }
}

fn map(labels: &Labels) -> BTreeMap<&str, &str> {
    labels.iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::message::tests::calm;
    use crate::notify::notice::Notice;

    fn body_of(notice: &Notice, alerts_max: usize, external_url: &str) -> String {
        body(&Message::new(notice, &calm(), external_url, Timestamp::from_millis(0)), alerts_max)
    }

    fn alarm(name: &str, device: &str, ends_at: Option<i64>) -> NoticeAlarm {
        NoticeAlarm {
            fingerprint: 0xab,
            labels: Labels::from_pairs([("alertname", name), ("device", device), ("severity", "critical")]),
            annotations: Labels::from_pairs([("summary", "s"), ("device", device)]),
            starts_at: Timestamp::from_millis(1_435_781_451_781),
            ends_at: ends_at.map(Timestamp::from_millis),
            expression: "up == 0".to_owned(),
            source_url: String::new(),
        }
    }

    fn notice(alarms: Vec<NoticeAlarm>) -> Notice {
        Notice {
            id: 1,
            made_at: Timestamp::from_millis(0),
            since: Timestamp::from_millis(0),
            group_key: "{}:{alertname=\"Hot\"}".to_owned(),
            receiver: "team".to_owned(),
            integration: "webhook[0]".to_owned(),
            group_labels: Labels::from_pairs([("alertname", "Hot")]),
            alarms,
            folded: vec![],
            left_out: 0,
        }
    }

    #[test]
    fn the_body_is_alertmanagers() {
        let text = body_of(
            &notice(vec![alarm("Hot", "a", None), alarm("Hot", "b", Some(1_435_781_461_000))]),
            0,
            "http://box",
        );
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
        let text = body_of(&notice(vec![alarm("Hot", "a", None), alarm("Hot", "b", None)]), 1, "");
        let found: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((found["alerts"].as_array().unwrap().len(), found["truncatedAlerts"].as_u64()), (1, Some(1)));
    }
}
