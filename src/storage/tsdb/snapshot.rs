//! A copy of the store as it is now: blocks by hard links, what is only in the head as blocks of its own.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use super::block::Block;
use super::db::{Db, Shared, Stored};
use super::due::window_of;
use super::head::Head;
use super::tombstones::encode;
use super::wal::CheckpointWriter;
use super::{Error, Result, files};
use crate::model::TimeRange;
use crate::storage::disk::{self, Disk, replace};

/// Copied in pieces of this size where a link cannot be made.
const PIECE_BYTES: u64 = 1 << 20;

/// Whether what is only in the head is part of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Newest {
    Included,
    LeftOut,
}

/// What a snapshot holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Blocks in it.
    pub blocks: u64,
    /// Bytes of blocks in it.
    pub bytes: u64,
    /// Of them, bytes that were written because they were only in the head, or could not be linked.
    pub written_bytes: u64,
    /// Samples in it; what stands in two blocks counts twice.
    pub samples: u64,
    /// The stretch of time it covers; `None` if it is empty.
    pub range: Option<TimeRange>,
}

impl Db {
    /// Makes a copy of the store in `into`, a folder that does not exist yet; it can be opened as a store. It
    /// holds every sample that was acknowledged before the call; what comes meanwhile may be in it or not.
    /// Appends and queries go on. Cost: blocks take no space while the store has them too, as they are linked;
    /// what is in the head is written, about a byte a sample.
    ///
    /// # Errors
    /// When the folder exists or the disk refuses; nothing of it is left then. For a store in memory.
    pub fn snapshot(&self, into: &Path) -> Result<SnapshotInfo> {
        self.make_snapshot(into, Newest::Included)
    }

    /// As [`Db::snapshot`], but only what is in blocks already. Cost: writes next to nothing.
    ///
    /// # Errors
    /// As [`Db::snapshot`].
    pub fn snapshot_of_blocks(&self, into: &Path) -> Result<SnapshotInfo> {
        self.make_snapshot(into, Newest::LeftOut)
    }

    fn make_snapshot(&self, into: &Path, newest: Newest) -> Result<SnapshotInfo> {
        // No block comes or goes meanwhile.
        let _alone = self.0.maintenance.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(stored) = &self.0.stored else { return Err(Error::InMemory) };
        if stored.disk.exists(into) {
            return Err(Error::Exists { folder: into.to_owned() });
        }
        let made = self.0.write_snapshot(stored, into, newest).and_then(|info| {
            // What is being moved is in the store already, or will be in the next copy.
            if let Some((lane, 0)) = self.lane_to_read() {
                lane.make_snapshot(&into.join(files::PROVISIONAL), newest)?;
            }
            Ok(info)
        });
        if made.is_err() {
            // The error that led here is the one to tell.
            let _ = stored.disk.remove_folder(into);
        }
        made
    }
}

impl Shared {
    fn write_snapshot(&self, stored: &Stored, into: &Path, newest: Newest) -> Result<SnapshotInfo> {
        let disk = &*stored.disk;
        let folder = into.join(files::BLOCKS);
        disk.create_folder(&folder)?;
        let mut info = SnapshotInfo::default();
        let blocks = self.read().blocks.clone();
        for block in blocks.iter() {
            info.written_bytes += copy_block(disk, block, &folder)?;
            info.add(block);
        }
        if newest == Newest::Included {
            for block in self.write_head(stored, into)? {
                info.written_bytes += block.meta.bytes;
                info.add(&block);
            }
        }
        let tombstones = self.read().tombstones.clone();
        if !tombstones.is_empty() {
            replace(disk, &into.join(files::TOMBSTONES), &encode(&tombstones))?;
        }
        // What readers with a cursor and pages need beside samples.
        self.finish_checkpoint(CheckpointWriter::begin(stored.disk.clone(), into, 1)?)?;
        disk.sync_folder(&folder)?;
        disk.sync_folder(into)?;
        disk.sync_folder(into.parent().unwrap_or(Path::new(".")))?;
        Ok(info)
    }

    /// Writes what is in the head as blocks into another folder.
    fn write_head(&self, stored: &Stored, into: &Path) -> Result<Vec<Arc<Block>>> {
        let (held, _) = self.read().head.arrivals.windows();
        let windows = held.into_iter().map(|(start, _)| window_of(start, &BTreeSet::new()));
        let windows = windows.map(|w| (w.start.as_millis(), w.end.as_millis())).collect();
        self.write_blocks(stored, into, &self.series_list(), &windows, Head::parts)
    }
}

impl SnapshotInfo {
    fn add(&mut self, block: &Block) {
        let (meta, range) = (&block.meta, block.meta.range());
        self.blocks += 1;
        self.bytes += meta.bytes;
        self.samples += meta.samples;
        self.range = Some(match self.range {
            Some(known) => TimeRange::new(known.start.min(range.start), known.end.max(range.end)),
            None => range,
        });
    }
}

/// Links a block's files into `folder`, or copies them where that cannot be; returns the bytes copied.
fn copy_block(disk: &dyn Disk, block: &Block, folder: &Path) -> Result<u64> {
    let target = folder.join(block.name());
    disk.create_folder(&target)?;
    let mut copied = 0;
    for name in [files::CHUNKS, files::INDEX, files::META] {
        let (source, target) = (block.folder.join(name), target.join(name));
        if disk.link(&source, &target).is_err() {
            // Another file system, or one without links.
            copied += copy_file(disk, &source, &target)?;
        }
    }
    disk.sync_folder(&target)?;
    Ok(copied)
}

/// Copies a file and syncs the copy; returns its bytes.
fn copy_file(disk: &dyn Disk, source: &Path, target: &Path) -> disk::Result<u64> {
    let (source, target) = (disk.open(source)?, disk.create(target)?);
    let bytes = source.size()?;
    let mut at = 0;
    while at < bytes {
        let piece = source.read_exact_at(at, usize::try_from((bytes - at).min(PIECE_BYTES)).unwrap_or(0))?;
        target.write_at(at, &piece)?;
        at += piece.len() as u64;
    }
    target.sync()?;
    Ok(bytes)
}
