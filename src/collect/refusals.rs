//! What was refused to whom lately, so that somebody can do something about it.
//!
//! For each supplier whose new series were refused: how many samples for which reason, and of which metrics;
//! for each of these how many different values each label had. The label whose values never end is nearly
//! always the mistake, and the rule that drops its series is written from it.
//!
//! Bounded: 32 suppliers, 8 metrics each, 16 labels each, a sketch of 128 bytes a label: at most half a
//! megabyte. What is more is counted together. A supplier that was refused nothing for an hour is forgotten,
//! with its two metrics: so many label sets, and no more, come from outside.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use crate::instrument::{CounterFamily, GaugeFamily, Registry};
use crate::model::{LABEL_NAME, Labels, Timestamp};

const SUPPLIERS_MAX: usize = 32;
const METRICS_MAX: usize = 8;
const LABELS_MAX: usize = 16;
/// Example values are cut to this.
const EXAMPLE_CHARS_MAX: usize = 40;
/// Names in a metric are cut to this.
const NAME_CHARS_MAX: usize = 200;
/// A label with fewer different values is not to blame.
const VALUES_MIN: usize = 5;
const KEPT: Duration = Duration::from_secs(3600);

/// Who samples come from, as far as somebody can act on it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Supplier {
    /// A scrape target: job and instance.
    Target(String, String),
    /// A program that pushes, by its address.
    Sender(IpAddr),
    /// A device, by its name.
    Device(String),
}

impl fmt::Display for Supplier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Supplier::Target(job, instance) => write!(f, "target {job}/{instance}"),
            Supplier::Sender(address) => write!(f, "sender {address}"),
            Supplier::Device(name) if name.is_empty() => f.write_str("devices without a name"),
            Supplier::Device(name) => write!(f, "device {name}"),
        }
    }
}

/// What was refused to one supplier.
#[derive(Debug, Clone)]
pub struct Refused {
    /// To whom.
    pub supplier: Supplier,
    /// Why: `over_source_limit`, `over_series_limit`, `memory_short` or `bad_labels`, with samples each.
    pub reasons: Vec<(&'static str, u64)>,
    /// How many series it has.
    pub series: usize,
    /// How many it may have.
    pub series_max: usize,
    /// When the last sample was refused.
    pub last: Timestamp,
    /// The metrics with the most new series, at most eight.
    pub metrics: Vec<RefusedMetric>,
}

/// What was refused of one metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedMetric {
    /// Its name.
    pub name: String,
    /// Samples.
    pub samples: u64,
    /// About how many series.
    pub series: usize,
    /// Its labels by how many values they had, most first.
    pub labels: Vec<RefusedLabel>,
}

/// How often a label of what was refused had another value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedLabel {
    /// Its name.
    pub name: String,
    /// About how many values.
    pub values: usize,
    /// One of them.
    pub example: String,
}

impl RefusedMetric {
    /// Returns the label whose values never end.
    #[must_use]
    pub fn culprit(&self) -> Option<&RefusedLabel> {
        self.labels.first().filter(|label| label.values >= VALUES_MIN)
    }
}

