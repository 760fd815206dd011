//! Which window of time comes next: pure.
//!
//! A window should fill one request, but how much data a time holds is only known after reading it. So the
//! width is learnt: halved when a window holds more than a request takes, doubled when it holds little.

use std::time::Duration;

use crate::model::Timestamp;

/// Widest window; keeps the read of an empty stretch of store cheap and the cursor moving.
const WIDTH_MS_MAX: i64 = 3_600_000;

/// First width of a worker.
const WIDTH_MS_START: i64 = 5_000;

/// A cursor further ahead of the clock than this was set while the clock was wrong.
const AHEAD_MS_MAX: i64 = 600_000;

/// How far a cursor goes back behind the clock when the clock turned out to be wrong.
const BACK_MS: i64 = 60_000;

/// The width of the next window, learnt from the ones before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    width_ms: i64,
}

impl Pace {
    /// Returns the pace of a worker that knows nothing yet.
    pub(super) fn new() -> Self {
        Pace { width_ms: WIDTH_MS_START }
    }

    /// Returns the end (excluded) of the window that begins at `cursor`; `None` if nothing before `settled`
    /// is left.
    pub(super) fn window_end(self, cursor: Timestamp, settled: Timestamp) -> Option<Timestamp> {
        if cursor >= settled {
            return None;
        }
        let end = cursor.as_millis().saturating_add(self.width_ms);
        Some(Timestamp::from_millis(end).min(settled))
    }

    /// Notes that a window held too much. `false` if it cannot be narrower.
    pub(super) fn narrow(&mut self, start: Timestamp, end: Timestamp) -> bool {
        let width_ms = end.as_millis() - start.as_millis();
        self.width_ms = (width_ms / 2).max(1);
        width_ms > 1
    }

    /// Notes what a window held.
    pub(super) fn learn(&mut self, samples: usize, samples_max: usize) {
        if samples * 2 < samples_max {
            self.width_ms = (self.width_ms * 2).min(WIDTH_MS_MAX);
        }
    }
}

/// Returns where reading goes on, given a cursor and the store's oldest sample: at the cursor, but not before
/// there is data, and not in a future that a wrong clock made. Without a cursor everything there is will be
/// sent.
pub(super) fn start(cursor: Option<Timestamp>, oldest: Option<Timestamp>, settled: Timestamp) -> Timestamp {
    let Some(cursor) = cursor else { return oldest.unwrap_or(settled) };
    if cursor.as_millis() - settled.as_millis() > AHEAD_MS_MAX {
        return Timestamp::from_millis(settled.as_millis() - BACK_MS);
    }
    oldest.map_or(cursor, |oldest| cursor.max(oldest))
}

/// Returns how much time was never sent and is no longer in the store: nothing if the cursor only stood in a
/// stretch that was empty before already.
pub(super) fn skipped(cursor: Timestamp, oldest_before: Timestamp, oldest: Timestamp) -> Duration {
    if oldest_before <= cursor { oldest.since(cursor) } else { Duration::ZERO }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn a_window_never_reaches_past_what_has_settled() {
        let pace = Pace::new();
        assert_eq!(pace.window_end(at(0), at(100_000)), Some(at(5_000)));
        assert_eq!(pace.window_end(at(98_000), at(100_000)), Some(at(100_000)));
        assert_eq!(pace.window_end(at(100_000), at(100_000)), None);
        assert_eq!(pace.window_end(at(200_000), at(100_000)), None);
    }

    #[test]
    fn the_width_follows_the_data_within_bounds() {
        let mut pace = Pace::new();
        for _ in 0..30 {
            pace.learn(0, 100);
        }
        assert_eq!(pace.window_end(at(0), at(i64::MAX)), Some(at(WIDTH_MS_MAX)));
        let mut end = WIDTH_MS_MAX;
        while pace.narrow(at(0), at(end)) {
            end = pace.window_end(at(0), at(i64::MAX)).unwrap().as_millis();
        }
        assert_eq!(end, 1);
        pace.learn(50, 100);
        assert_eq!(pace.window_end(at(0), at(100)), Some(at(1)));
        pace.learn(49, 100);
        assert_eq!(pace.window_end(at(0), at(100)), Some(at(2)));
    }

    #[test]
    fn reading_begins_at_the_cursor_if_the_store_still_has_it() {
        assert_eq!(start(None, None, at(1_000)), at(1_000));
        assert_eq!(start(None, Some(at(5)), at(1_000)), at(5));
        assert_eq!(start(Some(at(7)), None, at(1_000)), at(7));
        assert_eq!(start(Some(at(7)), Some(at(5)), at(1_000)), at(7));
        assert_eq!(start(Some(at(7)), Some(at(90)), at(1_000)), at(90));
        assert_eq!(start(Some(at(2_000)), Some(at(5)), at(1_000)), at(2_000));
        assert_eq!(start(Some(at(2_000_000)), Some(at(5)), at(1_000_000)), at(940_000));
    }

    #[test]
    fn only_what_was_there_can_be_skipped() {
        assert_eq!(skipped(at(50), at(10), at(80)), Duration::from_millis(30));
        assert_eq!(skipped(at(50), at(10), at(40)), Duration::ZERO);
        assert_eq!(skipped(at(50), at(60), at(80)), Duration::ZERO);
    }
}
