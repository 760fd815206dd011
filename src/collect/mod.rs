//! Every way in for data that is not a device's connection.
//!
//! - [`scrape`]: metrics fetched from other programs, as Prometheus does it.
//! - `host`: this machine's readings under node_exporter's names.
//! - `nats`: NATS servers watched over their monitoring port.
//! - [`telemetry`]: device messages, from the gateway or the bus, into samples by rules; the `device_*`
//!   series; through `device_logs`, messages that are log lines into the log store.
//! - [`RemoteWrite`]: samples that others push.
//! - `own`: Andon's own instruments, those of the gateway under `job="gateway"`.
//!
//! Scrapes have a task per target; what is read without a scrape is a `source` with a task of its own;
//! device messages have one task for all. Each event ends in one batch for [`tsdb::Db::append`], with
//! staleness markers for what is no more. What is refused is counted by reason.

mod config;
mod describe;
mod device_logs;
mod families;
mod host;
mod instruments;
mod intake;
mod known;
mod nats;
mod own;
mod refusals;
mod remote_write;
pub mod scrape;
mod scrub;
mod snapshot;
mod source;
pub mod telemetry;
mod ticker;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, watch};

pub use config::{Config, HostConfig, Limits, LogsConfig, NatsConfig, NatsServer, OwnConfig, TelemetryConfig};
pub use host::{FlashLife, disk_of, flash_lives};
pub use refusals::{Refused, RefusedLabel, RefusedMetric, Supplier, drop_rule};
pub use remote_write::{RemoteWrite, WriteError, WriteOutcome, WriteVersion};
pub use snapshot::{DeviceSnapshot, Health, JobSnapshot, Snapshot, SourceSnapshot, TargetSnapshot, TelemetrySnapshot};

use self::describe::describe;
use self::host::HostReader;
use self::instruments::Instruments;
use self::intake::Intake;
use self::nats::NatsReader;
use self::own::{OwnReader, Part};
use self::source::{Reader, Schedule, Source};
use self::telemetry::Telemetry;
use crate::bus::Bus;
use crate::clock::Clock;
use crate::instrument::Registry;
use crate::model::{DeviceMessage, DevicePresence};
use crate::storage::logs::LogStore;
use crate::storage::tsdb;
use crate::task::{OnPanic, Phase, Tasks};

/// What the collectors work with.
#[derive(Debug)]
pub struct Deps {
    /// Where samples go.
    pub db: tsdb::Db,
    /// Where lines go.
    pub logs: LogStore,
    /// The time.
    pub clock: Clock,
    /// Who spawns.
    pub tasks: Tasks,
    /// Where own instruments are registered, and what `own` reads.
    pub registry: Registry,
    /// What devices of this box publish: the gateway holds the sender.
    pub messages: mpsc::Receiver<DeviceMessage>,
    /// Who is connected, as the gateway knows it; becomes `device_connection_state`.
    pub presence: watch::Receiver<Arc<Vec<DevicePresence>>>,
    /// Where others publish.
    pub bus: Bus,
}

/// The collectors' handle; cheap to clone.
#[derive(Debug, Clone)]
pub struct Collector(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    scraper: scrape::Scraper,
    telemetry: Telemetry,
    remote_write: RemoteWrite,
    intake: Intake,
    registry: Registry,
    presence: watch::Receiver<Arc<Vec<DevicePresence>>>,
    sinks: source::Sinks,
    sources: Mutex<Vec<RunningSource>>,
}

/// A source that runs, with the settings it was started with.
#[derive(Debug)]
struct RunningSource {
    wanted: Wanted,
    handle: source::Handle,
}

/// A source that should run, told apart by its settings.
#[derive(Debug, Clone, PartialEq)]
enum Wanted {
    Host(Box<HostConfig>, String),
    Nats(NatsConfig, NatsServer),
    Own(OwnConfig, Part, String),
    Devices(OwnConfig, String, String),
}

impl Collector {
    /// Starts all collectors.
    #[must_use]
    pub fn start(config: Config, deps: Deps) -> Collector {
        let Deps { db, logs, clock, tasks, registry, messages, presence, bus } = deps;
        let instruments = Instruments::new(&registry);
        let intake = Intake::new(db.clone(), clock.clone(), config.limits, &registry);
        let to_store = source::Sinks { db: db.clone(), clock: clock.clone(), tasks: tasks.clone(), instruments };
        let scraper = scrape::Scraper::start(config.scrape.clone(), &to_store, intake.clone());
        let sinks = telemetry::Sinks {
            db: db.clone(),
            intake: intake.clone(),
            logs,
            clock: clock.clone(),
            instruments: to_store.instruments.clone(),
        };
        let settings = telemetry_settings(&config);
        let (telemetry, work) =
            Telemetry::new(settings, sinks, messages, presence.clone(), bus, tasks.token(Phase::Intake));
        tasks.spawn("collect telemetry", OnPanic::StopBox, work);
        let collector = Collector(Arc::new(Shared {
            scraper,
            telemetry,
            remote_write: RemoteWrite::new(db, clock, to_store.instruments.clone(), intake.clone()),
            intake,
            registry,
            presence,
            sinks: to_store,
            sources: Mutex::default(),
        }));
        collector.run_sources(&config);
        collector
    }

