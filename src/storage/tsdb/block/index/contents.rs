//! The contents of an index: small, read whole, and there twice. Format: `index/mod.rs`.

use super::{MAGIC, PAGE_BYTES_MAX};
use crate::storage::disk::{ByteReader, ByteWriter, DiskFile, Malformed, Result, crc32c};

const END_MAGIC: &[u8; 8] = b"ANDONCT2";

/// Length, checksum and magic behind the fields.
const TRAILER_BYTES: usize = 4 + 4 + END_MAGIC.len();

const BYTES_MAX: u32 = 64 << 20;

/// Where the pages of an index are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// `meta.json` with `bytes` 0.
    pub(crate) meta: String,
    pub(crate) pages: Vec<PagePlace>,
    /// Offsets of columns of times and of their copies, sorted.
    pub(crate) copies: Vec<(u64, u64)>,
}

/// Where a page is, and what a reader must know to pass it over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PagePlace {
    pub(crate) offset: u64,
    pub(crate) length: u32,
    pub(crate) series: u32,
    /// First and last sample.
    pub(crate) min: i64,
    pub(crate) max: i64,
    /// Lowest and highest metric name.
    pub(crate) first_name: Box<str>,
    pub(crate) last_name: Box<str>,
}

impl PagePlace {
    /// Tells whether a series of the page may have a sample in `[min, max]`.
    pub(crate) fn overlaps(&self, min: i64, max: i64) -> bool {
        self.min <= max && self.max >= min
    }
}

impl Contents {
    /// Returns the bytes that end a file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = ByteWriter::default();
        out.text(&self.meta);
        out.varint(self.pages.len() as u64);
        let mut last = 0_i64;
        for page in &self.pages {
            out.varint(u64::from(page.length));
            out.varint(u64::from(page.series));
            out.signed_varint(page.min.wrapping_sub(last));
            out.signed_varint(page.max.wrapping_sub(page.min));
            out.text(&page.first_name);
            out.text(&page.last_name);
            last = page.min;
        }
        out.varint(self.copies.len() as u64);
        let mut before = 0;
        for (original, copy) in &self.copies {
            out.varint(original - before);
            out.varint(copy - original);
            before = *original;
        }
        let (length, checksum) = (u32::try_from(out.len()).unwrap_or(u32::MAX), crc32c(out.as_slice()));
        out.u32(length);
        out.u32(checksum);
        out.raw(END_MAGIC);
        out.into_bytes()
    }

    /// Reads the end of a file.
    pub(crate) fn read(file: &dyn DiskFile) -> Result<Contents> {
        let size = file.size()?;
        let bad = |offset: u64, e: Malformed| e.in_file(file.path(), offset, size.saturating_sub(offset));
        let at = size.saturating_sub(TRAILER_BYTES as u64);
        let trailer = file.read_exact_at(at, TRAILER_BYTES)?;
        let (length, checksum) = parse_trailer(&trailer).map_err(|e| bad(at, e))?;
        let start = at.checked_sub(u64::from(length));
        let start = start.ok_or_else(|| bad(at, Malformed { offset: 0, reason: "contents longer than the file" }))?;
        let fields = file.read_exact_at(start, length as usize)?;
        if crc32c(&fields) != checksum {
            return Err(bad(start, Malformed { offset: 0, reason: "contents do not check out" }).into());
        }
        Contents::parse(&fields).map_err(|e| bad(start, e).into())
    }

    /// Reads the fields.
    pub(crate) fn parse(fields: &[u8]) -> std::result::Result<Contents, Malformed> {
        let mut r = ByteReader::new(fields);
        let mut contents = Contents { meta: r.text()?.to_owned(), ..Contents::default() };
        let count = r.count(6)?;
        contents.pages.reserve(count);
        let (mut offset, mut last) = (MAGIC.len() as u64, 0_i64);
        for _ in 0..count {
            let length = r.varint()?;
            let length = u32::try_from(length).ok().filter(|n| u64::from(*n) <= PAGE_BYTES_MAX);
            let length = length.ok_or_else(|| r.malformed("page too long"))?;
            let series = u32::try_from(r.varint()?).map_err(|_| r.malformed("count out of range"))?;
            let min = last.wrapping_add(r.signed_varint()?);
            let max = min.wrapping_add(r.signed_varint()?);
            let (first_name, last_name) = (r.text()?.into(), r.text()?.into());
            contents.pages.push(PagePlace { offset, length, series, min, max, first_name, last_name });
            offset += u64::from(length) + 4;
            last = min;
        }
        let count = r.count(2)?;
        contents.copies.reserve(count);
        let mut before = 0_u64;
        for _ in 0..count {
            let out_of_range = || Malformed { offset: 0, reason: "offset out of range" };
            before = before.checked_add(r.varint()?).ok_or_else(out_of_range)?;
            contents.copies.push((before, before.checked_add(r.varint()?).ok_or_else(out_of_range)?));
        }
        r.end()?;
        Ok(contents)
    }

    /// Returns where the copy of a column of times stands.
    pub(crate) fn copy_of(&self, offset: u64) -> Option<u64> {
        let at = self.copies.binary_search_by_key(&offset, |(original, _)| *original).ok()?;
        self.copies.get(at).map(|(_, copy)| *copy)
    }
}

fn parse_trailer(trailer: &[u8]) -> std::result::Result<(u32, u32), Malformed> {
    let mut r = ByteReader::new(trailer);
    let (length, checksum) = (r.u32()?, r.u32()?);
    if r.raw(END_MAGIC.len())? != END_MAGIC || length > BYTES_MAX {
        return Err(Malformed { offset: 0, reason: "no contents at the end" });
    }
    Ok((length, checksum))
}
