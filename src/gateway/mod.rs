//! The devices' door: WebSocket in, bus and collectors out.

mod config;
mod snapshot;

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

pub use config::{Config, DEFAULT_PUBLISH, DEFAULT_SUBSCRIBE, PayloadShape};
pub use snapshot::{ConnectionView, DeviceView, Snapshot};

use crate::bus::Bus;
use crate::clock::Clock;
use crate::instrument::Registry;
use crate::model::{DeviceMessage, DevicePresence};
use crate::storage::state::State;
use crate::task::Tasks;

/// What the gateway needs from the house.
#[derive(Debug, Clone)]
pub struct Deps {
    /// Where registered devices are kept.
    pub state: State,
    /// Where publishes go and subscriptions come from.
    pub bus: Bus,
    /// The time.
    pub clock: Clock,
    /// Who spawns.
    pub tasks: Tasks,
    /// Where its metrics are kept.
    pub registry: Registry,
    /// The collectors' end: what devices publish. Full: the message is not recorded, which is counted.
    pub messages: mpsc::Sender<DeviceMessage>,
}

/// The gateway's handle; cheap to clone.
#[derive(Debug, Clone)]
pub struct Gateway {
    snapshot: watch::Receiver<Arc<Snapshot>>,
    presence: watch::Receiver<Arc<Vec<DevicePresence>>>,
}

impl Gateway {
    /// Starts the gateway.
    #[must_use]
    pub fn start(config: Config, deps: Deps) -> Gateway {
        let _ = (config, deps);
        Gateway { snapshot: watch::channel(Arc::default()).1, presence: watch::channel(Arc::default()).1 }
    }

    /// Returns what the pages see, at most a second old.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.borrow().clone()
    }

    /// Returns who is connected: all registered devices by id; changes at most a few times a second.
    #[must_use]
    pub fn presence(&self) -> watch::Receiver<Arc<Vec<DevicePresence>>> {
        self.presence.clone()
    }

    /// Takes new settings; open connections keep the old ones.
    pub fn reload(&self, config: Config) {
        let _ = config;
    }
}
