//! Forwarding: samples of the store to other programs over remote write, none lost while they are away.
//!
//! The store is the queue. A destination has one task and one cursor, a time up to which central has
//! everything: the task reads the window that follows out of the store, posts it, and moves the cursor after
//! the answer. Nothing is copied to a second queue, so an outage costs no memory and no disk, and may last
//! as long as the store keeps samples.
//!
//! Promise: at least once, in time order per series. A window is sent again only after a crash or a lost
//! answer (same time, same value: harmless). What central refuses for good (400) is split until the refused
//! samples are alone, counted, and left out; whatever else it answers, the window is tried again. Samples that
//! reach the store behind the cursor are sent after the newer ones. Nothing here ever slows down what fills
//! the store.
//!
//! In: the store, the cursors. Out: requests, a [`Snapshot`], `andon_forward_*`.

mod answer;
mod batch;
mod client;
mod config;
mod instruments;
mod late;
mod pace;
mod snapshot;
mod worker;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use config::{Config, Destination};
pub use snapshot::{DestinationSnapshot, Snapshot, Stage};

use self::instruments::Instruments;
use self::worker::Worker;
use crate::clock::Clock;
use crate::instrument::Registry;
use crate::model::Labels;
use crate::storage::state::State;
use crate::storage::tsdb::Db;
use crate::task::{OnPanic, Phase, Tasks};

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
pub struct Forwarder(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    deps: Deps,
    instruments: Instruments,
    running: Mutex<Vec<Running>>,
    /// One place for each name ever used: see [`Worker::place`]. Bounded by the settings' reloads.
    places: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// A destination with its worker.
#[derive(Debug)]
struct Running {
    destination: Arc<Destination>,
    external_labels: Labels,
    end: CancellationToken,
    snapshot: watch::Receiver<DestinationSnapshot>,
}

impl Forwarder {
    /// Starts one worker for each destination.
    #[must_use]
    pub fn start(config: Config, deps: Deps) -> Self {
        let instruments = Instruments::new(&deps.registry);
        let forwarder =
            Forwarder(Arc::new(Shared { deps, instruments, running: Mutex::default(), places: Mutex::default() }));
        forwarder.reload(config);
        forwarder
    }

    /// Returns how all destinations are doing.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        let destinations = lock(&self.0.running).iter().map(|r| r.snapshot.borrow().clone()).collect();
        Arc::new(Snapshot { destinations })
    }

    /// Replaces the destinations. Those that did not change go on undisturbed; one that changed and keeps
    /// its name goes on where it was.
    pub fn reload(&self, config: Config) {
        let mut running = lock(&self.0.running);
        let mut before = std::mem::take(&mut *running);
        for destination in config.destinations {
            let same = |r: &Running| *r.destination == destination && r.external_labels == config.external_labels;
            match before.iter().position(same) {
                Some(at) => running.push(before.swap_remove(at)),
                None => running.push(self.spawn(destination, config.external_labels.clone())),
            }
        }
        for gone in before {
            gone.end.cancel();
        }
    }

    fn spawn(&self, destination: Destination, external_labels: Labels) -> Running {
        let Shared { deps, instruments, places, .. } = &*self.0;
        let (name, destination) = (destination.name.clone(), Arc::new(destination));
        let (sender, snapshot) = watch::channel(DestinationSnapshot {
            name: name.clone(),
            url: without_secrets(&destination.url),
            ..DestinationSnapshot::default()
        });
        let end = deps.tasks.token(Phase::Intake).child_token();
        let worker = Worker {
            destination: destination.clone(),
            external_labels: external_labels.clone(),
            deps: deps.clone(),
            instruments: instruments.of(&name),
            snapshot: sender,
            end: end.clone(),
            cut: deps.tasks.token(Phase::Work),
            place: lock(places).entry(name.clone()).or_default().clone(),
        };
        deps.tasks.spawn(format!("forward {name}"), OnPanic::EndTask, worker.run());
        Running { destination, external_labels, end, snapshot }
    }
}

/// Returns a URL as it may be shown: without user, password and query.
#[must_use]
pub fn without_secrets(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}{path}")
        }
        None => url.to_owned(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_url_has_no_secrets() {
        for (url, shown) in [
            ("http://c:9090/api/v1/write", "http://c:9090/api/v1/write"),
            ("https://user:pa@ss@c/w?token=x#y", "https://c/w"),
            ("http://u:p@c", "http://c"),
            ("c/w", "c/w"),
        ] {
            assert_eq!(without_secrets(url), shown);
        }
    }
}
