//! Looking into a store's folder without opening it, also while a box works in it: blocks and logs as they lie.

use std::path::Path;
use std::sync::Arc;

use super::block::{Block, BlockMeta};
use super::files;
use crate::model::Timestamp;
use crate::storage::disk::{self, Disk};

/// A block as it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockAbout {
    /// Unique in the store, rising.
    pub number: u64,
    /// Its folder's name.
    pub name: String,
    /// The window it was cut for, end excluded.
    pub start: Timestamp,
    /// See `start`.
    pub end: Timestamp,
    /// Series in it.
    pub series: u64,
    /// Samples in it.
    pub samples: u64,
    /// Chunks in it.
    pub chunks: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// 1 as cut from the head, more after merging.
    pub level: u32,
}

impl BlockAbout {
    fn of(name: String, meta: &BlockMeta) -> Self {
        BlockAbout {
            number: meta.number,
            name,
            start: meta.range().start,
            end: meta.range().end,
            series: meta.series,
            samples: meta.samples,
            chunks: meta.chunks,
            bytes: meta.bytes,
            level: meta.level,
        }
    }
}

/// Returns the blocks in a store's folder, by number, and what is wrong with those that do not open.
///
/// # Errors
/// When the folder cannot be listed; one that is not there has no blocks.
pub(crate) fn blocks(disk: &Arc<dyn Disk>, folder: &Path) -> disk::Result<(Vec<(Block, BlockAbout)>, Vec<String>)> {
    let (mut blocks, mut damages) = (Vec::new(), Vec::new());
    let folder = folder.join(files::BLOCKS);
    if !disk.exists(&folder) {
        return Ok((blocks, damages));
    }
    for entry in disk.list(&folder)?.into_iter().filter(|entry| entry.is_folder) {
        if files::is_temporary(&entry.name) || files::block_number(&entry.name).is_none() {
            continue;
        }
        match Block::open(disk, &folder.join(&entry.name)) {
            Ok(block) => {
                let about = BlockAbout::of(entry.name, &block.meta);
                blocks.push((block, about));
            }
            // Merged or retired meanwhile by the box that works here.
            Err(error) if error.is_not_found() && !disk.exists(&folder.join(&entry.name)) => {}
            Err(error) => damages.push(error.to_string()),
        }
    }
    blocks.sort_by_key(|(block, _)| block.meta.number);
    Ok((blocks, damages))
}
