//! What can fail at a device's end of the wire.

use std::time::Duration;

/// Why the client could not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
    /// The gateway said no.
    #[error("{message} ({code})")]
    Refused {
        /// For programs: `NOT_AUTHORIZED`, `RATE_LIMIT`, ...
        code: String,
        /// For people.
        message: String,
    },
    /// No answer came in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// Certificates or a key for TLS cannot be used.
    #[error("TLS: {0}")]
    Tls(String),
    /// The connection was lost before the answer came.
    #[error("the connection was lost before the answer came")]
    Lost,
}

/// The client's result.
pub type Result<T> = std::result::Result<T, Error>;
