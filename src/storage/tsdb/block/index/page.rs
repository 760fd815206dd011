//! # Format
//!
//! A page of an index: up to 1024 series with their labels and the places of their chunks. Version 2,
//! little-endian. A "column" is `column/integers.rs`, without its length; labels are kept by columns, too.
//!
//! | field       | bytes    | meaning                                                                        |
//! |-------------|----------|--------------------------------------------------------------------------------|
//! | series      | varint   | how many, 1 to 1024                                                            |
//! | names       | varint   | how many label names, at most 65 535, then for each, sorted:                   |
//! | name        | varint + text |                                                                           |
//! | values      | varint   | how many values, at most as many as series, then each, sorted:                 |
//! | value       | 2 varints + bytes | how many bytes are as in the value before; how many follow; those      |
//! | ids         | column   | for each series 0: it does not have the label, or the number of its value from 1 |
//! | times       | varint   | how many columns of times are used; then five columns of so many integers:     |
//! |             |          | offset, length, number of samples, first time, last time less the first        |
//! | counts      | column   | chunks of each series                                                          |
//! | used        | column   | for each chunk the number of its column of times, from 0                       |
//! | lengths     | column   | for each chunk the length of its column of values                              |
//! | gaps        | column   | for each chunk how far its values stand behind the end of those before; negative: they stand there already, for another series, and the end stays |
//!
//! The end before the first chunk is 0. Ends count the four bytes of the checksum behind a column.
//!
//! Damage: found by the checksum behind the page, see `index/mod.rs`; what does not decode all the same is an
//! error, never a panic. Growth: with the version of the file.

use super::{ChunkPlace, ColumnPlace, PAGE_CHUNKS_MAX, PAGE_SERIES_MAX, TimesPlace};
use crate::model::Labels;
use crate::storage::disk::{ByteReader, Malformed};
use crate::storage::tsdb::column::{COLUMN_SAMPLES_MAX, decode_integers};
use crate::storage::tsdb::postings::Postings;

/// A longer column cannot be one of at most 65 536 samples.
const COLUMN_BYTES_MAX: u32 = 2 << 20;

/// A page in memory: labels in the clear, chunks as they stand.
#[derive(Debug)]
pub(crate) struct Page {
    series: u32,
    /// Sorted by name.
    labels: Vec<LabelColumn>,
    chunks: Box<[u8]>,
}

/// One label of all series.
#[derive(Debug)]
struct LabelColumn {
    name: Box<str>,
    /// All values, one behind the other, sorted.
    text: Box<str>,
    /// Where each value ends in `text`.
    ends: Box<[u32]>,
    /// By series: 0 for none, else the number of the value from 1.
    ids: Box<[u16]>,
}

/// Where the chunks of a page are.
#[derive(Debug)]
pub(crate) struct Chunks {
    /// Where the chunks of each series end in `places`.
    ends: Vec<usize>,
    times: Vec<TimesPlace>,
    /// Number of the column of times, and the column of values.
    places: Vec<(u32, ColumnPlace)>,
}

