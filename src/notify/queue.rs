//! What waits to be told and when each of it may go: pure.
//!
//! A way of a receiver that cannot be reached is *away*: one notice at a time is tried, with growing waits. What came
//! and went meanwhile becomes one digest, which goes before everything else; what still fires follows by itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::notice::{Notice, WayKey};
use super::receiver::Failure;
use super::retry::{DIGEST_AFTER, expires_after, wait};
use crate::model::Timestamp;

/// Notices that wait, at most; above it the oldest goes, one that tells only of what is over first.
pub(super) const WAITING_MAX: usize = 10_000;

/// Notices on their way at once.
const FLIGHTS_MAX: usize = 32;

/// Notices on their way to one way of a receiver at once.
const FLIGHTS_PER_WAY_MAX: usize = 4;

/// The span over which a rate limit counts.
const RATE_SPAN: Duration = Duration::from_secs(60);

/// A notice in the outbox.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) notice: Arc<Notice>,
    pub(super) attempts: u32,
    pub(super) is_in_flight: bool,
    /// Whether the fallback receiver has it too.
    pub(super) is_handed_over: bool,
    due: Duration,
}

/// How a way of a receiver fares.
#[derive(Debug, Default)]
struct Line {
    away: Option<Away>,
    /// When it took notices, in the last minute; kept only under a rate limit.
    taken: VecDeque<Duration>,
    /// Alarms that came and went and were too old to be told.
    expired: u64,
}

/// That a way cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Away {
    /// Since the first failure.
    pub(super) since: Timestamp,
    attempts: u32,
    due: Duration,
}

/// What came of a new notice.
#[derive(Debug)]
pub(super) struct Pushed {
    pub(super) notice: Arc<Notice>,
    /// Ids of notices whose place it took.
    pub(super) replaced: Vec<u64>,
    /// A notice that had to go because there are too many.
    pub(super) dropped: Option<Arc<Notice>>,
}

