//! What can fail, and what a caller can do about it.

use std::path::PathBuf;

use rusqlite::ErrorCode;

/// Result of a call to the state.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the state could not do what was asked. Nothing of the call is kept then.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A later version of Andon wrote the file: install that version, or start with another data folder.
    #[error(
        "{path} has schema {found}, this version of Andon knows up to {known}: install a newer Andon or restore an \
         older copy of the file",
        path = path.display()
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The last schema known here.
        known: i64,
    },
    /// The disk is full: reads go on, changes are refused until space returns.
    #[error("cannot save: the disk is full")]
    DiskFull,
    /// The file does not check out; the next start puts it aside.
    #[error("the state file is damaged: {0}")]
    Damaged(rusqlite::Error),
    /// A column holds what this version never writes there.
    #[error("{table} {key:?} cannot be read: {reason}")]
    Row {
        /// The table.
        table: &'static str,
        /// Which row.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There are as many rows as there may be.
    #[error("there may be at most {max} {what}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How many.
        max: u64,
    },
    /// A file or folder could not be made or moved.
    #[error("cannot {operation} {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// SQLite refused for another reason.
    #[error("state: {0}")]
    Sqlite(rusqlite::Error),
}

impl Error {
    /// Returns the kind of failure as a label value.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Error::NewerSchema { .. } => "newer_schema",
            Error::DiskFull => "disk_full",
            Error::Damaged(_) | Error::Row { .. } => "damaged",
            Error::Limit { .. } => "limit",
            Error::Io { .. } | Error::Sqlite(_) => "other",
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Error::DiskFull,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Error::Damaged(error),
            _ => Error::Sqlite(error),
        }
    }
}
