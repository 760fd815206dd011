//! From an address and the labels of its group to a target: its URL, its labels, or dropped.

use std::time::Duration;

use reqwest::Url;

use super::Job;
use crate::collect::Supplier;
use crate::model::{Labels, LabelsBuilder, format_duration, parse_duration, relabel};

/// One thing to scrape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// What is fetched.
    pub(super) url: Url,
    /// Labels that its series get.
    pub(super) labels: Labels,
    /// Labels before relabelling.
    pub(super) discovered: Labels,
    /// How often.
    pub(super) interval: Duration,
    /// How long an answer may take.
    pub(super) timeout: Duration,
}

/// What makes two targets the same: URL, labels, interval and timeout.
pub(super) type Key = (String, Labels, Duration, Duration);

impl Target {
    /// Returns what makes the target this one.
    pub(super) fn key(&self) -> Key {
        (self.url.to_string(), self.labels.clone(), self.interval, self.timeout)
    }

    /// Returns who the target is to people.
    pub(super) fn supplier(&self, job: &Job) -> Supplier {
        Supplier::Target(job.name.clone(), self.labels.get("instance").unwrap_or_default().to_owned())
    }

    /// Returns a number that spreads targets over the interval.
    pub(super) fn spread(&self) -> u64 {
        self.labels.stable_hash() ^ xxhash_rust::xxh3::xxh3_64(self.url.as_str().as_bytes())
    }
}

/// What became of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Made {
    /// A target.
    Target(Box<Target>),
    /// Relabelling dropped it; its labels before.
    Dropped(Labels),
    /// It does not make a URL, or its settings do not read; in words.
    Invalid(String),
}

/// Applies the job's relabelling to an address. Source: Prometheus 3, `scrape.PopulateLabels`.
pub(super) fn make(job: &Job, address: &str, group: &Labels) -> Made {
    let mut builder = group.builder();
    builder.set("__address__", address);
    set_missing(&mut builder, "job", &job.name);
    set_missing(&mut builder, "__scrape_interval__", &format_duration(job.interval));
    set_missing(&mut builder, "__scrape_timeout__", &format_duration(job.timeout));
    set_missing(&mut builder, "__metrics_path__", &job.metrics_path);
    set_missing(&mut builder, "__scheme__", &job.scheme);
    for (name, values) in &job.params {
        set_missing(&mut builder, &format!("__param_{name}"), values.first().map_or("", String::as_str));
    }
    let discovered = builder.build();
    let Some(relabelled) = relabel(&discovered, &job.relabel) else { return Made::Dropped(discovered) };
    if relabelled.get("__address__").is_none() {
        return Made::Dropped(discovered);
    }
    match finish(job, &relabelled, discovered) {
        Ok(target) => Made::Target(Box::new(target)),
        Err(problem) => Made::Invalid(problem),
    }
}

fn set_missing(builder: &mut LabelsBuilder, name: &str, value: &str) {
    if builder.get(name).is_none() {
        builder.set(name, value);
    }
}

fn finish(job: &Job, relabelled: &Labels, discovered: Labels) -> Result<Target, String> {
    let get = |name: &str| relabelled.get(name).unwrap_or("");
    let address = get("__address__");
    let duration = |name: &str| parse_duration(get(name)).map_err(|e| format!("target {address}: {name}: {e}"));
    let (interval, timeout) = (duration("__scrape_interval__")?, duration("__scrape_timeout__")?);
    if interval.is_zero() || timeout.is_zero() || timeout > interval {
        return Err(format!("target {address}: scrape timeout must be above 0 and not above the interval"));
    }
    let url = url_of(job, relabelled).map_err(|problem| format!("target {address}: {problem}"))?;
    Ok(Target { url, labels: target_labels(relabelled), discovered, interval, timeout })
}

/// Returns the labels that the series of a target get, from what relabelling left of its own.
#[must_use]
pub fn target_labels(relabelled: &Labels) -> Labels {
    let mut labels = LabelsBuilder::default();
    for (name, value) in relabelled.iter().filter(|(name, _)| !name.starts_with("__")) {
        labels.set(name, value);
    }
    set_missing(&mut labels, "instance", relabelled.get("__address__").unwrap_or(""));
    labels.build()
}

fn url_of(job: &Job, labels: &Labels) -> Result<Url, String> {
    let get = |name: &str| labels.get(name).unwrap_or("");
    let (scheme, address, path) = (get("__scheme__"), get("__address__"), get("__metrics_path__"));
    if !matches!(scheme, "http" | "https") {
        return Err(format!("scheme {scheme:?} is neither http nor https"));
    }
    if address.is_empty() || address.contains(['/', '?', '#', '@', ' ', '\\']) {
        return Err(format!("{address:?} is no host with a port"));
    }
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut url = Url::parse(&format!("{scheme}://{address}{slash}{path}")).map_err(|e| e.to_string())?;
    let overridden = |name: &str| labels.get(&format!("__param_{name}")).map(str::to_owned);
    let mut pairs: Vec<(String, String)> = Vec::new();
    for (name, values) in &job.params {
        for (i, value) in values.iter().enumerate() {
            let value = overridden(name).filter(|_| i == 0).unwrap_or_else(|| value.clone());
            pairs.push((name.clone(), value));
        }
    }
    for (name, value) in labels.iter() {
        if let Some(name) = name.strip_prefix("__param_").filter(|name| pairs.iter().all(|(known, _)| known != name)) {
            pairs.push((name.to_owned(), value.to_owned()));
        }
    }
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    if !pairs.is_empty() {
        url.query_pairs_mut().extend_pairs(pairs);
    }
    Ok(url)
}