/// All notices that wait.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: BTreeMap<u64, Waiting>,
    lines: BTreeMap<WayKey, Line>,
    /// Notices that a way takes in a minute, at most; for ways that are not here any number.
    pub(super) limits: BTreeMap<WayKey, usize>,
    /// Ways to which only matters how things stand: they get no digests, and what they are to know never is too old.
    pub(super) lamps: BTreeSet<WayKey>,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Waiting> {
        self.waiting.values()
    }

    pub(super) fn get(&self, id: u64) -> Option<&Waiting> {
        self.waiting.get(&id)
    }

    /// Returns since when a way cannot be reached.
    pub(super) fn away_since(&self, receiver: &str) -> Option<Timestamp> {
        let lines = self.lines.iter().filter(|((name, _), _)| name == receiver);
        lines.filter_map(|(_, line)| line.away.map(|a| a.since)).min()
    }

    /// Returns the notice that waits in a lane and is not on its way.
    pub(super) fn unsent(&self, lane: &super::notice::Lane) -> Option<&Arc<Notice>> {
        let is_it = |w: &&Waiting| {
            let n = &w.notice;
            !w.is_in_flight && !n.is_digest() && n.group_key == lane.0 && n.is_for(&lane.1, &lane.2)
        };
        self.waiting.values().find(is_it).map(|w| &w.notice)
    }

    /// Takes a notice. One that waits in the same lane goes; what it tells of that is over is told with the new one.
    pub(super) fn push(&mut self, mut notice: Notice) -> Pushed {
        let of_lane = |w: &Waiting| !w.is_in_flight && w.notice.same_lane(&notice) && !notice.is_digest();
        let replaced: Vec<u64> = self.waiting.iter().filter(|(_, w)| of_lane(w)).map(|(id, _)| *id).collect();
        let mut is_handed_over = false;
        for id in &replaced {
            let Some(old) = self.waiting.remove(id) else { continue };
            notice.since = notice.since.min(old.notice.since);
            is_handed_over |= old.is_handed_over;
            for alarm in old.notice.alarms.iter().filter(|a| a.ends_at.is_some()) {
                if notice.alarms.iter().all(|a| a.fingerprint != alarm.fingerprint) {
                    notice.alarms.push(alarm.clone());
                }
            }
        }
        let dropped = if self.waiting.len() >= WAITING_MAX { self.least_wanted() } else { None };
        let dropped = dropped.and_then(|id| self.waiting.remove(&id)).map(|w| w.notice);
        let notice = Arc::new(notice);
        let waiting = Waiting {
            notice: notice.clone(),
            attempts: 0,
            is_in_flight: false,
            // What is only over is no reason to wake somebody else.
            is_handed_over: is_handed_over || notice.firing() == 0,
            due: Duration::ZERO,
        };
        self.waiting.insert(notice.id, waiting);
        Pushed { notice, replaced, dropped }
    }

    fn least_wanted(&self) -> Option<u64> {
        let idle = || self.waiting.iter().filter(|(_, w)| !w.is_in_flight);
        idle().find(|(_, w)| w.notice.firing() == 0).or_else(|| idle().next()).map(|(id, _)| *id)
    }

    /// Takes a notice out.
    pub(super) fn remove(&mut self, id: u64) -> Option<Waiting> {
        self.waiting.remove(&id)
    }

    /// Returns the id of a notice that is newer than this one, of the same lane and not on its way.
    pub(super) fn newer_than(&self, id: u64) -> Option<u64> {
        let old = &self.waiting.get(&id)?.notice;
        let mut newer = self.waiting.range(id + 1..).filter(|(_, w)| !w.is_in_flight && w.notice.same_lane(old));
        newer.next().map(|(id, _)| *id).filter(|_| !old.is_digest())
    }

    /// Notes that the fallback receiver has a notice too.
    pub(super) fn handed_over(&mut self, id: u64) {
        if let Some(waiting) = self.waiting.get_mut(&id) {
            waiting.is_handed_over = true;
        }
    }

    /// Returns the ids of notices that tell only of what is over and are too old to be told; digests never are.
    pub(super) fn expired(&self, now: Timestamp) -> Vec<u64> {
        let is_old = |w: &&Waiting| {
            let n = &w.notice;
            let is_of_people = !n.is_digest() && n.firing() == 0 && !self.lamps.contains(&n.way());
            !w.is_in_flight && is_of_people && now.since(n.since) > expires_after(n.priority())
        };
        self.waiting.values().filter(is_old).map(|w| w.notice.id).collect()
    }

    /// Notes that a notice was given up because of its age: the next digest says how many alarms that were.
    pub(super) fn count_expired(&mut self, notice: &Notice) {
        self.lines.entry(notice.way()).or_default().expired += notice.alarms.len() as u64;
    }

    /// Makes digests for the ways that are about to be tried after a while: returns each with the ids it stands for.
    pub(super) fn fold(
        &mut self,
        elapsed: Duration,
        now: Timestamp,
        mut next_id: impl FnMut() -> u64,
    ) -> Vec<(Arc<Notice>, Vec<u64>)> {
        let mut digests = Vec::new();
        for way in self.ways() {
            if self.lamps.contains(&way) || self.opening(&way, elapsed).is_none_or(|at| at > elapsed) {
                continue;
            }
            let of_way = |w: &&Waiting| !w.is_in_flight && w.notice.is_for(&way.0, &way.1) && w.notice.firing() == 0;
            let over: Vec<&Notice> = self.waiting.values().filter(of_way).map(|w| &*w.notice).collect();
            let is_late = over.iter().any(|n| now.since(n.since) >= DIGEST_AFTER);
            if over.len() < 2 || !is_late {
                continue;
            }
            let Some(mut digest) = Notice::digest(&over, next_id(), now) else { continue };
            let done: Vec<u64> = over.iter().map(|n| n.id).collect();
            digest.left_out += std::mem::take(&mut self.lines.entry(way).or_default().expired);
            for id in &done {
                self.waiting.remove(id);
            }
            digests.push((self.push(digest).notice, done));
        }
        digests
    }

    /// Returns the ids of what may be sent now, the digest of a way first, then by priority and age.
    pub(super) fn ready(&self, elapsed: Duration) -> Vec<u64> {
        let mut free = FLIGHTS_MAX.saturating_sub(self.waiting.values().filter(|w| w.is_in_flight).count());
        let mut ids = Vec::new();
        for way in self.ways() {
            if self.opening(&way, elapsed).is_none_or(|at| at > elapsed) {
                continue;
            }
            let of_way = || self.waiting.values().filter(|w| w.notice.is_for(&way.0, &way.1));
            let flights: Vec<&Waiting> = of_way().filter(|w| w.is_in_flight).collect();
            let is_busy = |w: &Waiting| flights.iter().any(|f| f.notice.same_lane(&w.notice));
            let has_digest = of_way().any(|w| w.notice.is_digest());
            let mut due: Vec<&Waiting> = of_way()
                .filter(|w| !w.is_in_flight && w.due <= elapsed && !is_busy(w))
                .filter(|w| w.notice.is_digest() == has_digest)
                .collect();
            due.sort_by_key(|w| (w.notice.priority(), w.notice.id));
            let is_away = self.lines.get(&way).is_some_and(|line| line.away.is_some());
            let room = FLIGHTS_PER_WAY_MAX.saturating_sub(flights.len()).min(free);
            let room = room.min(if is_away || has_digest { 1 } else { usize::MAX });
            let room = room.min(self.rate_left(&way, elapsed).saturating_sub(flights.len()));
            let launched: Vec<u64> = due.into_iter().take(room).map(|w| w.notice.id).collect();
            free -= launched.len();
            ids.extend(launched);
        }
        ids
    }

    /// Notes that a notice is on its way.
    pub(super) fn launched(&mut self, id: u64) {
        if let Some(waiting) = self.waiting.get_mut(&id) {
            waiting.is_in_flight = true;
            waiting.attempts += 1;
        }
    }

    /// Notes that a notice was taken and lets it go.
    pub(super) fn taken(&mut self, id: u64, elapsed: Duration) -> Option<Waiting> {
        let waiting = self.waiting.remove(&id)?;
        let way = waiting.notice.way();
        let limit = self.limits.get(&way).copied().unwrap_or(0);
        let line = self.lines.entry(way).or_default();
        line.away = None;
        line.taken.retain(|at| elapsed.saturating_sub(*at) < RATE_SPAN);
        if line.taken.len() < limit {
            line.taken.push_back(elapsed);
        }
        Some(waiting)
    }

    /// Notes that an attempt failed: if the other side refused, this notice waits; if it was not there, all for it do.
    pub(super) fn failed(&mut self, id: u64, failure: &Failure, elapsed: Duration, now: Timestamp, jitter: f64) {
        let Some(waiting) = self.waiting.get_mut(&id) else { return };
        waiting.is_in_flight = false;
        let line = self.lines.entry(waiting.notice.way()).or_default();
        if failure.is_refusal {
            line.away = None;
            waiting.due = elapsed + wait(failure, waiting.attempts, jitter);
            return;
        }
        let attempts = line.away.map_or(1, |a| a.attempts.saturating_add(1));
        let since = line.away.map_or(now, |a| a.since);
        line.away = Some(Away { since, attempts, due: elapsed + wait(failure, attempts, jitter) });
    }

    /// Returns when something can be sent by itself, the past included.
    pub(super) fn next_due(&self, elapsed: Duration) -> Option<Duration> {
        let opening = |way: &WayKey| {
            let opens = self.opening(way, elapsed)?;
            let idle = self.waiting.values().filter(|w| !w.is_in_flight && w.notice.is_for(&way.0, &way.1));
            let is_free =
                |w: &&Waiting| !self.waiting.values().any(|f| f.is_in_flight && f.notice.same_lane(&w.notice));
            idle.filter(is_free).map(|w| w.due.max(opens)).min()
        };
        if self.waiting.values().filter(|w| w.is_in_flight).count() >= FLIGHTS_MAX {
            return None;
        }
        self.ways().iter().filter_map(opening).min()
    }

    fn ways(&self) -> Vec<WayKey> {
        let mut ways: Vec<WayKey> = self.waiting.values().map(|w| w.notice.way()).collect();
        ways.sort();
        ways.dedup();
        ways
    }

    /// Returns from when on a way may be sent something; `None`: not before a flight lands.
    fn opening(&self, way: &WayKey, elapsed: Duration) -> Option<Duration> {
        let flights = self.waiting.values().filter(|w| w.is_in_flight && w.notice.is_for(&way.0, &way.1));
        let (flights, has_digest) = flights.fold((0, false), |(n, d), w| (n + 1, d || w.notice.is_digest()));
        let line = self.lines.get(way);
        let away = line.and_then(|l| l.away);
        let is_full = flights >= FLIGHTS_PER_WAY_MAX || has_digest || (away.is_some() && flights > 0);
        if is_full {
            return None;
        }
        let mut opens = away.map_or(Duration::ZERO, |a| a.due);
        if self.rate_left(way, elapsed) <= flights {
            if flights > 0 {
                return None;
            }
            let oldest = line.and_then(|l| l.taken.front()).copied().unwrap_or(elapsed);
            opens = opens.max(oldest + RATE_SPAN);
        }
        Some(opens)
    }

    /// Returns how many notices a way may still take within its rate limit.
    fn rate_left(&self, way: &WayKey, elapsed: Duration) -> usize {
        let Some(limit) = self.limits.get(way) else { return usize::MAX };
        let taken = self.lines.get(way).map(|l| &l.taken);
        let recent = taken.map_or(0, |t| t.iter().filter(|at| elapsed.saturating_sub(**at) < RATE_SPAN).count());
        limit.saturating_sub(recent)
    }
}
