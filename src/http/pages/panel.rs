//! A chart with its title, or the reason why there is none.

use super::ask::Asker;
use super::chart::{self, Chart, Limit, Line, Svg};
use super::number::Unit;
use super::visit::encode;
use super::window::Window;
use crate::query::promql::RangeSeries;

/// Points that a chart on a page is asked for.
const POINTS: u64 = 240;
/// Lines that one panel shows unless it asks for fewer.
const LINES_MAX: usize = 8;

/// A question whose answer is drawn.
#[derive(Debug, Clone, Default)]
pub(super) struct Question<'a> {
    /// What it shows.
    pub(super) title: &'a str,
    /// PromQL.
    pub(super) expression: &'a str,
    /// What the values count.
    pub(super) unit: Unit,
    /// The label that names the lines; empty if there is only one, which gets the title.
    pub(super) label: &'a str,
    /// Ends of the axis.
    pub(super) bounds: Option<(f64, f64)>,
    /// Whether the space below a single line is filled.
    pub(super) is_filled: bool,
    /// Limits to draw.
    pub(super) limits: &'a [Limit],
    /// Lines at most, those with the highest means; 0 for as many as a panel has.
    pub(super) lines_max: usize,
}

/// A chart with its title.
#[derive(Debug, Clone)]
pub(super) struct Panel {
    /// What it shows.
    pub(super) title: String,
    /// The chart.
    pub(super) svg: Svg,
    /// Classes and names of the lines, where they are too many to stand beside them.
    pub(super) legend: Vec<(usize, String)>,
    /// Why there is nothing; empty if there is something.
    pub(super) empty: String,
    /// The same question on the page for questions.
    pub(super) href: String,
}

impl Question<'_> {
    /// Asks and draws.
    pub(super) fn panel(&self, asker: &Asker, window: &Window) -> Panel {
        let step = window.step(POINTS);
        let series = asker.range(self.expression, window, step);
        let lines_max = if self.lines_max == 0 { LINES_MAX } else { self.lines_max };
        let lines: Vec<Line> = highest(series, lines_max)
            .into_iter()
            .map(|s| {
                let name = s.labels.get(self.label).filter(|n| !n.is_empty()).unwrap_or("");
                Line { name: name.to_owned(), points: s.points }
            })
            .collect();
        let has_points = lines.iter().any(|l| l.points.iter().any(|p| p.value.is_finite()));
        let chart = Chart {
            title: self.title,
            unit: self.unit,
            start: window.start,
            end: window.end,
            step,
            lines: &lines,
            limits: self.limits,
            bounds: self.bounds,
            height: 120,
            filled: self.is_filled,
            zone: &asker.state.info.time_zone,
        };
        let is_crowded = lines.len() > chart::DIRECT_TEXTS_MAX;
        let legend = lines.iter().enumerate().filter(|_| is_crowded).map(|(i, l)| (i % 8 + 1, l.name.clone()));
        let range = crate::model::format_duration(window.range);
        Panel {
            title: self.title.to_owned(),
            legend: legend.collect(),
            svg: if has_points { chart.svg() } else { Svg::default() },
            empty: if has_points { String::new() } else { format!("No samples in the last {range}.") },
            href: format!("/explore?q={}&range={range}", encode(self.expression)),
        }
    }
}

/// Keeps the series with the highest means, in the order they came.
fn highest(series: Vec<RangeSeries>, most: usize) -> Vec<RangeSeries> {
    #[expect(clippy::cast_precision_loss, reason = "some hundred points")]
    let mean = |s: &RangeSeries| {
        let values = || s.points.iter().map(|p| p.value).filter(|v| v.is_finite());
        values().sum::<f64>() / values().count().max(1) as f64
    };
    let mut means: Vec<f64> = series.iter().map(mean).collect();
    means.sort_by(|a, b| b.total_cmp(a));
    let least = means.get(most.saturating_sub(1)).copied().unwrap_or(f64::NEG_INFINITY);
    series.into_iter().filter(|s| mean(s) >= least).take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Labels, Sample, Timestamp};

    #[test]
    fn the_highest_series_stay_in_their_order() {
        let series = |name: &str, value| RangeSeries {
            labels: Labels::from_pairs([("n", name)]),
            points: vec![Sample::new(Timestamp::from_millis(0), value)],
        };
        let all = vec![series("a", 2.0), series("b", 1.0), series("c", 3.0)];
        let kept: Vec<String> = highest(all, 2).iter().map(|s| s.labels.get("n").unwrap().to_owned()).collect();
        assert_eq!(kept, ["a", "c"]);
    }
}
