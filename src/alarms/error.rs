//! What can fail in the room, by what the caller can do.

/// Result of a command to the room.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an alarm could not be changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such alarm on the board.
    #[error("no alarm {0:016x} on the board")]
    NotFound(u64),
    /// A name or note is empty or too long.
    #[error("{what} must have {min} to {max} characters")]
    Text {
        /// Which text.
        what: &'static str,
        /// The fewest characters it may have.
        min: usize,
        /// The most characters it may have.
        max: usize,
    },
    /// There is no such silence.
    #[error("no silence {0}")]
    NoSilence(String),
    /// What is to be silenced makes no sense.
    #[error("{0}")]
    Silence(String),
    /// It could not be written down, so it does not hold.
    #[error("cannot be written: {0}")]
    Storage(String),
    /// The box is stopping.
    #[error("the alarms room has stopped")]
    Stopped,
}
