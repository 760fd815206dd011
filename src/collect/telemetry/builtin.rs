//! What is understood without any rule: `telemetry.{device}.{metric}` and the factory's subjects.

use serde_json::{Map, Value};

use super::mapping::{Mapped, SAMPLES_MAX, believable, legal_name, number, time};
use super::rule::{MappingRule, RuleError, SampleRule};
use crate::model::{DeviceMessage, LABEL_NAME, Labels, Metadata, MetricKind, Timestamp};

/// Members that say something about a reading and are none themselves.
const NOT_READINGS: [&str; 12] = [
    "timestamp",
    "time",
    "ts",
    "quality",
    "batch",
    "batchId",
    "lot",
    "deviceId",
    "device_id",
    "lineId",
    "line_id",
    "unit",
];

/// One metric of the factory: subject, metric, kind, path, scale, whether it has the device's label, help.
type FactoryRow = (&'static str, &'static str, MetricKind, &'static str, f64, bool, &'static str);

/// The factory's subjects (section 1.12 of the reference) to the names of its boards and rules. Where a
/// metric stands twice, the second path counts if the first is not there.
const FACTORY: [FactoryRow; 21] = {
    use MetricKind::{Counter, Gauge};
    [
        (
            "status",
            "factory_line_state",
            Gauge,
            "lineState",
            1.0,
            false,
            "State of the line: 0 stopped, 1 running, 2 fault.",
        ),
        ("status", "factory_line_devices", Gauge, "deviceCount", 1.0, false, "Devices of the line."),
        (
            "status",
            "factory_line_devices_online",
            Gauge,
            "onlineCount",
            1.0,
            false,
            "Devices of the line that are online.",
        ),
        ("oee", "factory_oee_availability", Gauge, "availability", 0.01, false, "Availability, 0 to 1."),
        ("oee", "factory_oee_performance", Gauge, "performance", 0.01, false, "Performance, 0 to 1."),
        ("oee", "factory_oee_quality", Gauge, "quality", 0.01, false, "Quality, 0 to 1."),
        ("oee", "factory_oee_overall", Gauge, "oee", 0.01, false, "Overall equipment effectiveness, 0 to 1."),
        ("output", "factory_production_count_total", Counter, "total", 1.0, false, "Pieces made."),
        ("output", "factory_production_count_total", Counter, "count", 1.0, false, "Pieces made."),
        ("output", "factory_production_rejects_total", Counter, "rejects", 1.0, false, "Pieces rejected."),
        ("output", "factory_production_target", Gauge, "target", 1.0, false, "Pieces to be made."),
        ("output", "factory_production_rate", Gauge, "rate", 1.0, false, "Pieces made per minute, as the line says."),
        (
            "quality.stats",
            "factory_defect_count_total",
            Counter,
            "defectsByType.{defect_type}",
            1.0,
            false,
            "Defects found, by type.",
        ),
        ("quality.stats", "factory_inspected_count_total", Counter, "totalScans", 1.0, false, "Pieces inspected."),
        ("eStop", "factory_emergency_stop_total", Counter, "triggerCount", 1.0, false, "Emergency stops."),
        (
            "eStop",
            "factory_emergency_stop_active",
            Gauge,
            "triggered",
            1.0,
            false,
            "Whether the emergency stop is triggered.",
        ),
        ("temp", "factory_temperature", Gauge, "value", 1.0, true, "Temperature in the unit of the label."),
        ("conveyor.status", "factory_conveyor_speed", Gauge, "currentSpeed", 1.0, true, "Speed of the conveyor."),
        ("conveyor.status", "factory_conveyor_speed", Gauge, "speed", 1.0, true, "Speed of the conveyor."),
        (
            "conveyor.status",
            "factory_conveyor_target_speed",
            Gauge,
            "targetSpeed",
            1.0,
            true,
            "Speed the conveyor should have.",
        ),
        ("conveyor.status", "factory_conveyor_running", Gauge, "mode", 1.0, true, "Whether the conveyor runs."),
    ]
};

/// Words of states: a line has three of them, anything that moves has two.
const LINE_STATES: [(&str, f64); 16] = [
    ("stopped", 0.0),
    ("idle", 0.0),
    ("off", 0.0),
    ("offline", 0.0),
    ("paused", 0.0),
    ("ready", 0.0),
    ("stopping", 0.0),
    ("starting", 0.0),
    ("running", 1.0),
    ("run", 1.0),
    ("online", 1.0),
    ("fault", 2.0),
    ("faulted", 2.0),
    ("error", 2.0),
    ("emergency", 2.0),
    ("emergency_stop", 2.0),
];

