//! Collects series until they make a page.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::FixedState;

use super::{ChunkPlace, PAGE_CHUNKS_MAX, PAGE_SERIES_MAX, PAGE_TEXT_BYTES_MAX, PagePlace, TimesPlace};
use crate::model::Labels;
use crate::storage::disk::{ByteWriter, crc32c};
use crate::storage::tsdb::column::{Effort, encode_integers};

/// A page in the making.
#[derive(Debug, Default)]
pub(crate) struct PageWriter {
    series: Vec<Labels>,
    text_bytes: usize,
    counts: Vec<i64>,
    chunks: Vec<ChunkPlace>,
}

impl PageWriter {
    /// Adds a series, sorted behind those before it, with its chunks in order of time, at least one.
    pub(crate) fn add(&mut self, labels: &Labels, chunks: &[ChunkPlace]) {
        self.text_bytes += labels.memory_bytes();
        self.series.push(labels.clone());
        self.counts.push(i64::try_from(chunks.len()).unwrap_or(i64::MAX));
        self.chunks.extend_from_slice(chunks);
    }

    /// Tells whether a series with so many chunks belongs into a new page.
    pub(crate) fn is_full_for(&self, labels: &Labels, chunks: usize) -> bool {
        !self.series.is_empty()
            && (self.series.len() >= PAGE_SERIES_MAX
                || self.chunks.len() + chunks > PAGE_CHUNKS_MAX
                || self.text_bytes + labels.memory_bytes() > PAGE_TEXT_BYTES_MAX)
    }

    /// Appends page and checksum to `out`, which stands at `offset`; `None` if there is no series. Begins a
    /// new page.
    pub(crate) fn finish(&mut self, offset: u64, out: &mut Vec<u8>) -> Option<PagePlace> {
        let page = std::mem::take(self);
        let min = page.chunks.iter().map(|c| c.times.min).min()?;
        let max = page.chunks.iter().map(|c| c.times.max).max()?;
        let names = || page.series.iter().map(|labels| labels.metric_name());
        let (first_name, last_name) = (names().min()?.into(), names().max()?.into());
        let start = out.len();
        let mut writer = ByteWriter::new(std::mem::take(out));
        writer.varint(page.series.len() as u64);
        page.put_labels(&mut writer);
        page.put_chunks(&mut writer);
        *out = writer.into_bytes();
        let bytes = out.get(start..).unwrap_or_default();
        let (length, checksum) = (u32::try_from(bytes.len()).ok()?, crc32c(bytes));
        out.extend_from_slice(&checksum.to_le_bytes());
        let series = u32::try_from(page.series.len()).ok()?;
        Some(PagePlace { offset, length, series, min, max, first_name, last_name })
    }

    fn put_labels(&self, out: &mut ByteWriter) {
        let mut columns: BTreeMap<&str, Vec<(&str, usize)>> = BTreeMap::new();
        for (at, labels) in self.series.iter().enumerate() {
            for (name, value) in labels.iter() {
                columns.entry(name).or_default().push((value, at));
            }
        }
        out.varint(columns.len() as u64);
        for (name, mut pairs) in columns {
            pairs.sort_unstable();
            let mut ids = vec![0; self.series.len()];
            let mut values: Vec<&str> = Vec::new();
            for (value, series) in pairs {
                if values.last() != Some(&value) {
                    values.push(value);
                }
                if let Some(id) = ids.get_mut(series) {
                    *id = i64::try_from(values.len()).unwrap_or(0);
                }
            }
            out.text(name);
            out.varint(values.len() as u64);
            let mut before = "";
            for value in values {
                let same = shared_prefix(before, value);
                let suffix = value.get(same..).unwrap_or("");
                out.varint(same as u64);
                out.text(suffix);
                before = value;
            }
            encode_integers(&ids, Effort::Small, out);
        }
    }

    fn put_chunks(&self, out: &mut ByteWriter) {
        let mut numbers: HashMap<TimesPlace, i64, FixedState> = HashMap::default();
        let (mut times, mut used) = (Vec::new(), Vec::with_capacity(self.chunks.len()));
        for chunk in &self.chunks {
            used.push(*numbers.entry(chunk.times).or_insert_with(|| {
                times.push(chunk.times);
                i64::try_from(times.len()).unwrap_or(i64::MAX) - 1
            }));
        }
        out.varint(times.len() as u64);
        let mut put = |integers: Vec<i64>| encode_integers(&integers, Effort::Small, out);
        put(times.iter().map(|t| t.column.offset.cast_signed()).collect());
        put(times.iter().map(|t| i64::from(t.column.length)).collect());
        put(times.iter().map(|t| i64::from(t.count)).collect());
        put(times.iter().map(|t| t.min).collect());
        put(times.iter().map(|t| t.max.wrapping_sub(t.min)).collect());
        put(self.counts.clone());
        put(used);
        put(self.chunks.iter().map(|c| i64::from(c.values.length)).collect());
        let mut end = 0_u64;
        let gap = |chunk: &ChunkPlace| {
            let gap = chunk.values.offset.wrapping_sub(end).cast_signed();
            if gap >= 0 {
                end = chunk.values.end();
            }
            gap
        };
        put(self.chunks.iter().map(gap).collect());
    }
}

/// Returns how many bytes both begin with, whole characters.
fn shared_prefix(a: &str, b: &str) -> usize {
    let mut same = a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
    while !b.is_char_boundary(same) {
        same -= 1;
    }
    same
}
