//! A chunk: the samples of one series over a while, as two columns; and windows read from chunks.

use std::sync::Arc;

use super::column::{Effort, decode_times, decode_values, encode_times, encode_values};
use crate::storage::disk::{ByteWriter, Malformed};

/// Samples of one series in the clear: times rise, as many values as times.
#[derive(Debug, Clone, Default)]
pub(crate) struct Window {
    pub(crate) times: Vec<i64>,
    pub(crate) values: Vec<f64>,
}

/// Samples of one series, sealed: immutable, cheap to clone. Holds at least one sample.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    pub(crate) min: i64,
    pub(crate) max: i64,
    pub(crate) count: u32,
    /// Shared with the series of the same scrape.
    pub(crate) times: Arc<[u8]>,
    pub(crate) values: Box<[u8]>,
}

impl Window {
    pub(crate) fn len(&self) -> usize {
        self.times.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    pub(crate) fn push(&mut self, time: i64, value: f64) {
        self.times.push(time);
        self.values.push(value);
    }

    /// Returns first and last time; `None` if empty.
    pub(crate) fn range(&self) -> Option<(i64, i64)> {
        Some((*self.times.first()?, *self.times.last()?))
    }

    /// Tells whether there is a sample in `[min, max]`.
    pub(crate) fn overlaps(&self, min: i64, max: i64) -> bool {
        self.range().is_some_and(|(first, last)| first <= max && last >= min)
    }

    /// Returns the value at a time.
    pub(crate) fn get(&self, time: i64) -> Option<f64> {
        self.times.binary_search(&time).ok().and_then(|at| self.values.get(at)).copied()
    }

    /// Inserts a sample in order; returns `false` (and changes nothing) if there is one at this time.
    pub(crate) fn insert(&mut self, time: i64, value: f64) -> bool {
        match self.times.binary_search(&time) {
            Ok(_) => false,
            Err(at) => {
                self.times.insert(at, time);
                self.values.insert(at, value);
                true
            }
        }
    }

    /// Returns the samples in `[min, max]`.
    pub(crate) fn slice(&self, min: i64, max: i64) -> Window {
        let start = self.times.partition_point(|t| *t < min);
        let end = self.times.partition_point(|t| *t <= max).max(start);
        let part = |from: usize, to: usize| -> Option<Window> {
            Some(Window { times: self.times.get(from..to)?.to_vec(), values: self.values.get(from..to)?.to_vec() })
        };
        part(start, end).unwrap_or_default()
    }

    /// Returns the samples outside `[min, max]`.
    pub(crate) fn without(&self, min: i64, max: i64) -> Window {
        let kept = self.times.iter().zip(&self.values).filter(|(t, _)| !(min..=max).contains(*t));
        let (times, values) = kept.unzip();
        Window { times, values }
    }

    /// Appends those samples in `[min, max]` that lie behind ours.
    pub(crate) fn extend_in(&mut self, times: &[i64], values: &[f64], min: i64, max: i64) {
        let start = times.partition_point(|t| *t < min);
        let end = times.partition_point(|t| *t <= max).max(start);
        self.times.extend_from_slice(times.get(start..end).unwrap_or_default());
        self.values.extend_from_slice(values.get(start..end).unwrap_or_default());
    }

    /// Keeps the samples in `[min, max]`.
    pub(crate) fn restrict(&mut self, min: i64, max: i64) {
        if self.range().is_some_and(|(first, last)| min <= first && last <= max) {
            return;
        }
        let end = self.times.partition_point(|t| *t <= max);
        self.times.truncate(end);
        self.values.truncate(end);
        let start = self.times.partition_point(|t| *t < min);
        self.times.drain(..start);
        self.values.drain(..start);
    }

    /// Takes the samples of `later` in. Where both have a time, ours stays. Cost: none but a copy if `later`
    /// lies behind, else a merge of both.
    pub(crate) fn merge(&mut self, later: Window) {
        let behind = match (self.range(), later.range()) {
            (_, None) => return,
            (None, _) => {
                *self = later;
                return;
            }
            (Some((_, our_last)), Some((first, _))) => our_last < first,
        };
        if behind {
            self.times.extend(later.times);
            self.values.extend(later.values);
            return;
        }
        let ours = std::mem::take(self);
        self.times.reserve(ours.len() + later.len());
        self.values.reserve(ours.len() + later.len());
        let mut a = ours.times.into_iter().zip(ours.values).peekable();
        let mut b = later.times.into_iter().zip(later.values).peekable();
        while let (Some((time_a, _)), Some((time_b, _))) = (a.peek(), b.peek()) {
            if time_a == time_b {
                b.next();
                continue;
            }
            let next = if time_a < time_b { a.next() } else { b.next() };
            if let Some((time, value)) = next {
                self.push(time, value);
            }
        }
        for (time, value) in a.chain(b) {
            self.push(time, value);
        }
    }
}

impl Chunk {
    /// Seals samples; `None` if there are none. `share` may return an equal column that is there already.
    pub(crate) fn seal(window: &Window, share: impl FnOnce(Vec<u8>) -> Arc<[u8]>) -> Option<Chunk> {
        let (min, max) = window.range()?;
        let (mut times, mut values) = (ByteWriter::default(), ByteWriter::default());
        encode_times(&window.times, Effort::Fast, &mut times);
        encode_values(&window.values, Effort::Fast, &mut values);
        Some(Chunk {
            min,
            max,
            count: u32::try_from(window.len()).unwrap_or(u32::MAX),
            times: share(times.into_bytes()),
            values: values.into_bytes().into_boxed_slice(),
        })
    }

