//! What can fail on the bus.

use std::time::Duration;

/// Why the bus could not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is no subject or pattern that NATS would take.
    #[error("{text:?} is no {what}: {reason}")]
    Subject {
        /// The text, cut to what fits a message.
        text: String,
        /// `subject` or `subject pattern`.
        what: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// NATS is configured but not connected: the message went to subscribers of this box only.
    #[error("not connected to NATS: the message stayed on this box")]
    Disconnected,
    /// NATS did not take the message in time: it went to subscribers of this box only.
    #[error("NATS did not take the message within {0:?}: it stayed on this box")]
    Stalled(Duration),
    /// The message is larger than the NATS server takes.
    #[error("the message of {size_bytes} bytes is over the NATS server's limit of {max_bytes}: it stayed on this box")]
    TooLarge {
        /// Size of the body.
        size_bytes: usize,
        /// The server's `max_payload`.
        max_bytes: usize,
    },
    /// Nobody listens on the subject of a request.
    #[error("nobody answers on this subject")]
    NoResponders,
    /// No answer came in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// Neither NATS nor the disk takes anything, and what may wait waits already.
    #[error("neither NATS nor the disk takes messages now")]
    Full,
    /// No declared stream keeps all of a pattern, so that it cannot be replayed.
    #[error("no stream keeps {0}: it cannot be replayed")]
    NoStream(String),
    /// A message that was taken is not kept after all.
    #[error("the message is not kept: {0}")]
    NotKept(&'static str),
    /// The settings for NATS do not work: a file cannot be read or is not what it should be.
    #[error("cannot use the NATS settings: {0}")]
    Settings(String),
}

/// The bus's result.
pub type Result<T> = std::result::Result<T, Error>;
