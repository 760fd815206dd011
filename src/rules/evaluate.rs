//! One rule evaluated at one time: ask, step, append. Synchronous and heavy; run on the pool.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use super::alerting::{Alerts, Found};
use super::file::{Alerting, Group, Kind, Rule};
use super::instruments::Instruments;
use super::measure::threshold;
use super::recording::{record, vector};
use super::snapshot::{AlertingSnapshot, Health, RuleKind, RuleSnapshot};
use crate::clock::{Clock, Stamp};
use crate::model::{Alert, AlertState, Labels, Timestamp, stale_nan};
use crate::query::log::Origin;
use crate::query::promql::{Engine, Options};
use crate::storage::tsdb::{Batch, Db};
use crate::template::{Context, Template, Value};

/// An alert counts without being heard of again for at least so long.
const EXPIRY_MIN: Duration = Duration::from_secs(240);

/// What all evaluations share; a change of it starts the groups anew.
#[derive(Debug, Clone)]
pub(super) struct Environment {
    pub(super) db: Db,
    pub(super) engine: Engine,
    pub(super) clock: Clock,
    pub(super) instruments: Instruments,
    pub(super) external_labels: Labels,
    pub(super) external_url: String,
}

/// What a rule remembers from one evaluation to the next.
#[derive(Debug, Default)]
pub(super) struct RuleState {
    pub(super) alerts: Alerts,
    /// Series it gave last time; those that are gone get a staleness marker.
    pub(super) series: HashSet<Labels>,
    last_error: Option<String>,
    duration: Duration,
    last_evaluation: Option<Timestamp>,
    /// By how much the clock had been moved at the last evaluation.
    moved_ms: i64,
}

impl RuleState {
    /// Returns a state with restored alerts. Their series are those that stood in the store.
    pub(super) fn restored(alerts: Alerts) -> Self {
        let series = alerts.series().into_iter().map(|(labels, _)| labels).collect();
        RuleState { alerts, series, ..RuleState::default() }
    }

    /// Evaluates the rule at `at` and keeps what came of it. `interval` is the group's.
    pub(super) fn evaluate(&mut self, environment: &Environment, group: &Group, rule: &Rule, timing: &Timing) {
        let started = environment.clock.elapsed();
        self.correct(timing.moved_ms);
        let outcome = self.try_evaluate(environment, group, rule, timing);
        self.duration = environment.clock.elapsed().saturating_sub(started);
        self.last_evaluation = Some(timing.at);
        self.last_error = outcome.err();
    }

    /// Returns why the last evaluation failed.
    pub(super) fn error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// Tells whether the last evaluation failed.
    pub(super) fn failed(&self) -> bool {
        self.last_error.is_some()
    }

    fn try_evaluate(
        &mut self,
        environment: &Environment,
        group: &Group,
        rule: &Rule,
        timing: &Timing,
    ) -> Result<(), String> {
        let asked_at = timing.asked_at();
        let options = Options { origin: Origin::Rule(format!("{} / {}", group.name, rule.name)), ..Options::default() };
        let result = environment.engine.instant(&rule.expression, asked_at, &options);
        let result = vector(result.map_err(|e| e.to_string())?.value).map_err(|e| e.to_string())?;
        let series = match &rule.kind {
            Kind::Recording => record(&rule.name, &rule.labels, group.limit, result).map_err(|e| e.to_string())?,
            Kind::Alerting(alerting) => {
                let render = Render { environment, asked_at };
                let found: Vec<Found> = result.into_iter().map(|(l, v)| render.found(rule, alerting, &l, v)).collect();
                if self.alerts.has_held() {
                    self.alerts.release(&render.settled(rule, alerting, &found));
                }
                let stepped = self.alerts.step(alerting, group.limit, found, timing.at);
                stepped.map_err(|e| e.to_string())?;
                self.alerts.series()
            }
        };
        self.append(environment, series, Stamp { at: asked_at, moved_ms: timing.moved_ms })
    }

