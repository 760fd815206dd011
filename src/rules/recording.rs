//! A result as new series: pure.

use std::collections::HashSet;

use crate::model::{LABEL_NAME, Labels};
use crate::query::promql::Value;

/// Why a result was not recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("vector contains metrics with the same labelset after applying rule labels")]
    Duplicate,
    #[error("exceeded limit of {limit} with {found} series")]
    Limit { limit: usize, found: usize },
    #[error("rule result is not a vector or scalar")]
    Type,
}

/// Returns what an expression gave as pairs of labels and value.
pub(super) fn vector(value: Value) -> Result<Vec<(Labels, f64)>, Refusal> {
    match value {
        Value::Vector(series) => Ok(series.into_iter().map(|s| (s.labels, s.sample.value)).collect()),
        Value::Scalar(sample) => Ok(vec![(Labels::empty(), sample.value)]),
        Value::String(..) | Value::Matrix(_) => Err(Refusal::Type),
    }
}

/// Returns the series to record: the rule's name, its labels over the result's. `limit` of 0 is none.
pub(super) fn record(
    name: &str,
    labels: &Labels,
    limit: usize,
    result: Vec<(Labels, f64)>,
) -> Result<Vec<(Labels, f64)>, Refusal> {
    if limit > 0 && result.len() > limit {
        return Err(Refusal::Limit { limit, found: result.len() });
    }
    let named = |(found, value): (Labels, f64)| {
        let mut builder = found.builder();
        builder.set(LABEL_NAME, name);
        for (label, text) in labels.iter() {
            builder.set(label, text);
        }
        (builder.build(), value)
    };
    let series: Vec<(Labels, f64)> = result.into_iter().map(named).collect();
    let unique: HashSet<&Labels> = series.iter().map(|(labels, _)| labels).collect();
    if unique.len() == series.len() { Ok(series) } else { Err(Refusal::Duplicate) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied())
    }

    #[test]
    fn the_rules_name_and_labels_win() {
        let result = vec![(set(&[("__name__", "up"), ("job", "a"), ("team", "x")]), 1.0)];
        let recorded = record("job:up", &set(&[("team", "y")]), 0, result);
        assert_eq!(recorded, Ok(vec![(set(&[("__name__", "job:up"), ("job", "a"), ("team", "y")]), 1.0)]));
    }

    #[test]
    fn series_that_become_the_same_are_refused() {
        let result = vec![(set(&[("team", "x")]), 1.0), (set(&[("team", "y")]), 2.0)];
        assert_eq!(record("r", &set(&[("team", "z")]), 0, result), Err(Refusal::Duplicate));
    }

    #[test]
    fn the_limit_itself_is_allowed() {
        let result = vec![(set(&[("a", "1")]), 1.0), (set(&[("a", "2")]), 2.0)];
        assert!(record("r", &Labels::empty(), 2, result.clone()).is_ok());
        assert_eq!(record("r", &Labels::empty(), 1, result), Err(Refusal::Limit { limit: 1, found: 2 }));
    }
}
