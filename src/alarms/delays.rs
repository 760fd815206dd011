//! De-bounce: alarms of a class begin and end only after their cause was there, or gone, for a while. Pure.
//!
//! ISA-18.2 calls this on-delay and off-delay. `for` and `keep_firing_for` do it where a rule is evaluated; this does it
//! for a class of alarms, by matchers, those of other programs among them. What comes back within the off-delay is the
//! same occurrence: acknowledged stays acknowledged, and nobody is told anything.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{Alert, Labels, Matcher};

/// Changes that wait, at most; above it they count at once.
const CHANGING_MAX: usize = 10_000;

/// How long alarms of a class take to begin and to end.
#[derive(Debug, Clone, PartialEq)]
pub struct Delay {
    /// Which alarms: all must pass.
    pub matchers: Vec<Matcher>,
    /// How long the cause must be there.
    pub on: Duration,
    /// How long it must be gone.
    pub off: Duration,
}

/// A begin or an end that does not count yet.
#[derive(Debug)]
struct Change {
    is_begin: bool,
    due: Duration,
    /// Until when the alert counts without being heard of again.
    deadline: Duration,
    alert: Alert,
}

/// Whether a begin or an end counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counts {
    /// Its class does not wait.
    AtOnce,
    /// It lasted for as long as its class waits.
    Now,
    /// Not before this time.
    NotBefore(Duration),
}

/// Begins and ends that wait, by fingerprint; times since the process started.
#[derive(Debug, Default)]
pub(super) struct Delays(BTreeMap<u64, Change>);

impl Delays {
    /// Takes a begin or an end.
    pub(super) fn wait(
        &mut self,
        classes: &[Delay],
        is_begin: bool,
        alert: &Alert,
        (elapsed, deadline): (Duration, Duration),
    ) -> Counts {
        let fingerprint = alert.labels.stable_hash();
        let delay = of(classes, &alert.labels, is_begin);
        let since_before = self.0.remove(&fingerprint).filter(|change| change.is_begin == is_begin).map(|c| c.due);
        let due = since_before.unwrap_or(elapsed + delay);
        if delay.is_zero() || self.0.len() >= CHANGING_MAX {
            return Counts::AtOnce;
        }
        if due <= elapsed {
            return Counts::Now;
        }
        self.0.insert(fingerprint, Change { is_begin, due, deadline, alert: alert.clone() });
        Counts::NotBefore(due)
    }

    /// Notes that an alarm is as it was: what was about to change did not last.
    pub(super) fn forget(&mut self, fingerprint: u64) {
        self.0.remove(&fingerprint);
    }

    /// Returns when something is due by itself.
    pub(super) fn next(&self) -> Option<Duration> {
        self.0.values().map(|change| change.due).min()
    }

    /// Returns the alerts whose time has come, to be heard again. A begin that was not heard of since is none.
    pub(super) fn due(&mut self, elapsed: Duration) -> Vec<Alert> {
        self.0.retain(|_, change| change.due > elapsed || !change.is_begin || change.deadline > elapsed);
        self.0.values().filter(|change| change.due <= elapsed).map(|change| change.alert.clone()).collect()
    }
}

/// Returns how long a change of an alarm waits: as the first class says that it is of.
fn of(classes: &[Delay], labels: &Labels, is_begin: bool) -> Duration {
    let class = classes.iter().find(|class| class.matchers.iter().all(|m| m.matches_labels(labels)));
    class.map_or(Duration::ZERO, |class| if is_begin { class.on } else { class.off })
}
