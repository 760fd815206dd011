//! A file of packed lines of one day: written whole, never changed.
//!
//! # Format
//!
//! A part is what the head held of one day when it was written. Version 1, little-endian, varints as LEB128;
//! a label set as in `wal.rs`.
//!
//! | field   | bytes | meaning                                                                        |
//! |---------|-------|--------------------------------------------------------------------------------|
//! | magic   | 8     | `ANDONLOG`                                                                     |
//! | version | 4     | 1                                                                              |
//! | blocks  | ..    | per block its filter (`filter.rs`), then its frame (`block.rs`), in index order |
//! | index   | ..    | number of streams (varint), then the streams, sorted by label set              |
//! | footer  | 44    | see below                                                                      |
//!
//! | of a stream | bytes  | meaning                                                |
//! |-------------|--------|--------------------------------------------------------|
//! | labels      | ..     | the label set                                          |
//! | blocks      | varint | number of blocks, then the blocks, by first time       |
//!
//! | of a block      | bytes  | meaning                                           |
//! |-----------------|--------|---------------------------------------------------|
//! | filter length   | varint | bytes                                             |
//! | frame length    | varint | bytes                                             |
//! | unpacked length | varint | bytes                                             |
//! | lines           | varint | how many                                          |
//! | first           | varint | time of the first line, ns, zigzag                |
//! | last            | varint | time of the last line, ns since the first         |
//! | filter checksum | 4      | CRC-32C of the filter                             |
//! | frame checksum  | 4      | CRC-32C of the frame                              |
//!
//! | of the footer  | bytes | meaning                                   |
//! |----------------|-------|-------------------------------------------|
//! | index offset   | 8     | where the index begins                    |
//! | index length   | 4     | bytes                                     |
//! | index checksum | 4     | CRC-32C of the index                      |
//! | first, last    | 8, 8  | time of the first and the last line, ns   |
//! | checksum       | 4     | CRC-32C of magic, version and the footer so far |
//! | end            | 8     | `ANDONEND`                                |
//!
//! Damage: a part whose footer or index does not check out is put into quarantine; a block or filter that
//! does not costs itself. A part of a newer version is left alone and reported.
//! Growth: a new version number; readers keep the old ones.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::filter::FilterBuilder;
use super::lines::Lines;
use super::{block, wal};
use crate::model::Labels;
use crate::storage::disk::{ByteReader, ByteWriter, Corruption, Disk, DiskFile, Malformed, Result, crc32c, crc32c_of};

const MAGIC: &[u8; 8] = b"ANDONLOG";
const END: &[u8; 8] = b"ANDONEND";
const VERSION: u32 = 1;
const HEAD_BYTES: usize = MAGIC.len() + 4;
const CHECKED_FOOTER_BYTES: usize = 8 + 4 + 4 + 8 + 8;
const FOOTER_BYTES: usize = CHECKED_FOOTER_BYTES + 4 + END.len();

/// Larger indexes were not written by us.
const INDEX_BYTES_MAX: u32 = 64 << 20;

/// One part on disk. Its index is read when it is needed.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) path: PathBuf,
    /// Time of the first and the last line.
    pub(super) first_ns: i64,
    pub(super) last_ns: i64,
    pub(super) bytes: u64,
    index: IndexPlace,
    /// Offsets of blocks that did not check out: reported once, not read again.
    bad_blocks: Mutex<BTreeSet<u64>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct IndexPlace {
    offset: u64,
    bytes: u32,
    checksum: u32,
}

/// A stream of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PartStream {
    pub(super) labels: Labels,
    pub(super) blocks: Vec<BlockPlace>,
}

/// Where a block stands, and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlockPlace {
    pub(super) offset: u64,
    filter_bytes: u32,
    frame_bytes: u32,
    unpacked_bytes: u32,
    pub(super) lines: u64,
    pub(super) first_ns: i64,
    pub(super) last_ns: i64,
    filter_checksum: u32,
    frame_checksum: u32,
}

impl BlockPlace {
    /// Returns the bytes that it takes in the part.
    pub(super) fn bytes(&self) -> u64 {
        u64::from(self.filter_bytes) + u64::from(self.frame_bytes)
    }
}

