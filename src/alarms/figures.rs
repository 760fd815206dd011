//! How well the alarms serve people: floods, chattering and stale alarms, and who causes most of the work. Pure.
//!
//! Source: ANSI/ISA-18.2-2016 and EEMUA 191. A flood begins with more than 10 alarms in 10 minutes for one operator and
//! ends when fewer than 5 come in 10 minutes. An alarm chatters that is raised three times within a minute; since rules
//! are evaluated every 15 to 60 seconds, which hides most of that, ten minutes count here. Stale is what stands for
//! more than a day.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::snapshot::{Event, Transition};
use crate::model::{Alarm, Labels, Timestamp};

/// The time that rates are told for.
pub const RATE_WINDOW: Duration = Duration::from_secs(600);
/// A flood begins above so many alarms in [`RATE_WINDOW`].
pub const FLOOD_ABOVE: usize = 10;
/// It ends below so many.
const FLOOD_ENDS_BELOW: usize = 5;
/// An alarm that is raised so often within [`CHATTER_WINDOW`] chatters.
const CHATTER_RAISES: usize = 3;
const CHATTER_WINDOW: Duration = Duration::from_secs(600);
/// An alarm that stands longer is stale.
pub const STALE_AFTER: Duration = Duration::from_secs(86_400);
/// So many of the most frequent are told.
const TOP: usize = 10;
/// Different alarms that are told apart; what is beyond counts, but has no line of its own.
const SOURCES_MAX: usize = 20_000;
/// Transitions that count, at most: the newest. 40 bytes each.
const SEEN_MAX: usize = 500_000;

/// More alarms at once than a person can take in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flood {
    /// When the first of its alarms was raised.
    pub start: Timestamp,
    /// When it was over; `None` while it goes on.
    pub end: Option<Timestamp>,
    /// The alarm that came first, the likeliest cause.
    pub first_out: u64,
    /// How many alarms were raised in it.
    pub alarms: usize,
}

/// Returns the floods among alarms that were raised, oldest first. Shape: time and fingerprint, oldest first.
#[must_use]
pub fn floods(raised: &[(Timestamp, u64)], now: Timestamp) -> Vec<Flood> {
    let mut found: Vec<Flood> = Vec::new();
    // What was raised within the last ten minutes.
    let mut recent: VecDeque<(Timestamp, u64)> = VecDeque::new();
    for (at, fingerprint) in raised.iter().copied().chain([(now, 0)]) {
        let calm_at = recent.len().checked_sub(FLOOD_ENDS_BELOW).and_then(|i| recent.get(i)).map(|r| r.0 + RATE_WINDOW);
        if let Some(flood) = found.last_mut().filter(|f| f.end.is_none())
            && calm_at.is_none_or(|calm| calm <= at)
        {
            flood.end = Some(calm_at.unwrap_or(at));
            recent.clear();
        }
        if fingerprint == 0 && at == now {
            break;
        }
        recent.push_back((at, fingerprint));
        while recent.front().is_some_and(|r| r.0 + RATE_WINDOW <= at) {
            recent.pop_front();
        }
        match found.last_mut().filter(|f| f.end.is_none()) {
            Some(flood) => flood.alarms += 1,
            None if recent.len() > FLOOD_ABOVE => {
                let (start, first_out) = recent.front().copied().unwrap_or((at, fingerprint));
                found.push(Flood { start, end: None, first_out, alarms: recent.len() });
            }
            None => {}
        }
    }
    found
}

/// One alarm and how much work it made.
#[derive(Debug, Clone, PartialEq)]
pub struct Actor {
    /// Names the alarm.
    pub fingerprint: u64,
    /// Its labels.
    pub labels: Labels,
    /// The expression of its rule.
    pub expression: String,
    /// How often it was raised.
    pub raised: usize,
    /// How often it was raised at least three times within ten minutes.
    pub chattered: usize,
    /// How long it stood each time, the middle one of those that were over.
    pub typical: Duration,
    /// How long it was away between two times, the middle one.
    pub typical_pause: Duration,
    times: VecDeque<Timestamp>,
    stood: Vec<Duration>,
    pauses: Vec<Duration>,
    cleared_at: Option<Timestamp>,
}

/// The figures of a window.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// Start of the window.
    pub start: Timestamp,
    /// Its end.
    pub end: Timestamp,
    /// Alarms raised.
    pub raised: usize,
    /// The most within ten minutes.
    pub peak: usize,
    /// Alarms raised by priority, 1 first.
    pub by_priority: [usize; 4],
    /// Floods, oldest first.
    pub floods: Vec<Flood>,
    /// Share of the window that lies in floods, 0 to 1.
    pub flood_share: f64,
    /// The ten that were raised most often, most often first.
    pub top: Vec<Actor>,
    /// Share of all alarms that the ten make, 0 to 1.
    pub top_share: f64,
    /// Those that chattered, worst first; at most ten.
    pub chattering: Vec<Actor>,
    /// How many chattered.
    pub chattering_count: usize,
    /// Acknowledgements, and how long it took from raising to acknowledging, the middle one.
    pub acknowledged: usize,
    /// See [`Figures::acknowledged`].
    pub typical_response: Duration,
}

