//! A block: an immutable folder with the samples of a stretch of time.
//!
//! `meta.json` says what it is, `index` which series it has and where their chunks are, `chunks` has the
//! columns. It is written under a temporary name, synced, renamed, and the folder above synced: it is there
//! whole or not at all. It is never changed, only replaced by a merged one, and unlinked whole. What is read
//! is checked.

mod index;
mod meta;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::warn;

#[cfg(test)]
pub(crate) use self::index::IndexWriter;
pub(crate) use self::index::{ChunkPlace, ColumnPlace, Index};
pub(crate) use self::meta::BlockMeta;
pub(crate) use self::writer::{BlockWriter, Origin};
use super::column::{decode_times, decode_values};
use super::files;
use crate::storage::disk::{Corruption, Disk, DiskFile, Malformed, Result, crc32c};

/// A block. Its folder stays as long as somebody has the block, also after it was given up.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) meta: BlockMeta,
    pub(crate) folder: PathBuf,
    disk: Arc<dyn Disk>,
    /// Whether the folder is to be removed with the last reader.
    is_given_up: AtomicBool,
}

/// A block's columns, open to read.
#[derive(Debug)]
pub(crate) struct Columns(Arc<dyn DiskFile>);

impl Block {
    /// Opens a block: reads its meta, checks that the other files are there and not shorter than they were.
    pub(crate) fn open(disk: &Arc<dyn Disk>, folder: &Path) -> Result<Block> {
        let path = folder.join(files::META);
        let file = disk.open(&path)?;
        let size = file.size()?;
        let json = file.read_exact_at(0, usize::try_from(size.min(1 << 20)).unwrap_or(0))?;
        let meta = BlockMeta::from_json(&json).map_err(|e| e.in_file(&path, 0, size))?;
        let block = Block { meta, folder: folder.to_owned(), disk: disk.clone(), is_given_up: AtomicBool::new(false) };
        let chunks = block.columns()?;
        let found = chunks.0.size()? + disk.open(&folder.join(files::INDEX))?.size()?;
        let bytes = block.meta.bytes;
        let damage = |file, reason| Corruption { file, offset: 0, bytes, reason };
        if found != bytes {
            return Err(damage(folder.to_owned(), format!("files have {found} bytes, expected {bytes}")).into());
        }
        if chunks.0.read_exact_at(0, writer::CHUNKS_MAGIC.len())? != writer::CHUNKS_MAGIC {
            return Err(damage(folder.join(files::CHUNKS), "not a file of chunks".to_owned()).into());
        }
        Ok(block)
    }

    /// Reads the index. Cost: unpacks the whole file; ask the [`super::cache::IndexCache`].
    pub(crate) fn load_index(&self) -> Result<Index> {
        Index::load(&*self.disk.open(&self.folder.join(files::INDEX))?)
    }

    /// Opens the columns.
    pub(crate) fn columns(&self) -> Result<Columns> {
        self.disk.open(&self.folder.join(files::CHUNKS)).map(Columns)
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

impl Columns {
    /// Reads the times of a chunk.
    pub(crate) fn read_times(&self, place: ColumnPlace) -> Result<Vec<i64>> {
        let column = self.read(place)?;
        decode_times(&column).map_err(|e| self.damage(place, &e).into())
    }

    /// Reads the values of a chunk.
    pub(crate) fn read_values(&self, place: ColumnPlace) -> Result<Vec<f64>> {
        let column = self.read(place)?;
        decode_values(&column).map_err(|e| self.damage(place, &e).into())
    }

    /// Says that a column does not fit the other.
    pub(crate) fn damage(&self, place: ColumnPlace, e: &Malformed) -> Corruption {
        e.in_file(self.0.path(), place.offset, u64::from(place.length))
    }

    fn read(&self, place: ColumnPlace) -> Result<Vec<u8>> {
        let length = place.length as usize;
        let mut bytes = self.0.read_exact_at(place.offset, length + 4)?;
        let sum = bytes.split_off(length);
        if crc32c(&bytes).to_le_bytes() != *sum {
            return Err(self.damage(place, &Malformed { offset: 0, reason: "column does not check out" }).into());
        }
        Ok(bytes)
    }
}
