//! The devices' door: WebSocket in, bus and collectors out.
//!
//! `http` upgrades a request and hands the socket to [`Gateway::serve`]. Each socket has a task
//! (`connection.rs`) that steps a pure state machine (`session.rs`) and carries out its effects; one more
//! task owns the registry of devices and knows who is connected (`devices.rs`). What a device publishes goes
//! to the collectors first, over a bounded channel, and then to the bus. Device, type and time are set
//! here; what a device says of them is ignored. The last minutes of each device's frames are in `blackbox`.
//!
//! The wire is that of nats-websocket-bridge, see `docs/device-protocol.md`. A device shows a registered token
//! (`enrol.rs` writes devices down), a JSON web token (`jwt`; `keys.rs` keeps the keys up to date) or a certificate
//! (`certificate.rs`).

mod admission;
mod alarmed;
mod answers;
mod blackbox;
mod certificate;
mod config;
mod connection;
mod devices;
mod end;
mod enrol;
mod error;
#[cfg(any(test, fuzzing))]
mod fuzzing;
mod identity;
mod instruments;
pub mod jwt;
mod keys;
mod limits;
mod orders;
mod outbox;
mod permissions;
mod protocol;
mod receipts;
mod registry;
mod replay;
mod session;
#[cfg(test)]
mod session_test;
mod snapshot;
mod throttle;
mod token;
mod traffic;
mod underway;
mod validate;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::debug;

pub use admission::TurnedAway;
pub use blackbox::{BlackBoxConfig, Direction, FrameView, Frozen, FrozenHead, Seen};
pub use certificate::{ClientCertificate, Judgement, Judgements, certificate_mark};
pub use config::{Config, DEFAULT_PUBLISH, DEFAULT_SUBSCRIBE, PayloadShape, SecondSession};
pub use enrol::{AddedDevice, DEFAULT_OVERLAP, Edit, NewDevice, edit, register};
pub use error::{Error, Result};
pub use permissions::{Role, Roles};
pub use snapshot::{ConnectionView, DeviceProfile, DeviceView, Snapshot};

use crate::bus::Bus;
use crate::clock::{Clock, Stamp};
use crate::instrument::Registry as InstrumentRegistry;
use crate::model::{Alarm, DeviceMessage, DevicePresence};
use crate::storage::last::LastKnown;
use crate::storage::state::State;
use crate::task::{OnPanic, Tasks};
use admission::{Bounds, Place, Porter};
use blackbox::BlackBox;
use connection::Connection;
use devices::{Command, Devices, Outlets};
use identity::Shown;
use instruments::Instruments;
use protocol::Claim;
use receipts::Repeats;
use registry::Registry;
use session::Now;
use throttle::Meter;

/// How long a socket may wait for its turn while too many of its address have not authenticated, or failed to.
const TURN_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a waiting socket asks whether it is its turn.
const TURN_PAUSE: Duration = Duration::from_millis(50);

/// What the gateway needs from the house.
#[derive(Debug, Clone)]
pub struct Deps {
    /// Where registered devices are kept.
    pub state: State,
    /// Where their last messages are kept, and when each was last seen.
    pub last: LastKnown,
    /// Where publishes go and subscriptions come from.
    pub bus: Bus,
    /// The time.
    pub clock: Clock,
    /// Who spawns.
    pub tasks: Tasks,
    /// Where its metrics are kept.
    pub registry: InstrumentRegistry,
    /// The collectors' end: what devices publish. Full: the message is not recorded, which is counted.
    pub messages: mpsc::Sender<DeviceMessage>,
}

/// The gateway's handle; cheap to clone.
#[derive(Debug, Clone)]
pub struct Gateway {
    shared: Arc<Shared>,
    new_config: Arc<watch::Sender<Arc<Config>>>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    presence: watch::Receiver<Arc<Vec<DevicePresence>>>,
}

/// What every connection uses.
#[derive(Debug)]
struct Shared {
    config: watch::Receiver<Arc<Config>>,
    commands: mpsc::Sender<Command>,
    messages: mpsc::Sender<DeviceMessage>,
    last: LastKnown,
    bus: Bus,
    clock: Clock,
    tasks: Tasks,
    instruments: Arc<Instruments>,
    porter: Porter,
    /// What all devices together may send.
    total: Arc<Meter>,
    repeats: Repeats,
    state: State,
    black_box: BlackBox,
}

impl Shared {
    fn now(&self) -> Now {
        let Stamp { at: wall, moved_ms } = self.clock.stamp();
        Now { elapsed: self.clock.elapsed(), wall, moved_ms }
    }
}

/// A place for one socket and what its upgrade request showed; hand it to [`Gateway::serve`].
#[derive(Debug)]
pub struct Admission {
    place: Place,
    shown: Option<Shown>,
}

