//! Registration by name and `gather` into families.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Counter, Gauge, Histogram};
use crate::model::{FamilySample, Labels, Metadata, MetricFamily, MetricKind};

/// All instruments of a process; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Registry(Arc<Mutex<BTreeMap<String, Entry>>>);

#[derive(Debug, Clone)]
struct Entry {
    help: String,
    family: Family,
}

#[derive(Debug, Clone)]
enum Family {
    Counter(CounterFamily),
    Gauge(GaugeFamily),
    Histogram(HistogramFamily),
}

/// Members of one family by their label values.
#[derive(Debug)]
struct Members<T> {
    label_names: Vec<String>,
    by_values: Mutex<BTreeMap<Vec<String>, T>>,
}

impl<T: Clone> Members<T> {
    fn new(label_names: &[&str]) -> Arc<Self> {
        Arc::new(Members {
            label_names: label_names.iter().map(|n| (*n).to_owned()).collect(),
            by_values: Mutex::default(),
        })
    }

    fn with(&self, values: &[&str], make: impl FnOnce() -> T) -> T {
        debug_assert_eq!(values.len(), self.label_names.len(), "bug: label values do not fit the label names");
        let key: Vec<String> = values.iter().map(|v| (*v).to_owned()).collect();
        self.lock().entry(key).or_insert_with(make).clone()
    }

    fn remove(&self, values: &[&str]) {
        let key: Vec<String> = values.iter().map(|v| (*v).to_owned()).collect();
        self.lock().remove(&key);
    }

    fn all(&self) -> Vec<(Labels, T)> {
        let members = self.lock();
        members.iter().map(|(values, m)| (self.label_names.iter().zip(values).collect(), m.clone())).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Vec<String>, T>> {
        self.by_values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counters under one name, told apart by labels.
#[derive(Debug, Clone)]
pub struct CounterFamily(Arc<Members<Counter>>);

impl CounterFamily {
    /// Returns the counter with these label values, in the order of the label names; made on first use.
    #[must_use]
    pub fn with(&self, values: &[&str]) -> Counter {
        self.0.with(values, Counter::default)
    }

    /// Forgets the counter with these label values.
    pub fn remove(&self, values: &[&str]) {
        self.0.remove(values);
    }
}

/// Gauges under one name, told apart by labels.
#[derive(Debug, Clone)]
pub struct GaugeFamily(Arc<Members<Gauge>>);

impl GaugeFamily {
    /// Returns the gauge with these label values, in the order of the label names; made on first use.
    #[must_use]
    pub fn with(&self, values: &[&str]) -> Gauge {
        self.0.with(values, Gauge::default)
    }

    /// Forgets the gauge with these label values.
    pub fn remove(&self, values: &[&str]) {
        self.0.remove(values);
    }
}

/// Histograms under one name, told apart by labels.
#[derive(Debug, Clone)]
pub struct HistogramFamily(Arc<Members<Histogram>>, Arc<[f64]>);

impl HistogramFamily {
    /// Returns the histogram with these label values, in the order of the label names; made on first use.
    #[must_use]
    pub fn with(&self, values: &[&str]) -> Histogram {
        self.0.with(values, || Histogram::new(&self.1))
    }
}

impl Registry {
    /// Returns a family of counters; the same one if the name is known.
    #[must_use]
    pub fn counters(&self, name: &str, help: &str, label_names: &[&str]) -> CounterFamily {
        let fresh = CounterFamily(Members::new(label_names));
        match self.entry(name, help, Family::Counter(fresh.clone())) {
            Family::Counter(family) => family,
            Family::Gauge(_) | Family::Histogram(_) => fresh,
        }
    }

    /// Returns a family of gauges; the same one if the name is known.
    #[must_use]
    pub fn gauges(&self, name: &str, help: &str, label_names: &[&str]) -> GaugeFamily {
        let fresh = GaugeFamily(Members::new(label_names));
        match self.entry(name, help, Family::Gauge(fresh.clone())) {
            Family::Gauge(family) => family,
            Family::Counter(_) | Family::Histogram(_) => fresh,
        }
    }

    /// Returns a family of histograms; the same one if the name is known.
    #[must_use]
    pub fn histograms(&self, name: &str, help: &str, label_names: &[&str], bounds: &[f64]) -> HistogramFamily {
        let fresh = HistogramFamily(Members::new(label_names), bounds.into());
        match self.entry(name, help, Family::Histogram(fresh.clone())) {
            Family::Histogram(family) => family,
            Family::Counter(_) | Family::Gauge(_) => fresh,
        }
    }

    /// Returns a counter without labels.
    #[must_use]
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        self.counters(name, help, &[]).with(&[])
    }

    /// Returns a gauge without labels.
    #[must_use]
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.gauges(name, help, &[]).with(&[])
    }

    /// Returns a histogram without labels.
    #[must_use]
    pub fn histogram(&self, name: &str, help: &str, bounds: &[f64]) -> Histogram {
        self.histograms(name, help, &[], bounds).with(&[])
    }

    /// Returns all families, by name.
    #[must_use]
    pub fn gather(&self) -> Vec<MetricFamily> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        entries.into_iter().map(|(name, entry)| gather_family(name, entry)).collect()
    }

