//! The one reader of wall time.
//!
//! Everybody who depends on time is handed a [`Clock`] and reads it once per event. Tests hand in one that
//! is set by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::model::Timestamp;

/// Wall time and time since start; cheap to clone.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System { started: Instant },
    HandSet { now_ns: Arc<AtomicI64>, started_ns: i64 },
}

impl Clock {
    /// Returns the machine's clock.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this room is the one that may read the machine's clocks")]
    pub fn system() -> Self {
        Clock(Source::System { started: Instant::now() })
    }

    /// Returns a clock that stands at `start` until [`Clock::advance`] moves it.
    #[must_use]
    pub fn hand_set(start: Timestamp) -> Self {
        let started_ns = start.as_millis().saturating_mul(1_000_000);
        Clock(Source::HandSet { now_ns: Arc::new(AtomicI64::new(started_ns)), started_ns })
    }

    /// Moves a hand-set clock forward; does nothing to the machine's.
    pub fn advance(&self, by: Duration) {
        if let Source::HandSet { now_ns, .. } = &self.0 {
            now_ns.fetch_add(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }

    /// Returns wall time in milliseconds.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now_ns().div_euclid(1_000_000))
    }

    /// Returns wall time in nanoseconds since the epoch.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this room is the one that may read the machine's clocks")]
    pub fn now_ns(&self) -> i64 {
        match &self.0 {
            Source::System { .. } => match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
                Err(before) => -i64::try_from(before.duration().as_nanos()).unwrap_or(i64::MAX),
            },
            Source::HandSet { now_ns, .. } => now_ns.load(Ordering::SeqCst),
        }
    }

    /// Returns time since this clock was made; never steps.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        match &self.0 {
            Source::System { started } => started.elapsed(),
            Source::HandSet { now_ns, started_ns } => {
                Duration::from_nanos(u64::try_from(now_ns.load(Ordering::SeqCst) - started_ns).unwrap_or(0))
            }
        }
    }
}
