//! When the next reading is due: at fixed places of the wall clock, waited for on the monotonic one.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Stamp};
use crate::model::Timestamp;

/// How far a sample's time may be moved to its place: aligned times cost the store almost nothing.
const ALIGN_MS_MAX: i64 = 2;

/// More missed ticks than this are a clock that was set, not a slow reading.
const MISSED_TICKS_BELIEVED: u64 = 100;

/// Gives ticks at `offset + n * interval`.
#[derive(Debug)]
pub(super) struct Ticker {
    clock: Clock,
    interval_ms: i64,
    offset_ms: i64,
    last: Option<Timestamp>,
}

/// One tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tick {
    /// The time to give samples: the clock's, or the tick's own place if that is within 2 ms.
    pub(super) at: Timestamp,
    /// By how much the clock had been moved then.
    pub(super) moved_ms: i64,
    /// Ticks that passed unused because the caller was late.
    pub(super) skipped: u64,
}

impl Ticker {
    /// Returns a ticker; `spread` chooses the place within the interval, so that not all read at once.
    pub(super) fn new(clock: Clock, interval: Duration, spread: u64) -> Self {
        let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1);
        let offset_ms = i64::try_from(spread % interval_ms.unsigned_abs()).unwrap_or(0);
        Ticker { clock, interval_ms, offset_ms, last: None }
    }

    /// Waits for the next tick; `None` when the token is cancelled.
    pub(super) async fn next(&mut self, stop: &CancellationToken) -> Option<Tick> {
        let now = self.clock.now();
        let due = self.due(now);
        let wait = Duration::from_millis((due.as_millis() - now.as_millis()).unsigned_abs());
        tokio::select! {
            () = stop.cancelled() => return None,
            () = tokio::time::sleep(wait) => {}
        }
        let Stamp { at: woken, moved_ms } = self.clock.stamp();
        // A clock that was set meanwhile makes no skipped ticks, and no sample at a time that was not.
        let at = if (woken.as_millis() - due.as_millis()).abs() <= ALIGN_MS_MAX { due } else { woken };
        let skipped = self
            .last
            .map_or(0, |last| u64::try_from((due.as_millis() - last.as_millis()) / self.interval_ms - 1).unwrap_or(0));
        let is_step = skipped > MISSED_TICKS_BELIEVED;
        self.last = Some(due);
        Some(Tick { at, moved_ms, skipped: if is_step { 0 } else { skipped } })
    }

    /// Returns the first place after `now` that is not the one just used.
    fn due(&self, now: Timestamp) -> Timestamp {
        let after = match self.last {
            // Woken a little early by a slewed clock: the place just used is not used twice.
            Some(last) if last >= now && last.as_millis() - now.as_millis() < self.interval_ms => last.as_millis(),
            Some(_) | None => now.as_millis(),
        };
        let past = (after - self.offset_ms).rem_euclid(self.interval_ms);
        Timestamp::from_millis(after.saturating_add(self.interval_ms - past))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_stand_at_fixed_places() {
        let clock = Clock::hand_set(Timestamp::from_millis(0));
        let mut ticker = Ticker::new(clock, Duration::from_secs(15), 17_000);
        let due = |ticker: &Ticker, ms| ticker.due(Timestamp::from_millis(ms)).as_millis();
        assert_eq!(due(&ticker, 1_000), 2_000);
        assert_eq!(due(&ticker, 2_000), 17_000);
        ticker.last = Some(Timestamp::from_millis(17_000));
        assert_eq!(due(&ticker, 16_999), 32_000);
        assert_eq!(due(&ticker, 40_000), 47_000);
        assert_eq!(due(&ticker, -100_000), -88_000);
    }
}
