//! One group's task: tick, evaluate in order, tell the alarms room, publish.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::evaluate::{Environment, RuleState, Timing};
use super::file::{Group, Rule};
use super::snapshot::GroupSnapshot;
use crate::clock::Stamp;
use crate::model::{Alert, Labels, Timestamp};
use crate::task::BlockingPool;

/// A group's definition with what holds for it, and the states of its rules.
#[derive(Debug, Clone)]
pub(super) struct Running {
    pub(super) group: Arc<Group>,
    pub(super) interval: Duration,
    pub(super) query_offset: Duration,
    /// One per rule, in order; a changed group takes over those of the one before it.
    pub(super) states: Vec<Arc<Mutex<RuleState>>>,
    pub(super) environment: Arc<Environment>,
    pub(super) stop: CancellationToken,
    pub(super) snapshot: watch::Receiver<Arc<GroupSnapshot>>,
}

/// A rule and what it remembers.
pub(super) type WithState = (Rule, Arc<Mutex<RuleState>>);

/// What a group's task owns besides.
pub(super) struct Task {
    pub(super) running: Running,
    pub(super) snapshots: watch::Sender<Arc<GroupSnapshot>>,
    pub(super) alarms: mpsc::Sender<Vec<Alert>>,
    pub(super) pool: BlockingPool,
}

/// Locks a rule's state. A panic in an evaluation leaves the alerts as they were or stepped; both are good.
pub(super) fn lock(state: &Mutex<RuleState>) -> MutexGuard<'_, RuleState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Running {
    /// Returns the group's name in own metrics, as in Prometheus: `file;group`.
    pub(super) fn key(&self) -> String {
        format!("{};{}", self.group.file, self.group.name)
    }

    fn timing(&self, at: Timestamp, moved_ms: i64) -> Timing {
        Timing { at, moved_ms, interval: self.interval, query_offset: self.query_offset }
    }

    /// Returns all alerts to be told, as of a time.
    pub(super) fn alerts_to_tell(&self, at: Timestamp) -> Vec<Alert> {
        let timing = self.timing(at, 0);
        let rules = self.group.rules.iter().zip(&self.states);
        rules.flat_map(|(rule, state)| lock(state).alerts_to_tell(&self.group, rule, &timing)).collect()
    }

    pub(super) fn snapshot_at(&self, at: Timestamp, figures: Figures) -> GroupSnapshot {
        let timing = self.timing(at, 0);
        let rules = self.group.rules.iter().zip(&self.states);
        GroupSnapshot {
            name: self.group.name.clone(),
            file: self.group.file.clone(),
            interval: self.interval,
            limit: self.group.limit,
            query_offset: self.query_offset,
            evaluation_time: figures.duration,
            last_evaluation: figures.last_evaluation,
            missed: figures.missed,
            rules: rules.map(|(rule, state)| lock(state).snapshot(&self.group, rule, &timing)).collect(),
        }
    }
}

/// How a group fares.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Figures {
    duration: Duration,
    last_evaluation: Option<Timestamp>,
    missed: u64,
}

impl Task {
    /// Ticks until the group is stopped.
    pub(super) async fn run(self, intake: CancellationToken) {
        let running = &self.running;
        let clock = &running.environment.clock;
        let offset = offset(&running.group, running.interval);
        let mut figures = Figures::default();
        let mut next = next_tick(clock.now(), running.interval, offset);
        loop {
            let slept_from = clock.elapsed();
            tokio::select! {
                () = running.stop.cancelled() => return,
                () = intake.cancelled() => return,
                () = tokio::time::sleep(next.since(clock.now())) => {}
            }
            let Stamp { at: now, moved_ms } = clock.stamp();
            if now < next {
                // The timer was early by its granularity, or the clock was set back meanwhile.
                next = next.min(next_tick(now, running.interval, offset));
                continue;
            }
            let (at, missed) = due(next, now, clock.elapsed().saturating_sub(slept_from), running.interval);
            figures.missed += missed;
            running.environment.instruments.missed.with(&[&running.key()]).add(missed);
            self.evaluate(Stamp { at, moved_ms }, &mut figures).await;
            next = self.after(at, clock.now(), offset, &mut figures);
        }
    }

    /// Returns the tick after the one at `at`; those that passed during its evaluation are left out.
    fn after(&self, at: Timestamp, now: Timestamp, offset: i64, figures: &mut Figures) -> Timestamp {
        let running = &self.running;
        let next = next_tick(now, running.interval, offset);
        let passed = next.since(at).as_millis() / running.interval.as_millis().max(1);
        let took = figures.duration.as_millis() / running.interval.as_millis().max(1);
        let missed = u64::try_from(passed.saturating_sub(1).min(took)).unwrap_or(0);
        figures.missed += missed;
        running.environment.instruments.missed.with(&[&running.key()]).add(missed);
        next
    }

