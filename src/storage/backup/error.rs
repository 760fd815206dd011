//! Why a backup cannot be made or used.

use std::path::PathBuf;

use crate::storage::{disk, logs, state, tsdb};

/// Result of making or using a backup.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a backup could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// One at a time.
    #[error("a backup is being made already")]
    Busy,
    /// The other end does not take the archive.
    #[error("cannot write the backup: {0}")]
    Write(std::io::Error),
    /// The archive does not check out, or is not ours.
    #[error("{} cannot be used: {reason}", archive.display())]
    Unfit {
        /// Which archive.
        archive: PathBuf,
        /// What is wrong with it, and where.
        reason: String,
    },
    /// There is something in the folder already.
    #[error(
        "{} is not empty (it holds {found}): choose another folder, or say --force to move what is there aside",
        folder.display()
    )]
    NotEmpty {
        /// The target.
        folder: PathBuf,
        /// One of the names in it.
        found: String,
    },
    /// A box is running in the folder.
    #[error("{} is in use by a running box: stop it first (systemctl stop andon)", folder.display())]
    InUse {
        /// The target.
        folder: PathBuf,
    },
    /// It does not fit on the disk.
    #[error("not enough space at {}: {needed_bytes} bytes needed, {free_bytes} free", folder.display())]
    NoSpace {
        /// The target.
        folder: PathBuf,
        /// What is needed, with what a box needs to run.
        needed_bytes: u64,
        /// What there is.
        free_bytes: u64,
    },
    /// What is in it cannot be read by this version.
    #[error("{} holds what this version cannot read: {reason}; --force restores the rest", archive.display())]
    Unreadable {
        /// Which archive.
        archive: PathBuf,
        /// What, and why.
        reason: String,
    },
    /// A disk.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// The metric store.
    #[error("cannot make a snapshot of the metric store: {0}")]
    Tsdb(#[from] tsdb::Error),
    /// The log store.
    #[error("cannot make a snapshot of the log store: {0}")]
    Logs(#[from] logs::Error),
    /// The state.
    #[error("cannot make a copy of the state: {0}")]
    State(#[from] state::Error),
}
