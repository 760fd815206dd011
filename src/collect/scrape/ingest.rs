//! A scrape body into one batch.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::cache::{Known, LineCache};
use super::fetch::Body;
use super::{Job, Target};
use crate::collect::intake::Intake;
use crate::collect::known::Key;
use crate::model::{LABEL_NAME, Labels, Metadata, MetricKind, Timestamp, relabel};
use crate::storage::tsdb::Batch;
use crate::wire::exposition::{Entry, Parser, SampleLine};

/// How far ahead of our clock a target's own time may lie; beyond, the sample is refused alone.
const AHEAD_MS_MAX: i64 = 10 * 60 * 1000;

/// Longest help text that is kept.
const HELP_CHARS_MAX: usize = 1000;

/// What a body gave.
#[derive(Debug, Default)]
pub(super) struct Scraped<'a> {
    /// The samples with our time, resolved.
    pub(super) batch: Batch,
    /// The samples with times of the target's own, resolved.
    pub(super) theirs: Batch,
    /// Samples in the body.
    pub(super) samples: usize,
    /// Samples after relabelling.
    pub(super) kept: usize,
    /// Series that the cache did not know.
    pub(super) added: usize,
    /// Samples refused because their time lies too far ahead.
    pub(super) too_new: u64,
    /// Samples of new series that did not come in, by reason.
    pub(super) refused: BTreeMap<&'static str, u64>,
    /// What the body says about metric names.
    pub(super) descriptions: Vec<Description<'a>>,
}

/// What a body says about a metric name.
#[derive(Debug, Default)]
pub(super) struct Description<'a> {
    pub(super) name: &'a str,
    kind: MetricKind,
    help: Cow<'a, str>,
    unit: &'a str,
}

/// Why a body gives nothing, and what had been counted by then.
#[derive(Debug, Default)]
pub(super) struct Failed {
    /// In words.
    pub(super) problem: String,
    /// Samples in the body.
    pub(super) samples: usize,
    /// Samples after relabelling.
    pub(super) kept: usize,
}

impl From<String> for Failed {
    fn from(problem: String) -> Self {
        Failed { problem, ..Failed::default() }
    }
}

impl Description<'_> {
    /// Tells whether it says the same.
    pub(super) fn is(&self, known: &Metadata) -> bool {
        known.kind == self.kind && known.help == self.short_help() && known.unit == self.unit
    }

    /// Returns it to keep.
    pub(super) fn metadata(&self) -> Metadata {
        Metadata { kind: self.kind, help: self.short_help().to_owned(), unit: self.unit.to_owned() }
    }

    fn short_help(&self) -> &str {
        let end = self.help.char_indices().nth(HELP_CHARS_MAX).map(|(end, _)| end);
        end.and_then(|end| self.help.get(..end)).unwrap_or(&self.help)
    }
}

impl Scraped<'_> {
    fn batch_of(&mut self, is_ours: bool) -> &mut Batch {
        if is_ours { &mut self.batch } else { &mut self.theirs }
    }
}

/// A sample of a line that is not known yet.
struct Fresh {
    key: Key,
    labels: Labels,
    at: Timestamp,
    value: f64,
    is_ours: bool,
}

/// Reads a body whole before anything is kept: a body with a mistake, or over a limit of the job, gives nothing.
/// Over a limit on series only new ones are left out. The samples go into `batch`, which is empty.
///
/// # Errors
/// In words; those of limits are Prometheus's.
pub(super) fn ingest<'a>(
    job: &Job,
    target: &Target,
    intake: &Intake,
    cache: &mut LineCache,
    body: &'a Body,
    batch: Batch,
    at: Timestamp,
) -> Result<Scraped<'a>, Failed> {
    let mut scraped = Scraped { batch, ..Scraped::default() };
    let mut fresh = Vec::new();
    let read = read(job, target, cache, body, at, &mut scraped, &mut fresh);
    scraped.added = fresh.len();
    let is_over = job.sample_limit > 0 && scraped.kept > job.sample_limit;
    if let Err(problem) = read.and(if is_over { Err("sample limit exceeded".to_owned()) } else { Ok(()) }) {
        return Err(Failed { problem, samples: scraped.samples, kept: scraped.kept });
    }
    let guest = intake.guest(target.supplier(job));
    for new in fresh {
        match intake.admit(&guest, &new.labels, 1) {
            Ok(series) => {
                cache.keep(new.key, Known::Series(series), new.is_ours);
                scraped.batch_of(new.is_ours).push_ref(series, new.at, new.value);
            }
            Err(turned) => *scraped.refused.entry(turned.as_str()).or_default() += 1,
        }
    }
    Ok(scraped)
}