impl Page {
    /// Reads a page whose checksum fits.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Page, Malformed> {
        let mut r = ByteReader::new(bytes);
        let series = r.count(0)?;
        if series == 0 || series > PAGE_SERIES_MAX {
            return Err(r.malformed("page of an impossible size"));
        }
        let names = r.count(4)?;
        if names > usize::from(u16::MAX) {
            return Err(r.malformed("too many label names"));
        }
        let labels = (0..names).map(|_| LabelColumn::parse(&mut r, series)).collect::<Result<Vec<_>, _>>()?;
        let chunks = r.rest().into();
        Ok(Page { series: u32::try_from(series).unwrap_or(0), labels, chunks })
    }

    /// Returns the labels of a series. `text` is used and left empty.
    pub(crate) fn labels(&self, series: u32, text: &mut String) -> Labels {
        let pairs = self.labels.iter().filter_map(|column| Some((&*column.name, column.value_of(series)?)));
        Labels::from_sorted_in(text, pairs)
    }

    /// Returns how many series there are.
    pub(crate) fn series_count(&self) -> u32 {
        self.series
    }

    /// Unpacks where the chunks are.
    pub(crate) fn chunks(&self) -> Result<Chunks, Malformed> {
        Chunks::parse(&self.chunks, self.series as usize)
    }

    /// Returns the label names, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.labels.iter().map(|column| &*column.name)
    }

    /// Returns the values of a label, sorted.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        let column = self.column(name);
        column.into_iter().flat_map(|c| (0..c.ends.len()).map(|i| c.value(i)))
    }

    /// Returns about how many bytes of memory the page takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        let column = |c: &LabelColumn| size_of::<LabelColumn>() + c.text.len() + c.ends.len() * 4 + c.ids.len() * 2;
        self.labels.iter().map(column).sum::<usize>() + self.chunks.len() + size_of::<Page>()
    }

    fn column(&self, name: &str) -> Option<&LabelColumn> {
        let at = self.labels.binary_search_by(|c| (*c.name).cmp(name)).ok()?;
        self.labels.get(at)
    }
}

impl Postings for Page {
    fn all(&self) -> Vec<u32> {
        (0..self.series).collect()
    }

    fn equal(&self, name: &str, value: &str) -> Vec<u32> {
        let Some(column) = self.column(name) else { return Vec::new() };
        let at = column.from(value);
        let id = if at < column.ends.len() && column.value(at) == value { at + 1 } else { return Vec::new() };
        (0..).zip(&column.ids).filter(|(_, i)| usize::from(**i) == id).map(|(series, _)| series).collect()
    }

    fn matching(&self, name: &str, prefix: &str, visit: &mut dyn FnMut(&str) -> bool, found: &mut Vec<u32>) {
        let Some(column) = self.column(name) else { return };
        let mut passes = vec![false; column.ends.len() + 1];
        let mut is_any = false;
        for (at, passes) in passes.iter_mut().skip(1).enumerate().skip(column.from(prefix)) {
            let value = column.value(at);
            if !value.starts_with(prefix) {
                break;
            }
            *passes = visit(value);
            is_any |= *passes;
        }
        if is_any {
            let passing = |id: u16| passes.get(usize::from(id)).copied().unwrap_or(false);
            found.extend((0..).zip(&column.ids).filter(|(_, id)| passing(**id)).map(|(series, _)| series));
        }
    }

    fn value_count(&self, name: &str) -> usize {
        self.column(name).map_or(0, |column| column.ends.len())
    }

    fn label(&self, series: u32, name: &str) -> &str {
        self.column(name).and_then(|column| column.value_of(series)).unwrap_or("")
    }
}

impl LabelColumn {
    fn parse(r: &mut ByteReader<'_>, series: usize) -> Result<LabelColumn, Malformed> {
        let name = r.text()?.into();
        let count = r.count(2)?;
        if count > series {
            return Err(r.malformed("more values than series"));
        }
        let (mut text, mut ends, mut start) = (String::new(), Vec::with_capacity(count), 0_usize);
        for _ in 0..count {
            let (same, more) = (r.count(0)?, r.count(1)?);
            let suffix = std::str::from_utf8(r.raw(more)?).map_err(|_| r.malformed("label is not utf-8"))?;
            let end = start.checked_add(same).filter(|end| text.is_char_boundary(*end));
            let end = end.ok_or_else(|| r.malformed("value begins with more than there was"))?;
            let next = text.len();
            if next + same + more > super::PAGE_TEXT_BYTES_MAX * 2 {
                return Err(r.malformed("values too long"));
            }
            text.extend_from_within(start..end);
            text.push_str(suffix);
            ends.push(u32::try_from(text.len()).unwrap_or(u32::MAX));
            start = next;
        }
        let id = |id: i64| u16::try_from(id).ok().filter(|id| usize::from(*id) <= count);
        let ids = decode_integers(r, series)?.into_iter().map(id).collect::<Option<Box<[u16]>>>();
        let ids = ids.ok_or_else(|| r.malformed("no such value"))?;
        Ok(LabelColumn { name, text: text.into(), ends: ends.into(), ids })
    }

