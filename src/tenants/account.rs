//! One tenant's account: what came, from whom, and what of it is unusual.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::anomaly::{Anomalies, Kind, Sign};
use super::baseline::Baseline;
use super::client::{Client, Health, MISMATCH_MAX};
use super::heartbeat::{Heartbeat, time};
use super::instruments::{Counts, Instruments};
use super::ring::Ring;
use super::subject::{Event, channel, pattern};
use super::view::{ConnectionView, TenantView};
use super::{Config, float};
use crate::instrument::Counter;
use crate::model::{Alert, Timestamp};

/// Kinds of subjects that are told apart; what comes on others counts as `other`.
const PATTERNS_MAX: usize = 200;
/// The name of all further kinds of subjects.
const OTHER: &str = "other";
/// Channels that are told apart.
const CHANNELS_MAX: usize = 1000;
/// How long a channel or a client that is silent is remembered.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);
/// Bodies up to this are looked into for a sender and a time.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Longest name of a client.
const CLIENT_BYTES_MAX: usize = 200;
/// Errors for each message of a tenant, above which it is unusual.
const ERROR_RATIO_MAX: f64 = 0.1;
/// Fewer messages at one check say nothing about errors.
const ERROR_MESSAGES_MIN: u64 = 20;
/// Longer than this a message is not on its way: its sender's clock is wrong.
const LATENCY_MS_MAX: i64 = 60_000;

/// What another life of this box has learnt about a tenant.
#[derive(Debug, Clone, Default)]
pub(super) struct Learnt {
    /// Messages a second; nothing if it was not watched for long enough.
    pub(super) per_second: Option<f64>,
    pub(super) patterns: BTreeSet<String>,
}

/// One tenant.
#[derive(Debug)]
pub(super) struct Account {
    id: String,
    since: Timestamp,
    clients: BTreeMap<String, Client>,
    channels: BTreeMap<String, Timestamp>,
    patterns: BTreeMap<String, Counter>,
    /// Kinds of subjects known from before and not heard since the start.
    known: BTreeSet<String>,
    seconds: Ring,
    minutes: Ring,
    check: Check,
    /// Figures of the last whole check.
    latency: Option<Duration>,
    error_ratio: Option<f64>,
    baseline: Baseline,
    is_settled: bool,
    /// What all clients say they sent, beside what came.
    sum: Sum,
    anomalies: Anomalies,
    counts: Counts,
    instruments: Instruments,
}

/// What all clients together say they sent, beside what came.
#[derive(Debug, Default)]
struct Sum {
    said: u64,
    /// At the last check: what was said then must have come by now.
    said_then: u64,
    came: u64,
}

/// What came since the last check.
#[derive(Debug, Default)]
struct Check {
    messages: u64,
    /// Errors that services told of on `_SYS`, and that clients count in heartbeats: the same ones as a rule.
    system_errors: u64,
    client_errors: u64,
    latency_ms: i64,
    timed: u32,
    signs: Vec<Sign>,
}

/// The members of any message that are of use; the rest is skipped.
#[derive(Deserialize)]
struct Body {
    agent_id: Option<String>,
    client_id: Option<String>,
    timestamp: Option<Value>,
}

impl Account {
    pub(super) fn new(id: &str, learnt: Learnt, now: Timestamp, instruments: &Instruments) -> Self {
        Account {
            id: id.to_owned(),
            since: now,
            clients: BTreeMap::new(),
            channels: BTreeMap::new(),
            patterns: BTreeMap::new(),
            known: learnt.patterns.into_iter().take(PATTERNS_MAX).collect(),
            seconds: Ring::new(1000),
            minutes: Ring::new(60_000),
            check: Check::default(),
            latency: None,
            error_ratio: None,
            baseline: learnt.per_second.map_or_else(Baseline::default, Baseline::learnt),
            is_settled: learnt.per_second.is_some(),
            sum: Sum::default(),
            anomalies: Anomalies::default(),
            counts: instruments.of(id),
            instruments: instruments.clone(),
        }
    }

    /// Takes a message on one of the tenant's subjects. `sender` is the device that a gateway knows sent it.
    pub(super) fn heard(
        &mut self,
        subject: &str,
        payload: &[u8],
        sender: Option<&str>,
        now: Timestamp,
        config: &Config,
    ) {
        let bytes = payload.len() as u64;
        self.seconds.add(now, bytes);
        self.minutes.add(now, bytes);
        self.check.messages += 1;
        self.sum.came += 1;
        self.counts.messages.inc();
        self.counts.bytes.add(bytes);
        self.count_subject(subject);
        if let Some(name) = channel(subject)
            && (self.channels.contains_key(name) || self.channels.len() < CHANNELS_MAX)
        {
            self.channels.insert(name.to_owned(), now);
        }
        let body: Option<Body> =
            (payload.len() <= BODY_BYTES_MAX).then(|| serde_json::from_slice(payload).ok()).flatten();
        if let Some(at) = body.as_ref().and_then(|b| time(b.timestamp.as_ref()?)) {
            self.timed(at, now);
        }
        let named = body.and_then(|b| b.agent_id.or(b.client_id));
        if let Some(client) = sender.or(named.as_deref())
            && let Some(client) = self.client(client, now, config)
        {
            client.sent(now);
        }
    }

