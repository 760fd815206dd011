//! What can fail. Nothing of it leaves the room: it goes on empty or from memory.

pub(super) type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Sled refused.
    #[error("{0}")]
    Sled(#[from] sled::Error),
    /// Sled panicked.
    #[error("the store panicked")]
    Panicked,
    /// A key or value is none of ours.
    #[error("a {0} entry does not check out")]
    Entry(&'static str),
}