    /// Returns a value by its number from 0.
    fn value(&self, at: usize) -> &str {
        let end_of = |i: usize| self.ends.get(i).map_or(0, |end| *end as usize);
        let start = at.checked_sub(1).map_or(0, end_of);
        self.text.get(start..end_of(at)).unwrap_or("")
    }

    fn value_of(&self, series: u32) -> Option<&str> {
        let id = *self.ids.get(series as usize)?;
        usize::from(id).checked_sub(1).map(|at| self.value(at))
    }

    /// Returns the number of the first value that is not below `text`.
    fn from(&self, text: &str) -> usize {
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.value(middle) < text {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

impl Chunks {
    fn parse(bytes: &[u8], series: usize) -> Result<Chunks, Malformed> {
        let mut r = ByteReader::new(bytes);
        let times = parse_times(&mut r)?;
        let mut ends = Vec::with_capacity(series);
        let mut total = 0_usize;
        for count in decode_integers(&mut r, series)? {
            let count = usize::try_from(count).ok().filter(|n| *n <= PAGE_CHUNKS_MAX);
            total += count.ok_or_else(|| r.malformed("too many chunks"))?;
            ends.push(total);
        }
        if total > PAGE_CHUNKS_MAX + COLUMN_SAMPLES_MAX {
            return Err(r.malformed("too many chunks"));
        }
        let used = decode_integers(&mut r, total)?;
        let lengths = decode_integers(&mut r, total)?;
        let gaps = decode_integers(&mut r, total)?;
        r.end()?;
        let mut places = Vec::with_capacity(total);
        let mut end = 0_u64;
        for ((used, length), gap) in used.into_iter().zip(lengths).zip(gaps) {
            let used = u32::try_from(used).ok().filter(|u| times.len() > *u as usize);
            let length = u32::try_from(length).ok().filter(|n| *n <= COLUMN_BYTES_MAX);
            let place = end.checked_add_signed(gap).zip(length);
            let (Some(used), Some((offset, length))) = (used, place) else {
                return Err(r.malformed("chunk out of range"));
            };
            let place = ColumnPlace { offset, length };
            if gap >= 0 {
                end = place.end();
            }
            places.push((used, place));
        }
        Ok(Chunks { ends, times, places })
    }

    /// Returns the chunks of a series, in order of time.
    pub(crate) fn of(&self, series: u32) -> impl Iterator<Item = ChunkPlace> {
        let series = series as usize;
        let end_of = |i: usize| self.ends.get(i).copied().unwrap_or(0);
        let places = self.places.get(series.checked_sub(1).map_or(0, end_of)..end_of(series)).unwrap_or_default();
        places
            .iter()
            .filter_map(|(used, values)| Some(ChunkPlace { times: *self.times.get(*used as usize)?, values: *values }))
    }
}

fn parse_times(r: &mut ByteReader<'_>) -> Result<Vec<TimesPlace>, Malformed> {
    let count = r.count(0)?;
    let offsets = decode_integers(r, count)?;
    let lengths = decode_integers(r, count)?;
    let counts = decode_integers(r, count)?;
    let firsts = decode_integers(r, count)?;
    let spans = decode_integers(r, count)?;
    let columns = offsets.into_iter().zip(lengths).zip(counts).zip(firsts.into_iter().zip(spans));
    let places = columns.map(|(((offset, length), count), (min, span))| {
        let length = u32::try_from(length).ok().filter(|n| *n <= COLUMN_BYTES_MAX)?;
        let column = ColumnPlace { offset: u64::try_from(offset).ok()?, length };
        let max = min.checked_add(span).filter(|max| *max >= min)?;
        Some(TimesPlace { column, min, max, count: u32::try_from(count).ok()? })
    });
    places.collect::<Option<Vec<_>>>().ok_or_else(|| r.malformed("times out of range"))
}
