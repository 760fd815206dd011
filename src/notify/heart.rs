//! Signs of life: sent again and again past the outbox, because an old one says nothing. Whoever gets them raises the
//! alarm when they stay away; when they are taken, the centre has seen this box.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tracing::{info, warn};

use super::config::{Config, Heartbeat};
use super::message::Surroundings;
use super::notice::{Notice, NoticeAlarm, WayKey};
use super::receiver::{Failure, Sender, Tools};
use super::snapshot::HeartbeatSnapshot;
use crate::clock::Clock;
use crate::model::{Labels, Timestamp};

/// The name of the alarm that a sign of life looks like.
pub(super) const ALARM_NAME: &str = "Heartbeat";

/// What came of a sign of life: the receiver's name and the outcome.
pub(super) type Beat = (String, Result<(), Failure>);

/// All signs of life.
#[derive(Default)]
pub(super) struct Heart {
    /// Those on their way.
    pub(super) beats: FuturesUnordered<BoxFuture<'static, Beat>>,
    pulses: BTreeMap<String, Pulse>,
}

#[derive(Debug)]
struct Pulse {
    interval: Duration,
    next: Duration,
    in_flight: usize,
    /// Why one of the ways did not take the last one.
    failure: Option<String>,
    seen_at: Option<Timestamp>,
    error: Option<String>,
}

impl Heart {
    /// Takes the settings; the first signs go out at once.
    pub(super) fn configure(&mut self, heartbeats: &[Heartbeat], elapsed: Duration) {
        let mut before = std::mem::take(&mut self.pulses);
        for Heartbeat { receiver, interval } in heartbeats {
            let fresh =
                Pulse { interval: *interval, next: elapsed, in_flight: 0, failure: None, seen_at: None, error: None };
            let pulse = before.remove(receiver).map_or(fresh, |known| Pulse { interval: *interval, ..known });
            self.pulses.insert(receiver.clone(), pulse);
        }
    }

    /// Returns when the next is to be sent.
    pub(super) fn next(&self) -> Option<Duration> {
        self.pulses.values().map(|p| p.next).min()
    }

    /// Returns the receivers whose turn it is; one that has not answered yet misses its turn.
    pub(super) fn due(&mut self, elapsed: Duration) -> Vec<String> {
        let mut due = Vec::new();
        for (receiver, pulse) in &mut self.pulses {
            if pulse.next > elapsed {
                continue;
            }
            pulse.next = (pulse.next + pulse.interval).max(elapsed);
            if pulse.in_flight == 0 {
                pulse.failure = None;
                due.push(receiver.clone());
            }
        }
        due
    }

    /// Sends one over one way; a lamp has no use for it.
    pub(super) fn send(
        &mut self,
        way: WayKey,
        sender: Arc<Sender>,
        around: Surroundings,
        tools: Tools,
        config: &Config,
        clock: &Clock,
    ) {
        let Some(pulse) = self.pulses.get_mut(&way.0).filter(|_| !sender.settings().kind.is_lamp()) else { return };
        pulse.in_flight += 1;
        let notice = notice(ALARM_NAME, "is alive", &config.box_name, way, clock.now());
        let receiver = notice.receiver.clone();
        let around = Surroundings { links: None, ..around };
        let landing = sender.launch(Arc::new(notice), around, tools, config.external_url.clone(), clock.clone());
        self.beats.push(Box::pin(async move { (receiver, landing.await.0) }));
    }

    /// Takes the outcome: seen if all ways took it.
    pub(super) fn landed(&mut self, receiver: &str, outcome: Result<(), Failure>, now: Timestamp) {
        let Some(pulse) = self.pulses.get_mut(receiver) else { return };
        pulse.in_flight = pulse.in_flight.saturating_sub(1);
        if let Err(failure) = outcome {
            pulse.failure = Some(failure.reason);
        }
        if pulse.in_flight > 0 {
            return;
        }
        match (&pulse.failure, &pulse.error) {
            (None, before) => {
                if before.is_some() || pulse.seen_at.is_none() {
                    info!(receiver, "the sign of life was taken");
                }
                pulse.seen_at = Some(now);
            }
            (Some(reason), None) => warn!(receiver, %reason, "the sign of life was not taken"),
            (Some(_), Some(_)) => {}
        }
        pulse.error = pulse.failure.clone();
    }

    pub(super) fn snapshot(&self) -> Vec<HeartbeatSnapshot> {
        let one = |(receiver, pulse): (&String, &Pulse)| HeartbeatSnapshot {
            receiver: receiver.clone(),
            interval: pulse.interval,
            seen_at: pulse.seen_at,
            error: pulse.error.clone(),
        };
        self.pulses.iter().map(one).collect()
    }
}

/// Returns a notice that no rule made: a sign of life, or a test.
pub(super) fn notice(name: &str, summary: &str, box_name: &str, way: WayKey, now: Timestamp) -> Notice {
    let labels = Labels::from_pairs([("alertname", name), ("box", box_name), ("severity", "none")]);
    let alarm = NoticeAlarm {
        fingerprint: labels.stable_hash(),
        labels,
        annotations: Labels::from_pairs([("summary", format!("{box_name} {summary}"))]),
        starts_at: now,
        ends_at: None,
        expression: "vector(1)".to_owned(),
        source_url: String::new(),
    };
    let (receiver, integration) = way;
    Notice {
        id: 0,
        made_at: now,
        since: now,
        group_key: format!("{{}}:{{alertname={name:?}}}"),
        receiver,
        integration,
        group_labels: Labels::from_pairs([("alertname", name)]),
        alarms: vec![alarm],
        folded: Vec::new(),
        left_out: 0,
    }
}
