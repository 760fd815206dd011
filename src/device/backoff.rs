//! How long to wait before connecting again: doubled each time, with jitter, up to a limit.

use std::time::Duration;

/// Part of the wait that chance adds or takes away, so that a line of devices does not come back as one.
const JITTER: f64 = 0.25;

/// The waits of one row of failures.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        Backoff { min, max, failures: 0 }
    }

    /// Returns the next wait; `chance` is a random number in `[0, 1)`.
    pub(super) fn next(&mut self, chance: f64) -> Duration {
        let doubled = self.min.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1).min(31);
        doubled.min(self.max).mul_f64(1.0 + JITTER * (2.0 * chance - 1.0))
    }

    /// Begins anew after a success.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_begin_anew() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        let waits: Vec<u64> = (0..7).map(|_| backoff.next(0.5).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        backoff.reset();
        assert_eq!(backoff.next(0.0), Duration::from_millis(750));
        assert!(backoff.next(0.999) < Duration::from_millis(2500));
    }
}
