//! # Format
//!
//! `chunks` in a block's folder: columns one behind the other. Version 3.
//!
//! | part     | bytes | meaning                                                                      |
//! |----------|-------|------------------------------------------------------------------------------|
//! | magic    | 8     | `ANDONCH3`                                                                   |
//! | columns  |       | each a column (values: `column/values.rs`, without their number; times: `column/integers.rs` behind a varint count), then its CRC-32C (4, little-endian) |
//! | contents |       | as at the end of `index`, see `index/mod.rs`                                 |
//!
//! Where a column stands and how long it is, says the index. Columns of times are written once for all chunks
//! that have the same times, and once more if many do; equal columns of values are written once.
//!
//! Damage: a column whose checksum does not fit costs the chunks that name it; it is reported, the rest of
//! the block is read. Of times that are there twice the copy is read. Growth: another magic is refused.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use foldhash::fast::FixedState;
use xxhash_rust::xxh3::xxh3_128;

use super::index::{ChunkPlace, ColumnPlace, Contents, MAGIC, PageWriter, TimesPlace};
use super::meta::BlockMeta;
use crate::model::{Labels, TimeRange};
use crate::storage::disk::{ByteWriter, Disk, DiskFile, Error, Result, TEMPORARY_SUFFIX, crc32c};
use crate::storage::tsdb::chunk::Window;
use crate::storage::tsdb::column::{COLUMN_SAMPLES_MAX, Effort, encode_bare_values, encode_times};
use crate::storage::tsdb::files;

pub(super) const CHUNKS_MAGIC: &[u8; 8] = b"ANDONCH3";

/// Samples in a chunk: a reader of a moment unpacks so many, and a column of 480 is nearly as small as one of
/// thousands.
const CHUNK_SAMPLES_MAX: usize = 960;

/// Bytes go to the files in pieces of this size.
const PIECE_BYTES: usize = 256 << 10;

/// So many times are kept to be found again, 4 MiB.
const TIMES_KEPT_MAX: usize = 512 << 10;

/// Columns of times that so many chunks share are written twice: one damaged place must not cost them all.
const COPY_FROM_USES: u32 = 8;

/// So many columns of values are kept to be found again, 9 MiB.
const VALUES_KEPT_MAX: usize = 200_000;

/// A shorter column of values is written again: that costs less than saying where it is.
const VALUES_KEPT_FROM_BYTES: usize = 24;

/// A block in the making: a folder with a temporary name until [`BlockWriter::finish`]. Memory: under 20 MiB,
/// however large the block.
#[derive(Debug)]
pub(crate) struct BlockWriter {
    disk: Arc<dyn Disk>,
    blocks: PathBuf,
    temporary: PathBuf,
    chunks: Piecewise,
    index: Piecewise,
    page: PageWriter,
    contents: Contents,
    /// Columns of times that are in the file, by first, last and number.
    times: HashMap<(i64, i64, u32), Vec<KeptTimes>, FixedState>,
    times_kept: usize,
    /// Columns of values that are in the file, by hash.
    values: HashMap<u128, ColumnPlace, FixedState>,
    /// Chunks of the series that is being added.
    places: Vec<ChunkPlace>,
    effort: Effort,
    series: u64,
    samples: u64,
    chunk_count: u64,
}

/// A column of times that may come again.
#[derive(Debug)]
struct KeptTimes {
    times: Box<[i64]>,
    column: Box<[u8]>,
    place: TimesPlace,
    uses: u32,
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
    /// Begins a block of samples that are nowhere else in blocks.
    pub(crate) fn begin(disk: Arc<dyn Disk>, blocks: &Path, number: u64, effort: Effort) -> Result<Self> {
        Self::begin_as(disk, blocks, &format!("{number:08}{TEMPORARY_SUFFIX}"), effort)
    }

    /// Begins a block that takes the place of others.
    pub(crate) fn begin_merge(disk: Arc<dyn Disk>, blocks: &Path, number: u64) -> Result<Self> {
        Self::begin_as(disk, blocks, &format!("{number:08}{}", files::MERGE_SUFFIX), Effort::Small)
    }

