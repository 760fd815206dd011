//! Alarms: what is kept of alerts for people.
//!
//! An alert becomes an alarm when it fires: active until its cause goes, cleared afterwards; somebody may
//! acknowledge it, and that falls away when it is raised again.
//!
//! ```text
//!   alert fires            cause goes, or not heard of any more
//! ------------> active ----------------------------------------> cleared --15 min--> only in the history
//!                 ^  \__ acknowledged by NAME                       |
//!                 \______________ alert fires again ________________/
//! ```
//!
//! Every transition goes to the journal first and is replayed at start, so a restart neither clears nor
//! raises anything. This room does not tell anybody: `notify` watches the board.

mod config;
mod error;
mod snapshot;

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::clock::Clock;
use crate::instrument::Registry;
use crate::model::{Alarm, Alert};
use crate::storage::disk::Disk;
use crate::task::Tasks;

pub use config::Config;
pub use error::{Error, Result};
pub use snapshot::{Event, HistoryQuery, Snapshot, Transition};

/// What the room is handed at start.
#[derive(Debug)]
pub struct Deps {
    /// Where the journal lies.
    pub disk: Arc<dyn Disk>,
    /// The time.
    pub clock: Clock,
    /// Who spawns.
    pub tasks: Tasks,
    /// Where the room counts.
    pub registry: Registry,
    /// Alerts of the rules room; bound 64.
    pub alerts: mpsc::Receiver<Vec<Alert>>,
}

/// The room's handle; cheap to clone.
#[derive(Debug, Clone)]
pub struct Alarms {
    snapshot: watch::Receiver<Arc<Snapshot>>,
    board: watch::Receiver<Arc<Vec<Alarm>>>,
}

impl Alarms {
    /// Replays the journal and starts the board's task. Right afterwards [`Alarms::snapshot`] shows what was
    /// active when the process ended before.
    #[must_use]
    pub fn start(config: Config, deps: Deps) -> Alarms {
        let _ = (config, deps);
        Alarms { snapshot: watch::channel(Arc::default()).1, board: watch::channel(Arc::default()).1 }
    }

    /// Returns the board as of now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.borrow().clone()
    }

    /// Returns the snapshots to wait on, for pages that follow the board.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshot.clone()
    }

    /// Returns the current board for notify: active alarms, and cleared ones for 15 minutes.
    #[must_use]
    pub fn board(&self) -> watch::Receiver<Arc<Vec<Alarm>>> {
        self.board.clone()
    }

    /// Returns transitions, newest first.
    #[must_use]
    pub fn history(&self, query: &HistoryQuery) -> Vec<Transition> {
        let _ = query;
        Vec::new()
    }

    /// Notes that somebody takes care of an alarm; the answer comes after the journal has it.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Text`], [`Error::Stopped`].
    pub async fn acknowledge(&self, fingerprint: u64, by: &str, note: &str) -> Result<Alarm> {
        let _ = (by, note);
        Err(Error::NotFound(fingerprint))
    }

    /// Takes new settings.
    pub fn reload(&self, config: Config) {
        let _ = config;
    }
}
