//! A dry run: what a message becomes, by the code that messages of devices go through; nothing is kept or counted.

use super::{Rules, Settings, Taken};
use crate::collect::instruments::Instruments;
use crate::collect::{LogsConfig, TelemetryConfig};
use crate::instrument::Registry;
use crate::model::{DeviceMessage, Labels, LogEntry, Metadata, Timestamp};

/// What a message becomes.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// `mapped`, `logged`, `stats` (the device's report on itself), `heartbeat`, `unmapped` or `malformed`.
    pub result: &'static str,
    /// Its samples, in the order of the rules.
    pub samples: Vec<TrialSample>,
    /// Its log line.
    pub line: Option<LogEntry>,
    /// What was found and did not become a sample, and why.
    pub remarks: Vec<String>,
}

/// One sample.
#[derive(Debug, Clone, PartialEq)]
pub struct TrialSample {
    /// Metric name included.
    pub labels: Labels,
    /// How much.
    pub value: f64,
    /// When.
    pub at: Timestamp,
    /// What is known about the metric.
    pub metadata: Metadata,
    /// Why it would not be kept; nothing if it would.
    pub refused: Option<String>,
}

/// Tries a message on settings; limits that depend on what a box holds are not known here.
#[must_use]
pub fn try_message(telemetry: &TelemetryConfig, logs: &LogsConfig, message: &DeviceMessage) -> Trial {
    run(&Settings { telemetry: telemetry.clone(), logs: logs.clone() }, message)
}

pub(super) fn run(settings: &Settings, message: &DeviceMessage) -> Trial {
    let rules = Rules::new(settings);
    // Counts of its own, which nobody reads.
    let taken = rules.explain(message, &Instruments::new(&Registry::default()));
    let Taken { samples, line, result, mut remarks, .. } = taken;
    match result {
        "unmapped" => remarks.push("no rule is for this subject, and it is none of a log line".to_owned()),
        "malformed" => remarks.push("the body is not JSON".to_owned()),
        "mapped" if samples.is_empty() && remarks.is_empty() => {
            remarks.push("nothing in the body is a reading".to_owned())
        }
        _ => {}
    }
    let sample = |mapped: super::Mapped| TrialSample {
        labels: mapped.labels,
        value: mapped.value,
        at: mapped.at,
        metadata: mapped.metadata,
        refused: None,
    };
    Trial { result, samples: samples.into_iter().map(sample).collect(), line, remarks }
}