/// Packs streams, sorted by labels, each with sorted batches that are not empty. Returns the file's bytes.
pub(super) fn encode(streams: &[(Labels, Vec<Lines>)]) -> Vec<u8> {
    let mut file = ByteWriter::default();
    file.raw(MAGIC);
    file.u32(VERSION);
    let mut index = ByteWriter::default();
    index.varint(streams.len() as u64);
    let (mut first_ns, mut last_ns) = (i64::MAX, i64::MIN);
    let mut builder = FilterBuilder::new();
    for (labels, batches) in streams {
        wal::encode_labels(&mut index, labels);
        index.varint(batches.len() as u64);
        for lines in batches {
            lines.iter().for_each(|(_, line)| builder.add(line));
            let filter = builder.finish();
            let (frame, unpacked_bytes) = block::encode(lines);
            let (first, last) = lines.bounds().unwrap_or((0, 0));
            (first_ns, last_ns) = (first_ns.min(first), last_ns.max(last));
            index.varint(filter.len() as u64);
            index.varint(frame.len() as u64);
            index.varint(unpacked_bytes as u64);
            index.varint(lines.len() as u64);
            index.signed_varint(first);
            index.varint(last.abs_diff(first));
            index.u32(crc32c(&filter));
            index.u32(crc32c(&frame));
            file.raw(&filter);
            file.raw(&frame);
        }
    }
    let mut footer = ByteWriter::default();
    footer.u64(file.len() as u64);
    footer.u32(u32::try_from(index.len()).unwrap_or(u32::MAX));
    footer.u32(crc32c(index.as_slice()));
    footer.i64(first_ns);
    footer.i64(last_ns);
    let checksum = crc32c_of(&[MAGIC, &VERSION.to_le_bytes(), footer.as_slice()]);
    file.raw(index.as_slice());
    file.raw(footer.as_slice());
    file.u32(checksum);
    file.raw(END);
    file.into_bytes()
}

impl Part {
    /// Reads footer and index and checks them. `None` for a version that is not known.
    ///
    /// # Errors
    /// `Corruption` if they do not check out, or when the disk refuses.
    pub(super) fn open(disk: &dyn Disk, path: &Path) -> Result<Option<Self>> {
        let file = disk.open(path)?;
        let bytes = file.size()?;
        let whole = |m: Malformed| m.in_file(path, 0, bytes);
        if bytes < (HEAD_BYTES + FOOTER_BYTES) as u64 {
            return Err(whole(Malformed { offset: 0, reason: "part is too short" }).into());
        }
        let head = file.read_exact_at(0, HEAD_BYTES)?;
        let footer_offset = bytes - FOOTER_BYTES as u64;
        let footer = file.read_exact_at(footer_offset, FOOTER_BYTES)?;
        let Some((index, first_ns, last_ns)) = decode_ends(&head, &footer).map_err(whole)? else { return Ok(None) };
        if index.offset.checked_add(u64::from(index.bytes)) != Some(footer_offset) {
            return Err(whole(Malformed { offset: 0, reason: "footer names another place of the index" }).into());
        }
        let bad_blocks = Mutex::default();
        let part = Part { path: path.to_owned(), first_ns, last_ns, bytes, index, bad_blocks };
        part.index(&*file)?;
        Ok(Some(part))
    }

    /// Reads the streams and their blocks.
    ///
    /// # Errors
    /// `Corruption` if the index does not check out, or when the disk refuses.
    pub(super) fn index(&self, file: &dyn DiskFile) -> Result<Vec<PartStream>> {
        let whole = |m: Malformed| m.in_file(&self.path, self.index.offset, u64::from(self.index.bytes));
        let bytes = file.read_exact_at(self.index.offset, usize::try_from(self.index.bytes).unwrap_or(usize::MAX))?;
        if crc32c(&bytes) != self.index.checksum {
            return Err(whole(Malformed { offset: 0, reason: "index does not check out" }).into());
        }
        Ok(decode_index(&bytes, self.index.offset).map_err(whole)?)
    }

    /// Reads a block's filter; an empty one, which lets all pass, if it does not check out.
    pub(super) fn filter(&self, file: &dyn DiskFile, place: &BlockPlace) -> Vec<u8> {
        let length = usize::try_from(place.filter_bytes).unwrap_or(usize::MAX);
        match file.read_exact_at(place.offset, length) {
            Ok(filter) if crc32c(&filter) == place.filter_checksum => filter,
            Ok(_) | Err(_) => Vec::new(),
        }
    }

