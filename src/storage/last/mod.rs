//! Last-known state that nobody mourns: the last message per device and subject, and when each device was
//! last seen. The device pages show it right after a restart.
//!
//! Kept in sled, and only here (`docs/decisions/0020`): small, overwritten all the time, rebuilt by the next
//! messages if lost. Writes collect in memory and go to sled every five seconds, the newest per key, so a
//! device that sends ten times a second costs one write in five seconds. A crash loses up to that much.
//!
//! The promise that the box always starts does not depend on sled: it is opened, checked and used under
//! `catch_unwind`; what does not open or check out goes to `quarantine/` and the room starts empty
//! ([`LastKnown::damage`]); if nothing opens at all, the room works from memory.
//!
//! Nothing may depend on what is kept here. Not for the history of anything.

mod config;
mod error;
mod instruments;
mod kept;
#[cfg(test)]
mod last_test;
mod open;
mod presence;
mod retained;

use std::collections::{BTreeMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tracing::error;

pub use config::Config;
pub use open::Damage;
pub use presence::Presence;
pub use retained::Retained;

use self::error::{Error, Result};
use self::instruments::Instruments;
use self::kept::Kept;
use crate::instrument::Registry;
use crate::model::{DeviceMessage, Timestamp};

/// The last-known state; cheap to clone. Dropping the last handle writes what is not written yet.
#[derive(Debug, Clone)]
pub struct LastKnown(Arc<Handle>);

/// Ends the writing thread with the last handle.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    writer: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// What is on disk; `None` if sled did not open or panicked: the room works from memory then. Held during a
    /// write, so taken before `memory` where both are.
    kept: Mutex<Option<Kept>>,
    /// Held for moments only.
    memory: Mutex<Memory>,
    wake: Condvar,
    config: Config,
    instruments: Instruments,
    damage: Option<Damage>,
}

/// What changed since the last write.
#[derive(Debug, Default)]
struct Memory {
    /// Whether there is a store that `fresh` goes to.
    has_store: bool,
    fresh: Fresh,
    /// What is being written just now.
    writing: Arc<Fresh>,
    online: HashSet<String>,
    is_stopping: bool,
}

/// Messages and sightings that are not on disk yet.
#[derive(Debug, Default)]
struct Fresh {
    retained: retained::Fresh,
    presence: presence::Fresh,
}

impl LastKnown {
    /// Opens the folder at `config.path`. Never fails: see [`LastKnown::damage`].
    #[must_use]
    pub fn open(config: Config, now: Timestamp, registry: &Registry) -> Self {
        let (kept, damage) = open::open(&config, now);
        Self::start(config, kept, damage, registry)
    }

    /// Returns a room that forgets everything at the end, for tests and trials.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::start(Config::at(std::path::PathBuf::new()), None, None, &Registry::default())
    }

    fn start(config: Config, kept: Option<Kept>, damage: Option<Damage>, registry: &Registry) -> Self {
        let instruments = Instruments::new(registry);
        if damage.is_some() {
            instruments.quarantined.inc();
        }
        let has_store = kept.is_some();
        let memory = Mutex::new(Memory { has_store, ..Memory::default() });
        let (kept, wake) = (Mutex::new(kept), Condvar::new());
        let shared = Arc::new(Shared { kept, memory, wake, config, instruments, damage });
        let writer = if has_store { spawn_writer(shared.clone()) } else { None };
        LastKnown(Arc::new(Handle { shared, writer }))
    }

    /// Returns what was wrong with the folder found at opening, if it had to be put aside.
    #[must_use]
    pub fn damage(&self) -> Option<&Damage> {
        self.0.shared.damage.as_ref()
    }

    /// Keeps a device's message as the last on its subject, and the device as seen. Waits for nothing.
    ///
    /// A body over the limit, or a new subject over the device's limit, is not kept and counted.
    pub fn put(&self, message: &DeviceMessage) {
        let shared = &self.0.shared;
        let mut memory = shared.memory();
        let has_store = memory.has_store;
        memory.fresh.presence.see(&message.device_id, message.received_at, &shared.config, &shared.instruments);
        memory.fresh.retained.put(message, has_store, &shared.config, &shared.instruments);
    }

    /// Returns the last message of a device on a subject. May read from disk.
    #[must_use]
    pub fn get(&self, device_id: &str, subject: &str) -> Option<Retained> {
        let shared = &self.0.shared;
        let memory = shared.memory();
        let fresh = memory.fresh.retained.get(device_id, subject);
        if let Some(found) = fresh.or_else(|| memory.writing.retained.get(device_id, subject)) {
            return Some(found);
        }
        drop(memory);
        shared.ask(|kept| kept.get(device_id, subject)).flatten()
    }

    /// Returns the last messages of a device, by subject. May read from disk.
    #[must_use]
    pub fn list(&self, device_id: &str) -> Vec<Retained> {
        let shared = &self.0.shared;
        // The disk first: what is written in between is then seen in memory as well, or again.
        let kept = shared.ask(|kept| kept.list(device_id)).unwrap_or_default();
        let memory = shared.memory();
        memory.fresh.retained.over(device_id, memory.writing.retained.over(device_id, kept))
    }

    /// Notes that a device connected.
    pub fn connected(&self, device_id: &str, now: Timestamp) {
        let shared = &self.0.shared;
        let mut memory = shared.memory();
        memory.fresh.presence.see(device_id, now, &shared.config, &shared.instruments);
        if memory.online.len() < shared.config.devices_max {
            memory.online.insert(device_id.to_owned());
        }
    }

    /// Notes that a device's connection ended.
    pub fn disconnected(&self, device_id: &str, now: Timestamp) {
        let shared = &self.0.shared;
        let mut memory = shared.memory();
        memory.fresh.presence.see(device_id, now, &shared.config, &shared.instruments);
        memory.online.remove(device_id);
    }

    /// Returns when each device was last seen, by name. Nobody is online right after a start.
    #[must_use]
    pub fn devices(&self) -> Vec<Presence> {
        let shared = &self.0.shared;
        let mut seen: BTreeMap<String, Timestamp> = shared.ask(Kept::devices).unwrap_or_default().into_iter().collect();
        let memory = shared.memory();
        seen.extend(memory.writing.presence.all());
        seen.extend(memory.fresh.presence.all());
        let with_state = |(device_id, last_seen)| {
            let is_online = memory.online.contains(&device_id);
            Presence { device_id, last_seen, is_online }
        };
        seen.into_iter().map(with_state).collect()
    }

    /// Returns when a device was last seen. May read from disk.
    #[must_use]
    pub fn device(&self, device_id: &str) -> Option<Presence> {
        let shared = &self.0.shared;
        let memory = shared.memory();
        let is_online = memory.online.contains(device_id);
        let fresh = memory.fresh.presence.get(device_id).or_else(|| memory.writing.presence.get(device_id));
        drop(memory);
        let last_seen = fresh.or_else(|| shared.ask(|kept| kept.device(device_id)).flatten())?;
        Some(Presence { device_id: device_id.to_owned(), last_seen, is_online })
    }

    /// Forgets a device, for when it is removed. Waits for a write that goes on.
    pub fn forget(&self, device_id: &str) {
        let shared = &self.0.shared;
        let mut kept = shared.kept();
        let mut memory = shared.memory();
        memory.fresh.retained.forget(device_id);
        memory.fresh.presence.forget(device_id);
        memory.online.remove(device_id);
        drop(memory);
        shared.ask_of(&mut kept, |kept| kept.forget(device_id));
    }

    /// Writes what is not written yet and syncs it.
    pub fn flush(&self) {
        self.0.shared.flush();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.memory().is_stopping = true;
        self.shared.wake.notify_all();
        if let Some(writer) = self.writer.take() {
            // A panic of the writer was already reported where it happened.
            let _ = writer.join();
        }
    }
}

