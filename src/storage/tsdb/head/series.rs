//! One series in the head: newest samples open, older ones sealed, late ones beside them.

use super::columns::{Decoded, Shared};
use super::groups::Place;
use super::index::Pairs;
use super::parts::{Parts, Sealed, Sealing};
use super::values::Values;
use crate::storage::disk::ByteWriter;
use crate::storage::tsdb::chunk::{Chunk, Window};
use crate::storage::tsdb::column::{decode_times, decode_values};

/// So many late samples are sealed, in chunks of [`LATE_CHUNK`] one behind the other: each next late sample is
/// looked for in all chunks that reach over it, which would soon be many if each chunk reached over all times.
const LATE_SAMPLES_MAX: usize = 4096;

/// Late samples of a chunk.
const LATE_CHUNK: usize = 256;

/// What a chunk mostly takes at most.
const SEALED_BYTES: usize = 256;

/// What became of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Added {
    /// Behind all others of its series.
    InOrder,
    /// Before others of its series.
    OutOfOrder,
    /// It was there.
    Duplicate,
    /// There was another value at this time; it stays.
    Conflicting,
}

/// One series. Times are unique over all its parts.
#[derive(Debug)]
pub(crate) struct Series {
    /// Its labels, see [`Index`](super::index::Index).
    pub(crate) pairs: Pairs,
    /// Times of the newest samples, in order.
    open: Place,
    /// Their values.
    values: Values,
    /// Older samples; chunks may overlap if some were late.
    sealed: Sealed,
    /// Rarely there.
    aside: Option<Box<Aside>>,
    /// Newest time ever seen.
    newest: i64,
    /// No sealed sample is newer: most readers want only what is open.
    sealed_until: i64,
    /// The head's epoch when the series was made.
    pub(crate) born: u32,
    /// The head's epoch at the last append; tells which series have ended.
    pub(crate) touched: u32,
    /// Whether the WAL knows the slot.
    pub(crate) is_logged: bool,
}

/// What only some series have.
#[derive(Debug, Default)]
struct Aside {
    /// Late samples in the clear, sorted.
    late: Window,
    /// Samples that are being written to a block; still read from here.
    cutting: Sealed,
}

impl Series {
    pub(crate) fn new(pairs: Pairs, epoch: u32) -> Self {
        Series {
            pairs,
            open: Place::default(),
            values: Values::default(),
            sealed: Sealed::default(),
            aside: None,
            newest: i64::MIN,
            sealed_until: i64::MIN,
            born: epoch,
            touched: epoch,
            is_logged: false,
        }
    }

    /// Tells whether there is no sample.
    pub(crate) fn is_empty(&self) -> bool {
        let aside_is_empty = |a: &Aside| a.late.is_empty() && a.cutting.is_empty();
        self.open.count == 0 && self.sealed.is_empty() && self.aside.as_deref().is_none_or(aside_is_empty)
    }

    /// Tells whether a sample at `time` would come behind all others.
    pub(crate) fn is_in_order(&self, time: i64) -> bool {
        time > self.newest
    }

    /// Brings into the processor's cache where the next sample goes. While a batch is sorted out many such
    /// reads run at once; when it is added each would be waited for.
    pub(crate) fn fetch(&self) {
        self.values.fetch();
    }

    /// Returns the value at a time. Cost: unpacks the chunks that reach over it.
    pub(super) fn find(&self, time: i64, shared: &Shared) -> Option<f64> {
        if let Some(at) = shared.groups.find(&self.open, time) {
            return self.values.iter().nth(at);
        }
        let late = self.aside.as_deref().and_then(|a| a.late.get(time));
        late.or_else(|| self.find_sealed(time, shared))
    }

    fn find_sealed(&self, time: i64, shared: &Shared) -> Option<f64> {
        if time > self.sealed_until {
            return None;
        }
        self.sealed.iter().chain(self.cutting().iter()).find_map(|(number, values)| {
            let column = shared.column(number).filter(|column| column.overlaps(time, time))?;
            let at = decode_times(&column.bytes).ok()?.binary_search(&time).ok()?;
            decode_values(values).ok()?.get(at).copied()
        })
    }

    fn cutting(&self) -> &Sealed {
        const NONE: &Sealed = &Sealed::EMPTY;
        self.aside.as_deref().map_or(NONE, |a| &a.cutting)
    }

    /// Tells whether there is a sample at a time. Cost: as [`Series::find`] without the values, and with what was
    /// decoded for others.
    pub(super) fn has(&self, time: i64, shared: &Shared, decoded: &mut Decoded) -> bool {
        let is_sealed = |decoded: &mut Decoded| {
            let mut chunks = self.sealed.iter().chain(self.cutting().iter());
            chunks.any(|(number, _)| {
                let column = shared.column(number).filter(|column| column.overlaps(time, time));
                column.is_some_and(|column| decoded.times(column).binary_search(&time).is_ok())
            })
        };
        shared.groups.find(&self.open, time).is_some()
            || self.aside.as_deref().is_some_and(|a| a.late.get(time).is_some())
            || (time <= self.sealed_until && is_sealed(decoded))
    }

