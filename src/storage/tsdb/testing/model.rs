//! What the store must hold: a plain map.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use crate::model::Labels;

/// Samples by series and time: the bits of the value.
pub(super) type Points = BTreeMap<Labels, BTreeMap<i64, u64>>;

/// What was sent, what was acknowledged, and what is sure to last.
#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    /// Everything that was acknowledged and not deleted; the first value of a time counts.
    pub(super) acknowledged: Points,
    /// What a power cut must leave.
    pub(super) lasting: Points,
    /// What was acknowledged since the last sync.
    fresh: Vec<(Labels, i64, u64)>,
    /// All values that were ever acknowledged: the first of a time may be retired before another.
    sent: BTreeMap<Labels, BTreeMap<i64, BTreeSet<u64>>>,
    /// What was sent and refused by a failing disk: it may be there, it need not.
    maybe: BTreeMap<Labels, BTreeMap<i64, BTreeSet<u64>>>,
    /// A file's sync had failed when a process ended. What it holds is seen until a power cut, and what comes later
    /// may lean on it: the names of its series.
    is_doubtful: bool,
    /// Retention may have taken what is older.
    pub(super) kept_from: i64,
}

impl Model {
    pub(super) fn new() -> Self {
        Model { kept_from: i64::MIN, ..Model::default() }
    }

    pub(super) fn acknowledge(&mut self, series: &Labels, time: i64, bits: u64) {
        self.sent.entry(series.clone()).or_default().entry(time).or_default().insert(bits);
        if let Entry::Vacant(place) = self.acknowledged.entry(series.clone()).or_default().entry(time) {
            place.insert(bits);
            self.fresh.push((series.clone(), time, bits));
        }
    }

    pub(super) fn refuse(&mut self, series: &Labels, time: i64, bits: u64) {
        self.maybe.entry(series.clone()).or_default().entry(time).or_default().insert(bits);
    }

    /// All that is acknowledged is safe from now on, but for what only seems to be written.
    pub(super) fn synced(&mut self) {
        for (series, time, bits) in self.fresh.drain(..).filter(|_| !self.is_doubtful) {
            self.lasting.entry(series).or_default().insert(time, bits);
        }
    }

    /// The process ended after a failed sync: what was not safe may only be in the page cache, and the next
    /// process cannot know.
    pub(super) fn doubt(&mut self) {
        self.is_doubtful = true;
    }

    /// After a power cut, what is there is what there is.
    pub(super) fn restart_with(&mut self, found: &Points) {
        self.acknowledged.clone_from(found);
        self.lasting.clone_from(found);
        self.is_doubtful = false;
        self.fresh.clear();
    }

    /// A value may be lost to damage where another came for the same time later: that one is seen then.
    pub(super) fn allow_later_values(&mut self) {
        for (series, times) in &self.sent {
            let maybe = self.maybe.entry(series.clone()).or_default();
            times.iter().for_each(|(time, values)| maybe.entry(*time).or_default().extend(values));
        }
    }

    /// Returns what is known of a window of some series.
    pub(super) fn window(points: &Points, is_wanted: impl Fn(&Labels) -> bool, min: i64, max: i64) -> Points {
        let wanted = points.iter().filter(|(series, _)| is_wanted(series));
        let cut = wanted.map(|(series, samples)| {
            (series.clone(), samples.range(min..=max).map(|(t, v)| (*t, *v)).collect::<BTreeMap<_, _>>())
        });
        cut.filter(|(_, samples)| !samples.is_empty()).collect()
    }

    /// Checks that `found` has all of `expected`, and nothing but that and what may be there besides.
    #[track_caller]
    pub(super) fn check(&self, found: &Points, expected: &Points, besides: &Points, what: &str) {
        for (series, samples) in expected {
            let there = found.get(series);
            for (time, bits) in samples.range(self.kept_from..) {
                match there.and_then(|s| s.get(time)) {
                    None => panic!("{what}: {series} at {time} is lost"),
                    Some(value) if value == bits || self.is_maybe(series, *time, *value) => {}
                    Some(value) => panic!("{what}: {series} at {time} is {value:x}, was {bits:x}"),
                }
            }
        }
        for (series, samples) in found {
            for (time, bits) in samples {
                let is_known = |points: &Points| points.get(series).and_then(|s| s.get(time)) == Some(bits);
                let is_right = is_known(expected) || is_known(besides) || self.is_maybe(series, *time, *bits);
                let first = besides.get(series).and_then(|s| s.get(time));
                let all = self.sent.get(series).and_then(|s| s.get(time));
                let from = self.kept_from;
                assert!(
                    is_right,
                    "{what}: {series} at {time} is {bits:x}; acknowledged: {first:x?}, ever: {all:x?}, kept from {from}"
                );
            }
        }
    }

    fn is_maybe(&self, series: &Labels, time: i64, bits: u64) -> bool {
        let is_in = |values: &BTreeMap<Labels, BTreeMap<i64, BTreeSet<u64>>>| {
            values.get(series).and_then(|s| s.get(&time)).is_some_and(|v| v.contains(&bits))
        };
        is_in(&self.maybe) || (time < self.kept_from && is_in(&self.sent))
    }
}

/// Returns how many samples there are.
pub(super) fn count(points: &Points) -> usize {
    points.values().map(BTreeMap::len).sum()
}
