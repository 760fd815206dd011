//! The series in order of their labels, worked out when somebody asks and kept: sorting fifty thousand label
//! sets takes longer than reading them.

use std::cmp::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

/// A slot without a rank: new, or without a series.
const NONE: u32 = u32::MAX;

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
        mut compare: impl FnMut(u32, u32) -> Ordering,
        is_there: impl Fn(u32) -> bool,
    ) -> Arc<Vec<u32>> {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = &mut *guard;
        if known.fresh.is_empty() && !known.has_stale {
            return known.ranks.clone();
        }
        let mut fresh = std::mem::take(&mut known.fresh);
        fresh.retain(|slot| is_there(*slot));
        fresh.sort_unstable();
        fresh.dedup();
        fresh.sort_unstable_by(|a, b| compare(*a, *b));
        let ranks = &known.ranks;
        let mut before = std::mem::take(&mut known.sorted);
        before.retain(|slot| ranks.get(*slot as usize).is_some_and(|rank| *rank != NONE));
        known.sorted = merge(before, fresh, compare);
        let ranks = Arc::make_mut(&mut known.ranks);
        for (slot, rank) in known.sorted.iter().zip(0..) {
            if let Some(place) = ranks.get_mut(*slot as usize) {
                *place = rank;
            }
        }
        known.has_stale = false;
        known.ranks.clone()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (known.sorted.capacity() + known.ranks.capacity() + known.fresh.capacity()) * 4
    }
}

/// Merges two sorted lists.
fn merge(a: Vec<u32>, b: Vec<u32>, mut compare: impl FnMut(u32, u32) -> Ordering) -> Vec<u32> {
    if a.is_empty() || b.is_empty() {
        return if a.is_empty() { b } else { a };
    }
    let mut merged = Vec::with_capacity(a.len() + b.len());
    let (mut a, mut b) = (a.into_iter().peekable(), b.into_iter().peekable());
    while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
        let next = if compare(*x, *y) == Ordering::Greater { b.next() } else { a.next() };
        merged.extend(next);
    }
    merged.extend(a);
    merged.extend(b);
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
            if round % 5 != 0 {
                continue;
            }
            let name = |slot: u32| (names[&slot], slot);
            let ranks = order.ranks(|a, b| name(a).cmp(&name(b)), |slot| names.contains_key(&slot));
            let mut by_rank: Vec<u32> = names.keys().copied().collect();
            by_rank.sort_by_key(|slot| ranks[*slot as usize]);
            let mut by_name: Vec<u32> = names.keys().copied().collect();
            by_name.sort_by_key(|slot| name(*slot));
            assert_eq!(by_rank, by_name, "round {round}");
        }
    }
}
