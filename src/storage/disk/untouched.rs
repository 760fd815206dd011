//! A disk on which changes vanish: to read with code that also tidies up.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use super::{Disk, DiskFile, Entry, Result, Space};

#[derive(Debug)]
struct Untouched(Arc<dyn Disk>);

/// Returns a view of a disk that reads from it and lets every change succeed without doing it: a store that is
/// opened on it sees what is there, and leaves it as it is. Not for keeping anything.
#[must_use]
pub fn untouched(disk: Arc<dyn Disk>) -> Arc<dyn Disk> {
    Arc::new(Untouched(disk))
}

impl Disk for Untouched {
    fn open(&self, path: &Path) -> Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(UntouchedFile(self.0.open(path)?)))
    }

    /// Opens what is there, as it is.
    fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>> {
        self.open(path)
    }

    fn rename(&self, _: &Path, _: &Path) -> Result<()> {
        Ok(())
    }

    fn link(&self, _: &Path, _: &Path) -> Result<()> {
        Ok(())
    }

    fn remove_file(&self, _: &Path) -> Result<()> {
        Ok(())
    }

    fn remove_folder(&self, _: &Path) -> Result<()> {
        Ok(())
    }

    fn create_folder(&self, _: &Path) -> Result<()> {
        Ok(())
    }

    fn list(&self, folder: &Path) -> Result<Vec<Entry>> {
        self.0.list(folder)
    }

    fn exists(&self, path: &Path) -> bool {
        self.0.exists(path)
    }

    fn sync_folder(&self, _: &Path) -> Result<()> {
        Ok(())
    }

    fn space(&self, path: &Path) -> Result<Space> {
        self.0.space(path)
    }

    fn lock_file(&self, _: &Path) -> Result<Box<dyn Debug + Send + Sync>> {
        Ok(Box::new(()))
    }
}

#[derive(Debug)]
struct UntouchedFile(Arc<dyn DiskFile>);

impl DiskFile for UntouchedFile {
    fn path(&self) -> &Path {
        self.0.path()
    }

    fn size(&self) -> Result<u64> {
        self.0.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.0.read_at(offset, buffer)
    }

    fn write_at(&self, _: u64, _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn set_size(&self, _: u64) -> Result<()> {
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }
}
