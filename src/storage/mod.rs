//! What is kept: metrics, logs, settings made in the running box, last-known state.
//!
//! Four strangers stand on this floor (`tsdb`, `logs`, `state`, `last`); this door opens them in one data
//! folder with one owner and one size limit.
//!
//! ```text
//! LOCK                one owner
//! tsdb/               metrics: wal, checkpoint, blocks
//! logs/               log lines: wal, days
//! state.db            what people and rooms set
//! last/               last-known values, rebuilt if lost
//! quarantine/         what did not check out, each with why.txt
//! reserve             space given up when the disk is full
//! ```

pub mod disk;
pub mod last;
pub mod logs;
pub mod state;
pub mod tsdb;

mod config;
mod error;

use std::path::Path;
use std::sync::Arc;

pub use config::{Config, RESERVE_BYTES_DEFAULT};
pub use error::{Error, Result};

use self::disk::{Disk, Lock, OsDisk};
use crate::clock::Clock;
use crate::instrument::Registry;

/// The opened stores; cheap to clone. The folder is owned until the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Storage {
    /// Metrics.
    pub db: tsdb::Db,
    /// Log lines.
    pub logs: logs::LogStore,
    /// What people and rooms set.
    pub state: state::State,
    /// Last-known values.
    pub last: last::LastKnown,
    /// The disk that the stores stand on, for journals of other rooms.
    pub disk: Arc<dyn Disk>,
    _lock: Arc<Lock>,
}

impl Storage {
    /// Opens all stores of a data folder. Cost: reads the WALs, so seconds after a hard stop under load.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::NotWritable`], or what a store cannot cope with. Damaged files are put aside
    /// and do not fail the opening.
    pub fn open(config: Config, clock: Clock, registry: &Registry) -> Result<Self> {
        let disk = OsDisk::shared();
        let folder = config.folder.as_path();
        let lock = own(&*disk, folder)?;
        let db = tsdb::Db::open(config.tsdb, disk.clone(), &folder.join("tsdb"), clock.clone(), registry)?;
        let logs = logs::LogStore::open(disk.clone(), &folder.join("logs"), config.logs, clock.clone(), registry)?;
        let state = state::State::open(&folder.join("state.db"), clock.clone(), registry)?;
        let last = last::LastKnown::open(last::Config::at(folder.join("last")), clock.now(), registry);
        Ok(Storage { db, logs, state, last, disk, _lock: Arc::new(lock) })
    }

    /// Syncs and closes the stores; appends are refused from now on.
    pub fn close(&self) {
        self.db.close();
        // What could not be saved is in a WAL still; the stores have counted and told it.
        let _ = self.logs.close();
        self.last.flush();
        if let Err(error) = self.state.checkpoint() {
            tracing::warn!(%error, "cannot fold the state's WAL into its file");
        }
    }
}

/// Makes the folder and takes ownership of it.
fn own(disk: &dyn Disk, folder: &Path) -> Result<Lock> {
    let made = disk.create_folder(folder).and_then(|()| disk::lock(disk, folder));
    made.map_err(|source| match source {
        disk::Error::InUse { .. } => Error::InUse { folder: folder.to_owned() },
        source => Error::NotWritable { folder: folder.to_owned(), source },
    })
}
