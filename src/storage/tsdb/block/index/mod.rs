//! # Format
//!
//! `index` in a block's folder: which series it has, and where their chunks are. Version 2, little-endian.
//!
//! | part     | bytes | meaning                                                                     |
//! |----------|-------|-----------------------------------------------------------------------------|
//! | magic    | 8     | `ANDONIX2`                                                                  |
//! | pages    |       | each a page (`page.rs`) and its CRC-32C (4)                                 |
//! | contents |       | where the pages are, see below; stands at the end of `chunks` once more     |
//!
//! Series are sorted by labels over all pages; each page can be read without the others. Contents:
//!
//! | field    | bytes                     | meaning                                                          |
//! |----------|---------------------------|------------------------------------------------------------------|
//! | meta     | varint + text             | `meta.json` with `bytes` 0, in case that file is damaged         |
//! | pages    | varint                    | how many pages, then for each:                                   |
//! | length   | varint                    | bytes of the page; it begins where the one before it ends        |
//! | series   | varint                    | how many series it has                                           |
//! | times    | 2 signed varints          | first sample as difference to the page before, last to the first |
//! | names    | 2 × (varint + text)       | lowest and highest metric name in it                             |
//! | copies   | varint                    | how many columns of times are in `chunks` twice, then for each:  |
//! | original | varint                    | its offset as difference to the one before                       |
//! | copy     | varint                    | offset of the copy as difference to the original                 |
//! | length   | 4                         | bytes of all fields above                                        |
//! | checksum | 4                         | CRC-32C of all fields above                                      |
//! | magic    | 8                         | `ANDONCT2`                                                       |
//!
//! Damage: a page whose checksum does not fit costs its series, at most 1024; contents that do not check out
//! are read from `chunks` instead. Both are reported; the next merge leaves the damage behind. Without any
//! contents the block is put aside.
//! Caps: 64 MiB of contents, 16 MiB a page. Growth: another magic is refused.

mod contents;
mod page;
mod page_writer;

pub(crate) use self::contents::{Contents, PagePlace};
pub(crate) use self::page::Page;
pub(crate) use self::page_writer::PageWriter;

/// Begins the file.
pub(super) const MAGIC: &[u8; 8] = b"ANDONIX2";

/// Series in a page: what one damaged page may cost, and what a reader of one series unpacks.
const PAGE_SERIES_MAX: usize = 1024;

/// Chunks in a page.
const PAGE_CHUNKS_MAX: usize = 1 << 14;

/// Bytes of labels in a page.
const PAGE_TEXT_BYTES_MAX: usize = 1 << 20;

/// Upper bound of a page on disk, which a damaged length may not pass.
const PAGE_BYTES_MAX: u64 = 16 << 20;

/// Where a chunk of a series is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkPlace {
    pub(crate) times: TimesPlace,
    pub(crate) values: ColumnPlace,
}

/// Where a column of times stands, and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TimesPlace {
    pub(crate) column: ColumnPlace,
    /// First and last time.
    pub(crate) min: i64,
    pub(crate) max: i64,
    pub(crate) count: u32,
}

/// Where a column stands in the file of chunks, its checksum not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ColumnPlace {
    pub(crate) offset: u64,
    pub(crate) length: u32,
}

impl ColumnPlace {
    /// Returns where the bytes behind the column and its checksum begin.
    pub(crate) fn end(self) -> u64 {
        self.offset.saturating_add(u64::from(self.length) + 4)
    }
}
