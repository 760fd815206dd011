//! Families in the making: readings under names, with kind and help said once.

use std::collections::BTreeMap;

use crate::model::{FamilySample, Labels, Metadata, MetricFamily, MetricKind};

/// Readings by metric name.
#[derive(Debug, Default)]
pub(super) struct Families(BTreeMap<String, MetricFamily>);

impl Families {
    /// Adds a reading that goes up and down.
    pub(super) fn gauge(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.push(MetricKind::Gauge, name, help, labels, value);
    }

    /// Adds a reading that only goes up.
    pub(super) fn counter(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.push(MetricKind::Counter, name, help, labels, value);
    }

    /// Adds a reading.
    pub(super) fn push(&mut self, kind: MetricKind, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        let fresh = || MetricFamily {
            name: name.to_owned(),
            metadata: Metadata { kind, help: help.to_owned(), unit: String::new() },
            samples: Vec::new(),
        };
        let labels = Labels::from_pairs(labels.iter().copied());
        let family = self.0.entry(name.to_owned()).or_insert_with(fresh);
        family.samples.push(FamilySample { suffix: "", labels, value });
    }

    /// Returns the families by name.
    pub(super) fn finish(self) -> Vec<MetricFamily> {
        self.0.into_values().collect()
    }
}
