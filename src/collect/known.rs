//! Series by a hash of the bytes that name them on the wire.
//!
//! A sender names the same series with the same bytes in each request, and in the same order: the entry after
//! the one just found is tried first, so that a known series costs a hash and one comparison in memory that
//! lies next. 128 bits of hash with a seed of this process stand for the bytes: two of a million series share
//! one with a chance of 1 in 10^26. Memory: about 32 bytes a series.

use std::collections::HashSet;

use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::storage::tsdb::SeriesRef;

/// Most series that are known; over it all are forgotten and learned anew.
const KNOWN_MAX: usize = 1 << 20;

/// Marks a place without an entry.
const FREE: u32 = u32::MAX;

/// Stands for the bytes that name a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    low: u64,
    high: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    key: Key,
    series: SeriesRef,
}

/// What is known, in the order in which it was learned.
#[derive(Debug)]
pub(super) struct Known {
    seed: u64,
    entries: Vec<Entry>,
    /// Positions of entries, at the place that their key says or the next one that was free. A power of two,
    /// at most three quarters full.
    places: Vec<u32>,
}

impl Known {
    pub(super) fn new(seed: u64) -> Self {
        Known { seed, entries: Vec::new(), places: vec![FREE; 64] }
    }

    /// Returns the key of the bytes that name a series.
    pub(super) fn key(&self, bytes: &[u8]) -> Key {
        let hash = xxh3_128_with_seed(bytes, self.seed);
        #[expect(clippy::cast_possible_truncation, reason = "the two halves of the hash")]
        Key { low: hash as u64, high: (hash >> 64) as u64 }
    }

    /// Looks a series up. `next` is where it is looked for first, and then stands behind it.
    pub(super) fn find(&self, key: Key, next: &mut usize) -> Option<SeriesRef> {
        let found = match self.entries.get(*next) {
            Some(entry) if entry.key == key => entry,
            Some(_) | None => {
                *next = self.position(key)?;
                self.entries.get(*next)?
            }
        };
        *next += 1;
        Some(found.series)
    }

    /// Keeps what a key led to.
    pub(super) fn keep(&mut self, key: Key, series: SeriesRef) {
        if let Some(entry) = self.position(key).and_then(|position| self.entries.get_mut(position)) {
            entry.series = series;
            return;
        }
        if self.entries.len() == KNOWN_MAX {
            *self = Known::new(self.seed);
        }
        if self.entries.len() == self.entries.capacity() {
            // Not twice as many: this table is most of what a known series costs here.
            self.entries.reserve_exact((self.entries.len() / 8).max(64));
        }
        self.entries.push(Entry { key, series });
        if self.entries.len() * 4 > self.places.len() * 3 {
            self.place_all();
        } else {
            self.place(self.entries.len() - 1, key);
        }
    }

    /// Forgets series that the store does not have any more.
    pub(super) fn forget(&mut self, gone: &HashSet<SeriesRef>) {
        self.entries.retain(|entry| !gone.contains(&entry.series));
        self.place_all();
    }

    /// Returns the places of a key in the order in which they are tried.
    fn places_of(&self, key: Key) -> impl Iterator<Item = usize> + use<> {
        let mask = self.places.len() - 1;
        #[expect(clippy::cast_possible_truncation, reason = "cut to the table's size anyway")]
        let first = key.low as usize;
        (0..=mask).map(move |step| first.wrapping_add(step) & mask)
    }

    fn position(&self, key: Key) -> Option<usize> {
        for place in self.places_of(key) {
            let position = *self.places.get(place).filter(|position| **position != FREE)? as usize;
            if self.entries.get(position)?.key == key {
                return Some(position);
            }
        }
        None
    }

    fn place(&mut self, position: usize, key: Key) {
        let free = self.places_of(key).find_map(|place| self.places.get(place).filter(|p| **p == FREE).map(|_| place));
        if let (Some(place), Ok(position)) = (free.and_then(|free| self.places.get_mut(free)), u32::try_from(position))
        {
            *place = position;
        }
    }

    fn place_all(&mut self) {
        self.places = vec![FREE; (self.entries.len() * 2).next_power_of_two().max(64)];
        for position in 0..self.entries.len() {
            if let Some(key) = self.entries.get(position).map(|entry| entry.key) {
                self.place(position, key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(i: u64) -> [u8; 8] {
        i.to_le_bytes()
    }

    #[test]
    fn what_is_kept_is_found_in_any_order_until_it_is_forgotten() {
        let mut known = Known::new(7);
        for i in 0..10_000 {
            known.keep(known.key(&name(i)), SeriesRef(i));
        }
        let find = |known: &Known, i| known.find(known.key(&name(i)), &mut 0);
        assert!((0..10_000).rev().all(|i| find(&known, i) == Some(SeriesRef(i))));
        assert_eq!(find(&known, 10_000), None);

        known.forget(&(0..10_000).filter(|i| i % 3 == 0).map(SeriesRef).collect());
        assert!((0..10_000).all(|i| find(&known, i) == (i % 3 != 0).then_some(SeriesRef(i))));
        known.keep(known.key(&name(1)), SeriesRef(77));
        assert_eq!(find(&known, 1), Some(SeriesRef(77)));
    }

    #[test]
    fn a_sender_that_keeps_its_order_meets_each_series_next() {
        let mut known = Known::new(7);
        (0..100).for_each(|i| known.keep(known.key(&name(i)), SeriesRef(i)));
        let mut next = 0;
        for i in 0..100 {
            assert_eq!(known.entries[next].series, SeriesRef(i));
            assert_eq!(known.find(known.key(&name(i)), &mut next), Some(SeriesRef(i)));
        }
        // One that is not known leaves the place, one from elsewhere moves it.
        next = 5;
        assert_eq!(known.find(known.key(b"none"), &mut next), None);
        assert_eq!(next, 5);
        assert_eq!(known.find(known.key(&name(50)), &mut next), Some(SeriesRef(50)));
        assert_eq!(next, 51);
    }

    #[test]
    fn there_is_a_bound_and_a_series_costs_little() {
        let mut known = Known::new(7);
        let max = KNOWN_MAX as u64;
        for i in 0..max {
            known.keep(known.key(&name(i)), SeriesRef(i));
        }
        let bytes = known.entries.capacity() * size_of::<Entry>() + known.places.capacity() * size_of::<u32>();
        assert!(bytes <= 36 * KNOWN_MAX, "{bytes}");
        known.keep(known.key(&name(max)), SeriesRef(max));
        assert_eq!(known.entries.len(), 1);
        assert_eq!(known.find(known.key(&name(max)), &mut 0), Some(SeriesRef(max)));
    }
}
