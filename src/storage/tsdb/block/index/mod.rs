//! # Format
//!
//! `index` in a block's folder: its series sorted by labels, where their chunks are, and which series carry a
//! label. Version 1, little-endian. Five parts one after the other:
//!
//! | part     | bytes | meaning                                                             |
//! |----------|-------|---------------------------------------------------------------------|
//! | magic    | 8     | `ANDONIDX`                                                          |
//! | symbols  |       | section                                                             |
//! | series   |       | section                                                             |
//! | postings |       | section                                                             |
//! | contents | 56    | see below                                                           |
//!
//! A section is a zstd frame. The contents stand at the end of the file:
//!
//! | field    | bytes  | meaning                                                                       |
//! |----------|--------|-------------------------------------------------------------------------------|
//! | section  | 3 × 16 | for symbols, series, postings: packed length (4), plain length (4), CRC-32C of the packed bytes (4), number of entries (4) |
//! | version  | 4      | 1                                                                             |
//! | checksum | 4      | CRC-32C of magic, the three entries and version                               |
//!
//! Symbols are all label names and values, sorted, each once: a varint length and UTF-8 each; a symbol is
//! named by its place. Series are sorted by labels: a varint number of labels, symbols of name and value each
//! (varints), a varint number of chunks, then for each chunk: first time as difference to the last time of
//! the chunk before (or to 0), last time as difference to the first (signed varints), number of samples,
//! offset (signed varint, difference to the chunk before in the file) and length of the times' column, offset
//! (difference to the end of the values' column before in the file) and length of the values' column.
//! Postings are sorted by name, then value: symbols of both, a varint number of series, and their places in
//! the series section, each as difference to the one before.
//!
//! Damage: a section whose checksum does not fit, or that does not decode, makes the block unreadable: it is
//! put aside and reported. Caps: 1 GiB a section.
//! Growth: another version is refused.

mod reader;
mod writer;

pub(crate) use self::reader::Index;
pub(crate) use self::writer::IndexWriter;

const MAGIC: &[u8; 8] = b"ANDONIDX";
const VERSION: u32 = 1;
const SECTIONS: usize = 3;
const CONTENTS_BYTES: usize = SECTIONS * 16 + 4 + 4;
const SECTION_BYTES_MAX: u32 = 1 << 30;

/// Where a chunk of a series is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ChunkPlace {
    pub(crate) min: i64,
    pub(crate) max: i64,
    pub(crate) count: u32,
    pub(crate) times: ColumnPlace,
    pub(crate) values: ColumnPlace,
}

/// Where a column stands in the file of chunks, its checksum not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ColumnPlace {
    pub(crate) offset: u64,
    pub(crate) length: u32,
}
