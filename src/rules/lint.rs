//! Rules that run, but hardly do what was meant: what is odd, why, and what would be right. Pure.
//!
//! Each check looks for one slip that was found in rules of real plants; it stays silent where the rule may well be
//! meant. What is not PromQL or not a template is a mistake (`file.rs`), not a remark.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::file::{self, Kind};
use super::measure::{bare, number};
use crate::model::{Labels, MatchOp, MetricKind, format_duration};
use crate::query::promql::{Binary, Call, Expr, Node, Selector, parse};
use crate::yaml::closest;

/// Upper bound of remarks on one rule.
const REMARKS_MAX: usize = 20;

/// Series that rules themselves make.
const OWN: [&str; 2] = ["ALERTS", "ALERTS_FOR_STATE"];

/// What is known of the box that a rule is to run on; the less is known the less is found.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Names of all metrics there are; `None` if that is not known.
    pub metrics: Option<BTreeSet<String>>,
    /// Kinds of metrics, by family.
    pub kinds: BTreeMap<String, MetricKind>,
    /// How long samples are kept.
    pub retention: Option<Duration>,
    /// Names that recording rules give.
    pub recorded: BTreeSet<String>,
}

/// A rule to look at.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    /// The alert's name, or the recorded series'.
    pub name: &'a str,
    /// Its expression.
    pub expression: &'a str,
    /// Whether it alerts.
    pub is_alerting: bool,
    /// Its texts, templates not rendered.
    pub annotations: &'a Labels,
}

/// Something odd about a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// Path of the file; empty if the caller knows.
    pub file: String,
    /// Line at which the rule begins; 0 if the caller knows.
    pub line: usize,
    /// The rule's name.
    pub rule: String,
    /// The part of the expression that is meant.
    pub place: String,
    /// What is odd, and what comes of it.
    pub problem: String,
    /// What would be right.
    pub remedy: String,
}

impl std::fmt::Display for Remark {
    /// Writes `file:line: rule "r": problem (in place); remedy`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: rule {:?}: {}", self.file, self.line, self.rule, self.problem)?;
        if !self.place.is_empty() {
            write!(f, " (in {})", self.place)?;
        }
        write!(f, "; {}", self.remedy)
    }
}

/// Returns what is odd about the good rules of a file; what it records itself counts as known.
#[must_use]
pub fn lint_file(path: &str, text: &str, facts: &Facts) -> Vec<Remark> {
    let file = file::read(path, text);
    let rules = || file.groups.iter().flat_map(|g| &g.rules);
    let mut facts = facts.clone();
    facts.recorded.extend(rules().filter(|r| r.kind == Kind::Recording).map(|r| r.name.clone()));
    let mut found = Vec::new();
    for rule in rules() {
        let annotations = match &rule.kind {
            Kind::Recording => Labels::empty(),
            Kind::Alerting(a) => a.annotations.iter().map(|(n, t)| (n.as_str(), t.text())).collect(),
        };
        let subject = Subject {
            name: &rule.name,
            expression: &rule.expression,
            is_alerting: rule.kind != Kind::Recording,
            annotations: &annotations,
        };
        let remarks = lint(&subject, &facts).into_iter();
        found.extend(remarks.map(|r| Remark { file: path.to_owned(), line: rule.line, ..r }));
    }
    found
}

/// Returns what is odd about a rule.
#[must_use]
pub fn lint(subject: &Subject<'_>, facts: &Facts) -> Vec<Remark> {
    let Ok(tree) = parse(subject.expression) else { return Vec::new() };
    let mut linter = Linter { subject, facts, found: Vec::new() };
    if subject.is_alerting {
        linter.condition(&tree);
        linter.percentage(&tree);
    }
    let mut open = vec![&tree];
    while let Some(expr) = open.pop() {
        linter.look(expr);
        open.extend(inner(expr));
    }
    linter.found.truncate(REMARKS_MAX);
    linter.found
}

