//! One target's task: tick, fetch, read, append, report `up`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::cache::LineCache;
use super::fetch::{Body, Fetcher};
use super::ingest::{Description, Failed, Scraped, ingest};
use super::{Job, Sinks, Target};
use crate::clock::Stamp;
use crate::collect::instruments::Way;
use crate::collect::snapshot::{Health, TargetSnapshot};
use crate::collect::ticker::Ticker;
use crate::model::{LABEL_NAME, Labels, Metadata, Timestamp, stale_nan};
use crate::storage::tsdb::{AppendOutcome, Batch};

/// Most metric names of one target whose help and kind are kept.
const METADATA_MAX: usize = 20_000;

/// Names of the series that report on a scrape, in the order in which `report` is handed their values.
const REPORT_NAMES: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];

/// Why no target of a job is scraped, if so: each scrape fails with it.
pub(super) type Forced = Arc<RwLock<Option<String>>>;

/// What the manager keeps of a running target.
#[derive(Debug)]
pub(super) struct Handle {
    /// What pages see.
    pub(super) status: Arc<Mutex<TargetSnapshot>>,
    stop: CancellationToken,
    is_removed: Arc<AtomicBool>,
}

impl Handle {
    /// Ends the task; its series end too, with a staleness marker.
    pub(super) fn remove(&self) {
        self.is_removed.store(true, Ordering::SeqCst);
        self.stop.cancel();
    }

    /// Ends the task because another takes over the same series.
    pub(super) fn replace(&self) {
        self.stop.cancel();
    }
}

/// One target with what is remembered between scrapes.
#[derive(Debug)]
pub(super) struct ScrapeLoop {
    job: Arc<Job>,
    target: Target,
    fetcher: Result<Fetcher, String>,
    forced: Forced,
    sinks: Sinks,
    cache: LineCache,
    metadata: HashMap<String, Metadata>,
    report_labels: [Labels; 5],
    status: Arc<Mutex<TargetSnapshot>>,
    stop: CancellationToken,
    is_removed: Arc<AtomicBool>,
}

impl ScrapeLoop {
    /// Prepares a target; `stop` ends it.
    pub(super) fn new(
        job: Arc<Job>,
        target: Target,
        fetcher: Result<Fetcher, String>,
        forced: Forced,
        sinks: Sinks,
        stop: CancellationToken,
    ) -> (Self, Handle) {
        let status = Arc::new(Mutex::new(TargetSnapshot {
            url: target.url.to_string(),
            labels: target.labels.clone(),
            discovered_labels: target.discovered.clone(),
            health: Health::Unknown,
            last_error: String::new(),
            last_scrape: None,
            last_duration: std::time::Duration::ZERO,
            samples: 0,
            interval: target.interval,
            timeout: target.timeout,
        }));
        let is_removed = Arc::new(AtomicBool::new(false));
        let handle = Handle { status: status.clone(), stop: stop.clone(), is_removed: is_removed.clone() };
        let report_labels = REPORT_NAMES.map(|name| {
            let mut labels = target.labels.builder();
            labels.set(LABEL_NAME, name);
            labels.build()
        });
        let cache = LineCache::new(rand::random());
        let metadata = HashMap::new();
        let task = ScrapeLoop {
            job,
            target,
            fetcher,
            forced,
            sinks,
            cache,
            metadata,
            report_labels,
            status,
            stop,
            is_removed,
        };
        (task, handle)
    }

    /// Scrapes until stopped.
    pub(super) async fn run(mut self) {
        let mut ticker = Ticker::new(self.sinks.clock.clone(), self.target.interval, self.target.spread());
        while let Some(tick) = ticker.next(&self.stop).await {
            self.sinks.instruments.skipped(Way::Scrape, tick.skipped);
            self.scrape(Stamp { at: tick.at, moved_ms: tick.moved_ms }).await;
        }
        if self.is_removed.load(Ordering::SeqCst) {
            self.end_series(self.sinks.clock.stamp());
        }
    }

    /// Scrapes once. The tick's time is the time of all samples without one of their own.
    pub(super) async fn scrape(&mut self, stamp: Stamp) {
        let started = self.sinks.clock.elapsed();
        let body_max = if self.job.body_size_limit == 0 { Job::BODY_BYTES_MAX } else { self.job.body_size_limit };
        let forced = self.forced.read().unwrap_or_else(PoisonError::into_inner).clone();
        let fetched = match (forced, &self.fetcher) {
            (Some(problem), _) => Err(problem),
            (None, Err(problem)) => Err(problem.clone()),
            (None, Ok(fetcher)) => tokio::select! {
                () = self.stop.cancelled() => return,
                fetched = fetcher.get(&self.target.url, self.target.timeout, body_max, &self.sinks.buffers) => fetched,
            },
        };
        let duration = self.sinks.clock.elapsed().saturating_sub(started);
        // Inline, not on the blocking pool: a scrape must not wait behind a page's query.
        let result = fetched.map_err(Failed::from).and_then(|body| {
            let kept = self.keep(&body, stamp, duration);
            self.sinks.buffers.give_bytes(body.bytes);
            kept
        });
        if let Err(failed) = &result {
            debug!(url = %self.target.url, problem = failed.problem, "scrape failed");
            self.fail(stamp, duration, failed);
        }
        self.sinks.instruments.scrapes.with(&[if result.is_ok() { "ok" } else { "failed" }]).inc();
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.health = if result.is_ok() { Health::Up } else { Health::Down };
        status.last_scrape = Some(stamp.at);
        status.last_duration = duration;
        status.samples = *result.as_ref().unwrap_or(&0);
        status.last_error = result.err().map(|failed| failed.problem).unwrap_or_default();
    }