    fn begin_as(disk: Arc<dyn Disk>, blocks: &Path, name: &str, effort: Effort) -> Result<Self> {
        let temporary = blocks.join(name);
        match disk.remove_folder(&temporary) {
            Err(e) if !e.is_not_found() => return Err(e),
            _ => {}
        }
        disk.create_folder(&temporary)?;
        let chunks = Piecewise::new(disk.create(&temporary.join(files::CHUNKS))?, CHUNKS_MAGIC);
        let index = Piecewise::new(disk.create(&temporary.join(files::INDEX))?, MAGIC);
        Ok(BlockWriter {
            disk,
            blocks: blocks.to_owned(),
            temporary,
            chunks,
            index,
            page: PageWriter::default(),
            contents: Contents::default(),
            times: HashMap::default(),
            times_kept: 0,
            values: HashMap::default(),
            places: Vec::new(),
            effort,
            series: 0,
            samples: 0,
            chunk_count: 0,
        })
    }

    /// Adds a series; they come sorted by labels, each once. One without samples is left out.
    pub(crate) fn add(&mut self, labels: &Labels, window: &Window) -> Result<()> {
        self.put_window(window)?;
        self.end_series(labels)
    }

    /// Adds samples to the series that [`BlockWriter::end_series`] will name; they lie behind those before.
    pub(crate) fn put_window(&mut self, window: &Window) -> Result<()> {
        if window.is_empty() {
            return Ok(());
        }
        let pieces = window.len().div_ceil(CHUNK_SAMPLES_MAX);
        let length = window.len().div_ceil(pieces);
        let mut column = ByteWriter::default();
        for (times, values) in window.times.chunks(length).zip(window.values.chunks(length)) {
            column.clear();
            encode_bare_values(values, self.effort, &mut column);
            self.put_chunk(times, column.as_slice())?;
        }
        Ok(())
    }

    /// Adds a chunk whose values are packed already.
    pub(crate) fn put_chunk(&mut self, times: &[i64], column: &[u8]) -> Result<()> {
        let times = self.put_times(times)?;
        let values = self.put_values(column)?;
        self.places.push(ChunkPlace { times, values });
        Ok(())
    }

    /// Names the series whose samples were put since the last call.
    pub(crate) fn end_series(&mut self, labels: &Labels) -> Result<()> {
        if self.places.is_empty() {
            return Ok(());
        }
        if self.places.len() > COLUMN_SAMPLES_MAX {
            return Err(self.too_large());
        }
        if self.page.is_full_for(labels, self.places.len()) {
            self.end_page()?;
        }
        self.page.add(labels, &self.places);
        self.series += 1;
        self.samples += self.places.iter().map(|c| u64::from(c.times.count)).sum::<u64>();
        self.chunk_count += self.places.len() as u64;
        self.places.clear();
        Ok(())
    }

    fn put_times(&mut self, times: &[i64]) -> Result<TimesPlace> {
        let (Some(min), Some(max)) = (times.first(), times.last()) else { return Err(self.too_large()) };
        let key = (*min, *max, u32::try_from(times.len()).unwrap_or(u32::MAX));
        if let Some(kept) = self.times.get_mut(&key).and_then(|k| k.iter_mut().find(|k| *k.times == *times)) {
            kept.uses += 1;
            return Ok(kept.place);
        }
        if self.times_kept + times.len() > TIMES_KEPT_MAX {
            self.copy_times()?;
        }
        let mut column = ByteWriter::default();
        encode_times(times, Effort::Small, &mut column);
        let column = column.into_bytes().into_boxed_slice();
        let place = TimesPlace { column: self.chunks.put(&column)?, min: key.0, max: key.1, count: key.2 };
        self.times_kept += times.len();
        self.times.entry(key).or_default().push(KeptTimes { times: times.into(), column, place, uses: 1 });
        Ok(place)
    }

    fn put_values(&mut self, column: &[u8]) -> Result<ColumnPlace> {
        if column.len() < VALUES_KEPT_FROM_BYTES {
            return self.chunks.put(column);
        }
        let hash = xxh3_128(column);
        if let Some(place) = self.values.get(&hash).filter(|p| p.length as usize == column.len()) {
            return Ok(*place);
        }
        if self.values.len() >= VALUES_KEPT_MAX {
            self.values.clear();
        }
        let place = self.chunks.put(column)?;
        self.values.insert(hash, place);
        Ok(place)
    }

