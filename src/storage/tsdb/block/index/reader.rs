//! Reads an index: checked once when loaded, looked up without a copy afterwards.

use super::writer::end_of;
use super::{CONTENTS_BYTES, ChunkPlace, ColumnPlace, MAGIC, SECTION_BYTES_MAX, SECTIONS, VERSION};
use crate::model::{Labels, LabelsBuilder};
use crate::storage::disk::{ByteReader, DiskFile, Malformed, crc32c, crc32c_of};
use crate::storage::tsdb::postings::Postings;

/// The index of a block in memory: sections in the clear, and where things are in them.
#[derive(Debug)]
pub(crate) struct Index {
    symbols: Vec<u8>,
    /// Where each symbol's text begins and ends in `symbols`.
    symbol_places: Vec<(u32, u32)>,
    series: Vec<u8>,
    /// Where each series begins in `series`, and the offsets that its chunks are relative to.
    series_places: Vec<SeriesPlace>,
    postings: Vec<u8>,
    /// Sorted by name and value: name, value, where the list begins in `postings`.
    pairs: Vec<(u32, u32, u32)>,
}

#[derive(Debug, Clone, Copy)]
struct SeriesPlace {
    start: u32,
    /// Where the chunks begin, behind the labels.
    chunks: u32,
    times_before: u64,
    values_before: u64,
}

/// One section as the contents describe it.
struct Section {
    packed: u32,
    plain: u32,
    checksum: u32,
    entries: u32,
}

pub(super) fn contents_checksum(contents: &[u8]) -> u32 {
    crc32c_of(&[MAGIC, contents])
}

impl Index {
    /// Reads and checks a whole index.
    pub(crate) fn load(file: &dyn DiskFile) -> crate::storage::disk::Result<Index> {
        let size = file.size()?;
        let bad = |reason: &'static str| Malformed { offset: 0, reason }.in_file(file.path(), 0, size);
        let behind = (MAGIC.len() + CONTENTS_BYTES) as u64;
        if size < behind || size > behind + 3 * u64::from(SECTION_BYTES_MAX) {
            return Err(bad("index of an impossible length").into());
        }
        let bytes = file.read_exact_at(0, usize::try_from(size).unwrap_or(usize::MAX))?;
        Index::parse(&bytes).map_err(|e| e.in_file(file.path(), 0, size).into())
    }