    /// Adds a sample.
    pub(super) fn add(&mut self, time: i64, value: f64, shared: &mut Shared) -> Added {
        if self.is_in_order(time) {
            self.push(time, value, shared);
            return Added::InOrder;
        }
        match self.find(time, shared) {
            Some(there) if there.to_bits() == value.to_bits() => Added::Duplicate,
            Some(_) => Added::Conflicting,
            None => {
                self.add_late(time, value, shared);
                Added::OutOfOrder
            }
        }
    }

    /// Adds a sample behind all others.
    #[inline]
    pub(super) fn push(&mut self, time: i64, value: f64, shared: &mut Shared) {
        if !shared.groups.push(&mut self.open, time) {
            self.seal(shared);
            self.values.restart();
            shared.groups.push(&mut self.open, time);
        }
        self.newest = time;
        self.values.push(value);
    }

    /// Adds a sample before others; there is none at its time.
    pub(super) fn add_late(&mut self, time: i64, value: f64, shared: &mut Shared) {
        let late = &mut self.aside.get_or_insert_default().late;
        late.insert(time, value);
        if late.len() >= LATE_SAMPLES_MAX {
            let late = std::mem::take(late);
            let mut chunks = Sealing::default();
            for (times, values) in late.times.chunks(LATE_CHUNK).zip(late.values.chunks(LATE_CHUNK)) {
                chunks.add(&Window { times: times.to_vec(), values: values.to_vec() }, shared);
            }
            self.sealed.extend(chunks.finish().iter());
            self.sealed_until = self.sealed_until.max(self.newest);
        }
    }

    /// Seals what is open; the caller clears the values.
    #[cold]
    fn seal(&mut self, shared: &mut Shared) {
        let column = shared.seal_place(&self.open);
        let mut out = ByteWriter::new(Vec::with_capacity(SEALED_BYTES));
        self.values.seal(self.open.count, &mut out);
        self.sealed.extend([(column, out.as_slice())]);
        self.sealed_until = self.newest;
        shared.groups.leave(&mut self.open);
    }

    /// Takes in a chunk of a checkpoint. Returns how many samples were new.
    pub(super) fn add_chunk(&mut self, chunk: &Chunk, shared: &mut Shared) -> usize {
        if chunk.min > self.newest && self.open.count == 0 {
            self.newest = chunk.max;
            let column = shared.share(chunk.min, chunk.max, chunk.count, &chunk.times);
            self.sealed.extend([(column, &*chunk.values)]);
            self.sealed_until = self.newest;
            return chunk.count as usize;
        }
        let window = chunk.window().unwrap_or_default();
        let added = window.times.iter().zip(&window.values).map(|(t, v)| self.add(*t, *v, shared));
        added.filter(|a| matches!(a, Added::InOrder | Added::OutOfOrder)).count()
    }

