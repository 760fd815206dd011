//! Notifications: who is told of which alarms, when, and that it arrives.
//!
//! ```text
//! board of alarms -> inhibition, -> routing tree -> aggregation groups -> decide -> outbox -> receiver
//!                    silences                       wait, interval         ^          |
//!                                                                          '-- log of what was told
//! ```
//!
//! The outbox and the log of what was told are on disk: a restart neither loses a notice nor repeats one. A receiver
//! that was away gets one digest of what came and went, then what still fires.
//! This room does not decide what is wrong (`rules`) and keeps no alarms (`alarms`).

mod ack;
mod config;
mod decide;
mod digest;
mod dispatch;
mod group;
mod heart;
mod inhibit;
mod instruments;
mod interval;
mod message;
mod notice;
#[cfg(test)]
mod notify_test;
mod outbox;
mod outgoing;
mod picture;
mod queue;
#[cfg(test)]
mod queue_test;
mod receiver;
mod relay;
mod report;
mod retry;
mod route;
#[cfg(test)]
mod route_test;
mod show;
mod snapshot;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::bus::Bus;
use crate::clock::Clock;
use crate::instrument::Registry;
use crate::model::{Alarm, Labels, Silence, Timestamp};
use crate::storage::disk::Disk;
use crate::storage::state::State;
use crate::task::{OnPanic, Tasks};

use self::ack::{AckKey, Target, group_hash, receiver_hash};
use self::dispatch::Dispatcher;
use self::instruments::Instruments;
use self::message::Surroundings;
use self::notice::WayKey;
use self::outbox::Outbox;
use self::receiver::{Sender, Tools};
use self::relay::Relay;
use self::route::{Tree, group_labels};

pub use ack::{AckClaim, AckMeant, AckRefusal};
pub use config::{Config, FALLBACK_AFTER, Fallback, GroupBy, Heartbeat, InhibitRule, NamedInterval, Receiver, Route};
pub use interval::{OnHolidays, TimeInterval};
pub use message::default_templates;
pub use picture::{Drawer, LegendLine, Picture};
pub use receiver::{
    Card, Command as RunCommand, Discord, Email, Kind, Modbus, MsTeams, Nats, OpsGenie, Output, PagerDuty,
    PagerDutyKey, Place, Pushover, Responder, Slack, SlackAction, SlackField, Sms, SmtpSecurity, Telegram, Way,
    Webhook, generator_url,
};
pub use relay::{Alertmanagers, ReadTargets, RelayConfig, RelaySnapshot};
pub use snapshot::{GroupSnapshot, HeartbeatSnapshot, NoticeSnapshot, Outcome, ReceiverSnapshot, Snapshot};

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
    /// Where it is told which alarms others mute: fingerprints of both.
    pub inhibited: watch::Sender<Option<Arc<BTreeMap<u64, u64>>>>,
    /// Where notices for NATS go.
    pub bus: Bus,
    /// Draws charts for mails.
    pub draw: Drawer,
    /// Reads files of Alertmanagers elsewhere.
    pub read_targets: ReadTargets,
}

/// Commands that wait for the dispatcher, at most.
const COMMANDS_MAX: usize = 4;

/// The room's handle; cheap to clone.
#[derive(Debug, Clone)]
pub struct Notifier {
    snapshot: watch::Receiver<Arc<Snapshot>>,
    desk: watch::Receiver<Arc<Desk>>,
    commands: mpsc::Sender<Command>,
    relay: watch::Receiver<RelaySnapshot>,
    relay_config: watch::Sender<(RelayConfig, String)>,
    tools: Tools,
    /// `None` if it could not be kept: then there are no links.
    ack_key: Option<Arc<AckKey>>,
    clock: Clock,
}

/// The settings in force and the ways ready to send.
#[derive(Debug)]
struct Desk {
    senders: BTreeMap<WayKey, Arc<Sender>>,
    config: Config,
}

/// What the handle asks of the dispatcher.
#[derive(Debug)]
enum Command {
    Reload(Box<Config>),
    Surroundings(WayKey, oneshot::Sender<Surroundings>),
}

/// What came of a test of one way of a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tested {
    /// Which way: `webhook[0]`.
    pub integration: String,
    /// How long the round trip took.
    pub took: Duration,
    /// Why it was not taken; `None` if it was.
    pub failure: Option<String>,
}

/// A route that alarms with given labels take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenRoute {
    /// Its place in the tree: the matchers of all nodes down to it.
    pub path: String,
    /// Who is told.
    pub receiver: String,
    /// With which others it is told together: the labels that they share.
    pub group_labels: Labels,
    /// How long a new group waits, a group with changes, and one without.
    pub waits: [Duration; 3],
    /// Names of intervals in which the route is silent, and outside which it is.
    pub intervals: (Vec<String>, Vec<String>),
}

