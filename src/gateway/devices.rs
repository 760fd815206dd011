//! The task that owns the registry: lets devices in, replaces and ends connections, tells who is there.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};

use super::admission::Porter;
use super::error::{Error, Result};
use super::instruments::Instruments;
use super::protocol::Claim;
use super::registry::{self, AddedDevice, Entry, NewDevice, Open, Registry};
use super::session::{End, Identity};
use super::traffic::Traffic;
use super::{Config, Snapshot};
use crate::clock::Clock;
use crate::model::{DevicePresence, Timestamp};
use crate::storage::last::LastKnown;
use crate::storage::state::State;
use crate::task::{Phase, Tasks};

/// How often changes are told, at most.
const TICK: Duration = Duration::from_millis(250);
/// Every so many ticks the traffic of open connections is told too.
const TICKS_PER_TRAFFIC: u32 = 4;
/// How long the task waits before it tries again to read the registry.
const RETRY: Duration = Duration::from_secs(5);

/// How a device showed who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// By an auth frame.
    Frame,
    /// By the `Authorization` header of the upgrade.
    Header,
}

/// What others ask of the task. 256 may wait; then callers wait.
#[derive(Debug)]
pub(super) enum Command {
    /// Is this claim right? Nothing changes.
    Check {
        claim: Claim,
        answer: oneshot::Sender<std::result::Result<(), &'static str>>,
    },
    /// Let this connection in.
    Connect {
        claim: Claim,
        way: Way,
        address: IpAddr,
        traffic: Arc<Traffic>,
        end: mpsc::Sender<End>,
        answer: oneshot::Sender<std::result::Result<Entry, &'static str>>,
    },
    /// A connection that was let in is gone.
    Disconnected {
        entry: Entry,
        reason: &'static str,
    },
    Add {
        device: NewDevice,
        answer: oneshot::Sender<Result<AddedDevice>>,
    },
    Remove {
        id: String,
        answer: oneshot::Sender<Result<()>>,
    },
}

/// Where the task tells what it knows.
#[derive(Debug)]
pub(super) struct Outlets {
    pub(super) snapshot: watch::Sender<Arc<Snapshot>>,
    pub(super) presence: watch::Sender<Arc<Vec<DevicePresence>>>,
}

pub(super) struct Devices {
    pub(super) state: State,
    pub(super) last: LastKnown,
    pub(super) clock: Clock,
    pub(super) tasks: Tasks,
    pub(super) instruments: Arc<Instruments>,
    pub(super) porter: Porter,
    pub(super) config: watch::Receiver<Arc<Config>>,
    pub(super) outlets: Outlets,
    pub(super) registry: Registry,
}

