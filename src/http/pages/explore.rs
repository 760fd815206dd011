//! Questions in PromQL: a chart over time and a table at its end. The address is the whole state.

use std::collections::BTreeSet;
use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::ask::{Asker, ask};
use super::chart::{Chart, Line, Svg};
use super::layout::Frame;
use super::number::{Unit, ago, brief, exact};
use super::visit::{Visit, encode};
use super::window::Window;
use super::{failed, page};
use crate::http::AppState;
use crate::model::{LABEL_NAME, Labels, Matcher, Timestamp, format_duration, parse_duration};
use crate::query::promql::{Error, QueryResult, RangeSeries, Value, parse_selector};

/// Points of a line, unless the address names a step.
const POINTS: u64 = 240;
/// Points of a line, at most.
const POINTS_MAX: u64 = 2000;
/// Lines drawn.
const LINES_MAX: usize = 16;
/// Rows of the table.
const ROWS_MAX: usize = 200;
/// Metric names listed.
const NAMES_MAX: usize = 400;
/// Steps that read well, in seconds.
const STEPS: [u64; 13] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 900, 1800, 3600, 21_600];

/// A row of the table: one series.
#[derive(Debug)]
struct Row {
    /// Class of its line; empty if it is not drawn.
    class: String,
    name: String,
    labels: Vec<(String, String)>,
    value: String,
    exact: String,
    low: String,
    high: String,
    mean: String,
}

/// A mistake in the expression, with the place underlined.
#[derive(Debug, Default)]
struct Mistake {
    before: String,
    at: String,
    after: String,
    message: String,
}

/// A metric name with what is known about it.
#[derive(Debug)]
struct Name {
    name: String,
    kind: &'static str,
    help: String,
    href: String,
}

/// What came of the question.
#[derive(Debug, Default)]
struct Answer {
    svg: Svg,
    /// Labels that all series share.
    common: Vec<(String, String)>,
    rows: Vec<Row>,
    rows_more: usize,
    lines_more: usize,
    scalar: String,
    remarks: Vec<String>,
    mistake: Option<Mistake>,
    failure: String,
    /// Why there is nothing, and what to do.
    empty: String,
    /// Names that are meant perhaps.
    nearest: Vec<(String, String)>,
    figures: String,
}

#[derive(Debug, Template)]
#[template(path = "pages/explore.html")]
struct Explore {
    frame: Frame,
    window: Window,
    expression: String,
    step: String,
    step_used: String,
    find: String,
    names: Vec<Name>,
    names_all: usize,
    answer: Answer,
    words: String,
}

/// Answers `GET /explore`.
pub(super) async fn explore(State(state): State<AppState>, visit: Visit) -> Response {
    let expression = visit.params.get("q").unwrap_or("").trim().to_owned();
    let refresh_s = if expression.is_empty() { 0 } else { 10 };
    let window = Window::read(&visit.params, Duration::from_secs(3600), visit.now);
    let frame = Frame::new(&state, &visit, "/explore", "Explore", if window.is_live { refresh_s } else { 0 });
    let asked_step = visit.params.get("step").and_then(|s| parse_duration(s).ok()).filter(|s| !s.is_zero());
    let step = asked_step.unwrap_or_else(|| round_step(window.step(POINTS))).max(window.step(POINTS_MAX));
    let find = visit.params.get("find").unwrap_or("").to_owned();
    let (shown, asked, wanted) = (window.clone(), expression.clone(), find.clone());
    let found = ask(&state, visit.now, move |asker| {
        let (names, names_all) = names(asker, &wanted, &shown);
        let answer = if asked.is_empty() { Answer::default() } else { answer(asker, &asked, &shown, step) };
        (names, names_all, answer)
    });
    let Ok((names, names_all, answer)) = found.await else { return failed(frame) };
    page(&Explore {
        words: window.words(&state.info.time_zone),
        step: asked_step.map_or_else(String::new, format_duration),
        step_used: format_duration(step),
        frame,
        window,
        expression,
        find,
        names,
        names_all,
        answer,
    })
}

