//! What is known of a series, by a hash of the bytes that name it on the wire.
//!
//! A sender names the same series with the same bytes in each request, and in the same order: the entry after
//! the one just found is tried first, so that a known series costs a hash and one comparison in memory that
//! lies next. 128 bits of hash with a seed of this process stand for the bytes: two of a million series share
//! one with a chance of 1 in 10^26. Memory: about 24 bytes a series and the value.

use xxhash_rust::xxh3::xxh3_128_with_seed;

/// Most series that are known; over it all are forgotten and learned anew.
pub(super) const KNOWN_MAX: usize = 1 << 20;

/// Marks a place without an entry.
const FREE: u32 = u32::MAX;

/// Stands for the bytes that name a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    low: u64,
    high: u64,
}

#[derive(Debug)]
struct Entry<T> {
    key: Key,
    value: T,
}

/// What is known, in the order in which it was learned.
#[derive(Debug)]
pub(super) struct Known<T> {
    seed: u64,
    entries: Vec<Entry<T>>,
    /// Positions of entries, at the place that their key says or the next one that was free. A power of two,
    /// at most three quarters full.
    places: Vec<u32>,
}

impl<T> Known<T> {
    pub(super) fn new(seed: u64) -> Self {
        Known { seed, entries: Vec::new(), places: vec![FREE; 64] }
    }

    /// Returns the key of the bytes that name a series.
    pub(super) fn key(&self, bytes: &[u8]) -> Key {
        self.key_of(bytes, 0)
    }

    /// Returns the key of bytes that name different series under different `kind`s.
    pub(super) fn key_of(&self, bytes: &[u8], kind: u64) -> Key {
        let hash = xxh3_128_with_seed(bytes, self.seed ^ kind);
        #[expect(clippy::cast_possible_truncation, reason = "the two halves of the hash")]
        Key { low: hash as u64, high: (hash >> 64) as u64 }
    }

    /// Looks a series up. `next` is where it is looked for first, and then stands behind it.
    pub(super) fn find(&self, key: Key, next: &mut usize) -> Option<&T> {
        *next = self.position(key, *next)? + 1;
        self.entries.get(*next - 1).map(|entry| &entry.value)
    }

    /// Looks a series up as [`Known::find`] does, to change what is known.
    pub(super) fn find_mut(&mut self, key: Key, next: &mut usize) -> Option<&mut T> {
        *next = self.position(key, *next)? + 1;
        self.entries.get_mut(*next - 1).map(|entry| &mut entry.value)
    }

    /// Keeps what a key led to.
    pub(super) fn keep(&mut self, key: Key, value: T) {
        if let Some(entry) = self.position(key, usize::MAX).and_then(|position| self.entries.get_mut(position)) {
            entry.value = value;
            return;
        }
        if self.entries.len() == KNOWN_MAX {
            *self = Known::new(self.seed);
        }
        if self.entries.len() == self.entries.capacity() {
            // Not twice as many: this table is most of what a known series costs here.
            self.entries.reserve_exact((self.entries.len() / 8).max(64));
        }
        self.entries.push(Entry { key, value });
        if self.entries.len() * 4 > self.places.len() * 3 {
            self.place_all();
        } else {
            self.place(self.entries.len() - 1, key);
        }
    }

    /// Forgets what does not pass.
    pub(super) fn retain(&mut self, mut passes: impl FnMut(&mut T) -> bool) {
        let before = self.entries.len();
        self.entries.retain_mut(|entry| passes(&mut entry.value));
        if self.entries.len() < before {
            self.place_all();
        }
    }

    /// Returns how many series are known.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns where the entry of a key stands, which may be at `first`.
    fn position(&self, key: Key, first: usize) -> Option<usize> {
        if self.entries.get(first).is_some_and(|entry| entry.key == key) {
            return Some(first);
        }
        for place in places_of(key, self.places.len()) {
            let position = *self.places.get(place).filter(|position| **position != FREE)? as usize;
            if self.entries.get(position)?.key == key {
                return Some(position);
            }
        }
        None
    }

    fn place(&mut self, position: usize, key: Key) {
        let free = places_of(key, self.places.len())
            .find_map(|place| self.places.get(place).filter(|p| **p == FREE).map(|_| place));
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

/// Returns the places of a key in the order in which they are tried, of so many; a power of two.
fn places_of(key: Key, count: usize) -> impl Iterator<Item = usize> {
    #[expect(clippy::cast_possible_truncation, reason = "cut to the table's size anyway")]
    let first = key.low as usize;
    (0..count).map(move |step| first.wrapping_add(step) & (count - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(i: u64) -> [u8; 8] {
        i.to_le_bytes()
    }

    fn with(count: u64) -> Known<u64> {
        let mut known = Known::new(7);
        (0..count).for_each(|i| known.keep(known.key(&name(i)), i));
        known
    }

    fn find(known: &Known<u64>, i: u64) -> Option<u64> {
        known.find(known.key(&name(i)), &mut 0).copied()
    }

    #[test]
    fn what_is_kept_is_found_in_any_order_until_it_is_forgotten() {
        let mut known = with(10_000);
        assert!((0..10_000).rev().all(|i| find(&known, i) == Some(i)));
        assert_eq!(find(&known, 10_000), None);

        known.retain(|i| *i % 3 != 0);
        assert!((0..10_000).all(|i| find(&known, i) == (i % 3 != 0).then_some(i)));
        known.keep(known.key(&name(1)), 77);
        assert_eq!((find(&known, 1), known.entries.len()), (Some(77), 6_666));
    }

    #[test]
    fn a_sender_that_keeps_its_order_meets_each_series_next() {
        let known = with(100);
        let mut next = 0;
        for i in 0..100 {
            assert_eq!(known.entries[next].value, i);
            assert_eq!(known.find(known.key(&name(i)), &mut next), Some(&i));
        }
        // One that is not known leaves the place, one from elsewhere moves it.
        next = 5;
        assert_eq!(known.find(known.key(b"none"), &mut next), None);
        assert_eq!(next, 5);
        assert_eq!(known.find(known.key(&name(50)), &mut next), Some(&50));
        assert_eq!(next, 51);
    }

    #[test]
    fn there_is_a_bound_and_a_series_costs_little() {
        let max = KNOWN_MAX as u64;
        let mut known = with(max);
        let bytes = known.entries.capacity() * size_of::<Entry<u64>>() + known.places.capacity() * size_of::<u32>();
        assert!(bytes <= 36 * KNOWN_MAX, "{bytes}");
        known.keep(known.key(&name(max)), max);
        assert_eq!((known.entries.len(), find(&known, max)), (1, Some(max)));
    }
}
