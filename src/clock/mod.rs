//! The one reader of time.
//!
//! Everybody who depends on time is handed a [`Clock`] and reads it once per event. What it shows is the box's
//! time: the machine's wall clock while that is believed, and time since the machine's start plus an offset
//! while it is not (see `guide.rs` for when). `storage` looks after it: [`Clock::begin`] with what an earlier
//! process saved, then [`Clock::look`] every second; without that the clock shows wall time as it is.
//!
//! Two promises to those who read it. Box time does not jump while nobody knows what time it is. When
//! it turns out, all stamps of the uncertain time are wrong by one and the same number, [`Clock::moved_ms`]
//! tells which, and whoever keeps a stamp over a while can move it.
//!
//! Timers are not for wall time: [`Clock::elapsed`] never steps. Tests hand in a clock that is set by hand.

mod config;
mod guide;
#[cfg(test)]
mod guide_test;
mod machine;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

pub use self::config::Trust;
pub use self::guide::{BUILT_AT, Belief, Change, Doubt, Guide, LIFETIME_MS, SAVE_INTERVAL_MS, Saved, Standing, Step};
use self::machine::Machine;
use crate::model::Timestamp;

/// The box's time and time since start; cheap to clone.
#[derive(Debug, Clone)]
pub struct Clock {
    machine: Machine,
    /// `None` until somebody looks after the clock.
    guide: Arc<RwLock<Option<Guide>>>,
}

/// A stamp, with what is needed to move it should the clock turn out to have been wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The box's time.
    pub at: Timestamp,
    /// [`Clock::moved_ms`] at that time.
    pub moved_ms: i64,
}

/// How the clock stands, for people.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct State {
    /// Whether the wall clock is believed, and why.
    pub standing: Standing,
    /// Whether it is kept right by a time server or the like.
    pub is_synchronized: bool,
    /// The machine's wall clock.
    pub wall: Timestamp,
    /// Wall clock less box time, in milliseconds.
    pub ahead_ms: i64,
    /// The last step of the wall clock since the process started.
    pub last_step: Option<Step>,
    /// How many there were.
    pub steps: u64,
}

