//! Token buckets: so many at once, so many per second.

use std::sync::{Mutex, MutexGuard, PoisonError};
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

    /// Changes the rate; what is in the bucket stays, as far as it fits.
    fn set(&mut self, per_second: f64, burst: f64, now: Duration) {
        self.remaining(now);
        (self.per_second, self.burst, self.tokens) = (per_second, burst, self.tokens.min(burst));
    }
}

/// How much may be sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rate {
    /// Frames per second, and at once.
    pub(super) frames: f64,
    /// Bytes per second.
    pub(super) bytes: f64,
    /// Bytes at once; the largest message has to fit.
    pub(super) bytes_burst: f64,
}

/// What was over its rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exceeded {
    /// Frames.
    Frames,
    /// Bytes.
    Bytes,
}

/// Frames and bytes of one device, or of all. It outlives connections: a new one does not fill it.
#[derive(Debug)]
pub(super) struct Meter(Mutex<(Throttle, Throttle)>);

impl Meter {
    /// Returns a full meter.
    pub(super) fn new(rate: Rate, now: Duration) -> Self {
        Meter(Mutex::new((
            Throttle::new(rate.frames, rate.frames, now),
            Throttle::new(rate.bytes, rate.bytes_burst, now),
        )))
    }

    /// Takes a frame of this size, or tells what it is too much for; then nothing is taken.
    pub(super) fn take(&self, bytes: usize, now: Duration) -> Result<(), Exceeded> {
        #[expect(clippy::cast_precision_loss, reason = "a message is far smaller than 2^53 bytes")]
        let bytes = bytes as f64;
        let (frames, octets) = &mut *self.lock();
        if frames.remaining(now) < 1.0 {
            return Err(Exceeded::Frames);
        }
        if octets.remaining(now) < bytes {
            return Err(Exceeded::Bytes);
        }
        frames.tokens -= 1.0;
        octets.tokens -= bytes;
        Ok(())
    }

    /// Returns how many frames may be sent at once.
    pub(super) fn frames(&self, now: Duration) -> f64 {
        self.lock().0.remaining(now)
    }

    /// Changes the rate.
    pub(super) fn set(&self, rate: Rate, now: Duration) {
        let (frames, octets) = &mut *self.lock();
        frames.set(rate.frames, rate.frames, now);
        octets.set(rate.bytes, rate.bytes_burst, now);
    }

    fn lock(&self) -> MutexGuard<'_, (Throttle, Throttle)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[test]
    fn a_meter_counts_frames_and_bytes_and_takes_both_or_nothing() {
        let at = Duration::from_millis;
        let meter = Meter::new(Rate { frames: 4.0, bytes: 100.0, bytes_burst: 150.0 }, at(0));
        assert_eq!(meter.take(150, at(0)), Ok(()));
        assert_eq!(meter.take(1, at(0)), Err(Exceeded::Bytes));
        assert_eq!(meter.frames(at(0)), 3.0, "what was refused was not taken");
        for _ in 0..3 {
            assert_eq!(meter.take(0, at(0)), Ok(()));
        }
        assert_eq!(meter.take(0, at(0)), Err(Exceeded::Frames));
        assert_eq!(meter.take(100, at(1000)), Ok(()));
        // A lower rate holds at once.
        meter.set(Rate { frames: 1.0, bytes: 10.0, bytes_burst: 10.0 }, at(1000));
        assert_eq!(meter.frames(at(99_000)), 1.0);
        assert_eq!(meter.take(11, at(99_000)), Err(Exceeded::Bytes));
    }
}
