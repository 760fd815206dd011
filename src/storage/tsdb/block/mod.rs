//! A block: an immutable folder with the samples of a stretch of time.
//!
//! `meta.json` says what it is, `index` which series it has and where their chunks are, `chunks` has the
//! columns. It is written under a temporary name, synced, renamed, and the folder above synced: it is there
//! whole or not at all. It is never changed, only replaced by a merged one, and unlinked whole.
//!
//! What is read is checked. What does not check out costs itself: a column of values one chunk, a page of the
//! index its series; times that many chunks share, the contents of the index and the meta are there twice.
//! A block remembers what was found, so that it is reported once.

#[cfg(test)]
mod block_test;
mod index;
mod meta;
mod verify;
mod writer;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tracing::warn;

pub(crate) use self::index::{ChunkPlace, ColumnPlace, Contents, Page, TimesPlace};
#[cfg(test)]
pub(crate) use self::index::{PagePlace, PageWriter};
pub(crate) use self::meta::BlockMeta;
pub(crate) use self::writer::{BlockWriter, Origin};
use super::column::decode_times;
use super::files;
use super::tombstones::Deleted;
use crate::storage::disk::{Corruption, Disk, DiskFile, Error, Malformed, Result, crc32c};

/// So many places of damage are remembered; beyond it they may be reported again.
const KNOWN_MAX: usize = 4096;

/// A block, its files open. Its folder stays as long as somebody has the block, also after it was given up.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) meta: BlockMeta,
    pub(crate) folder: PathBuf,
    /// What of it was deleted since it was written.
    pub(crate) deleted: Deleted,
    index: Arc<dyn DiskFile>,
    chunks: Arc<dyn DiskFile>,
    /// Read when first asked for.
    contents: OnceLock<Contents>,
    findings: Mutex<Findings>,
    disk: Arc<dyn Disk>,
    /// Whether the folder is to be removed with the last reader.
    is_given_up: AtomicBool,
}

