//! The series in order of their labels, worked out when somebody asks and kept: sorting fifty thousand label
//! sets takes longer than reading them.

use std::cmp::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

/// A slot without a rank: new, or without a series.
const NONE: u32 = u32::MAX;

/// So many new series are ranked at once: some milliseconds of comparing labels.
const PIECE: usize = 2048;

/// The rank of each series among all; 8 bytes a series.
#[derive(Debug, Default)]
pub(super) struct Order(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Slots by labels; those without a rank are stale.
    sorted: Vec<u32>,
    /// Ranks by slot.
    ranks: Arc<Vec<u32>>,
    /// Slots of series that have no rank yet; may repeat, and be without a series by now.
    fresh: Vec<u32>,
    /// Whether series have gone.
    has_stale: bool,
}

impl Order {
    /// Notes a new series.
    pub(super) fn add(&mut self, slot: u32) {
        let known = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        known.fresh.push(slot);
        if (known.ranks.len() as u64) <= u64::from(slot) {
            Arc::make_mut(&mut known.ranks).resize(slot as usize + 1, NONE);
        }
    }

    /// Notes that a series has gone.
    pub(super) fn remove(&mut self, slot: u32) {
        let known = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(rank) = Arc::make_mut(&mut known.ranks).get_mut(slot as usize) {
            *rank = NONE;
        }
        known.has_stale = true;
    }

    /// Returns the rank of each slot. `compare` compares the labels of two series, `is_there` tells whether
    /// a slot has one. Cost: none when no series has come or gone since the last call; else a pass over all,
    /// and sorting the new ones.
    pub(super) fn ranks(
        &self,
        compare: impl FnMut(u32, u32) -> Ordering,
        is_there: impl Fn(u32) -> bool,
    ) -> Arc<Vec<u32>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.rank(usize::MAX, compare, is_there);
        known.ranks.clone()
    }

    /// Gives some of the new series their rank; returns whether all have theirs now.
    pub(super) fn rank_some(&self, compare: impl FnMut(u32, u32) -> Ordering, is_there: impl Fn(u32) -> bool) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.rank(PIECE, compare, is_there);
        known.fresh.is_empty()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (known.sorted.capacity() + known.ranks.capacity() + known.fresh.capacity()) * 4
    }
}

impl Known {
    /// Gives at most so many of the new series their rank.
    fn rank(&mut self, count: usize, mut compare: impl FnMut(u32, u32) -> Ordering, is_there: impl Fn(u32) -> bool) {
        if self.fresh.is_empty() && !self.has_stale {
            return;
        }
        let has_rank = |slot: u32| self.ranks.get(slot as usize).is_some_and(|rank| *rank != NONE);
        self.sorted.retain(|slot| has_rank(*slot));
        let mut fresh = self.fresh.split_off(self.fresh.len().saturating_sub(count));
        fresh.retain(|slot| is_there(*slot) && !has_rank(*slot));
        fresh.sort_unstable();
        fresh.dedup();
        fresh.sort_unstable_by(|a, b| compare(*a, *b));
        self.sorted = merge(std::mem::take(&mut self.sorted), fresh, compare);
        let ranks = Arc::make_mut(&mut self.ranks);
        for (slot, rank) in self.sorted.iter().zip(0..) {
            if let Some(place) = ranks.get_mut(*slot as usize) {
                *place = rank;
            }
        }
        if self.fresh.is_empty() {
            self.fresh = Vec::new();
        }
        self.has_stale = false;
    }
}

/// Merges two sorted lists, the second mostly much the shorter.
fn merge(all: Vec<u32>, fresh: Vec<u32>, mut compare: impl FnMut(u32, u32) -> Ordering) -> Vec<u32> {
    if all.is_empty() || fresh.is_empty() {
        return if all.is_empty() { fresh } else { all };
    }
    let mut merged = Vec::with_capacity(all.len() + fresh.len());
    let mut rest = all.as_slice();
    for slot in fresh {
        let (before, behind) = rest.split_at(rest.partition_point(|x| compare(*x, slot) != Ordering::Greater));
        merged.extend_from_slice(before);
        merged.push(slot);
        rest = behind;
    }
    merged.extend_from_slice(rest);
    merged
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn ranks_follow_series_that_come_and_go() {
        let mut order = Order::default();
        let mut names: BTreeMap<u32, u32> = BTreeMap::new();
        for round in 0..200_u32 {
            let slot = round * 7 % 23;
            if names.remove(&slot).is_some() {
                order.remove(slot);
            }
            if round % 3 != 0 {
                names.insert(slot, round * 31 % 17);
                order.add(slot);
            }
            let name = |slot: u32| (names[&slot], slot);
            let compare = |a: u32, b: u32| name(a).cmp(&name(b));
            if round % 5 != 0 {
                // Some get their rank before the rest does.
                order.0.get_mut().unwrap().rank(round as usize % 3, compare, |slot| names.contains_key(&slot));
                continue;
            }
            let ranks = order.ranks(compare, |slot| names.contains_key(&slot));
            let mut by_rank: Vec<u32> = names.keys().copied().collect();
            by_rank.sort_by_key(|slot| ranks[*slot as usize]);
            let mut by_name: Vec<u32> = names.keys().copied().collect();
            by_name.sort_by_key(|slot| name(*slot));
            assert_eq!(by_rank, by_name, "round {round}");
        }
    }
}