    /// Reads and checks the content of the file.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Index, Malformed> {
        let bad = |reason| Malformed { offset: 0, reason };
        let split = bytes.len().checked_sub(CONTENTS_BYTES).ok_or(bad("index too short"))?;
        let (body, contents) = bytes.split_at_checked(split).ok_or(bad("index too short"))?;
        let sections = parse_contents(contents)?;
        let mut r = ByteReader::new(body);
        if r.raw(MAGIC.len())? != MAGIC {
            return Err(bad("not an index"));
        }
        let mut plain = Vec::with_capacity(SECTIONS);
        for section in &sections {
            let packed = r.raw(section.packed as usize)?;
            if crc32c(packed) != section.checksum || section.plain > SECTION_BYTES_MAX {
                return Err(r.malformed("section does not check out"));
            }
            let bytes = zstd::bulk::decompress(packed, section.plain as usize)
                .ok()
                .filter(|b| b.len() == section.plain as usize)
                .ok_or_else(|| r.malformed("section does not unpack"))?;
            plain.push(bytes);
        }
        r.end()?;
        let [symbols, series, postings] = <[Vec<u8>; SECTIONS]>::try_from(plain).map_err(|_| bad("sections"))?;
        let counts: Vec<usize> = sections.iter().map(|s| s.entries as usize).collect();
        let count = |i: usize| counts.get(i).copied().unwrap_or(0);
        let symbol_places = parse_symbols(&symbols, count(0))?;
        let series_places = parse_series(&series, count(1), count(0))?;
        let pairs = parse_postings(&postings, count(2), count(0), count(1))?;
        Ok(Index { symbols, symbol_places, series, series_places, postings, pairs })
    }

    /// Returns how many series there are; their ids are 0 to that, in order of their labels.
    pub(crate) fn series_count(&self) -> u32 {
        u32::try_from(self.series_places.len()).unwrap_or(u32::MAX)
    }

    /// Returns the labels of a series.
    pub(crate) fn labels(&self, series: u32) -> Labels {
        let mut builder = LabelsBuilder::default();
        self.pairs_of(series).for_each(|(name, value)| {
            builder.set(self.symbol(name), self.symbol(value));
        });
        builder.build()
    }

    /// Returns the chunks of a series, in order of time.
    pub(crate) fn chunks(&self, series: u32) -> Vec<ChunkPlace> {
        let Some(place) = self.series_places.get(series as usize) else { return Vec::new() };
        let mut r = ByteReader::new(self.series.get(place.chunks as usize..).unwrap_or_default());
        let mut offsets = (place.times_before, place.values_before);
        // Was checked when the index was loaded.
        read_chunks(&mut r, &mut offsets).unwrap_or_default()
    }

    /// Returns all label names, sorted.
    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names: Vec<u32> = self.pairs.iter().map(|(name, ..)| *name).collect();
        names.dedup();
        names.into_iter().map(|name| self.symbol(name)).collect()
    }

    /// Returns all values of a label, sorted, each with how many series have it.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = (&str, u32)> {
        self.pairs_under(name).iter().map(|(_, value, at)| (self.symbol(*value), self.list_count(*at)))
    }

    /// Returns about how many bytes of memory the index holds.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.symbols.capacity()
            + self.symbol_places.capacity() * 8
            + self.series.capacity()
            + self.series_places.capacity() * size_of::<SeriesPlace>()
            + self.postings.capacity()
            + self.pairs.capacity() * 12
    }

    fn symbol(&self, symbol: u32) -> &str {
        let place = self.symbol_places.get(symbol as usize).copied().unwrap_or((0, 0));
        let text = self.symbols.get(place.0 as usize..place.1 as usize).unwrap_or_default();
        std::str::from_utf8(text).unwrap_or("")
    }

    fn find_symbol(&self, text: &str) -> Option<u32> {
        let at = self.symbol_places.partition_point(|(start, end)| {
            self.symbols.get(*start as usize..*end as usize).unwrap_or_default() < text.as_bytes()
        });
        let symbol = u32::try_from(at).ok()?;
        (self.symbol_places.len() > at && self.symbol(symbol) == text).then_some(symbol)
    }

    /// Returns the symbols of a series' labels.
    fn pairs_of(&self, series: u32) -> impl Iterator<Item = (u32, u32)> {
        let start = self.series_places.get(series as usize).map_or(0, |p| p.start as usize);
        let mut r = ByteReader::new(self.series.get(start..).unwrap_or_default());
        let count = r.varint().unwrap_or(0);
        let symbol = |r: &mut ByteReader<'_>| u32::try_from(r.varint().unwrap_or(0)).unwrap_or(0);
        (0..count).map(move |_| (symbol(&mut r), symbol(&mut r)))
    }

    fn pairs_under(&self, name: &str) -> &[(u32, u32, u32)] {
        let Some(name) = self.find_symbol(name) else { return &[] };
        let start = self.pairs.partition_point(|(n, ..)| *n < name);
        let end = self.pairs.partition_point(|(n, ..)| *n <= name);
        self.pairs.get(start..end).unwrap_or_default()
    }

    fn list_count(&self, at: u32) -> u32 {
        let mut r = ByteReader::new(self.postings.get(at as usize..).unwrap_or_default());
        u32::try_from(r.varint().unwrap_or(0)).unwrap_or(0)
    }

    fn read_list(&self, at: u32, found: &mut Vec<u32>) {
        let mut r = ByteReader::new(self.postings.get(at as usize..).unwrap_or_default());
        let count = r.varint().unwrap_or(0);
        let mut id = 0_u64;
        for _ in 0..count {
            id += r.varint().unwrap_or(0);
            found.push(u32::try_from(id).unwrap_or(u32::MAX));
        }
    }
}

impl Postings for Index {
    fn all(&self) -> Vec<u32> {
        (0..self.series_count()).collect()
    }

    fn equal(&self, name: &str, value: &str) -> Vec<u32> {
        let mut found = Vec::new();
        let Some(value) = self.find_symbol(value) else { return found };
        let pairs = self.pairs_under(name);
        if let Some((.., at)) = pairs.binary_search_by_key(&value, |p| p.1).ok().and_then(|at| pairs.get(at)) {
            self.read_list(*at, &mut found);
        }
        found
    }

    fn matching(&self, name: &str, prefix: &str, visit: &mut dyn FnMut(&str) -> bool, found: &mut Vec<u32>) {
        let pairs = self.pairs_under(name);
        let start = pairs.partition_point(|(_, value, _)| self.symbol(*value) < prefix);
        let with_prefix = pairs.iter().skip(start).map(|(_, value, at)| (self.symbol(*value), *at));
        for (value, at) in with_prefix.take_while(|(value, _)| value.starts_with(prefix)) {
            if visit(value) {
                self.read_list(at, found);
            }
        }
    }

    fn value_count(&self, name: &str) -> usize {
        self.pairs_under(name).len()
    }

