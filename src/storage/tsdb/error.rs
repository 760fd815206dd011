//! What can fail in the store, and what a caller can do about it.

/// Result of a call to the store.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the TSDB could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Free space is below the reserve: reads go on, appends are refused until space returns.
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
}
