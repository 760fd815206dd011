//! One series in the head: newest samples in the clear, older ones sealed, late ones beside them.

use std::sync::Arc;

use super::index::Pairs;
use crate::storage::tsdb::chunk::{Chunk, Window};

/// So many samples in order are sealed into a chunk: columns are small from here on.
const OPEN_SAMPLES_MAX: usize = 64;

/// So many late samples are sealed.
const LATE_SAMPLES_MAX: usize = 256;

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
    /// Newest samples, in order.
    open: Window,
    /// Older samples; chunks may overlap if some were late.
    sealed: Vec<Chunk>,
    /// Rarely there.
    aside: Option<Box<Aside>>,
    /// Newest time ever seen.
    newest: i64,
    /// Whether the WAL knows the reference.
    pub(crate) is_logged: bool,
    /// The head's epoch when the series was made.
    pub(crate) born: u32,
    /// The head's epoch at the last append; tells which series have ended.
    pub(crate) touched: u32,
}

/// What only some series have.
#[derive(Debug, Default)]
struct Aside {
    /// Late samples in the clear, sorted.
    late: Window,
    /// Samples that are being written to a block; still read from here.
    cutting: Vec<Chunk>,
}

/// A copy of the parts of a series that reach into a time range.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) chunks: Vec<Chunk>,
    pub(crate) loose: Vec<Window>,
}

impl Series {
    pub(crate) fn new(pairs: Pairs, epoch: u32) -> Self {
        Series {
            pairs,
            open: Window::default(),
            sealed: Vec::new(),
            aside: None,
            newest: i64::MIN,
            is_logged: false,
            born: epoch,
            touched: epoch,
        }
    }

    /// Tells whether there is no sample.
    pub(crate) fn is_empty(&self) -> bool {
        let aside_is_empty = |a: &Aside| a.late.is_empty() && a.cutting.is_empty();
        self.open.is_empty() && self.sealed.is_empty() && self.aside.as_deref().is_none_or(aside_is_empty)
    }

    /// Tells whether a sample at `time` would come behind all others.
    pub(crate) fn is_in_order(&self, time: i64) -> bool {
        time > self.newest
    }

    /// Returns the value at a time. Cost: unpacks the chunks that reach over it.
    pub(crate) fn find(&self, time: i64) -> Option<f64> {
        let aside = self.aside.as_deref();
        let in_the_clear = self.open.get(time).or_else(|| aside.and_then(|a| a.late.get(time)));
        in_the_clear.or_else(|| {
            let cutting = aside.iter().flat_map(|a| &a.cutting);
            let chunks = self.sealed.iter().chain(cutting).filter(|c| c.overlaps(time, time));
            chunks.filter_map(|c| c.window().ok()).find_map(|w| w.get(time))
        })
    }

    /// Adds a sample.
    pub(crate) fn add(&mut self, time: i64, value: f64, share: impl FnOnce(Vec<u8>) -> Arc<[u8]>) -> Added {
        if self.is_in_order(time) {
            self.newest = time;
            if self.open.len() >= OPEN_SAMPLES_MAX {
                self.sealed.extend(Chunk::seal(&self.open, share));
                self.open.times.clear();
                self.open.values.clear();
            }
            self.open.push(time, value);
            return Added::InOrder;
        }
        match self.find(time) {
            Some(there) if there.to_bits() == value.to_bits() => Added::Duplicate,
            Some(_) => Added::Conflicting,
            None => {
                let late = &mut self.aside.get_or_insert_default().late;
                late.insert(time, value);
                if late.len() >= LATE_SAMPLES_MAX {
                    let late = std::mem::take(late);
                    self.sealed.extend(Chunk::seal(&late, share));
                }
                Added::OutOfOrder
            }
        }
    }

    /// Takes in a chunk of a checkpoint. Returns how many samples were new.
    pub(crate) fn add_chunk(&mut self, chunk: Chunk, mut share: impl FnMut(Vec<u8>) -> Arc<[u8]>) -> usize {
        if chunk.min > self.newest && self.open.is_empty() {
            self.newest = chunk.max;
            let count = chunk.count as usize;
            self.sealed.push(Chunk { times: share(chunk.times.to_vec()), ..chunk });
            return count;
        }
        let window = chunk.window().unwrap_or_default();
        let added = window.times.iter().zip(&window.values).map(|(t, v)| self.add(*t, *v, &mut share));
        added.filter(|a| matches!(a, Added::InOrder | Added::OutOfOrder)).count()
    }

