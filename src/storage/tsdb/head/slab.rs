//! Where the series are: by slot, in pages, so that growing copies nothing and finding one takes no hashing.

use super::series::Series;

/// Series per page.
const PAGE: u32 = 512;

/// Series by slot. A slot that is free is given out again, the lowest first, once it has been released.
#[derive(Debug, Default)]
pub(crate) struct Slab {
    pages: Vec<Vec<Option<Series>>>,
    /// How many series there are.
    len: usize,
    /// The first slot behind all that were ever used.
    end: u32,
    /// Slots that may be given out again, the lowest last.
    free: Vec<u32>,
}

impl Slab {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns the first slot behind all that were ever used.
    pub(crate) fn end(&self) -> u32 {
        self.end
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&Series> {
        self.pages.get((slot / PAGE) as usize)?.get((slot % PAGE) as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut Series> {
        self.pages.get_mut((slot / PAGE) as usize)?.get_mut((slot % PAGE) as usize)?.as_mut()
    }

    /// Returns a slot without a series; `None` if all are taken.
    pub(crate) fn vacant(&mut self) -> Option<u32> {
        self.free.pop().or_else(|| (self.end < u32::MAX).then_some(self.end))
    }

    /// Keeps a slot from being given out: something on disk names it.
    pub(crate) fn skip(&mut self, slot: u32) {
        self.end = self.end.max(slot.saturating_add(1));
    }

    /// Puts a series into a slot that has none.
    pub(crate) fn insert(&mut self, slot: u32, series: Series) {
        self.skip(slot);
        let (page, at) = ((slot / PAGE) as usize, (slot % PAGE) as usize);
        if self.pages.len() <= page {
            self.pages.resize_with(page + 1, Vec::new);
        }
        let Some(page) = self.pages.get_mut(page) else { return };
        if page.len() <= at {
            page.reserve_exact(PAGE as usize - page.len());
            page.resize_with(at + 1, || None);
        }
        if let Some(place) = page.get_mut(at) {
            self.len += usize::from(place.is_none());
            *place = Some(series);
        }
    }

    /// Takes a series out. Its slot is not given out again before it is released.
    pub(crate) fn take(&mut self, slot: u32) -> Option<Series> {
        let page = self.pages.get_mut((slot / PAGE) as usize)?;
        let series = page.get_mut((slot % PAGE) as usize)?.take();
        self.len -= usize::from(series.is_some());
        if page.iter().all(Option::is_none) {
            *page = Vec::new();
        }
        series
    }

    /// Makes those of these slots free to be given out that have no series.
    pub(crate) fn release(&mut self, slots: impl IntoIterator<Item = u32>) {
        let mut free = std::mem::take(&mut self.free);
        free.extend(slots.into_iter().filter(|slot| self.get(*slot).is_none()));
        free.sort_unstable_by(|a, b| b.cmp(a));
        free.dedup();
        self.free = free;
    }

    /// Returns those of `count` slots from `first` on that have a series.
    pub(crate) fn among(&self, first: u32, count: u32) -> impl Iterator<Item = u32> {
        let last = first.saturating_add(count);
        let pages = self.pages.iter().zip(0_u32..).skip((first / PAGE) as usize).filter(|(page, _)| !page.is_empty());
        let slots = pages.flat_map(|(_, page)| (page.saturating_mul(PAGE)..).take(PAGE as usize));
        slots
            .skip_while(move |slot| *slot < first)
            .take_while(move |slot| *slot < last)
            .filter(|s| self.get(*s).is_some())
    }

    /// Returns all series with their slots, in order of these.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Series)> {
        self.pages.iter().zip(0_u32..).flat_map(|(page, number)| {
            let slots = number.saturating_mul(PAGE)..;
            slots.zip(page).filter_map(|(slot, series)| Some((slot, series.as_ref()?)))
        })
    }

    /// Returns all series.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut Series> {
        self.pages.iter_mut().flatten().flatten()
    }

    /// Returns how many bytes of memory the slots take.
    pub(crate) fn memory_bytes(&self) -> usize {
        let pages: usize = self.pages.iter().map(|p| p.capacity() * size_of::<Option<Series>>()).sum();
        pages + self.pages.capacity() * size_of::<Vec<Option<Series>>>() + self.free.capacity() * 4
    }
}
