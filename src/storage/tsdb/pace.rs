//! How fast samples are taken while a cut runs: what a start replays is bounded, not only mostly little.
//!
//! At full speed more may come while blocks are written than a cut takes. Once another slice has come, each batch
//! waits a little, the more the more there is, so that the cut has the processor and senders what it leaves them.
//! Small batches, those of devices and scrapes, wait for next to nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A batch waits at most so long.
const WAIT_MAX: Duration = Duration::from_millis(50);

/// So long a sample waits when twice as much has come as may come freely.
const PER_SAMPLE: Duration = Duration::from_micros(10);

/// How much may come while a cut runs.
#[derive(Debug)]
pub(super) struct Pace {
    /// Samples in the head from which on batches wait; `u64::MAX` while no cut runs.
    from: AtomicU64,
    /// So many above that count as twice as much.
    slice: AtomicU64,
}

impl Default for Pace {
    fn default() -> Self {
        Pace { from: AtomicU64::new(u64::MAX), slice: AtomicU64::new(1) }
    }
}

impl Pace {
    /// Notes that a cut begins with so many samples in the head, and that one more slice may come meanwhile.
    pub(super) fn begin(&self, held: u64, slice: u64) {
        self.slice.store(slice.max(1), Ordering::Relaxed);
        self.from.store(held.saturating_add(slice), Ordering::Relaxed);
    }

    /// Notes that it has ended.
    pub(super) fn end(&self) {
        self.from.store(u64::MAX, Ordering::Relaxed);
    }

    /// Returns how long a batch of so many samples waits with so many in the head.
    pub(super) fn wait(&self, samples: u64, held: u64) -> Duration {
        let over = held.saturating_sub(self.from.load(Ordering::Relaxed));
        if over == 0 {
            return Duration::ZERO;
        }
        let part = over as f64 / self.slice.load(Ordering::Relaxed) as f64;
        PER_SAMPLE.mul_f64((samples as f64 * part).min(1e9)).min(WAIT_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_wait_only_when_more_than_a_slice_came_while_a_cut_runs() {
        let pace = Pace::default();
        assert_eq!(pace.wait(2000, 50_000_000), Duration::ZERO);
        pace.begin(7_000_000, 6_000_000);
        assert_eq!(pace.wait(2000, 13_000_000), Duration::ZERO);
        assert_eq!(pace.wait(2000, 13_600_000), Duration::from_millis(2));
        assert_eq!(pace.wait(2000, 19_000_000), Duration::from_millis(20));
        assert_eq!(pace.wait(2000, u64::MAX), WAIT_MAX);
        assert!(pace.wait(20, 19_000_000) < Duration::from_millis(1), "a device hardly waits");
        pace.end();
        assert_eq!(pace.wait(2000, 50_000_000), Duration::ZERO);
    }
}
