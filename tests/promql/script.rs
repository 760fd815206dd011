//! Runs a script: `clear`, `load <interval>` with series, `eval instant at <time> <query>`, `eval range from <time> to
//! <time> step <interval> <query>`, each with the series that are expected, or `expect fail|warn|info|ordered|string`.

#![expect(clippy::unwrap_used, reason = "a script that cannot be read is a failed test")]

use std::path::Path;
use std::time::Duration;

use andon::model::{Labels, Timestamp, stale_nan};
use andon::query::promql::{Engine, Limits, Options, QueryResult, Value};
use andon::storage::tsdb::{Batch, Db};

/// Relative difference that is taken for rounding, as upstream's runner has it.
const TOLERANCE: f64 = 1e-6;

/// What became of a script.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) passed: usize,
    pub(super) skipped: usize,
    pub(super) failures: Vec<String>,
    pub(super) remarks: usize,
    pub(super) remarks_right: usize,
}

/// What is expected of an evaluation.
#[derive(Default)]
struct Expected {
    fails: bool,
    message: Option<String>,
    warns: Option<bool>,
    informs: Option<bool>,
    ordered: bool,
    text: Option<String>,
    scalar: Option<f64>,
    is_native: bool,
    window: Option<(i64, i64, i64)>,
    rows: Vec<(Labels, Vec<Option<f64>>)>,
}

struct Runner {
    db: Db,
    native: Vec<String>,
    outcome: Outcome,
}

pub(super) fn run_file(path: &Path) -> Outcome {
    let text = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let lines: Vec<&str> = text.lines().map(str::trim).map(|l| if l.starts_with('#') { "" } else { l }).collect();
    let mut runner = Runner { db: Db::in_memory(), native: Vec::new(), outcome: Outcome::default() };
    let mut at = 0;
    while at < lines.len() {
        let head = lines[at];
        let number = at + 1;
        at += 1;
        let mut body = Vec::new();
        if head.is_empty() {
            continue;
        }
        if head != "clear" {
            while at < lines.len() && !lines[at].is_empty() {
                body.push(lines[at]);
                at += 1;
            }
        }
        if head == "clear" {
            runner.db = Db::in_memory();
            runner.native.clear();
        } else if head.starts_with("load") {
            runner.load(head, &body);
        } else {
            match runner.eval(head, &body) {
                Ok(true) => runner.outcome.passed += 1,
                Ok(false) => runner.outcome.skipped += 1,
                Err(why) => runner.outcome.failures.push(format!("{name}:{number}: {head}: {why}")),
            }
        }
    }
    runner.outcome
}

impl Runner {
    fn load(&mut self, head: &str, body: &[&str]) {
        let (word, interval) = head.split_once(char::is_whitespace).unwrap();
        let interval = millis(interval);
        let mut batches: Vec<(Labels, Vec<Option<f64>>)> = Vec::new();
        for line in body {
            if line.contains("@st") {
                self.native.push(line.split(['{', ' ', '@']).next().unwrap().to_owned());
                continue;
            }
            let (labels, rest) = series(line);
            if rest.contains("{{") {
                self.native.push(labels.metric_name().to_owned());
                continue;
            }
            if word == "load_with_nhcb" {
                let name = labels.metric_name();
                let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
                self.native.push(base.to_owned());
            }
            // A series given twice: the last one counts.
            batches.retain(|(l, _)| *l != labels);
            batches.push((labels, values(&rest)));
        }
        let mut batch = Batch::default();
        for (labels, values) in &batches {
            for (i, value) in values.iter().enumerate().filter_map(|(i, v)| v.map(|v| (i, v))) {
                batch.push(labels, Timestamp::from_millis(i as i64 * interval), value);
            }
        }
        self.db.append(&batch).unwrap();
    }