    /// Takes what a service of the tenant says.
    pub(super) fn told(&mut self, event: Event, payload: &[u8], now: Timestamp, config: &Config) {
        if event == Event::Error {
            self.check.system_errors += 1;
        }
        if payload.len() > BODY_BYTES_MAX {
            return;
        }
        let body: Option<Body> = serde_json::from_slice(payload).ok();
        let Some(name) = body.and_then(|b| b.agent_id.or(b.client_id)) else { return };
        if let Some(client) = self.client(&name, now, config) {
            match event {
                Event::Disconnect => client.left(now),
                Event::Connect | Event::Error | Event::Other => client.seen(now),
            }
        }
    }

    /// Takes a heartbeat. Returns whether there was room for its client.
    pub(super) fn beat(&mut self, name: &str, beat: Heartbeat, now: Timestamp, config: &Config) -> bool {
        if let Some(at) = beat.at {
            self.timed(at, now);
        }
        let Some(client) = self.client(name, now, config) else { return false };
        let found = client.beat(beat, now);
        let health = client.health;
        self.counts.heartbeats.inc();
        self.sum.said += found.sent;
        self.check.client_errors += found.errors;
        let mut sign = |kind, severity, value, text: String| {
            self.check.signs.push(Sign { kind, about: name.to_owned(), severity, value, text });
        };
        if let Some((said, came)) = found.mismatch {
            let off = said.abs_diff(came);
            let severity = if off > 10 * MISMATCH_MAX { "high" } else { "medium" };
            let text = format!("client {name} says it sent {said} messages, but {came} came");
            sign(Kind::CountMismatch, severity, float(off), text);
        }
        if let Some(ratio) = found.error_ratio {
            let text = format!("client {name} had errors with {:.0} % of its messages", ratio * 100.0);
            sign(Kind::ErrorRate, severity_of_errors(ratio), ratio, text);
        }
        if health == Health::Unhealthy {
            sign(Kind::UnhealthyClient, "medium", 1.0, format!("client {name} says that it is unhealthy"));
        }
        true
    }

    /// Takes the open connections of the tenant's clients to NATS servers, by client.
    pub(super) fn connections(&mut self, mut open: BTreeMap<String, ConnectionView>, now: Timestamp, config: &Config) {
        for (name, client) in &mut self.clients {
            match open.remove(name) {
                None if !client.has_connection() => {}
                found => client.connected(found, now),
            }
        }
        for (name, connection) in open {
            if let Some(client) = self.client(&name, now, config) {
                client.connected(Some(connection), now);
            }
        }
    }

    /// This box missed messages: what clients say cannot be held against what came.
    pub(super) fn missed(&mut self) {
        self.clients.values_mut().for_each(Client::forget_books);
        self.sum = Sum::default();
    }

    /// Looks at what came since the last check, `passed` ago.
    pub(super) fn look(&mut self, now: Timestamp, passed: Duration, config: &Config) {
        let check = std::mem::take(&mut self.check);
        self.is_settled |= now.since(self.since) >= config.learn_for;
        let mut signs = check.signs;
        let rate = float(check.messages) / passed.as_secs_f64().max(0.001);
        signs.extend(self.judge_rate(check.messages, rate));
        self.baseline.learn(rate, self.is_settled);
        let errors = check.system_errors.max(check.client_errors);
        self.counts.errors.add(errors);
        let ratio = float(errors) / float(check.messages.max(1));
        self.error_ratio = (check.messages > 0).then_some(ratio);
        if check.messages >= ERROR_MESSAGES_MIN && ratio > ERROR_RATIO_MAX {
            let text = format!("{errors} errors with {} messages, {:.0} %", check.messages, ratio * 100.0);
            let severity = severity_of_errors(ratio);
            signs.push(Sign { kind: Kind::ErrorRate, about: String::new(), severity, value: ratio, text });
        }
        if signs.iter().any(|sign| sign.kind == Kind::CountMismatch) {
            // It is known whose messages do not fit.
            self.sum = Sum::default();
        } else {
            signs.extend(self.judge_sum());
        }
        self.latency = (check.timed > 0).then(|| {
            let mean = check.latency_ms / i64::from(check.timed);
            Duration::from_millis(u64::try_from(mean).unwrap_or(0))
        });
        for sign in signs {
            let kind = sign.kind;
            if self.anomalies.note(sign, now, config.anomaly_hold) != Some(false) {
                self.instruments.raised(&self.id, kind).inc();
            }
        }
        self.anomalies.end(now);
        self.forget(now, config);
        self.show(now, config);
    }

    fn judge_rate(&self, messages: u64, rate: f64) -> Option<Sign> {
        if !self.is_settled || !self.baseline.is_exceeded(messages, rate) {
            return None;
        }
        let normal = self.baseline.per_second();
        let severity = if rate > 100.0 * normal { "critical" } else { "high" };
        let text = format!("{rate:.1} messages a second, where {normal:.2} are normal");
        Some(Sign { kind: Kind::MessageRate, about: String::new(), severity, value: rate, text })
    }

