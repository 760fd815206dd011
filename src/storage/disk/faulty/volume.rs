//! What the disk in memory holds: files and folders, each as it is, as it would be after a power cut, and
//! what lies between the two.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use crate::storage::disk::{Error, Result};

/// What is written whole or not at all.
const SECTOR_BYTES: u64 = 512;

/// What the disk says it holds when it has no set capacity.
pub(super) const UNBOUNDED_BYTES: u64 = 1 << 40;

pub(super) const ROOT: u64 = 0;

/// The disk's content and its misfortunes.
#[derive(Debug, Clone)]
pub(super) struct Volume {
    random: u64,
    pub(super) inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    next_move: u64,
    pub(super) capacity_bytes: Option<u64>,
    /// Calls that change something, so far.
    pub(super) calls: u64,
    pub(super) fault: Option<(u64, super::Fault)>,
    /// Calls that read, so far.
    pub(super) reads: u64,
    pub(super) read_fault: Option<u64>,
    /// Stretches of files that cannot be read.
    pub(super) unreadable: BTreeMap<u64, Vec<Range<u64>>>,
    /// Files whose sync failed, in order.
    pub(super) failed_syncs: Vec<PathBuf>,
    pub(super) is_off: bool,
    /// Crashes and ended processes so far; what was opened before one is dead.
    pub(super) epoch: u64,
    pub(super) locks: BTreeSet<PathBuf>,
}

#[derive(Debug, Clone)]
pub(super) enum Inode {
    File { lasting: Vec<u8>, current: Vec<u8>, pending: Vec<Change> },
    Folder { lasting: BTreeMap<String, u64>, current: BTreeMap<String, u64>, pending: Vec<Naming> },
}

/// A change of a file that no sync has covered.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    Resize(u64),
}

/// A change of a folder that no sync has covered.
#[derive(Debug, Clone)]
pub(super) enum Naming {
    Add(String, u64),
    Remove(String),
    Move {
        source: String,
        target: String,
    },
    /// One half of a move to another folder; both halves last or neither.
    Out(String, u64),
    In(String, u64, u64),
}

/// What becomes of what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    All,
    Nothing,
    /// Each piece on its own.
    Pieces,
    /// The same, and the file's length lasts whatever its pieces do: the rest is zeros.
    PiecesAndLength,
}

impl Inode {
    pub(super) fn file() -> Self {
        Inode::File { lasting: Vec::new(), current: Vec::new(), pending: Vec::new() }
    }

    pub(super) fn folder() -> Self {
        Inode::Folder { lasting: BTreeMap::new(), current: BTreeMap::new(), pending: Vec::new() }
    }
}

impl Volume {
    pub(super) fn new(seed: u64) -> Self {
        Volume {
            random: seed.wrapping_mul(2).wrapping_add(1),
            inodes: BTreeMap::from([(ROOT, Inode::folder())]),
            next_inode: ROOT + 1,
            next_move: 0,
            capacity_bytes: None,
            calls: 0,
            fault: None,
            reads: 0,
            read_fault: None,
            unreadable: BTreeMap::new(),
            failed_syncs: Vec::new(),
            is_off: false,
            epoch: 0,
            locks: BTreeSet::new(),
        }
    }

    /// Returns a number below `bound`. Source: Steele et al., SplitMix64.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    /// Keeps, drops or tears all that was not synced.
    pub(super) fn crash(&mut self) {
        let mut kept_moves = BTreeMap::new();
        let ids: Vec<u64> = self.inodes.keys().copied().collect();
        for id in ids {
            let Some(mut inode) = self.inodes.remove(&id) else { continue };
            match &mut inode {
                Inode::File { lasting, current, pending } => {
                    let changes = std::mem::take(pending);
                    self.crash_file(lasting, current.len(), &changes);
                    current.clone_from(lasting);
                }
                Inode::Folder { lasting, current, pending } => {
                    self.crash_folder(lasting, std::mem::take(pending), &mut kept_moves);
                    current.clone_from(lasting);
                }
            }
            self.inodes.insert(id, inode);
        }
        self.end_of_process();
        self.fault = None;
        self.read_fault = None;
        self.is_off = false;
    }

    /// Ends what the running process holds: open files, locks.
    pub(super) fn end_of_process(&mut self) {
        self.epoch += 1;
        self.locks.clear();
    }

    /// Makes all that there is last.
    pub(super) fn settle(&mut self) {
        for inode in self.inodes.values_mut() {
            match inode {
                Inode::File { lasting, current, pending } => {
                    pending.clear();
                    lasting.clone_from(current);
                }
                Inode::Folder { lasting, current, pending } => {
                    pending.clear();
                    lasting.clone_from(current);
                }
            }
        }
    }