impl Devices {
    /// Serves commands until the work phase ends; connections end with the intake before.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let end = self.tasks.token(Phase::Work);
        while !self.load().await {
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                () = end.cancelled() => return,
            }
        }
        self.tell();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut is_changed, mut ticks) = (false, 0_u32);
        loop {
            tokio::select! {
                biased;
                () = end.cancelled() => return,
                command = commands.recv() => match command {
                    Some(command) => is_changed |= self.carry_out(command).await,
                    None => return,
                },
                _ = tick.tick() => {
                    ticks = ticks.wrapping_add(1);
                    let has_traffic = self.registry.connected() > 0 && ticks.is_multiple_of(TICKS_PER_TRAFFIC);
                    if std::mem::take(&mut is_changed) || has_traffic {
                        self.tell();
                    }
                }
            }
        }
    }

    /// Reads the registry from the store; returns whether that worked.
    async fn load(&mut self) -> bool {
        let (state, last) = (self.state.clone(), self.last.clone());
        let read = move || Ok::<_, crate::storage::state::Error>((state.devices().list()?, last.devices()));
        let (devices, seen) = match self.tasks.pool().run(read).await {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => {
                error!(%error, "cannot read the device registry: no device is let in");
                return false;
            }
            Err(error) => {
                error!(%error, "cannot read the device registry: no device is let in");
                return false;
            }
        };
        for device in devices {
            self.insert(device);
        }
        for presence in seen {
            self.registry.note_seen(&presence.device_id, presence.last_seen);
        }
        true
    }

    fn insert(&mut self, device: crate::storage::state::Device) {
        let id = device.id.clone();
        for part in self.registry.insert(device) {
            warn!(device = %id, %part, "left out what cannot be read of a device");
        }
    }

    /// Does what is asked; returns whether the pages should know.
    async fn carry_out(&mut self, command: Command) -> bool {
        // An answer that nobody waits for any more is no loss.
        match command {
            Command::Check { claim, answer } => {
                let _ = answer.send(self.registry.check(&claim).map(|_| ()));
                false
            }
            Command::Connect { claim, way, address, traffic, end, answer } => {
                let checked = self.registry.check(&claim);
                let entry = checked.map(|identity| {
                    self.connect(identity, way, Open { address, traffic, end, connected_at: self.clock.now() })
                });
                let is_let_in = entry.is_ok();
                if let Err(Ok(entry)) = answer.send(entry) {
                    self.disconnect(&entry, "error");
                }
                is_let_in
            }
            Command::Disconnected { entry, reason } => self.disconnect(&entry, reason),
            // Told before it is answered: who adds a device and asks for the list finds it there.
            Command::Add { device, answer } => {
                let added = self.add(device).await;
                self.tell();
                let _ = answer.send(added);
                false
            }
            Command::Remove { id, answer } => {
                let removed = self.remove(id).await;
                self.tell();
                let _ = answer.send(removed);
                false
            }
        }
    }

    fn connect(&mut self, identity: Arc<Identity>, way: Way, open: Open) -> Entry {
        let now = open.connected_at;
        self.last.connected(&identity.device_id, now);
        let (entry, replaced) = self.registry.connect(identity, open);
        let device_type = &*entry.identity.device_type;
        self.instruments.connections.with(&[device_type]).inc();
        self.instruments.active.with(&[device_type]).add(1.0);
        let status = if way == Way::Header { "success_header" } else { "success" };
        self.instruments.auth_attempts.with(&[status]).inc();
        if let Some(older) = replaced {
            self.count_end(device_type, "replaced", older.connected_at, now);
        }
        entry
    }

    fn disconnect(&mut self, entry: &Entry, reason: &'static str) -> bool {
        let now = self.clock.now();
        match self.registry.disconnect(&entry.identity.device_id, entry.number, now) {
            Some(ended) => {
                self.last.disconnected(&entry.identity.device_id, now);
                self.count_end(&entry.identity.device_type, reason, ended.connected_at, now);
                true
            }
            None => false,
        }
    }

    fn count_end(&self, device_type: &str, reason: &str, connected_at: Timestamp, now: Timestamp) {
        self.instruments.active.with(&[device_type]).add(-1.0);
        self.instruments.disconnections.with(&[device_type, reason]).inc();
        self.instruments.connection_duration.with(&[device_type]).observe_duration(now.since(connected_at));
    }

    async fn add(&mut self, device: NewDevice) -> Result<AddedDevice> {
        let (state, config) = (self.state.clone(), self.config.borrow().clone());
        let id = device.id.clone();
        let written = self.tasks.pool().run(move || {
            let added = registry::register(&state, device, &config.default_publish, &config.default_subscribe)?;
            let row = state.devices().get(&added.id)?;
            Ok::<_, Error>((added, row))
        });
        let (added, row) = written.await.map_err(|_| Error::Stopping)??;
        if let Some(row) = row {
            self.insert(row);
        }
        info!(device = %id, "device added");
        Ok(added)
    }

    async fn remove(&mut self, id: String) -> Result<()> {
        let (state, last, key) = (self.state.clone(), self.last.clone(), id.clone());
        let removed = self.tasks.pool().run(move || {
            let was_known = state.devices().remove(&key)?;
            last.forget(&key);
            Ok::<_, crate::storage::state::Error>(was_known)
        });
        let was_known = removed.await.map_err(|_| Error::Stopping)??;
        if let Some((device_type, connected_at)) = self.registry.open_connection(&id) {
            self.count_end(&device_type, "revoked", connected_at, self.clock.now());
        }
        self.registry.remove(&id);
        self.instruments.rate_limit_rejections.remove(&[&id]);
        self.instruments.rate_limit_tokens.remove(&[&id]);
        if !was_known {
            return Err(Error::Unknown(id));
        }
        info!(device = %id, "device removed");
        Ok(())
    }

    /// Tells pages and collectors who is there.
    #[expect(clippy::cast_precision_loss, reason = "a count of devices is far below 2^53")]
    fn tell(&self) {
        self.registry.for_each_open(|id, traffic| {
            self.instruments.rate_limit_tokens.with(&[id]).set(f64::from(traffic.tokens()));
        });
        self.instruments.registered.set(self.registry.len() as f64);
        self.outlets.presence.send_replace(Arc::new(self.registry.presence()));
        self.outlets.snapshot.send_replace(Arc::new(self.registry.snapshot(self.porter.waiting())));
    }
}
