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
    /// Name and value of each pair; shared with other parts of the view.
    texts: Arc<Texts>,
    text: String,
}

type Texts = HashMap<u32, (Arc<str>, Arc<str>), FixedState>;

impl<T> View<T> {
    /// Copies what `series` gives: pairs, and what comes with them.
    pub(super) fn new<'a>(index: &Index, series: impl Iterator<Item = (&'a Pairs, T)>) -> Self {
        let (mut texts, mut all) = (Texts::default(), Vec::new());
        let mut before: &[u32] = &[];
        let with_lengths = series.map(|(pairs, of_series)| {
            for (at, number) in pairs.iter().enumerate() {
                // Neighbours mostly have most of their pairs in common.
                if before.get(at) != Some(number) {
                    texts.entry(*number).or_insert_with(|| index.pair(*number));
                }
            }
            before = pairs;
            all.extend_from_slice(pairs);
            (u32::try_from(pairs.len()).unwrap_or(u32::MAX), of_series)
        });
        let series: Vec<(u32, T)> = with_lengths.collect();
        View { series: series.into_iter(), pairs: all, read: 0, texts: Arc::new(texts), text: String::new() }
    }

    /// Returns how many series come.
    pub(crate) fn len(&self) -> usize {
        self.series.len()
    }

    /// Returns the labels of one of the series that come. Cost: looks at all before it.
    pub(crate) fn labels_at(&self, at: usize) -> Option<Labels> {
        let series = self.series.as_slice();
        let before: usize = series.get(..at)?.iter().map(|(length, _)| *length as usize).sum();
        let pairs = self.pairs.get(self.read + before..)?.get(..series.get(at)?.0 as usize)?;
        Some(self.labels(pairs, &mut String::new()))
    }

    /// Takes the series from this one on away and returns them.
    pub(crate) fn split_off(&mut self, at: usize) -> View<T> {
        let mut series: Vec<(u32, T)> = std::mem::take(&mut self.series).collect();
        let behind = series.split_off(at.min(series.len()));
        let pairs: usize = series.iter().map(|(length, _)| *length as usize).sum();
        self.series = series.into_iter();
        let pairs = self.pairs.split_off((self.read + pairs).min(self.pairs.len()));
        View { series: behind.into_iter(), pairs, read: 0, texts: self.texts.clone(), text: String::new() }
    }

    fn labels(&self, pairs: &[u32], text: &mut String) -> Labels {
        let texts = pairs.iter().filter_map(|number| self.texts.get(number));
        Labels::from_sorted_in(text, texts.map(|(name, value)| (&**name, &**value)))
    }
}

impl<T> Iterator for View<T> {
    type Item = (Labels, T);

    fn next(&mut self) -> Option<(Labels, T)> {
        let (length, of_series) = self.series.next()?;
        let pairs = self.pairs.get(self.read..).and_then(|rest| rest.get(..length as usize)).unwrap_or_default();
        let mut text = std::mem::take(&mut self.text);
        let labels = self.labels(pairs, &mut text);
        self.text = text;
        self.read += length as usize;
        Some((labels, of_series))
    }
}
