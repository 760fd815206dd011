//! What the head has of some series, copied at one moment and read without its lock.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::index::{Index, Pairs};
use crate::model::Labels;

/// Series in order of their labels, each with something of it. Their label sets are put together one by one, when
/// they are read: that takes longer than to copy the numbers of their pairs, and the lock is held for that only.
#[derive(Debug)]
pub(crate) struct View<T> {
    series: std::vec::IntoIter<(u32, T)>,
    /// Numbers of pairs of all series, one list behind the other.
    pairs: Vec<u32>,
    /// How many of them have been read.
    read: usize,
    /// Name and value of each pair.
    texts: HashMap<u32, (Arc<str>, Arc<str>), FixedState>,
    text: String,
}

impl<T> View<T> {
    /// Copies what `series` gives: pairs, and what comes with them.
    pub(super) fn new<'a>(index: &Index, series: impl Iterator<Item = (&'a Pairs, T)>) -> Self {
        let mut view = View {
            series: Vec::new().into_iter(),
            pairs: Vec::new(),
            read: 0,
            texts: HashMap::default(),
            text: String::new(),
        };
        let mut before: &[u32] = &[];
        let with_lengths = series.map(|(pairs, of_series)| {
            for (at, number) in pairs.iter().enumerate() {
                // Neighbours mostly have most of their pairs in common.
                if before.get(at) != Some(number) {
                    view.texts.entry(*number).or_insert_with(|| index.pair(*number));
                }
            }
            before = pairs;
            view.pairs.extend_from_slice(pairs);
            (u32::try_from(pairs.len()).unwrap_or(u32::MAX), of_series)
        });
        let series: Vec<(u32, T)> = with_lengths.collect();
        view.series = series.into_iter();
        view
    }
}

impl<T> Iterator for View<T> {
    type Item = (Labels, T);

    fn next(&mut self) -> Option<(Labels, T)> {
        let (length, of_series) = self.series.next()?;
        let pairs = self.pairs.get(self.read..).and_then(|rest| rest.get(..length as usize)).unwrap_or_default();
        self.read += pairs.len();
        let texts = pairs.iter().filter_map(|number| self.texts.get(number));
        let labels = Labels::from_sorted_in(&mut self.text, texts.map(|(name, value)| (&**name, &**value)));
        Some((labels, of_series))
    }
}