    /// Tells whether a block's filter checks out.
    pub(super) fn has_good_filter(&self, file: &dyn DiskFile, place: &BlockPlace) -> bool {
        self.filter(file, place).len() == usize::try_from(place.filter_bytes).unwrap_or(usize::MAX)
    }

    /// Reads and unpacks a block.
    ///
    /// # Errors
    /// `Corruption` if it does not check out, or when the disk refuses.
    pub(super) fn block(&self, file: &dyn DiskFile, place: &BlockPlace) -> Result<Lines> {
        let frame = self.frame(file, place)?;
        let bad = |reason| self.bad_frame(place, reason);
        let unpacked_bytes = usize::try_from(place.unpacked_bytes).unwrap_or(usize::MAX);
        let lines = block::decode(&frame, unpacked_bytes).map_err(|m| bad(m.reason))?;
        if lines.bounds() == Some((place.first_ns, place.last_ns)) {
            Ok(lines)
        } else {
            Err(bad("block has other times than its index says").into())
        }
    }

    /// Reads a block as it lies, and checks it.
    ///
    /// # Errors
    /// As [`Part::block`].
    pub(super) fn frame(&self, file: &dyn DiskFile, place: &BlockPlace) -> Result<Vec<u8>> {
        let offset = place.offset + u64::from(place.filter_bytes);
        let frame = file.read_exact_at(offset, usize::try_from(place.frame_bytes).unwrap_or(usize::MAX))?;
        if crc32c(&frame) == place.frame_checksum {
            Ok(frame)
        } else {
            Err(self.bad_frame(place, "block does not check out").into())
        }
    }

    fn bad_frame(&self, place: &BlockPlace, reason: &'static str) -> Corruption {
        let offset = place.offset + u64::from(place.filter_bytes);
        Malformed { offset: 0, reason }.in_file(&self.path, offset, u64::from(place.frame_bytes))
    }

    /// Notes that a block did not check out; `true` the first time.
    pub(super) fn mark_bad(&self, place: &BlockPlace) -> bool {
        self.bad_blocks.lock().unwrap_or_else(PoisonError::into_inner).insert(place.offset)
    }

    pub(super) fn is_bad(&self, place: &BlockPlace) -> bool {
        self.bad_blocks.lock().unwrap_or_else(PoisonError::into_inner).contains(&place.offset)
    }

    /// Returns the whole file as a place that does not check out, for the quarantine's note.
    pub(super) fn damage(path: &Path, reason: &crate::storage::disk::Error) -> Corruption {
        match reason {
            crate::storage::disk::Error::Corruption(c) => c.clone(),
            other => Corruption { file: path.to_owned(), offset: 0, bytes: 0, reason: other.to_string() },
        }
    }
}

/// Checks a part's first and last bytes. Returns where its index is and the bounds of its times.
fn decode_ends(head: &[u8], footer: &[u8]) -> std::result::Result<Option<(IndexPlace, i64, i64)>, Malformed> {
    let mut r = ByteReader::new(head);
    if r.raw(MAGIC.len())? != MAGIC {
        return Err(Malformed { offset: 0, reason: "file does not begin as a part" });
    }
    if r.u32()? > VERSION {
        return Ok(None);
    }
    let mut r = ByteReader::new(footer);
    let index = IndexPlace { offset: r.u64()?, bytes: r.u32()?, checksum: r.u32()? };
    let (first_ns, last_ns, checksum) = (r.i64()?, r.i64()?, r.u32()?);
    let checked = footer.get(..CHECKED_FOOTER_BYTES).unwrap_or_default();
    if crc32c_of(&[head, checked]) != checksum || r.rest() != END {
        return Err(Malformed { offset: 0, reason: "footer does not check out" });
    }
    if index.bytes > INDEX_BYTES_MAX {
        return Err(Malformed { offset: 0, reason: "index is larger than an index may be" });
    }
    Ok(Some((index, first_ns, last_ns)))
}

