//! Unit tests of rules, in promtool's format: samples are given, rules evaluated on a clock of their own, and alerts
//! and expressions compared with what is expected.
//!
//! Nothing is read or written here but what the caller hands in; each test has a store in memory.
//! Source: Prometheus 3, `cmd/promtool/unittest.go`.

mod read;
mod series;
#[cfg(test)]
mod unit_test_test;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

pub use read::read;

use super::evaluate::{Environment, RuleState, Timing};
use super::file::{self, Group};
use super::instruments::Instruments;
use super::recording::vector;
use crate::clock::Clock;
use crate::instrument::Registry;
use crate::model::{AlertState, Labels, Timestamp, format_duration};
use crate::query::promql::{Engine, Limits, Options, format_value};
use crate::storage::tsdb::{Batch, Db};

/// Upper bound of evaluations of one test, so that a slip of the pen in a time ends.
const STEPS_MAX: u128 = 1_000_000;

/// A file of tests.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitTests {
    /// The rule files that are tested: paths or patterns, relative to the file's own folder.
    pub rule_files: Vec<String>,
    evaluation_interval: Duration,
    /// Names of groups in the order in which they are evaluated; others come first, as they stand in their files.
    group_order: Vec<String>,
    /// Whether values count as equal if they differ in the last digits.
    is_fuzzy: bool,
    tests: Vec<Test>,
}

#[derive(Debug, Clone, PartialEq)]
struct Test {
    name: String,
    /// Between given samples.
    interval: Duration,
    input: Vec<(Labels, Vec<Option<f64>>)>,
    alerts: Vec<AlertTest>,
    expressions: Vec<ExpressionTest>,
    external_labels: Labels,
    external_url: String,
}

#[derive(Debug, Clone, PartialEq)]
struct AlertTest {
    eval_time: Duration,
    alertname: String,
    /// `alertname` is among the labels.
    expected: Vec<ExpectedAlert>,
}

/// Labels and annotations.
type ExpectedAlert = (Labels, Labels);

#[derive(Debug, Clone, PartialEq)]
struct ExpressionTest {
    eval_time: Duration,
    expression: String,
    expected: Vec<(Labels, f64)>,
}

impl UnitTests {
    /// Runs all tests with the texts of the rule files, which stand behind their paths. Returns what failed, test by
    /// test; empty if all passed.
    #[must_use]
    pub fn run(&self, rule_files: &[(String, String)]) -> Vec<String> {
        let files: Vec<_> = rule_files.iter().map(|(path, text)| file::read(path, text)).collect();
        let mistakes: Vec<String> = files.iter().flat_map(|f| &f.mistakes).map(ToString::to_string).collect();
        if !mistakes.is_empty() {
            return mistakes;
        }
        let mut groups: Vec<Group> = files.into_iter().flat_map(|f| f.groups).collect();
        groups.sort_by_key(|group| self.group_order.iter().position(|name| *name == group.name));
        let mut failures = Vec::new();
        for (number, test) in self.tests.iter().enumerate() {
            let name = if test.name.is_empty() { format!("test {}", number + 1) } else { test.name.clone() };
            failures.extend(test.run(self, &groups).into_iter().map(|failure| format!("{name}: {failure}")));
        }
        failures
    }
}

impl Test {
    fn run(&self, file: &UnitTests, groups: &[Group]) -> Vec<String> {
        let times = self.alerts.iter().map(|t| t.eval_time).chain(self.expressions.iter().map(|t| t.eval_time));
        let end = times.max().unwrap_or_default();
        let interval = file.evaluation_interval;
        if end.as_millis() / interval.as_millis().max(1) > STEPS_MAX {
            return vec![format!("more than {STEPS_MAX} evaluations up to {}", format_duration(end))];
        }
        let environment = match self.environment(interval) {
            Ok(environment) => environment,
            Err(why) => return vec![why],
        };
        let mut states: Vec<Vec<RuleState>> =
            groups.iter().map(|g| g.rules.iter().map(|_| RuleState::default()).collect()).collect();
        let mut failures = Vec::new();
        let mut at = Duration::ZERO;
        while at <= end {
            for (group, states) in groups.iter().zip(&mut states) {
                let timing = Timing {
                    at: Timestamp::from_millis(0) + at,
                    moved_ms: 0,
                    interval,
                    query_offset: group.query_offset.unwrap_or_default(),
                };
                for (rule, state) in group.rules.iter().zip(states) {
                    state.evaluate(&environment, group, rule, &timing);
                    if let Some(error) = state.error() {
                        failures.push(format!("rule: {}, time: {}, err: {error}", rule.name, format_duration(at)));
                    }
                }
            }
            let due = |test: &&AlertTest| test.eval_time >= at && test.eval_time < at + interval;
            let checked = self.alerts.iter().filter(due);
            failures.extend(checked.filter_map(|test| test.check(groups, &states)));
            at += interval;
        }
        failures.extend(self.expressions.iter().filter_map(|test| test.check(&environment.engine, file.is_fuzzy)));
        failures
    }

