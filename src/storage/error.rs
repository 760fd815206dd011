//! What can fail when the stores are opened.

use std::path::PathBuf;

use super::{disk, logs, state, tsdb};

/// Result of opening the stores.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the stores could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process owns the data folder.
    #[error("data folder {} is in use by another andon: stop it, or choose another folder", folder.display())]
    InUse {
        /// The data folder.
        folder: PathBuf,
    },
    /// The data folder cannot be made or written.
    #[error("data folder {} is not writable: {source}", folder.display())]
    NotWritable {
        /// The data folder.
        folder: PathBuf,
        /// What the disk said.
        source: disk::Error,
    },
    /// A restore was cut off; what is in the folder is not whole.
    #[error(
        "a restore into {} was cut off: run andon restore again (or remove {}/restore.tmp to start from what is there)",
        folder.display(), folder.display()
    )]
    RestoreCutOff {
        /// The data folder.
        folder: PathBuf,
    },
    /// The metric store.
    #[error("cannot open the metric store: {0}")]
    Tsdb(#[from] tsdb::Error),
    /// The log store.
    #[error("cannot open the log store: {0}")]
    Logs(#[from] logs::Error),
    /// The state.
    #[error("cannot open the state: {0}")]
    State(#[from] state::Error),
}
