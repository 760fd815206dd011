//! What can fail in the store, and what a caller can do about it.

use std::path::PathBuf;

use crate::storage::disk;

/// Result of a call to the store.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the TSDB could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk is full or refuses writes: reads go on, appends are refused until it takes them again. Send
    /// again later.
    #[error("storage is read-only: {free_bytes} bytes free, {needed_bytes} needed")]
    ReadOnly {
        /// Bytes free on the file system.
        free_bytes: u64,
        /// Bytes that must be free before appends are taken again.
        needed_bytes: u64,
    },
    /// The selection is larger than the caller's budget.
    #[error("query would load more than {limit} samples")]
    TooManySamples {
        /// The budget.
        limit: usize,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// A snapshot is made in a folder that does not exist yet.
    #[error("{} exists already", folder.display())]
    Exists {
        /// The folder.
        folder: PathBuf,
    },
    /// Deletions are kept one by one until blocks are written anew.
    #[error("{limit} deletions are waiting: clean tombstones first")]
    TooManyTombstones {
        /// So many may wait.
        limit: usize,
    },
    /// A store in memory has no files.
    #[error("storage is in memory only")]
    InMemory,
    /// The store has been closed: the box is stopping.
    #[error("storage is closed")]
    Closed,
}