    /// Takes new settings: targets and sources that stay the same keep their state.
    pub fn reload(&self, config: Config) {
        self.0.intake.reload(config.limits);
        self.run_sources(&config);
        self.0.telemetry.reload(telemetry_settings(&config));
        self.0.scraper.reload(config.scrape);
    }

    /// Returns the state of all ways in.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::new(Snapshot {
            jobs: self.0.scraper.snapshot(),
            sources: self.sources().iter().map(|running| running.handle.snapshot()).collect(),
            telemetry: self.0.telemetry.snapshot(),
            refused: self.0.intake.refused(self.0.sinks.clock.now()),
        })
    }

    /// Says what a message of a device would become now; nothing is kept or counted.
    #[must_use]
    pub fn try_message(&self, message: &DeviceMessage) -> telemetry::Trial {
        self.0.telemetry.try_message(message, &self.0.intake, self.0.sinks.clock.now())
    }

    /// Returns the way in for pushed samples.
    #[must_use]
    pub fn remote_write(&self) -> RemoteWrite {
        self.0.remote_write.clone()
    }

    fn sources(&self) -> std::sync::MutexGuard<'_, Vec<RunningSource>> {
        self.0.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts and ends sources until those of the settings run.
    fn run_sources(&self, config: &Config) {
        let mut sources = self.sources();
        let mut running: BTreeMap<usize, RunningSource> = BTreeMap::new();
        let wanted = wanted_sources(config);
        for source in sources.drain(..) {
            match wanted.iter().position(|wanted| *wanted == source.wanted) {
                Some(place) => {
                    running.insert(place, source);
                }
                None => source.handle.remove(),
            }
        }
        for (place, wanted) in wanted.into_iter().enumerate() {
            running.entry(place).or_insert_with(|| {
                let (reader, schedule) = self.make(&wanted);
                RunningSource { wanted, handle: Source::start(reader, schedule, &self.0.sinks) }
            });
        }
        sources.extend(running.into_values());
    }

    fn make(&self, wanted: &Wanted) -> (Reader, Schedule) {
        let schedule = |job: &str, instance: &str, origin: String, interval| Schedule {
            job: job.to_owned(),
            instance: instance.to_owned(),
            origin,
            interval,
        };
        match wanted {
            Wanted::Host(config, instance) => {
                let origin = format!("{} and {}", config.proc_root.display(), config.sys_root.display());
                let schedule = schedule(&config.job, instance, origin, config.interval);
                (Reader::Host(Box::new(HostReader::new(config.as_ref().clone()))), schedule)
            }
            Wanted::Nats(config, server) => {
                let schedule = schedule(&config.job, &server.instance, server.url.clone(), config.interval);
                (Reader::Nats(Box::new(NatsReader::new(config, server))), schedule)
            }
            Wanted::Own(config, part, instance) => {
                let job = match part {
                    Part::Gateway => "gateway",
                    Part::Rest => "andon",
                };
                let reader = OwnReader::new(self.0.registry.clone(), *part);
                (Reader::Own(reader), schedule(job, instance, "this process".to_owned(), config.interval))
            }
            Wanted::Devices(config, job, instance) => {
                let reader = self.0.telemetry.reader(self.0.presence.clone());
                (Reader::Devices(reader), schedule(job, instance, "device messages".to_owned(), config.interval))
            }
        }
    }
}

fn telemetry_settings(config: &Config) -> telemetry::Settings {
    telemetry::Settings { telemetry: config.telemetry.clone(), logs: config.logs.clone() }
}

fn wanted_sources(config: &Config) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    if let Some(host) = &config.host {
        wanted.push(Wanted::Host(Box::new(host.clone()), config.instance.clone()));
    }
    if let Some(nats) = &config.nats {
        // A server more or less must not begin the others anew.
        let common = NatsConfig { servers: Vec::new(), ..nats.clone() };
        wanted.extend(nats.servers.iter().map(|server| Wanted::Nats(common.clone(), server.clone())));
    }
    for part in [Part::Gateway, Part::Rest] {
        wanted.push(Wanted::Own(config.own.clone(), part, config.instance.clone()));
    }
    wanted.push(Wanted::Devices(config.own.clone(), config.telemetry.job.clone(), config.instance.clone()));
    wanted
}