/// Returns the expressions that one is made of.
fn inner(expr: &Expr) -> Vec<&Expr> {
    match &expr.node {
        Node::Paren(inner) | Node::Unary { inner, .. } => vec![inner],
        Node::Subquery(subquery) => vec![&subquery.input],
        Node::Binary(binary) => vec![&binary.left, &binary.right],
        Node::Aggregate(aggregate) => aggregate.parameter.iter().chain([&aggregate.input]).collect(),
        Node::Call(call) => call.arguments.iter().collect(),
        Node::Number(_) | Node::Duration(_) | Node::Text(_) | Node::Selector(_) | Node::Range(..) => Vec::new(),
    }
}

/// Returns an expression with all it is made of.
fn all(expr: &Expr) -> Vec<&Expr> {
    let (mut found, mut open) = (Vec::new(), vec![expr]);
    while let Some(expr) = open.pop() {
        found.push(expr);
        open.extend(inner(expr));
    }
    found
}

struct Linter<'a> {
    subject: &'a Subject<'a>,
    facts: &'a Facts,
    found: Vec<Remark>,
}

impl Linter<'_> {
    fn remark(&mut self, place: Option<&Expr>, problem: impl Into<String>, remedy: impl Into<String>) {
        let text = place.and_then(|e| self.subject.expression.get(e.span.start..e.span.end));
        let remark = Remark {
            file: String::new(),
            line: 0,
            rule: self.subject.name.to_owned(),
            place: text.unwrap_or("").split_whitespace().collect::<Vec<_>>().join(" "),
            problem: problem.into(),
            remedy: remedy.into(),
        };
        if !self.found.contains(&remark) {
            self.found.push(remark);
        }
    }

    /// Looks at one part of the expression.
    fn look(&mut self, expr: &Expr) {
        match &expr.node {
            Node::Selector(selector) | Node::Range(selector, _) => {
                self.exists(expr, selector);
                if let Node::Range(_, length) = &expr.node {
                    self.within_retention(expr, length_s(self.subject.expression, length.span.start, length.span.end));
                }
            }
            Node::Subquery(subquery) => {
                let span = subquery.range.span;
                self.within_retention(expr, length_s(self.subject.expression, span.start, span.end));
            }
            Node::Binary(binary) => {
                self.ratio(expr, binary);
                self.comparison(expr, binary);
            }
            Node::Call(call) => self.call(expr, call),
            _ => {}
        }
    }

    /// An alert needs a condition: without one it fires for whatever has a value.
    fn condition(&mut self, tree: &Expr) {
        let is_condition = |expr: &&Expr| match &expr.node {
            Node::Binary(binary) => is_comparison(binary) && !binary.is_bool || is_set(binary),
            Node::Call(call) => matches!(call.name.as_str(), "absent" | "absent_over_time" | "vector"),
            _ => false,
        };
        let parts = all(tree);
        if !parts.iter().any(is_condition) {
            let is_bool = parts.iter().any(|e| matches!(&e.node, Node::Binary(b) if b.is_bool));
            let (problem, remedy) = if is_bool {
                (
                    "a comparison with bool gives 0 where it does not hold, and an alert fires for any value, 0 too",
                    "leave bool out",
                )
            } else {
                (
                    "nothing is compared, so it fires for every series there is, whatever its value",
                    "compare it with a limit, for example > 0",
                )
            };
            self.remark(None, problem, remedy);
        }
    }

    /// A rate that a text calls a percentage.
    fn percentage(&mut self, tree: &Expr) {
        let texts = self.subject.annotations.iter().map(|(_, text)| text);
        let mut texts = texts.chain([self.subject.name]);
        let says_percent = texts.any(|t| {
            let text = t.to_lowercase();
            text.contains("humanizepercentage")
                || text.contains("}}%")
                || text.contains("}} %")
                || text.contains(" percent")
                || has_number_percent(&text)
        });
        let parts = all(tree);
        let divides = parts.iter().any(|e| matches!(&e.node, Node::Binary(b) if b.operation.text() == "/"));
        let rate =
            parts.iter().find(|e| matches!(&e.node, Node::Call(c) if matches!(c.name.as_str(), "rate" | "irate")));
        let name = self.subject.name.to_lowercase();
        let limit = match &bare(tree).node {
            Node::Binary(binary) if is_comparison(binary) => number(&binary.right),
            _ => None,
        };
        // "HighErrorRate" above 0.05: five per cent were meant, one in twenty seconds is asked.
        let is_share = name.contains("rate") && limit.is_some_and(|l| l > 0.0 && l <= 1.0) && {
            let selectors = parts.iter().filter_map(|e| selector(e));
            selectors
                .into_iter()
                .any(|s| s.matchers.iter().any(|m| matches!(m.name.as_str(), "status" | "code" | "type" | "result")))
        };
        // Seconds per second are a share.
        let is_time = |rate: &&Expr| plain(rate).and_then(name_of).is_some_and(|name| name.contains("_seconds"));
        if let Some(rate) = rate.copied().filter(|rate| !divides && !is_time(rate) && (says_percent || is_share)) {
            self.remark(
                Some(rate),
                "this is a number per second, but it is called a percentage or a share",
                "divide it by the rate of all: sum(rate(bad[5m])) / sum(rate(all[5m]))",
            );
        }
    }

    /// A metric that nobody exports.
    fn exists(&mut self, expr: &Expr, selector: &Selector) {
        let Some(metrics) = &self.facts.metrics else { return };
        let Some(name) = name_of(selector) else { return };
        if metrics.contains(name) || self.facts.recorded.contains(name) || OWN.contains(&name) {
            return;
        }
        let bucket = format!("{name}_bucket");
        if metrics.contains(&bucket) {
            self.remark(
                Some(expr),
                format!("{name} is a histogram: it has no value of its own, so this never holds"),
                format!("ask for a quantile, histogram_quantile(0.95, sum by (le) (rate({bucket}[5m]))), or the mean of {name}_sum and {name}_count"),
            );
            return;
        }
        if let Some(base) = name.strip_suffix("_bucket").filter(|base| metrics.contains(*base)) {
            self.remark(
                Some(expr),
                format!("{base} is no histogram: it has no buckets, so this never holds"),
                format!("compare {base} itself, or have its sender export a histogram"),
            );
            return;
        }
        let known: Vec<&str> = metrics.iter().map(String::as_str).collect();
        let near = closest(name, &known).or_else(|| nearest(name, &known));
        let remedy = match near {
            Some(near) => format!("perhaps {near} is meant"),
            None => "check the name, or whether the target that exports it is scraped".to_owned(),
        };
        self.remark(Some(expr), format!("there is no metric {name} on this box, so this never holds"), remedy);
    }

    fn within_retention(&mut self, expr: &Expr, seconds: Option<f64>) {
        let Some((retention, seconds)) = self.facts.retention.zip(seconds) else { return };
        if seconds > retention.as_secs_f64() {
            let kept = format_duration(retention);
            self.remark(
                Some(expr),
                format!("the range is longer than samples are kept ({kept}): it sees only a part"),
                format!("keep samples longer (storage.metrics.retention), or ask for {kept} at most"),
            );
        }
    }

    /// A division whose two sides pair up only with themselves.
    fn ratio(&mut self, expr: &Expr, binary: &Binary) {
        if binary.operation.text() != "/" || binary.matching.is_some() {
            return;
        }
        let (Some(left), Some(right)) = (plain(&binary.left), plain(&binary.right)) else { return };
        if name_of(left).is_none() || name_of(left) != name_of(right) {
            return;
        }
        let is_in = |m: &crate::query::promql::LabelMatcher, s: &Selector| {
            s.matchers.iter().any(|o| (&o.name, o.op, &o.value) == (&m.name, m.op, &m.value))
        };
        let Some(only) = left.matchers.iter().find(|m| m.name != "__name__" && !is_in(m, right)) else { return };
        if right.matchers.iter().any(|m| m.name == only.name) {
            // Both name it, with other values: no pair at all.
            self.remark(
                Some(expr),
                format!(
                    "both sides name {} with different values, so no series of one has a partner in the other",
                    only.name
                ),
                "aggregate both sides with sum by (...), or ignoring the label",
            );
            return;
        }
        self.remark(
            Some(expr),
            format!("each series is divided by the one with the same labels, {} too: that is itself, so the ratio is always 1", only.name),
            "aggregate both sides: sum(...) / sum(...), with by (...) for what is to be told apart",
        );
    }

    fn comparison(&mut self, expr: &Expr, binary: &Binary) {
        if !is_comparison(binary) {
            return;
        }
        let (measured, limit) = (bare(&binary.left), number(&binary.right));
        if let (Node::Selector(selector), Some(limit)) = (&measured.node, limit) {
            self.bucket(expr, selector);
            let state = selector.matchers.iter().find(|m| {
                m.op == MatchOp::Equal && matches!(m.name.as_str(), "state" | "status" | "phase") && !m.value.is_empty()
            });
            if let Some(state) = state.filter(|_| name_of(selector).is_some_and(|n| !is_counter(n))) {
                self.remark(
                    Some(expr),
                    format!(
                        "the state is in the label {}: a series goes on with its last value after the state has changed, so this may never end, or hold always",
                        state.name
                    ),
                    format!("compare with 1 while the sender sets the others to 0, or without the label {}", state.name),
                );
            }
            if limit > 0.0 && binary.operation.text().starts_with('>') && name_of(selector).is_some_and(is_counter) {
                self.remark(
                    Some(expr),
                    "a counter only rises: once above the limit this holds until its program restarts",
                    "compare increase(...[1h]) or rate(...[5m])",
                );
            }
        }
        self.vanished(expr, binary);
        self.success(expr, binary);
    }

    /// A bucket compared as if it were a value.
    fn bucket(&mut self, expr: &Expr, selector: &Selector) {
        let Some(name) = name_of(selector) else { return };
        if name.ends_with("_bucket") {
            self.remark(
                Some(expr),
                "a bucket counts all observations so far: it is no duration and no size",
                format!("ask for a quantile: histogram_quantile(0.95, sum by (le) (rate({name}[5m])))"),
            );
        }
        let is_histogram = self.facts.kinds.get(name) == Some(&MetricKind::Histogram);
        if is_histogram && self.facts.metrics.is_none() {
            self.remark(
                Some(expr),
                format!("{name} is a histogram: it has no value of its own, so this never holds"),
                format!("ask for a quantile: histogram_quantile(0.95, sum by (le) (rate({name}_bucket[5m])))"),
            );
        }
    }

    /// `time() - last_seen > 60` fires for whatever was ever seen.
    fn vanished(&mut self, expr: &Expr, binary: &Binary) {
        let Node::Binary(difference) = &bare(&binary.left).node else { return };
        let is_time = matches!(&bare(&difference.left).node, Node::Call(call) if call.name == "time");
        let Node::Selector(seen) = &bare(&difference.right).node else { return };
        let is_age = difference.operation.text() == "-" && is_time && binary.operation.text().starts_with('>');
        let name = name_of(seen).unwrap_or("");
        if is_age && (name.contains("last_seen") || name.contains("last_message") || name.contains("last_activity")) {
            self.remark(
                Some(expr),
                "this fires for everything that was ever seen and went away on purpose, until its series ends",
                "add what should be there, for example: and on(id) wanted == 1, or name those that must not vanish",
            );
        }
    }

    /// `increase(x{status="success"}[1h]) > 0` fires as long as all is well.
    fn success(&mut self, expr: &Expr, binary: &Binary) {
        let Node::Call(call) = &bare(&binary.left).node else { return };
        let is_change = matches!(call.name.as_str(), "increase" | "rate" | "irate");
        if !is_change || number(&binary.right) != Some(0.0) || !binary.operation.text().starts_with('>') {
            return;
        }
        let Some(selector) = call.arguments.first().and_then(selector) else { return };
        let is_good =
            |value: &str| matches!(value.to_lowercase().as_str(), "success" | "ok" | "succeeded" | "200" | "true");
        if let Some(label) = selector.matchers.iter().find(|m| m.op == MatchOp::Equal && is_good(&m.value)) {
            self.remark(
                Some(expr),
                format!("this fires on any {}=\"{}\", as long as all is well", label.name, label.value),
                "for something new compare with before: x unless x offset 1h; for a count too high name the limit",
            );
        }
    }

    /// Functions that are for the other kind of metric.
    fn call(&mut self, expr: &Expr, call: &Call) {
        let Some(Node::Range(selector, _)) = call.arguments.last().map(|e| &e.node) else { return };
        let Some(name) = name_of(selector) else { return };
        let kind = self.facts.kinds.get(name).copied();
        match call.name.as_str() {
            "rate" | "irate" | "increase" if kind == Some(MetricKind::Gauge) => self.remark(
                Some(expr),
                format!("{name} is a gauge: each time it falls counts as a restart from zero"),
                "use deriv() or delta() for a gauge",
            ),
            "delta" | "idelta" | "deriv" if is_counter(name) || kind == Some(MetricKind::Counter) => self.remark(
                Some(expr),
                format!("{name} is a counter: when its program restarts this falls far below zero"),
                "use increase() or rate() for a counter",
            ),
            _ => {}
        }
    }
}

