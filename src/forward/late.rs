//! What came behind the cursor: pure.
//!
//! The store says which minutes received samples late. They are read again as far as the cursor has passed
//! them, before anything newer is sent: a central that takes samples only in order then refuses none of a device
//! that hands in what it kept. Of the last minutes it is known what was sent of each series, so only what is new
//! is sent again; of older ones all is: central takes the same sample twice without harm.

use std::collections::{BTreeMap, HashMap};

use crate::model::{TimeRange, Timestamp};

const MINUTE_MS: i64 = 60_000;

/// Minutes behind the cursor of which it is known what was sent. What is late is seldom later.
const MINUTES_KEPT: i64 = 3;

/// What is known of the samples of a series within a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Count {
    /// How many there are.
    pub(super) samples: u32,
    /// Time of the newest.
    pub(super) newest_ms: i64,
}

/// Samples of each series, by the stable hash of its labels in the store.
pub(super) type Counts = HashMap<u64, Count>;

/// Which samples of each series were sent, by minute, of the last minutes. Memory: about 30 bytes for
/// each series and minute.
#[derive(Debug, Default)]
pub(super) struct Tally(BTreeMap<i64, Counts>);

/// Returns the minute of a time.
pub(super) fn minute(time_ms: i64) -> i64 {
    time_ms.div_euclid(MINUTE_MS)
}

impl Count {
    /// A series without a sample.
    pub(super) const NONE: Count = Count { samples: 0, newest_ms: i64::MIN };

    /// Returns the count with the samples of both.
    pub(super) fn with(self, other: Count) -> Count {
        Count { samples: self.samples + other.samples, newest_ms: self.newest_ms.max(other.newest_ms) }
    }
}

impl Tally {
    /// Adds what a window held, and forgets what is far behind its end.
    pub(super) fn add(&mut self, counted: BTreeMap<i64, Counts>, window_end: Timestamp) {
        for (minute, counts) in counted {
            let kept = self.0.entry(minute).or_default();
            for (series, count) in counts {
                let known = kept.entry(series).or_insert(Count::NONE);
                *known = known.with(count);
            }
        }
        self.0 = self.0.split_off(&(minute(window_end.as_millis()) - MINUTES_KEPT));
    }

    /// Replaces what is known of a minute, after it was read again.
    pub(super) fn replace(&mut self, counted: BTreeMap<i64, Counts>) {
        self.0.extend(counted);
    }

    /// Forgets a minute, so that it is read in parts.
    pub(super) fn forget(&mut self, start: Timestamp) {
        self.0.remove(&minute(start.as_millis()));
    }

    /// Returns what was sent of the minute that begins at `start`; nothing if none begins there.
    pub(super) fn of(&self, start: Timestamp) -> Option<&Counts> {
        self.0.get(&minute(start.as_millis())).filter(|_| start.as_millis() % MINUTE_MS == 0)
    }

    /// Returns the first moment of which it is known what was sent.
    fn start(&self) -> Option<Timestamp> {
        self.0.keys().next().map(|minute| Timestamp::from_millis(minute * MINUTE_MS))
    }

    /// Returns the end of the window that begins at `start`, at most `end`: a minute where it is known what
    /// was sent, else as wide as `width_end` says, up to there.
    pub(super) fn window_end(&self, start: Timestamp, width_end: Timestamp, end: Timestamp) -> Timestamp {
        if self.of(start).is_some() {
            return Timestamp::from_millis(start.as_millis() + MINUTE_MS).min(end);
        }
        let known = self.start().filter(|known| *known > start).unwrap_or(end);
        width_end.min(known).min(end)
    }
}

/// Returns what of a stretch lies behind the cursor. The rest is read by the cursor anyway.
pub(super) fn behind(range: TimeRange, cursor: Timestamp) -> Option<TimeRange> {
    let end = range.end.min(cursor);
    (range.start < end).then(|| TimeRange::new(range.start, end))
}

/// Stretches of time to be read again: sorted, not overlapping.
#[derive(Debug, Default)]
pub(super) struct Stretches(Vec<Stretch>);

/// Minutes to be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) range: TimeRange,
    /// Asking the store for what is late since this sequence finds the stretch again.
    pub(super) since: u64,
}