    /// Evaluates all rules in order.
    async fn evaluate(&self, Stamp { at, moved_ms }: Stamp, figures: &mut Figures) {
        let running = &self.running;
        let instruments = &running.environment.instruments;
        let key = running.key();
        let started = running.environment.clock.elapsed();
        let timing = running.timing(at, moved_ms);
        for (index, state) in running.states.iter().enumerate() {
            if running.stop.is_cancelled() {
                return;
            }
            let (state, group, environment) = (state.clone(), running.group.clone(), running.environment.clone());
            let evaluated = self.pool.run(move || {
                let Some(rule) = group.rules.get(index) else { return true };
                let mut state = lock(&state);
                state.evaluate(&environment, &group, rule, &timing);
                !state.failed()
            });
            let is_good = evaluated.await == Ok(true);
            instruments.evaluations.with(&[&key]).inc();
            if !is_good {
                instruments.failures.with(&[&key]).inc();
            }
        }
        figures.duration = running.environment.clock.elapsed().saturating_sub(started);
        figures.last_evaluation = Some(at);
        instruments.iterations.with(&[&key]).inc();
        instruments.last_duration.with(&[&key]).set(figures.duration.as_secs_f64());
        instruments.last_evaluation.with(&[&key]).set(at.as_seconds());
        let alerts = running.alerts_to_tell(at);
        // Full: what fires still is told again next time, what was resolved for 15 minutes.
        if !alerts.is_empty() && self.alarms.try_send(alerts).is_err() {
            instruments.dropped_batches.inc();
        }
        self.snapshots.send_replace(Arc::new(running.snapshot_at(at, *figures)));
    }
}

/// Returns where in its interval a group ticks, so that not all groups tick at once.
fn offset(group: &Group, interval: Duration) -> i64 {
    let hash = Labels::from_pairs([("file", &group.file), ("group", &group.name)]).stable_hash();
    i64::try_from(hash % millis(interval).unsigned_abs()).unwrap_or(0)
}

fn millis(interval: Duration) -> i64 {
    i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1)
}

/// Returns the first tick after a time.
fn next_tick(now: Timestamp, interval: Duration, offset: i64) -> Timestamp {
    let interval = millis(interval);
    let since = (now.as_millis() - offset).rem_euclid(interval);
    Timestamp::from_millis(now.as_millis() - since + interval)
}

/// Returns the tick to be evaluated now, the latest one that is due, and how many were left out before it. A
/// clock that was set forward leaves none out: only time that passed (`slept`) counts.
fn due(next: Timestamp, now: Timestamp, slept: Duration, interval: Duration) -> (Timestamp, u64) {
    let interval_ms = millis(interval);
    let behind = (now.as_millis() - next.as_millis()).max(0) / interval_ms;
    let passed = i64::try_from(slept.as_millis()).unwrap_or(i64::MAX) / interval_ms;
    (Timestamp::from_millis(next.as_millis() + behind * interval_ms), behind.min(passed).unsigned_abs())
}

/// Returns for each rule of a new group the state of the same rule of the old one, and what is left of those.
pub(super) fn hand_over(new: &Group, old: Option<&Running>) -> (Vec<Arc<Mutex<RuleState>>>, Vec<WithState>) {
    let old = old.map(|o| o.group.rules.iter().cloned().zip(o.states.iter().cloned()));
    let mut left: Vec<WithState> = old.into_iter().flatten().collect();
    let states = new.rules.iter().map(|rule| {
        let is_same = |old: &Rule| {
            let same_kind = std::mem::discriminant(&old.kind) == std::mem::discriminant(&rule.kind);
            old.name == rule.name && old.labels == rule.labels && same_kind
        };
        match left.iter().position(|(old, _)| is_same(old)) {
            Some(at) => left.remove(at).1,
            None => Arc::default(),
        }
    });
    (states.collect(), left)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn ticks_lie_on_a_grid_of_the_interval() {
        let interval = Duration::from_millis(1000);
        assert_eq!(next_tick(at(10_000), interval, 300), at(10_300));
        assert_eq!(next_tick(at(10_300), interval, 300), at(11_300));
        assert_eq!(next_tick(at(-1), interval, 0), at(0));
    }

    #[test]
    fn late_ticks_are_left_out_and_counted() {
        let interval = Duration::from_millis(1000);
        let long = Duration::from_secs(60);
        assert_eq!(due(at(5000), at(5001), long, interval), (at(5000), 0));
        assert_eq!(due(at(5000), at(5999), long, interval), (at(5000), 0));
        assert_eq!(due(at(5000), at(8100), long, interval), (at(8000), 3));
        assert_eq!(due(at(5000), at(3_605_000), Duration::from_millis(900), interval), (at(3_605_000), 0));
    }
}
