//! Replaces a whole file in one step: write beside it, sync, rename, sync the folder.

use std::path::Path;

use super::{Disk, Result};

/// Ends the name of a file or folder in the making; what is left of it after a crash may be removed.
pub const TEMPORARY_SUFFIX: &str = ".tmp";

/// Name of an empty file that tells the owner of a folder that what lies there comes from a backup: it may be old, and
/// what it led to may have happened since. The owner removes it when it has taken that into account.
pub const RESTORED_MARK: &str = "restored";

/// Gives a file new content. After a crash it has the old content or the new, never a mixture.
///
/// # Errors
/// When the disk refuses; the old content is still there then.
pub fn replace(disk: &dyn Disk, path: &Path, content: &[u8]) -> Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(TEMPORARY_SUFFIX);
    let temporary = Path::new(&temporary);
    let written = (|| {
        let file = disk.create(temporary)?;
        file.write_at(0, content)?;
        file.sync()?;
        disk.rename(temporary, path)
    })();
    if written.is_err() {
        // The first error is the one to tell.
        let _ = disk.remove_file(temporary);
    }
    written?;
    disk.sync_folder(path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::OsDisk;

    #[test]
    fn the_new_content_stands_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        replace(&OsDisk, &path, b"one").unwrap();
        replace(&OsDisk, &path, b"two").unwrap();
        assert_eq!(OsDisk.open(&path).unwrap().read_exact_at(0, 3).unwrap(), b"two");
        assert_eq!(OsDisk.list(folder.path()).unwrap().len(), 1);
    }
}