    /// Returns first and last time of all samples; `None` if there are none.
    pub(super) fn range(&self, shared: &Shared) -> Option<(i64, i64)> {
        let chunks = self.sealed.iter().chain(self.cutting().iter());
        let chunks = chunks.filter_map(|(number, _)| shared.column(number)).map(|c| (c.min, c.max));
        let late = self.aside.as_deref().and_then(|a| a.late.range());
        let loose = [shared.groups.range(&self.open), late].into_iter().flatten();
        chunks.chain(loose).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// Tells whether some part reaches into `[min, max]`.
    pub(super) fn overlaps(&self, min: i64, max: i64, shared: &Shared) -> bool {
        let reaches = |number: u32| shared.column(number).is_some_and(|c| c.overlaps(min, max));
        let is_open_in = shared.groups.range(&self.open).is_some_and(|(first, last)| first <= max && last >= min);
        is_open_in
            || self.sealed.iter().chain(self.cutting().iter()).any(|(number, _)| reaches(number))
            || self.aside.as_deref().is_some_and(|a| a.late.overlaps(min, max))
    }

    /// Returns a copy of the parts that reach into `[min, max]`; empty if none does.
    pub(super) fn parts(&self, min: i64, max: i64, shared: &Shared) -> Parts {
        let mut parts = self.parts_of(min, max, shared, &[&self.sealed, self.cutting()]);
        if shared.groups.range(&self.open).is_some_and(|(first, last)| first <= max && last >= min) {
            parts.open = self.values.copy();
            parts.times = (shared.groups.times(&self.open), self.open.start(), self.open.count);
        }
        let late = self.aside.as_deref().map(|a| &a.late).filter(|late| late.overlaps(min, max));
        parts.late = late.map(|late| Box::new(late.slice(min, max))).filter(|late| !late.is_empty());
        parts
    }

    /// Returns a copy of all but what is being written to a block.
    pub(super) fn kept(&self, shared: &Shared) -> Parts {
        let mut parts = self.parts(i64::MIN, i64::MAX, shared);
        let [_, cutting] = &mut parts.sealed;
        *cutting = Sealed::default();
        parts
    }

    /// Returns the samples that are being written to a block and reach into `[min, max]`.
    pub(super) fn detached(&self, min: i64, max: i64, shared: &Shared) -> Parts {
        self.parts_of(min, max, shared, &[self.cutting()])
    }

    fn parts_of(&self, min: i64, max: i64, shared: &Shared, sealed: &[&Sealed]) -> Parts {
        let reaches = |number: u32| shared.column(number).is_some_and(|c| c.overlaps(min, max));
        let mut parts = Parts { columns: shared.columns().clone(), ..Parts::default() };
        if min > self.sealed_until {
            return parts;
        }
        for (place, sealed) in parts.sealed.iter_mut().zip(sealed) {
            if sealed.iter().any(|(number, _)| reaches(number)) {
                *place = (*sealed).clone();
            }
        }
        parts
    }

    /// Puts all samples in `[min, max]` aside to be written to blocks; they are still read. Returns first and
    /// last time of what it put aside, if anything.
    pub(super) fn detach(&mut self, min: i64, max: i64, shared: &mut Shared) -> Option<(i64, i64)> {
        if !self.overlaps(min, max, shared) {
            return None;
        }
        if shared.groups.range(&self.open).is_some_and(|(first, last)| first <= max && last >= min) {
            self.seal(shared);
            self.values.clear();
        }
        let (mut kept, mut cutting) = (Sealing::default(), Sealing::default());
        let mut ends = Vec::new();
        for (number, values) in std::mem::take(&mut self.sealed).iter() {
            let Some(column) = shared.column(number).cloned() else { continue };
            let (first, last) = (column.min, column.max);
            if !column.overlaps(min, max) {
                kept.push(number, values);
                continue;
            }
            if min <= first && last <= max {
                cutting.push(number, values);
                ends.extend([first, last]);
                continue;
            }
            let window =
                Chunk { min: first, max: last, count: column.count, times: column.bytes, values: values.into() };
            let window = window.window().unwrap_or_default();
            let inside = window.slice(min, max);
            ends.extend(inside.range().into_iter().flat_map(|(first, last)| [first, last]));
            cutting.add(&inside, shared);
            kept.add(&window.without(min, max), shared);
        }
        self.sealed = kept.finish();
        let aside = self.aside.get_or_insert_default();
        if aside.late.overlaps(min, max) {
            let inside = aside.late.slice(min, max);
            ends.extend(inside.range().into_iter().flat_map(|(first, last)| [first, last]));
            cutting.add(&inside, shared);
            self.sealed_until = self.newest;
            aside.late = aside.late.without(min, max);
        }
        aside.cutting.extend(cutting.finish().iter());
        Some((ends.iter().copied().min()?, ends.iter().copied().max()?))
    }

    /// Forgets what was put aside: a block has it. Returns how many samples that were.
    pub(super) fn forget_detached(&mut self, shared: &Shared) -> u64 {
        let cutting = self.aside.as_deref_mut().map(|a| std::mem::take(&mut a.cutting)).unwrap_or_default();
        self.aside.take_if(|a| a.late.is_empty());
        cutting.iter().filter_map(|(number, _)| shared.column(number)).map(|c| u64::from(c.count)).sum()
    }

    /// Takes back what was put aside: there is no block after all.
    pub(super) fn take_back_detached(&mut self) {
        let mut all = self.aside.as_deref_mut().map(|a| std::mem::take(&mut a.cutting)).unwrap_or_default();
        self.aside.take_if(|a| a.late.is_empty());
        all.extend(self.sealed.iter());
        self.sealed = all;
    }

    /// Returns the numbers of the columns that its chunks have their times in.
    pub(super) fn columns(&self) -> impl Iterator<Item = u32> {
        self.sealed.iter().chain(self.cutting().iter()).map(|(number, _)| number)
    }

    /// Returns about how many bytes of memory the series holds beside its slot.
    pub(crate) fn memory_bytes(&self) -> usize {
        let aside = |a: &Aside| size_of::<Aside>() + a.late.times.capacity() * 16 + a.cutting.memory_bytes();
        let own = self.pairs.len() * 4 + 16 + self.values.memory_bytes() + self.sealed.memory_bytes();
        own + self.aside.as_deref().map_or(0, aside)
    }
}
