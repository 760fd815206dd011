//! A chart of lines over time: what stands where. `vector.rs` and `image.rs` write it down.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::scale::{Scale, thin, time_ticks};
use super::{Svg, image, vector};
use crate::http::pages::number::{Unit, local};
use crate::model::{Sample, Timestamp};

/// Columns that lines are thinned to; more than that no screen of ours shows.
const COLUMNS: i64 = 480;
/// Pixels above the plot, for the topmost tick's text.
pub(super) const TOP: u16 = 16;
/// Pixels below the plot, for the clock.
pub(super) const BOTTOM: u16 = 20;
/// Pixels that two texts at the lines' ends keep between them.
pub(super) const TEXT_HEIGHT: f64 = 15.0;
/// Lines that get their text at the end; more have a table below.
pub(in crate::http::pages) const DIRECT_TEXTS_MAX: usize = 4;

/// One line of a chart.
#[derive(Debug, Clone, Default)]
pub(in crate::http::pages) struct Line {
    /// Its name; from outside.
    pub(in crate::http::pages) name: String,
    /// Its points, rising in time; what is not a number is a gap.
    pub(in crate::http::pages) points: Vec<Sample>,
}

/// A value that something should stay below or above.
#[derive(Debug, Clone)]
pub(in crate::http::pages) struct Limit {
    /// Where.
    pub(in crate::http::pages) value: f64,
    /// What it is: `warning`, `target`.
    pub(in crate::http::pages) name: String,
    /// Class of its stroke: `p1`, `p2`, `target`.
    pub(in crate::http::pages) class: &'static str,
}

/// A chart of lines over time.
#[derive(Debug, Clone)]
pub(in crate::http::pages) struct Chart<'a> {
    /// What it shows, for people who do not see it.
    pub(in crate::http::pages) title: &'a str,
    /// What its values count.
    pub(in crate::http::pages) unit: Unit,
    /// Left end.
    pub(in crate::http::pages) start: Timestamp,
    /// Right end.
    pub(in crate::http::pages) end: Timestamp,
    /// Distance of points; a longer distance is a gap.
    pub(in crate::http::pages) step: Duration,
    /// Lines, in the order of their colours.
    pub(in crate::http::pages) lines: &'a [Line],
    /// Limits to draw.
    pub(in crate::http::pages) limits: &'a [Limit],
    /// Ends of the axis, where they are known beforehand.
    pub(in crate::http::pages) bounds: Option<(f64, f64)>,
    /// Pixels of height of the plot itself.
    pub(in crate::http::pages) height: u16,
    /// Whether the space below a single line is filled.
    pub(in crate::http::pages) filled: bool,
    /// Zone of the clock below.
    pub(in crate::http::pages) zone: &'a TimeZone,
}

/// A chart worked out: what stands where.
///
/// Places from left to right are shares of the width. Those of values are shares of the plot's height, from its top;
/// those of ticks and texts are pixels from the top of the picture.
#[derive(Debug)]
pub(super) struct Plot<'a> {
    pub(super) chart: &'a Chart<'a>,
    /// Values at the bottom and the top.
    pub(super) ends: (f64, f64),
    /// The lines of the grid, with their texts.
    pub(super) grid: Vec<(f64, String)>,
    /// Moments below the plot, with their texts.
    pub(super) clock: Vec<(f64, String)>,
    /// Stretches in which no line has a point: from where to where.
    pub(super) gaps: Vec<(f64, f64)>,
    /// Places of the limits.
    pub(super) limits: Vec<f64>,
    /// Of each line the runs of points that are joined, none of them empty.
    pub(super) runs: Vec<Vec<Vec<(f64, f64)>>>,
    /// Texts beside the ends of the lines, from the top down; none if there are too many lines.
    pub(super) texts: Vec<EndText<'a>>,
}

/// What stands beside the end of a line.
#[derive(Debug)]
pub(super) struct EndText<'a> {
    pub(super) y: f64,
    /// Which line.
    pub(super) index: usize,
    pub(super) line: &'a Line,
    /// Its last value.
    pub(super) value: f64,
}

