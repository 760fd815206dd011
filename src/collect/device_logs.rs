//! Device messages that are log lines, into entries of the log store.
//!
//! A line is kept as it was sent (JSON stays JSON, so that `| json` finds its members), on one line, with
//! secrets masked. The stream's labels come from closed or registered sets: `source="device"`, `device_id`,
//! `line_id` where the subject names a line, `level` as one of five words.

use serde_json::Value;

use super::LogsConfig;
use super::instruments::Instruments;
use super::scrub::Scrub;
use super::telemetry::{SubjectTemplate, believable_time};
use crate::model::{DeviceMessage, Labels, LogEntry};

/// Longest line that is handed on; the store has a limit of its own.
const LINE_BYTES_MAX: usize = 256 << 10;

/// Words for levels that devices use, and ours.
const LEVELS: [(&str, &str); 17] = [
    ("trace", "debug"),
    ("debug", "debug"),
    ("info", "info"),
    ("information", "info"),
    ("notice", "info"),
    ("warn", "warning"),
    ("warning", "warning"),
    ("err", "error"),
    ("error", "error"),
    ("crit", "critical"),
    ("critical", "critical"),
    ("fatal", "critical"),
    ("alert", "critical"),
    ("emerg", "critical"),
    ("emergency", "critical"),
    ("panic", "critical"),
    ("severe", "critical"),
];

/// Decides which messages are lines, and makes entries of them.
#[derive(Debug)]
pub(super) struct DeviceLogs {
    subjects: Vec<SubjectTemplate>,
    scrub: Option<Scrub>,
}

impl DeviceLogs {
    pub(super) fn new(config: &LogsConfig) -> Self {
        DeviceLogs { subjects: config.subjects.clone(), scrub: config.scrub_secrets.then(Scrub::new) }
    }

    /// Returns the subjects on the bus.
    pub(super) fn bus_patterns(&self) -> impl Iterator<Item = String> {
        self.subjects.iter().map(SubjectTemplate::bus_pattern)
    }

    /// Returns a message as an entry; `None` if it is no log line.
    pub(super) fn entry(&self, message: &DeviceMessage, instruments: &Instruments) -> Option<LogEntry> {
        let captures = self.subjects.iter().find_map(|subject| subject.captures(&message.subject))?;
        let captured = |name: &str| captures.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        let text = String::from_utf8_lossy(&message.payload);
        let json: Option<Value> = serde_json::from_str(&text).ok();
        let member = |names: &[&str]| names.iter().find_map(|name| json.as_ref()?.get(name));
        let word = |names: &[&str]| member(names).and_then(Value::as_str);

        let level = word(&["level", "severity", "lvl"]).or_else(|| captured("level")).map_or("info", level_of);
        // The device in the subject: whoever may publish there speaks for it.
        let device = captured("device").unwrap_or(&message.device_id);
        let stream = Labels::from_pairs([
            ("source", "device"),
            ("device_id", device),
            ("line_id", captured("line").unwrap_or("")),
            ("level", level),
        ]);
        let at = believable_time(member(&["timestamp", "time", "ts"]), message.received_at);
        let line = one_line(json.as_ref().and_then(Value::as_str).unwrap_or(&text));
        let line = match &self.scrub {
            Some(scrub) => scrub.mask(&line, |kind| instruments.masked.with(&[kind]).inc()).into_owned(),
            None => line,
        };
        Some(LogEntry { stream, timestamp_ns: at.as_millis().saturating_mul(1_000_000), line })
    }
}

fn level_of(word: &str) -> &'static str {
    LEVELS.iter().find(|(known, _)| known.eq_ignore_ascii_case(word)).map_or("info", |(_, level)| level)
}

/// Puts a text on one line, without control characters, cut to the limit.
fn one_line(text: &str) -> String {
    let mut line: String = text.trim_end().chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }).collect();
    if line.len() > LINE_BYTES_MAX {
        let cut = (0..=LINE_BYTES_MAX).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
        line.truncate(cut);
    }
    line
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::instrument::Registry;
    use crate::model::{Origin, Timestamp};

    fn entry(subject: &str, device_id: &str, payload: &str) -> Option<LogEntry> {
        let subjects = ["logs.{device}", "logs.{device}.>", "factory.{line}.alerts.{level}"];
        let logs = DeviceLogs::new(&LogsConfig {
            subjects: subjects.iter().map(|s| s.parse().unwrap()).collect(),
            scrub_secrets: true,
        });
        let message = DeviceMessage {
            device_id: device_id.to_owned(),
            device_type: String::new(),
            subject: subject.to_owned(),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            received_at: Timestamp::from_millis(1_700_000_000_000),
            moved_ms: 0,
            origin: Origin::Gateway,
        };
        logs.entry(&message, &Instruments::new(&Registry::default()))
    }

    #[track_caller]
    fn check(subject: &str, device_id: &str, payload: &str, stream: &str, line: &str) {
        let entry = entry(subject, device_id, payload).unwrap();
        assert_eq!((entry.stream.to_string().as_str(), entry.line.as_str()), (stream, line));
    }

    #[test]
    fn lines_have_bounded_labels() {
        let json = r#"{"level":"WARN","message":"hot"}"#;
        check("logs.press1", "press1", json, r#"{device_id="press1", level="warning", source="device"}"#, json);
        check(
            "logs.press1.boot",
            "",
            "plain\ntext\n",
            r#"{device_id="press1", level="info", source="device"}"#,
            "plain text",
        );
        check("logs.other", "press1", "\"quoted\"", r#"{device_id="other", level="info", source="device"}"#, "quoted");
        let alert = r#"{"severity":"emergency","message":"stop"}"#;
        check(
            "factory.line1.alerts.critical",
            "estop1",
            alert,
            r#"{device_id="estop1", level="critical", line_id="line1", source="device"}"#,
            alert,
        );
        check(
            "logs.a",
            "a",
            r#"{"level":"xyz"}"#,
            r#"{device_id="a", level="info", source="device"}"#,
            r#"{"level":"xyz"}"#,
        );
        assert_eq!(entry("telemetry.press1.temp", "press1", "1"), None);
    }

    #[test]
    fn a_line_has_its_own_time_if_it_can_be_believed() {
        let at = |payload: &str| entry("logs.a", "a", payload).unwrap().timestamp_ns;
        assert_eq!(at(r#"{"timestamp":"2023-11-14T22:13:19.5Z"}"#), 1_699_999_999_500_000_000);
        assert_eq!(at(r#"{"timestamp":1699999999500}"#), 1_699_999_999_500_000_000);
        assert_eq!(at(r#"{"timestamp":"2035-01-01T00:00:00Z"}"#), 1_700_000_000_000_000_000);
    }

    #[test]
    fn secrets_are_masked() {
        assert_eq!(entry("logs.a", "a", "login password=hunter2 ok").unwrap().line, "login password=*** ok");
    }
}
