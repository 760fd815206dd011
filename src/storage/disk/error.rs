//! What a disk can fail with, and what does not check out on it.

use std::io;
use std::path::{Path, PathBuf};

/// Result of a call to a disk.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the disk could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What is on the disk does not check out.
    #[error(transparent)]
    Corruption(#[from] Corruption),
    /// Another process owns it.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The locked file.
        path: PathBuf,
    },
}

impl Error {
    /// Tells whether the disk (or the quota) is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Error::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }

    /// Tells whether the file or folder is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Returns a function that wraps an I/O error, for `map_err`.
    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { operation, path, source }
    }
}

/// A place on disk that does not check out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is damaged at byte {offset} ({bytes} bytes): {reason}", file.display())]
pub struct Corruption {
    /// The file.
    pub file: PathBuf,
    /// Where the damage begins.
    pub offset: u64,
    /// How many bytes cannot be used because of it.
    pub bytes: u64,
    /// What was expected and what was found.
    pub reason: String,
}

/// Bytes that do not decode; the caller knows from which file they come.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at byte {offset}")]
pub struct Malformed {
    /// Where in the bytes handed in.
    pub offset: usize,
    /// What was expected.
    pub reason: &'static str,
}

impl Malformed {
    /// Says in which file, beginning at which byte of it, the bytes stand.
    #[must_use]
    pub fn in_file(&self, file: &Path, base: u64, bytes: u64) -> Corruption {
        Corruption { file: file.to_owned(), offset: base + self.offset as u64, bytes, reason: self.reason.to_owned() }
    }
}