/// Returns the routes that alarms with these labels take, in order; empty if nobody is told.
#[must_use]
pub fn routes(config: &Config, labels: &Labels) -> Vec<TakenRoute> {
    let Some(root) = &config.route else { return Vec::new() };
    let tree = Tree::new(root.clone());
    let taken = tree.routes(labels).into_iter().map(|taken| TakenRoute {
        path: taken.path.to_owned(),
        receiver: taken.route.receiver.clone(),
        group_labels: group_labels(taken.route, labels),
        waits: [taken.route.group_wait, taken.route.group_interval, taken.route.repeat_interval],
        intervals: (taken.route.mute_time_intervals.clone(), taken.route.active_time_intervals.clone()),
    });
    taken.collect()
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
        let tools = Tools { bus: deps.bus, tasks: deps.tasks.clone(), draw: deps.draw };
        let (desks, desk) = watch::channel(Arc::new(Desk { senders: BTreeMap::new(), config: config.clone() }));
        let relay_config = watch::Sender::new((config.relay.clone(), config.external_url.clone()));
        let (relays, relay) = watch::channel(RelaySnapshot::default());
        let forwarder = Relay::new(
            relay_config.subscribe(),
            deps.board.clone(),
            relays,
            deps.read_targets,
            deps.clock.clone(),
            &deps.registry,
        );
        let ack_key = match AckKey::open(&deps.state) {
            Ok(key) => Some(Arc::new(key)),
            Err(error) => {
                tracing::error!(%error, "cannot keep a key; notices have no links to acknowledge by");
                None
            }
        };
        let house = (deps.clock.clone(), tools.clone(), deps.state, ack_key.clone());
        let told = (snapshots, desks, deps.inhibited);
        let dispatcher = Dispatcher::new(config, house, instruments, told, outbox, deps.silences);
        let tasks = deps.tasks.clone();
        deps.tasks.spawn("notify dispatch", OnPanic::StopBox, dispatcher.run(tasks, deps.board, receiver));
        deps.tasks.spawn("notify relay", OnPanic::StopBox, forwarder.run(deps.tasks.clone()));
        Notifier { snapshot, desk, commands, relay, relay_config, tools, ack_key, clock: deps.clock }
    }

    /// Sends a test to each way of a receiver, past groups and outbox, and waits for what comes of it. `None` if there
    /// is no such receiver. Of a lamp, the outputs are written as they are to be anyway.
    pub async fn test(&self, receiver: &str) -> Option<Vec<Tested>> {
        let desk = self.desk.borrow().clone();
        if !desk.config.receivers.iter().any(|r| r.name == receiver) {
            return None;
        }
        let mut tested = Vec::new();
        for (way, sender) in desk.senders.iter().filter(|((name, _), _)| name == receiver) {
            let now = self.clock.now();
            let summary = "sends a test; nothing is wrong";
            let mut notice = heart::notice("Test", summary, &desk.config.box_name, way.clone(), now);
            if sender.settings().kind.is_lamp() {
                notice.alarms.iter_mut().for_each(|a| a.ends_at = Some(now));
            }
            let (answer, answered) = oneshot::channel();
            self.commands.send(Command::Surroundings(way.clone(), answer)).await.ok()?;
            // A test is about nothing that could be acknowledged.
            let around = Surroundings { links: None, ..answered.await.ok()? };
            let begun = self.clock.elapsed();
            let outcome = sender.send(&notice, &around, &self.tools, &desk.config.external_url, now).await;
            tested.push(Tested {
                integration: way.1.clone(),
                took: self.clock.elapsed().saturating_sub(begun),
                failure: outcome.err().map(|f| f.reason),
            });
        }
        Some(tested)
    }

    /// Returns the routes that alarms with these labels take by the settings in force, in order.
    #[must_use]
    pub fn routes(&self, labels: &Labels) -> Vec<TakenRoute> {
        routes(&self.desk.borrow().config, labels)
    }

    /// Returns what the link of a notice allows; `code` is what stands behind `/a/`.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn read_ack(&self, code: &str, now: Timestamp) -> Result<AckClaim, AckRefusal> {
        let link = self.ack_key.as_ref().ok_or(AckRefusal::NoKey)?.read(code, now)?;
        let desk = self.desk.borrow();
        let receivers = desk.config.receivers.iter().filter(|_| desk.config.ack_links_for.is_some());
        let receiver = receivers.map(|r| &r.name).find(|name| receiver_hash(name) == link.receiver);
        let receiver = receiver.ok_or(AckRefusal::CalledBack)?.clone();
        let meant = match link.target {
            Target::Alarm(fingerprint, raised_at) => AckMeant::One(fingerprint, raised_at),
            Target::Group(hash, raised_until) => {
                let snapshot = self.snapshot();
                let groups = snapshot.groups.iter().filter(|g| group_hash(&g.key) == hash);
                AckMeant::Group(groups.flat_map(|g| g.alarms.iter().copied()).collect(), raised_until)
            }
        };
        Ok(AckClaim { meant, receiver, until: link.until })
    }

    /// Returns groups, receivers and outbox as of now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.borrow().clone()
    }

    /// Returns the Alertmanagers that alarms are handed on to.
    #[must_use]
    pub fn alertmanagers(&self) -> RelaySnapshot {
        self.relay.borrow().clone()
    }

    /// Takes new settings. Groups are formed anew; the log of what was told keeps them from telling it again.
    pub fn reload(&self, config: Config) {
        self.relay_config.send_replace((config.relay.clone(), config.external_url.clone()));
        if self.commands.try_send(Command::Reload(Box::new(config))).is_err() {
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
