//! What people and rooms set, change seldom and must not lose: devices, cursors, the notification log, silences,
//! the audit log, frames that alarms had frozen, single facts about the box.
//!
//! One SQLite file in WAL mode with `synchronous=FULL`: when a call that writes returns, its change survives
//! a power cut. One connection behind a lock; calls are synchronous, take well under a millisecond to read
//! and one file sync to write, so tasks make them on the `BlockingPool`.
//!
//! ```text
//! state.devices().add(..)          state.cursors().save("central", 42)
//! state.notifications().record(..) state.audit().append(..)      state.meta().get("box-id")
//! ```
//!
//! The schema is in `migrations/`, applied at opening. A file of a newer schema is refused with a sentence;
//! a damaged file is put into `quarantine/` and the room starts empty and says so
//! ([`State::damage`]): the box always starts.
//!
//! Not for anything that grows with samples, lines or messages.

mod audit;
mod cursors;
mod devices;
mod error;
mod frozen;
mod instruments;
mod meta;
mod migrate;
mod notifications;
mod open;
#[cfg(test)]
mod open_test;
mod silences;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;

pub use audit::{Audit, AuditEntry, AuditRecord};
pub use cursors::{Cursor, Cursors};
pub use devices::{Change, Device, DeviceCertificate, Devices, NewDevice, Token};
pub use error::{Error, Result};
pub use frozen::{Frozen, FrozenFrames};
pub use meta::Meta;
pub use notifications::{Notification, Notifications};
pub use open::{Damage, check, verify};
pub use silences::Silences;

use self::instruments::Instruments;
use crate::clock::Clock;
use crate::instrument::Registry;
use crate::storage::disk::thread_written_bytes;

/// The state of the box; cheap to clone.
#[derive(Debug, Clone)]
pub struct State(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    connection: Mutex<Connection>,
    clock: Clock,
    instruments: Instruments,
    damage: Option<Damage>,
}

impl State {
    /// Opens the file at `path`, makes it if it is not there, and brings its schema up to date.
    ///
    /// A damaged file is moved to `quarantine/` beside it, see [`State::damage`].
    ///
    /// # Errors
    /// [`Error::NewerSchema`] if a later version of Andon wrote it; [`Error::Sqlite`] or [`Error::Io`] if the
    /// folder cannot be used.
    pub fn open(path: &Path, clock: Clock, registry: &Registry) -> Result<Self> {
        let written = thread_written_bytes();
        let (connection, damage) = open::open(path, &clock)?;
        let instruments = Instruments::new(registry);
        instruments.written.add(thread_written_bytes().saturating_sub(written));
        if damage.is_some() {
            instruments.quarantined.inc();
        }
        Ok(State(Arc::new(Inner { connection: Mutex::new(connection), clock, instruments, damage })))
    }

    /// Returns a state that forgets everything at the end, for tests and trials.
    ///
    /// # Panics
    /// If the embedded schema does not apply, which a test would show.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::in_memory_at(Clock::system())
    }

    /// Returns a state that forgets everything at the end and stamps rows with `clock`.
    ///
    /// # Panics
    /// If the embedded schema does not apply, which a test would show.
    #[must_use]
    pub fn in_memory_at(clock: Clock) -> Self {
        let connection = match open::open_in_memory() {
            Ok(connection) => connection,
            Err(error) => panic!("bug: the embedded schema does not apply: {error}"),
        };
        let instruments = Instruments::new(&Registry::default());
        State(Arc::new(Inner { connection: Mutex::new(connection), clock, instruments, damage: None }))
    }

    /// Returns what was wrong with the file found at opening, if it had to be put aside.
    #[must_use]
    pub fn damage(&self) -> Option<&Damage> {
        self.0.damage.as_ref()
    }

    /// Returns the registry of devices.
    #[must_use]
    pub fn devices(&self) -> Devices<'_> {
        Devices(self)
    }

    /// Returns the frames of devices that alarms had frozen.
    #[must_use]
    pub fn frozen(&self) -> Frozen<'_> {
        Frozen(self)
    }

    /// Returns the readers' cursors.
    #[must_use]
    pub fn cursors(&self) -> Cursors<'_> {
        Cursors(self)
    }

    /// Returns the log of what was told to receivers.
    #[must_use]
    pub fn notifications(&self) -> Notifications<'_> {
        Notifications(self)
    }

    /// Returns the silences.
    #[must_use]
    pub fn silences(&self) -> Silences<'_> {
        Silences(self)
    }

    /// Returns the audit log.
    #[must_use]
    pub fn audit(&self) -> Audit<'_> {
        Audit(self)
    }

    /// Returns the single facts about the box.
    #[must_use]
    pub fn meta(&self) -> Meta<'_> {
        Meta(self)
    }

    /// Writes a copy of the whole state to a file that is not there yet; changes wait meanwhile. Cost: reads and
    /// writes a few hundred kilobytes.
    ///
    /// # Errors
    /// [`Error::Sqlite`], also when the file is there.
    pub fn copy_to(&self, path: &Path) -> Result<()> {
        self.with(|c| c.execute("VACUUM INTO ?1", [path.to_string_lossy()]).map(|_| ()))
    }

    /// Folds SQLite's WAL into the file, as at a clean stop. Calls after it still work.
    ///
    /// # Errors
    /// [`Error::Sqlite`]; nothing is lost then, the WAL is kept.
    pub fn checkpoint(&self) -> Result<()> {
        self.with(|c| c.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())))
    }

    /// Runs `work` on the connection and counts it.
    fn with<T>(&self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Result<T> {
        let (started, written) = (self.0.clock.elapsed(), thread_written_bytes());
        // A panic in `work` cannot leave a half-done change: SQLite rolls back what was not committed.
        let mut connection = self.0.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut connection).map_err(Error::from);
        drop(connection);
        self.0.instruments.written.add(thread_written_bytes().saturating_sub(written));
        self.0.instruments.call_seconds.observe_duration(self.0.clock.elapsed().saturating_sub(started));
        if let Err(error) = &result {
            self.0.instruments.failures.with(&[error.reason()]).inc();
        }
        result
    }

    fn now_ms(&self) -> i64 {
        self.0.clock.now().as_millis()
    }
}