impl Stretches {
    /// Adds a stretch.
    pub(super) fn add(&mut self, added: Stretch) {
        let Stretch { range: TimeRange { mut start, mut end }, mut since } = added;
        self.0.retain(|known| {
            let touches = known.range.start <= end && start <= known.range.end;
            if touches {
                (start, end) = (start.min(known.range.start), end.max(known.range.end));
                since = since.min(known.since);
            }
            !touches
        });
        let at = self.0.partition_point(|known| known.range.start < start);
        self.0.insert(at, Stretch { range: TimeRange::new(start, end), since });
    }

    /// Takes out the first stretch, as far as the cursor has passed it.
    pub(super) fn take_behind(&mut self, cursor: Timestamp) -> Option<Stretch> {
        let first = self.0.first_mut()?;
        let taken = behind(first.range, cursor)?;
        let since = first.since;
        first.range.start = taken.end;
        if first.range.start >= first.range.end {
            self.0.remove(0);
        }
        Some(Stretch { range: taken, since })
    }

    /// Returns from which sequence on the store must be asked to find all that waits; `None` if nothing does.
    pub(super) fn since(&self) -> Option<u64> {
        self.0.iter().map(|known| known.since).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_millis(minute * MINUTE_MS)
    }

    fn range(start: i64, end: i64) -> TimeRange {
        TimeRange::new(at(start), at(end))
    }

    #[test]
    fn stretches_are_joined_and_taken_when_the_cursor_has_passed() {
        let mut stretches = Stretches::default();
        for (start, end) in [(8, 9), (2, 3), (3, 4), (5, 7), (6, 8), (20, 30)] {
            stretches.add(Stretch { range: range(start, end), since: start.unsigned_abs() });
        }
        let left = |s: &Stretches| s.0.iter().map(|s| (s.range, s.since)).collect::<Vec<_>>();
        assert_eq!(left(&stretches), [(range(2, 4), 2), (range(5, 9), 5), (range(20, 30), 20)]);
        let take = |s: &mut Stretches, cursor| s.take_behind(cursor).map(|s| (s.range, s.since));
        let half = Timestamp::from_millis(at(6).as_millis() + 30_000);
        assert_eq!(take(&mut stretches, half), Some((range(2, 4), 2)));
        assert_eq!(take(&mut stretches, half), Some((TimeRange::new(at(5), half), 5)));
        assert_eq!(take(&mut stretches, half), None);
        assert_eq!(stretches.since(), Some(5));
        assert_eq!(take(&mut stretches, at(9)), Some((TimeRange::new(half, at(9)), 5)));
        assert_eq!(left(&stretches), [(range(20, 30), 20)]);
        assert_eq!(take(&mut stretches, at(40)), Some((range(20, 30), 20)));
        assert_eq!(stretches.since(), None);
    }

    #[test]
    fn only_what_the_cursor_has_passed_is_read_again() {
        assert_eq!(behind(range(3, 9), at(5)), Some(range(3, 5)));
        assert_eq!(behind(range(5, 9), at(5)), None);
        assert_eq!(behind(range(3, 4), at(5)), Some(range(3, 4)));
    }

    #[test]
    fn a_tally_knows_the_last_minutes() {
        let count = |samples: u32| Count { samples, newest_ms: i64::from(samples) };
        let counted = |minute: i64, n: u32| BTreeMap::from([(minute, Counts::from([(7, count(n))]))]);
        let mut tally = Tally::default();
        tally.add(counted(1, 2), at(1));
        tally.add(counted(1, 3), at(2));
        assert_eq!(tally.of(at(1)), Some(&Counts::from([(7, Count { samples: 5, newest_ms: 3 })])));
        assert_eq!(tally.of(Timestamp::from_millis(at(1).as_millis() + 1)), None);
        tally.add(counted(5, 1), at(6));
        assert_eq!(tally.of(at(1)), None);
        assert_eq!(tally.window_end(at(0), at(10), at(20)), at(5));
        assert_eq!(tally.window_end(at(5), at(10), at(20)), at(6));
        assert_eq!(tally.window_end(at(6), at(10), at(20)), at(10));
        tally.replace(counted(5, 4));
        assert_eq!(tally.of(at(5)), Some(&Counts::from([(7, count(4))])));
    }
}
