//! Every way in for data that is not a device's connection.
//!
//! - [`scrape`]: metrics fetched from other programs, as Prometheus does it.
//! - host: this machine's readings under node_exporter's names.
//! - nats: NATS servers watched over their monitoring port.
//! - [`telemetry`]: device messages, from the gateway or the bus, into samples by rules.
//! - device_logs: device messages that are log lines, and Andon's own lines, into the log store.
//! - [`RemoteWrite`]: samples that others push.
//! - own: Andon's own instruments.
//!
//! All end in one batch per event for [`tsdb::Db::append`]; what is refused is counted by reason.

mod config;
mod instruments;
mod remote_write;
pub mod scrape;
mod snapshot;
pub mod telemetry;
mod ticker;

use std::sync::Arc;

use tokio::sync::mpsc;

pub use config::{Config, HostConfig, LogsConfig, NatsConfig, NatsServer, OwnConfig, TelemetryConfig};
pub use remote_write::{RemoteWrite, WriteError, WriteOutcome};
pub use snapshot::{DeviceSnapshot, Health, JobSnapshot, Snapshot, SourceSnapshot, TargetSnapshot, TelemetrySnapshot};

use self::instruments::Instruments;
use crate::clock::Clock;
use crate::instrument::Registry;
use crate::model::DeviceMessage;
use crate::storage::logs::LogStore;
use crate::storage::tsdb;
use crate::task::Tasks;

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
}

/// The collectors' handle; cheap to clone.
#[derive(Debug, Clone)]
pub struct Collector {
    scraper: scrape::Scraper,
    remote_write: RemoteWrite,
}

impl Collector {
    /// Starts all collectors.
    #[must_use]
    pub fn start(config: Config, deps: Deps) -> Collector {
        let instruments = Instruments::new(&deps.registry);
        let scraper = scrape::Scraper::start(
            config.scrape,
            deps.db.clone(),
            deps.clock.clone(),
            &deps.tasks,
            instruments.clone(),
        );
        let remote_write = RemoteWrite::new(deps.db, deps.clock, instruments);
        Collector { scraper, remote_write }
    }

    /// Takes new settings: targets and sources that stay the same keep their state.
    pub fn reload(&self, config: Config) {
        self.scraper.reload(config.scrape);
    }

    /// Returns the state of all ways in.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::new(Snapshot { jobs: self.scraper.snapshot(), ..Snapshot::default() })
    }

    /// Returns the way in for pushed samples.
    #[must_use]
    pub fn remote_write(&self) -> RemoteWrite {
        self.remote_write.clone()
    }
}