/// What did not check out.
#[derive(Debug, Default)]
struct Findings {
    /// Where; by part of the block and offset.
    known: BTreeSet<(&'static str, u64)>,
    /// What nobody has reported yet.
    new: Vec<(&'static str, String)>,
}

impl Block {
    /// Opens a block: reads its meta, checks that the other files are there and as long as they were. Damage
    /// that costs less than the block is left to [`Block::take_findings`].
    pub(crate) fn open(disk: &Arc<dyn Disk>, folder: &Path) -> Result<Block> {
        let index = disk.open(&folder.join(files::INDEX))?;
        let chunks = disk.open(&folder.join(files::CHUNKS))?;
        let bytes = index.size()? + chunks.size()?;
        let (meta, damage) = read_meta(disk, folder, &index, &chunks, bytes)?;
        let block = Block {
            meta,
            folder: folder.to_owned(),
            deleted: Deleted::default(),
            index,
            chunks,
            contents: OnceLock::new(),
            findings: Mutex::default(),
            disk: disk.clone(),
            is_given_up: AtomicBool::new(false),
        };
        if let Some(damage) = damage {
            block.found("block", &damage);
        }
        if bytes != block.meta.bytes {
            let reason = format!("files have {bytes} bytes, expected {}", block.meta.bytes);
            block.found("block", &Corruption { file: folder.to_owned(), offset: 1, bytes, reason });
        }
        for (file, magic) in [(&block.index, index::MAGIC), (&block.chunks, writer::CHUNKS_MAGIC)] {
            let mut found = [0; 8];
            file.read_at(0, &mut found)?;
            if found != *magic {
                let damage = Malformed { offset: 0, reason: "not what it should begin with" };
                block.found("block", &damage.in_file(file.path(), 0, 8));
            }
        }
        Ok(block)
    }

    /// Returns where the pages are. Cost: reads them when first asked for, 100 bytes a page.
    ///
    /// # Errors
    /// Corruption if both copies do not check out.
    pub(crate) fn contents(&self) -> Result<&Contents> {
        if let Some(contents) = self.contents.get() {
            return Ok(contents);
        }
        let contents = match Contents::read(&*self.index) {
            Err(Error::Corruption(damage)) => {
                let copy = Contents::read(&*self.chunks).map_err(|_| Error::Corruption(damage.clone()))?;
                self.found("index", &damage);
                copy
            }
            other => other?,
        };
        Ok(self.contents.get_or_init(|| contents))
    }

    /// Reads a page of the index; `None` if it does not check out, which is noted. Cost: unpacks a thousand
    /// series; ask the [`super::cache::PageCache`].
    pub(crate) fn read_page(&self, number: usize) -> Result<Option<Page>> {
        let Some(place) = self.contents()?.pages.get(number) else { return Ok(None) };
        let column = ColumnPlace { offset: place.offset, length: place.length };
        let page = read_checked(&*self.index, column).and_then(|bytes| {
            let page = Page::parse(&bytes).and_then(|page| page.chunks().map(|_| page));
            page.map_err(|e| e.in_file(self.index.path(), place.offset, u64::from(place.length)).into())
        });
        match page {
            Err(Error::Corruption(mut damage)) => {
                damage.reason = format!("{}; {} series left out", damage.reason, place.series);
                self.found("index", &damage);
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// Reads a column of times, from its copy if need be.
    pub(crate) fn read_times(&self, place: TimesPlace) -> Result<Vec<i64>> {
        let read = |column: ColumnPlace| {
            let bytes = read_checked(&*self.chunks, column)?;
            let times = decode_times(&bytes).map_err(|e| self.damage(column, &e))?;
            if times.len() != place.count as usize || times.first() != Some(&place.min) {
                return Err(self.damage(column, &Malformed { offset: 0, reason: "not the times expected" }).into());
            }
            Ok(times)
        };
        match read(place.column) {
            Err(Error::Corruption(damage)) => {
                let copy = self.contents().ok().and_then(|c| c.copy_of(place.column.offset));
                let Some(offset) = copy else { return Err(damage.into()) };
                self.found("chunk", &damage);
                read(ColumnPlace { offset, ..place.column })
            }
            other => other,
        }
    }

    /// Reads a stretch of the file of chunks; shorter at its end.
    pub(crate) fn read_chunks(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let found = self.chunks.read_at(offset, &mut bytes)?;
        bytes.truncate(found);
        Ok(bytes)
    }

    /// Says that a column of the file of chunks does not check out.
    pub(crate) fn damage(&self, place: ColumnPlace, e: &Malformed) -> Corruption {
        e.in_file(self.chunks.path(), place.offset, u64::from(place.length))
    }

    /// Notes damage, unless it is known.
    pub(crate) fn found(&self, what: &'static str, damage: &Corruption) {
        let mut findings = self.findings.lock().unwrap_or_else(PoisonError::into_inner);
        if findings.known.len() < KNOWN_MAX && findings.known.insert((what, damage.offset)) {
            let (first, last) = (self.meta.range().start, self.meta.range().end);
            findings.new.push((what, format!("{damage}; in the block of {first} to {last}")));
        }
    }

    /// Returns what was found since the last call: what it was, and what is wrong with it.
    pub(crate) fn take_findings(&self) -> Vec<(&'static str, String)> {
        let mut findings = self.findings.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut findings.new)
    }

    /// Tells whether anything did not check out so far.
    pub(crate) fn is_damaged(&self) -> bool {
        !self.findings.lock().unwrap_or_else(PoisonError::into_inner).known.is_empty()
    }

    /// Lets the folder be removed when nobody reads it any more.
    pub(crate) fn give_up(&self) {
        self.is_given_up.store(true, Ordering::Release);
    }

    /// Returns the folder's name.
    pub(crate) fn name(&self) -> String {
        self.folder.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.is_given_up.load(Ordering::Acquire)
            && let Err(error) = self.disk.remove_folder(&self.folder)
            && !error.is_not_found()
        {
            warn!(%error, "cannot remove a block; tried again at the next start");
        }
    }
}

/// Reads `meta.json`, or the copy of it in one of the contents; then also what was wrong with the file.
fn read_meta(
    disk: &Arc<dyn Disk>,
    folder: &Path,
    index: &Arc<dyn DiskFile>,
    chunks: &Arc<dyn DiskFile>,
    bytes: u64,
) -> Result<(BlockMeta, Option<Corruption>)> {
    let path = folder.join(files::META);
    let read = || {
        let file = disk.open(&path)?;
        let size = file.size()?;
        let json = file.read_exact_at(0, usize::try_from(size.min(1 << 20)).unwrap_or(0))?;
        BlockMeta::from_json(&json).map_err(|e| Error::from(e.in_file(&path, 0, size)))
    };
    let damage = match read() {
        Ok(meta) => return Ok((meta, None)),
        Err(Error::Corruption(damage)) => damage,
        Err(other) => return Err(other),
    };
    let contents = Contents::read(&**index).or_else(|_| Contents::read(&**chunks));
    let copy = contents.ok().and_then(|c| BlockMeta::from_json(c.meta.as_bytes()).ok());
    let copy = copy.ok_or_else(|| Error::Corruption(damage.clone()))?;
    Ok((BlockMeta { bytes, ..copy }, Some(damage)))
}

/// Reads bytes with their checksum behind them.
fn read_checked(file: &dyn DiskFile, place: ColumnPlace) -> Result<Vec<u8>> {
    let length = place.length as usize;
    let mut bytes = file.read_exact_at(place.offset, length + 4)?;
    let sum = bytes.split_off(length);
    if crc32c(&bytes).to_le_bytes() != *sum {
        let e = Malformed { offset: 0, reason: "does not check out" };
        return Err(e.in_file(file.path(), place.offset, u64::from(place.length)).into());
    }
    Ok(bytes)
}

/// Returns a column from bytes with its checksum behind it; `None` if that does not fit.
pub(crate) fn checked_column(bytes: &[u8]) -> Option<&[u8]> {
    let (column, sum) = bytes.split_last_chunk::<4>()?;
    (crc32c(column).to_le_bytes() == *sum).then_some(column)
}
