//! A source that is read without scraping: its task, and the way of a reading into the store.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::host::HostReader;
use super::instruments::{Instruments, Way};
use super::nats::NatsReader;
use super::own::OwnReader;
use super::snapshot::{Health, SourceSnapshot};
use super::telemetry::DevicesReader;
use super::ticker::Ticker;
use crate::clock::{Clock, Stamp};
use crate::model::{LABEL_NAME, Labels, Metadata, MetricFamily, Timestamp, stale_nan};
use crate::storage::tsdb::{Batch, Db};
use crate::task::{OnPanic, Phase, Tasks};

/// What one reading gave.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// What was read; labels without `job` and `instance`.
    pub(super) families: Vec<MetricFamily>,
    /// Whether the source is there; becomes `up`.
    pub(super) is_up: bool,
    /// What could not be read.
    pub(super) problems: Vec<String>,
}

/// Where readings come from.
#[derive(Debug)]
pub(super) enum Reader {
    /// This machine.
    Host(Box<HostReader>),
    /// A NATS server.
    Nats(Box<NatsReader>),
    /// Andon's own instruments.
    Own(OwnReader),
    /// The `device_*` series.
    Devices(DevicesReader),
}

impl Reader {
    fn way(&self) -> Way {
        match self {
            Reader::Host(_) => Way::Host,
            Reader::Nats(_) => Way::Nats,
            Reader::Own(_) => Way::Own,
            Reader::Devices(_) => Way::Telemetry,
        }
    }

    async fn read(&mut self, now: Timestamp) -> Reading {
        match self {
            Reader::Host(host) => host.read(now).await,
            Reader::Nats(nats) => nats.read().await,
            Reader::Own(own) => own.read(),
            Reader::Devices(devices) => devices.read(now),
        }
    }
}

/// How a source is named and when it is read.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    /// Label `job`.
    pub(super) job: String,
    /// Label `instance`.
    pub(super) instance: String,
    /// Where readings come from, for people.
    pub(super) origin: String,
    /// How often.
    pub(super) interval: Duration,
}

/// What sources work with; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Sinks {
    pub(super) db: Db,
    pub(super) clock: Clock,
    pub(super) tasks: Tasks,
    pub(super) instruments: Instruments,
}

/// What the room keeps of a running source.
#[derive(Debug)]
pub(super) struct Handle {
    status: Arc<Mutex<SourceSnapshot>>,
    stop: CancellationToken,
    is_removed: Arc<AtomicBool>,
}

impl Handle {
    /// Returns its state.
    pub(super) fn snapshot(&self) -> SourceSnapshot {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends it; its series end too, with a staleness marker.
    pub(super) fn remove(&self) {
        self.is_removed.store(true, Ordering::SeqCst);
        self.stop.cancel();
    }
}

/// A source with what is remembered between readings.
pub(super) struct Source {
    reader: Reader,
    schedule: Schedule,
    sinks: Sinks,
    previous: HashSet<Labels>,
    metadata: HashMap<String, Metadata>,
    status: Arc<Mutex<SourceSnapshot>>,
    stop: CancellationToken,
    is_removed: Arc<AtomicBool>,
}

impl Source {
    /// Starts reading.
    pub(super) fn start(reader: Reader, schedule: Schedule, sinks: &Sinks) -> Handle {
        let (source, handle) = Source::new(reader, schedule, sinks.clone());
        let name = format!("collect {} {}", source.schedule.job, source.schedule.instance);
        sinks.tasks.spawn(name, OnPanic::EndTask, source.run());
        handle
    }