fn round_step(step: Duration) -> Duration {
    STEPS.into_iter().map(Duration::from_secs).find(|s| *s >= step).unwrap_or(step)
}

/// Returns the metric names of the window that hold the text, in the name or in the help, and how many there
/// are without it.
fn names(asker: &Asker, find: &str, window: &Window) -> (Vec<Name>, usize) {
    let Ok(all) = asker.state.db.querier().label_values(LABEL_NAME, &[], window.start, window.end) else {
        return (Vec::new(), 0);
    };
    let metadata: std::collections::BTreeMap<String, _> = asker.state.db.metadata().into_iter().collect();
    let find = find.to_lowercase();
    let count = all.len();
    let found = all.into_iter().filter_map(|name| {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
        let known = metadata.get(&name).or_else(|| metadata.get(base));
        let help = known.map_or("", |m| m.help.as_str());
        if !name.to_lowercase().contains(&find) && !help.to_lowercase().contains(&find) {
            return None;
        }
        let kind = known.map_or("", |m| m.kind.as_str());
        let is_counter = name.ends_with("_total") || kind == "counter";
        let expression = if is_counter { format!("rate({name}[5m])") } else { name.clone() };
        let range = format_duration(window.range);
        Some(Name { kind, help: help.to_owned(), href: format!("?q={}&range={range}", encode(&expression)), name })
    });
    (found.take(NAMES_MAX).collect(), count)
}

fn answer(asker: &Asker, expression: &str, window: &Window, step: Duration) -> Answer {
    let instant = asker.state.engine.instant(expression, window.end, asker.options());
    let instant = match instant {
        Ok(result) => result,
        Err(error) => return refused(expression, &error),
    };
    let mut answer =
        Answer { remarks: [instant.warnings.clone(), instant.infos.clone()].concat(), ..Answer::default() };
    let courses = match &instant.value {
        Value::Scalar(sample) => {
            answer.scalar = exact(sample.value);
            over_time(asker, expression, window, step)
        }
        Value::Vector(_) => over_time(asker, expression, window, step),
        Value::String(_, text) => {
            answer.scalar = text.clone();
            return answer;
        }
        Value::Matrix(series) => Ok(series.clone()),
    };
    let courses = match courses {
        Ok(courses) => courses,
        Err(error) => return refused(expression, &error),
    };
    fill(&mut answer, asker, expression, window, step, &instant, courses);
    answer
}

fn over_time(asker: &Asker, expression: &str, window: &Window, step: Duration) -> Result<Vec<RangeSeries>, Error> {
    let step_ms = i64::try_from(step.as_millis()).unwrap_or(i64::MAX).max(1);
    let align = |t: Timestamp| Timestamp::from_millis(t.as_millis().div_euclid(step_ms) * step_ms);
    let result =
        asker.state.engine.range(expression, align(window.start) + step, align(window.end), step, asker.options())?;
    Ok(match result.value {
        Value::Matrix(series) => series,
        Value::Scalar(_) | Value::String(..) | Value::Vector(_) => Vec::new(),
    })
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
    answer.figures = format!("{} series, {} samples read", courses.len(), instant.samples);
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
        Error::Execution(_) | Error::Limit(_) | Error::Timeout | Error::Cancelled | Error::Storage(_) => {
            let advice = match error {
                Error::Timeout | Error::Limit(_) => " Try a shorter time range or fewer series.",
                _ => "",
            };
            Answer { failure: format!("{error}.{advice}"), ..Answer::default() }
        }
    }
}

