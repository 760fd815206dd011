//! What came of one expression: a chart over the window and a table at its end.

use std::time::Duration;

use super::nothing::explain_nothing;
use super::tree::{Part, parts};
use crate::http::pages::ask::Asker;
use crate::http::pages::chart::{Chart, Line, Svg};
use crate::http::pages::mistake::{Mistake, underline};
use crate::http::pages::number::{Unit, brief, exact};
use crate::http::pages::window::Window;
use crate::model::{LABEL_NAME, Labels, Timestamp};
use crate::query::promql::{Error, Options, QueryResult, RangeSeries, Value};

/// Lines drawn.
const LINES_MAX: usize = 16;
/// Rows of the table.
const ROWS_MAX: usize = 200;

/// A row of the table: one series.
#[derive(Debug)]
pub(super) struct Row {
    /// Class of its line; empty if it is not drawn.
    pub(super) class: String,
    pub(super) name: String,
    pub(super) labels: Vec<(String, String)>,
    pub(super) value: String,
    pub(super) exact: String,
    pub(super) low: String,
    pub(super) high: String,
    pub(super) mean: String,
}

/// What came of a question.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) svg: Svg,
    /// Labels that all series share.
    pub(super) common: Vec<(String, String)>,
    pub(super) rows: Vec<Row>,
    pub(super) rows_more: usize,
    pub(super) lines_more: usize,
    pub(super) scalar: String,
    pub(super) remarks: Vec<String>,
    pub(super) mistake: Option<Mistake>,
    pub(super) failure: String,
    /// Why there is nothing, and what to do.
    pub(super) empty: String,
    /// Names that are meant perhaps.
    pub(super) nearest: Vec<(String, String)>,
    pub(super) figures: String,
    /// What the parts of the expression took, each before those it is made of.
    pub(super) parts: Vec<Part>,
    /// What it took as a whole.
    pub(super) took: String,
}

/// Asks and draws.
pub(super) fn answer(asker: &Asker, expression: &str, window: &Window, step: Duration) -> Answer {
    let instant = match asker.state.engine.instant(expression, window.end, asker.options()) {
        Ok(result) => result,
        Err(error) => return refused(expression, &error),
    };
    let mut answer =
        Answer { remarks: [instant.warnings.clone(), instant.infos.clone()].concat(), ..Answer::default() };
    match &instant.value {
        Value::Scalar(sample) => answer.scalar = exact(sample.value),
        Value::String(_, text) => answer.scalar = text.clone(),
        Value::Vector(_) | Value::Matrix(_) => {}
    }
    let courses = match &instant.value {
        Value::String(..) => return answer,
        Value::Matrix(series) => {
            answer.figures = format!("{} samples read", instant.samples);
            series.clone()
        }
        Value::Scalar(_) | Value::Vector(_) => {
            let traced = Options { is_traced: true, ..asker.options().clone() };
            match over_time(asker, expression, window, step, &traced) {
                Ok(result) => {
                    answer.parts = result.trace.as_ref().map(parts).unwrap_or_default();
                    answer.took = Unit::Seconds.show((result.stats.preparing + result.stats.evaluating).as_secs_f64());
                    answer.figures = format!("{} samples read", result.samples);
                    matrix(result.value)
                }
                Err(error) => return refused(expression, &error),
            }
        }
    };
    fill(&mut answer, asker, expression, window, step, &instant, courses);
    answer
}

/// Asks for the course of an expression over a window, at whole steps since the epoch.
pub(super) fn over_time(
    asker: &Asker,
    expression: &str,
    window: &Window,
    step: Duration,
    options: &Options,
) -> Result<QueryResult, Error> {
    let step_ms = i64::try_from(step.as_millis()).unwrap_or(i64::MAX).max(1);
    let align = |t: Timestamp| Timestamp::from_millis(t.as_millis().div_euclid(step_ms) * step_ms);
    asker.state.engine.range(expression, align(window.start) + step, align(window.end), step, options)
}

/// Returns the series of an answer over time.
pub(super) fn matrix(value: Value) -> Vec<RangeSeries> {
    match value {
        Value::Matrix(series) => series,
        Value::Scalar(_) | Value::String(..) | Value::Vector(_) => Vec::new(),
    }
}

fn fill(
    answer: &mut Answer,
    asker: &Asker,
    expression: &str,
    window: &Window,
    step: Duration,
    instant: &QueryResult,
    courses: Vec<RangeSeries>,
) {
    if courses.is_empty() && answer.scalar.is_empty() {
        explain_nothing(answer, asker, expression, window);
        return;
    }
    let unit = unit_of(expression, &courses);
    let common = common_labels(courses.iter().map(|s| &s.labels));
    let now_of = |labels: &Labels| match &instant.value {
        Value::Vector(series) => series.iter().find(|s| s.labels == *labels).map(|s| s.sample.value),
        Value::Scalar(_) | Value::String(..) | Value::Matrix(_) => None,
    };
    answer.figures = format!("{} series, {}", courses.len(), answer.figures);
    answer.rows_more = courses.len().saturating_sub(ROWS_MAX);
    answer.lines_more = courses.len().saturating_sub(LINES_MAX);
    answer.rows = courses
        .iter()
        .take(ROWS_MAX)
        .enumerate()
        .map(|(i, s)| table_row(i, s, &common, unit, now_of(&s.labels)))
        .collect();
    let lines: Vec<Line> = courses
        .into_iter()
        .take(LINES_MAX)
        .map(|s| Line { name: short_name(&s.labels, &common), points: s.points })
        .collect();
    answer.common = common.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    let chart = Chart {
        title: expression,
        unit,
        start: window.start,
        end: window.end,
        step,
        lines: &lines,
        limits: &[],
        bounds: None,
        height: 260,
        filled: lines.len() == 1,
        zone: &asker.state.info.time_zone,
    };
    answer.svg = chart.svg();
}