    /// Returns first and last time of all samples; `None` if there are none.
    pub(crate) fn range(&self) -> Option<(i64, i64)> {
        let aside = self.aside.as_deref();
        let chunks = self.sealed.iter().chain(aside.iter().flat_map(|a| &a.cutting)).map(|c| (c.min, c.max));
        let windows = [Some(&self.open), aside.map(|a| &a.late)].into_iter().flatten().filter_map(Window::range);
        chunks.chain(windows).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// Tells whether some part reaches into `[min, max]`.
    pub(crate) fn overlaps(&self, min: i64, max: i64) -> bool {
        let aside = self.aside.as_deref();
        let mut chunks = self.sealed.iter().chain(aside.iter().flat_map(|a| &a.cutting));
        self.open.overlaps(min, max)
            || aside.is_some_and(|a| a.late.overlaps(min, max))
            || chunks.any(|c| c.overlaps(min, max))
    }

    /// Returns the parts that reach into `[min, max]`; empty if none does.
    pub(crate) fn parts(&self, min: i64, max: i64) -> Parts {
        let aside = self.aside.as_deref();
        let chunks = self.sealed.iter().chain(aside.iter().flat_map(|a| &a.cutting));
        let loose = [Some(&self.open), aside.map(|a| &a.late)].into_iter().flatten();
        Parts {
            chunks: chunks.filter(|c| c.overlaps(min, max)).cloned().collect(),
            loose: loose.map(|w| w.slice(min, max)).filter(|w| !w.is_empty()).collect(),
        }
    }

    /// Puts all samples in `[min, max]` aside to be written to blocks; they are still read. Returns first and
    /// last time of what it put aside, if anything.
    pub(crate) fn detach(
        &mut self,
        min: i64,
        max: i64,
        mut share: impl FnMut(Vec<u8>) -> Arc<[u8]>,
    ) -> Option<(i64, i64)> {
        let reaches = |(first, last): (i64, i64)| first <= max && last >= min;
        if !self.range().is_some_and(reaches) {
            return None;
        }
        let mut cutting = Vec::new();
        let mut kept = Vec::new();
        for chunk in std::mem::take(&mut self.sealed) {
            if !chunk.overlaps(min, max) {
                kept.push(chunk);
            } else if min <= chunk.min && chunk.max <= max {
                cutting.push(chunk);
            } else {
                let window = chunk.window().unwrap_or_default();
                cutting.extend(Chunk::seal(&window.slice(min, max), &mut share));
                kept.extend(Chunk::seal(&window.without(min, max), &mut share));
            }
        }
        self.sealed = kept;
        let late = self.aside.as_deref_mut().map(|a| &mut a.late);
        for window in [Some(&mut self.open), late].into_iter().flatten() {
            if window.overlaps(min, max) {
                cutting.extend(Chunk::seal(&window.slice(min, max), &mut share));
                *window = window.without(min, max);
            }
        }
        let range = cutting.iter().map(|c| (c.min, c.max)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))?;
        self.aside.get_or_insert_default().cutting.extend(cutting);
        Some(range)
    }

    /// Returns the parts that are being written to a block and reach into `[min, max]`.
    pub(crate) fn detached(&self, min: i64, max: i64) -> Parts {
        let cutting = self.aside.as_deref().map(|a| &a.cutting);
        let chunks = cutting.into_iter().flatten().filter(|c| c.overlaps(min, max)).cloned().collect();
        Parts { chunks, loose: Vec::new() }
    }

    /// Forgets what was put aside: a block has it. Returns how many samples that were.
    pub(crate) fn forget_detached(&mut self) -> u64 {
        let cutting = self.aside.as_deref_mut().map(|a| std::mem::take(&mut a.cutting)).unwrap_or_default();
        self.aside.take_if(|a| a.late.is_empty());
        cutting.iter().map(|c| u64::from(c.count)).sum()
    }

    /// Takes back what was put aside: there is no block after all.
    pub(crate) fn take_back_detached(&mut self) {
        let cutting = self.aside.as_deref_mut().map(|a| std::mem::take(&mut a.cutting)).unwrap_or_default();
        self.sealed.splice(0..0, cutting);
    }

    /// Returns about how many bytes of memory the series holds beside its slot.
    pub(crate) fn memory_bytes(&self) -> usize {
        let window = |w: &Window| w.times.capacity() * 16;
        let aside = self.aside.as_deref();
        self.pairs.len() * 4
            + 16
            + window(&self.open)
            + aside.map_or(0, |a| size_of::<Aside>() + window(&a.late))
            + self.sealed.iter().chain(aside.iter().flat_map(|a| &a.cutting)).map(Chunk::memory_bytes).sum::<usize>()
    }
}

impl Parts {
    /// Returns the samples in `[min, max]`.
    pub(crate) fn window(mut self, min: i64, max: i64) -> Window {
        self.chunks.sort_by_key(|c| c.min);
        let mut whole = Window::default();
        // A chunk of the head that does not decode would be a bug; the rest is still worth reading.
        for chunk in self.chunks {
            let mut window = chunk.window().unwrap_or_default();
            window.restrict(min, max);
            whole.merge(window);
        }
        self.loose.into_iter().for_each(|w| whole.merge(w));
        whole
    }

    /// Tells whether there is no part.
    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.loose.is_empty()
    }
}