/// Splits an expression at a mistake: what is before, the word at it, what follows.
fn underline(expression: &str, line: usize, column: usize, message: &str) -> Mistake {
    if line == 0 || column == 0 {
        return Mistake { before: expression.to_owned(), message: message.to_owned(), ..Mistake::default() };
    }
    let line_start: usize = expression.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let rest = expression.get(line_start..).unwrap_or("");
    let start = line_start + rest.char_indices().nth(column - 1).map_or(rest.len(), |(i, _)| i);
    let tail = expression.get(start..).unwrap_or("");
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let word: usize = tail.chars().take_while(|c| is_word(*c)).map(char::len_utf8).sum();
    let length = if word > 0 { word } else { tail.chars().next().map_or(0, char::len_utf8) };
    let (at, after) = tail.split_at(length);
    Mistake {
        before: expression.get(..start).unwrap_or("").to_owned(),
        at: if at.is_empty() { "\u{a0}".to_owned() } else { at.to_owned() },
        after: after.to_owned(),
        message: message.to_owned(),
    }
}

/// Finds out why there is nothing: never there, not now, or left out by a condition.
fn explain_nothing(answer: &mut Answer, asker: &Asker, expression: &str, window: &Window) {
    let querier = asker.state.db.querier();
    let everything = (Timestamp::from_millis(0), window.end + Duration::from_secs(600));
    let known = |matchers: &[Matcher]| {
        querier.series(matchers, everything.0, everything.1).is_ok_and(|series| !series.is_empty())
    };
    let Ok(matchers) = parse_selector(expression) else {
        answer.empty = "The expression is right, but gives no series in this time range.".to_owned();
        return;
    };
    let name = matchers.iter().find(|m| m.name() == LABEL_NAME).map_or("", Matcher::value);
    if known(&matchers) {
        let newest = asker.latest(expression).into_iter().map(|l| l.at).max();
        let when = newest.map_or_else(|| "more than 6 h ago".to_owned(), |t| ago(t, asker.now));
        answer.empty = format!("No samples in this time range. The newest came {when}.");
    } else if !name.is_empty() && known(&[Matcher::equal(LABEL_NAME, name)]) {
        answer.empty = format!("{name} has series, but none with these labels.");
    } else {
        answer.empty = format!("There has never been a metric {name} on this box.");
        let names = querier.label_values(LABEL_NAME, &[], everything.0, everything.1).unwrap_or_default();
        let nearest = nearest(name, &names).into_iter();
        answer.nearest = nearest.map(|n| (n.to_owned(), format!("?q={}", encode(n)))).collect();
    }
}

/// Returns up to five names that share the most pairs of letters with `name`.
fn nearest<'a>(name: &str, names: &'a [String]) -> Vec<&'a str> {
    let pairs = |text: &str| -> BTreeSet<(char, char)> { text.chars().zip(text.chars().skip(1)).collect() };
    let wanted = pairs(name);
    let mut scored: Vec<(usize, &str)> = names
        .iter()
        .map(|candidate| {
            let have = pairs(candidate);
            // Dice's measure in thousandths.
            (2000 * wanted.intersection(&have).count() / (wanted.len() + have.len()).max(1), candidate.as_str())
        })
        .filter(|(score, _)| *score > 400)
        .collect();
    scored.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    scored.into_iter().take(5).map(|(_, n)| n).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(expression: &str, line: usize, column: usize, expected: (&str, &str, &str)) {
        let mistake = underline(expression, line, column, "m");
        assert_eq!((mistake.before.as_str(), mistake.at.as_str(), mistake.after.as_str()), expected);
    }

    #[test]
    fn the_word_at_a_mistake_is_underlined() {
        check("sum(foo bar)", 1, 9, ("sum(foo ", "bar", ")"));
        check("sum(foo", 1, 8, ("sum(foo", "\u{a0}", ""));
        check("a +\n  b ] c", 2, 5, ("a +\n  b ", "]", " c"));
        check("ü ]", 1, 3, ("ü ", "]", ""));
        check("x", 0, 0, ("x", "", ""));
    }

    #[test]
    fn a_name_with_a_slip_finds_its_neighbours() {
        let names: Vec<String> =
            ["factory_line_state", "factory_oee_overall", "node_load1"].iter().map(|n| (*n).to_owned()).collect();
        assert_eq!(nearest("factory_line_stat", &names).first(), Some(&"factory_line_state"));
        assert!(nearest("zzz", &names).is_empty());
    }

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
