//! The head's inverted index: label pairs, each text once, and the series that carry them.
//!
//! A series is the list of its pairs' numbers: four bytes a label. Its label set is put together when somebody
//! asks for it.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::model::Labels;

/// The pairs of a series, by name.
pub(crate) type Pairs = Box<[u32]>;

#[derive(Debug, Default)]
pub(crate) struct Index {
    pairs: Vec<Pair>,
    /// Numbers of pairs that no series has any more.
    free: Vec<u32>,
    /// Label name to value to pair.
    names: BTreeMap<Arc<str>, BTreeMap<Arc<str>, u32>>,
}

#[derive(Debug, Default)]
struct Pair {
    name: Arc<str>,
    value: Arc<str>,
    /// The series that have it, sorted.
    series: Vec<u32>,
}

impl Index {
    /// Adds a series; returns its pairs.
    pub(crate) fn add(&mut self, series: u32, labels: &Labels) -> Pairs {
        let pairs: Pairs = labels.iter().map(|(name, value)| self.number(name, value)).collect();
        for number in &pairs {
            if let Some(pair) = self.pairs.get_mut(*number as usize) {
                push_sorted(&mut pair.series, series);
            }
        }
        pairs
    }

    fn number(&mut self, name: &str, value: &str) -> u32 {
        if !self.names.contains_key(name) {
            self.names.insert(name.into(), BTreeMap::new());
        }
        let known = self.names.get_key_value(name).and_then(|(_, values)| values.get(value));
        if let Some(number) = known {
            return *number;
        }
        let name = self.names.get_key_value(name).map(|(name, _)| name.clone()).unwrap_or_default();
        let pair = Pair { name: name.clone(), value: value.into(), series: Vec::new() };
        let number = self.free.pop().unwrap_or_else(|| {
            self.pairs.push(Pair::default());
            u32::try_from(self.pairs.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(values) = self.names.get_mut(&name) {
            values.insert(pair.value.clone(), number);
        }
        if let Some(place) = self.pairs.get_mut(number as usize) {
            *place = pair;
        }
        number
    }

    /// Takes series out, each given with its pairs. Cost: a walk over all series of each of the pairs.
    pub(crate) fn remove(&mut self, gone: &[(u32, Pairs)]) {
        let mut by_pair: Vec<(u32, u32)> =
            gone.iter().flat_map(|(series, pairs)| pairs.iter().map(|number| (*number, *series))).collect();
        by_pair.sort_unstable();
        for gone in by_pair.chunk_by(|a, b| a.0 == b.0) {
            let number = gone.first().map_or(0, |(number, _)| *number);
            let Some(pair) = self.pairs.get_mut(number as usize) else { continue };
            let mut gone = gone.iter().map(|(_, series)| *series).peekable();
            pair.series.retain(|series| {
                while gone.next_if(|gone| gone < series).is_some() {}
                gone.peek() != Some(series)
            });
            pair.series.shrink_to_fit();
            if !pair.series.is_empty() {
                continue;
            }
            let pair = std::mem::take(pair);
            self.free.push(number);
            let Some(values) = self.names.get_mut(&pair.name) else { continue };
            values.remove(&pair.value);
            if values.is_empty() {
                self.names.remove(&pair.name);
            }
        }
    }

    /// Returns name and value of the pairs of a series.
    pub(crate) fn texts<'a>(&'a self, pairs: &'a [u32]) -> impl Iterator<Item = (&'a str, &'a str)> {
        pairs.iter().filter_map(|number| self.pairs.get(*number as usize)).map(|pair| (&*pair.name, &*pair.value))
    }

    /// Returns name and value of a pair.
    pub(super) fn pair(&self, number: u32) -> (Arc<str>, Arc<str>) {
        self.pairs.get(number as usize).map(|pair| (pair.name.clone(), pair.value.clone())).unwrap_or_default()
    }

    /// Compares two series by their labels, as [`Labels`] are compared.
    pub(crate) fn compare(&self, a: &[u32], b: &[u32]) -> Ordering {
        let equal = a.iter().zip(b).take_while(|(a, b)| a == b).count();
        self.texts(a.get(equal..).unwrap_or_default())
            .next()
            .cmp(&self.texts(b.get(equal..).unwrap_or_default()).next())
    }

    /// Returns the series with a label pair, sorted.
    pub(crate) fn equal(&self, name: &str, value: &str) -> &[u32] {
        let number = self.names.get(name).and_then(|values| values.get(value));
        number.map_or(&[], |number| self.series(*number))
    }

    /// Returns all label names, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(|n| &**n)
    }

    /// Returns the values of a label from `prefix` on while they begin with it, sorted, with their series.
    pub(crate) fn values<'a>(&'a self, name: &str, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a [u32])> {
        let values = self.names.get(name);
        let from = (Bound::Included(prefix), Bound::Unbounded);
        values
            .into_iter()
            .flat_map(move |v| v.range::<str, _>(from))
            .take_while(move |(value, _)| value.starts_with(prefix))
            .map(|(value, number)| (&**value, self.series(*number)))
    }

    /// Returns how many values a label has.
    pub(crate) fn value_count(&self, name: &str) -> usize {
        self.names.get(name).map_or(0, BTreeMap::len)
    }

    /// Returns about how many bytes of memory the index holds.
    pub(crate) fn memory_bytes(&self) -> usize {
        // Two texts' counts, the entry in the tree and half a free place beside it.
        const PAIR_BYTES: usize = size_of::<Pair>() + 2 * 16 + 36;
        self.pairs.iter().map(|pair| PAIR_BYTES + pair.value.len() + pair.series.capacity() * 4).sum()
    }

    fn series(&self, number: u32) -> &[u32] {
        self.pairs.get(number as usize).map_or(&[], |pair| &pair.series)
    }
}

fn push_sorted(list: &mut Vec<u32>, series: u32) {
    match list.last() {
        // Slots are given out again, and replay may bring a series again.
        Some(last) if *last >= series => {
            if let Err(at) = list.binary_search(&series) {
                list.insert(at, series);
            }
        }
        _ => list.push(series),
    }
}
