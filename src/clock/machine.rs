//! The machine's clocks as they are: wall time, time since the machine started, and whether somebody keeps
//! the wall clock right.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clock_steering::unix::{EMPTY_TIMEX, UnixClock};
use rustix::time::{ClockId, clock_gettime};

use crate::model::Timestamp;

/// The kernel's mark of a clock that nobody keeps right, in `adjtimex(2)`'s status.
const STA_UNSYNC: i32 = 0x40;

/// Touched by systemd-timesyncd at each answer of a time server, at the latest every 2048 s.
const TIMESYNC_FILE: &str = "/run/systemd/timesync/synchronized";

/// A touch older than this is no longer word of a time server.
const TIMESYNC_AGE_MAX: Duration = Duration::from_secs(2 * 2048 + 120);

/// What the machine's clocks show at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    /// Time since the machine started, sleep included; never steps. Nanoseconds.
    pub boot_ns: i64,
    /// Wall time, nanoseconds since 1970.
    pub wall_ns: i64,
}

/// Where readings come from; clones are the same machine.
#[derive(Debug, Clone)]
pub(super) enum Machine {
    System { started: Instant },
    HandSet { hands: Arc<Mutex<Hands>>, started_ns: i64 },
}

/// A machine's clocks that are set by hand.
#[derive(Debug)]
pub(super) struct Hands {
    reading: Reading,
    is_synchronized: bool,
    /// Number of starts of the machine.
    starts: u128,
}

impl Machine {
    /// Returns this machine.
    #[expect(clippy::disallowed_methods, reason = "this room is the one that may read the machine's clocks")]
    pub(super) fn system() -> Self {
        Machine::System { started: Instant::now() }
    }

    /// Returns a machine whose clocks stand at `wall` and at its start.
    pub(super) fn hand_set(wall: Timestamp) -> Self {
        let reading = Reading { boot_ns: 0, wall_ns: wall.as_millis().saturating_mul(1_000_000) };
        let hands = Hands { reading, is_synchronized: false, starts: 1 };
        Machine::HandSet { hands: Arc::new(Mutex::new(hands)), started_ns: 0 }
    }

    /// Returns the same machine for another process that starts now.
    #[expect(clippy::disallowed_methods, reason = "this room is the one that may read the machine's clocks")]
    pub(super) fn again(&self) -> Self {
        match self {
            Machine::System { .. } => Machine::System { started: Instant::now() },
            Machine::HandSet { hands, .. } => {
                Machine::HandSet { hands: hands.clone(), started_ns: lock(hands).reading.boot_ns }
            }
        }
    }

    /// Changes clocks that are set by hand; does nothing to this machine's.
    pub(super) fn turn(&self, change: impl FnOnce(&mut Hands)) {
        if let Machine::HandSet { hands, .. } = self {
            change(&mut lock(hands));
        }
    }

    /// Reads both clocks.
    pub(super) fn read(&self) -> Reading {
        match self {
            Machine::System { .. } => Reading { boot_ns: boot_ns(), wall_ns: wall_ns() },
            Machine::HandSet { hands, .. } => lock(hands).reading,
        }
    }

    /// Reads wall time alone.
    pub(super) fn wall_ns(&self) -> i64 {
        match self {
            Machine::System { .. } => wall_ns(),
            Machine::HandSet { hands, .. } => lock(hands).reading.wall_ns,
        }
    }

    /// Tells whether the wall clock is kept right by a time server or the like. To be read after the clocks: a
    /// step takes the mark away, so a mark that is seen after a step was made after it.
    pub(super) fn is_synchronized(&self) -> bool {
        match self {
            Machine::System { .. } => kernel_says().unwrap_or_else(timesyncd_says),
            Machine::HandSet { hands, .. } => lock(hands).is_synchronized,
        }
    }

    /// Returns what tells this start of the machine from others; 0 if it cannot be known.
    pub(super) fn start_id(&self) -> u128 {
        match self {
            Machine::System { .. } => {
                let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
                u128::from_str_radix(&text.trim().replace('-', ""), 16).unwrap_or(0)
            }
            Machine::HandSet { hands, .. } => lock(hands).starts,
        }
    }

    /// Returns time since the process started; never steps, and stands still while the machine sleeps.
    pub(super) fn elapsed(&self) -> Duration {
        match self {
            Machine::System { started } => started.elapsed(),
            Machine::HandSet { hands, started_ns } => {
                Duration::from_nanos(u64::try_from(lock(hands).reading.boot_ns - started_ns).unwrap_or(0))
            }
        }
    }
}

impl Hands {
    /// Lets time pass.
    pub(super) fn advance(&mut self, by: Duration) {
        let by_ns = i64::try_from(by.as_nanos()).unwrap_or(i64::MAX);
        self.reading.boot_ns = self.reading.boot_ns.saturating_add(by_ns);
        self.reading.wall_ns = self.reading.wall_ns.saturating_add(by_ns);
    }

    /// Sets the wall clock, by hand or by a time server.
    pub(super) fn set(&mut self, wall: Timestamp, is_synchronized: bool) {
        self.reading.wall_ns = wall.as_millis().saturating_mul(1_000_000);
        self.is_synchronized = is_synchronized;
    }

    /// Starts the machine anew, with this on its wall clock.
    pub(super) fn boot(&mut self, wall: Timestamp) {
        self.set(wall, false);
        self.reading.boot_ns = 0;
        self.starts += 1;
    }
}

fn lock(hands: &Mutex<Hands>) -> MutexGuard<'_, Hands> {
    hands.lock().unwrap_or_else(PoisonError::into_inner)
}

fn boot_ns() -> i64 {
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}

#[expect(clippy::disallowed_methods, reason = "this room is the one that may read the machine's clocks")]
fn wall_ns() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_nanos()).unwrap_or(i64::MAX),
    }
}

/// Asks the kernel, to which chrony, ntpd, timesyncd and PTP daemons report; `None` if it may not be asked.
fn kernel_says() -> Option<bool> {
    let mut timex = EMPTY_TIMEX;
    UnixClock::CLOCK_REALTIME.adjtime(&mut timex).ok()?;
    Some(timex.status & STA_UNSYNC == 0)
}

/// Asks the file of systemd-timesyncd: touched not long ago, and not in the future, by the clock in question.
fn timesyncd_says() -> bool {
    let touched = std::fs::metadata(TIMESYNC_FILE).and_then(|m| m.modified()).ok();
    let touched_ns = touched.and_then(|t| t.duration_since(UNIX_EPOCH).ok()).map(|t| t.as_nanos());
    let age_ns = touched_ns.and_then(|t| u128::try_from(wall_ns()).ok()?.checked_sub(t));
    age_ns.is_some_and(|age| age <= TIMESYNC_AGE_MAX.as_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_can_be_read() {
        let machine = Machine::system();
        let first = machine.read();
        let second = machine.read();
        assert!(first.boot_ns > 0 && second.boot_ns >= first.boot_ns);
        assert!(first.wall_ns > 1_700_000_000_000_000_000);
        assert_eq!(machine.start_id(), machine.again().start_id());
        assert!(kernel_says().is_some(), "adjtimex may be asked without any right");
    }
}