    /// Returns whether it could be checked; an error if the answer is not what is expected.
    fn eval(&mut self, head: &str, body: &[&str]) -> Result<bool, String> {
        let mut words = head.split_whitespace();
        let kind = words.next().unwrap_or("");
        let rest = head[kind.len()..].trim_start();
        let (mode, mut rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        rest = rest.trim_start();
        let expected = expectations(kind, body);
        let take = |rest: &mut &str, key: &str| {
            let value = rest.strip_prefix(key)?.trim_start();
            let (value, after) = value.split_once(char::is_whitespace)?;
            *rest = after.trim_start();
            Some(millis(value))
        };
        let engine = self.engine();
        let options = Options::default();
        if mode == "instant" {
            let mut at = take(&mut rest, "at ").unwrap_or(0);
            if let Some((_, end, _)) = expected.window {
                at = end;
            }
            if expected.is_native || self.sees_native(rest) {
                return Ok(false);
            }
            let answer = engine.instant(rest, Timestamp::from_millis(at), &options);
            self.remarks(&expected, &answer);
            check(&expected, answer.as_ref().map_err(ToString::to_string).map(|a| &a.value), None)?;
            self.check_as_range(rest, at, &expected)?;
        } else {
            let start = take(&mut rest, "from ").unwrap_or(0);
            let end = take(&mut rest, "to ").unwrap_or(0);
            let step = take(&mut rest, "step ").unwrap_or(1);
            if expected.is_native || self.sees_native(rest) {
                return Ok(false);
            }
            let step_length = Duration::from_millis(step as u64);
            let (from, to) = (Timestamp::from_millis(start), Timestamp::from_millis(end));
            let answer = engine.range(rest, from, to, step_length, &options);
            self.remarks(&expected, &answer);
            check(&expected, answer.as_ref().map_err(ToString::to_string).map(|a| &a.value), Some((start, step)))?;
        }
        Ok(true)
    }

    /// An instant must be the same as that step of a range.
    fn check_as_range(&self, query: &str, at: i64, expected: &Expected) -> Result<(), String> {
        let depends = ["start()", "end()", "range()", "step()"].iter().any(|f| query.contains(f));
        if expected.fails || expected.ordered || expected.text.is_some() || expected.window.is_some() || depends {
            return Ok(());
        }
        let start = if at >= 60_000 { at - 60_000 } else { at };
        let (from, to) = (Timestamp::from_millis(start), Timestamp::from_millis(at + 60_000));
        let answer = self
            .engine()
            .range(query, from, to, Duration::from_secs(60), &Options::default())
            .map_err(|e| format!("in range mode: {e}"))?;
        let Value::Matrix(series) = &answer.value else { return Err("in range mode: no matrix".to_owned()) };
        let at_step: Vec<(Labels, f64)> = series
            .iter()
            .filter_map(|s| {
                let point = s.points.iter().find(|p| p.timestamp.as_millis() == at)?;
                Some((s.labels.clone(), point.value))
            })
            .collect();
        match expected.scalar {
            Some(value) => {
                let got = at_step.first().map_or(f64::NAN, |s| s.1);
                if almost(value, got) { Ok(()) } else { Err(format!("in range mode: {got}, expected {value}")) }
            }
            None => check_vector(expected, &at_step).map_err(|e| format!("in range mode: {e}")),
        }
    }

    fn engine(&self) -> Engine {
        let limits = Limits {
            lookback: Duration::from_secs(300),
            timeout: Duration::from_secs(60),
            samples_max: 10_000_000,
            default_step: Duration::from_secs(60),
        };
        Engine::new(self.db.clone(), limits)
    }

    /// Whether a query may look at native histograms or start times, which Andon does not keep.
    fn sees_native(&self, query: &str) -> bool {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let names: Vec<&str> = query.split(|c| !is_part(c)).collect();
        query.contains("start_timestamp")
            || (!self.native.is_empty()
                && (self.native.iter().any(|n| names.contains(&n.as_str()))
                    || query.contains("__name__")
                    || query.contains("{\"")
                    || query.trim_start().starts_with('{')
                    || query.contains("({")))
    }

    fn remarks(&mut self, expected: &Expected, answer: &Result<QueryResult, andon::query::promql::Error>) {
        let Ok(answer) = answer else { return };
        for (wanted, got) in [(expected.warns, &answer.warnings), (expected.informs, &answer.infos)] {
            if let Some(wanted) = wanted {
                self.outcome.remarks += 1;
                self.outcome.remarks_right += usize::from(wanted != got.is_empty());
            }
        }
    }
}

fn expectations(kind: &str, body: &[&str]) -> Expected {
    let mut expected = Expected {
        fails: kind == "eval_fail",
        ordered: kind == "eval_ordered",
        warns: (kind == "eval_warn").then_some(true),
        informs: (kind == "eval_info").then_some(true),
        ..Expected::default()
    };
    for line in body {
        if let Some(rest) = line.strip_prefix("expect ") {
            let (word, detail) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            match word {
                "fail" => {
                    expected.fails = true;
                    expected.message = detail.strip_prefix("msg:").map(|m| m.trim().to_owned());
                }
                "warn" => expected.warns = Some(true),
                "no_warn" => expected.warns = Some(false),
                "info" => expected.informs = Some(true),
                "no_info" => expected.informs = Some(false),
                "ordered" => expected.ordered = true,
                "string" => expected.text = Some(quoted(detail.trim()).0),
                "range" => {
                    let parts: Vec<&str> = detail.split_whitespace().collect();
                    expected.window = Some((millis(parts[2]), millis(parts[4]), millis(parts[6])));
                }
                _ => panic!("unknown expectation: {line}"),
            }
        } else if line.starts_with("expected_fail") {
            expected.fails = true;
        } else if line.contains("{{") {
            expected.is_native = true;
        } else if let Some(value) = number(line) {
            expected.scalar = Some(value);
        } else {
            let (labels, rest) = series(line);
            expected.rows.push((labels, values(&rest)));
        }
    }
    expected
}

fn check(expected: &Expected, answer: Result<&Value, String>, range: Option<(i64, i64)>) -> Result<(), String> {
    let value = match (expected.fails, answer) {
        (true, Ok(_)) => return Err("expected an error".to_owned()),
        (true, Err(error)) => {
            return match &expected.message {
                Some(wanted) if std::env::var("ANDON_STRICT").is_ok() && !error.ends_with(wanted.as_str()) => {
                    Err(format!("error {error:?}, expected {wanted:?}"))
                }
                _ => Ok(()),
            };
        }
        (false, Err(error)) => return Err(error),
        (false, Ok(value)) => value,
    };
    match value {
        Value::String(_, text) => match &expected.text {
            Some(wanted) if wanted == text => Ok(()),
            wanted => Err(format!("text {text:?}, expected {wanted:?}")),
        },
        Value::Scalar(sample) => match expected.scalar {
            Some(wanted) if almost(wanted, sample.value) => Ok(()),
            wanted => Err(format!("scalar {}, expected {wanted:?}", sample.value)),
        },
        Value::Vector(found) => {
            check_vector(expected, &found.iter().map(|s| (s.labels.clone(), s.sample.value)).collect::<Vec<_>>())
        }
        Value::Matrix(found) => {
            let (start, step) = match (range, expected.window) {
                (Some(range), _) => range,
                (None, Some((start, _, step))) => (start, step),
                (None, None) => return Err("unexpected matrix".to_owned()),
            };
            if found.len() != expected.rows.iter().filter(|r| r.1.iter().any(Option::is_some)).count() {
                return Err(format!("{} series, expected {}: {found:?}", found.len(), expected.rows.len()));
            }
            for (labels, values) in &expected.rows {
                let points = found.iter().find(|s| s.labels == *labels).map(|s| s.points.as_slice());
                if points.is_none() && values.iter().all(Option::is_none) {
                    continue;
                }
                let points = points.ok_or_else(|| format!("missing {labels}: {found:?}"))?;
                let wanted: Vec<(i64, f64)> =
                    values.iter().enumerate().filter_map(|(i, v)| v.map(|v| (start + i as i64 * step, v))).collect();
                let got: Vec<(i64, f64)> = points.iter().map(|p| (p.timestamp.as_millis(), p.value)).collect();
                let same =
                    wanted.len() == got.len() && wanted.iter().zip(&got).all(|(a, b)| a.0 == b.0 && almost(a.1, b.1));
                if !same {
                    return Err(format!("{labels}: {got:?}, expected {wanted:?}"));
                }
            }
            Ok(())
        }
    }
}

fn check_vector(expected: &Expected, found: &[(Labels, f64)]) -> Result<(), String> {
    if expected.scalar.is_some() {
        return Err("a vector, expected a scalar".to_owned());
    }
    if found.len() != expected.rows.len() {
        return Err(format!("{} series, expected {}: {found:?}", found.len(), expected.rows.len()));
    }
    for (i, (labels, value)) in found.iter().enumerate() {
        let at = expected.rows.iter().position(|r| r.0 == *labels).ok_or_else(|| format!("unexpected {labels}"))?;
        if expected.ordered && at != i {
            return Err(format!("{labels} is at {i}, expected at {at}"));
        }
        let wanted = expected.rows[at].1.first().copied().flatten().unwrap_or(f64::NAN);
        if !almost(wanted, *value) {
            return Err(format!("{labels}: {value}, expected {wanted}"));
        }
    }
    Ok(())
}

fn almost(a: f64, b: f64) -> bool {
    if a == b || (a.is_nan() && b.is_nan()) {
        return true;
    }
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || difference < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / (a.abs() + b.abs()) < TOLERANCE
}

/// Reads a time such as `5m`, `1h30m`, `-10s` or `7.5` (seconds), in milliseconds.
fn millis(text: &str) -> i64 {
    let text = text.trim();
    if let Some(rest) = text.strip_prefix('-') {
        return -millis(rest);
    }
    match andon::model::parse_duration(text) {
        Ok(duration) => duration.as_millis() as i64,
        Err(_) => (text.parse::<f64>().unwrap_or_else(|_| panic!("not a time: {text}")) * 1000.0).round() as i64,
    }
}

fn number(text: &str) -> Option<f64> {
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return i64::from_str_radix(hex, 16).ok().map(|n| n as f64);
    }
    text.parse().ok()
}