    fn crash_file(&mut self, lasting: &mut Vec<u8>, length: usize, changes: &[Change]) {
        let fate = match self.below(6) {
            0 => Fate::All,
            1 => Fate::Nothing,
            2 => Fate::PiecesAndLength,
            _ => Fate::Pieces,
        };
        if changes.is_empty() {
            return;
        }
        self.apply_some(lasting, changes, fate);
        if fate == Fate::PiecesAndLength && lasting.len() < length {
            lasting.resize(length, 0);
        }
    }

    fn apply_some(&mut self, lasting: &mut Vec<u8>, changes: &[Change], fate: Fate) {
        for change in changes {
            match change {
                Change::Resize(size) => {
                    if self.is_kept(fate) {
                        resize(lasting, *size);
                    }
                }
                Change::Write { offset, bytes } => {
                    let mut start = 0;
                    while start < bytes.len() {
                        let to_border = SECTOR_BYTES - (offset + start as u64) % SECTOR_BYTES;
                        let end = bytes.len().min(start + usize::try_from(to_border).unwrap_or(usize::MAX));
                        if self.is_kept(fate) {
                            write(lasting, offset + start as u64, bytes.get(start..end).unwrap_or_default());
                        }
                        start = end;
                    }
                }
            }
        }
    }

    fn is_kept(&mut self, fate: Fate) -> bool {
        match fate {
            Fate::All => true,
            Fate::Nothing => false,
            Fate::Pieces | Fate::PiecesAndLength => self.coin(),
        }
    }

    /// Keeps names up to some moment, as a journal does, or each on its own.
    fn crash_folder(
        &mut self,
        lasting: &mut BTreeMap<String, u64>,
        pending: Vec<Naming>,
        kept_moves: &mut BTreeMap<u64, bool>,
    ) {
        let is_ordered = self.coin();
        let kept = self.below(pending.len() as u64 + 1);
        for (i, naming) in (0_u64..).zip(pending) {
            let is_kept = match &naming {
                Naming::Out(_, number) | Naming::In(_, _, number) => {
                    *kept_moves.entry(*number).or_insert_with(|| self.coin())
                }
                _ if is_ordered => i < kept,
                _ => self.coin(),
            };
            if is_kept {
                naming.apply(lasting);
            }
        }
    }

    /// Makes what was written to a file last; if `failed`, a part of it, and the rest never will.
    pub(super) fn sync_file(&mut self, id: u64, failed: bool) {
        let Some(Inode::File { lasting, pending, .. }) = self.inodes.get_mut(&id) else { return };
        let (mut bytes, changes) = (std::mem::take(lasting), std::mem::take(pending));
        self.apply_some(&mut bytes, &changes, if failed { Fate::Pieces } else { Fate::All });
        if let Some(Inode::File { lasting, .. }) = self.inodes.get_mut(&id) {
            *lasting = bytes;
        }
    }

    pub(super) fn find(&self, path: &Path) -> Option<u64> {
        path.components().try_fold(ROOT, |id, part| match (part, self.inodes.get(&id)?) {
            (Component::Normal(name), Inode::Folder { current, .. }) => current.get(name.to_str()?).copied(),
            (Component::Normal(_), Inode::File { .. }) => None,
            _ => Some(id),
        })
    }

    pub(super) fn find_or_fail(&self, operation: &'static str, path: &Path) -> Result<u64> {
        self.find(path).ok_or_else(|| fail(operation, path, io::ErrorKind::NotFound))
    }

    /// Tells whether there is a folder of this name with something in it: a rename does not replace it.
    pub(super) fn is_full_folder(&self, path: &Path) -> bool {
        let inode = self.find(path).and_then(|id| self.inodes.get(&id));
        matches!(inode, Some(Inode::Folder { current, .. }) if !current.is_empty())
    }

    /// Returns the folder that a path stands in, and its name there.
    pub(super) fn parent(&self, operation: &'static str, path: &Path) -> Result<(u64, String)> {
        let folder = self.find_or_fail(operation, path.parent().unwrap_or(Path::new("")))?;
        let name = path.file_name().and_then(|n| n.to_str());
        name.map(|n| (folder, n.to_owned())).ok_or_else(|| fail(operation, path, io::ErrorKind::InvalidInput))
    }

    pub(super) fn name(&mut self, folder: u64, naming: Naming) {
        if let Some(Inode::Folder { current, pending, .. }) = self.inodes.get_mut(&folder) {
            naming.clone().apply(current);
            pending.push(naming);
        }
    }