    fn new(reader: Reader, schedule: Schedule, sinks: Sinks) -> (Source, Handle) {
        let status = Arc::new(Mutex::new(SourceSnapshot {
            job: schedule.job.clone(),
            instance: schedule.instance.clone(),
            origin: schedule.origin.clone(),
            interval: schedule.interval,
            ..SourceSnapshot::default()
        }));
        let stop = sinks.tasks.token(Phase::Intake).child_token();
        let is_removed = Arc::new(AtomicBool::new(false));
        let handle = Handle { status: status.clone(), stop: stop.clone(), is_removed: is_removed.clone() };
        let source = Source {
            reader,
            schedule,
            sinks,
            previous: HashSet::new(),
            metadata: HashMap::new(),
            status,
            stop,
            is_removed,
        };
        (source, handle)
    }

    async fn run(mut self) {
        let mut ticker = Ticker::new(self.sinks.clock.clone(), self.schedule.interval, 0);
        // The first reading is not waited for: a box that has just started should show something.
        let mut stamp = Some(self.sinks.clock.stamp());
        while let Some(now) = stamp {
            let started = self.sinks.clock.elapsed();
            let reading = tokio::select! {
                () = self.stop.cancelled() => break,
                reading = self.reader.read(now.at) => reading,
            };
            let duration = self.sinks.clock.elapsed().saturating_sub(started);
            self.keep(reading, now, duration);
            stamp = ticker.next(&self.stop).await.map(|tick| {
                self.sinks.instruments.skipped(self.reader.way(), tick.skipped);
                Stamp { at: tick.at, moved_ms: tick.moved_ms }
            });
        }
        if self.is_removed.load(Ordering::SeqCst) {
            self.append(Vec::new(), self.sinks.clock.stamp());
        }
    }

    /// Keeps a reading, with `up`, `scrape_duration_seconds`, `scrape_samples_scraped`, and the ends of
    /// series that are no more.
    fn keep(&mut self, reading: Reading, stamp: Stamp, duration: Duration) {
        let mut samples = Vec::new();
        for family in &reading.families {
            for sample in &family.samples {
                let name = format!("{}{}", family.name, sample.suffix);
                samples.push((self.labels(&name, &sample.labels), sample.value));
            }
        }
        let count = samples.len();
        #[expect(clippy::cast_precision_loss, reason = "a count of readings is far below 2^53")]
        let report = [
            ("up", f64::from(u8::from(reading.is_up))),
            ("scrape_duration_seconds", duration.as_secs_f64()),
            ("scrape_samples_scraped", count as f64),
        ];
        samples.extend(report.map(|(name, value)| (self.labels(name, &Labels::empty()), value)));
        self.append(samples, stamp);
        for family in reading.families {
            if self.metadata.get(&family.name) != Some(&family.metadata) {
                self.sinks.db.set_metadata(&family.name, family.metadata.clone());
                self.metadata.insert(family.name, family.metadata);
            }
        }
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.health = if reading.is_up { Health::Up } else { Health::Down };
        status.last_error = reading.problems.join("; ");
        status.last_read = Some(stamp.at);
        status.last_duration = duration;
        status.samples = count;
    }

    fn labels(&self, name: &str, own: &Labels) -> Labels {
        let mut builder = own.builder();
        builder.set(LABEL_NAME, name).set("job", &self.schedule.job).set("instance", &self.schedule.instance);
        builder.build()
    }

    fn append(&mut self, samples: Vec<(Labels, f64)>, Stamp { at, moved_ms }: Stamp) {
        let mut batch = Batch::stamped(moved_ms);
        let mut current = HashSet::with_capacity(samples.len());
        for (labels, value) in samples {
            batch.push(&labels, at, value);
            current.insert(labels);
        }
        for gone in self.previous.difference(&current) {
            batch.push(gone, at, stale_nan());
        }
        self.previous = current;
        match self.sinks.db.append(&batch) {
            Ok(outcome) => self.sinks.instruments.appended(self.reader.way(), &outcome),
            Err(problem) => {
                debug!(job = self.schedule.job, %problem, "reading not kept");
                self.sinks.instruments.refused(self.reader.way(), "read_only", batch.len() as u64);
            }
        }
    }
}
