//! `global`: what holds for all of Prometheus's sections.

use std::time::Duration;

use super::upstream;
use crate::model::{LABEL_NAME, Labels};
use crate::yaml::{Fields, Item};

/// What `global` says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Global {
    pub(super) scrape_interval: Duration,
    pub(super) scrape_timeout: Duration,
    pub(super) evaluation_interval: Duration,
    pub(super) rule_query_offset: Duration,
    pub(super) external_labels: Labels,
    pub(super) limits: Limits,
}

/// Limits of a scrape; 0 is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) body_size: u64,
    pub(super) samples: usize,
    pub(super) labels: usize,
    pub(super) label_name_length: usize,
    pub(super) label_value_length: usize,
    pub(super) targets: usize,
}

const KEYS: &[&str] = &[
    "scrape_interval",
    "scrape_timeout",
    "evaluation_interval",
    "rule_query_offset",
    "external_labels",
    "body_size_limit",
    "sample_limit",
    "label_limit",
    "label_name_length_limit",
    "label_value_length_limit",
    "target_limit",
    "keep_dropped_targets",
    "query_log_file",
    "scrape_failure_log_file",
    "scrape_protocols",
    "metric_name_validation_scheme",
    "metric_name_escaping_scheme",
    "scrape_native_histograms",
    "always_scrape_classic_histograms",
    "convert_classic_histograms_to_nhcb",
    "extra_scrape_metrics",
];

/// Reads `global`; upstream's defaults hold where it says nothing: a minute, and 10 s for an answer.
pub(super) fn read(root: &Fields<'_>) -> Global {
    let mut global = Global {
        scrape_interval: Duration::from_secs(60),
        scrape_timeout: Duration::from_secs(10),
        evaluation_interval: Duration::from_secs(60),
        rule_query_offset: Duration::ZERO,
        external_labels: Labels::empty(),
        limits: Limits::default(),
    };
    let Some(fields) = root.fields("global", KEYS) else { return global };
    upstream::note(
        &fields,
        &[
            ("keep_dropped_targets", "dropped targets are listed up to a limit"),
            ("query_log_file", "queries are not logged"),
            ("scrape_failure_log_file", "the targets page shows failed scrapes"),
            ("scrape_protocols", "the text format is asked for"),
            ("metric_name_validation_scheme", "names may be any UTF-8"),
            ("metric_name_escaping_scheme", "names may be any UTF-8"),
            ("scrape_native_histograms", "native histograms are not stored"),
            ("always_scrape_classic_histograms", "classic histograms are always stored"),
            ("convert_classic_histograms_to_nhcb", "native histograms are not stored"),
            ("extra_scrape_metrics", "the usual scrape_* series are stored"),
        ],
    );
    if let Some(interval) = fields.positive_duration("scrape_interval") {
        global.scrape_interval = interval;
    }
    global.scrape_timeout = match fields.positive_duration("scrape_timeout") {
        Some(timeout) => timeout,
        None => global.scrape_timeout.min(global.scrape_interval),
    };
    if global.scrape_timeout > global.scrape_interval {
        let _: Option<()> =
            fields.get("scrape_timeout").and_then(|i| i.mistake("must not be longer than scrape_interval"));
    }
    if let Some(interval) = fields.positive_duration("evaluation_interval") {
        global.evaluation_interval = interval;
    }
    global.rule_query_offset = fields.duration("rule_query_offset").unwrap_or_default();
    if let Some(item) = fields.get("external_labels") {
        global.external_labels = labels(&item);
    }
    global.limits = limits(&fields, Limits::default());
    global
}

/// Reads the limits among a section's keys; `default` holds where one is missing.
pub(super) fn limits(fields: &Fields<'_>, default: Limits) -> Limits {
    let count = |key, default| fields.count(key, 0, usize::MAX).unwrap_or(default);
    Limits {
        body_size: fields.byte_size("body_size_limit").unwrap_or(default.body_size),
        samples: count("sample_limit", default.samples),
        labels: count("label_limit", default.labels),
        label_name_length: count("label_name_length_limit", default.label_name_length),
        label_value_length: count("label_value_length_limit", default.label_value_length),
        targets: count("target_limit", default.targets),
    }
}

/// Reads a map of labels.
pub(super) fn labels(item: &Item<'_>) -> Labels {
    let mut pairs = Vec::new();
    for (name, value) in item.entries() {
        if name.is_empty() || name == LABEL_NAME {
            let _: Option<()> = value.mistake("not a label's name");
        } else if let Some(text) = value.string() {
            pairs.push((name.to_owned(), text));
        }
    }
    Labels::from_pairs(pairs)
}
