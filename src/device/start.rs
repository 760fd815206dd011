//! Where a device begins to read a stream.

use serde_json::{Value, json};

use crate::model::Timestamp;

/// Where a device begins to read a stream in which it has no place yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With what comes from now on.
    New,
    /// With the oldest there is.
    All,
    /// With the last of each subject.
    Last,
    /// With this sequence of the stream.
    Sequence(u64),
    /// With the first that was stored at this time or later.
    Time(Timestamp),
}

impl Start {
    /// Returns `replay` of a subscribe frame.
    pub(super) fn to_json(self) -> Value {
        match self {
            Start::New => json!("new"),
            Start::All => json!("all"),
            Start::Last => json!("last"),
            Start::Sequence(sequence) => json!({ "sequence": sequence }),
            Start::Time(at) => json!({ "time": at.to_rfc3339() }),
        }
    }
}
