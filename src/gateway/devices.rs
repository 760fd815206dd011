//! The task that owns the registry: lets devices in, replaces and ends connections, tells who is there.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};

use super::admission::Porter;
use super::blackbox::BlackBox;
use super::end::End;
use super::enrol::{self, AddedDevice, Edit, NewDevice};
use super::error::{Error, Result};
use super::identity::{Admitted, Shown};
use super::instruments::Instruments;
use super::jwt::Moment;
use super::orders::Orders;
use super::registry::{Ended, Entry, Open, Registry, Rules, WRONG};
use super::traffic::Traffic;
use super::{Config, Snapshot};
use crate::clock::Clock;
use crate::model::DevicePresence;
use crate::storage::last::LastKnown;
use crate::storage::state::State;
use crate::task::{Phase, Tasks};

/// How often changes are told, at most.
const TICK: Duration = Duration::from_millis(250);
/// Telling of an addition at once takes at most this share of the time; else the next tick tells.
const TELLING_SHARE: u32 = 10;
/// Every so many ticks the traffic of open connections is told too.
const TICKS_PER_TRAFFIC: u32 = 4;
/// Every so many ticks the black box is tidied.
const TICKS_PER_TIDY: u32 = 20;
/// Devices named in one line of the log.
const LAPSED_NAMED_MAX: usize = 20;
/// How long the task waits before it tries again to read the registry.
const RETRY: Duration = Duration::from_secs(5);

/// How a device showed who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// By an auth frame.
    Frame,
    /// By the `Authorization` header of the upgrade.
    Header,
    /// By the certificate of the TLS handshake.
    Certificate,
}

