//! Gathers the series of a block and writes its index.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{CONTENTS_BYTES, ChunkPlace, ColumnPlace, MAGIC, SECTION_BYTES_MAX, VERSION};
use crate::model::Labels;
use crate::storage::disk::{ByteWriter, crc32c};

/// Sections are read often and written once.
const ZSTD_LEVEL: i32 = 5;

/// An index in the making. Memory: 8 bytes per label of each series, and about 12 per chunk.
#[derive(Debug, Default)]
pub(crate) struct IndexWriter {
    symbols: HashMap<Arc<str>, u32>,
    /// Per series the symbols of its labels, in order of coming: name, value, name, value, ...
    labels: Vec<u32>,
    /// Per series where its labels end in `labels`, and its chunks in `chunks`.
    ends: Vec<(usize, usize)>,
    /// Places of chunks, as in the file.
    chunks: ByteWriter,
    last_times: u64,
    values_end: u64,
}

impl IndexWriter {
    /// Adds a series; they come sorted by labels.
    pub(crate) fn add(&mut self, labels: &Labels, places: &[ChunkPlace]) {
        for (name, value) in labels.iter() {
            for text in [name, value] {
                let symbol = self.symbol(text);
                self.labels.push(symbol);
            }
        }
        self.chunks.varint(places.len() as u64);
        let mut last = 0_i64;
        for place in places {
            self.chunks.signed_varint(place.min.wrapping_sub(last));
            self.chunks.signed_varint(place.max.wrapping_sub(place.min));
            self.chunks.varint(u64::from(place.count));
            self.chunks.signed_varint(place.times.offset.wrapping_sub(self.last_times).cast_signed());
            self.chunks.varint(u64::from(place.times.length));
            self.chunks.signed_varint(place.values.offset.wrapping_sub(self.values_end).cast_signed());
            self.chunks.varint(u64::from(place.values.length));
            last = place.max;
            self.last_times = place.times.offset;
            self.values_end = end_of(place.values);
        }
        self.ends.push((self.labels.len(), self.chunks.len()));
    }

    fn symbol(&mut self, text: &str) -> u32 {
        if let Some(symbol) = self.symbols.get(text) {
            return *symbol;
        }
        let symbol = u32::try_from(self.symbols.len()).unwrap_or(u32::MAX);
        self.symbols.insert(text.into(), symbol);
        symbol
    }

    /// Returns the file's content; `None` if a section would be over its cap.
    pub(crate) fn finish(mut self) -> Option<Vec<u8>> {
        let symbol_count = self.symbols.len();
        let symbols = self.sort_symbols();
        let (postings, pair_count) = self.postings();
        let series = self.series();
        let mut out = MAGIC.to_vec();
        let mut contents = ByteWriter::default();
        for (plain, entries) in [(symbols, symbol_count), (series, self.ends.len()), (postings, pair_count)] {
            let packed = zstd::bulk::compress(&plain, ZSTD_LEVEL).ok()?;
            let length = |n: usize| u32::try_from(n).ok().filter(|n| *n <= SECTION_BYTES_MAX);
            contents.u32(length(packed.len())?);
            contents.u32(length(plain.len())?);
            contents.u32(crc32c(&packed));
            contents.u32(u32::try_from(entries).ok()?);
            out.extend_from_slice(&packed);
        }
        contents.u32(VERSION);
        contents.u32(super::reader::contents_checksum(contents.as_slice()));
        debug_assert_eq!(contents.len(), CONTENTS_BYTES, "bug: length of the contents");
        out.extend_from_slice(contents.as_slice());
        Some(out)
    }

    /// Renames symbols to their sorted places; returns the section.
    fn sort_symbols(&mut self) -> Vec<u8> {
        let mut sorted: Vec<(Arc<str>, u32)> = std::mem::take(&mut self.symbols).into_iter().collect();
        sorted.sort_unstable();
        let mut section = ByteWriter::default();
        let mut places = vec![0_u32; sorted.len()];
        for ((text, symbol), place) in sorted.iter().zip(0_u32..) {
            section.text(text);
            if let Some(p) = places.get_mut(*symbol as usize) {
                *p = place;
            }
        }
        for symbol in &mut self.labels {
            *symbol = places.get(*symbol as usize).copied().unwrap_or(0);
        }
        section.into_bytes()
    }

    fn series(&self) -> Vec<u8> {
        let mut section = ByteWriter::default();
        let (mut labels_start, mut chunks_start) = (0, 0);
        for (labels_end, chunks_end) in &self.ends {
            let labels = self.labels.get(labels_start..*labels_end).unwrap_or_default();
            section.varint(labels.len() as u64 / 2);
            labels.iter().for_each(|symbol| section.varint(u64::from(*symbol)));
            section.raw(self.chunks.as_slice().get(chunks_start..*chunks_end).unwrap_or_default());
            (labels_start, chunks_start) = (*labels_end, *chunks_end);
        }
        section.into_bytes()
    }

    fn postings(&self) -> (Vec<u8>, usize) {
        let mut lists: BTreeMap<(u32, u32), (u32, u32, ByteWriter)> = BTreeMap::new();
        let mut start = 0;
        for ((end, _), series) in self.ends.iter().zip(0_u32..) {
            for pair in self.labels.get(start..*end).unwrap_or_default().chunks_exact(2) {
                let [name, value] = pair else { continue };
                let (count, last, list) = lists.entry((*name, *value)).or_default();
                list.varint(u64::from(series - *last));
                *last = series;
                *count += 1;
            }
            start = *end;
        }
        let mut section = ByteWriter::default();
        let pairs = lists.len();
        for ((name, value), (count, _, list)) in lists {
            section.varint(u64::from(name));
            section.varint(u64::from(value));
            section.varint(u64::from(count));
            section.raw(list.as_slice());
        }
        (section.into_bytes(), pairs)
    }
}

/// Returns where the bytes behind a column and its checksum begin.
pub(super) fn end_of(column: ColumnPlace) -> u64 {
    column.offset + u64::from(column.length) + 4
}