impl Figures {
    /// Returns how many alarms came in ten minutes, on average.
    #[must_use]
    pub fn rate(&self) -> f64 {
        let windows = self.end.since(self.start).as_secs_f64() / RATE_WINDOW.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a count of alarms")]
        let raised = self.raised as f64;
        if windows > 0.0 { raised / windows } else { 0.0 }
    }
}

/// Collects what the figures are made of: transitions, newest first, of which little is kept.
#[derive(Debug, Default)]
pub(super) struct Counting {
    seen: Vec<Seen>,
    actors: BTreeMap<u64, Actor>,
    by_priority: [usize; 4],
    raised: Vec<(Timestamp, u64)>,
    responses: Vec<Duration>,
}

/// What is kept of a transition.
#[derive(Debug, Clone, Copy)]
struct Seen {
    event: Event,
    at: Timestamp,
    fingerprint: u64,
    priority: u8,
    raised_at: Timestamp,
}

impl Counting {
    /// Takes a transition; they come newest first. Returns whether there is room for more.
    pub(super) fn take(&mut self, transition: &Transition) -> bool {
        let alarm = &transition.alarm;
        let (event, at, fingerprint) = (transition.event, transition.at, alarm.fingerprint);
        self.seen.push(Seen { event, at, fingerprint, priority: alarm.priority(), raised_at: alarm.raised_at });
        if self.actors.len() < SOURCES_MAX && !self.actors.contains_key(&fingerprint) {
            self.actors.insert(fingerprint, Actor::new(alarm));
        }
        self.seen.len() < SEEN_MAX
    }

    fn count(&mut self, seen: Seen) {
        let actor = self.actors.get_mut(&seen.fingerprint);
        match seen.event {
            Event::Raised => {
                self.raised.push((seen.at, seen.fingerprint));
                if let Some(count) = self.by_priority.get_mut(usize::from(seen.priority.clamp(1, 4)) - 1) {
                    *count += 1;
                }
                actor.into_iter().for_each(|actor| actor.raise(seen.at));
            }
            Event::Cleared => actor.into_iter().for_each(|actor| actor.clear(seen.at, seen.raised_at)),
            Event::Acknowledged => self.responses.push(seen.at.since(seen.raised_at)),
            Event::Shelved | Event::Silenced | Event::Inhibited | Event::Back => {}
        }
    }

    /// Returns the figures of a window.
    pub(super) fn figures(mut self, start: Timestamp, end: Timestamp) -> Figures {
        for seen in std::mem::take(&mut self.seen).into_iter().rev() {
            self.count(seen);
        }
        let floods = floods(&self.raised, end);
        let flooded: f64 = floods.iter().map(|f| f.end.unwrap_or(end).since(f.start).as_secs_f64()).sum();
        let raised = self.raised.len();
        let mut actors: Vec<Actor> = std::mem::take(&mut self.actors).into_values().map(Actor::finished).collect();
        actors.retain(|actor| actor.raised > 0);
        actors.sort_by_key(|a| (std::cmp::Reverse(a.raised), a.fingerprint));
        let mut chattering: Vec<Actor> = actors.iter().filter(|a| a.chattered > 0).cloned().collect();
        chattering.sort_by_key(|a| std::cmp::Reverse(a.chattered));
        let chattering_count = chattering.len();
        chattering.truncate(TOP);
        actors.truncate(TOP);
        #[expect(clippy::cast_precision_loss, reason = "counts of alarms")]
        let top_share = actors.iter().map(|a| a.raised).sum::<usize>() as f64 / raised.max(1) as f64;
        Figures {
            start,
            end,
            raised,
            peak: peak(&self.raised),
            by_priority: self.by_priority,
            flood_share: (flooded / end.since(start).as_secs_f64().max(1.0)).min(1.0),
            floods,
            top: actors,
            top_share,
            chattering,
            chattering_count,
            acknowledged: self.responses.len(),
            typical_response: middle(&mut self.responses),
        }
    }
}

impl Actor {
    fn new(alarm: &Alarm) -> Self {
        Actor {
            fingerprint: alarm.fingerprint,
            labels: alarm.labels.clone(),
            expression: alarm.expression.clone(),
            raised: 0,
            chattered: 0,
            typical: Duration::ZERO,
            typical_pause: Duration::ZERO,
            times: VecDeque::new(),
            stood: Vec::new(),
            pauses: Vec::new(),
            cleared_at: None,
        }
    }