    fn entry(&self, name: &str, help: &str, fresh: Family) -> Family {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.entry(name.to_owned()).or_insert(Entry { help: help.to_owned(), family: fresh });
        entry.family.clone()
    }
}

fn gather_family(name: String, entry: Entry) -> MetricFamily {
    let plain = |labels, value| FamilySample { suffix: "", labels, value };
    #[expect(clippy::cast_precision_loss, reason = "metrics are 64-bit floats; exact up to 2^53")]
    let (kind, samples) = match entry.family {
        Family::Counter(f) => {
            (MetricKind::Counter, f.0.all().into_iter().map(|(l, c)| plain(l, c.get() as f64)).collect())
        }
        Family::Gauge(f) => (MetricKind::Gauge, f.0.all().into_iter().map(|(l, g)| plain(l, g.get())).collect()),
        Family::Histogram(f) => {
            let members = f.0.all();
            (MetricKind::Histogram, members.into_iter().flat_map(|(l, h)| histogram_samples(&l, &h)).collect())
        }
    };
    MetricFamily { name, metadata: Metadata { kind, help: entry.help, unit: String::new() }, samples }
}

#[expect(clippy::cast_precision_loss, reason = "metrics are 64-bit floats; exact up to 2^53")]
fn histogram_samples(labels: &Labels, histogram: &Histogram) -> Vec<FamilySample> {
    let (buckets, sum) = histogram.snapshot();
    let count = buckets.last().map_or(0, |(_, n)| *n);
    let mut samples = Vec::with_capacity(buckets.len() + 2);
    for (bound, n) in buckets {
        let mut with_le = labels.builder();
        let le = if bound.is_infinite() { "+Inf".to_owned() } else { format_bound(bound) };
        with_le.set("le", &le);
        samples.push(FamilySample { suffix: "_bucket", labels: with_le.build(), value: n as f64 });
    }
    samples.push(FamilySample { suffix: "_sum", labels: labels.clone(), value: sum });
    samples.push(FamilySample { suffix: "_count", labels: labels.clone(), value: count as f64 });
    samples
}

/// Writes a bucket's bound as Prometheus 3 normalises it: always with a fraction.
fn format_bound(bound: f64) -> String {
    if bound.fract() == 0.0 { format!("{bound:.1}") } else { format!("{bound}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instruments_are_gathered_by_name_and_label() {
        let registry = Registry::default();
        registry.counters("andon_x_total", "X.", &["reason"]).with(&["late"]).add(3);
        registry.gauge("andon_a_bytes", "A.").set(1.5);
        let families = registry.gather();
        assert_eq!(families.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(), ["andon_a_bytes", "andon_x_total"]);
        let x = families[1].samples.first().unwrap();
        assert_eq!((x.labels.get("reason"), x.value), (Some("late"), 3.0));
    }

    #[test]
    fn a_histogram_is_cumulative_and_ends_at_infinity() {
        let registry = Registry::default();
        let h = registry.histogram("andon_h_seconds", "H.", &[0.1, 1.0]);
        h.observe(0.1);
        h.observe(0.5);
        h.observe(7.0);
        let samples = registry.gather().remove(0).samples;
        let values: Vec<_> = samples.iter().map(|s| (s.suffix, s.labels.get("le"), s.value)).collect();
        assert_eq!(
            values,
            [
                ("_bucket", Some("0.1"), 1.0),
                ("_bucket", Some("1.0"), 2.0),
                ("_bucket", Some("+Inf"), 3.0),
                ("_sum", None, 7.6),
                ("_count", None, 3.0)
            ]
        );
    }
}
