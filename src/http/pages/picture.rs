//! The chart of an alarm's expression for a mail, drawn by the code of the pages.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::chart::{Chart, Limit, Line, alone};
use super::number::Unit;
use crate::model::{LABEL_NAME, Labels, Timestamp};
use crate::query::promql::{self, Engine, Options, Value};

/// How far back it goes.
const SPAN: Duration = Duration::from_secs(3 * 3600);

/// Points along it.
const POINTS: u64 = 180;

/// Lines in it, at most: those with the highest newest values.
const LINES_MAX: usize = 8;

/// How long the question may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Draws the last three hours of an expression; of a comparison with a number its other side, and the number as a
/// limit. `None` if there is nothing to see. Asks the store: for a thread of the pool.
pub(in crate::http) fn picture(engine: &Engine, zone: &TimeZone, expression: &str, now: Timestamp) -> Option<String> {
    let (subject, limit) = condition(expression);
    let options = Options { timeout: Some(TIMEOUT), ..Options::default() };
    let step = SPAN / u32::try_from(POINTS).unwrap_or(1);
    let answer = engine.range(&subject, now - SPAN, now, step, &options).ok()?;
    let Value::Matrix(mut series) = answer.value else { return None };
    let last = |points: &[crate::model::Sample]| points.last().map_or(f64::NEG_INFINITY, |p| p.value);
    series.sort_by(|a, b| last(&b.points).total_cmp(&last(&a.points)));
    series.truncate(LINES_MAX);
    let unit = series.first().map_or(Unit::Plain, |s| Unit::of_labels(&s.labels));
    let lines: Vec<Line> = series.into_iter().map(|s| Line { name: name_of(&s.labels), points: s.points }).collect();
    if lines.is_empty() {
        return None;
    }
    let limits: Vec<Limit> =
        limit.into_iter().map(|value| Limit { value, name: "limit".to_owned(), class: "p1" }).collect();
    Some(alone(&Chart {
        title: expression,
        unit,
        start: now - SPAN,
        end: now,
        step,
        lines: &lines,
        limits: &limits,
        bounds: None,
        height: 180,
        filled: false,
        zone,
    }))
}

fn name_of(labels: &Labels) -> String {
    let values: Vec<&str> = labels.iter().filter(|(name, _)| *name != LABEL_NAME).map(|(_, value)| value).collect();
    if values.is_empty() { labels.metric_name().to_owned() } else { values.join(" ") }
}

/// Splits a comparison with a number; what is none comes back whole.
fn condition(expression: &str) -> (String, Option<f64>) {
    let whole = || (expression.to_owned(), None);
    let mut depth = 0;
    let mut quote = None;
    let mut found = None;
    for (at, c) in expression.char_indices() {
        match (quote, c) {
            (Some(end), c) if c == end => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth -= 1,
            (None, '<' | '>') if depth == 0 => found = Some(at),
            (None, _) => {}
        }
    }
    let Some(at) = found else { return whole() };
    let (subject, rest) = expression.split_at(at);
    let limit = rest.trim_start_matches(['<', '>', '=']).trim_start();
    let limit: Result<f64, _> = limit.strip_prefix("bool").unwrap_or(limit).trim().parse();
    match limit {
        // `a > b and c > 1` is no comparison of `a > b and c`.
        Ok(limit) if promql::check(subject).is_ok() && !has_set_operator(subject) => (subject.to_owned(), Some(limit)),
        _ => whole(),
    }
}

fn has_set_operator(text: &str) -> bool {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).any(|w| matches!(w, "and" | "or" | "unless"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(expression: &str, subject: &str, limit: Option<f64>) {
        assert_eq!(condition(expression), (subject.to_owned(), limit));
    }

    #[test]
    fn a_comparison_with_a_number_is_its_other_side_and_a_limit() {
        check("temp > 80", "temp ", Some(80.0));
        check("rate(a{b=\">\"}[5m]) >= bool 0.5", "rate(a{b=\">\"}[5m]) ", Some(0.5));
        check("(a > 5)", "(a > 5)", None);
        check("a > b", "a > b", None);
        check("a > 1 and b > 2", "a > 1 and b > 2", None);
        check("up == 0", "up == 0", None);
        check("vector(1)", "vector(1)", None);
    }
}