    /// Writes columns of times that many chunks share once more, and forgets all.
    fn copy_times(&mut self) -> Result<()> {
        self.times_kept = 0;
        let mut shared: Vec<KeptTimes> =
            self.times.drain().flat_map(|(_, kept)| kept).filter(|kept| kept.uses >= COPY_FROM_USES).collect();
        shared.sort_unstable_by_key(|kept| kept.place.column.offset);
        for kept in shared {
            let copy = self.chunks.put(&kept.column)?;
            self.contents.copies.push((kept.place.column.offset, copy.offset));
        }
        Ok(())
    }

    fn end_page(&mut self) -> Result<()> {
        let offset = self.index.end();
        self.contents.pages.extend(self.page.finish(offset, &mut self.index.piece));
        self.index.flush_if(PIECE_BYTES)
    }

    /// Makes the block last and visible; returns its meta and folder, `None` if there was no series.
    pub(crate) fn finish(mut self, origin: Origin) -> Result<Option<(BlockMeta, PathBuf)>> {
        self.end_page()?;
        let min = self.contents.pages.iter().map(|p| p.min).min();
        let Some((min_ms, max_ms)) = min.zip(self.contents.pages.iter().map(|p| p.max).max()) else {
            self.abandon();
            return Ok(None);
        };
        self.copy_times()?;
        self.contents.copies.sort_unstable();
        let name = files::block(origin.number, origin.window.start.as_millis());
        let mut meta = BlockMeta {
            version: 2,
            number: origin.number,
            start_ms: origin.window.start.as_millis(),
            end_ms: origin.window.end.as_millis(),
            min_ms,
            max_ms,
            series: self.series,
            samples: self.samples,
            chunks: self.chunk_count,
            bytes: 0,
            level: origin.level,
            rank: origin.rank,
            merged: origin.merged,
            checksum: String::new(),
        };
        self.contents.meta = String::from_utf8(meta.to_json()).unwrap_or_default();
        let contents = self.contents.encode();
        for file in [&mut self.chunks, &mut self.index] {
            file.piece.extend_from_slice(&contents);
            file.flush_if(0)?;
            file.file.sync()?;
        }
        meta.bytes = self.chunks.written + self.index.written;
        let file = self.disk.create(&self.temporary.join(files::META))?;
        file.write_at(0, &meta.to_json())?;
        file.sync()?;
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

    fn too_large(&self) -> Error {
        Error::Io {
            operation: "index",
            path: self.temporary.join(files::INDEX),
            source: std::io::Error::from(std::io::ErrorKind::FileTooLarge),
        }
    }
}

/// A file that is written from front to end.
#[derive(Debug)]
struct Piecewise {
    file: Arc<dyn DiskFile>,
    written: u64,
    piece: Vec<u8>,
}

impl Piecewise {
    fn new(file: Arc<dyn DiskFile>, magic: &[u8; 8]) -> Self {
        Piecewise { file, written: 0, piece: magic.to_vec() }
    }

    /// Returns where the next byte goes.
    fn end(&self) -> u64 {
        self.written + self.piece.len() as u64
    }

    /// Appends a column and its checksum.
    fn put(&mut self, column: &[u8]) -> Result<ColumnPlace> {
        let offset = self.end();
        self.piece.extend_from_slice(column);
        self.piece.extend_from_slice(&crc32c(column).to_le_bytes());
        self.flush_if(PIECE_BYTES)?;
        Ok(ColumnPlace { offset, length: u32::try_from(column.len()).unwrap_or(u32::MAX) })
    }

    /// Writes the piece if it has so many bytes.
    fn flush_if(&mut self, bytes: usize) -> Result<()> {
        if self.piece.len() >= bytes {
            self.file.write_at(self.written, &self.piece)?;
            self.written += self.piece.len() as u64;
            self.piece.clear();
        }
        Ok(())
    }
}
