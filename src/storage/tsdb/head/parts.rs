//! Sealed samples of a series, and copies to read from without the head's lock.

use std::sync::Arc;

use super::columns::{Column, ColumnList, Decoded, Shared};
use super::groups::Times;
use super::values::Copied;
use crate::storage::disk::{ByteReader, ByteWriter};
use crate::storage::tsdb::chunk::{Chunk, Window};
use crate::storage::tsdb::column::{Effort, decode_values, encode_values};

/// What a chunk mostly takes at most.
const GROWTH_BYTES: usize = 256;

/// Sealed chunks of one series, one after the other in one allocation: the number of the column of times
/// and the length of that of values, as varints, then this. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Sealed(Option<Arc<[u8]>>);

impl Sealed {
    /// No chunk.
    pub(super) const EMPTY: Sealed = Sealed(None);

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Returns each chunk: the number of its times, and its values.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &[u8])> {
        let mut r = ByteReader::new(self.0.as_deref().unwrap_or_default());
        std::iter::from_fn(move || {
            let times = u32::try_from(r.varint().ok()?).ok()?;
            let length = usize::try_from(r.varint().ok()?).ok()?;
            Some((times, r.raw(length).ok()?))
        })
    }

    /// Appends chunks. Cost: copies what is there, however many they are.
    pub(super) fn extend<'a>(&mut self, chunks: impl IntoIterator<Item = (u32, &'a [u8])>) {
        let before = self.0.as_deref().unwrap_or_default();
        let mut out = ByteWriter::new(Vec::with_capacity(before.len() + GROWTH_BYTES));
        out.raw(before);
        let mut all = Sealing(out);
        chunks.into_iter().for_each(|(times, values)| all.push(times, values));
        *self = all.finish();
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |bytes| bytes.len() + 32)
    }
}

/// Chunks that are being put together.
#[derive(Debug, Default)]
pub(super) struct Sealing(ByteWriter);

impl Sealing {
    /// Appends a chunk.
    pub(super) fn push(&mut self, times: u32, values: &[u8]) {
        self.0.varint(u64::from(times));
        self.0.varint(values.len() as u64);
        self.0.raw(values);
    }

    /// Seals samples, if there are any, and appends the chunk.
    pub(super) fn add(&mut self, window: &Window, shared: &mut Shared) {
        if !window.is_empty() {
            let mut values = ByteWriter::default();
            encode_values(&window.values, Effort::Fast, &mut values);
            self.push(shared.seal(&window.times), values.as_slice());
        }
    }

    pub(super) fn finish(self) -> Sealed {
        Sealed(Some(self.0.into_bytes()).filter(|bytes| !bytes.is_empty()).map(Into::into))
    }
}

/// A copy of the parts of a series that reach into a time range.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(super) columns: ColumnList,
    pub(super) sealed: [Sealed; 2],
    pub(super) open: Copied,
    /// Times of the open samples: the list, where they begin there, how many they are.
    pub(super) times: (Arc<Times>, u8, u8),
    pub(super) late: Option<Box<Window>>,
}

impl Parts {
    /// Tells whether there is no part.
    pub(crate) fn is_empty(&self) -> bool {
        self.sealed.iter().all(Sealed::is_empty) && self.times.2 == 0 && self.late.is_none()
    }

    /// Returns the samples in `[min, max]`.
    pub(crate) fn window(&self, min: i64, max: i64) -> Window {
        self.read(min, max, &mut Decoded::default())
    }

    /// Returns the samples in `[min, max]`, with what was decoded for neighbours.
    pub(crate) fn read(&self, min: i64, max: i64, decoded: &mut Decoded) -> Window {
        let mut chunks: Vec<(&Column, &[u8])> = self.chunks().filter(|(times, _)| times.overlaps(min, max)).collect();
        chunks.sort_by_key(|(times, _)| times.min);
        let mut whole = Window::default();
        for (column, values) in chunks {
            let times = decoded.times(column);
            // A chunk of the head that does not decode would be a bug; the rest is still worth reading.
            let values = decode_values(values).unwrap_or_default();
            if times.len() != values.len() {
                continue;
            }
            if whole.range().is_none_or(|(_, last)| last < column.min) {
                whole.extend_in(&times, &values, min, max);
            } else {
                let mut window = Window { times: times.to_vec(), values };
                window.restrict(min, max);
                whole.merge(window);
            }
        }
        self.read_open(min, max, &mut whole);
        if let Some(late) = &self.late {
            whole.merge(late.slice(min, max));
        }
        whole
    }

    fn read_open(&self, min: i64, max: i64, whole: &mut Window) {
        let (list, start, count) = &self.times;
        let samples = list.iter(*start, *count).zip(self.open.iter());
        let within = samples.skip_while(|(time, _)| *time < min).take_while(|(time, _)| *time <= max);
        // Mostly what is open lies behind what is sealed.
        if whole.range().is_none_or(|(_, last)| list.iter(*start, 1).all(|first| first > last)) {
            whole.times.reserve(usize::from(*count));
            whole.values.reserve(usize::from(*count));
            within.for_each(|(time, value)| whole.push(time, value));
        } else {
            let (times, values) = within.unzip();
            whole.merge(Window { times, values });
        }
    }

    /// Returns all samples sealed, as a checkpoint keeps them.
    pub(crate) fn to_chunks(&self) -> Vec<Chunk> {
        let sealed = self.chunks().map(|(column, values)| Chunk {
            min: column.min,
            max: column.max,
            count: column.count,
            times: column.bytes.clone(),
            values: values.into(),
        });
        let mut open = Window::default();
        self.read_open(i64::MIN, i64::MAX, &mut open);
        let loose = [Some(&open), self.late.as_deref()].into_iter().flatten();
        sealed.chain(loose.filter_map(|window| Chunk::seal(window, Into::into))).collect()
    }

    fn chunks(&self) -> impl Iterator<Item = (&Column, &[u8])> {
        let chunks = self.sealed.iter().flat_map(Sealed::iter);
        chunks.filter_map(|(number, values)| Some((self.columns.get(number as usize)?, values)))
    }
}
