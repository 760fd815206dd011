//! One owner of a folder at a time.

use std::fmt::Debug;
use std::path::Path;

use super::{Disk, Result};

/// Name of the lock in a folder.
const LOCK_NAME: &str = "LOCK";

/// Ownership of a folder; given up when dropped, also by the end of the process.
#[derive(Debug)]
pub struct Lock {
    _held: Box<dyn Debug + Send + Sync>,
}

/// Takes ownership of a folder.
///
/// # Errors
/// [`super::Error::InUse`] if another process owns it.
pub fn lock(disk: &dyn Disk, folder: &Path) -> Result<Lock> {
    disk.lock_file(&folder.join(LOCK_NAME)).map(|held| Lock { _held: held })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::{Error, OsDisk};

    #[test]
    fn a_folder_has_one_owner() {
        let folder = tempfile::tempdir().unwrap();
        let first = lock(&OsDisk, folder.path()).unwrap();
        assert!(matches!(lock(&OsDisk, folder.path()), Err(Error::InUse { .. })));
        drop(first);
        lock(&OsDisk, folder.path()).unwrap();
    }
}
