//! What a query answers.

use super::columns::OF_LABELS;
use crate::model::{Labels, Sample};

/// A series at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct InstantSeries {
    /// Labels; without a metric name where an operation dropped it.
    pub labels: Labels,
    /// Time of the evaluation and value.
    pub sample: Sample,
}

/// A series over a range of steps or samples.
#[derive(Debug, Clone, PartialEq)]
pub struct RangeSeries {
    /// Labels; without a metric name where an operation dropped it.
    pub labels: Labels,
    /// Points, rising in time.
    pub points: Vec<Sample>,
}

/// The answer's type and content.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// One number.
    Scalar(Sample),
    /// A text, with the time of evaluation.
    String(crate::model::Timestamp, String),
    /// Series at one time, in the order the expression gives.
    Vector(Vec<InstantSeries>),
    /// Series over time, sorted by labels.
    Matrix(Vec<RangeSeries>),
}

impl Value {
    /// Returns how many series it has.
    #[must_use]
    pub fn series(&self) -> usize {
        match self {
            Value::Scalar(_) | Value::String(..) => 1,
            Value::Vector(series) => series.len(),
            Value::Matrix(series) => series.len(),
        }
    }

    /// Returns about how much memory it takes, in samples.
    #[must_use]
    pub(super) fn weight(&self) -> usize {
        let points = match self {
            Value::Scalar(_) | Value::String(..) | Value::Vector(_) => 0,
            Value::Matrix(series) => series.iter().map(|s| s.points.len()).sum(),
        };
        points + self.series() * OF_LABELS
    }
}

/// Writes a value as the API does: plain decimal without exponent, `NaN`, `+Inf`, `-Inf`.
#[must_use]
pub fn format_value(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() }
    } else {
        format!("{value}")
    }
}
