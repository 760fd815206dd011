//! What one session may send, and what becomes of more.
//!
//! A frame over a rate is refused, with an answer. A device that sends far more than its rate is read no faster than at
//! nine times of it beside what is taken: the rest waits in its own socket and costs the others nothing. One that goes
//! on is cut off.

use std::sync::Arc;
use std::time::Duration;

use super::throttle::{Exceeded, Meter, Throttle};

/// How many seconds' worth of refused frames a device may send before it is cut off.
const PATIENCE_S: f64 = 10.0;
/// Frames over the rate that are read to be refused, in rates; at once a tenth of a second's worth of the rate.
const PACE: f64 = 9.0;
const AT_ONCE_S: f64 = 0.1;
/// How long a device is not read that sends more.
const PAUSE: Duration = Duration::from_millis(10);

/// What a frame is too much for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// The device's frames per second.
    Frames,
    /// The device's bytes per second.
    Bytes,
    /// What all devices together may send.
    All,
}

impl Limit {
    /// Returns the limit as metrics have it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Limit::Frames => "frames",
            Limit::Bytes => "bytes",
            Limit::All => "all",
        }
    }

    /// Returns what the device is told.
    pub(super) fn message(self) -> &'static str {
        match self {
            Limit::Frames => "Rate limit exceeded",
            Limit::Bytes => "Byte rate limit exceeded",
            Limit::All => "The box takes no more at the moment: rate limit of all",
        }
    }
}

/// The state of one session's limits.
#[derive(Debug)]
pub(super) struct Limits {
    /// The device's own, whatever connection it uses.
    own: Arc<Meter>,
    /// Of all devices.
    all: Arc<Meter>,
    pace: Throttle,
    patience: Throttle,
    paused_until: Option<Duration>,
}

impl Limits {
    /// Returns limits for a session at `rate` frames per second.
    pub(super) fn new(own: Arc<Meter>, all: Arc<Meter>, rate: u32, now: Duration) -> Self {
        let rate = f64::from(rate);
        let pace = Throttle::new(PACE * rate, (AT_ONCE_S * rate).max(1.0), now);
        let patience = Throttle::new(rate, PATIENCE_S * rate, now);
        Limits { own, all, pace, patience, paused_until: None }
    }

    /// Takes a text of this size, or tells what it is too much for.
    pub(super) fn take(&mut self, bytes: usize, now: Duration) -> Result<(), Limit> {
        let taken = self.of_own(bytes, now).and_then(|()| self.all.take(bytes, now).map_err(|_| Limit::All));
        self.paced(taken, now)
    }

    /// Takes a frame that carries nothing, or tells that it is one too many.
    pub(super) fn take_empty(&mut self, now: Duration) -> Result<(), Limit> {
        let taken = self.of_own(0, now);
        self.paced(taken, now)
    }

    fn of_own(&self, bytes: usize, now: Duration) -> Result<(), Limit> {
        self.own.take(bytes, now).map_err(|exceeded| match exceeded {
            Exceeded::Frames => Limit::Frames,
            Exceeded::Bytes => Limit::Bytes,
        })
    }

    fn paced(&mut self, taken: Result<(), Limit>, now: Duration) -> Result<(), Limit> {
        // Large frames are dear to read.
        if taken == Err(Limit::Bytes) || taken.is_err() && !self.pace.take(now) {
            self.paused_until = Some(now + PAUSE);
        }
        taken
    }

    /// Bears with one more refused frame; returns whether that is not one too many.
    pub(super) fn bear(&mut self, now: Duration) -> bool {
        self.patience.take(now)
    }

    /// Returns until when the device is not to be read.
    pub(super) fn paused_until(&self) -> Option<Duration> {
        self.paused_until
    }

    /// Ends a pause that is over.
    pub(super) fn on_time(&mut self, now: Duration) {
        self.paused_until = self.paused_until.filter(|end| now < *end);
    }
}

#[cfg(test)]
mod tests {
    use super::super::throttle::Rate;
    use super::*;

    fn limits(rate: u32, bytes: f64) -> Limits {
        let meter = |frames, bytes| {
            Arc::new(Meter::new(Rate { frames: f64::from(frames), bytes, bytes_burst: bytes }, Duration::ZERO))
        };
        Limits::new(meter(rate, bytes), meter(1_000_000, 1e12), rate, Duration::ZERO)
    }

    #[test]
    fn a_flood_is_read_at_ten_times_its_rate_and_then_cut_off() {
        let mut limits = limits(100, 1e9);
        let (mut now, mut taken, mut refused) = (Duration::ZERO, 0, 0);
        // As fast as it is read: a frame costs ten microseconds.
        while refused == 0 || limits.bear(now) {
            match limits.take(100, now) {
                Ok(()) => taken += 1,
                Err(limit) => {
                    assert_eq!(limit, Limit::Frames);
                    refused += 1;
                }
            }
            now = limits.paused_until().unwrap_or(now) + Duration::from_micros(10);
            limits.on_time(now);
            assert_eq!(limits.paused_until(), None);
        }
        assert!((1000..1200).contains(&refused), "{refused} in {now:?}");
        assert!((150..250).contains(&taken), "{taken} in {now:?}");
        assert!((Duration::from_millis(1000)..Duration::from_millis(1500)).contains(&now), "{now:?}");
    }

    #[test]
    fn a_little_more_than_the_rate_is_refused_without_a_pause() {
        let mut limits = limits(100, 1e9);
        let refused = (0..110).filter(|_| limits.take(100, Duration::ZERO).is_err()).count();
        assert_eq!((refused, limits.paused_until()), (10, None));
        assert_eq!((limits.take(100, Duration::ZERO), limits.paused_until()), (Err(Limit::Frames), Some(PAUSE)));
    }

    #[test]
    fn a_large_frame_too_much_is_followed_by_a_pause() {
        let mut limits = limits(100, 1000.0);
        assert_eq!(limits.take(1000, Duration::ZERO), Ok(()));
        assert_eq!(limits.take(1000, Duration::ZERO), Err(Limit::Bytes));
        assert_eq!(limits.paused_until(), Some(PAUSE));
        limits.on_time(PAUSE / 2);
        assert_eq!(limits.paused_until(), Some(PAUSE));
    }
}
