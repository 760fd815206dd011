//! What a metric is: kind, help, unit; and a family of samples under one name.

use super::Labels;

/// What kind of metric a family is, as the text format names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MetricKind {
    /// Only goes up, or restarts from zero.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts of observations in buckets.
    Histogram,
    /// Quantiles worked out by the sender.
    Summary,
    /// The sender did not say.
    #[default]
    Unknown,
}

impl MetricKind {
    /// Returns the word of the text exposition format and of the metadata API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
            MetricKind::Summary => "summary",
            MetricKind::Unknown => "unknown",
        }
    }
}

/// What a sender says about a metric name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Metadata {
    /// Its kind.
    pub kind: MetricKind,
    /// Its help text; may be empty.
    pub help: String,
    /// Its unit; may be empty.
    pub unit: String,
}

/// Samples of one metric name, as gathered from instruments and rendered as text.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricFamily {
    /// Name without the suffixes of histograms.
    pub name: String,
    /// Kind, help and unit.
    pub metadata: Metadata,
    /// All samples, in the order to be shown.
    pub samples: Vec<FamilySample>,
}

/// One sample of a family, without a time.
#[derive(Debug, Clone, PartialEq)]
pub struct FamilySample {
    /// What is appended to the family's name: empty, `_bucket`, `_sum` or `_count`.
    pub suffix: &'static str,
    /// Labels without the metric name; `le` included for buckets.
    pub labels: Labels,
    /// The value.
    pub value: f64,
}
