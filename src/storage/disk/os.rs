//! The real disk.
#![expect(clippy::disallowed_methods, reason = "this room is the one that may touch files")]

use std::fmt::Debug;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Disk, DiskFile, Entry, Error, Result, Space};

/// Files are for the owner to write and the group to read, nobody else.
const FILE_MODE: u32 = 0o640;

/// The same for folders.
const FOLDER_MODE: u32 = 0o750;

/// The machine's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsDisk;

impl OsDisk {
    /// Returns the machine's file system as the stores take it.
    #[must_use]
    pub fn shared() -> Arc<dyn Disk> {
        Arc::new(OsDisk)
    }
}

impl Disk for OsDisk {
    fn open(&self, path: &Path) -> Result<Arc<dyn DiskFile>> {
        // A folder that became read-only must still be readable.
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Err(e) if matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => {
                File::open(path)
            }
            other => other,
        };
        Ok(Arc::new(OsFile { file: file.map_err(Error::io("open", path))?, path: path.to_owned() }))
    }

    fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(true).mode(FILE_MODE);
        let file = options.open(path).map_err(Error::io("create", path))?;
        Ok(Arc::new(OsFile { file, path: path.to_owned() }))
    }

    fn rename(&self, source: &Path, target: &Path) -> Result<()> {
        fs::rename(source, target).map_err(Error::io("rename", source))
    }

    fn link(&self, source: &Path, target: &Path) -> Result<()> {
        fs::hard_link(source, target).map_err(Error::io("link", source))
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        fs::remove_file(path).map_err(Error::io("remove", path))
    }

    fn remove_folder(&self, path: &Path) -> Result<()> {
        fs::remove_dir_all(path).map_err(Error::io("remove", path))
    }

    fn create_folder(&self, path: &Path) -> Result<()> {
        if path.as_os_str().is_empty() || path.is_dir() {
            return Ok(());
        }
        let parent = path.parent().unwrap_or(Path::new(""));
        self.create_folder(parent)?;
        match DirBuilder::new().mode(FOLDER_MODE).create(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            Err(e) => Err(Error::io("create", path)(e)),
            Ok(()) if parent.as_os_str().is_empty() => self.sync_folder(Path::new(".")),
            // A folder above that we may not read cannot be synced; what we make inside still can.
            Ok(()) => match self.sync_folder(parent) {
                Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => Ok(()),
                other => other,
            },
        }
    }

    fn list(&self, folder: &Path) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(folder).map_err(Error::io("list", folder))? {
            let entry = entry.map_err(Error::io("list", folder))?;
            // What vanished between the two calls is not there.
            let (Ok(name), Ok(about)) = (entry.file_name().into_string(), entry.metadata()) else { continue };
            let bytes = if about.is_dir() { 0 } else { about.len() };
            entries.push(Entry { name, bytes, is_folder: about.is_dir() });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn sync_folder(&self, folder: &Path) -> Result<()> {
        File::open(folder).and_then(|f| f.sync_all()).map_err(Error::io("sync", folder))
    }

    fn space(&self, path: &Path) -> Result<Space> {
        let about = rustix::fs::statvfs(path).map_err(|e| Error::io("measure", path)(e.into()))?;
        let bytes = |blocks: u64| blocks.saturating_mul(about.f_frsize);
        Ok(Space { free_bytes: bytes(about.f_bavail), total_bytes: bytes(about.f_blocks) })
    }

    fn lock_file(&self, path: &Path) -> Result<Box<dyn Debug + Send + Sync>> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
        let mut file = options.open(path).map_err(Error::io("open", path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(e)) => return Err(Error::io("lock", path)(e)),
        }
        // For people who look: who has it. A full disk may refuse; the lock holds all the same.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Box::new(file))
    }
}

#[derive(Debug)]
struct OsFile {
    file: File,
    path: PathBuf,
}

impl DiskFile for OsFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn size(&self) -> Result<u64> {
        self.file.metadata().map(|m| m.len()).map_err(Error::io("measure", &self.path))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io("read", &self.path)(e)),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, offset).map_err(Error::io("write", &self.path))
    }

    fn set_size(&self, bytes: u64) -> Result<()> {
        self.file.set_len(bytes).map_err(Error::io("resize", &self.path))
    }

    fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(Error::io("sync", &self.path))
    }
}
