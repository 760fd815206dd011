//! Subject and payload to samples: pure.

use serde_json::Value;

use super::rule::{MappingRule, Part, SampleRule, Step, Text};
use crate::model::{DeviceMessage, LABEL_NAME, Labels, Metadata, MetricKind, Timestamp};

/// Most members that one `{name}` of a path stands for.
const MEMBERS_MAX: usize = 64;

/// Most samples that one message gives.
pub(super) const SAMPLES_MAX: usize = 256;

/// Most remarks on one message.
const REMARKS_MAX: usize = 100;

/// What the name of a counter ends with.
const TOTAL: &str = "_total";

/// Longest label value; the rest is cut off.
const VALUE_CHARS_MAX: usize = 256;

/// How far a message's own time may lie before and behind its receipt: a device that was away for a week
/// sends what it kept; a clock that is wrong by more than a minute ahead is not believed.
const PAST_MS_MAX: i64 = 7 * 24 * 3600 * 1000;
const FUTURE_MS_MAX: i64 = 60 * 1000;

/// One sample of a message.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mapped {
    /// Metric name included.
    pub(super) labels: Labels,
    /// When.
    pub(super) at: Timestamp,
    /// How much.
    pub(super) value: f64,
    /// What is known about the metric.
    pub(super) metadata: Metadata,
}

/// Why a value does not become a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Refused {
    #[error("what is there is no number and none of the rule's words")]
    Value,
    #[error("its name comes out empty")]
    Name,
    #[error("the message has {SAMPLES_MAX} samples already")]
    TooMany,
    #[error("the series has a sample of this message already")]
    Twice,
}

/// What a message's samples are called and when they were: looked up once per message.
struct Context<'a> {
    message: &'a DeviceMessage,
    json: &'a Value,
    captures: Vec<(&'a str, &'a str)>,
}

/// What the rules made of a message so far.
#[derive(Debug, Default)]
pub(super) struct Out {
    pub(super) samples: Vec<Mapped>,
    /// What was found and did not become a sample, in words; nothing unless somebody asks.
    pub(super) remarks: Option<Vec<String>>,
}

impl Out {
    /// Notes why something is not as it might be expected; costs nothing if nobody asks.
    pub(super) fn remark(&mut self, text: impl FnOnce() -> String) {
        if let Some(remarks) = self.remarks.as_mut().filter(|remarks| remarks.len() < REMARKS_MAX) {
            remarks.push(text());
        }
    }
}

/// Applies a rule to a message. Returns whether the rule is for such messages. Of two samples of the same
/// series the first stays, so that a rule can name a second choice after the first.
pub(super) fn apply(rule: &MappingRule, message: &DeviceMessage, json: &Value, out: &mut Out) -> bool {
    let Some(captures) = rule.subject.captures(&message.subject) else { return false };
    let context = Context { message, json, captures };
    let own_time = rule.timestamp.as_ref().and_then(|path| {
        let mut found = None;
        walk(json, path.steps(), &mut Vec::new(), &mut |value, _| found = found.or(time(value)));
        found
    });
    let at = believable(own_time, message.received_at);
    if let Some(own) = own_time.filter(|own| *own != at) {
        let own = own.to_rfc3339();
        out.remark(|| format!("rule {}: its time {own} is not believed, that of its receipt counts", rule.name));
    }
    for sample in &rule.samples {
        let mut is_there = false;
        walk(json, sample.value.steps(), &mut Vec::new(), &mut |value, members| {
            is_there = true;
            if let Err(why) = context.sample(sample, value, members, at, &mut out.samples) {
                out.remark(|| format!("rule {}, metric {}: {why}", rule.name, sample.metric));
            }
        });
        if !is_there {
            out.remark(|| {
                format!("rule {}, metric {}: there is nothing at {}", rule.name, sample.metric, sample.value)
            });
        }
    }
    true
}

/// Multiplies; a factor like 0.01 divides by its inverse, so that 95.5 % becomes 0.955 to the last digit.
fn scaled(value: f64, scale: f64) -> f64 {
    let inverse = 1.0 / scale;
    if scale.abs() < 1.0 && inverse.is_finite() && inverse.fract() == 0.0 { value / inverse } else { value * scale }
}

