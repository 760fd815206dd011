//! `telemetry` and `logs`: what becomes of device messages.

use super::relabel;
use crate::collect;
use crate::model::MetricKind;
use crate::yaml::{Fields, Item};

/// Reads `telemetry`; how many series a device may have goes into `limits`.
pub(super) fn telemetry(root: &Fields<'_>, limits: &mut collect::Limits) -> collect::TelemetryConfig {
    const KEYS: &[&str] = &[
        "rules",
        "telemetry_defaults",
        "factory_defaults",
        "metric_relabel_configs",
        "series_per_device_limit",
        "devices_limit",
        "job",
    ];
    let fields = root.fields("telemetry", KEYS);
    let fields = fields.as_ref();
    let series_max = fields.and_then(|f| f.count("series_per_device_limit", 1, 1_000_000));
    limits.series_per_device_max = series_max.unwrap_or(limits.series_per_device_max);
    let bool = |key| fields.and_then(|f| f.bool(key)).unwrap_or(true);
    collect::TelemetryConfig {
        rules: fields.map(|f| f.items("rules").iter().filter_map(mapping_rule).collect()).unwrap_or_default(),
        telemetry_defaults: bool("telemetry_defaults"),
        factory_defaults: bool("factory_defaults"),
        metric_relabel: fields.map(|f| relabel::read(f, "metric_relabel_configs")).unwrap_or_default(),
        devices_max: fields.and_then(|f| f.count("devices_limit", 1, 1_000_000)).unwrap_or(2000),
        job: fields.and_then(|f| f.string("job")).unwrap_or_else(|| "devices".to_owned()),
    }
}

/// Reads a text into one of the words of mapping rules.
fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(item: &Item<'_>) -> Option<T> {
    item.string()?.parse().map_or_else(|e: T::Err| item.mistake(e.to_string()), Some)
}

fn mapping_rule(item: &Item<'_>) -> Option<collect::telemetry::MappingRule> {
    let fields = item.fields(&["name", "subject", "timestamp", "samples"])?;
    let samples: Vec<_> = fields.items("samples").iter().filter_map(sample_rule).collect();
    if fields.items("samples").is_empty() {
        let _: Option<()> = fields.item().mistake("samples is missing");
    }
    let timestamp = fields.get("timestamp").and_then(|i| parsed(&i));
    let subject: collect::telemetry::SubjectTemplate = parsed(&fields.required("subject")?)?;
    let name = fields.string("name").unwrap_or_else(|| subject.as_str().to_owned());
    Some(collect::telemetry::MappingRule { name, subject, timestamp, samples })
}

fn sample_rule(item: &Item<'_>) -> Option<collect::telemetry::SampleRule> {
    let fields = item.fields(&["metric", "kind", "unit", "help", "value", "words", "scale", "labels"])?;
    let kind = match fields.get("kind").and_then(|i| i.one_of(&["gauge", "counter", "unknown"])) {
        Some("counter") => MetricKind::Counter,
        Some("unknown") => MetricKind::Unknown,
        _ => MetricKind::Gauge,
    };
    let words = fields.get("words").map(|i| i.entries()).unwrap_or_default();
    let labels = fields.get("labels").map(|i| i.entries()).unwrap_or_default();
    let value = fields.get("value").map_or_else(|| "$".parse().ok(), |i| parsed(&i));
    Some(collect::telemetry::SampleRule {
        metric: parsed(&fields.required("metric")?)?,
        kind,
        unit: fields.get("unit").and_then(|i| parsed(&i)),
        help: fields.string("help").unwrap_or_default(),
        value: value?,
        words: words.into_iter().filter_map(|(word, item)| Some((word.to_owned(), item.float()?))).collect(),
        scale: fields.float("scale").unwrap_or(1.0),
        labels: labels.into_iter().filter_map(|(name, item)| Some((name.to_owned(), parsed(&item)?))).collect(),
    })
}

/// Reads `logs`.
pub(super) fn logs(root: &Fields<'_>) -> collect::LogsConfig {
    let fields = root.fields("logs", &["subjects", "scrub_secrets"]);
    let subjects = match fields.as_ref().and_then(|f| f.get("subjects")) {
        Some(item) => item.items().iter().filter_map(parsed).collect(),
        None => ["logs.{device}", "logs.{device}.>", "factory.{line}.alerts.{level}"]
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect(),
    };
    collect::LogsConfig { subjects, scrub_secrets: fields.and_then(|f| f.bool("scrub_secrets")).unwrap_or(true) }
}
