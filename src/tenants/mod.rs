//! Tenants: several customers on one NATS system, each seen alone.
//!
//! A tenant owns the subjects `tenant.{id}.>` and, for its clients' signs of life, `_HEARTBEAT.tenant.{id}.client.*`.
//! One task listens to those by wildcard on the bus and keeps, for each tenant apart, how much traffic there is, which
//! clients are there and how they are, and what is unusual: a rate ten times the learnt one, errors above a tenth,
//! subjects never seen before, clients that say they sent more than has come. What is unusual goes to the alarms room
//! as alerts. Clients that talk to NATS directly are seen through the server's monitoring port as well.
//!
//! Counts are instruments with the tenant's name (`andon_tenants_*`), so their history is in the store as that of every
//! other metric; after a restart what is normal is learnt from there. The API asks with a tenant's key and gets that
//! tenant's view only. Without tenants in the settings nothing is listened to.

mod account;
mod anomaly;
mod baseline;
mod client;
mod config;
mod connections;
mod heartbeat;
mod instruments;
mod outlook;
mod ring;
mod subject;
mod view;
mod worker;

#[cfg(test)]
mod account_test;

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

pub use self::anomaly::Kind;
pub use self::client::Health;
pub use self::config::{Config, Tenant, Tier};
pub use self::outlook::{Course, Forecast, Trend, Usage, forecast, growth, quiet, trend, usage};
pub use self::view::{ClientView, ConnectionView, TenantView};

use self::worker::{Command, Worker};
use crate::bus::Bus;
use crate::clock::Clock;
use crate::instrument::Registry;
use crate::model::Alert;
use crate::query::promql::Engine;
use crate::task::{OnPanic, Phase, Tasks};

/// Makes a number of a count.
#[expect(clippy::cast_precision_loss, reason = "counts of messages are exact up to 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}

/// Questions that may wait for the task; one more waits to be asked.
const COMMANDS_MAX: usize = 64;

/// What the room is handed at start.
#[derive(Debug)]
pub struct Deps {
    /// Where traffic and heartbeats are heard.
    pub bus: Bus,
    /// Answers what was normal before the start.
    pub engine: Engine,
    /// Where anomalies go; bound 64 batches.
    pub alarms: mpsc::Sender<Vec<Alert>>,
    /// The time.
    pub clock: Clock,
    /// Who spawns.
    pub tasks: Tasks,
    /// Where it is counted.
    pub registry: Registry,
}

/// The room's handle; cheap to clone.
#[derive(Debug, Clone)]
pub struct Tenants {
    config: watch::Sender<Arc<Config>>,
    commands: mpsc::Sender<Command>,
}

impl Tenants {
    /// Starts the task. Must be called on the runtime.
    #[must_use]
    pub fn start(config: Config, deps: Deps) -> Tenants {
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let config = watch::Sender::new(Arc::new(config));
        let (tasks, settings) = (deps.tasks.clone(), config.subscribe());
        let worker = Worker::new(settings, deps);
        tasks.spawn("tenants", OnPanic::StopBox, worker.run(receiver, tasks.token(Phase::Intake)));
        Tenants { config, commands }
    }

    /// Takes new settings; what is known of tenants that stay is kept.
    pub fn reload(&self, config: Config) {
        self.config.send_replace(Arc::new(config));
    }

    /// Returns the tenant that a key belongs to.
    #[must_use]
    pub fn of_key(&self, key: &str) -> Option<Tenant> {
        self.config.borrow().of_key(key).cloned()
    }

    /// Returns the names of all tenants, in the order of the settings.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.config.borrow().tenants.iter().map(|tenant| tenant.id.clone()).collect()
    }

    /// Tells whether the settings name any.
    #[must_use]
    pub fn are_any(&self) -> bool {
        !self.config.borrow().tenants.is_empty()
    }

    /// Returns one tenant as of now; nothing if there is none of this name, or the box is stopping.
    pub async fn view(&self, tenant: &str) -> Option<TenantView> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(Command::View { tenant: tenant.to_owned(), answer }).await.ok()?;
        answered.await.ok().flatten()
    }

    /// Notes that a tenant's key was used.
    pub async fn asked(&self, tenant: &str) {
        let _ = self.commands.send(Command::Asked { tenant: tenant.to_owned() }).await;
    }
}
