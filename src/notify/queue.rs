//! What waits to be told and when each of it may go: pure.
//!
//! A way of a receiver that cannot be reached is *away*: one notice at a time is tried, with growing waits. What came
//! and went meanwhile becomes one digest, which goes before everything else; what still fires follows by itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::notice::{Lane, Notice, WayKey};
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

/// All notices that wait. What is asked of a way or a lane looks at no others: in a flood thousands wait.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: BTreeMap<u64, Waiting>,
    /// Their ids by way and by lane.
    by_way: BTreeMap<WayKey, BTreeSet<u64>>,
    by_lane: BTreeMap<Lane, BTreeSet<u64>>,
    /// Those on their way.
    flights: BTreeSet<u64>,
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
    pub(super) fn unsent(&self, lane: &Lane) -> Option<&Arc<Notice>> {
        self.idle_in(lane).find(|w| !w.notice.is_digest()).map(|w| &w.notice)
    }

    /// Returns the notices of a lane that are not on their way, oldest first.
    fn idle_in(&self, lane: &Lane) -> impl Iterator<Item = &Waiting> + use<'_> {
        let ids = self.by_lane.get(lane).into_iter().flatten();
        ids.filter(|id| !self.flights.contains(id)).filter_map(|id| self.waiting.get(id))
    }

    /// Returns the notices of a way, oldest first.
    fn of_way(&self, way: &WayKey) -> impl Iterator<Item = &Waiting> + use<'_> {
        self.by_way.get(way).into_iter().flatten().filter_map(|id| self.waiting.get(id))
    }

    /// Returns the notices of a way that are on their way.
    fn flights_of(&self, way: &WayKey) -> Vec<&Waiting> {
        let flights = self.flights.iter().filter_map(|id| self.waiting.get(id));
        flights.filter(|w| w.notice.is_for(&way.0, &way.1)).collect()
    }

    /// Takes a notice. One that waits in the same lane goes; what it tells of that is over is told with the new one.
    pub(super) fn push(&mut self, mut notice: Notice) -> Pushed {
        let replaced: Vec<u64> = match notice.is_digest() {
            true => Vec::new(),
            false => self.idle_in(&notice.lane()).map(|w| w.notice.id).collect(),
        };
        let mut is_handed_over = false;
        for id in &replaced {
            let Some(old) = self.remove(*id) else { continue };
            notice.since = notice.since.min(old.notice.since);
            is_handed_over |= old.is_handed_over;
            for alarm in old.notice.alarms.iter().filter(|a| a.ends_at.is_some()) {
                if notice.alarms.iter().all(|a| a.fingerprint != alarm.fingerprint) {
                    notice.alarms.push(alarm.clone());
                }
            }
        }
        let dropped = if self.waiting.len() >= WAITING_MAX { self.least_wanted() } else { None };
        let dropped = dropped.and_then(|id| self.remove(id)).map(|w| w.notice);
        let notice = Arc::new(notice);
        let waiting = Waiting {
            notice: notice.clone(),
            attempts: 0,
            // What is only over is no reason to wake somebody else.
            is_handed_over: is_handed_over || notice.firing() == 0,
            due: Duration::ZERO,
        };
        self.waiting.insert(notice.id, waiting);
        self.by_way.entry(notice.way()).or_default().insert(notice.id);
        self.by_lane.entry(notice.lane()).or_default().insert(notice.id);
        Pushed { notice, replaced, dropped }
    }

    fn least_wanted(&self) -> Option<u64> {
        let idle = || self.waiting.iter().filter(|(id, _)| !self.flights.contains(id));
        idle().find(|(_, w)| w.notice.firing() == 0).or_else(|| idle().next()).map(|(id, _)| *id)
    }

    /// Takes a notice out.
    pub(super) fn remove(&mut self, id: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&id)?;
        forget(&mut self.by_way, &waiting.notice.way(), id);
        forget(&mut self.by_lane, &waiting.notice.lane(), id);
        self.flights.remove(&id);
        Some(waiting)
    }

    /// Returns the id of a notice that is newer than this one, of the same lane and not on its way.
    pub(super) fn newer_than(&self, id: u64) -> Option<u64> {
        let old = &self.waiting.get(&id)?.notice;
        let lane = old.lane();
        self.idle_in(&lane).map(|w| w.notice.id).find(|newer| *newer > id).filter(|_| !old.is_digest())
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
            is_of_people && !self.flights.contains(&n.id) && now.since(n.since) > expires_after(n.priority())
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
            let is_over = |w: &&Waiting| w.notice.firing() == 0 && !self.flights.contains(&w.notice.id);
            let over: Vec<&Notice> = self.of_way(&way).filter(is_over).map(|w| &*w.notice).collect();
            let is_late = over.iter().any(|n| now.since(n.since) >= DIGEST_AFTER);
            if over.len() < 2 || !is_late {
                continue;
            }
            let Some(mut digest) = Notice::digest(&over, next_id(), now) else { continue };
            let done: Vec<u64> = over.iter().map(|n| n.id).collect();
            digest.left_out += std::mem::take(&mut self.lines.entry(way).or_default().expired);
            for id in &done {
                self.remove(*id);
            }
            digests.push((self.push(digest).notice, done));
        }
        digests
    }

    /// Returns the ids of what may be sent now, the digest of a way first, then by priority and age.
    pub(super) fn ready(&self, elapsed: Duration) -> Vec<u64> {
        let mut free = FLIGHTS_MAX.saturating_sub(self.flights.len());
        let mut ids = Vec::new();
        for way in self.ways() {
            if self.opening(&way, elapsed).is_none_or(|at| at > elapsed) {
                continue;
            }
            let flights = self.flights_of(&way);
            let is_busy = |w: &Waiting| flights.iter().any(|f| f.notice.same_lane(&w.notice));
            let has_digest = self.of_way(&way).any(|w| w.notice.is_digest());
            let mut due: Vec<&Waiting> = self
                .of_way(&way)
                .filter(|w| w.due <= elapsed && !is_busy(w) && w.notice.is_digest() == has_digest)
                .collect();
            due.sort_by_cached_key(|w| (w.notice.priority(), w.notice.id));
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
            waiting.attempts += 1;
            self.flights.insert(id);
        }
    }

    /// Notes that a notice was taken and lets it go.
    pub(super) fn taken(&mut self, id: u64, elapsed: Duration) -> Option<Waiting> {
        let waiting = self.remove(id)?;
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
        self.flights.remove(&id);
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
            let flights = self.flights_of(way);
            let is_free = |w: &&Waiting| !flights.iter().any(|f| f.notice.same_lane(&w.notice));
            self.of_way(way).filter(is_free).map(|w| w.due.max(opens)).min()
        };
        if self.flights.len() >= FLIGHTS_MAX {
            return None;
        }
        self.by_way.keys().filter_map(opening).min()
    }

    fn ways(&self) -> Vec<WayKey> {
        self.by_way.keys().cloned().collect()
    }

    /// Returns from when on a way may be sent something; `None`: not before a flight lands.
    fn opening(&self, way: &WayKey, elapsed: Duration) -> Option<Duration> {
        let flights = self.flights_of(way);
        let has_digest = flights.iter().any(|w| w.notice.is_digest());
        let flights = flights.len();
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

/// Takes an id out of an index.
fn forget<K: Ord>(index: &mut BTreeMap<K, BTreeSet<u64>>, key: &K, id: u64) {
    if let Some(ids) = index.get_mut(key) {
        ids.remove(&id);
        if ids.is_empty() {
            index.remove(key);
        }
    }
}