impl Refused {
    /// Returns settings that would drop what was refused: `metric_relabel_configs` for our own settings,
    /// `write_relabel_configs` for the sender's. `None` if no metric is known.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        let rules = self.rules()?;
        let indented = |by: usize| rules.lines().map(|line| format!("{:by$}{line}\n", "")).collect::<String>();
        Some(match &self.supplier {
            Supplier::Target(job, _) => {
                let job = quoted(job);
                format!("scrape_configs:\n  - job_name: {job}\n    metric_relabel_configs:\n{}", indented(6))
            }
            Supplier::Sender(_) => {
                format!(
                    "remote_write:\n  - url: http://this-box/api/v1/write\n    write_relabel_configs:\n{}",
                    indented(6)
                )
            }
            Supplier::Device(_) => format!("telemetry:\n  metric_relabel_configs:\n{}", indented(4)),
        })
    }

    fn rules(&self) -> Option<String> {
        let worst = self.metrics.first()?;
        Some(match worst.culprit() {
            Some(label) => {
                let alike = |metric: &&RefusedMetric| metric.culprit().is_some_and(|other| other.name == label.name);
                let names = one_of(self.metrics.iter().filter(alike).map(|metric| metric.name.as_str()));
                let names = if names.contains('|') { format!("({names})") } else { names };
                let (label, regex) = (quoted(&label.name), quoted(&format!("{names};.+")));
                format!("- source_labels: [__name__, {label}]\n  regex: {regex}\n  action: drop\n")
            }
            None => drop_rule(self.metrics.iter().map(|metric| metric.name.as_str())),
        })
    }

    /// Says what is worst, in words; empty if nothing is known.
    #[must_use]
    pub fn worst(&self) -> String {
        let Some(metric) = self.metrics.first() else { return String::new() };
        match metric.culprit() {
            Some(label) => {
                format!("metric {}, label {} with about {} new values", metric.name, label.name, label.values)
            }
            None => format!("metric {} with about {} new series", metric.name, metric.series),
        }
    }
}

/// Returns the relabel rule, as settings have it, that drops metrics.
pub fn drop_rule<'a>(names: impl Iterator<Item = &'a str>) -> String {
    format!("- source_labels: [__name__]\n  regex: {}\n  action: drop\n", quoted(&one_of(names)))
}

/// Returns the regex that just these names pass.
fn one_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(regex_escaped).collect::<Vec<_>>().join("|")
}

