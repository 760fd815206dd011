//! Time groups: the times of the newest samples, once for all series that have them in common.
//!
//! The series of one scrape get their samples at the same times. The first that comes with a new time appends
//! it to the list of the group; for the others it is the next in the list, and a counter goes up. A series
//! whose next sample is not at the group's next time moves to a group with the times it has, which there is
//! if others have left before it, or gets one of its own; when its samples are sealed it comes back. A group
//! stays within one window of the blocks, so a cut takes chunks whole.

use std::sync::Arc;

use crate::storage::tsdb::compact::WINDOW_MS;

/// Samples of a series that are sealed into one chunk: columns are small from here on.
pub(super) const GROUP_TIMES_MAX: u8 = 120;

/// With fewer samples a series that leaves its group takes the times with it; with more it is sealed.
const MOVED_TIMES_MAX: u8 = 32;

/// Places where the group that took a time last is remembered.
const RECENT: usize = 1024;

/// Times are reserved so many at once.
const GROWTH: usize = 16;

/// Times that rise, all within one window.
#[derive(Debug, Clone, Default)]
pub(super) struct Times {
    first: i64,
    /// Milliseconds since the first.
    offsets: Vec<u32>,
}

impl Times {
    fn len(&self) -> u8 {
        u8::try_from(self.offsets.len()).unwrap_or(u8::MAX)
    }

    fn get(&self, at: u8) -> Option<i64> {
        self.offsets.get(usize::from(at)).map(|offset| self.first + i64::from(*offset))
    }

    fn last(&self) -> Option<i64> {
        self.offsets.last().map(|offset| self.first + i64::from(*offset))
    }

    /// Returns which of the times this is. Mostly it is the last.
    fn find(&self, time: i64) -> Option<u8> {
        let offset = u32::try_from(time.checked_sub(self.first)?).ok()?;
        let at = match self.offsets.split_last() {
            Some((last, before)) if *last == offset => before.len(),
            _ => self.offsets.binary_search(&offset).ok()?,
        };
        u8::try_from(at).ok()
    }

    fn slice(&self, start: u8, count: u8) -> &[u32] {
        let start = usize::from(start);
        self.offsets.get(start..start + usize::from(count)).unwrap_or_default()
    }

    /// Returns `count` times from `start` on.
    pub(super) fn iter(&self, start: u8, count: u8) -> impl Iterator<Item = i64> {
        self.slice(start, count).iter().map(|offset| self.first + i64::from(*offset))
    }

    /// Appends a time; returns `false` if it lies in another window or there are enough.
    fn push(&mut self, time: i64) -> bool {
        if self.offsets.is_empty() {
            self.first = time;
        }
        let same_window = time.div_euclid(WINDOW_MS) == self.first.div_euclid(WINDOW_MS);
        if !same_window || self.len() >= GROUP_TIMES_MAX {
            return false;
        }
        let Ok(offset) = u32::try_from(time - self.first) else { return false };
        if self.offsets.len() == self.offsets.capacity() {
            self.offsets.reserve_exact(GROWTH);
        }
        self.offsets.push(offset);
        true
    }
}

/// Where the times of a series' open samples stand; nowhere if there are none.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    group: u32,
    start: u8,
    pub(super) count: u8,
}

impl Place {
    pub(super) fn start(&self) -> u8 {
        self.start
    }
}

#[derive(Debug, Default)]
struct Group {
    times: Arc<Times>,
    /// How many series have it.
    members: u32,
    /// Start and count of times that have been sealed, and the column.
    sealed: Option<(u8, u8, u32)>,
}

/// All groups.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: Vec<Group>,
    /// Groups without members.
    free: Vec<u32>,
    /// Last times and groups, by the time.
    recent: Vec<(i64, u32)>,
}

impl Groups {
    /// Puts a time behind those of a place. Returns `false` if what is there must be sealed before, and the
    /// place be left.
    pub(super) fn push(&mut self, place: &mut Place, time: i64) -> bool {
        if place.count == 0 {
            self.begin(place, time);
            return true;
        }
        let Some(group) = self.groups.get_mut(place.group as usize) else { return false };
        match group.times.get(place.start + place.count) {
            Some(next) if next == time => {}
            Some(_) => return self.leave_for_another(place, time),
            None => {
                if !Arc::make_mut(&mut group.times).push(time) {
                    return false;
                }
                self.remember(time, place.group);
            }
        }
        place.count += 1;
        true
    }

    /// Begins with a time in the group that has taken it, or in a new one.
    fn begin(&mut self, place: &mut Place, time: i64) {
        let found = self.recent(time).and_then(|(number, start)| {
            self.groups.get_mut(number as usize)?.members += 1;
            Some(Place { group: number, start, count: 1 })
        });
        *place = found.unwrap_or_else(|| self.make(std::iter::once(time)));
    }

