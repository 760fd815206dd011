//! An open file of the disk in memory.

use std::io;
use std::path::{Path, PathBuf};

use super::FaultyDisk;
use super::volume::{Change, Inode, Volume, fail, resize, write};
use crate::storage::disk::{DiskFile, Result};

#[derive(Debug)]
pub(super) struct FaultyFile {
    pub(super) disk: FaultyDisk,
    pub(super) id: u64,
    pub(super) epoch: u64,
    pub(super) path: PathBuf,
}

impl FaultyFile {
    /// Runs `change` on the file's bytes and notes it as not synced. A fault lets part of a write happen.
    fn change(&self, operation: &'static str, mut change: Change) -> Result<()> {
        let (mut volume, mut failed) = match self.disk.call(operation, &self.path) {
            Ok(volume) => (volume, None),
            Err(e) => (self.disk.volume(), Some(e)),
        };
        self.check_alive(operation, &volume)?;
        if volume.is_off {
            return Err(fail(operation, &self.path, io::ErrorKind::Other));
        }
        if failed.is_none() && volume.is_too_much(self.id, &change) {
            failed = Some(fail(operation, &self.path, io::ErrorKind::StorageFull));
        }
        if failed.is_some() {
            match &mut change {
                // A write that fails may have happened in part.
                Change::Write { bytes, .. } => {
                    let kept = volume.below(bytes.len() as u64);
                    bytes.truncate(usize::try_from(kept).unwrap_or(0));
                }
                Change::Resize(_) => return failed.map_or(Ok(()), Err),
            }
        }
        if let Some(Inode::File { current, pending, .. }) = volume.inodes.get_mut(&self.id) {
            match &change {
                Change::Write { offset, bytes } => write(current, *offset, bytes),
                Change::Resize(size) => resize(current, *size),
            }
            pending.push(change);
        }
        failed.map_or(Ok(()), Err)
    }

    fn check_alive(&self, operation: &'static str, volume: &Volume) -> Result<()> {
        if volume.epoch == self.epoch { Ok(()) } else { Err(fail(operation, &self.path, io::ErrorKind::Other)) }
    }
}

impl DiskFile for FaultyFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn size(&self) -> Result<u64> {
        let volume = self.disk.reading("measure", &self.path)?;
        self.check_alive("measure", &volume)?;
        match volume.inodes.get(&self.id) {
            Some(Inode::File { current, .. }) => Ok(current.len() as u64),
            _ => Err(fail("measure", &self.path, io::ErrorKind::NotFound)),
        }
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let volume = self.disk.reading("read", &self.path)?;
        self.check_alive("read", &volume)?;
        if volume.is_unreadable(self.id, offset, buffer.len()) {
            return Err(fail("read", &self.path, io::ErrorKind::Other));
        }
        let Some(Inode::File { current, .. }) = volume.inodes.get(&self.id) else {
            return Err(fail("read", &self.path, io::ErrorKind::NotFound));
        };
        let rest = usize::try_from(offset).ok().and_then(|o| current.get(o..)).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(rest) {
            *to = *from;
        }
        Ok(length)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.change("write", Change::Write { offset, bytes: bytes.to_vec() })
    }

    fn set_size(&self, bytes: u64) -> Result<()> {
        self.change("resize", Change::Resize(bytes))
    }

    fn sync(&self) -> Result<()> {
        let called = self.disk.call("sync", &self.path).map(drop);
        let mut volume = self.disk.volume();
        self.check_alive("sync", &volume)?;
        if !volume.is_off {
            volume.sync_file(self.id, called.is_err());
        }
        if called.is_err() {
            volume.failed_syncs.push(self.path.clone());
        }
        called
    }
}