/// Returns a text as YAML takes it anywhere: as it is if it is a plain word, else in quotes.
fn quoted(text: &str) -> String {
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_plain {
        text.to_owned()
    } else if text.chars().any(char::is_control) {
        format!("{text:?}")
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

fn regex_escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_punctuation() && c != '_' && c != ':' {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Counts different things in 128 bytes: each sets one bit of 1 024, and from the bits that are still clear
/// follows about how many there were; up to some 5 000. Source: linear counting (Whang et al., 1990).
#[derive(Debug, Clone, Default)]
struct Sketch([u64; 16]);

impl Sketch {
    fn note(&mut self, hash: u64) {
        if let Some(word) = self.0.get_mut((hash >> 6) as usize % 16) {
            *word |= 1 << (hash % 64);
        }
    }

    fn count(&self) -> usize {
        let clear: u32 = self.0.iter().map(|word| word.count_zeros()).sum();
        let clear = f64::from(clear.max(1));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 7 098")]
        let count = (-1024.0 * (clear / 1024.0).ln()).round() as usize;
        count
    }
}

#[derive(Debug, Default)]
struct Metric {
    samples: u64,
    series: Sketch,
    labels: HashMap<String, Label>,
}

#[derive(Debug, Default)]
struct Label {
    values: Sketch,
    example: String,
}

#[derive(Debug)]
struct Entry {
    reasons: BTreeMap<&'static str, u64>,
    series: usize,
    series_max: usize,
    last: Timestamp,
    metrics: HashMap<String, Metric>,
}

/// One refused series with what is to be noted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Note<'a> {
    pub(super) supplier: &'a Supplier,
    pub(super) reason: &'static str,
    pub(super) labels: &'a Labels,
    pub(super) samples: u64,
    /// How many series the supplier has.
    pub(super) series: usize,
    /// How many it may have.
    pub(super) series_max: usize,
    pub(super) now: Timestamp,
}

/// All that was refused lately.
#[derive(Debug)]
pub(super) struct Ledger {
    entries: BTreeMap<Supplier, Entry>,
    hasher: RandomState,
    samples: CounterFamily,
    series: GaugeFamily,
}

impl Ledger {
    pub(super) fn new(registry: &Registry) -> Self {
        Ledger {
            entries: BTreeMap::new(),
            hasher: RandomState::new(),
            samples: registry.counters(
                "andon_collect_source_samples_refused_total",
                "Samples of new series that were refused, by source and reason; of at most 32 sources.",
                &["source", "reason"],
            ),
            series: registry.gauges(
                "andon_collect_source_series",
                "Series of sources that were refused new ones lately; at most 32.",
                &["source"],
            ),
        }
    }

    pub(super) fn note(&mut self, note: &Note<'_>) {
        let name = note.supplier.to_string();
        if !self.entries.contains_key(note.supplier) {
            self.forget(note.now);
            if self.entries.len() == SUPPLIERS_MAX {
                self.samples.with(&["others", note.reason]).add(note.samples);
                return;
            }
        }
        self.samples.with(&[&name, note.reason]).add(note.samples);
        #[expect(clippy::cast_precision_loss, reason = "a count of series is far below 2^53")]
        self.series.with(&[&name]).set(note.series as f64);
        let entry = self.entries.entry(note.supplier.clone()).or_insert_with(|| Entry {
            reasons: BTreeMap::new(),
            series: 0,
            series_max: 0,
            last: note.now,
            metrics: HashMap::new(),
        });
        *entry.reasons.entry(note.reason).or_default() += note.samples;
        (entry.series, entry.series_max, entry.last) = (note.series, note.series_max, note.now);
        let metric_name = cut(note.labels.metric_name(), NAME_CHARS_MAX);
        let is_full = entry.metrics.len() == METRICS_MAX;
        if is_full && !entry.metrics.contains_key(&metric_name) {
            return;
        }
        let metric = entry.metrics.entry(metric_name).or_default();
        metric.samples += note.samples;
        metric.series.note(note.labels.stable_hash());
        for (name, value) in note.labels.iter().filter(|(name, _)| *name != LABEL_NAME) {
            let name = cut(name, NAME_CHARS_MAX);
            if metric.labels.len() == LABELS_MAX && !metric.labels.contains_key(&name) {
                continue;
            }
            let label = metric.labels.entry(name).or_default();
            label.values.note(self.hasher.hash_one(value));
            if label.example.is_empty() {
                label.example = cut(value, EXAMPLE_CHARS_MAX);
            }
        }
    }

    /// Forgets who was refused nothing for an hour.
    fn forget(&mut self, now: Timestamp) {
        let (samples, series) = (self.samples.clone(), self.series.clone());
        self.entries.retain(|supplier, entry| {
            let stays = now.since(entry.last) < KEPT;
            if !stays {
                let name = supplier.to_string();
                series.remove(&[&name]);
                entry.reasons.keys().for_each(|reason| samples.remove(&[&name, reason]));
            }
            stays
        });
    }

    /// Returns what was refused to one supplier.
    pub(super) fn of(&self, supplier: &Supplier) -> Option<Refused> {
        self.entries.get(supplier).map(|entry| told(supplier, entry))
    }

    /// Returns what was refused in the last hour, most samples first.
    pub(super) fn snapshot(&mut self, now: Timestamp) -> Vec<Refused> {
        self.forget(now);
        let mut all: Vec<Refused> = self.entries.iter().map(|(supplier, entry)| told(supplier, entry)).collect();
        let samples = |refused: &Refused| refused.reasons.iter().map(|(_, samples)| samples).sum::<u64>();
        all.sort_by_key(|refused| std::cmp::Reverse(samples(refused)));
        all
    }
}

fn told(supplier: &Supplier, entry: &Entry) -> Refused {
    let metrics = entry.metrics.iter().map(|(name, metric)| {
        let labels = metric.labels.iter().map(|(name, label)| RefusedLabel {
            name: name.clone(),
            values: label.values.count(),
            example: label.example.clone(),
        });
        let mut labels: Vec<RefusedLabel> = labels.collect();
        labels.sort_by(|a, b| b.values.cmp(&a.values).then_with(|| a.name.cmp(&b.name)));
        RefusedMetric { name: name.clone(), samples: metric.samples, series: metric.series.count(), labels }
    });
    let mut metrics: Vec<RefusedMetric> = metrics.collect();
    metrics.sort_by(|a, b| b.series.cmp(&a.series).then(b.samples.cmp(&a.samples)).then_with(|| a.name.cmp(&b.name)));
    Refused {
        supplier: supplier.clone(),
        reasons: entry.reasons.iter().map(|(reason, samples)| (*reason, *samples)).collect(),
        series: entry.series,
        series_max: entry.series_max,
        last: entry.last,
        metrics,
    }
}

fn cut(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn note<'a>(supplier: &'a Supplier, labels: &'a Labels, now: Timestamp) -> Note<'a> {
        Note { supplier, reason: "over_source_limit", labels, samples: 1, series: 10, series_max: 10, now }
    }

    fn requests(ledger: &mut Ledger, supplier: &Supplier, metric: &str, count: usize) {
        for i in 0..count {
            let id = format!("r-{i}");
            let labels = Labels::from_pairs([
                ("__name__", metric),
                ("code", if i % 2 == 0 { "200" } else { "500" }),
                ("request_id", id.as_str()),
            ]);
            ledger.note(&note(supplier, &labels, NOW));
        }
    }

    #[test]
    fn the_label_whose_values_never_end_is_found_and_a_rule_written_from_it() {
        let mut ledger = Ledger::new(&Registry::default());
        let target = Supplier::Target("line's web".to_owned(), "10.0.0.5:80".to_owned());
        for _ in 0..2 {
            requests(&mut ledger, &target, "http_requests_total", 800);
            requests(&mut ledger, &target, "http_seconds", 300);
        }
        let refused = ledger.of(&target).unwrap();
        let worst = refused.metrics.first().unwrap();
        assert_eq!((worst.name.as_str(), worst.samples), ("http_requests_total", 1600));
        let culprit = worst.culprit().unwrap();
        assert_eq!((culprit.name.as_str(), culprit.example.as_str()), ("request_id", "r-0"));
        assert!((720..880).contains(&culprit.values), "{}", culprit.values);
        assert_eq!(worst.labels[1].values, 2);
        assert_eq!(
            refused.remedy().unwrap(),
            "scrape_configs:\n  - job_name: 'line''s web'\n    metric_relabel_configs:\n      \
             - source_labels: [__name__, request_id]\n        regex: '(http_requests_total|http_seconds);.+'\n        \
             action: drop\n"
        );
        assert!(refused.worst().starts_with("metric http_requests_total, label request_id with about"));
    }

    #[test]
    fn without_such_a_label_the_metrics_are_named() {
        let mut ledger = Ledger::new(&Registry::default());
        let sender = Supplier::Sender("10.0.0.7".parse().unwrap());
        for i in 0..20 {
            ledger.note(&note(&sender, &Labels::from_pairs([("__name__", format!("m.{i}"))]), NOW));
        }
        let refused = ledger.of(&sender).unwrap();
        assert_eq!(refused.metrics.len(), METRICS_MAX, "bounded");
        let remedy = refused.remedy().unwrap();
        assert!(remedy.contains("source_labels: [__name__]\n") && remedy.contains(r"m\.0|m\.1"), "{remedy}");
        assert_eq!(refused.reasons, [("over_source_limit", 20)]);
    }

    #[test]
    fn the_rule_is_about_the_whole_name() {
        assert!(drop_rule(["up"].into_iter()).contains("regex: up\n"));
        assert!(drop_rule(["a.b'c"].into_iter()).contains("regex: 'a\\.b\\''c'\n"));
    }

    #[test]
    fn suppliers_are_bounded_and_forgotten_with_their_metrics() {
        let registry = Registry::default();
        let mut ledger = Ledger::new(&registry);
        let labels = Labels::from_pairs([("__name__", "m")]);
        for i in 0..SUPPLIERS_MAX + 5 {
            ledger.note(&note(&Supplier::Device(format!("d{i}")), &labels, NOW));
        }
        let sources = |registry: &Registry| -> usize {
            let families = registry.gather();
            let family = families.iter().find(|f| f.name == "andon_collect_source_samples_refused_total");
            family.map_or(0, |f| f.samples.len())
        };
        assert_eq!(sources(&registry), SUPPLIERS_MAX + 1, "and `others`");
        assert_eq!(ledger.snapshot(NOW).len(), SUPPLIERS_MAX);
        assert_eq!(ledger.snapshot(NOW + KEPT).len(), 0);
        assert_eq!(sources(&registry), 1);
    }
}
