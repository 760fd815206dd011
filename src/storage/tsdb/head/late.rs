//! Remembers which minutes received samples after a reader may have passed them.
//!
//! A reader that follows the newest data (forwarding) has read everything up to a moment before now. A
//! sample that comes later than that would be missed; here its minute is noted with the WAL sequence of its
//! batch. The note is bounded: beyond it neighbours become one stretch, so a reader reads too much rather
//! than too little. It is rebuilt by replay and stands in the checkpoint.

use std::collections::BTreeMap;

use crate::model::{TimeRange, Timestamp};
use crate::storage::tsdb::config::LATE_AFTER;
use crate::storage::tsdb::wal::LoggedLate;

/// A sample older than the newest by more than this is late.
const SETTLE_MS: i64 = LATE_AFTER.as_secs().cast_signed() * 1000;

const MINUTE_MS: i64 = 60_000;

/// So many minutes are remembered one by one.
const MINUTES_MAX: usize = 20_000;

#[derive(Debug)]
pub(crate) struct Late {
    /// Newest time of all series.
    newest: i64,
    /// The sequence of the last batch.
    sequence: u64,
    /// Minute to the sequence of the last batch that came late into it.
    minutes: BTreeMap<i64, u64>,
    /// What no longer fits: one stretch `[first, last]` of minutes and the last sequence in it.
    joined: Option<(i64, i64, u64)>,
    /// What was marked last: mostly the next is the same.
    marked: Option<(i64, u64)>,
}

impl Default for Late {
    fn default() -> Self {
        Late { newest: i64::MIN, sequence: 0, minutes: BTreeMap::new(), joined: None, marked: None }
    }
}

impl Late {
    /// Notes a sample of the batch with this sequence. Returns whether it was late.
    pub(crate) fn note(&mut self, time: i64, sequence: u64) -> bool {
        self.sequence = self.sequence.max(sequence);
        if time >= self.newest.saturating_sub(SETTLE_MS) {
            self.newest = self.newest.max(time);
            return false;
        }
        self.mark(time.div_euclid(MINUTE_MS), sequence);
        true
    }

    /// Returns the stretches marked since, and the sequence to ask with next time.
    pub(crate) fn since(&self, sequence: u64) -> (u64, Vec<TimeRange>) {
        let fresh = self.minutes.iter().filter(|(_, s)| **s > sequence).map(|(m, _)| (*m, *m));
        let joined = self.joined.filter(|(.., s)| *s > sequence).map(|(first, last, _)| (first, last));
        let mut stretches: Vec<(i64, i64)> = fresh.chain(joined).collect();
        stretches.sort_unstable();
        let mut ranges: Vec<(i64, i64)> = Vec::new();
        for (first, last) in stretches {
            match ranges.last_mut().filter(|r| first <= r.1.saturating_add(1)) {
                Some(range) => range.1 = range.1.max(last),
                None => ranges.push((first, last)),
            }
        }
        let at = |minute: i64| Timestamp::from_millis(minute.saturating_mul(MINUTE_MS));
        let ranges = ranges.into_iter().map(|(first, last)| TimeRange::new(at(first), at(last.saturating_add(1))));
        (self.sequence, ranges.collect())
    }

    /// Returns the sequence of the last batch.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Counts lateness from here on from this time at least: the newest time of the blocks, or the clock.
    pub(crate) fn begin_at(&mut self, newest: i64) {
        self.newest = self.newest.max(newest);
    }

    /// Returns what a checkpoint keeps.
    pub(crate) fn to_log(&self) -> LoggedLate {
        let minutes = self.minutes.iter().map(|(m, s)| (*m, *s)).collect();
        LoggedLate { sequence: self.sequence, newest: self.newest, minutes, joined: self.joined }
    }

    /// Takes in what a checkpoint kept.
    pub(crate) fn restore(&mut self, logged: &LoggedLate) {
        self.sequence = self.sequence.max(logged.sequence);
        self.newest = self.newest.max(logged.newest);
        self.joined = logged.joined;
        for (minute, sequence) in &logged.minutes {
            self.mark(*minute, *sequence);
        }
    }

    fn mark(&mut self, minute: i64, sequence: u64) {
        if self.marked.replace((minute, sequence)) == Some((minute, sequence)) {
            return;
        }
        if let Some((first, last, joined)) = &mut self.joined
            && (*first..=*last).contains(&minute)
        {
            *joined = (*joined).max(sequence);
            return;
        }
        let marked = self.minutes.entry(minute).or_insert(sequence);
        *marked = (*marked).max(sequence);
        if self.minutes.len() > MINUTES_MAX {
            // The older half becomes one stretch, with the older stretch if there is one.
            let Some(middle) = self.minutes.keys().nth(MINUTES_MAX / 2).copied() else { return };
            let newer = self.minutes.split_off(&middle);
            let older = std::mem::replace(&mut self.minutes, newer);
            let ends = older.keys().copied().chain(self.joined.iter().flat_map(|j| [j.0, j.1]));
            let (first, last) = ends.fold((i64::MAX, i64::MIN), |(a, b), m| (a.min(m), b.max(m)));
            let sequence = older.values().copied().chain(self.joined.map(|j| j.2)).max().unwrap_or(sequence);
            self.joined = Some((first, last, sequence));
            self.minutes.retain(|m, _| *m > last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(ranges: &[TimeRange]) -> Vec<(i64, i64)> {
        ranges.iter().map(|r| (r.start.as_millis() / MINUTE_MS, r.end.as_millis() / MINUTE_MS)).collect()
    }

    #[test]
    fn only_what_comes_after_its_time_is_late() {
        let mut late = Late::default();
        assert!(!late.note(545_000, 1));
        assert!(!late.note(540_000, 2));
        assert!(late.note(539_999, 3));
        assert!(late.note(0, 4));
        assert!(late.note(60_000, 5));
        let (sequence, ranges) = late.since(0);
        assert_eq!((sequence, minutes(&ranges)), (5, vec![(0, 2), (8, 9)]));
        assert_eq!(minutes(&late.since(4).1), [(1, 2)]);
        assert_eq!(late.since(5), (5, vec![]));
    }

    #[test]
    fn beyond_the_bound_it_says_too_much_rather_than_too_little() {
        let mut late = Late::default();
        late.note(i64::MAX / 2, 1);
        let count = i64::try_from(MINUTES_MAX).unwrap() * 2;
        for minute in 0..count {
            late.note(minute * 2 * MINUTE_MS, 2);
        }
        let mut restored = Late::default();
        restored.restore(&late.to_log());
        for late in [late, restored] {
            let (_, ranges) = late.since(1);
            assert!(ranges.len() <= MINUTES_MAX + 1);
            for minute in 0..count {
                let time = Timestamp::from_millis(minute * 2 * MINUTE_MS);
                assert!(ranges.iter().any(|r| r.contains(time)), "{minute}");
            }
        }
    }
}