impl Context<'_> {
    /// Makes a sample of a value; else the reason.
    fn sample(
        &self,
        rule: &SampleRule,
        value: &Value,
        members: &[(&str, &str)],
        at: Timestamp,
        out: &mut Vec<Mapped>,
    ) -> Result<(), Refused> {
        let value = number(value, &rule.words).ok_or(Refused::Value)?;
        let unit = rule.unit.as_ref().map(|unit| self.fill(unit, members)).unwrap_or_default();
        let unit = legal_name(&unit).trim_matches('_').to_owned();
        let labels = self.labels(rule, &unit, members);
        if labels.get(LABEL_NAME).is_none() {
            return Err(Refused::Name);
        }
        if out.len() >= SAMPLES_MAX {
            return Err(Refused::TooMany);
        }
        if out.iter().any(|mapped| mapped.labels == labels) {
            return Err(Refused::Twice);
        }
        let metadata = Metadata { kind: rule.kind, help: rule.help.clone(), unit };
        out.push(Mapped { labels, at, value: scaled(value, rule.scale), metadata });
        Ok(())
    }

    /// Returns the metric's name: unit and `_total` stand at its end, once.
    fn name(&self, rule: &SampleRule, unit: &str, members: &[(&str, &str)]) -> String {
        let mut name = legal_name(&self.fill(&rule.metric, members));
        if name.is_empty() {
            return name;
        }
        let is_counter = rule.kind == MetricKind::Counter;
        if is_counter && let Some(short) = name.strip_suffix(TOTAL) {
            name = short.to_owned();
        }
        if !unit.is_empty() && name.strip_suffix(unit).is_none_or(|rest| !rest.ends_with('_')) {
            name = format!("{name}_{unit}");
        }
        if is_counter { format!("{name}{TOTAL}") } else { name }
    }

    fn labels(&self, sample: &SampleRule, unit: &str, members: &[(&str, &str)]) -> Labels {
        let mut pairs = vec![(LABEL_NAME.to_owned(), self.name(sample, unit, members))];
        for (name, text) in &sample.labels {
            let value: String = self.fill(text, members).chars().take(VALUE_CHARS_MAX).collect();
            pairs.push((name.clone(), value));
        }
        Labels::from_pairs(pairs)
    }

    fn fill(&self, text: &Text, members: &[(&str, &str)]) -> String {
        let mut out = String::new();
        for part in text.parts() {
            match part {
                Part::Literal(literal) => out.push_str(literal),
                Part::Capture(name) => out.push_str(self.capture(name, members)),
                Part::Member(path) => {
                    walk(self.json, path.steps(), &mut Vec::new(), &mut |value, _| match value {
                        Value::String(text) => out.push_str(text),
                        Value::Number(_) | Value::Bool(_) => out.push_str(&value.to_string()),
                        Value::Null | Value::Array(_) | Value::Object(_) => {}
                    });
                }
            }
        }
        out
    }

    fn capture<'a>(&'a self, name: &str, members: &[(&'a str, &'a str)]) -> &'a str {
        let captured = members.iter().chain(&self.captures).find(|(known, _)| *known == name);
        match (captured, name) {
            (Some((_, value)), _) => value,
            (None, "device_id") => &self.message.device_id,
            (None, "device_type") => &self.message.device_type,
            (None, _) => "",
        }
    }
}

/// Hears of a value at the end of a path, and of what the path's `{name}` steps captured.
type Found<'f> = dyn FnMut(&Value, &[(&str, &str)]) + 'f;

/// Calls `found` for each value at the end of a path.
fn walk<'a>(value: &'a Value, steps: &'a [Step], members: &mut Vec<(&'a str, &'a str)>, found: &mut Found<'_>) {
    match steps.split_first() {
        None => found(value, members),
        Some((Step::Member(name), rest)) => {
            let inner = match value {
                Value::Array(list) => name.parse::<usize>().ok().and_then(|at| list.get(at)),
                _ => value.get(name),
            };
            if let Some(inner) = inner {
                walk(inner, rest, members, found);
            }
        }
        Some((Step::Each(name), rest)) => {
            for (number, inner) in value.as_array().into_iter().flatten().take(MEMBERS_MAX).enumerate() {
                let key = number.to_string();
                let mut below = [members.as_slice(), &[(name.as_str(), key.as_str())]].concat();
                walk(inner, rest, &mut below, found);
            }
            for (key, inner) in value.as_object().into_iter().flatten().take(MEMBERS_MAX) {
                members.push((name, key));
                walk(inner, rest, members, found);
                members.pop();
            }
        }
    }
}

/// Reads a value as a number, if it is one in any way.
pub(super) fn number(value: &Value, words: &[(String, f64)]) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::Bool(is_true) => Some(f64::from(u8::from(*is_true))),
        Value::String(text) => {
            let word = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)).map(|(_, value)| *value);
            word.or_else(|| text.trim().parse().ok())
        }
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    number.filter(|number| number.is_finite())
}

/// Reads a time: RFC 3339 text, seconds, or, from about 1973 on in milliseconds, milliseconds.
pub(super) fn time(value: &Value) -> Option<Timestamp> {
    /// Larger numbers are milliseconds: seconds would lie beyond the year 5000.
    const SECONDS_MAX: f64 = 1e11;
    match value {
        Value::String(text) => match text.parse::<f64>() {
            Ok(number) => time(&Value::from(number)),
            Err(_) => Timestamp::parse(text).ok(),
        },
        Value::Number(number) => {
            let number = number.as_f64()?;
            Some(Timestamp::from_seconds(if number.abs() < SECONDS_MAX { number } else { number / 1000.0 }))
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Returns a message's own time if it can be believed, else the time of receipt.
pub(super) fn believable(own: Option<Timestamp>, received_at: Timestamp) -> Timestamp {
    let is_near = |own: &Timestamp| {
        let ahead_ms = own.as_millis().saturating_sub(received_at.as_millis());
        (-PAST_MS_MAX..=FUTURE_MS_MAX).contains(&ahead_ms)
    };
    own.filter(is_near).unwrap_or(received_at)
}

/// Makes a metric name that every query can write without quotes: other characters become `_`.
pub(super) fn legal_name(text: &str) -> String {
    let mut name: String = text
        .chars()
        .take(VALUE_CHARS_MAX)
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == ':' { c } else { '_' })
        .collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, '_');
    }
    name
}