impl Shared {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self) -> MutexGuard<'_, Option<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks sled. If it fails or panics it is given up until the next start, and the room goes on from memory.
    fn ask<T>(&self, work: impl FnOnce(&mut Kept) -> Result<T>) -> Option<T> {
        self.ask_of(&mut self.kept(), work)
    }

    fn ask_of<T>(&self, held: &mut Option<Kept>, work: impl FnOnce(&mut Kept) -> Result<T>) -> Option<T> {
        let kept = held.as_mut()?;
        match guarded(|| work(kept)) {
            Ok(value) => Some(value),
            Err(error) => {
                error!(%error, "last-known state failed; going on from memory");
                self.instruments.failures.inc();
                *held = None;
                self.memory().has_store = false;
                None
            }
        }
    }

    /// Writes what is fresh. Whoever puts meanwhile does not wait; whoever reads from disk does.
    fn flush(&self) {
        let mut held = self.kept();
        if held.is_none() {
            return;
        }
        let mut memory = self.memory();
        let writing = Arc::new(std::mem::take(&mut memory.fresh));
        memory.writing = writing.clone();
        drop(memory);
        let written = self.ask_of(&mut held, |kept| {
            let written = kept.write(&writing.retained, &writing.presence, &self.config)?;
            self.instruments.bytes.add(kept.sync()?);
            Ok(written)
        });
        let mut memory = self.memory();
        memory.writing = Arc::default();
        match written {
            Some(written) => {
                self.instruments.written.add(written.messages);
                self.instruments.dropped.with(&["subject_limit"]).add(written.over_limit);
            }
            None => {
                // Sled is gone: what was to be written stays in memory, under what came since.
                if let Ok(older) = Arc::try_unwrap(writing) {
                    memory.fresh.retained.put_below(older.retained);
                    memory.fresh.presence.put_below(older.presence);
                }
            }
        }
    }
}

/// Runs work on sled; a panic inside it is an error.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(Error::Panicked))
}

fn spawn_writer(shared: Arc<Shared>) -> Option<std::thread::JoinHandle<()>> {
    let work = move || {
        loop {
            let memory = shared.memory();
            let wait = shared.wake.wait_timeout_while(memory, shared.config.flush_interval, |m| !m.is_stopping);
            let is_stopping = wait.unwrap_or_else(PoisonError::into_inner).0.is_stopping;
            shared.flush();
            if is_stopping {
                return;
            }
        }
    };
    match std::thread::Builder::new().name("andon-last".to_owned()).spawn(work) {
        Ok(writer) => Some(writer),
        Err(error) => {
            error!(%error, "cannot start the writer of last-known state; it is kept in memory only");
            None
        }
    }
}

/// Door for fuzzers: a value, and a key.
#[cfg(fuzzing)]
pub(crate) fn fuzz(data: &[u8]) {
    kept::fuzz(data);
}
