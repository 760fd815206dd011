//! A disk in memory that forgets, fails and fills up on request, the same way for the same seed.
//!
//! It is stricter than a real file system: at a [`FaultyDisk::crash`] each 512-byte piece written since the
//! last sync of its file is kept or lost on its own, names made since the last sync of their folder vanish
//! from the newest on, and after a failed sync what was not synced never lasts, also not by a later sync.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile, Entry, Error, Result, Space};

/// What is written whole or not at all.
const SECTOR_BYTES: u64 = 512;

/// What the disk says it holds when it has no set capacity.
const UNBOUNDED_BYTES: u64 = 1 << 40;

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
pub struct FaultyDisk(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    random: u64,
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    capacity_bytes: Option<u64>,
    /// Calls that change something, so far.
    calls: u64,
    fault: Option<(u64, Fault)>,
    is_off: bool,
    /// Crashes so far; files opened before one are dead.
    epoch: u64,
    locks: BTreeSet<PathBuf>,
}

#[derive(Debug)]
enum Inode {
    File { lasting: Vec<u8>, current: Vec<u8>, pending: Vec<Change> },
    Folder { lasting: BTreeMap<String, u64>, current: BTreeMap<String, u64>, pending: Vec<Naming> },
}

#[derive(Debug, Clone)]
enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    Resize(u64),
}

#[derive(Debug, Clone)]
enum Naming {
    Add(String, u64),
    Remove(String),
    Move { source: String, target: String },
}

const ROOT: u64 = 0;

