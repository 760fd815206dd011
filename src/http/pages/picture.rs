//! The chart of an alarm's expression for a mail, drawn by the code of the pages.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::chart::{Chart, DIRECT_TEXTS_MAX, Ink, Limit, Line};
use super::number::{Unit, local};
use crate::model::{LABEL_NAME, Labels, Timestamp};
use crate::notify::{LegendLine, Picture};
use crate::query::promql::{Engine, Options, RangeSeries, Value};
use crate::rules::threshold;

/// How far back it goes.
const SPAN: Duration = Duration::from_secs(3 * 3600);

/// Points along it.
const POINTS: u32 = 180;

/// Lines in it, at most, as there are colours: those nearest to the limit, or beyond it.
const LINES_MAX: usize = DIRECT_TEXTS_MAX;

/// Pixels: what mails are wide, and the height of the plot.
const WIDTH: u16 = 600;
const HEIGHT: u16 = 180;

/// The largest file, so that a mail stays small; what is larger with all lines is drawn with the first alone.
const PNG_BYTES_MAX: usize = 28 << 10;

/// The longest title.
const TITLE_CHARS_MAX: usize = 120;

/// How long the question may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Draws the last three hours of an expression; of a comparison with a number its other side, and the number as a
/// limit. `None` if there is nothing to see. Asks the store: for a thread of the pool.
pub(in crate::http) fn picture(engine: &Engine, zone: &TimeZone, expression: &str, now: Timestamp) -> Option<Picture> {
    let threshold = threshold(expression);
    let measure = threshold.as_ref().map_or(expression, |t| t.measure.as_str()).trim();
    let options = Options { timeout: Some(TIMEOUT), ..Options::default() };
    let (start, step) = (now - SPAN, SPAN / POINTS);
    let answer = engine.range(measure, start, now, step, &options).ok()?;
    let Value::Matrix(mut series) = answer.value else { return None };
    let last = |s: &RangeSeries| s.points.last().map_or(f64::NEG_INFINITY, |p| p.value);
    series.sort_by(|a, b| last(b).total_cmp(&last(a)));
    if threshold.as_ref().and_then(|t| t.is_upper()) == Some(false) {
        series.reverse();
    }
    let all = series.len();
    series.truncate(LINES_MAX);
    let unit = series.first().map_or(Unit::Plain, |s| Unit::of_labels(&s.labels));
    let lines: Vec<Line> = series.into_iter().map(|s| Line { name: name_of(&s.labels), points: s.points }).collect();
    if lines.is_empty() {
        return None;
    }
    let limits: Vec<Limit> =
        threshold.iter().map(|t| Limit { value: t.limit, name: "limit".to_owned(), class: "p1" }).collect();
    let mut chart = Chart {
        title: measure,
        unit,
        start,
        end: now,
        step,
        lines: &lines,
        limits: &limits,
        bounds: None,
        height: HEIGHT,
        filled: false,
        zone,
    };
    let mut png = chart.png(WIDTH);
    if png.len() > PNG_BYTES_MAX {
        chart.lines = lines.get(..1).unwrap_or_default();
        png = chart.png(WIDTH);
    }
    if png.len() > PNG_BYTES_MAX {
        return None;
    }
    let clock = |at| local(at, zone, "%H:%M");
    Some(Picture {
        png,
        size: (WIDTH, chart.picture_height()),
        title: format!("{}, {} to {}", shortened(measure), clock(start), clock(now)),
        words: chart.summary(),
        legend: legend(&chart),
        left_out: all - chart.lines.len(),
    })
}

fn legend(chart: &Chart<'_>) -> Vec<LegendLine> {
    let lines = chart.lines.iter().enumerate().map(|(i, line)| LegendLine {
        colour: Ink::of_line(i).colour(),
        is_limit: false,
        name: line.name.clone(),
        value: line.points.last().map_or_else(String::new, |p| chart.unit.show(p.value)),
    });
    let limits = chart.limits.iter().map(|limit| LegendLine {
        colour: Ink::Limit.colour(),
        is_limit: true,
        name: limit.name.clone(),
        value: chart.unit.show(limit.value),
    });
    lines.chain(limits).collect()
}

fn shortened(measure: &str) -> String {
    let cut: String = measure.chars().take(TITLE_CHARS_MAX).collect();
    if cut.len() < measure.len() { cut + "…" } else { cut }
}

fn name_of(labels: &Labels) -> String {
    // The unit stands beside the values.
    let own = labels.iter().filter(|(name, _)| !matches!(*name, LABEL_NAME | "unit"));
    let values: Vec<&str> = own.map(|(_, value)| value).collect();
    if values.is_empty() { labels.metric_name().to_owned() } else { values.join(" ") }
}