/// Reads `name{a="b"} ...` or `{"name", a="b"} ...` and returns the rest of the line.
fn series(line: &str) -> (Labels, String) {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let end = line.find(|c| !is_part(c)).unwrap_or(line.len());
    let mut pairs: Vec<(String, String)> = Vec::new();
    if end > 0 {
        pairs.push(("__name__".to_owned(), line[..end].to_owned()));
    }
    let mut rest = &line[end..];
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            let name = if rest.starts_with(['"', '\'', '`']) {
                let (name, after) = quoted(rest);
                rest = after;
                name
            } else {
                let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
                let name = rest[..end].to_owned();
                rest = &rest[end..];
                name
            };
            rest = rest.trim_start();
            match rest.strip_prefix('=') {
                Some(after) => {
                    let (value, after) = quoted(after.trim_start());
                    rest = after;
                    pairs.push((name, value));
                }
                None => pairs.push(("__name__".to_owned(), name)),
            }
        }
    }
    (Labels::from_pairs(pairs), rest.trim().to_owned())
}

/// Reads a quoted text and returns what follows.
fn quoted(text: &str) -> (String, &str) {
    let quote = text.chars().next().unwrap();
    let mut value = String::new();
    let mut chars = text[1..].char_indices();
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return (value, &text[at + 2..]);
        }
        if c != '\\' || quote == '`' {
            value.push(c);
            continue;
        }
        let (_, escaped) = chars.next().unwrap();
        let mut code = |digits: usize| {
            let hex: String = chars.by_ref().take(digits).map(|(_, c)| c).collect();
            char::from_u32(u32::from_str_radix(&hex, 16).unwrap()).unwrap_or('\u{fffd}')
        };
        value.push(match escaped {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'x' => code(2),
            'u' => code(4),
            'U' => code(8),
            other => other,
        });
    }
    panic!("text does not end: {text}");
}