    /// Returns the samples.
    ///
    /// # Errors
    /// When the columns do not decode, which would be a bug for chunks of the head.
    pub(crate) fn window(&self) -> Result<Window, Malformed> {
        decode_window(&self.times, &self.values)
    }
}

/// Reads samples from two columns.
pub(crate) fn decode_window(times: &[u8], values: &[u8]) -> Result<Window, Malformed> {
    let (times, values) = (decode_times(times)?, decode_values(values)?);
    if times.len() == values.len() {
        Ok(Window { times, values })
    } else {
        Err(Malformed { offset: 0, reason: "columns of unequal length" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(samples: &[(i64, f64)]) -> Window {
        Window { times: samples.iter().map(|s| s.0).collect(), values: samples.iter().map(|s| s.1).collect() }
    }

    #[track_caller]
    fn check_merge(a: &[(i64, f64)], b: &[(i64, f64)], expected: &[(i64, f64)]) {
        let mut merged = window(a);
        merged.merge(window(b));
        let merged: Vec<(i64, f64)> = merged.times.into_iter().zip(merged.values).collect();
        assert_eq!(merged, expected);
    }

    #[test]
    fn where_both_have_a_time_the_first_stays() {
        check_merge(&[(1, 1.0), (3, 3.0)], &[(5, 5.0)], &[(1, 1.0), (3, 3.0), (5, 5.0)]);
        check_merge(&[(1, 1.0), (3, 3.0)], &[(2, 2.0), (3, 9.0), (4, 4.0)], &[(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]);
        check_merge(&[], &[(2, 2.0)], &[(2, 2.0)]);
        check_merge(&[(2, 2.0)], &[], &[(2, 2.0)]);
    }

    #[test]
    fn both_ends_of_a_slice_belong_to_it() {
        let w = window(&[(1, 1.0), (2, 2.0), (3, 3.0)]);
        assert_eq!(w.slice(2, 3).times, [2, 3]);
        assert_eq!(w.slice(4, 9).times, [0; 0]);
        assert_eq!(w.slice(3, 1).times, [0; 0]);
        let mut r = w.clone();
        r.restrict(2, 2);
        assert_eq!((r.times, r.values), (vec![2], vec![2.0]));
    }
}