fn read<'a>(
    job: &Job,
    target: &Target,
    cache: &mut LineCache,
    body: &'a Body,
    at: Timestamp,
    scraped: &mut Scraped<'a>,
    fresh: &mut Vec<Fresh>,
) -> Result<(), String> {
    for entry in Parser::new(&body.bytes, body.format).map_err(|e| e.to_string())? {
        match entry.map_err(|e| e.to_string())? {
            Entry::Help(name, text) => describe(scraped, name).help = text,
            Entry::Type(name, kind) => describe(scraped, name).kind = kind,
            Entry::Unit(name, unit) => describe(scraped, name).unit = unit,
            Entry::Sample(line) => sample(job, target, cache, &line, at, scraped, fresh)?,
        }
    }
    Ok(())
}

/// Returns what has been said about a name so far; what is said about one name stands together.
fn describe<'a, 's>(scraped: &'s mut Scraped<'a>, name: &'a str) -> &'s mut Description<'a> {
    if scraped.descriptions.last().is_none_or(|last| last.name != name) {
        scraped.descriptions.push(Description { name, ..Description::default() });
    }
    let last = scraped.descriptions.len() - 1;
    &mut scraped.descriptions[last]
}

fn sample(
    job: &Job,
    target: &Target,
    cache: &mut LineCache,
    line: &SampleLine<'_>,
    at: Timestamp,
    scraped: &mut Scraped<'_>,
    fresh: &mut Vec<Fresh>,
) -> Result<(), String> {
    scraped.samples += 1;
    let own_time = line.timestamp_ms.filter(|_| job.honor_timestamps).map(Timestamp::from_millis);
    let is_ours = own_time.is_none();
    let time = own_time.unwrap_or(at);
    // Only the kinds that change how a line is read are told apart.
    let kind = match line.kind {
        kind @ (MetricKind::Histogram | MetricKind::Summary) => kind,
        MetricKind::Counter | MetricKind::Gauge | MetricKind::Unknown => MetricKind::Unknown,
    };
    let key = cache.key(line.series, kind);
    let is_too_new = time.as_millis() - at.as_millis() > AHEAD_MS_MAX;
    match cache.seen(key, is_ours) {
        Some(Known::Dropped) => {}
        _ if is_too_new => {
            scraped.kept += 1;
            scraped.too_new += 1;
        }
        Some(Known::Series(series)) => {
            scraped.kept += 1;
            scraped.batch_of(is_ours).push_ref(series, time, line.value);
        }
        None => {
            let labels = line.labels().map_err(|e| e.to_string())?;
            match series_labels(job, target, &labels) {
                None => cache.keep(key, Known::Dropped, false),
                Some(labels) => {
                    check_limits(job, &labels)?;
                    scraped.kept += 1;
                    fresh.push(Fresh { key, labels, at: time, value: line.value, is_ours });
                }
            }
        }
    }
    Ok(())
}

/// Joins a line's labels with the target's and relabels; `None` if that drops the sample.
///
/// Source: Prometheus 3, `scrape.mutateSampleLabels`.
fn series_labels(job: &Job, target: &Target, exposed: &Labels) -> Option<Labels> {
    let mut joined = exposed.builder();
    let mut moved = Vec::new();
    for (name, value) in target.labels.iter() {
        match exposed.get(name) {
            Some(_) if job.honor_labels => {}
            Some(own) => {
                moved.push((name, own));
                joined.set(name, value);
            }
            None => {
                joined.set(name, value);
            }
        }
    }
    for (name, own) in moved {
        let mut other = format!("exported_{name}");
        while joined.get(&other).is_some() {
            other.insert_str(0, "exported_");
        }
        joined.set(&other, own);
    }
    let labels = relabel(&joined.build(), &job.metric_relabel)?;
    labels.get(LABEL_NAME).is_some().then_some(labels)
}

/// Source: Prometheus 3, `scrape.verifyLabelLimits`, its words included.
fn check_limits(job: &Job, labels: &Labels) -> Result<(), String> {
    let short = |text: &str| text.chars().take(50).collect::<String>();
    let (metric, count) = (short(labels.metric_name()), labels.len());
    if job.label_limit > 0 && count > job.label_limit {
        let limit = job.label_limit;
        return Err(format!("label_limit exceeded (metric: {metric}, number of labels: {count}, limit: {limit})"));
    }
    for (name, value) in labels.iter() {
        let (limit, length) = (job.label_name_length_limit, name.len());
        if limit > 0 && length > limit {
            let place = format!("metric: {metric}, label name: {}", short(name));
            return Err(format!("label_name_length_limit exceeded ({place}, length: {length}, limit: {limit})"));
        }
        let (limit, length) = (job.label_value_length_limit, value.len());
        if limit > 0 && length > limit {
            let place = format!("metric: {metric}, label name: {}, value: {:?}", short(name), short(value));
            return Err(format!("label_value_length_limit exceeded ({place}, length: {length}, limit: {limit})"));
        }
    }
    Ok(())
}