/// Why an upgrade is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Too much going on; try again later.
    #[error(transparent)]
    TurnedAway(#[from] TurnedAway),
    /// The token in the request's header is wrong, or the certificate is a device's that is kept out.
    #[error("Authentication failed: {0}")]
    Token(&'static str),
}

impl Gateway {
    /// Starts the gateway.
    #[must_use]
    pub fn start(config: Config, deps: Deps) -> Gateway {
        let (new_config, config) = watch::channel(Arc::new(config));
        let (snapshot, seen_snapshot) = watch::channel(Arc::default());
        let (presence, seen_presence) = watch::channel(Arc::default());
        // Full: the connection that asks waits.
        let (commands, receiver) = mpsc::channel(256);
        let instruments = Arc::new(Instruments::new(&deps.registry));
        let porter = Porter::default();
        let black_box = BlackBox::new(config.borrow().black_box);
        let devices = Devices {
            state: deps.state.clone(),
            black_box: black_box.clone(),
            last: deps.last.clone(),
            clock: deps.clock.clone(),
            tasks: deps.tasks.clone(),
            instruments: instruments.clone(),
            porter: porter.clone(),
            config: config.clone(),
            outlets: Outlets { snapshot, presence },
            registry: Registry::default(),
            lapsed: Vec::new(),
            quiet_until: Duration::ZERO,
        };
        deps.tasks.spawn("gateway devices", OnPanic::StopBox, devices.run(receiver));
        let new_config = Arc::new(new_config);
        let keeping = keys::keep(new_config.clone(), instruments.clone(), deps.tasks.clone());
        deps.tasks.spawn("gateway keys", OnPanic::EndTask, keeping);
        let total = Arc::new(Meter::new(config.borrow().total_rate(), deps.clock.elapsed()));
        let shared = Arc::new(Shared {
            config,
            commands,
            messages: deps.messages,
            last: deps.last,
            bus: deps.bus,
            clock: deps.clock,
            tasks: deps.tasks,
            instruments,
            porter,
            total,
            repeats: Repeats::default(),
            state: deps.state,
            black_box,
        });
        Gateway { shared, new_config, snapshot: seen_snapshot, presence: seen_presence }
    }

    /// Decides whether a socket may come in; waits a little for its turn if its address is crowded or has
    /// failures against it.
    ///
    /// `authorization` is the value of the request's header, if it has one; `certificate` what the TLS handshake
    /// showed. A certificate that is no device's counts as none.
    ///
    /// # Errors
    /// [`Refused`]: answer the request with it and do not upgrade.
    pub async fn admit(
        &self,
        address: IpAddr,
        authorization: Option<&str>,
        certificate: Option<Arc<ClientCertificate>>,
    ) -> std::result::Result<Admission, Refused> {
        let shared = &self.shared;
        let turn = async {
            let mut line = None;
            loop {
                let config = shared.config.borrow().clone();
                let bounds = Bounds {
                    connections_max: config.connections_max,
                    per_address_max: config.connections_per_address_max,
                    waiting_max: config.unauthenticated_max,
                    waiting_per_address_max: config.unauthenticated_per_address_max,
                    failures_max: config.auth_failures_max,
                };
                match shared.porter.admit(address, bounds, shared.clock.elapsed()) {
                    Err(TurnedAway::Crowd) => {}
                    Err(TurnedAway::Failures) if line.is_some() => {}
                    Err(TurnedAway::Failures) => match shared.porter.stand_in_line(address) {
                        Some(place) => line = Some(place),
                        None => return Err(TurnedAway::Failures),
                    },
                    other => return other,
                }
                tokio::time::sleep(TURN_PAUSE).await;
            }
        };
        let turn = tokio::time::timeout(TURN_TIMEOUT, turn).await.unwrap_or(Err(TurnedAway::Crowd));
        let place = turn.inspect_err(|reason| shared.instruments.turned_away.with(&[reason.as_str()]).inc())?;
        let claim = authorization.map(|value| {
            let token = value.strip_prefix("Bearer ").unwrap_or(value).trim().to_owned();
            Claim { device_id: None, token }
        });
        if claim.is_none() && certificate.is_none() {
            return Ok(Admission { place, shown: None });
        }
        let shown = Shown { claim, certificate };
        let (answer, checked) = oneshot::channel();
        let _ = shared.commands.send(Command::Check { shown: shown.clone(), answer }).await;
        match checked.await.unwrap_or(Err("the gateway is stopping")) {
            Ok(whose) => Ok(Admission { place, shown: whose.map(|_| shown) }),
            Err(reason) => {
                place.failed(shared.clock.elapsed());
                shared.instruments.auth_attempts.with(&["failure"]).inc();
                Err(Refused::Token(reason))
            }
        }
    }

    /// Serves a socket in a task of its own, once the upgrade has happened; in TLS it ends when its handshake is judged
    /// to be none any more.
    pub fn serve<S, E>(
        &self,
        admission: Admission,
        judgements: Option<Judgements>,
        upgrade: impl Future<Output = std::result::Result<S, E>> + Send + 'static,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        E: std::fmt::Display + Send,
    {
        let shared = self.shared.clone();
        let name = format!("gateway connection {}", admission.place.address());
        self.shared.tasks.spawn(name, OnPanic::EndTask, async move {
            match upgrade.await {
                // Used in place: a future that takes another by value keeps room for it twice.
                Ok(socket) => {
                    Connection::new(socket, shared, admission.place, judgements).await.run(admission.shown).await;
                }
                Err(error) => debug!(%error, "a WebSocket upgrade did not happen"),
            }
        });
    }

    /// Adds a device. Its token is in the answer and nowhere else.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Exists`], [`Error::State`], [`Error::Stopping`].
    pub async fn add_device(&self, device: NewDevice) -> Result<AddedDevice> {
        let (answer, added) = oneshot::channel();
        self.shared.commands.send(Command::Add { device, answer }).await.map_err(|_| Error::Stopping)?;
        added.await.map_err(|_| Error::Stopping)?
    }

    /// Changes a device, gives it another token, keeps it out or forgets it; an open connection of it hears of it
    /// at once. Returns the new token of a rotation, which is nowhere else.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Invalid`], [`Error::State`], [`Error::Stopping`].
    pub async fn edit_device(&self, id: &str, edit: Edit) -> Result<Option<String>> {
        let (answer, edited) = oneshot::channel();
        let command = Command::Edit { id: id.to_owned(), edit, answer };
        self.shared.commands.send(command).await.map_err(|_| Error::Stopping)?;
        edited.await.map_err(|_| Error::Stopping)?
    }

    /// Removes a device; its connection is ended at once.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::State`], [`Error::Stopping`].
    pub async fn remove_device(&self, id: &str) -> Result<()> {
        self.edit_device(id, Edit::Remove).await.map(|_| ())
    }

    /// Freezes what the black box has of a device when an alarm of it (label `device_id` or `device`) is raised on the
    /// board.
    pub fn follow_alarms(&self, board: watch::Receiver<Arc<Vec<Alarm>>>) {
        let following = alarmed::follow(self.shared.clone(), board);
        self.shared.tasks.spawn("gateway black box", OnPanic::EndTask, following);
    }

    /// Returns the last frames of a device, the oldest first; empty if there are none.
    pub async fn frames(&self, device_id: &str) -> Vec<FrameView> {
        let (black_box, id) = (self.shared.black_box.clone(), device_id.to_owned());
        self.shared.tasks.pool().run(move || black_box.frames(&id)).await.unwrap_or_default()
    }

    /// Returns one frozen copy of frames; nothing if it is not there, or not any more.
    ///
    /// # Errors
    /// [`Error::State`], [`Error::Frozen`], [`Error::Stopping`].
    pub async fn frozen(&self, id: i64) -> Result<Option<Frozen>> {
        let state = self.shared.state.clone();
        self.shared.tasks.pool().run(move || blackbox::read(&state, id)).await.map_err(|_| Error::Stopping)?
    }

    /// Returns the frozen copies of a device, the newest first.
    ///
    /// # Errors
    /// [`Error::State`], [`Error::Stopping`].
    pub async fn frozen_of_device(&self, device_id: &str) -> Result<Vec<FrozenHead>> {
        let (state, id) = (self.shared.state.clone(), device_id.to_owned());
        let read = self.shared.tasks.pool().run(move || state.frozen().of_device(&id)).await;
        Ok(read.map_err(|_| Error::Stopping)??.into_iter().map(FrozenHead::from).collect())
    }

    /// Returns the frozen copies of an alarm, named by 16 hexadecimal digits, the newest first.
    ///
    /// # Errors
    /// [`Error::State`], [`Error::Stopping`].
    pub async fn frozen_of_alarm(&self, alarm: &str) -> Result<Vec<FrozenHead>> {
        let (state, alarm) = (self.shared.state.clone(), alarm.to_owned());
        let read = self.shared.tasks.pool().run(move || state.frozen().of_alarm(&alarm)).await;
        Ok(read.map_err(|_| Error::Stopping)??.into_iter().map(FrozenHead::from).collect())
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

    /// Takes new settings; open connections keep the old ones but for roles, rates and keys.
    pub fn reload(&self, config: Config) {
        self.shared.total.set(config.total_rate(), self.shared.clock.elapsed());
        self.new_config.send_replace(Arc::new(config));
    }
}

#[cfg(fuzzing)]
pub(crate) use fuzzing::{fuzz, fuzz_jwt};