    #[cold]
    fn leave_for_another(&mut self, place: &mut Place, time: i64) -> bool {
        let Some(times) = self.groups.get(place.group as usize).map(|g| g.times.clone()) else { return false };
        let same = self.recent(time).and_then(|(number, at)| {
            let group = self.groups.get(number as usize)?;
            let start = at.checked_sub(place.count)?;
            let is_same = group.times.iter(start, place.count).eq(times.iter(place.start, place.count));
            is_same.then_some((number, start))
        });
        let moved = if let Some((number, start)) = same
            && let Some(group) = self.groups.get_mut(number as usize)
        {
            group.members += 1;
            Place { group: number, start, count: place.count + 1 }
        } else {
            let is_in_window = times.first.div_euclid(WINDOW_MS) == time.div_euclid(WINDOW_MS);
            if place.count > MOVED_TIMES_MAX || !is_in_window {
                return false;
            }
            self.make(times.iter(place.start, place.count).chain([time]))
        };
        self.leave(place);
        *place = moved;
        true
    }

    fn make(&mut self, times: impl Iterator<Item = i64>) -> Place {
        let mut list = Times::default();
        times.for_each(|time| {
            list.push(time);
        });
        let place = Place { group: self.vacant(), start: 0, count: list.len() };
        self.remember(list.last().unwrap_or(0), place.group);
        if let Some(group) = self.groups.get_mut(place.group as usize) {
            *group = Group { times: Arc::new(list), members: 1, sealed: None };
        }
        place
    }

    fn vacant(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.groups.push(Group::default());
            u32::try_from(self.groups.len() - 1).unwrap_or(u32::MAX)
        })
    }

    /// Leaves a place: nothing is open any more.
    pub(super) fn leave(&mut self, place: &mut Place) {
        let place = std::mem::take(place);
        let Some(group) = self.groups.get_mut(place.group as usize).filter(|_| place.count > 0) else { return };
        group.members -= 1;
        if group.members == 0 {
            *group = Group::default();
            self.free.push(place.group);
        }
    }

    /// Returns the list that a place points into.
    pub(super) fn times(&self, place: &Place) -> Arc<Times> {
        self.groups.get(place.group as usize).filter(|_| place.count > 0).map(|g| g.times.clone()).unwrap_or_default()
    }

    /// Returns first and last time of a place.
    pub(super) fn range(&self, place: &Place) -> Option<(i64, i64)> {
        let group = self.groups.get(place.group as usize).filter(|_| place.count > 0)?;
        Some((group.times.get(place.start)?, group.times.get(place.start + place.count - 1)?))
    }

    /// Returns which of the samples of a place has this time.
    pub(super) fn find(&self, place: &Place, time: i64) -> Option<usize> {
        let group = self.groups.get(place.group as usize).filter(|_| place.count > 0)?;
        let offset = u32::try_from(time.checked_sub(group.times.first)?).ok()?;
        group.times.slice(place.start, place.count).binary_search(&offset).ok()
    }

    /// Returns the column of these very times if they have been sealed, and what remembers it if not.
    pub(super) fn sealed(&mut self, place: &Place, seal: impl FnOnce(&[i64]) -> u32) -> u32 {
        let Some(group) = self.groups.get_mut(place.group as usize) else { return seal(&[]) };
        match group.sealed {
            Some((start, count, column)) if (start, count) == (place.start, place.count) => column,
            _ => {
                let times: Vec<i64> = group.times.iter(place.start, place.count).collect();
                let column = seal(&times);
                group.sealed = Some((place.start, place.count, column));
                column
            }
        }
    }

    /// Forgets columns: they are about to be numbered anew.
    pub(super) fn forget_sealed(&mut self) {
        self.groups.iter_mut().for_each(|group| group.sealed = None);
    }

    /// Returns how many lists of times there are.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.groups.len() - self.free.len()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let lists: usize = self.groups.iter().map(|g| g.times.offsets.capacity() * 4 + 56).sum();
        lists + self.groups.capacity() * size_of::<Group>() + self.recent.capacity() * 16
    }

    fn remember(&mut self, time: i64, group: u32) {
        if self.recent.is_empty() {
            self.recent = vec![(0, u32::MAX); RECENT];
        }
        if let Some(place) = self.recent.get_mut(recent_place(time)) {
            *place = (time, group);
        }
    }

    /// Returns the group that took this time last, and which of its times it is.
    fn recent(&self, time: i64) -> Option<(u32, u8)> {
        let (_, number) = *self.recent.get(recent_place(time))?;
        let group = self.groups.get(number as usize).filter(|g| g.members > 0)?;
        group.times.find(time).map(|at| (number, at))
    }
}

fn recent_place(time: i64) -> usize {
    let mixed = time.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    usize::try_from(mixed).unwrap_or(0) % RECENT
}