    /// Returns a store that holds the given samples, and what rules need beside it.
    fn environment(&self, default_step: Duration) -> Result<Environment, String> {
        let db = Db::in_memory();
        // Of two with the same labels the later one counts, as upstream has it.
        let input: BTreeMap<_, _> = self.input.iter().map(|(labels, values)| (labels, values)).collect();
        for (labels, values) in input {
            let mut batch = Batch::default();
            let mut at = Timestamp::from_millis(0);
            for value in values {
                if let Some(value) = value {
                    batch.push(labels, at, *value);
                }
                at = at + self.interval;
            }
            db.append(&batch).map_err(|e| e.to_string())?;
        }
        let limits = Limits {
            lookback: Duration::from_secs(300),
            timeout: Duration::from_secs(100),
            samples_max: 50_000_000,
            default_step,
        };
        Ok(Environment {
            engine: Engine::new(db.clone(), limits),
            db,
            clock: Clock::system(),
            instruments: Instruments::new(&Registry::default()),
            external_labels: self.external_labels.clone(),
            external_url: self.external_url.clone(),
        })
    }
}

impl AlertTest {
    /// Returns how what fires differs from what is expected.
    fn check(&self, groups: &[Group], states: &[Vec<RuleState>]) -> Option<String> {
        let rules = groups.iter().flat_map(|g| &g.rules).zip(states.iter().flatten());
        let states = rules.filter(|(rule, _)| rule.name == self.alertname).map(|(_, state)| state);
        let firing = states.flat_map(|s| s.alerts.0.values()).filter(|a| a.state == AlertState::Firing);
        let mut found: Vec<ExpectedAlert> = firing.map(|a| (a.labels.clone(), a.annotations.clone())).collect();
        let mut expected = self.expected.clone();
        found.sort();
        expected.sort();
        (found != expected).then(|| {
            let told =
                |alerts: &[ExpectedAlert]| list(alerts.iter().map(|(l, a)| format!("Labels:{l} Annotations:{a}")));
            let (name, time) = (&self.alertname, format_duration(self.eval_time));
            format!("alertname: {name}, time: {time},\n    exp: {}\n    got: {}", told(&expected), told(&found))
        })
    }
}

impl ExpressionTest {
    /// Returns how the answer differs from what is expected.
    fn check(&self, engine: &Engine, is_fuzzy: bool) -> Option<String> {
        let at = Timestamp::from_millis(0) + self.eval_time;
        let failed = |why: &str| {
            let (expression, time) = (&self.expression, format_duration(self.eval_time));
            Some(format!("expr: {expression:?}, time: {time},{why}"))
        };
        let answer = engine.instant(&self.expression, at, &Options::default()).map_err(|e| e.to_string());
        let found = match answer.and_then(|answer| vector(answer.value).map_err(|e| e.to_string())) {
            Ok(found) => found,
            Err(error) => return failed(&format!(" err: {error}")),
        };
        let by_labels = |samples: &[(Labels, f64)]| -> BTreeMap<Labels, f64> { samples.iter().cloned().collect() };
        let (got, expected) = (by_labels(&found), by_labels(&self.expected));
        let is_same = |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan()) || (is_fuzzy && is_almost(a, b));
        let are_equal = got.len() == found.len()
            && self.expected.len() == found.len()
            && got.iter().zip(&expected).all(|(g, e)| g.0 == e.0 && is_same(*g.1, *e.1));
        if are_equal {
            return None;
        }
        let told =
            |samples: &BTreeMap<Labels, f64>| list(samples.iter().map(|(l, v)| format!("{l} {}", format_value(*v))));
        failed(&format!("\n    exp: {}\n    got: {}", told(&expected), told(&got)))
    }
}

/// Tells whether two values differ in the last digits only.
fn is_almost(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-15 * a.abs().max(b.abs())
}

fn list(items: impl Iterator<Item = String>) -> String {
    let mut out = String::from("[");
    for item in items {
        let _ = write!(out, "\n        {item}");
    }
    if out.len() > 1 {
        out.push_str("\n    ");
    }
    out.push(']');
    out
}