impl FaultyDisk {
    /// Returns an empty disk whose misfortunes follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let root = Inode::Folder { lasting: BTreeMap::new(), current: BTreeMap::new(), pending: Vec::new() };
        FaultyDisk(Arc::new(Mutex::new(Inner {
            random: seed.wrapping_mul(2).wrapping_add(1),
            inodes: BTreeMap::from([(ROOT, root)]),
            next_inode: ROOT + 1,
            capacity_bytes: None,
            calls: 0,
            fault: None,
            is_off: false,
            epoch: 0,
            locks: BTreeSet::new(),
        })))
    }

    /// Returns the disk as the stores take it.
    #[must_use]
    pub fn shared(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    /// Bounds what the disk holds; `None` lifts the bound.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.inner().capacity_bytes = bytes;
    }

    /// Lets the `n`th changing call from now on (1 is the next) go wrong.
    pub fn fail_call(&self, n: u64, fault: Fault) {
        let mut inner = self.inner();
        inner.fault = Some((inner.calls + n, fault));
    }

    /// Takes back a fault that has not happened yet.
    pub fn mend(&self) {
        self.inner().fault = None;
    }

    /// Returns how many changing calls there were.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.inner().calls
    }

    /// Cuts the power and starts the disk again: what was not synced is lost in whole or in part, open files
    /// are dead, locks are free.
    pub fn crash(&self) {
        let mut inner = self.inner();
        let ids: Vec<u64> = inner.inodes.keys().copied().collect();
        for id in ids {
            let Some(mut inode) = inner.inodes.remove(&id) else { continue };
            match &mut inode {
                Inode::File { lasting, current, pending } => {
                    let changes = std::mem::take(pending);
                    inner.crash_file(lasting, &changes);
                    current.clone_from(lasting);
                }
                Inode::Folder { lasting, current, pending } => {
                    let kept = inner.below(pending.len() as u64 + 1);
                    for naming in pending.drain(..).take(usize::try_from(kept).unwrap_or(0)) {
                        naming.apply(lasting);
                    }
                    current.clone_from(lasting);
                }
            }
            inner.inodes.insert(id, inode);
        }
        inner.fault = None;
        inner.is_off = false;
        inner.epoch += 1;
        inner.locks.clear();
    }

    /// Flips bits of a file on the disk, synced or not.
    ///
    /// # Panics
    /// When there is no such byte.
    pub fn flip(&self, path: &Path, offset: usize, mask: u8) {
        let mut inner = self.inner();
        let id = inner.find(path).unwrap_or_else(|| panic!("bug: no {}", path.display()));
        if let Some(Inode::File { lasting, current, .. }) = inner.inodes.get_mut(&id) {
            for bytes in [lasting, current] {
                if let Some(byte) = bytes.get_mut(offset) {
                    *byte ^= mask;
                }
            }
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a changing call and lets it fail if it is its turn.
    fn call(&self, operation: &'static str, path: &Path) -> Result<MutexGuard<'_, Inner>> {
        let mut inner = self.inner();
        inner.calls += 1;
        let fault = inner.fault.filter(|(at, _)| inner.calls >= *at).map(|(_, fault)| fault);
        if let Some(fault) = fault {
            inner.is_off |= fault == Fault::PowerCut;
            inner.fault = None;
        }
        match fault {
            Some(Fault::Enospc) => Err(fail(operation, path, io::ErrorKind::StorageFull)),
            Some(Fault::Eio | Fault::PowerCut) => Err(fail(operation, path, io::ErrorKind::Other)),
            None if inner.is_off => Err(fail(operation, path, io::ErrorKind::Other)),
            None => Ok(inner),
        }
    }

    fn reading(&self, operation: &'static str, path: &Path) -> Result<MutexGuard<'_, Inner>> {
        let inner = self.inner();
        if inner.is_off { Err(fail(operation, path, io::ErrorKind::Other)) } else { Ok(inner) }
    }

    fn file(&self, inner: &Inner, id: u64, path: &Path) -> Arc<dyn DiskFile> {
        Arc::new(FaultyFile { disk: self.clone(), id, epoch: inner.epoch, path: path.to_owned() })
    }
}

impl Inner {
    /// Returns a number below `bound`. Source: Steele et al., SplitMix64.
    fn below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }

    /// Applies a random part of the changes.
    fn crash_file(&mut self, lasting: &mut Vec<u8>, changes: &[Change]) {
        // All, nothing, or each piece on its own.
        let fate = self.below(4);
        for change in changes {
            match change {
                Change::Resize(size) => {
                    if fate == 0 || (fate > 1 && self.below(2) == 0) {
                        resize(lasting, *size);
                    }
                }
                Change::Write { offset, bytes } => {
                    let mut start = 0;
                    while start < bytes.len() {
                        let to_border = SECTOR_BYTES - (offset + start as u64) % SECTOR_BYTES;
                        let end = bytes.len().min(start + usize::try_from(to_border).unwrap_or(usize::MAX));
                        if fate == 0 || (fate > 1 && self.below(2) == 0) {
                            write(lasting, offset + start as u64, bytes.get(start..end).unwrap_or_default());
                        }
                        start = end;
                    }
                }
            }
        }
    }

    fn find(&self, path: &Path) -> Option<u64> {
        path.components().try_fold(ROOT, |id, part| match (part, self.inodes.get(&id)?) {
            (Component::Normal(name), Inode::Folder { current, .. }) => current.get(name.to_str()?).copied(),
            (Component::Normal(_), Inode::File { .. }) => None,
            _ => Some(id),
        })
    }

    fn find_or_fail(&self, operation: &'static str, path: &Path) -> Result<u64> {
        self.find(path).ok_or_else(|| fail(operation, path, io::ErrorKind::NotFound))
    }

    /// Returns the folder that a path stands in, and its name there.
    fn parent(&self, operation: &'static str, path: &Path) -> Result<(u64, String)> {
        let folder = self.find_or_fail(operation, path.parent().unwrap_or(Path::new("")))?;
        let name = path.file_name().and_then(|n| n.to_str());
        name.map(|n| (folder, n.to_owned())).ok_or_else(|| fail(operation, path, io::ErrorKind::InvalidInput))
    }

    fn name(&mut self, folder: u64, naming: Naming) {
        if let Some(Inode::Folder { current, pending, .. }) = self.inodes.get_mut(&folder) {
            naming.clone().apply(current);
            pending.push(naming);
        }
    }

    fn sync_names(&mut self, folder: u64) {
        if let Some(Inode::Folder { lasting, current, pending }) = self.inodes.get_mut(&folder) {
            pending.clear();
            lasting.clone_from(current);
        }
    }

    fn add(&mut self, inode: Inode) -> u64 {
        let id = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(id, inode);
        id
    }

    fn used_bytes(&self) -> u64 {
        // What nobody names any more is free, as after the last close.
        let mut stack = vec![ROOT];
        let mut seen = BTreeSet::new();
        let mut sum = 0;
        while let Some(id) = stack.pop() {
            // A file may have several names.
            if !seen.insert(id) {
                continue;
            }
            match self.inodes.get(&id) {
                Some(Inode::File { current, .. }) => sum += current.len() as u64,
                Some(Inode::Folder { current, .. }) => stack.extend(current.values()),
                None => {}
            }
        }
        sum
    }

    fn free_bytes(&self) -> u64 {
        self.capacity_bytes.unwrap_or(UNBOUNDED_BYTES).saturating_sub(self.used_bytes())
    }
}

impl Naming {
    fn apply(self, names: &mut BTreeMap<String, u64>) {
        match self {
            Naming::Add(name, id) => {
                names.insert(name, id);
            }
            Naming::Remove(name) => {
                names.remove(&name);
            }
            Naming::Move { source, target } => {
                if let Some(id) = names.remove(&source) {
                    names.insert(target, id);
                }
            }
        }
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path) -> Result<Arc<dyn DiskFile>> {
        let inner = self.reading("open", path)?;
        let id = inner.find_or_fail("open", path)?;
        Ok(self.file(&inner, id, path))
    }

    fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>> {
        let mut inner = self.call("create", path)?;
        let (folder, name) = inner.parent("create", path)?;
        if let Some(id) = inner.find(path) {
            if let Some(Inode::File { current, pending, .. }) = inner.inodes.get_mut(&id) {
                current.clear();
                pending.push(Change::Resize(0));
            }
            return Ok(self.file(&inner, id, path));
        }
        let id = inner.add(Inode::File { lasting: Vec::new(), current: Vec::new(), pending: Vec::new() });
        inner.name(folder, Naming::Add(name, id));
        Ok(self.file(&inner, id, path))
    }

    fn rename(&self, source: &Path, target: &Path) -> Result<()> {
        let mut inner = self.call("rename", source)?;
        let (from, source_name) = inner.parent("rename", source)?;
        let (to, target_name) = inner.parent("rename", target)?;
        let id = inner.find_or_fail("rename", source)?;
        if from == to {
            inner.name(from, Naming::Move { source: source_name, target: target_name });
        } else {
            // Across folders a journal keeps both sides or neither; simplest: both at once.
            inner.name(from, Naming::Remove(source_name));
            inner.name(to, Naming::Add(target_name, id));
            inner.sync_names(from);
            inner.sync_names(to);
        }
        Ok(())
    }

    fn link(&self, source: &Path, target: &Path) -> Result<()> {
        let mut inner = self.call("link", source)?;
        let id = inner.find_or_fail("link", source)?;
        let (folder, name) = inner.parent("link", target)?;
        if inner.find_or_fail("link", target).is_ok() {
            return Err(Error::io("link", target)(io::ErrorKind::AlreadyExists.into()));
        }
        inner.name(folder, Naming::Add(name, id));
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        let mut inner = self.call("remove", path)?;
        inner.find_or_fail("remove", path)?;
        let (folder, name) = inner.parent("remove", path)?;
        inner.name(folder, Naming::Remove(name));
        Ok(())
    }

    fn remove_folder(&self, path: &Path) -> Result<()> {
        self.remove_file(path)
    }

    fn create_folder(&self, path: &Path) -> Result<()> {
        let mut inner = self.call("create", path)?;
        let mut at = PathBuf::new();
        for part in path.components() {
            at.push(part);
            if inner.find(&at).is_some() {
                continue;
            }
            let (folder, name) = inner.parent("create", &at)?;
            let empty = Inode::Folder { lasting: BTreeMap::new(), current: BTreeMap::new(), pending: Vec::new() };
            let id = inner.add(empty);
            inner.name(folder, Naming::Add(name, id));
            inner.sync_names(folder);
        }
        Ok(())
    }

    fn list(&self, folder: &Path) -> Result<Vec<Entry>> {
        let inner = self.reading("list", folder)?;
        let id = inner.find_or_fail("list", folder)?;
        let Some(Inode::Folder { current, .. }) = inner.inodes.get(&id) else {
            return Err(fail("list", folder, io::ErrorKind::NotADirectory));
        };
        let entry = |(name, id): (&String, &u64)| match inner.inodes.get(id) {
            Some(Inode::File { current, .. }) => {
                Entry { name: name.clone(), bytes: current.len() as u64, is_folder: false }
            }
            _ => Entry { name: name.clone(), bytes: 0, is_folder: true },
        };
        Ok(current.iter().map(entry).collect())
    }

    fn exists(&self, path: &Path) -> bool {
        self.inner().find(path).is_some()
    }

    fn sync_folder(&self, folder: &Path) -> Result<()> {
        let mut inner = self.call("sync", folder)?;
        let id = inner.find_or_fail("sync", folder)?;
        inner.sync_names(id);
        Ok(())
    }

    fn space(&self, _path: &Path) -> Result<Space> {
        let inner = self.inner();
        let total_bytes = inner.capacity_bytes.unwrap_or(UNBOUNDED_BYTES);
        Ok(Space { free_bytes: inner.free_bytes(), total_bytes })
    }

    fn lock_file(&self, path: &Path) -> Result<Box<dyn Debug + Send + Sync>> {
        let mut inner = self.inner();
        if !inner.locks.insert(path.to_owned()) {
            return Err(Error::InUse { path: path.to_owned() });
        }
        Ok(Box::new(Held { disk: self.clone(), path: path.to_owned(), epoch: inner.epoch }))
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
        let mut inner = self.disk.inner();
        if inner.epoch == self.epoch {
            inner.locks.remove(&self.path);
        }
    }
}

#[derive(Debug)]
struct FaultyFile {
    disk: FaultyDisk,
    id: u64,
    epoch: u64,
    path: PathBuf,
}

impl FaultyFile {
    /// Runs `change` on the file's bytes and notes it as not synced. A fault lets part of a write happen.
    fn change(&self, operation: &'static str, change: Change) -> Result<()> {
        let (mut inner, failed) = match self.disk.call(operation, &self.path) {
            Ok(inner) => (inner, None),
            Err(e) => (self.disk.inner(), Some(e)),
        };
        self.check_alive(operation, &inner)?;
        if inner.is_off {
            return Err(fail(operation, &self.path, io::ErrorKind::Other));
        }
        let (mut change, mut failed) = (change, failed);
        if failed.is_none() && inner.would_grow(self.id, &change) > inner.free_bytes() {
            failed = Some(fail(operation, &self.path, io::ErrorKind::StorageFull));
        }
        if failed.is_some() {
            match &mut change {
                // A write that fails may have happened in part.
                Change::Write { bytes, .. } => {
                    let kept = inner.below(bytes.len() as u64);
                    bytes.truncate(usize::try_from(kept).unwrap_or(0));
                }
                Change::Resize(_) => return failed.map_or(Ok(()), Err),
            }
        }
        if let Some(Inode::File { current, pending, .. }) = inner.inodes.get_mut(&self.id) {
            match &change {
                Change::Write { offset, bytes } => write(current, *offset, bytes),
                Change::Resize(size) => resize(current, *size),
            }
            pending.push(change);
        }
        failed.map_or(Ok(()), Err)
    }

    fn check_alive(&self, operation: &'static str, inner: &Inner) -> Result<()> {
        if inner.epoch == self.epoch { Ok(()) } else { Err(fail(operation, &self.path, io::ErrorKind::Other)) }
    }
}

impl Inner {
    fn would_grow(&self, id: u64, change: &Change) -> u64 {
        let Some(Inode::File { current, .. }) = self.inodes.get(&id) else { return 0 };
        let end = match change {
            Change::Write { offset, bytes } => offset + bytes.len() as u64,
            Change::Resize(size) => *size,
        };
        end.saturating_sub(current.len() as u64)
    }
}

impl DiskFile for FaultyFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn size(&self) -> Result<u64> {
        let inner = self.disk.reading("measure", &self.path)?;
        self.check_alive("measure", &inner)?;
        match inner.inodes.get(&self.id) {
            Some(Inode::File { current, .. }) => Ok(current.len() as u64),
            _ => Err(fail("measure", &self.path, io::ErrorKind::NotFound)),
        }
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let inner = self.disk.reading("read", &self.path)?;
        self.check_alive("read", &inner)?;
        let Some(Inode::File { current, .. }) = inner.inodes.get(&self.id) else {
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
        let called = self.disk.call("sync", &self.path);
        let failed = called.as_ref().err().is_some();
        drop(called);
        let mut inner = self.disk.inner();
        self.check_alive("sync", &inner)?;
        let is_off = inner.is_off;
        if let Some(Inode::File { lasting, current, pending }) = inner.inodes.get_mut(&self.id)
            && !is_off
        {
            pending.clear();
            if !failed {
                lasting.clone_from(current);
            }
        }
        if failed { Err(fail("sync", &self.path, io::ErrorKind::Other)) } else { Ok(()) }
    }
}

fn fail(operation: &'static str, path: &Path, kind: io::ErrorKind) -> Error {
    Error::Io { operation, path: path.to_owned(), source: io::Error::from(kind) }
}

fn resize(bytes: &mut Vec<u8>, size: u64) {
    bytes.resize(usize::try_from(size).unwrap_or(usize::MAX), 0);
}

fn write(bytes: &mut Vec<u8>, offset: u64, new: &[u8]) {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let end = start.saturating_add(new.len());
    if bytes.len() < end && !new.is_empty() {
        bytes.resize(end, 0);
    }
    if let Some(place) = bytes.get_mut(start..end) {
        place.copy_from_slice(new);
    }
}