/// Reads values: `1`, `1x3`, `1+2x3`, `_`, `_x3`, `stale`, `NaN`, `Inf`.
fn values(text: &str) -> Vec<Option<f64>> {
    let mut found = Vec::new();
    for word in text.split_whitespace() {
        let (start, times) = match word.rsplit_once('x') {
            Some((start, times)) if times.bytes().all(|b| b.is_ascii_digit()) => (start, times.parse().unwrap()),
            _ => (word, 0_usize),
        };
        if start == "_" {
            found.extend(std::iter::repeat_n(None, times.max(1)));
        } else if start == "stale" {
            found.extend(std::iter::repeat_n(Some(stale_nan()), times + 1));
        } else {
            let (mut value, step) = start_and_step(start);
            for _ in 0..=times {
                found.push(Some(value));
                value += step;
            }
        }
    }
    found
}

/// Splits `1+2`, `-1-2`, `1e+10` into value and step.
fn start_and_step(text: &str) -> (f64, f64) {
    if let Some(value) = number(text) {
        return (value, 0.0);
    }
    let signs = text.char_indices().skip(1).filter(|(_, c)| matches!(c, '+' | '-'));
    for (at, sign) in signs {
        if let (Some(value), Some(step)) = (number(&text[..at]), number(&text[at + 1..])) {
            return (value, if sign == '-' { -step } else { step });
        }
    }
    panic!("not a value: {text}");
}
