//! What goes out of a life: queries, quick ones and some that take their time.

use super::Random;
use super::life::{HOUR_MS, Life, MINUTE_MS, at, collect, read_all};
use super::model::{Model, Points};
use crate::model::{Labels, MatchOp, Matcher, Timestamp};
use crate::storage::tsdb::SeriesSet;

/// A reader that is in no hurry.
#[derive(Debug)]
pub(super) struct Held {
    set: SeriesSet,
    expected: Points,
}

impl Life {
    /// Compares all that is read with what is acknowledged.
    pub(super) fn check(&mut self, what: &str) {
        if !self.has_power() {
            return;
        }
        let found = read_all(&self.db()).unwrap_or_else(|e| panic!("{}: {e}", self.place(what)));
        self.compare(&found, what);
    }

    pub(super) fn compare(&self, found: &Points, what: &str) {
        let expected = &self.model.acknowledged;
        self.model.check(found, expected, expected, &self.place(what));
    }

    pub(super) fn query(&mut self) {
        if !self.has_power() {
            return;
        }
        let matchers = self.matchers();
        let now = self.now();
        let back = |random: &mut Random| i64::try_from(random.below(80)).unwrap() * HOUR_MS;
        let (a, b) = (now - back(&mut self.random), now - back(&mut self.random) + MINUTE_MS);
        let (min, max) = (a.min(b), a.max(b));
        self.tell(|| format!("query {matchers:?} {min}..={max}"));
        let place = self.place(&format!("query {matchers:?} {min}..={max}"));
        let querier = self.db().querier();
        let set = querier.select(&matchers, at(min), at(max), usize::MAX);
        let found = set.and_then(collect).unwrap_or_else(|e| panic!("{place}: {e}"));
        let passes = |labels: &Labels| matchers.iter().all(|m| m.matches_labels(labels));
        for (series, samples) in &found {
            assert!(passes(series), "{place}: {series} does not match");
            assert!(samples.keys().all(|t| (min..=max).contains(t)), "{place}: outside of the window");
        }
        let expected = Model::window(&self.model.acknowledged, passes, min, max);
        self.model.check(&found, &expected, &expected, &place);
        let named = querier.series(&matchers, at(min), at(max)).unwrap_or_else(|e| panic!("{place}: {e}"));
        assert!(named.is_sorted_by(|a, b| a < b), "{place}: series are not sorted");
        assert!(found.keys().all(|s| named.contains(s)), "{place}: a series with samples is not named");
        assert!(named.iter().all(passes), "{place}: a series that does not match is named");
        let instances = querier.label_values("instance", &matchers, at(min), at(max)).unwrap();
        let is_named = |s: &Labels| instances.iter().any(|i| Some(i.as_str()) == s.get("instance"));
        assert!(found.keys().all(is_named), "{place}: a value is not named");
    }

    fn matchers(&mut self) -> Vec<Matcher> {
        let instance = format!("10.0.0.{}", self.random.below(self.series.len() as u64));
        let (name, op, value) = match self.random.below(8) {
            0 => return Vec::new(),
            1 => ("__name__", MatchOp::Equal, "m1".to_owned()),
            2 => ("__name__", MatchOp::NotEqual, "m1".to_owned()),
            3 => ("instance", MatchOp::Equal, instance),
            4 => ("instance", MatchOp::Regex, format!("{instance}|10.0.0.1")),
            5 => ("instance", MatchOp::Regex, "10.0.0.1.*".to_owned()),
            6 => ("instance", MatchOp::NotRegex, "10.0.0.[0-4]".to_owned()),
            _ => ("absent", MatchOp::Regex, "x?".to_owned()),
        };
        let first = Matcher::new(name, op, &value).unwrap();
        if self.random.is_one_in(2) { vec![first] } else { vec![first, Matcher::equal("__name__", "m0")] }
    }

    /// Begins a long query, or ends the one that was begun.
    pub(super) fn hold(&mut self) {
        if !self.has_power() {
            return;
        }
        self.tell(|| "a reader that takes its time begins or ends".to_owned());
        if let Some(held) = self.held.take() {
            let found = collect(held.set).unwrap_or_else(|e| panic!("{}: {e}", self.place("held")));
            let place = self.place("a reader that took its time");
            self.model.check(&found, &held.expected, &held.expected, &place);
            return;
        }
        let set = self.db().querier().select(&[], Timestamp::MIN, Timestamp::MAX, usize::MAX);
        let set = set.unwrap_or_else(|e| panic!("{}: {e}", self.place("hold")));
        self.held = Some(Held { set, expected: self.model.acknowledged.clone() });
    }
}
