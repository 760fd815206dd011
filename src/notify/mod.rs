//! Notifications: who is told of which alarms, when, and that it arrives.
//!
//! ```text
//! board of alarms -> inhibition, -> routing tree -> aggregation groups -> decide -> outbox -> receiver
//!                    silences                       wait, interval         ^          |
//!                                                                          '-- log of what was told
//! ```
//!
//! The outbox and the log of what was told are on disk: a restart neither loses a notice nor repeats one.
//! This room does not decide what is wrong (`rules`) and keeps no alarms (`alarms`).

mod config;
mod decide;
mod dispatch;
mod group;
mod inhibit;
mod instruments;
mod interval;
mod message;
#[cfg(test)]
mod notify_test;
mod outbox;
mod receiver;
mod report;
mod retry;
mod route;
#[cfg(test)]
mod route_test;
mod show;
mod snapshot;

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::clock::Clock;
use crate::instrument::Registry;
use crate::model::{Alarm, Silence};
use crate::storage::disk::Disk;
use crate::storage::state::State;
use crate::task::{OnPanic, Tasks};

use self::dispatch::Dispatcher;
use self::instruments::Instruments;
use self::outbox::Outbox;

pub use config::{Config, GroupBy, InhibitRule, NamedInterval, Receiver, Route};
pub use interval::TimeInterval;
pub use message::default_templates;
pub use receiver::{
    Card, Discord, Kind, MsTeams, OpsGenie, PagerDuty, PagerDutyKey, Pushover, Responder, Slack, SlackAction,
    SlackField, Telegram, Way, Webhook, generator_url,
};
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
    /// The silences (`alarms::Alarms::watch_silences`).
    pub silences: watch::Receiver<Arc<Vec<Silence>>>,
}

/// Reloads that wait for the dispatcher, at most.
const COMMANDS_MAX: usize = 4;

/// The room's handle; cheap to clone.
#[derive(Debug, Clone)]
pub struct Notifier {
    snapshot: watch::Receiver<Arc<Snapshot>>,
    commands: mpsc::Sender<Config>,
}

impl Notifier {
    /// Reads the outbox and the log of what was told, and starts the dispatcher.
    ///
    /// Must be called on the runtime. An outbox that cannot be opened is reported; notices are kept in memory
    /// then.
    #[must_use]
    pub fn start(config: Config, deps: Deps) -> Notifier {
        let (snapshots, snapshot) = watch::channel(Arc::default());
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let instruments = Instruments::new(&deps.registry);
        let outbox = match Outbox::open(deps.disk, &config.folder.join("outbox")) {
            Ok(opened) => Some(opened),
            Err(error) => {
                instruments.outbox_failures.inc();
                tracing::error!(%error, "cannot open the outbox; a restart will forget notices");
                None
            }
        };
        let tools = (deps.clock, deps.tasks.pool().clone(), deps.state);
        let dispatcher = Dispatcher::new(config, tools, instruments, snapshots, outbox, deps.silences);
        let tasks = deps.tasks.clone();
        deps.tasks.spawn("notify dispatch", OnPanic::StopBox, dispatcher.run(tasks, deps.board, receiver));
        Notifier { snapshot, commands }
    }

    /// Returns groups, receivers and outbox as of now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.borrow().clone()
    }

    /// Takes new settings. Groups are formed anew; the log of what was told keeps them from telling it again.
    pub fn reload(&self, config: Config) {
        if self.commands.try_send(config).is_err() {
            tracing::warn!("the notify room is too busy to take new settings");
        }
    }
}

/// Door for fuzzers: the first byte is the record's kind, the rest its payload.
#[cfg(fuzzing)]
pub(crate) fn fuzz(data: &[u8]) {
    let Some((kind, payload)) = data.split_first() else { return };
    let disk = crate::fuzzing::as_record(*kind, payload);
    assert!(outbox::Outbox::open(disk, std::path::Path::new("/log")).is_ok(), "bug: a start always succeeds");
}
