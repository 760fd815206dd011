//! What pages and API see of the collectors.

use std::time::Duration;

use crate::model::{Labels, Timestamp};

/// All ways in at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Scrape jobs in the order of the configuration.
    pub jobs: Vec<JobSnapshot>,
    /// Everything collected without a scrape: the host, NATS servers, Andon itself.
    pub sources: Vec<SourceSnapshot>,
    /// Device messages.
    pub telemetry: TelemetrySnapshot,
    /// Who was refused new series in the last hour, most samples first.
    pub refused: Vec<super::Refused>,
}

/// One scrape job.
#[derive(Debug, Clone, Default)]
pub struct JobSnapshot {
    /// `job_name`.
    pub name: String,
    /// Targets that are scraped, by address.
    pub targets: Vec<TargetSnapshot>,
    /// Label sets, before relabelling, of targets that relabelling dropped.
    pub dropped: Vec<Labels>,
    /// What is wrong with the job as a whole: a file of targets that cannot be read, a certificate.
    pub problems: Vec<String>,
}

/// Whether the last attempt went well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Health {
    /// Not tried yet.
    #[default]
    Unknown,
    /// It did.
    Up,
    /// It did not.
    Down,
}

impl Health {
    /// Returns the word of the targets API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Unknown => "unknown",
            Health::Up => "up",
            Health::Down => "down",
        }
    }
}

/// One target of a scrape job.
#[derive(Debug, Clone)]
pub struct TargetSnapshot {
    /// What is fetched, parameters included, without credentials.
    pub url: String,
    /// Labels that its series get.
    pub labels: Labels,
    /// Labels before relabelling.
    pub discovered_labels: Labels,
    /// Whether the last scrape went well.
    pub health: Health,
    /// Why it did not; empty if it did.
    pub last_error: String,
    /// When the last scrape began; `None` before the first.
    pub last_scrape: Option<Timestamp>,
    /// How long it took.
    pub last_duration: Duration,
    /// Samples it gave, before relabelling of metrics.
    pub samples: usize,
    /// How often it is scraped.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// A source that is read without scraping.
#[derive(Debug, Clone, Default)]
pub struct SourceSnapshot {
    /// Label `job` of its series.
    pub job: String,
    /// Label `instance` of its series.
    pub instance: String,
    /// Where the readings come from, in words or as a URL.
    pub origin: String,
    /// Whether the last reading went well.
    pub health: Health,
    /// Why it did not, or which part of it did not; empty if all did.
    pub last_error: String,
    /// When the last reading began; `None` before the first.
    pub last_read: Option<Timestamp>,
    /// How long it took.
    pub last_duration: Duration,
    /// Samples it gave.
    pub samples: usize,
    /// How often it is read.
    pub interval: Duration,
}

/// Device messages since start.
#[derive(Debug, Clone, Default)]
pub struct TelemetrySnapshot {
    /// Messages looked at.
    pub messages: u64,
    /// Messages no rule knew.
    pub unmapped: u64,
    /// Samples made.
    pub samples: u64,
    /// Log lines made.
    pub log_lines: u64,
    /// Devices heard of, by name.
    pub devices: Vec<DeviceSnapshot>,
}

/// One device as the collectors know it.
#[derive(Debug, Clone, Default)]
pub struct DeviceSnapshot {
    /// Its name.
    pub device_id: String,
    /// Messages it published.
    pub messages: u64,
    /// Series it has through mapping.
    pub series: usize,
    /// Samples refused for it because of the limit on series.
    pub refused: u64,
    /// When its last message came.
    pub last_message: Option<Timestamp>,
    /// When its last heartbeat came.
    pub last_heartbeat: Option<Timestamp>,
    /// How it said then that it is: 1 well, 0.5 degraded, 0 not working.
    pub health: Option<f64>,
    /// How long the gateway takes to answer it, as it says.
    pub latency_s: Option<f64>,
    /// Messages that wait in it, as it says.
    pub waiting: Option<f64>,
    /// Messages it lost because too many waited, as it says.
    pub lost: Option<f64>,
    /// Attempts to connect again since it began, as it says.
    pub reconnects: Option<f64>,
}
