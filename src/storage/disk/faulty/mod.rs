//! A disk in memory that forgets, fails and fills up on request, the same way for the same seed.
//!
//! It is stricter than a real file system. At a [`FaultyDisk::crash`] each 512-byte piece written since the
//! last sync of its file is kept or lost on its own, and so is the file's length; names made since the last
//! sync of their folder vanish from the newest on, or each on its own. A failed sync keeps some pieces and
//! forgets the rest for good: readers go on seeing them until the crash, a later sync does not bring them
//! back. A folder that is removed loses its files one by one, so after a crash some may be there again.
//!
//! What the running process holds ends with [`FaultyDisk::kill`] and with a crash: its open files and the
//! handle it got from [`FaultyDisk::shared`] are dead, as those of a dead process are.

mod file;
mod volume;

use std::fmt::{self, Debug};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::file::FaultyFile;
use self::volume::{Inode, Naming, UNBOUNDED_BYTES, Volume, fail};
use super::{Disk, DiskFile, Entry, Error, Result, Space};

/// What goes wrong at a chosen call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This one call fails; a write may have happened in part.
    Eio,
    /// This one call finds the disk full; a write may have happened in part.
    Enospc,
    /// This call and all after it fail, until [`FaultyDisk::crash`].
    PowerCut,
}

/// A disk in memory; clones are the same disk.
#[derive(Debug, Clone)]
pub struct FaultyDisk {
    volume: Arc<Mutex<Volume>>,
    hook: Arc<Mutex<Hook>>,
    /// The process that this handle belongs to; `None`: to the test, which outlives them all.
    epoch: Option<u64>,
}

/// What happens beside a call.
#[derive(Default)]
struct Hook(Option<(u64, Box<dyn FnOnce() + Send>)>);

impl Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hook").field(&self.0.as_ref().map(|(call, _)| call)).finish()
    }
}