impl Chart<'_> {
    /// Draws the chart for a page; an empty one is only its axes.
    pub(in crate::http::pages) fn svg(&self) -> Svg {
        vector::write(&self.plot())
    }

    /// Draws the chart as a PNG for a mail, so many pixels wide in its own measure and twice as many in the file.
    pub(in crate::http::pages) fn png(&self, width: u16) -> Vec<u8> {
        image::write(&self.plot(), width)
    }

    /// Returns how high the whole picture is.
    pub(in crate::http::pages) fn picture_height(&self) -> u16 {
        self.height + TOP + BOTTOM
    }

    /// Says in words what the chart shows.
    pub(in crate::http::pages) fn summary(&self) -> String {
        let clock = |t| local(t, self.zone, "%d %b %H:%M");
        let mut text = format!("{}, {} to {}", self.title, clock(self.start), clock(self.end));
        for line in self.lines.iter().take(8) {
            let values = || line.points.iter().map(|p| p.value).filter(|v| v.is_finite());
            let show = |v: f64| self.unit.show(v);
            let last = values().next_back().map_or_else(|| "no value".to_owned(), show);
            let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
            if low <= high {
                let _ = write!(text, "; {}: last {last}, lowest {}, highest {}", line.name, show(low), show(high));
            }
        }
        text
    }

    fn plot(&self) -> Plot<'_> {
        let scale = self.scale();
        let has_texts = self.lines.len() <= DIRECT_TEXTS_MAX;
        Plot {
            chart: self,
            ends: (scale.low, scale.high),
            grid: scale
                .ticks
                .iter()
                .map(|tick| (self.y_px(&scale, *tick).round() - 0.5, self.unit.show(*tick)))
                .collect(),
            clock: time_ticks(self.start, self.end, self.zone, 5)
                .into_iter()
                .map(|(time, text)| (self.x(time), text))
                // The text of others would stick out.
                .filter(|(x, _)| (0.04..=0.96).contains(x))
                .collect(),
            gaps: self.gaps(),
            limits: self.limits.iter().map(|limit| 1.0 - scale.place(limit.value)).collect(),
            runs: self.lines.iter().map(|line| self.runs(&scale, line)).collect(),
            texts: if has_texts { self.texts(&scale) } else { Vec::new() },
        }
    }

    fn scale(&self) -> Scale {
        let values = || {
            let lines = self.lines.iter().flat_map(|l| l.points.iter().map(|p| p.value));
            lines.chain(self.limits.iter().map(|l| l.value)).filter(|v| v.is_finite())
        };
        let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
        match self.bounds {
            Some((floor, ceiling)) => Scale::around(low.min(floor), high.max(ceiling), self.unit),
            // An area stands for an amount, so it begins at zero.
            None if self.filled => Scale::around(low.min(0.0), high.max(0.0), self.unit),
            None => Scale::around(low, high, self.unit),
        }
    }

    fn x(&self, time: Timestamp) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "spans of pages are far below 2^53 ms")]
        let share = (time.as_millis() - self.start.as_millis()) as f64
            / (self.end.as_millis() - self.start.as_millis()).max(1) as f64;
        share.clamp(0.0, 1.0)
    }

    fn y_px(&self, scale: &Scale, value: f64) -> f64 {
        f64::from(TOP) + (1.0 - scale.place(value)) * f64::from(self.height)
    }

    /// Returns the stretches in which no line has a point.
    fn gaps(&self) -> Vec<(f64, f64)> {
        let mut times: Vec<i64> = self
            .lines
            .iter()
            .flat_map(|l| l.points.iter().filter(|p| p.value.is_finite()).map(|p| p.timestamp.as_millis()))
            .collect();
        times.sort_unstable();
        times.dedup();
        let ends = [self.start.as_millis()].into_iter().chain(times).chain([self.end.as_millis()]);
        let ends: Vec<i64> = ends.collect();
        let longest = self.gap_ms();
        let x = |millis| self.x(Timestamp::from_millis(millis));
        ends.iter().zip(ends.iter().skip(1)).filter(|(a, b)| *b - *a > longest).map(|(a, b)| (x(*a), x(*b))).collect()
    }

    /// How far two points may lie apart and still be joined.
    fn gap_ms(&self) -> i64 {
        i64::try_from(self.step.as_millis()).unwrap_or(i64::MAX).saturating_mul(5) / 2
    }

    /// Returns the unbroken runs of a line.
    fn runs(&self, scale: &Scale, line: &Line) -> Vec<Vec<(f64, f64)>> {
        let points = thin(&line.points, self.start, self.end, COLUMNS);
        let joined = |a: &Sample, b: &Sample| {
            a.value.is_finite()
                && b.value.is_finite()
                && b.timestamp.as_millis() - a.timestamp.as_millis() <= self.gap_ms()
        };
        let runs = points.chunk_by(joined).filter(|run| run.first().is_some_and(|p| p.value.is_finite()));
        runs.map(|run| run.iter().map(|p| (self.x(p.timestamp), 1.0 - scale.place(p.value))).collect()).collect()
    }

    /// Returns the texts beside the ends of the lines, pushed apart where they would touch.
    fn texts(&self, scale: &Scale) -> Vec<EndText<'_>> {
        let mut texts: Vec<EndText<'_>> = Vec::new();
        for (index, line) in self.lines.iter().enumerate() {
            if let Some(last) = line.points.iter().rev().find(|p| p.value.is_finite()) {
                texts.push(EndText { y: self.y_px(scale, last.value), index, line, value: last.value });
            }
        }
        texts.sort_by(|a, b| a.y.total_cmp(&b.y));
        let one = if texts.len() == 1 { 0.0 } else { TEXT_HEIGHT * 2.0 };
        let mut lowest = f64::NEG_INFINITY;
        for text in &mut texts {
            text.y = text.y.max(lowest + one).max(f64::from(TOP));
            lowest = text.y;
        }
        let mut highest = f64::from(TOP + self.height) - TEXT_HEIGHT;
        for text in texts.iter_mut().rev() {
            text.y = text.y.min(highest);
            highest = text.y - one;
        }
        texts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart<'a>(lines: &'a [Line], zone: &'a TimeZone) -> Chart<'a> {
        Chart {
            title: "t",
            unit: Unit::Plain,
            start: Timestamp::from_millis(0),
            end: Timestamp::from_millis(100_000),
            step: Duration::from_secs(10),
            lines,
            limits: &[],
            bounds: None,
            height: 100,
            filled: false,
            zone,
        }
    }

    fn line(name: &str, points: &[(i64, f64)]) -> Line {
        let points = points.iter().map(|(s, v)| Sample::new(Timestamp::from_millis(s * 1000), *v)).collect();
        Line { name: name.to_owned(), points }
    }

    #[test]
    fn a_missing_stretch_breaks_the_line_and_is_hatched() {
        let lines = [line("a", &[(0, 0.0), (10, 1.0), (60, 1.0), (70, 0.0), (80, 0.0), (100, 0.0)])];
        let svg = chart(&lines, &TimeZone::UTC).svg().to_string();
        assert!(svg.contains("d=\"M0 1000l100-1000M600 0l100 1000l100 0l200 0\""), "{svg}");
        assert!(svg.contains("<rect class=\"gap\" x=\"10%\" width=\"50%\""), "{svg}");
    }

    #[test]
    fn a_lonely_point_is_still_seen() {
        let lines = [line("a", &[(50, 3.0)])];
        assert!(chart(&lines, &TimeZone::UTC).svg().to_string().contains("h0\""));
    }

    #[test]
    fn names_from_outside_stay_text() {
        let lines = [line("</svg><script>alert(1)</script>\" onload=\"x", &[(0, 1.0), (10, 2.0)])];
        let svg = chart(&lines, &TimeZone::UTC).svg().to_string();
        assert!(!svg.contains("<script") && !svg.contains("\" onload"), "{svg}");
    }

    #[test]
    fn an_empty_chart_has_axes_only() {
        let svg = chart(&[], &TimeZone::UTC).svg().to_string();
        assert!(svg.contains("class=\"grid\"") && !svg.contains("class=\"line s"), "{svg}");
    }
}
