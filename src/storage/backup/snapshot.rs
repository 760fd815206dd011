//! A snapshot of a running box: a folder of hard links beside its data, for as long as somebody copies it.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use tracing::warn;

use super::{Error, Result};
use crate::storage::disk::{self, Disk};
use crate::storage::{Storage, files};

/// So often a folder is linked again because something came or went meanwhile.
const TRIES_MAX: u32 = 10;

/// A snapshot; removed when dropped.
#[derive(Debug)]
pub struct Snapshot {
    storage: Storage,
    folder: PathBuf,
}

impl Snapshot {
    /// Makes a snapshot of all that goes into a backup. Everything acknowledged before the call is in it.
    /// Appends and queries go on; nothing is compacted meanwhile. Cost: what is only in memory is written, about
    /// a byte a sample, and a copy of the state; the rest are links.
    ///
    /// # Errors
    /// [`Error::Busy`] while there is one; what a store says; nothing is left behind then.
    pub fn make(storage: &Storage) -> Result<Snapshot> {
        if storage.inner.has_snapshot.swap(true, Ordering::SeqCst) {
            return Err(Error::Busy);
        }
        // From here on dropping it tidies up.
        let snapshot = Snapshot { storage: storage.clone(), folder: storage.inner.folder.join(files::SNAPSHOT) };
        let (disk, folder) = (&*storage.disk, &snapshot.folder);
        remove(disk, folder)?;
        disk.create_folder(folder)?;
        storage.db.snapshot(&folder.join(files::METRICS))?;
        storage.logs.snapshot(&folder.join(files::LOGS))?;
        storage.state.copy_to(&folder.join(files::STATE))?;
        for name in [files::ALARMS, files::NOTICES, files::BUS] {
            link_folder(disk, &storage.inner.folder.join(name), &folder.join(name))?;
        }
        Ok(snapshot)
    }

    /// Returns the folder; it looks like a data folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if let Err(error) = remove(&*self.storage.disk, &self.folder) {
            warn!(%error, "cannot remove a snapshot; tried again at the next start");
        }
        self.storage.inner.has_snapshot.store(false, Ordering::SeqCst);
    }
}

/// Removes a snapshot that a crash has left in a data folder.
pub(in crate::storage) fn clear(disk: &dyn Disk, folder: &Path) {
    if let Err(error) = remove(disk, &folder.join(files::SNAPSHOT)) {
        warn!(%error, "cannot remove a snapshot that was left over");
    }
}

fn remove(disk: &dyn Disk, folder: &Path) -> disk::Result<()> {
    disk.remove_folder(folder).or_else(|error| if error.is_not_found() { Ok(()) } else { Err(error) })
}

/// Links the files of a journal or of a stream. Its owner may add and remove segments meanwhile: then it is done again,
/// so that the copy is a state that the log had, and ends where its newest segment does when that is read.
fn link_folder(disk: &dyn Disk, source: &Path, target: &Path) -> Result<()> {
    if !disk.exists(source) {
        return Ok(());
    }
    let mut tries = 0;
    loop {
        tries += 1;
        remove(disk, target)?;
        disk.create_folder(target)?;
        match link_entries(disk, source, target) {
            Ok(()) => return Ok(()),
            Err(error) if error.is_not_found() && tries < TRIES_MAX => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Links what is in a folder; a file that is gone by then is an error, and so is one that has come first.
fn link_entries(disk: &dyn Disk, source: &Path, target: &Path) -> disk::Result<()> {
    for entry in disk.list(source)? {
        let (from, to) = (source.join(&entry.name), target.join(&entry.name));
        if entry.is_folder {
            disk.create_folder(&to)?;
            link_entries(disk, &from, &to)?;
        } else {
            disk.link(&from, &to)?;
        }
    }
    Ok(())
}
