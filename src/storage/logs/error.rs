//! What can fail, and what a caller can do about it.

use crate::storage::disk;

/// Result of a call to the log store.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the log store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Free space is below the reserve: reads go on, appends are refused until space returns.
    #[error("log store is read-only: {free_bytes} bytes free, {needed_bytes} needed")]
    ReadOnly {
        /// Bytes free on the file system.
        free_bytes: u64,
        /// Bytes that must be free before appends are taken again.
        needed_bytes: u64,
    },
    /// Parts cannot be written and the head is full: reads go on, appends are refused until that works again.
    #[error("log store cannot write parts: {head_bytes} bytes wait in memory")]
    Overfull {
        /// Bytes that wait.
        head_bytes: usize,
    },
    /// The disk refused.
    #[error("log store: {0}")]
    Disk(#[from] disk::Error),
}