    /// Moves the times of alerts with the clock: what holds since a minute has not held for a year because the
    /// clock was wrong by a year.
    fn correct(&mut self, moved_ms: i64) {
        let by_ms = moved_ms.saturating_sub(std::mem::replace(&mut self.moved_ms, moved_ms));
        if by_ms != 0 {
            self.alerts.0.values_mut().for_each(|alert| alert.correct(by_ms));
        }
    }

    /// Writes the rule's series, and a staleness marker for each that is gone.
    fn append(&mut self, environment: &Environment, series: Vec<(Labels, f64)>, stamp: Stamp) -> Result<(), String> {
        let Stamp { at, moved_ms } = stamp;
        let mut batch = Batch::stamped(moved_ms);
        let current: HashSet<Labels> = series.iter().map(|(labels, _)| labels.clone()).collect();
        for (labels, value) in &series {
            batch.push(labels, at, *value);
        }
        for gone in self.series.difference(&current) {
            batch.push(gone, at, stale_nan());
        }
        self.series = current;
        append(environment, &batch)
    }

    /// Ends the rule: its series get staleness markers, its firing alerts are resolved and handed back.
    pub(super) fn retire(&mut self, environment: &Environment, group: &Group, rule: &Rule, stamp: Stamp) -> Vec<Alert> {
        let now = stamp.at;
        self.correct(stamp.moved_ms);
        let mut alerts = Vec::new();
        for alert in self.alerts.0.values_mut().filter(|a| a.state == AlertState::Firing) {
            alert.state = AlertState::Resolved;
            alert.resolved_at = Some(now);
            alerts.push(alert.to_alert(rule, &group.name, now, now));
        }
        if let Err(error) = self.append(environment, Vec::new(), stamp) {
            tracing::warn!(rule = %rule.name, %error, "cannot end the series of a rule that is gone");
        }
        alerts
    }

    /// Returns the rule's alerts that others must hear of: firing, or resolved lately.
    pub(super) fn alerts_to_tell(&self, group: &Group, rule: &Rule, timing: &Timing) -> Vec<Alert> {
        let told = self.alerts.0.values().filter(|a| a.state != AlertState::Pending);
        told.map(|a| a.to_alert(rule, &group.name, timing.at, timing.expires_at())).collect()
    }

    pub(super) fn snapshot(&self, group: &Group, rule: &Rule, timing: &Timing) -> RuleSnapshot {
        let kind = match &rule.kind {
            Kind::Recording => RuleKind::Recording,
            Kind::Alerting(alerting) => {
                let expires_at = timing.expires_at();
                let alerts = self.alerts.0.values();
                let mut alerts: Vec<Alert> =
                    alerts.map(|a| a.to_alert(rule, &group.name, timing.at, expires_at)).collect();
                alerts.sort_by(|a, b| a.labels.cmp(&b.labels));
                RuleKind::Alerting(AlertingSnapshot {
                    hold: alerting.hold,
                    keep_firing: alerting.keep_firing,
                    annotations: alerting.annotations.iter().map(|(n, t)| (n.as_str(), t.text())).collect(),
                    alerts,
                })
            }
        };
        RuleSnapshot {
            name: rule.name.clone(),
            expression: rule.expression.clone(),
            labels: rule.labels.clone(),
            line: rule.line,
            version: rule.version,
            health: match (self.last_evaluation, &self.last_error) {
                (None, _) => Health::Unknown,
                (Some(_), None) => Health::Ok,
                (Some(_), Some(_)) => Health::Err,
            },
            last_error: self.last_error.clone().unwrap_or_default(),
            evaluation_time: self.duration,
            last_evaluation: self.last_evaluation,
            kind,
        }
    }
}

/// When an evaluation takes place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    pub(super) at: Timestamp,
    /// By how much the clock had been moved then.
    pub(super) moved_ms: i64,
    pub(super) interval: Duration,
    pub(super) query_offset: Duration,
}

