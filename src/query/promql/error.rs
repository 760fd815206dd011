//! What can be wrong with a query, by what the asker can do.

use crate::query::limits::Stop;

/// Result of a query.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a query has no answer. The API maps these to `bad_data` (400), `execution` (422), `timeout` (503),
/// `unavailable` (503, to come again), `canceled` (499) and `internal` (500).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not PromQL, or types do not fit. Positions are counted from 1; 0:0 means not known.
    #[error("{}{message}", place(*.line, *.column))]
    Parse {
        /// Line in the expression.
        line: usize,
        /// Column in the line, in characters.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// The query is legal, but this data does not allow it.
    #[error("{0}")]
    Execution(String),
    /// A limit on samples, points or memory.
    #[error("{0}")]
    Limit(String),
    /// All that run hold too much for it to run beside them.
    #[error("{}", Stop::Crowded)]
    Crowded,
    /// It took too long.
    #[error("query timed out in expression evaluation")]
    Timeout,
    /// The asker went away.
    #[error("query was canceled in expression evaluation")]
    Cancelled,
    /// The store could not be read.
    #[error("cannot read samples: {0}")]
    Storage(crate::storage::tsdb::Error),
}

/// Writes where a mistake is, if that is known, as upstream does.
fn place(line: usize, column: usize) -> String {
    if line == 0 { String::new() } else { format!("{line}:{column}: parse error: ") }
}

impl From<crate::storage::tsdb::Error> for Error {
    fn from(error: crate::storage::tsdb::Error) -> Self {
        match error {
            crate::storage::tsdb::Error::TooManySamples { limit } => {
                Stop::Samples { max: limit, is_scarce: false }.into()
            }
            other => Error::Storage(other),
        }
    }
}

impl From<Stop> for Error {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Timeout => Error::Timeout,
            Stop::Cancelled => Error::Cancelled,
            Stop::Samples { .. } => Error::Limit(stop.to_string()),
            Stop::Crowded => Error::Crowded,
        }
    }
}
