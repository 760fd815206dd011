//! Space kept back in a file, given up when the disk is full so that stores can still tidy up.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::{info, warn};

use super::disk::{Disk, Result};
use super::files;

/// With this many times the reserve free, it is made again.
const REMADE_FROM: u64 = 8;

/// Written in pieces of this size.
const PIECE_BYTES: usize = 1 << 20;

/// The file, and how large it is to be.
#[derive(Debug)]
pub(super) struct Reserve {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    bytes: u64,
}

impl Reserve {
    pub(super) fn new(disk: Arc<dyn Disk>, folder: &Path, bytes: u64) -> Self {
        Reserve { disk, path: folder.join(files::RESERVE), bytes }
    }

    /// Gives the space up if the disk is full.
    pub(super) fn give_up_if_full(&self) {
        if self.disk.exists(&self.path) && self.free_bytes().is_some_and(|free| free < self.bytes) {
            let given_up = self.disk.remove_file(&self.path);
            warn!(bytes = self.bytes, ok = given_up.is_ok(), "disk is full: space kept in reserve is given up");
        }
    }

    /// Gives the space up if the disk is full, makes the file when there is plenty. A failure is told and
    /// harmless. Cost: making it writes the whole file, once.
    pub(super) fn adjust(&self) {
        self.give_up_if_full();
        let is_wanted = self.bytes > 0 && !self.disk.exists(&self.path);
        if is_wanted && self.free_bytes().is_some_and(|free| free / REMADE_FROM >= self.bytes) {
            match self.make() {
                Ok(()) => info!(bytes = self.bytes, "space kept in reserve"),
                Err(error) => {
                    warn!(%error, "cannot keep space in reserve");
                    let _ = self.disk.remove_file(&self.path);
                }
            }
        }
    }

    fn free_bytes(&self) -> Option<u64> {
        self.disk.space(self.path.parent()?).ok().map(|space| space.free_bytes)
    }

    /// Writes zeros, because a file with holes would keep nothing.
    fn make(&self) -> Result<()> {
        let file = self.disk.create(&self.path)?;
        let piece = vec![0; PIECE_BYTES];
        let mut at = 0;
        while at < self.bytes {
            let length = usize::try_from(self.bytes - at).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
            file.write_at(at, piece.get(..length).unwrap_or(&piece))?;
            at += length as u64;
        }
        file.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::FaultyDisk;

    #[test]
    fn the_reserve_goes_when_the_disk_is_full_and_comes_back() {
        let disk = FaultyDisk::new(1);
        let reserve = Reserve::new(disk.shared(), Path::new("/"), 100);
        let is_there = || disk.exists(Path::new("/reserve"));
        disk.set_capacity(Some(799));
        reserve.adjust();
        assert!(!is_there());
        disk.set_capacity(Some(800));
        reserve.adjust();
        assert!(is_there());
        disk.set_capacity(Some(199));
        reserve.adjust();
        assert!(!is_there());
    }
}