/// Returns the rules for the factory's subjects.
///
/// # Errors
/// Never, unless the table above has a mistake; a test reads it.
pub(super) fn factory_rules() -> Result<Vec<MappingRule>, RuleError> {
    let mut rules: Vec<MappingRule> = Vec::new();
    for (subject, metric, kind, path, scale, has_device, help) in FACTORY {
        let subject = format!("factory.{{line_id}}.{subject}");
        let mut labels = vec![("line_id".to_owned(), "{line_id}".parse()?)];
        if path.contains("{defect_type}") {
            labels.push(("defect_type".to_owned(), "{defect_type}".parse()?));
        }
        if has_device {
            labels.push(("device_id".to_owned(), "{device_id}".parse()?));
        }
        if metric == "factory_temperature" {
            labels.push(("unit".to_owned(), "{$.unit}".parse()?));
        }
        let is_line = metric == "factory_line_state";
        let words = LINE_STATES.iter().filter(|_| matches!(path, "lineState" | "mode"));
        let words = words.map(|(word, value)| ((*word).to_owned(), if is_line { *value } else { value % 2.0 }));
        let sample = SampleRule {
            metric: metric.parse()?,
            kind,
            unit: None,
            help: help.to_owned(),
            value: path.parse()?,
            words: words.collect(),
            scale,
            labels,
        };
        match rules.iter_mut().find(|rule| rule.subject.as_str() == subject) {
            Some(rule) => rule.samples.push(sample),
            None => rules.push(MappingRule {
                name: format!("built-in {subject}"),
                subject: subject.parse()?,
                timestamp: Some("timestamp".parse()?),
                samples: vec![sample],
            }),
        }
    }
    Ok(rules)
}

/// Maps `telemetry.{device}` and `telemetry.{device}.{metric}`. Returns whether the message is one.
///
/// A metric gets a name of its own, as Prometheus has it, so that two quantities never share one:
/// `telemetry.press1.oil.temp` with `71.5` or `{"value": 71.5, "unit": "celsius"}` gives
/// `telemetry_oil_temp{device_id="press1", unit="celsius"}`. Without `value`, each number in the object is a
/// metric (`{"speed": 3, "load": 0.5}` gives `telemetry_drive_speed` and `telemetry_drive_load`); so is each
/// member of `metrics`, with a value and unit of its own. `metricName` and `lineId` of the historian's form
/// are understood. The device is the one in the subject: whoever may publish there speaks for it.
pub(super) fn telemetry(message: &DeviceMessage, json: &Value, out: &mut Vec<Mapped>) -> bool {
    let Some(rest) = message.subject.strip_prefix("telemetry.") else { return false };
    let (device, metric) = rest.split_once('.').unwrap_or((rest, ""));
    let empty = Map::new();
    let members = json.as_object().unwrap_or(&empty);
    let text = |name: &str| members.get(name).and_then(Value::as_str).unwrap_or("");
    let own_time = ["timestamp", "time", "ts"].iter().find_map(|name| members.get(*name).and_then(time));
    let reading = Reading {
        device,
        device_type: &message.device_type,
        line: text("lineId"),
        unit: text("unit"),
        at: believable(own_time, message.received_at),
    };
    let metric = Some(text("metricName")).filter(|name| !name.is_empty()).unwrap_or(metric);
    if let Some(value) = number(json, &[]) {
        reading.push(metric, value, out);
    } else if let Some(value) = members.get("value") {
        out.extend(number(value, &[]).and_then(|value| reading.sample(metric, value)));
    } else if let Some(metrics) = members.get("metrics").and_then(Value::as_object) {
        for (name, inner) in metrics {
            let unit = inner.get("unit").and_then(Value::as_str).unwrap_or(reading.unit);
            if let Some(value) = number(inner.get("value").unwrap_or(inner), &[]) {
                Reading { unit, ..reading }.push(&join(metric, name), value, out);
            }
        }
    } else {
        for (name, inner) in members.iter().filter(|(name, _)| !NOT_READINGS.contains(&name.as_str())) {
            // A text that happens to be a number is a text: only what was written as a reading counts.
            if let (Value::Number(_) | Value::Bool(_), Some(value)) = (inner, number(inner, &[])) {
                reading.push(&join(metric, name), value, out);
            }
        }
    }
    true
}

/// What all readings of a message share.
#[derive(Clone, Copy)]
struct Reading<'a> {
    device: &'a str,
    device_type: &'a str,
    line: &'a str,
    unit: &'a str,
    at: Timestamp,
}

impl Reading<'_> {
    fn push(&self, metric: &str, value: f64, out: &mut Vec<Mapped>) {
        if out.len() < SAMPLES_MAX {
            out.extend(self.sample(metric, value));
        }
    }

    fn sample(&self, metric: &str, value: f64) -> Option<Mapped> {
        let name = snake_case(metric);
        if name.is_empty() {
            return None;
        }
        let name = legal_name(&format!("telemetry_{name}"));
        let labels = Labels::from_pairs([
            (LABEL_NAME, name.as_str()),
            ("device_id", self.device),
            ("device_type", self.device_type),
            ("line_id", self.line),
            ("unit", self.unit),
        ]);
        let help = "Published by devices below telemetry.".to_owned();
        let metadata = Metadata { kind: MetricKind::Gauge, help, unit: String::new() };
        Some(Mapped { labels, at: self.at, value, metadata })
    }
}

fn join(metric: &str, member: &str) -> String {
    if metric.is_empty() { member.to_owned() } else { format!("{metric}_{member}") }
}

/// Writes `oilTemp` and `oil.temp` as `oil_temp`.
fn snake_case(text: &str) -> String {
    let mut out = String::new();
    let mut was_lower = false;
    for c in text.chars() {
        if c.is_ascii_uppercase() && was_lower {
            out.push('_');
        }
        was_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
        out.push(if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' });
    }
    out
}