/// Reads an index whose blocks end at `end`.
fn decode_index(bytes: &[u8], end: u64) -> std::result::Result<Vec<PartStream>, Malformed> {
    let mut r = ByteReader::new(bytes);
    let mut offset = HEAD_BYTES as u64;
    let mut streams = Vec::with_capacity(r.clone().count(2)?);
    for _ in 0..r.count(2)? {
        let labels = wal::decode_labels(&mut r)?;
        let count = r.count(14)?;
        let mut blocks = Vec::with_capacity(count);
        for _ in 0..count {
            let narrow = |r: &mut ByteReader<'_>| {
                let value = r.varint()?;
                u32::try_from(value).map_err(|_| r.malformed("length out of range"))
            };
            let (filter_bytes, frame_bytes, unpacked_bytes) = (narrow(&mut r)?, narrow(&mut r)?, narrow(&mut r)?);
            let (lines, first_ns) = (r.varint()?, r.signed_varint()?);
            let span = r.varint()?;
            let last_ns = first_ns.checked_add_unsigned(span).ok_or_else(|| r.malformed("time out of range"))?;
            let (filter_checksum, frame_checksum) = (r.u32()?, r.u32()?);
            blocks.push(BlockPlace {
                offset,
                filter_bytes,
                frame_bytes,
                unpacked_bytes,
                lines,
                first_ns,
                last_ns,
                filter_checksum,
                frame_checksum,
            });
            offset += u64::from(filter_bytes) + u64::from(frame_bytes);
        }
        streams.push(PartStream { labels, blocks });
    }
    r.end()?;
    if offset == end { Ok(streams) } else { Err(Malformed { offset: 0, reason: "blocks do not end at the index" }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::FaultyDisk;
    use crate::storage::disk::replace;

    fn sample() -> Vec<(Labels, Vec<Lines>)> {
        let batch = |times: &[i64]| {
            let mut lines = Lines::default();
            times.iter().for_each(|time| lines.push(*time, &format!("line {time}")));
            lines
        };
        let labels = |device| Labels::from_pairs([("device", device)]);
        vec![(labels("a"), vec![batch(&[1, 2]), batch(&[5])]), (labels("b"), vec![batch(&[-3])])]
    }

    fn open(bytes: &[u8]) -> (FaultyDisk, Result<Option<Part>>) {
        let disk = FaultyDisk::new(1);
        disk.create_folder(Path::new("/d")).unwrap();
        replace(&disk, Path::new("/d/1"), bytes).unwrap();
        let part = Part::open(&disk, Path::new("/d/1"));
        (disk, part)
    }

    fn read(disk: &FaultyDisk, part: &Part) -> Result<Vec<(Labels, Vec<Lines>)>> {
        let file = disk.open(&part.path)?;
        let streams = part.index(&*file)?;
        let read =
            |s: PartStream| Ok((s.labels, s.blocks.iter().map(|b| part.block(&*file, b)).collect::<Result<_>>()?));
        streams.into_iter().map(read).collect()
    }

    #[test]
    fn a_part_reads_as_written() {
        let (disk, part) = open(&encode(&sample()));
        let part = part.unwrap().unwrap();
        assert_eq!((part.first_ns, part.last_ns), (-3, 5));
        assert_eq!(read(&disk, &part).unwrap(), sample());
    }

    #[test]
    fn any_flipped_bit_is_noticed_or_harmless() {
        let good = encode(&sample());
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let (disk, part) = open(&bytes);
            // A flipped bit of the version makes it newer; one in a filter is noticed where filters are read.
            if let Ok(Some(part)) = part
                && let Ok(streams) = read(&disk, &part)
            {
                assert_eq!(streams, sample(), "bit {bit}");
                let file = disk.open(&part.path).unwrap();
                let index = part.index(&*file).unwrap();
                let filters = index.iter().flat_map(|s| &s.blocks).filter(|b| part.filter(&*file, b).is_empty());
                assert_eq!(filters.count(), 1, "bit {bit}");
            }
        }
    }

    #[test]
    fn any_cut_is_noticed() {
        let good = encode(&sample());
        for length in 0..good.len() {
            assert!(open(&good[..length]).1.is_err(), "cut to {length}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_an_index_or_an_error(bytes in proptest::collection::vec(0_u8..=255, 0..80)) {
            let _ = decode_index(&bytes, 100);
        }
    }
}
