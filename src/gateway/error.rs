//! What can fail at the gateway's handle. What a device does wrong is a refusal, not an error.

use crate::storage::state;

/// Why the registry could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The device as described cannot be added.
    #[error("{field}: {reason}")]
    Invalid {
        /// Which part: `id`, `type`, `token`, `certificate`, `publish`, `subscribe`.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// There is one of this name.
    #[error("device {0:?} exists already")]
    Exists(String),
    /// There is none of this name.
    #[error("device {0:?} is not known")]
    Unknown(String),
    /// The registry could not be read or written.
    #[error("cannot change the device registry: {0}")]
    State(#[from] state::Error),
    /// A frozen copy of frames cannot be written or read.
    #[error("frozen frames: {0}")]
    Frozen(String),
    /// The box is stopping.
    #[error("the gateway is stopping")]
    Stopping,
}

/// The gateway's result.
pub type Result<T> = std::result::Result<T, Error>;