    /// Renames within a folder or from one to another.
    pub(super) fn rename(&mut self, id: u64, from: (u64, String), to: (u64, String)) {
        if from.0 == to.0 {
            self.name(from.0, Naming::Move { source: from.1, target: to.1 });
        } else {
            self.next_move += 1;
            self.name(from.0, Naming::Out(from.1, self.next_move));
            self.name(to.0, Naming::In(to.1, id, self.next_move));
        }
    }

    /// Makes the names of a folder last, and with them those of folders it shares a move with.
    pub(super) fn sync_names(&mut self, folder: u64) {
        let mut folders = vec![folder];
        while let Some(id) = folders.pop() {
            let Some(Inode::Folder { lasting, current, pending }) = self.inodes.get_mut(&id) else { continue };
            lasting.clone_from(current);
            let moves: BTreeSet<u64> = pending.drain(..).filter_map(|n| n.move_number()).collect();
            if !moves.is_empty() {
                let shares = |inode: &Inode| match inode {
                    Inode::Folder { pending, .. } => {
                        pending.iter().filter_map(Naming::move_number).any(|n| moves.contains(&n))
                    }
                    Inode::File { .. } => false,
                };
                folders.extend(self.inodes.iter().filter(|(_, inode)| shares(inode)).map(|(id, _)| *id));
            }
        }
    }

    /// Takes all names out of a folder and those in it, or only some if it `failed`.
    pub(super) fn empty(&mut self, folder: u64, failed: bool) {
        let Some(Inode::Folder { current, .. }) = self.inodes.get(&folder) else { return };
        let names: Vec<(String, u64)> = current.iter().map(|(n, id)| (n.clone(), *id)).collect();
        let kept = if failed { self.below(names.len() as u64 + 1) } else { names.len() as u64 };
        for (name, id) in names.into_iter().take(usize::try_from(kept).unwrap_or(0)) {
            self.empty(id, failed);
            self.name(folder, Naming::Remove(name));
        }
    }

    pub(super) fn add(&mut self, inode: Inode) -> u64 {
        let id = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(id, inode);
        id
    }

    pub(super) fn used_bytes(&self) -> u64 {
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

    pub(super) fn free_bytes(&self) -> u64 {
        self.capacity_bytes.unwrap_or(UNBOUNDED_BYTES).saturating_sub(self.used_bytes())
    }

    /// Tells whether a change needs more than there is.
    pub(super) fn is_too_much(&self, id: u64, change: &Change) -> bool {
        let (Some(Inode::File { current, .. }), Some(_)) = (self.inodes.get(&id), self.capacity_bytes) else {
            return false;
        };
        let end = match change {
            Change::Write { offset, bytes } => offset + bytes.len() as u64,
            Change::Resize(size) => *size,
        };
        let grows = end.saturating_sub(current.len() as u64);
        grows > 0 && grows > self.free_bytes()
    }

    pub(super) fn is_unreadable(&self, id: u64, offset: u64, length: usize) -> bool {
        let end = offset + length as u64;
        self.unreadable.get(&id).is_some_and(|bad| bad.iter().any(|b| b.start < end && b.end > offset))
    }
}

impl Naming {
    fn apply(self, names: &mut BTreeMap<String, u64>) {
        match self {
            Naming::Add(name, id) | Naming::In(name, id, _) => {
                names.insert(name, id);
            }
            Naming::Remove(name) | Naming::Out(name, _) => {
                names.remove(&name);
            }
            Naming::Move { source, target } => {
                if let Some(id) = names.remove(&source) {
                    names.insert(target, id);
                }
            }
        }
    }

    fn move_number(&self) -> Option<u64> {
        match self {
            Naming::Out(_, number) | Naming::In(_, _, number) => Some(*number),
            _ => None,
        }
    }
}

pub(super) fn fail(operation: &'static str, path: &Path, kind: io::ErrorKind) -> Error {
    Error::Io { operation, path: path.to_owned(), source: io::Error::from(kind) }
}

pub(super) fn resize(bytes: &mut Vec<u8>, size: u64) {
    bytes.resize(usize::try_from(size).unwrap_or(usize::MAX), 0);
}

pub(super) fn write(bytes: &mut Vec<u8>, offset: u64, new: &[u8]) {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let end = start.saturating_add(new.len());
    if bytes.len() < end && !new.is_empty() {
        bytes.resize(end, 0);
    }
    if let Some(place) = bytes.get_mut(start..end) {
        place.copy_from_slice(new);
    }
}