fn table_row(index: usize, series: &RangeSeries, common: &Labels, unit: Unit, now: Option<f64>) -> Row {
    let values = || series.points.iter().map(|p| p.value).filter(|v| v.is_finite());
    #[expect(clippy::cast_precision_loss, reason = "at most some thousand points")]
    let mean = values().sum::<f64>() / values().count().max(1) as f64;
    let show = |v: f64| if v.is_finite() { unit.show(v) } else { "–".to_owned() };
    let newest = now.or_else(|| values().next_back());
    let rest = series.labels.iter().filter(|(n, _)| *n != LABEL_NAME && common.get(n).is_none());
    Row {
        class: if index < LINES_MAX { format!("s{}", index % 8 + 1) } else { String::new() },
        name: if common.get(LABEL_NAME).is_none() { series.labels.metric_name().to_owned() } else { String::new() },
        labels: rest.map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
        value: newest.map_or_else(|| "–".to_owned(), brief),
        exact: newest.map_or_else(String::new, exact),
        low: show(values().fold(f64::INFINITY, f64::min)),
        high: show(values().fold(f64::NEG_INFINITY, f64::max)),
        mean: if values().next().is_some() { show(mean) } else { "–".to_owned() },
    }
}

/// Returns the pairs that all label sets share; none if there is one set only, except its name.
fn common_labels<'a>(mut all: impl Iterator<Item = &'a Labels>) -> Labels {
    let Some(first) = all.next() else { return Labels::empty() };
    let mut common = first.clone();
    let mut count = 1;
    for labels in all {
        count += 1;
        let shared: Vec<String> =
            common.iter().filter(|(n, v)| labels.get(n) == Some(v)).map(|(n, _)| n.to_owned()).collect();
        common = common.keep(&shared);
    }
    if count == 1 { common.keep(&[LABEL_NAME]) } else { common }
}

/// Returns what tells a series from the others, in a few letters.
fn short_name(labels: &Labels, common: &Labels) -> String {
    let rest: Vec<&str> = labels.iter().filter(|(n, _)| common.get(n).is_none()).map(|(_, v)| v).collect();
    if rest.is_empty() { labels.metric_name().to_owned() } else { rest.join(" ") }
}

/// Guesses what the values count: by the names of the series, or of the metrics in the expression.
fn unit_of(expression: &str, courses: &[RangeSeries]) -> Unit {
    let is_rate = ["rate(", "irate(", "deriv("].iter().any(|f| expression.contains(f));
    let first = courses.first().map(|s| &s.labels);
    if let Some(labels) = first.filter(|l| !l.metric_name().is_empty()) {
        return Unit::of_labels(labels);
    }
    let is_plain = !expression.contains(['/', '*', '-']) && !expression.starts_with("count");
    let metric = words(expression).find(|w| w.contains('_')).filter(|_| is_plain).unwrap_or("");
    match (Unit::of_metric(metric), is_rate) {
        (Unit::Bytes, true) => Unit::BytesPerSecond,
        (Unit::Seconds, true) => Unit::Plain,
        (unit, _) => unit,
    }
}

fn words(expression: &str) -> impl Iterator<Item = &str> {
    expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':').filter(|w| !w.is_empty())
}

fn refused(expression: &str, error: &Error) -> Answer {
    match error {
        Error::Parse { line, column, message } => {
            Answer { mistake: Some(underline(expression, *line, *column, message)), ..Answer::default() }
        }
        Error::Execution(_)
        | Error::Limit(_)
        | Error::Crowded
        | Error::Timeout
        | Error::Cancelled
        | Error::Storage(_) => {
            let advice = match error {
                Error::Timeout | Error::Limit(_) => " Try a shorter time range or fewer series.",
                _ => "",
            };
            Answer { failure: format!("{error}.{advice}"), ..Answer::default() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_all_share_are_told_once() {
        let a = Labels::from_pairs([("__name__", "up"), ("job", "a"), ("instance", "x")]);
        let b = Labels::from_pairs([("__name__", "up"), ("job", "b"), ("instance", "x")]);
        let common = common_labels([&a, &b].into_iter());
        assert_eq!((common.get("instance"), common.get("job")), (Some("x"), None));
        assert_eq!(short_name(&a, &common), "a");
        assert_eq!(common_labels([&a].into_iter()).get("job"), None);
    }
}
