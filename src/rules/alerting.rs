//! One alerting rule and one result, to the next state of its alerts: pure.
//!
//! ```text
//!             condition holds            held for `for`
//! (inactive) ----------------> pending -----------------> firing
//!      ^                          |                          | condition gone for `keep_firing_for`
//!      |<----- condition gone ----'                          v
//!      '<------------------- 15 minutes ----------------- resolved
//! ```
//!
//! Source: Prometheus 3, `rules/alerting.go`. Intended difference: an alert that was restored after a
//! restart stays as it is for a while even if the expression gives nothing, because the expression's
//! samples may not have come back yet. Nobody is told that all is well only because the box was restarted. Where
//! the expression compares something with a number, that something tells when the samples are back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::file::{Alerting, Rule};
use crate::model::{Alert, AlertState, LABEL_NAME, Labels, Timestamp};

/// How long a resolved alert is kept, so that it is told to the alarms room again if a message was lost.
pub(super) const RESOLVED_KEPT: Duration = Duration::from_secs(15 * 60);

/// One series of a rule's result with texts rendered.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    /// The alert's labels, `alertname` included.
    pub(super) labels: Labels,
    pub(super) annotations: Labels,
    pub(super) value: f64,
}

/// One alert of a rule.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Active {
    pub(super) labels: Labels,
    pub(super) annotations: Labels,
    pub(super) state: AlertState,
    pub(super) value: f64,
    pub(super) active_at: Timestamp,
    pub(super) fired_at: Option<Timestamp>,
    pub(super) resolved_at: Option<Timestamp>,
    /// Since when the condition is gone while `keep_firing_for` holds the alert up.
    pub(super) keep_firing_since: Option<Timestamp>,
    /// It comes from before a restart and goes on until then without its condition, unless it is released.
    pub(super) held_until: Option<Timestamp>,
}

/// The alerts of one rule, by the stable hash of their labels.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Alerts(pub(super) BTreeMap<u64, Active>);

/// Why a result was not taken; the alerts stay as they were, but for [`Refusal::Limit`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("vector contains metrics with the same labelset after applying alert labels")]
    Duplicate,
    #[error("exceeded limit of {limit} with {found} alerts; all alerts of the rule were dropped")]
    Limit { limit: usize, found: usize },
}

impl Alerts {
    /// Takes a result at a time. `limit` of 0 is none; above it all alerts are dropped, as Prometheus does.
    pub(super) fn step(
        &mut self,
        rule: &Alerting,
        limit: usize,
        found: Vec<Found>,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let mut seen = BTreeMap::new();
        for one in found {
            if seen.insert(one.labels.stable_hash(), one).is_some() {
                return Err(Refusal::Duplicate);
            }
        }
        self.0.retain(|fingerprint, alert| match seen.remove(fingerprint) {
            Some(one) => {
                alert.found(one, now);
                alert.promote(rule, now);
                true
            }
            None => alert.missing(rule, now),
        });
        self.0.extend(seen.into_iter().map(|(fingerprint, one)| {
            let mut alert = Active::new(one, now);
            alert.promote(rule, now);
            (fingerprint, alert)
        }));
        let live = self.0.values().filter(|a| a.state != AlertState::Resolved).count();
        if limit > 0 && live > limit {
            self.0.clear();
            return Err(Refusal::Limit { limit, found: live });
        }
        Ok(())
    }

    /// Tells whether any alert of before a restart still waits for its samples.
    pub(super) fn has_held(&self) -> bool {
        self.0.values().any(|a| a.held_until.is_some())
    }

    /// Lets go of alerts of before a restart of which the expression is known to tell the truth again.
    pub(super) fn release(&mut self, settled: &BTreeSet<u64>) {
        for (_, alert) in self.0.iter_mut().filter(|(fingerprint, _)| settled.contains(fingerprint)) {
            alert.held_until = None;
        }
    }

    /// Returns the series that tell of the alerts: `ALERTS` and `ALERTS_FOR_STATE`.
    pub(super) fn series(&self) -> Vec<(Labels, f64)> {
        let live = self.0.values().filter(|a| a.state != AlertState::Resolved);
        live.flat_map(|alert| {
            let mut labels = alert.labels.builder();
            labels.set(LABEL_NAME, "ALERTS_FOR_STATE");
            let since = labels.clone().build();
            labels.set(LABEL_NAME, "ALERTS").set("alertstate", alert.state.as_str());
            [(labels.build(), 1.0), (since, alert.active_at.as_seconds().floor())]
        })
        .collect()
    }
}

impl Active {
    pub(super) fn new(found: Found, now: Timestamp) -> Self {
        Active {
            labels: found.labels,
            annotations: found.annotations,
            state: AlertState::Pending,
            value: found.value,
            active_at: now,
            fired_at: None,
            resolved_at: None,
            keep_firing_since: None,
            held_until: None,
        }
    }

    /// The condition holds.
    fn found(&mut self, found: Found, now: Timestamp) {
        self.annotations = found.annotations;
        self.value = found.value;
        self.holds(now);
    }

    /// Notes that the condition holds.
    pub(super) fn holds(&mut self, now: Timestamp) {
        if self.state == AlertState::Resolved {
            (self.state, self.active_at) = (AlertState::Pending, now);
            (self.fired_at, self.resolved_at) = (None, None);
        }
        self.keep_firing_since = None;
    }

    /// The condition does not hold. Returns whether the alert is kept.
    pub(super) fn missing(&mut self, rule: &Alerting, now: Timestamp) -> bool {
        if self.held_until.is_some_and(|until| now < until) {
            return true;
        }
        self.held_until = None;
        match self.state {
            AlertState::Pending => false,
            AlertState::Resolved => self.resolved_at.is_some_and(|at| now.since(at) <= RESOLVED_KEPT),
            AlertState::Firing => {
                let since = *self.keep_firing_since.get_or_insert(now);
                if now.since(since) >= rule.keep_firing {
                    self.state = AlertState::Resolved;
                    self.resolved_at = Some(now);
                }
                true
            }
        }
    }

    /// Moves all times by so much.
    pub(super) fn correct(&mut self, by_ms: i64) {
        let others = [&mut self.fired_at, &mut self.resolved_at, &mut self.keep_firing_since, &mut self.held_until];
        for time in others.into_iter().flatten().chain([&mut self.active_at]) {
            *time = Timestamp::from_millis(time.as_millis().saturating_add(by_ms));
        }
    }

    /// Lets a pending alert whose condition holds now fire, if it has held long enough.
    pub(super) fn promote(&mut self, rule: &Alerting, now: Timestamp) {
        if self.state == AlertState::Pending && now.since(self.active_at) >= rule.hold {
            self.state = AlertState::Firing;
            self.fired_at = Some(now);
        }
    }

    /// Returns the alert in the shape for others.
    pub(super) fn to_alert(&self, rule: &Rule, group: &str, evaluated_at: Timestamp, expires_at: Timestamp) -> Alert {
        Alert {
            labels: self.labels.clone(),
            annotations: self.annotations.clone(),
            state: self.state,
            value: self.value,
            active_at: self.active_at,
            fired_at: self.fired_at,
            resolved_at: self.resolved_at,
            evaluated_at,
            expires_at,
            expression: rule.expression.clone(),
            source_url: String::new(),
            group: group.to_owned(),
            rule_version: rule.version,
        }
    }
}
