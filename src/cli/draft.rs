//! A file in the making: it has its name when it is whole.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::storage::disk::{Disk, DiskFile, OsDisk, TEMPORARY_SUFFIX};

/// Written from its beginning to its end; dropped before it is finished, it is removed.
pub(super) struct Draft {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    temporary: PathBuf,
    file: Arc<dyn DiskFile>,
    bytes: u64,
    is_finished: bool,
}

impl Draft {
    /// Begins a file.
    pub(super) fn create(path: &Path) -> anyhow::Result<Draft> {
        let disk = OsDisk::shared();
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(TEMPORARY_SUFFIX);
        let temporary = PathBuf::from(temporary);
        let file = disk.create(&temporary)?;
        Ok(Draft { disk, path: path.to_owned(), temporary, file, bytes: 0, is_finished: false })
    }

    /// Brings what was written to the disk; `check` may read it back there before it gets its name.
    pub(super) fn finish<T>(mut self, check: impl FnOnce(&Path) -> anyhow::Result<T>) -> anyhow::Result<(T, u64)> {
        self.file.sync()?;
        let checked = check(&self.temporary)?;
        self.disk.rename(&self.temporary, &self.path)?;
        self.is_finished = true;
        let folder = self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        self.disk.sync_folder(folder)?;
        Ok((checked, self.bytes))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_finished {
            // What led here is the thing to tell.
            let _ = self.disk.remove_file(&self.temporary);
        }
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(self.bytes, bytes).map_err(io::Error::other)?;
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
