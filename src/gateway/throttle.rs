//! A token bucket: so many at once, so many per second.

use std::time::Duration;

/// Tokens that come back with time. Pure: the caller hands in time since start.
#[derive(Debug, Clone)]
pub(super) struct Throttle {
    per_second: f64,
    burst: f64,
    tokens: f64,
    filled_at: Duration,
}

impl Throttle {
    /// Returns a full bucket.
    pub(super) fn new(per_second: f64, burst: f64, now: Duration) -> Self {
        Throttle { per_second, burst, tokens: burst, filled_at: now }
    }

    /// Takes one token; returns whether there was one.
    pub(super) fn take(&mut self, now: Duration) -> bool {
        let has_token = self.remaining(now) >= 1.0;
        if has_token {
            self.tokens -= 1.0;
        }
        has_token
    }

    /// Returns how many tokens there are.
    pub(super) fn remaining(&mut self, now: Duration) -> f64 {
        let passed = now.saturating_sub(self.filled_at).as_secs_f64();
        self.filled_at = self.filled_at.max(now);
        self.tokens = (self.tokens + passed * self.per_second).min(self.burst);
        self.tokens
    }

    /// Tells whether the bucket is as new.
    pub(super) fn is_full(&mut self, now: Duration) -> bool {
        self.remaining(now) >= self.burst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate_and_never_more_than_the_burst() {
        let at = Duration::from_millis;
        let mut throttle = Throttle::new(10.0, 3.0, at(0));
        let taken = |throttle: &mut Throttle, now| (0..100).filter(|_| throttle.take(now)).count();
        assert_eq!(taken(&mut throttle, at(0)), 3);
        assert_eq!(taken(&mut throttle, at(99)), 0);
        assert_eq!(taken(&mut throttle, at(100)), 1);
        assert_eq!(taken(&mut throttle, at(300)), 2);
        assert_eq!(taken(&mut throttle, at(60_000)), 3);
    }
}
