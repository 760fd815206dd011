//! Counts of the last minute or hour: sixty places in a circle.

use crate::model::Timestamp;

const PLACES: usize = 60;

/// Messages and bytes by second or minute.
#[derive(Debug, Clone)]
pub(super) struct Ring {
    step_ms: i64,
    /// The newest place's number since the epoch.
    newest: i64,
    places: [(u64, u64); PLACES],
}

impl Ring {
    pub(super) fn new(step_ms: i64) -> Self {
        Ring { step_ms, newest: i64::MIN, places: [(0, 0); PLACES] }
    }

    /// Counts one message. One that comes with an older time than another counts as now.
    pub(super) fn add(&mut self, at: Timestamp, bytes: u64) {
        self.turn(at);
        if let Some(place) = self.places.get_mut(index(self.newest)) {
            *place = (place.0 + 1, place.1 + bytes);
        }
    }

    /// Returns messages and bytes of the sixty steps up to `now`.
    pub(super) fn sum(&mut self, now: Timestamp) -> (u64, u64) {
        self.turn(now);
        self.places.iter().fold((0, 0), |sum, place| (sum.0 + place.0, sum.1 + place.1))
    }

    /// Clears the places between the newest and this time.
    fn turn(&mut self, at: Timestamp) {
        let number = at.as_millis().div_euclid(self.step_ms);
        // A clock that was set back far begins the circle anew.
        if self.newest == i64::MIN || number < self.newest - PLACES as i64 {
            self.places = [(0, 0); PLACES];
            self.newest = number;
        }
        let passed = number.saturating_sub(self.newest);
        for step in 0..passed.min(PLACES as i64) {
            if let Some(place) = self.places.get_mut(index(number - step)) {
                *place = (0, 0);
            }
        }
        self.newest = self.newest.max(number);
    }
}

fn index(number: i64) -> usize {
    usize::try_from(number.rem_euclid(PLACES as i64)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_sixty_steps_is_gone() {
        let at = |s: i64| Timestamp::from_millis(1_700_000_000_000 + s * 1000);
        let mut ring = Ring::new(1000);
        for s in 0..100 {
            ring.add(at(s), 10);
        }
        assert_eq!(ring.sum(at(99)), (60, 600));
        assert_eq!(ring.sum(at(129)), (30, 300));
        ring.add(at(80), 1);
        assert_eq!(ring.sum(at(129)), (31, 301), "a late one counts as now");
        assert_eq!(ring.sum(at(1000)), (0, 0));
        ring.add(at(-100_000), 7);
        assert_eq!(ring.sum(at(-100_000)), (1, 7), "a clock that was set back");
    }
}