impl Timing {
    /// The time that expressions are asked for, and that series get.
    fn asked_at(&self) -> Timestamp {
        self.at - self.query_offset
    }

    /// Until when an alert counts without being heard of again.
    pub(super) fn expires_at(&self) -> Timestamp {
        self.at + EXPIRY_MIN.max(self.interval * 4)
    }
}

/// Appends and counts what the store refuses.
fn append(environment: &Environment, batch: &Batch) -> Result<(), String> {
    if batch.is_empty() {
        return Ok(());
    }
    let outcome = environment.db.append(batch).map_err(|e| e.to_string())?;
    let refused = [
        ("duplicate", outcome.duplicate),
        ("conflicting", outcome.conflicting),
        ("too_old", outcome.too_old),
        ("too_new", outcome.too_new),
        ("over_series_limit", outcome.over_series_limit),
    ];
    for (reason, count) in refused.into_iter().filter(|(_, count)| *count > 0) {
        environment.instruments.refused_samples.with(&[reason]).add(count);
    }
    if outcome.over_series_limit > 0 {
        return Err(format!("{} series are beyond the store's limit", outcome.over_series_limit));
    }
    Ok(())
}

/// Renders the texts of alerts.
struct Render<'a> {
    environment: &'a Environment,
    asked_at: Timestamp,
}

impl Render<'_> {
    /// Returns the fingerprints of alerts of which the rule tells the truth again after a restart: where it compares
    /// with a number, those whose samples are there and say no. A yes may come of samples of before the restart that
    /// still count; it settles nothing. Where nothing is compared, those that it gives.
    fn settled(&self, rule: &Rule, alerting: &Alerting, found: &[Found]) -> BTreeSet<u64> {
        let given: BTreeSet<u64> = found.iter().map(|f| f.labels.stable_hash()).collect();
        let Some(threshold) = threshold(&rule.expression) else { return given };
        let answer = self.environment.engine.instant(&threshold.measure, self.asked_at, &Options::default());
        let Ok(measured) = answer.map_err(|_| ()).and_then(|a| vector(a.value).map_err(|_| ())) else {
            return BTreeSet::new();
        };
        let measured = measured.into_iter().map(|(l, v)| self.found(rule, alerting, &l, v).labels.stable_hash());
        measured.filter(|fingerprint| !given.contains(fingerprint)).collect()
    }

    fn found(&self, rule: &Rule, alerting: &Alerting, labels: &Labels, value: f64) -> Found {
        let mut own = labels.without_name().builder();
        for (name, template) in &alerting.labels {
            own.set(name, &self.text(template, labels, value));
        }
        own.set("alertname", &rule.name);
        let annotations = alerting.annotations.iter().map(|(n, t)| (n.as_str(), self.text(t, labels, value)));
        Found { annotations: annotations.collect(), labels: own.build(), value }
    }

    /// Renders one template; what goes wrong stands in the text, as in Prometheus: the alert matters more.
    fn text(&self, template: &Template, labels: &Labels, value: f64) -> String {
        if !template.text().contains("{{") {
            return template.text().to_owned();
        }
        let environment = self.environment;
        let values = [
            ("labels", Value::Labels(labels.clone())),
            ("externalLabels", Value::Labels(environment.external_labels.clone())),
            ("externalURL", Value::text(&environment.external_url)),
            ("value", Value::Float(value)),
        ];
        let [(_, l), (_, el), (_, eu), (_, v)] = values.clone();
        let dot = Value::record(vec![("Labels", l), ("ExternalLabels", el), ("ExternalURL", eu), ("Value", v)]);
        let query = |expression: &str| {
            let result = environment.engine.instant(expression, self.asked_at, &Options::default());
            vector(result.map_err(|e| e.to_string())?.value).map_err(|e| e.to_string())
        };
        let context = Context { query: &query, external_url: &environment.external_url, now: self.asked_at };
        template.render(&context, &dot, &values).unwrap_or_else(|error| format!("<error expanding template: {error}>"))
    }
}