    /// Appends a body's samples, the ends of what vanished, and the report, in one batch.
    fn keep(&mut self, body: &Body, stamp: Stamp, duration: std::time::Duration) -> Result<usize, Failed> {
        let at = stamp.at;
        let mut scraped = self.ingest(body, at)?;
        let added = scraped.added;
        self.finish(&mut scraped, added, at, duration);
        let mut outcome = self.append_scraped(&mut scraped, stamp)?;
        if outcome.unknown_ref > 0 {
            // The store has dropped series from its head that we still knew: look all of them up again.
            self.cache.forget();
            self.sinks.buffers.give_batch(scraped.batch);
            scraped = self.ingest(body, at)?;
            self.finish(&mut scraped, added, at, duration);
            outcome = self.append_scraped(&mut scraped, stamp)?;
        }
        self.sinks.instruments.appended(Way::Scrape, &outcome);
        self.sinks.instruments.refused(Way::Scrape, "too_new", scraped.too_new);
        for (reason, samples) in &scraped.refused {
            self.sinks.instruments.refused(Way::Scrape, reason, *samples);
        }
        self.keep_metadata(&scraped.descriptions);
        self.sinks.buffers.give_batch(scraped.batch);
        Ok(scraped.samples)
    }

    /// Appends what has our stamp, then what has the target's own.
    fn append_scraped(&self, scraped: &mut Scraped<'_>, stamp: Stamp) -> Result<AppendOutcome, String> {
        scraped.batch.mark_stamped(stamp.moved_ms);
        let mut outcome = self.sinks.db.append(&scraped.batch).map_err(|e| e.to_string())?;
        if !scraped.theirs.is_empty() {
            outcome.add(self.sinks.db.append(&scraped.theirs).map_err(|e| e.to_string())?);
        }
        Ok(outcome)
    }

    fn ingest<'a>(&mut self, body: &'a Body, at: Timestamp) -> Result<Scraped<'a>, Failed> {
        self.cache.begin();
        let batch = self.sinks.buffers.take_batch();
        ingest(&self.job, &self.target, &self.sinks.intake, &mut self.cache, body, batch, at)
    }

    fn finish(&mut self, scraped: &mut Scraped<'_>, added: usize, at: Timestamp, duration: std::time::Duration) {
        self.cache.end(at, &mut scraped.batch);
        let values = [1.0, duration.as_secs_f64(), count(scraped.samples), count(scraped.kept), count(added)];
        self.report(&mut scraped.batch, values, at);
    }

    /// Reports a failed scrape and ends all series.
    fn fail(&mut self, Stamp { at, moved_ms }: Stamp, duration: std::time::Duration, failed: &Failed) {
        let mut batch = Batch::stamped(moved_ms);
        self.cache.begin();
        self.cache.end(at, &mut batch);
        let values = [0.0, duration.as_secs_f64(), count(failed.samples), count(failed.kept), 0.0];
        self.report(&mut batch, values, at);
        self.append(&batch);
    }

    fn end_series(&mut self, Stamp { at, moved_ms }: Stamp) {
        let mut batch = Batch::stamped(moved_ms);
        self.cache.begin();
        self.cache.end(at, &mut batch);
        self.report(&mut batch, [stale_nan(); 5], at);
        self.append(&batch);
    }

    fn append(&self, batch: &Batch) {
        match self.sinks.db.append(batch) {
            Ok(outcome) => self.sinks.instruments.appended(Way::Scrape, &outcome),
            Err(problem) => {
                debug!(%problem, "scrape report not kept");
                self.sinks.instruments.refused(Way::Scrape, "read_only", batch.len() as u64);
            }
        }
    }

    fn report(&self, batch: &mut Batch, values: [f64; 5], at: Timestamp) {
        for (labels, value) in self.report_labels.iter().zip(values) {
            batch.push(labels, at, value);
        }
    }

    fn keep_metadata(&mut self, descriptions: &[Description<'_>]) {
        for new in descriptions {
            let has_place = self.metadata.len() < METADATA_MAX;
            match self.metadata.get_mut(new.name) {
                Some(known) if new.is(known) => {}
                Some(known) => {
                    *known = new.metadata();
                    self.sinks.db.set_metadata(new.name, new.metadata());
                }
                None if has_place => {
                    self.sinks.db.set_metadata(new.name, new.metadata());
                    self.metadata.insert(new.name.to_owned(), new.metadata());
                }
                None => {}
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of samples are far below 2^53")]
fn count(n: usize) -> f64 {
    n as f64
}