/// What others ask of the task. 256 may wait; then callers wait.
#[derive(Debug)]
pub(super) enum Command {
    /// Is this right? Nothing changes. Answers whose it is; nothing if it does not say.
    Check {
        shown: Shown,
        answer: oneshot::Sender<std::result::Result<Option<Arc<str>>, &'static str>>,
    },
    /// Let this connection in.
    Connect {
        shown: Shown,
        way: Way,
        address: IpAddr,
        traffic: Arc<Traffic>,
        orders: Arc<Orders>,
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
    /// Change a device; answers the token of a rotation.
    Edit {
        id: String,
        edit: Edit,
        answer: oneshot::Sender<Result<Option<String>>>,
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
    pub(super) black_box: BlackBox,
    pub(super) config: watch::Receiver<Arc<Config>>,
    pub(super) outlets: Outlets,
    pub(super) registry: Registry,
    /// Devices whose sessions ended since the last tick because what they showed is not accepted any more.
    pub(super) lapsed: Vec<(&'static str, Arc<str>)>,
    /// Before when telling once more would cost too large a share of the time.
    pub(super) quiet_until: Duration,
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
        let mut new_config = self.config.clone();
        loop {
            tokio::select! {
                biased;
                () = end.cancelled() => return,
                command = commands.recv() => match command {
                    Some(command) => is_changed |= self.carry_out(command).await,
                    None => return,
                },
                Ok(()) = new_config.changed() => {
                    self.reconfigure().await;
                    is_changed = true;
                }
                _ = tick.tick() => {
                    ticks = ticks.wrapping_add(1);
                    self.tell_lapsed();
                    if ticks.is_multiple_of(TICKS_PER_TIDY) {
                        self.tidy();
                    }
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
        self.each_with_rules(|registry, rules| {
            devices.into_iter().flat_map(|device| registry.insert(device, rules)).collect()
        });
        for presence in seen {
            self.registry.note_seen(&presence.device_id, presence.last_seen);
        }
        true
    }

    /// Works on the registry with the settings and the time; tells what could not be read of devices.
    fn each_with_rules(&mut self, work: impl FnOnce(&mut Registry, Rules<'_>) -> Vec<String>) {
        let config = self.config.borrow().clone();
        let rules = rules(&config, &self.clock);
        for part in work(&mut self.registry, rules) {
            warn!(%part, "left out what cannot be read of a device");
        }
    }

    /// Takes new settings: roles are lists of many devices, and keys may be gone.
    async fn reconfigure(&mut self) {
        let state = self.state.clone();
        let devices = match self.tasks.pool().run(move || state.devices().list()).await {
            Ok(Ok(devices)) => devices,
            Ok(Err(error)) => {
                error!(%error, "cannot read the device registry: roles stay as they were");
                Vec::new()
            }
            Err(error) => {
                error!(%error, "cannot read the device registry: roles stay as they were");
                Vec::new()
            }
        };
        self.each_with_rules(|registry, rules| registry.reconfigure(devices, rules));
    }

    /// Does what is asked; returns whether the pages should know.
    async fn carry_out(&mut self, command: Command) -> bool {
        // An answer that nobody waits for any more is no loss.
        match command {
            Command::Check { shown, answer } => {
                let config = self.config.borrow().clone();
                let checked = self.registry.check(&shown, rules(&config, &self.clock));
                let _ = answer.send(checked.map(|admitted| Some(admitted?.identity.device_id.clone())));
                false
            }
            Command::Connect { shown, way, address, traffic, orders, answer } => {
                let config = self.config.borrow().clone();
                let rules = rules(&config, &self.clock);
                let checked = self.registry.check(&shown, rules).and_then(|admitted| admitted.ok_or(WRONG));
                let entry = checked.and_then(|Admitted { identity, proof }| {
                    let device_type = identity.device_type.clone();
                    let open = Open { address, traffic, orders, connected_at: rules.moment.now, proof, device_type };
                    self.registry.connect(identity, open, rules)
                });
                let entry = entry.map(|(entry, replaced)| {
                    self.count_begin(&entry, way, replaced);
                    entry
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
                let is_told = self.tell_soon();
                let _ = answer.send(added);
                !is_told
            }
            Command::Edit { id, edit, answer } => {
                let edited = self.edit(id, edit).await;
                let is_told = self.tell_soon();
                let _ = answer.send(edited);
                !is_told
            }
        }
    }

    fn count_begin(&self, entry: &Entry, way: Way, replaced: Option<Ended>) {
        let now = self.clock.now();
        self.last.connected(&entry.identity.device_id, now);
        let device_type = &*entry.identity.device_type;
        self.instruments.connections.with(&[device_type]).inc();
        self.instruments.active.with(&[device_type]).add(1.0);
        let status = match way {
            Way::Frame => "success",
            Way::Header => "success_header",
            Way::Certificate => "success_certificate",
        };
        self.instruments.auth_attempts.with(&[status]).inc();
        if let Some(older) = replaced {
            self.count_end(&older, "replaced");
        }
    }

    fn disconnect(&mut self, entry: &Entry, reason: &'static str) -> bool {
        let now = self.clock.now();
        match self.registry.disconnect(&entry.identity.device_id, entry.number, now) {
            Some(ended) => {
                if [End::CERTIFICATE.reason, End::KEY.reason].contains(&reason) {
                    self.lapsed.push((reason, entry.identity.device_id.clone()));
                }
                self.last.disconnected(&entry.identity.device_id, now);
                self.count_end(&ended, reason);
                true
            }
            None => false,
        }
    }

    /// Logs whose certificates or keys are not accepted any more: at once, because one authority may be that of all.
    fn tell_lapsed(&mut self) {
        let lapsed = std::mem::take(&mut self.lapsed);
        for end in [End::CERTIFICATE, End::KEY] {
            let devices: Vec<&str> =
                lapsed.iter().filter(|(reason, _)| *reason == end.reason).map(|(_, device)| &**device).collect();
            if let Some(first) = devices.get(..devices.len().min(LAPSED_NAMED_MAX)).filter(|first| !first.is_empty()) {
                warn!(count = devices.len(), devices = first.join(", "), reason = end.text, "sessions were ended");
            }
        }
    }

    fn count_end(&self, ended: &Ended, reason: &str) {
        let device_type = &*ended.device_type;
        let lasted = self.clock.now().since(ended.connected_at);
        self.instruments.active.with(&[device_type]).add(-1.0);
        self.instruments.disconnections.with(&[device_type, reason]).inc();
        self.instruments.connection_duration.with(&[device_type]).observe_duration(lasted);
    }

    async fn add(&mut self, device: NewDevice) -> Result<AddedDevice> {
        let (state, config, now) = (self.state.clone(), self.config.borrow().clone(), self.clock.now());
        if !device.role.is_empty() && !config.roles.contains_key(&device.role) {
            return Err(unknown_role(&device.role));
        }
        let written = self.tasks.pool().run(move || {
            let (publish, subscribe) = (&config.default_publish, &config.default_subscribe);
            let added = enrol::register(&state, device, publish, subscribe, now)?;
            let row = state.devices().get(&added.id)?;
            Ok::<_, Error>((added, row))
        });
        let (added, row) = written.await.map_err(|_| Error::Stopping)??;
        self.each_with_rules(|registry, rules| row.map(|row| registry.insert(row, rules)).unwrap_or_default());
        info!(device = %added.id, "device added");
        Ok(added)
    }

    /// Changes a device in the store, then here; its connection hears of it at once.
    async fn edit(&mut self, id: String, edit: Edit) -> Result<Option<String>> {
        if let Edit::Change(change) = &edit
            && let Some(role) = change.role.as_ref().filter(|role| !role.is_empty())
            && !self.config.borrow().roles.contains_key(role)
        {
            return Err(unknown_role(role));
        }
        let what = match edit {
            Edit::Change(_) => "device changed",
            Edit::Rotate { .. } => "device has a new token",
            Edit::AddCertificate(_) => "device has one more certificate",
            Edit::RemoveCertificate(_) => "device has one certificate less",
            Edit::Revoke => "device revoked",
            Edit::Remove => "device removed",
        };
        let is_guest = edit == Edit::Revoke && self.registry.is_guest(&id);
        let (state, last, key, now) = (self.state.clone(), self.last.clone(), id.clone(), self.clock.now());
        let written = self.tasks.pool().run(move || {
            if is_guest {
                enrol::register_revoked(&state, &key)?;
            }
            if edit == Edit::Remove {
                last.forget(&key);
            }
            let token = enrol::edit(&state, &key, &edit, now)?;
            Ok::<_, Error>((token, state.devices().get(&key)?))
        });
        let (token, row) = match written.await.map_err(|_| Error::Stopping)? {
            Err(Error::Unknown(id)) => {
                self.forget(&id);
                return Err(Error::Unknown(id));
            }
            written => written?,
        };
        match row {
            Some(row) => self.each_with_rules(|registry, rules| registry.insert(row, rules)),
            None => self.forget(&id),
        }
        info!(device = %id, "{what}");
        Ok(token)
    }

    /// Gives memory back that frames took long ago.
    fn tidy(&self) {
        let bytes = self.black_box.tidy(self.config.borrow().black_box, self.clock.now());
        #[expect(clippy::cast_precision_loss, reason = "bytes of memory are below 2^53")]
        self.instruments.black_box.set(bytes as f64);
    }

    /// Forgets a device that the store no longer has.
    fn forget(&mut self, id: &str) {
        if let Some(ended) = self.registry.remove(id) {
            self.count_end(&ended, "revoked");
        }
        self.black_box.forget(id);
        self.instruments.rate_limit_rejections.remove(&[id]);
        self.instruments.rate_limit_tokens.remove(&[id]);
    }

    /// Tells at once, unless many changes come one after the other: telling costs time for each device there is.
    fn tell_soon(&mut self) -> bool {
        let start = self.clock.elapsed();
        if start < self.quiet_until {
            return false;
        }
        self.tell();
        let end = self.clock.elapsed();
        self.quiet_until = end + end.saturating_sub(start) * TELLING_SHARE;
        true
    }

    /// Tells pages and collectors who is there.
    #[expect(clippy::cast_precision_loss, reason = "a count of devices is far below 2^53")]
    fn tell(&self) {
        let now = self.clock.elapsed();
        self.registry.for_each_open(|id, meter| {
            self.instruments.rate_limit_tokens.with(&[id]).set(meter.frames(now).floor());
        });
        self.instruments.registered.set(self.registry.len() as f64);
        self.outlets.presence.send_replace(Arc::new(self.registry.presence()));
        self.outlets.snapshot.send_replace(Arc::new(self.registry.snapshot(self.porter.waiting())));
    }
}

fn rules<'a>(config: &'a Config, clock: &Clock) -> Rules<'a> {
    let moment = Moment { now: clock.now(), is_trusted: clock.is_trusted() };
    Rules { config, moment, elapsed: clock.elapsed() }
}

fn unknown_role(role: &str) -> Error {
    Error::Invalid { field: "role", reason: format!("the settings have no role {role:?} under gateway.roles") }
}
