//! De-bounce: alarms of a class begin and end only after their cause was there, or gone, for a while. Pure.
//!
//! ISA-18.2 calls this on-delay and off-delay. `for` and `keep_firing_for` do it where a rule is evaluated; this does it
//! for a class of alarms, by matchers, those of other programs among them. What comes back within the off-delay is the
//! same occurrence: acknowledged stays acknowledged, and nobody is told anything.
//!
//! What waits is in the journal (`journal.rs`), without a sync of its own: a process that ends keeps its waits, a power cut
//! may begin them anew.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{Alarm, Alert, AlertState, Labels, Matcher, Timestamp};

/// Changes that wait, at most; above it they count at once.
const CHANGING_MAX: usize = 10_000;

/// A begin that was due so long before a start is forgotten: nobody knows what was meanwhile.
const OVERDUE_MAX: Duration = Duration::from_secs(300);

/// So long after a start a begin of before waits to be heard of: rules have their samples back by then.
const UNHEARD_KEPT: Duration = Duration::from_secs(600);

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

/// One moment by both clocks: the box's time, and since the process started.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: Timestamp,
    pub(super) elapsed: Duration,
}

/// What is about to happen to an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Begin,
    End,
}

/// What the journal is told of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) at: Timestamp,
    pub(super) fingerprint: u64,
    /// What waits, and when it is due; `None`: nothing any more, the alarm is as it was.
    pub(super) turn: Option<(Turn, Timestamp)>,
}

/// A begin or an end that does not count yet.
#[derive(Debug)]
struct Change {
    turn: Turn,
    due: Duration,
    /// Until when the alert counts without being heard of again.
    deadline: Duration,
    /// `None`: of before a restart, and not heard of since.
    alert: Option<Alert>,
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
pub(super) struct Delays {
    changes: BTreeMap<u64, Change>,
    /// What the journal does not know yet.
    untold: Vec<Wait>,
}

impl Delays {
    /// Takes up the waits of before a restart: begins, which somebody has to speak of again, and ends of `alarms`.
    pub(super) fn restored<'a>(
        waits: &BTreeMap<u64, (Turn, Timestamp)>,
        alarm: impl Fn(u64) -> Option<&'a Alarm>,
        classes: &[Delay],
        moment: Moment,
    ) -> Delays {
        let mut delays = Delays::default();
        for (fingerprint, (turn, due_at)) in waits.iter().take(CHANGING_MAX) {
            // A clock that was set makes no wait longer than any is.
            let longest = classes.iter().map(|class| if *turn == Turn::Begin { class.on } else { class.off }).max();
            let due = moment.elapsed + due_at.since(moment.now).min(longest.unwrap_or_default());
            let alert = match (turn, alarm(*fingerprint)) {
                (Turn::Begin, None) if moment.now.since(*due_at) <= OVERDUE_MAX => None,
                (Turn::End, Some(alarm)) => Some(gone(alarm)),
                (Turn::Begin | Turn::End, _) => continue,
            };
            let change = Change { turn: *turn, due, deadline: due + UNHEARD_KEPT, alert };
            delays.changes.insert(*fingerprint, change);
        }
        delays
    }

    /// Takes a begin or an end; `deadline` is until when its alert counts.
    pub(super) fn wait(
        &mut self,
        classes: &[Delay],
        turn: Turn,
        alert: &Alert,
        moment: Moment,
        deadline: Duration,
    ) -> Counts {
        let fingerprint = alert.labels.stable_hash();
        let delay = of(classes, &alert.labels, turn);
        let before = self.changes.remove(&fingerprint).filter(|change| change.turn == turn).map(|c| c.due);
        let due = before.unwrap_or(moment.elapsed + delay);
        if delay.is_zero() || self.changes.len() >= CHANGING_MAX {
            return Counts::AtOnce;
        }
        if due <= moment.elapsed {
            return Counts::Now;
        }
        if before.is_none() {
            let due_at = moment.now + due.saturating_sub(moment.elapsed);
            self.untold.push(Wait { at: moment.now, fingerprint, turn: Some((turn, due_at)) });
        }
        self.changes.insert(fingerprint, Change { turn, due, deadline, alert: Some(alert.clone()) });
        Counts::NotBefore(due)
    }

    /// Notes that an alarm is as it was, as an alert in this state says: what was about to change did not last. That
    /// it is pending again says so of no begin of before a restart, because its rule does not remember more.
    pub(super) fn forget(&mut self, fingerprint: u64, state: AlertState, now: Timestamp) {
        let is_meant = |c: &Change| state != AlertState::Pending || c.alert.is_some();
        if self.changes.get(&fingerprint).is_some_and(is_meant) {
            self.changes.remove(&fingerprint);
            self.untold.push(Wait { at: now, fingerprint, turn: None });
        }
    }

    /// Returns what the journal does not know yet.
    pub(super) fn take_untold(&mut self) -> Vec<Wait> {
        std::mem::take(&mut self.untold)
    }

    /// Returns the alarms that are about to end, and when.
    pub(super) fn ending(&self) -> impl Iterator<Item = (u64, Duration)> {
        let ends = self.changes.iter().filter(|(_, change)| change.turn == Turn::End);
        ends.map(|(fingerprint, change)| (*fingerprint, change.due))
    }

    /// Returns when something is due by itself.
    pub(super) fn next(&self) -> Option<Duration> {
        self.changes.values().filter(|change| change.alert.is_some()).map(|change| change.due).min()
    }

    /// Returns the alerts whose time has come, to be heard again. A begin that was not heard of since is none.
    pub(super) fn due(&mut self, elapsed: Duration) -> Vec<Alert> {
        self.changes.retain(|_, change| change.due > elapsed || change.turn == Turn::End || change.deadline > elapsed);
        let due = self.changes.values().filter(|change| change.due <= elapsed);
        due.filter_map(|change| change.alert.clone()).collect()
    }
}

/// Returns how long a change of an alarm waits: as the first class says that it is of.
fn of(classes: &[Delay], labels: &Labels, turn: Turn) -> Duration {
    let class = classes.iter().find(|class| class.matchers.iter().all(|m| m.matches_labels(labels)));
    class.map_or(Duration::ZERO, |class| if turn == Turn::Begin { class.on } else { class.off })
}

/// Returns the word of before a restart that an alarm's cause is gone.
fn gone(alarm: &Alarm) -> Alert {
    Alert {
        labels: alarm.labels.clone(),
        annotations: alarm.annotations.clone(),
        state: AlertState::Resolved,
        value: alarm.value,
        active_at: alarm.raised_at,
        fired_at: Some(alarm.raised_at),
        resolved_at: None,
        evaluated_at: alarm.raised_at,
        expires_at: alarm.raised_at,
        expression: alarm.expression.clone(),
        source_url: alarm.source_url.clone(),
        group: String::new(),
        rule_version: alarm.rule_version,
    }
}