impl FaultyDisk {
    /// Returns an empty disk whose misfortunes follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        FaultyDisk { volume: Arc::new(Mutex::new(Volume::new(seed))), hook: Arc::default(), epoch: None }
    }

    /// Returns the disk as the stores take it, for the process that runs now.
    #[must_use]
    pub fn shared(&self) -> Arc<dyn Disk> {
        Arc::new(FaultyDisk { epoch: Some(self.volume().epoch), ..self.clone() })
    }

    /// Returns another disk with the same content, the same past and the same misfortunes ahead.
    #[must_use]
    pub fn fork(&self) -> Self {
        let volume = self.volume().clone();
        FaultyDisk { volume: Arc::new(Mutex::new(volume)), hook: Arc::default(), epoch: None }
    }

    /// Bounds what the disk holds; `None` lifts the bound.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.volume().capacity_bytes = bytes;
    }

    /// Lets the `n`th changing call from now on (1 is the next) go wrong.
    pub fn fail_call(&self, n: u64, fault: Fault) {
        let mut volume = self.volume();
        volume.fault = Some((volume.calls + n, fault));
    }

    /// Lets the `n`th reading call from now on fail, once.
    pub fn fail_read(&self, n: u64) {
        let mut volume = self.volume();
        volume.read_fault = Some(volume.reads + n);
    }

    /// Takes back a fault that has not happened yet.
    pub fn mend(&self) {
        let mut volume = self.volume();
        volume.fault = None;
        volume.read_fault = None;
    }

    /// Returns how many changing calls there were.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.volume().calls
    }

    /// Returns how many syncs of files below a folder failed.
    #[must_use]
    pub fn failed_syncs(&self, folder: &Path) -> usize {
        self.volume().failed_syncs.iter().filter(|path| path.starts_with(folder)).count()
    }

    /// Does something right before the `n`th changing call from now on, in the thread that makes the call.
    pub fn at_call(&self, n: u64, work: impl FnOnce() + Send + 'static) {
        let at = self.calls() + n;
        *self.hook.lock().unwrap_or_else(PoisonError::into_inner) = Hook(Some((at, Box::new(work))));
    }

    /// Cuts the power and starts the disk again: what was not synced is lost in whole or in part, open files
    /// are dead, locks are free.
    pub fn crash(&self) {
        self.volume().crash();
        self.forget_hook();
    }

    /// Ends the process: nothing is lost, open files are dead, locks are free.
    pub fn kill(&self) {
        self.volume().end_of_process();
        self.forget_hook();
    }

    /// Takes back work that was to be done at a call, see [`FaultyDisk::at_call`].
    pub fn forget_hook(&self) {
        *self.hook.lock().unwrap_or_else(PoisonError::into_inner) = Hook(None);
    }

    /// Makes all that there is last, as a clean shutdown of the machine does.
    pub fn settle(&self) {
        self.volume().settle();
    }

    /// Flips bits of a file on the disk, synced or not.
    ///
    /// # Panics
    /// When there is no such byte.
    pub fn flip(&self, path: &Path, offset: usize, mask: u8) {
        self.alter(path, &|bytes| {
            if let Some(byte) = bytes.get_mut(offset) {
                *byte ^= mask;
            }
        });
    }

    /// Damages a file on the disk, synced or not.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn alter(&self, path: &Path, damage: &dyn Fn(&mut Vec<u8>)) {
        let mut volume = self.volume();
        let id = volume.find(path).unwrap_or_else(|| panic!("bug: no {}", path.display()));
        if let Some(Inode::File { lasting, current, .. }) = volume.inodes.get_mut(&id) {
            [lasting, current].into_iter().for_each(damage);
        }
    }

    /// Lets reads that touch these bytes of a file fail from now on.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn make_unreadable(&self, path: &Path, bytes: Range<u64>) {
        let mut volume = self.volume();
        let id = volume.find(path).unwrap_or_else(|| panic!("bug: no {}", path.display()));
        volume.unreadable.entry(id).or_default().push(bytes);
    }

    /// Returns all files below a folder with their lengths, sorted by path.
    #[must_use]
    pub fn files(&self, folder: &Path) -> Vec<(PathBuf, u64)> {
        let mut files = Vec::new();
        for entry in self.list(folder).unwrap_or_default() {
            let path = folder.join(&entry.name);
            if entry.is_folder {
                files.extend(self.files(&path));
            } else {
                files.push((path, entry.bytes));
            }
        }
        files
    }

    fn volume(&self) -> MutexGuard<'_, Volume> {
        self.volume.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a changing call and lets it fail if it is its turn.
    fn call(&self, operation: &'static str, path: &Path) -> Result<MutexGuard<'_, Volume>> {
        self.meet();
        let mut volume = self.volume();
        self.check_alive(operation, path, &volume)?;
        volume.calls += 1;
        let fault = volume.fault.filter(|(at, _)| volume.calls >= *at).map(|(_, fault)| fault);
        if let Some(fault) = fault {
            volume.is_off |= fault == Fault::PowerCut;
            volume.fault = None;
        }
        match fault {
            Some(Fault::Enospc) => Err(fail(operation, path, io::ErrorKind::StorageFull)),
            Some(Fault::Eio | Fault::PowerCut) => Err(fail(operation, path, io::ErrorKind::Other)),
            None if volume.is_off => Err(fail(operation, path, io::ErrorKind::Other)),
            None => Ok(volume),
        }
    }

    /// Does what was to happen beside this call.
    fn meet(&self) {
        let next = self.volume().calls + 1;
        let mut hook = self.hook.lock().unwrap_or_else(PoisonError::into_inner);
        if hook.0.as_ref().is_none_or(|(at, _)| *at > next) {
            return;
        }
        let work = hook.0.take();
        drop(hook);
        if let Some((_, work)) = work {
            work();
        }
    }

    fn reading(&self, operation: &'static str, path: &Path) -> Result<MutexGuard<'_, Volume>> {
        let mut volume = self.volume();
        self.check_alive(operation, path, &volume)?;
        volume.reads += 1;
        let is_due = volume.read_fault.is_some_and(|at| volume.reads >= at);
        if is_due {
            volume.read_fault = None;
        }
        if is_due || volume.is_off { Err(fail(operation, path, io::ErrorKind::Other)) } else { Ok(volume) }
    }

    fn check_alive(&self, operation: &'static str, path: &Path, volume: &Volume) -> Result<()> {
        let is_alive = self.epoch.is_none_or(|epoch| epoch == volume.epoch);
        if is_alive { Ok(()) } else { Err(fail(operation, path, io::ErrorKind::Other)) }
    }

    fn file(&self, volume: &Volume, id: u64, path: &Path) -> Arc<dyn DiskFile> {
        Arc::new(FaultyFile { disk: self.clone(), id, epoch: volume.epoch, path: path.to_owned() })
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path) -> Result<Arc<dyn DiskFile>> {
        let volume = self.reading("open", path)?;
        let id = volume.find_or_fail("open", path)?;
        Ok(self.file(&volume, id, path))
    }

    fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>> {
        let mut volume = self.call("create", path)?;
        let (folder, name) = volume.parent("create", path)?;
        if let Some(id) = volume.find(path) {
            if let Some(Inode::File { current, pending, .. }) = volume.inodes.get_mut(&id) {
                current.clear();
                pending.push(volume::Change::Resize(0));
            }
            return Ok(self.file(&volume, id, path));
        }
        let id = volume.add(Inode::file());
        volume.name(folder, Naming::Add(name, id));
        Ok(self.file(&volume, id, path))
    }

    fn rename(&self, source: &Path, target: &Path) -> Result<()> {
        let mut volume = self.call("rename", source)?;
        let (from, to) = (volume.parent("rename", source)?, volume.parent("rename", target)?);
        let id = volume.find_or_fail("rename", source)?;
        if volume.is_full_folder(target) {
            return Err(fail("rename", target, io::ErrorKind::DirectoryNotEmpty));
        }
        volume.rename(id, from, to);
        Ok(())
    }

    fn link(&self, source: &Path, target: &Path) -> Result<()> {
        let mut volume = self.call("link", source)?;
        let id = volume.find_or_fail("link", source)?;
        let (folder, name) = volume.parent("link", target)?;
        if volume.find(target).is_some() {
            return Err(fail("link", target, io::ErrorKind::AlreadyExists));
        }
        volume.name(folder, Naming::Add(name, id));
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        let mut volume = self.call("remove", path)?;
        volume.find_or_fail("remove", path)?;
        let (folder, name) = volume.parent("remove", path)?;
        volume.name(folder, Naming::Remove(name));
        Ok(())
    }

    fn remove_folder(&self, path: &Path) -> Result<()> {
        let called = self.call("remove", path).map(drop);
        let mut volume = self.volume();
        self.check_alive("remove", path, &volume)?;
        if volume.is_off {
            return called;
        }
        let id = volume.find_or_fail("remove", path)?;
        let (folder, name) = volume.parent("remove", path)?;
        volume.empty(id, called.is_err());
        if called.is_ok() {
            volume.name(folder, Naming::Remove(name));
        }
        called
    }

    fn create_folder(&self, path: &Path) -> Result<()> {
        let mut volume = self.call("create", path)?;
        let mut at = PathBuf::new();
        for part in path.components() {
            at.push(part);
            if volume.find(&at).is_some() {
                continue;
            }
            let (folder, name) = volume.parent("create", &at)?;
            let id = volume.add(Inode::folder());
            volume.name(folder, Naming::Add(name, id));
            volume.sync_names(folder);
        }
        Ok(())
    }

    fn list(&self, folder: &Path) -> Result<Vec<Entry>> {
        let volume = self.reading("list", folder)?;
        let id = volume.find_or_fail("list", folder)?;
        let Some(Inode::Folder { current, .. }) = volume.inodes.get(&id) else {
            return Err(fail("list", folder, io::ErrorKind::NotADirectory));
        };
        let entry = |(name, id): (&String, &u64)| match volume.inodes.get(id) {
            Some(Inode::File { current, .. }) => {
                Entry { name: name.clone(), bytes: current.len() as u64, is_folder: false }
            }
            _ => Entry { name: name.clone(), bytes: 0, is_folder: true },
        };
        Ok(current.iter().map(entry).collect())
    }

    fn exists(&self, path: &Path) -> bool {
        self.volume().find(path).is_some()
    }

    fn sync_folder(&self, folder: &Path) -> Result<()> {
        let mut volume = self.call("sync", folder)?;
        let id = volume.find_or_fail("sync", folder)?;
        volume.sync_names(id);
        Ok(())
    }

    fn space(&self, _path: &Path) -> Result<Space> {
        let volume = self.volume();
        let total_bytes = volume.capacity_bytes.unwrap_or(UNBOUNDED_BYTES);
        Ok(Space { free_bytes: volume.free_bytes(), total_bytes })
    }

    fn lock_file(&self, path: &Path) -> Result<Box<dyn Debug + Send + Sync>> {
        let mut volume = self.volume();
        if !volume.locks.insert(path.to_owned()) {
            return Err(Error::InUse { path: path.to_owned() });
        }
        Ok(Box::new(Held { disk: self.clone(), path: path.to_owned(), epoch: volume.epoch }))
    }
}

#[derive(Debug)]
struct Held {
    disk: FaultyDisk,
    path: PathBuf,
    epoch: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut volume = self.disk.volume();
        if volume.epoch == self.epoch {
            volume.locks.remove(&self.path);
        }
    }
}
