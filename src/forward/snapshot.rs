//! What pages and API see of forwarding.

use crate::model::Timestamp;

/// All destinations at one moment, in the order of the settings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// The destinations.
    pub destinations: Vec<DestinationSnapshot>,
}

/// What a destination's worker is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stage {
    /// Nothing sent yet since start.
    #[default]
    Starting,
    /// Central has all that is old enough.
    Live,
    /// Sending what was missed, as fast as central takes it.
    CatchingUp,
    /// The last attempt failed; waiting for the next.
    Waiting,
    /// Nobody knows what time it is: what is provisional is not sent.
    Unsure,
}

impl Stage {
    /// Returns the stage as a word: `starting`, `live`, `catching up`, `waiting`, `waiting for the time`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Starting => "starting",
            Stage::Live => "live",
            Stage::CatchingUp => "catching up",
            Stage::Waiting => "waiting",
            Stage::Unsure => "waiting for the time",
        }
    }
}

/// One destination. Counts are since start.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DestinationSnapshot {
    /// Its name.
    pub name: String,
    /// Where it is, without user, password and query.
    pub url: String,
    /// What its worker is at.
    pub stage: Stage,
    /// Central has everything before this time; `None` before the first read of the store.
    pub cursor: Option<Timestamp>,
    /// How far the cursor is behind the clock, in seconds. A few seconds are normal.
    pub lag_s: f64,
    /// How much of that still has to be sent: time between the cursor and the newest sample that is old
    /// enough to be sent, in seconds.
    pub backlog_s: f64,
    /// Samples that central took.
    pub samples_sent: u64,
    /// Samples that central refused for good.
    pub samples_refused: u64,
    /// Samples that relabelling dropped.
    pub samples_dropped: u64,
    /// Requests that were answered well.
    pub requests: u64,
    /// Attempts that failed and were, or will be, repeated.
    pub retries: u64,
    /// Bytes of bodies that central took.
    pub bytes_sent: u64,
    /// When central last took something.
    pub last_success: Option<Timestamp>,
    /// The last failure or refusal in words; empty if there was none.
    pub last_error: String,
    /// When that was.
    pub last_error_at: Option<Timestamp>,
    /// When the next attempt is due, while waiting.
    pub next_attempt: Option<Timestamp>,
}
