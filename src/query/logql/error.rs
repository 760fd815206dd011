//! Why a log query has no answer.

use crate::storage::logs;

/// Result of a log query.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a log query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not LogQL as far as it is understood here. Column counted from 1, in characters.
    #[error("1:{column}: parse error: {message}")]
    Parse {
        /// Column in the expression.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// It took too long.
    #[error("query timed out")]
    Timeout,
    /// The store could not be read.
    #[error("cannot read logs: {0}")]
    Storage(#[from] logs::Error),
}