    fn raise(&mut self, at: Timestamp) {
        self.raised += 1;
        if let Some(cleared_at) = self.cleared_at.take() {
            self.pauses.push(at.since(cleared_at));
        }
        self.times.push_back(at);
        while self.times.front().is_some_and(|t| *t + CHATTER_WINDOW <= at) {
            self.times.pop_front();
        }
        if self.times.len() >= CHATTER_RAISES {
            self.chattered += 1;
        }
    }

    fn clear(&mut self, at: Timestamp, raised_at: Timestamp) {
        self.stood.push(at.since(raised_at));
        self.cleared_at = Some(at);
    }

    fn finished(mut self) -> Self {
        self.typical = middle(&mut self.stood);
        self.typical_pause = middle(&mut self.pauses);
        (self.times, self.stood, self.pauses) = Default::default();
        self
    }
}

/// Returns the middle one; nothing for none.
fn middle(all: &mut [Duration]) -> Duration {
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or_default()
}

/// Returns the most within ten minutes.
fn peak(raised: &[(Timestamp, u64)]) -> usize {
    let mut first = 0;
    let mut most = 0;
    for (i, (at, _)) in raised.iter().enumerate() {
        while raised.get(first).is_some_and(|r| r.0 + RATE_WINDOW <= *at) {
            first += 1;
        }
        most = most.max(i + 1 - first);
    }
    most
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::AlarmState;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[track_caller]
    fn check(raised_s: &[i64], now_s: i64, expected: &[(i64, Option<i64>, usize)]) {
        let raised: Vec<(Timestamp, u64)> = raised_s.iter().map(|s| (at(*s), s.unsigned_abs() + 1)).collect();
        let found: Vec<(i64, Option<i64>, usize)> = floods(&raised, at(now_s))
            .iter()
            .map(|f| (f.start.as_millis() / 1000, f.end.map(|e| e.as_millis() / 1000), f.alarms))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_flood_begins_above_ten_in_ten_minutes_and_ends_below_five() {
        let ten: Vec<i64> = (0..10).map(|i| 100 + i).collect();
        check(&ten, 200, &[]);
        let eleven: Vec<i64> = (0..11).map(|i| 100 + i).collect();
        check(&eleven, 200, &[(100, None, 11)]);
        // Of eleven at 100 to 110 the fifth from the end is that of 106: ten minutes later only four are recent.
        check(&eleven, 2000, &[(100, Some(706), 11)]);
        let mut two = eleven.clone();
        two.extend((0..12).map(|i| 5000 + i));
        check(&two, 5100, &[(100, Some(706), 11), (5000, None, 12)]);
        // Some more keep it alive.
        let mut long = eleven;
        long.extend((0..20).map(|i| 120 + i * 100));
        check(&long, 2100, &[(100, None, 31)]);
    }

    fn transition(event: Event, at_s: i64, name: &str, severity: &str, raised_s: i64) -> Transition {
        let labels = Labels::from_pairs([("alertname", name), ("severity", severity)]);
        let alarm = Alarm {
            fingerprint: labels.stable_hash(),
            labels,
            annotations: Labels::empty(),
            state: AlarmState::Active,
            raised_at: at(raised_s),
            cleared_at: None,
            acknowledgement: None,
            value: 1.0,
            expression: String::new(),
            source_url: String::new(),
            rule_version: 0,
            changed_at: at(at_s),
        };
        Transition { event, at: at(at_s), alarm: Arc::new(alarm), by: String::new(), note: String::new(), until: None }
    }

    #[test]
    fn who_makes_the_work_is_told_with_how_long_it_lasts() {
        let mut told = Vec::new();
        for i in 0..4 {
            told.push(transition(Event::Raised, i * 100, "Loud", "warning", i * 100));
            told.push(transition(Event::Cleared, i * 100 + 20, "Loud", "warning", i * 100));
        }
        told.push(transition(Event::Raised, 500, "Hot", "critical", 500));
        told.push(transition(Event::Acknowledged, 530, "Hot", "critical", 500));
        let mut counting = Counting::default();
        assert!(told.iter().rev().all(|t| counting.take(t)));
        let figures = counting.figures(at(0), at(6000));
        assert_eq!((figures.raised, figures.peak, figures.by_priority), (5, 5, [1, 4, 0, 0]));
        assert_eq!(figures.rate(), 0.5);
        let loud = &figures.top[0];
        assert_eq!((loud.labels.get("alertname"), loud.raised, loud.chattered), (Some("Loud"), 4, 2));
        assert_eq!((loud.typical, loud.typical_pause), (Duration::from_secs(20), Duration::from_secs(80)));
        assert_eq!((figures.chattering_count, figures.top_share), (1, 1.0));
        assert_eq!((figures.acknowledged, figures.typical_response), (1, Duration::from_secs(30)));
    }
}