fn is_comparison(binary: &Binary) -> bool {
    matches!(binary.operation.text(), "==" | "!=" | ">" | "<" | ">=" | "<=")
}

fn is_set(binary: &Binary) -> bool {
    matches!(binary.operation.text(), "and" | "or" | "unless")
}

/// Tells whether the name is one that counters have.
fn is_counter(name: &str) -> bool {
    name.ends_with("_total") || name.ends_with("_count")
}

/// Returns the selector that an expression is, brackets and functions of one range taken away.
fn plain(expr: &Expr) -> Option<&Selector> {
    match &bare(expr).node {
        Node::Call(call) if matches!(call.name.as_str(), "rate" | "irate" | "increase" | "delta") => {
            call.arguments.first().and_then(selector)
        }
        _ => selector(expr),
    }
}

fn selector(expr: &Expr) -> Option<&Selector> {
    match &bare(expr).node {
        Node::Selector(selector) | Node::Range(selector, _) => Some(selector),
        _ => None,
    }
}

fn name_of(selector: &Selector) -> Option<&str> {
    let named = selector.matchers.iter().find(|m| m.name == "__name__" && m.op == MatchOp::Equal);
    selector.name.as_deref().or_else(|| named.map(|m| m.value.as_str()))
}

/// Tells whether a text has a number right before a per cent sign: `above 5%`. What stands in a template counts not.
fn has_number_percent(text: &str) -> bool {
    text.match_indices('%').any(|(at, _)| {
        let before = text.get(..at).unwrap_or("").trim_end();
        before.ends_with(|c: char| c.is_ascii_digit()) && !before.ends_with("%")
    })
}

/// Reads a range as written; `None` where it is worked out.
fn length_s(expression: &str, start: usize, end: usize) -> Option<f64> {
    let text = expression.get(start..end)?;
    crate::model::parse_duration(text.trim()).ok().map(|d| d.as_secs_f64())
}

/// Returns the name that shares most of its words with another.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let words: BTreeSet<&str> = name.split('_').collect();
    let score = |other: &str| {
        let others: BTreeSet<&str> = other.split('_').collect();
        2000 * words.intersection(&others).count() / (words.len() + others.len()).max(1)
    };
    known
        .iter()
        .map(|k| (score(k), *k))
        .filter(|(s, _)| *s >= 1200)
        .max_by_key(|(s, k)| (*s, std::cmp::Reverse(*k)))
        .map(|(_, k)| k)
}
