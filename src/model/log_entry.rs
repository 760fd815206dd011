//! A log line with its time and the labels of its stream.

use super::Labels;

/// One line of a log stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// The labels that name the stream.
    pub stream: Labels,
    /// When: nanoseconds since the epoch, UTC. Lines keep nanoseconds because their order within a
    /// millisecond matters to a reader.
    pub timestamp_ns: i64,
    /// The text, without a line end.
    pub line: String,
}
