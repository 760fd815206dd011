//! Alerts across a restart: firing ones from the alarms room's journal, pending ones from their series.
//!
//! `ALERTS_FOR_STATE` has, per alert that is pending or firing, the time since when its condition holds. Time
//! in which the box did not run does not count towards `for`.

use std::time::Duration;

use super::alerting::{Active, Alerts};
use super::file::{Group, Kind, Rule};
use crate::model::{Alarm, AlertState, LABEL_NAME, Labels, Matcher, Timestamp, is_stale};
use crate::storage::tsdb::Querier;

/// So far back pending alerts are looked for: as far as the first of these that has any.
const LOOKBACKS: [Duration; 3] =
    [Duration::from_secs(86_400), Duration::from_secs(7 * 86_400), Duration::from_secs(90 * 86_400)];

/// What was written longer before the newest was not pending any more when the process ended.
const PENDING_AT_ONCE: Duration = Duration::from_secs(86_400);

/// At most so many samples are read: a day of a few thousand alerts.
const SAMPLES_MAX: usize = 5_000_000;

/// How long a restored alert stays as it is without its samples being seen: scrapes, rates and above all devices
/// need a moment to come back.
const HOLD_MIN: Duration = Duration::from_secs(600);

/// What was there when the process ended before.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// Alarms that were active.
    firing: Vec<Alarm>,
    since: Since,
}

impl Past {
    /// Reads what the store knows. What cannot be read is taken as not there; the error is handed back.
    pub(super) fn read(querier: &Querier, firing: Vec<Alarm>, now: Timestamp) -> (Past, Option<String>) {
        let mut since = Vec::new();
        let mut failure = None;
        for lookback in LOOKBACKS {
            (since, failure) = pending(querier, now - lookback, now);
            if !since.is_empty() || failure.is_some() {
                break;
            }
        }
        let newest = since.iter().map(|(_, _, at)| *at).max();
        since.retain(|(_, _, at)| newest.is_some_and(|newest| newest.since(*at) <= PENDING_AT_ONCE));
        (Past { firing, since }, failure)
    }

    /// Returns the alerts of a rule as they were. What one rule takes, no other gets.
    pub(super) fn take(&mut self, group: &Group, rule: &Rule, interval: Duration, now: Timestamp) -> Alerts {
        let mut alerts = Alerts::default();
        let Kind::Alerting(_) = &rule.kind else { return alerts };
        let held_until = Some(now + HOLD_MIN.max(interval * 2));
        let others_share_name = group.rules.iter().filter(|r| r.name == rule.name).count() > 1;
        let (mine, others) = self.firing.drain(..).partition(|alarm: &Alarm| {
            owns(rule, &alarm.labels) && (!others_share_name || alarm.expression == rule.expression)
        });
        self.firing = others;
        let mine: Vec<Alarm> = mine;
        for alarm in mine {
            let since = self.since.iter().find(|(labels, ..)| *labels == alarm.labels);
            let active = Active {
                active_at: since.map_or(alarm.raised_at, |(_, active_at, _)| *active_at),
                labels: alarm.labels,
                annotations: alarm.annotations,
                state: AlertState::Firing,
                value: alarm.value,
                fired_at: Some(alarm.raised_at),
                resolved_at: None,
                keep_firing_since: None,
                held_until,
            };
            alerts.0.insert(alarm.fingerprint, active);
        }
        for (labels, active_at, seen_at) in self.since.iter().filter(|(labels, ..)| owns(rule, labels)) {
            let pending = Active {
                labels: labels.clone(),
                annotations: Labels::empty(),
                state: AlertState::Pending,
                value: f64::NAN,
                active_at: *active_at + now.since(*seen_at),
                fired_at: None,
                resolved_at: None,
                keep_firing_since: None,
                held_until,
            };
            alerts.0.entry(labels.stable_hash()).or_insert(pending);
        }
        alerts
    }
}

/// Alerts by their series: labels, since when the condition held, when they were last written.
type Since = Vec<(Labels, Timestamp, Timestamp)>;

/// Reads the alerts that had not ended in a window, and what went wrong.
fn pending(querier: &Querier, start: Timestamp, end: Timestamp) -> (Since, Option<String>) {
    let matchers = [Matcher::equal(LABEL_NAME, "ALERTS_FOR_STATE")];
    let set = match querier.select(&matchers, start, end, SAMPLES_MAX) {
        Ok(set) => set,
        Err(error) => return (Vec::new(), Some(error.to_string())),
    };
    let mut since = Vec::new();
    let mut failure = None;
    for series in set {
        match series {
            Err(error) => failure = Some(error.to_string()),
            Ok(series) => {
                let last = series.timestamps.last().zip(series.values.last());
                if let Some((at, value)) = last.filter(|(_, v)| !is_stale(**v)) {
                    let active_at = Timestamp::from_seconds(*value);
                    since.push((series.labels.without_name(), active_at, Timestamp::from_millis(*at)));
                }
            }
        }
    }
    (since, failure)
}

/// Tells whether an alert's labels are what a rule would give: its name, and its labels that are not templates.
fn owns(rule: &Rule, labels: &Labels) -> bool {
    let fits = |(name, value): (&str, &str)| value.contains("{{") || labels.get(name) == Some(value);
    labels.get("alertname") == Some(rule.name.as_str()) && rule.labels.iter().all(fits)
}