    fn label(&self, series: u32, name: &str) -> &str {
        let Some(name) = self.find_symbol(name) else { return "" };
        self.pairs_of(series).find(|(n, _)| *n == name).map_or("", |(_, value)| self.symbol(value))
    }
}

fn parse_contents(contents: &[u8]) -> Result<Vec<Section>, Malformed> {
    let covered = contents.get(..CONTENTS_BYTES - 4).unwrap_or_default();
    let mut r = ByteReader::new(contents);
    let mut sections = Vec::with_capacity(SECTIONS);
    for _ in 0..SECTIONS {
        sections.push(Section { packed: r.u32()?, plain: r.u32()?, checksum: r.u32()?, entries: r.u32()? });
    }
    let version = r.u32()?;
    if r.u32()? != contents_checksum(covered) {
        return Err(r.malformed("contents do not check out"));
    }
    if version == VERSION { Ok(sections) } else { Err(r.malformed("index of another version")) }
}

fn offset(r: &ByteReader<'_>) -> Result<u32, Malformed> {
    u32::try_from(r.position()).map_err(|_| r.malformed("section too long"))
}

/// Returns `count` if so many entries can stand in what is left.
fn capacity(r: &ByteReader<'_>, count: usize) -> Result<usize, Malformed> {
    if count <= r.rest().len() { Ok(count) } else { Err(r.malformed("more entries than bytes")) }
}

fn parse_symbols(section: &[u8], count: usize) -> Result<Vec<(u32, u32)>, Malformed> {
    let mut r = ByteReader::new(section);
    let mut places = Vec::with_capacity(capacity(&r, count)?);
    for _ in 0..count {
        let text = r.text()?;
        let end = offset(&r)?;
        places.push((end - u32::try_from(text.len()).unwrap_or(0), end));
    }
    r.end()?;
    Ok(places)
}

fn parse_series(section: &[u8], count: usize, symbols: usize) -> Result<Vec<SeriesPlace>, Malformed> {
    let mut r = ByteReader::new(section);
    let mut places = Vec::with_capacity(capacity(&r, count)?);
    let mut offsets = (0, 0);
    for _ in 0..count {
        let start = offset(&r)?;
        for _ in 0..r.count(2)?.saturating_mul(2) {
            if r.varint()? >= symbols as u64 {
                return Err(r.malformed("no such symbol"));
            }
        }
        places.push(SeriesPlace { start, chunks: offset(&r)?, times_before: offsets.0, values_before: offsets.1 });
        read_chunks(&mut r, &mut offsets)?;
    }
    r.end()?;
    Ok(places)
}

fn read_chunks(r: &mut ByteReader<'_>, offsets: &mut (u64, u64)) -> Result<Vec<ChunkPlace>, Malformed> {
    let count = r.count(7)?;
    let mut chunks = Vec::with_capacity(count);
    let mut last = 0_i64;
    let narrow = |r: &mut ByteReader<'_>| u32::try_from(r.varint()?).map_err(|_| r.malformed("length out of range"));
    for _ in 0..count {
        let min = last.wrapping_add(r.signed_varint()?);
        let max = min.wrapping_add(r.signed_varint()?);
        let count = narrow(r)?;
        let times_offset = offsets.0.wrapping_add_signed(r.signed_varint()?);
        let times = ColumnPlace { offset: times_offset, length: narrow(r)? };
        let values_offset = offsets.1.wrapping_add_signed(r.signed_varint()?);
        let values = ColumnPlace { offset: values_offset, length: narrow(r)? };
        if min > max || times_offset > 1 << 48 || values_offset > 1 << 48 {
            return Err(r.malformed("chunk at an impossible place"));
        }
        *offsets = (times_offset, end_of(values));
        last = max;
        chunks.push(ChunkPlace { min, max, count, times, values });
    }
    Ok(chunks)
}

fn parse_postings(
    section: &[u8],
    pairs: usize,
    symbols: usize,
    series: usize,
) -> Result<Vec<(u32, u32, u32)>, Malformed> {
    let mut r = ByteReader::new(section);
    let mut places = Vec::with_capacity(capacity(&r, pairs)?);
    for _ in 0..pairs {
        let (name, value) = (r.varint()?, r.varint()?);
        let symbol = |s: u64| u32::try_from(s).ok().filter(|s| (*s as usize) < symbols);
        let (Some(name), Some(value)) = (symbol(name), symbol(value)) else {
            return Err(r.malformed("no such symbol"));
        };
        places.push((name, value, offset(&r)?));
        let mut last = 0_u64;
        for i in 0..r.count(1)? {
            let difference = r.varint()?;
            last = last.saturating_add(difference);
            if last >= series as u64 || (i > 0 && difference == 0) {
                return Err(r.malformed("no such series"));
            }
        }
    }
    r.end()?;
    Ok(places)
}
