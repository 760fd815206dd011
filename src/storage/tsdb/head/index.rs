//! The head's inverted index: label pairs to references.

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use crate::model::Labels;

/// Label name to value to references, sorted. References are given out rising, so lists only grow at the end.
#[derive(Debug, Default)]
pub(crate) struct Index {
    names: BTreeMap<Box<str>, BTreeMap<Arc<str>, Vec<u32>>>,
    all: Vec<u32>,
}

impl Index {
    /// Adds a series.
    pub(crate) fn add(&mut self, reference: u32, labels: &Labels) {
        push_sorted(&mut self.all, reference);
        for (name, value) in labels.iter() {
            if !self.names.contains_key(name) {
                self.names.insert(name.into(), BTreeMap::new());
            }
            let Some(values) = self.names.get_mut(name) else { continue };
            match values.get_mut(value) {
                Some(references) => push_sorted(references, reference),
                None => {
                    values.insert(value.into(), vec![reference]);
                }
            }
        }
    }

    /// Takes series out. `labels` are those of the series that go.
    pub(crate) fn remove<'a>(&mut self, gone: &HashSet<u32>, labels: impl Iterator<Item = &'a Labels>) {
        self.all.retain(|r| !gone.contains(r));
        let mut pairs = HashSet::new();
        for (name, value) in labels.flat_map(Labels::iter) {
            if !pairs.insert((name, value)) {
                continue;
            }
            let Some(values) = self.names.get_mut(name) else { continue };
            if let Some(references) = values.get_mut(value) {
                references.retain(|r| !gone.contains(r));
                if references.is_empty() {
                    values.remove(value);
                }
            }
            if values.is_empty() {
                self.names.remove(name);
            }
        }
    }

    /// Returns all references, sorted.
    pub(crate) fn all(&self) -> &[u32] {
        &self.all
    }

    /// Returns the references under a label pair, sorted.
    pub(crate) fn equal(&self, name: &str, value: &str) -> &[u32] {
        self.names.get(name).and_then(|values| values.get(value)).map_or(&[], Vec::as_slice)
    }

    /// Returns all label names, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(|n| &**n)
    }

    /// Returns the values of a label from `prefix` on while they begin with it, sorted, with their references.
    pub(crate) fn values<'a>(&'a self, name: &str, prefix: &'a str) -> impl Iterator<Item = (&'a Arc<str>, &'a [u32])> {
        let values = self.names.get(name);
        let from = (Bound::Included(prefix), Bound::Unbounded);
        values
            .into_iter()
            .flat_map(move |v| v.range::<str, _>(from))
            .take_while(move |(value, _)| value.starts_with(prefix))
            .map(|(value, references)| (value, references.as_slice()))
    }

    /// Returns how many values a label has.
    pub(crate) fn value_count(&self, name: &str) -> usize {
        self.names.get(name).map_or(0, BTreeMap::len)
    }

    /// Returns about how many bytes of memory the index holds.
    pub(crate) fn memory_bytes(&self) -> usize {
        let lists = self.names.values().flatten().map(|(value, refs)| value.len() + 64 + refs.capacity() * 4);
        lists.sum::<usize>() + self.all.capacity() * 4
    }
}

fn push_sorted(references: &mut Vec<u32>, reference: u32) {
    match references.last() {
        // Replay may bring a series again, or in another order.
        Some(last) if *last >= reference => {
            if let Err(at) = references.binary_search(&reference) {
                references.insert(at, reference);
            }
        }
        _ => references.push(reference),
    }
}
