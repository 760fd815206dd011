//! A chart with its title, or the reason why there is none.

use super::ask::Asker;
use super::chart::{Chart, Limit, Line, Svg};
use super::number::Unit;
use super::visit::encode;
use super::window::Window;

/// Points that a chart on a page is asked for.
const POINTS: u64 = 240;
/// Lines that one panel shows.
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
}

/// A chart with its title.
#[derive(Debug, Clone)]
pub(super) struct Panel {
    /// What it shows.
    pub(super) title: String,
    /// The chart.
    pub(super) svg: Svg,
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
        let lines: Vec<Line> = series
            .into_iter()
            .take(LINES_MAX)
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
        let range = crate::model::format_duration(window.range);
        Panel {
            title: self.title.to_owned(),
            svg: if has_points { chart.svg() } else { Svg::default() },
            empty: if has_points { String::new() } else { format!("No samples in the last {range}.") },
            href: format!("/explore?q={}&range={range}", encode(self.expression)),
        }
    }
}
