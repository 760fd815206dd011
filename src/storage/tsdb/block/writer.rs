//! # Format
//!
//! `chunks` in a block's folder: columns one behind the other. Version 2.
//!
//! | part    | bytes | meaning                                                          |
//! |---------|-------|------------------------------------------------------------------|
//! | magic   | 8     | `ANDONCH2`                                                       |
//! | columns |       | each a column (`column/values.rs`, or times as `column/integers.rs` behind a varint count), then its CRC-32C (4, little-endian) |
//!
//! Where a column stands and how long it is, says the index. Columns of times are written once for all chunks
//! that have the same times. A chunk has at most 8192 samples.
//!
//! Damage: a column whose checksum does not fit costs the chunks that name it; it is reported, the rest of
//! the block is read. Growth: another magic is refused.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::index::{ChunkPlace, ColumnPlace, IndexWriter};
use super::meta::BlockMeta;
use crate::model::{Labels, TimeRange};
use crate::storage::disk::{ByteWriter, Disk, DiskFile, Error, Result, TEMPORARY_SUFFIX, crc32c};
use crate::storage::tsdb::chunk::Window;
use crate::storage::tsdb::column::{Effort, encode_times, encode_values};
use crate::storage::tsdb::files;

pub(super) const CHUNKS_MAGIC: &[u8; 8] = b"ANDONCH2";

const CHUNK_SAMPLES_MAX: usize = 8192;

/// Columns go to the file in pieces of this size.
const PIECE_BYTES: usize = 256 << 10;

/// So many columns of times are kept to be found again.
const TIMES_KEPT_MAX: usize = 4096;

/// A block in the making: a folder with a temporary name until [`BlockWriter::finish`].
#[derive(Debug)]
pub(crate) struct BlockWriter {
    disk: Arc<dyn Disk>,
    blocks: PathBuf,
    temporary: PathBuf,
    chunks: Arc<dyn DiskFile>,
    written: u64,
    piece: Vec<u8>,
    index: IndexWriter,
    /// Columns of times that are in the file, by content.
    times: HashMap<Vec<u8>, ColumnPlace, FixedState>,
    effort: Effort,
    range: Option<(i64, i64)>,
    series: u64,
    samples: u64,
    chunk_count: u64,
}

/// What a block is made from.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) number: u64,
    pub(crate) window: TimeRange,
    pub(crate) level: u32,
    pub(crate) rank: u64,
    pub(crate) merged: Vec<String>,
}

impl BlockWriter {
    pub(crate) fn begin(disk: Arc<dyn Disk>, blocks: &Path, number: u64, effort: Effort) -> Result<Self> {
        let temporary = blocks.join(format!("{number:08}{TEMPORARY_SUFFIX}"));
        match disk.remove_folder(&temporary) {
            Err(e) if !e.is_not_found() => return Err(e),
            _ => {}
        }
        disk.create_folder(&temporary)?;
        let chunks = disk.create(&temporary.join(files::CHUNKS))?;
        Ok(BlockWriter {
            disk,
            blocks: blocks.to_owned(),
            temporary,
            chunks,
            written: 0,
            piece: CHUNKS_MAGIC.to_vec(),
            index: IndexWriter::default(),
            times: HashMap::default(),
            effort,
            range: None,
            series: 0,
            samples: 0,
            chunk_count: 0,
        })
    }

    /// Adds a series; they come sorted by labels. One without samples is left out.
    pub(crate) fn add(&mut self, labels: &Labels, window: &Window) -> Result<()> {
        let Some((min, max)) = window.range() else { return Ok(()) };
        let mut places = Vec::new();
        let (times, values) = (window.times.chunks(CHUNK_SAMPLES_MAX), window.values.chunks(CHUNK_SAMPLES_MAX));
        for (times, values) in times.zip(values) {
            let (Some(min), Some(max)) = (times.first(), times.last()) else { continue };
            let count = u32::try_from(times.len()).unwrap_or(u32::MAX);
            let times = self.put_times(times)?;
            let mut column = ByteWriter::default();
            encode_values(values, self.effort, &mut column);
            let values = self.put(column.as_slice())?;
            places.push(ChunkPlace { min: *min, max: *max, count, times, values });
        }
        self.index.add(labels, &places);
        self.range = Some(self.range.map_or((min, max), |r| (r.0.min(min), r.1.max(max))));
        self.series += 1;
        self.samples += window.len() as u64;
        self.chunk_count += places.len() as u64;
        Ok(())
    }

    fn put_times(&mut self, times: &[i64]) -> Result<ColumnPlace> {
        let mut column = ByteWriter::default();
        encode_times(times, self.effort, &mut column);
        if let Some(place) = self.times.get(column.as_slice()) {
            return Ok(*place);
        }
        let place = self.put(column.as_slice())?;
        if self.times.len() >= TIMES_KEPT_MAX {
            self.times.clear();
        }
        self.times.insert(column.into_bytes(), place);
        Ok(place)
    }

    fn put(&mut self, column: &[u8]) -> Result<ColumnPlace> {
        let offset = self.written + self.piece.len() as u64;
        self.piece.extend_from_slice(column);
        self.piece.extend_from_slice(&crc32c(column).to_le_bytes());
        if self.piece.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(ColumnPlace { offset, length: u32::try_from(column.len()).unwrap_or(u32::MAX) })
    }

    fn flush(&mut self) -> Result<()> {
        self.chunks.write_at(self.written, &self.piece)?;
        self.written += self.piece.len() as u64;
        self.piece.clear();
        Ok(())
    }

    /// Makes the block last and visible; returns its meta and folder, `None` if there was no series.
    pub(crate) fn finish(mut self, origin: Origin) -> Result<Option<(BlockMeta, PathBuf)>> {
        let Some((min_ms, max_ms)) = self.range else {
            self.abandon();
            return Ok(None);
        };
        self.flush()?;
        self.chunks.sync()?;
        let index_path = self.temporary.join(files::INDEX);
        let too_large = || Error::Io {
            operation: "index",
            path: index_path.clone(),
            source: std::io::Error::from(std::io::ErrorKind::FileTooLarge),
        };
        let index = std::mem::take(&mut self.index).finish().ok_or_else(too_large)?;
        self.write_file(files::INDEX, &index)?;
        let name = files::block(origin.number, origin.window.start.as_millis());
        let meta = BlockMeta {
            version: 1,
            number: origin.number,
            start_ms: origin.window.start.as_millis(),
            end_ms: origin.window.end.as_millis(),
            min_ms,
            max_ms,
            series: self.series,
            samples: self.samples,
            chunks: self.chunk_count,
            bytes: self.written + index.len() as u64,
            level: origin.level,
            rank: origin.rank,
            merged: origin.merged,
            checksum: String::new(),
        };
        self.write_file(files::META, &meta.to_json())?;
        self.disk.sync_folder(&self.temporary)?;
        let folder = self.blocks.join(name);
        self.disk.rename(&self.temporary, &folder)?;
        self.disk.sync_folder(&self.blocks)?;
        Ok(Some((meta, folder)))
    }

    /// Removes what was written.
    pub(crate) fn abandon(&self) {
        // What stays is removed at the next start.
        let _ = self.disk.remove_folder(&self.temporary);
    }

    fn write_file(&self, name: &str, content: &[u8]) -> Result<()> {
        let file = self.disk.create(&self.temporary.join(name))?;
        file.write_at(0, content)?;
        file.sync()
    }
}