impl Clock {
    /// Returns the machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Clock { machine: Machine::system(), guide: Arc::default() }
    }

    /// Returns a clock of a machine of its own that stands at `start` until [`Clock::advance`] moves it.
    #[must_use]
    pub fn hand_set(start: Timestamp) -> Self {
        Clock { machine: Machine::hand_set(start), guide: Arc::default() }
    }

    /// Returns a clock on the same machine as a new process finds it.
    #[must_use]
    pub fn again(&self) -> Self {
        Clock { machine: self.machine.again(), guide: Arc::default() }
    }

    /// Lets time pass on a hand-set clock; does nothing to the machine's, as the two that follow.
    pub fn advance(&self, by: Duration) {
        self.machine.turn(|hands| hands.advance(by));
    }

    /// Sets the wall clock: by a time server if `is_synchronized`, else by hand.
    pub fn set_wall(&self, wall: Timestamp, is_synchronized: bool) {
        self.machine.turn(|hands| hands.set(wall, is_synchronized));
    }

    /// Starts the machine anew with this on its wall clock, for clocks made by [`Clock::again`] after it.
    pub fn boot(&self, wall: Timestamp) {
        self.machine.turn(|hands| hands.boot(wall));
    }

    /// Returns the box's time in milliseconds.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now_ns().div_euclid(1_000_000))
    }

    /// Returns the box's time in nanoseconds since the epoch.
    #[must_use]
    pub fn now_ns(&self) -> i64 {
        match &*self.read() {
            None => self.machine.wall_ns(),
            Some(guide) => guide.now_ns(&self.machine.read()),
        }
    }

    /// Returns the box's time for something that will be kept.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        let guide = self.read();
        let now_ns = guide.as_ref().map_or_else(|| self.machine.wall_ns(), |g| g.now_ns(&self.machine.read()));
        let at = Timestamp::from_millis(now_ns.div_euclid(1_000_000));
        Stamp { at, moved_ms: guide.as_ref().map_or(0, |g| g.moved_ms) }
    }

    /// Returns time since this clock was made; never steps.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.machine.elapsed()
    }

    /// Tells whether the box's time is believed; what is stamped while it is not is provisional.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.read().as_ref().is_none_or(Guide::is_trusted)
    }

    /// Returns by how much box time has been moved since the process started, in milliseconds: a stamp of
    /// before is right when the difference is added.
    #[must_use]
    pub fn moved_ms(&self) -> i64 {
        self.read().as_ref().map_or(0, |g| g.moved_ms)
    }

    /// Returns the time from which retention counts back. Never later than [`Clock::now`]; behind it after a
    /// jump that nobody has confirmed, so that a wrong clock deletes nothing that it should not.
    #[must_use]
    pub fn retention_now(&self) -> Timestamp {
        match &*self.read() {
            None => Timestamp::from_millis(self.machine.wall_ns().div_euclid(1_000_000)),
            Some(guide) => guide.retention_now(&self.machine.read()),
        }
    }

    /// Returns the latest time that a stamp of somebody else may have: `ahead` of now. While our own clock is
    /// doubted it is no measure for others, and any time in Andon's life will do.
    #[must_use]
    pub fn latest_taken(&self, ahead: Duration) -> Timestamp {
        if self.is_trusted() {
            self.now() + ahead
        } else {
            BUILT_AT + Duration::from_millis(LIFETIME_MS.unsigned_abs())
        }
    }

    /// Begins to tell believable wall time from others.
    pub fn begin(&self, trust: Trust, saved: Option<&Saved>) {
        let reading = self.machine.read();
        let guide = Guide::start(trust, saved, &reading, self.machine.is_synchronized(), self.machine.start_id());
        self.commit(guide);
    }

    /// Looks at the machine's clocks. What holds from now on is returned, to be saved if anything changed, and
    /// then handed to [`Clock::commit`]; `None` if nobody has begun.
    #[must_use]
    pub fn look(&self) -> Option<(Guide, Change)> {
        let reading = self.machine.read();
        let guide = (*self.read())?;
        Some(guide.look(&reading, self.machine.is_synchronized()))
    }

    /// Takes an operator's word that the machine's wall clock is right now; the rest as [`Clock::look`].
    #[must_use]
    pub fn confirm(&self) -> Option<(Guide, Change)> {
        let guide = (*self.read())?;
        Some(guide.confirm(&self.machine.read()))
    }

    /// Goes by this from now on.
    pub fn commit(&self, guide: Guide) {
        *self.guide.write().unwrap_or_else(PoisonError::into_inner) = Some(guide);
    }

    /// Returns what holds now; `None` if nobody has begun.
    #[must_use]
    pub fn guide(&self) -> Option<Guide> {
        *self.read()
    }

    /// Returns what a later process should begin with if `guide` holds from now on.
    #[must_use]
    pub fn to_save(&self, guide: &Guide) -> Saved {
        guide.to_save(&self.machine.read(), self.machine.start_id())
    }

    /// Returns how the clock stands; `None` if nobody looks after it.
    #[must_use]
    pub fn state(&self) -> Option<State> {
        let guide = (*self.read())?;
        let reading = self.machine.read();
        Some(State {
            standing: guide.standing,
            is_synchronized: self.machine.is_synchronized(),
            wall: Timestamp::from_millis(reading.wall_ns.div_euclid(1_000_000)),
            ahead_ms: reading.wall_ns.saturating_sub(guide.now_ns(&reading)) / 1_000_000,
            last_step: guide.last_step,
            steps: guide.steps,
        })
    }

    fn read(&self) -> RwLockReadGuard<'_, Option<Guide>> {
        self.guide.read().unwrap_or_else(PoisonError::into_inner)
    }
}