    /// Holds what all clients say they sent against all that came; finds losses of clients that no message names.
    fn judge_sum(&mut self) -> Option<Sign> {
        let Sum { said, said_then, came } = self.sum;
        if said_then <= came + MISMATCH_MAX {
            self.sum.said_then = said;
            return None;
        }
        let text = format!("all clients together say they sent {said_then} messages, but {came} came");
        let off = float(said_then - came);
        self.sum = Sum::default();
        Some(Sign { kind: Kind::CountMismatch, about: String::new(), severity: "high", value: off, text })
    }

    fn count_subject(&mut self, subject: &str) {
        let pattern = pattern(subject);
        if let Some(count) = self.patterns.get(&pattern) {
            count.inc();
            return;
        }
        let is_known = self.known.remove(&pattern);
        let has_room = self.patterns.len() + self.known.len() < PATTERNS_MAX;
        let name = if has_room || is_known { pattern } else { OTHER.to_owned() };
        let count = self.instruments.subject(&self.id, &name);
        count.inc();
        let is_new = self.patterns.insert(name.clone(), count).is_none();
        if self.is_settled && !is_known && is_new {
            let text = if name == OTHER {
                format!("more than {PATTERNS_MAX} kinds of subjects")
            } else {
                format!("subjects like {name} were not seen before")
            };
            self.check.signs.push(Sign { kind: Kind::UnusualSubject, about: name, severity: "low", value: 1.0, text });
        }
    }

    fn timed(&mut self, at: Timestamp, now: Timestamp) {
        let took_ms = now.as_millis().saturating_sub(at.as_millis());
        if (0..=LATENCY_MS_MAX).contains(&took_ms) {
            self.check.latency_ms += took_ms;
            self.check.timed += 1;
        }
    }

    /// Finds a client or begins it; where there is no room, the one that is silent for the longest makes room if it is
    /// offline.
    fn client(&mut self, name: &str, now: Timestamp, config: &Config) -> Option<&mut Client> {
        if name.is_empty() || name.len() > CLIENT_BYTES_MAX {
            return None;
        }
        if !self.clients.contains_key(name) {
            if self.clients.len() >= config.clients_max {
                let offline = self.clients.iter().filter(|(_, c)| !c.is_online(now, config.offline_after));
                let oldest = offline.min_by_key(|(_, c)| c.last_seen()).map(|(name, _)| name.clone())?;
                self.clients.remove(&oldest);
            }
            self.clients.insert(name.to_owned(), Client::new(now));
        }
        self.clients.get_mut(name)
    }

    fn forget(&mut self, now: Timestamp, config: &Config) {
        self.clients.retain(|_, c| c.is_online(now, config.offline_after) || now.since(c.last_seen()) < REMEMBERED);
        self.channels.retain(|_, at| now.since(*at) < REMEMBERED);
    }

    fn show(&self, now: Timestamp, config: &Config) {
        let online = self.clients.values().filter(|c| c.is_online(now, config.offline_after)).count() as u64;
        self.counts.online.set(float(online));
        self.counts.offline.set(float(self.clients.len() as u64 - online));
        self.counts.channels.set(float(self.channels.len() as u64));
        if let Some(latency) = self.latency {
            self.counts.latency.set(latency.as_secs_f64());
        }
        for kind in Kind::ALL {
            self.instruments.standing(&self.id, kind).set(float(self.anomalies.count(kind) as u64));
        }
    }

    /// Returns what the alarms room is to hear.
    pub(super) fn alerts(&self, now: Timestamp, config: &Config) -> Vec<Alert> {
        self.anomalies.alerts(&self.id, now, config.check_interval)
    }

    /// The alarms room has heard it.
    pub(super) fn alerts_told(&mut self) {
        self.anomalies.told();
    }

    /// The tenant is none any more; its alerts end, its counts go.
    pub(super) fn close(&mut self) {
        self.anomalies.end_all();
        self.instruments.forget(&self.id, self.patterns.keys().map(String::as_str));
    }

    pub(super) fn asked(&self) {
        self.counts.asked.inc();
    }

    pub(super) fn view(&mut self, now: Timestamp, config: &Config) -> TenantView {
        let mut subjects: Vec<(String, u64)> = self.patterns.iter().map(|(p, c)| (p.clone(), c.get())).collect();
        subjects.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let clients = self.clients.iter();
        TenantView {
            at: now,
            since: self.since,
            hour: self.minutes.sum(now),
            minute: self.seconds.sum(now),
            clients: clients.map(|(id, c)| c.view(id, c.is_online(now, config.offline_after))).collect(),
            channels: self.channels.len(),
            subjects,
            latency: self.latency,
            error_ratio: self.error_ratio,
            normal_per_second: self.is_settled.then(|| self.baseline.per_second()),
            anomalies: self.anomalies.len(),
            lost: self.instruments.lost.get(),
        }
    }
}

fn severity_of_errors(ratio: f64) -> &'static str {
    if ratio > 0.5 { "critical" } else { "high" }
}
