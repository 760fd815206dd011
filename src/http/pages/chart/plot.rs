//! A chart of lines over time.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::scale::{Scale, thin, time_ticks};
use super::{Svg, escape, percent};
use crate::http::pages::number::{Unit, local};
use crate::model::{Sample, Timestamp};

/// Columns that lines are thinned to; more than that no screen of ours shows.
const COLUMNS: i64 = 480;
/// Pixels above the plot, for the topmost tick's text.
const TOP: f64 = 16.0;
/// Pixels below the plot, for the clock.
const BOTTOM: f64 = 20.0;
/// Pixels that two texts at the lines' ends keep between them.
const TEXT_HEIGHT: f64 = 15.0;
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

impl Chart<'_> {
    /// Draws the chart; an empty one is only its axes.
    pub(in crate::http::pages) fn svg(&self) -> Svg {
        let scale = self.scale();
        let mut out = String::new();
        let height = f64::from(self.height);
        let _ = write!(
            out,
            "<div class=\"plot\"><svg class=\"chart\" role=\"img\" aria-label=\"{}\" height=\"{}\" \
             data-start=\"{}\" data-end=\"{}\" data-low=\"{}\" data-high=\"{}\">",
            escape(&self.summary()),
            height + TOP + BOTTOM,
            self.start.as_millis(),
            self.end.as_millis(),
            scale.low,
            scale.high
        );
        self.draw_axes(&mut out, &scale);
        self.draw_gaps(&mut out);
        let _ = write!(
            out,
            "<svg class=\"lines\" y=\"{TOP}\" width=\"100%\" height=\"{height}\" viewBox=\"0 0 1000 1000\" \
             preserveAspectRatio=\"none\">"
        );
        self.draw_limits(&mut out, &scale);
        for (i, line) in self.lines.iter().enumerate() {
            self.draw_line(&mut out, &scale, i, line);
        }
        out.push_str("</svg></svg>");
        if !self.lines.is_empty() && self.lines.len() <= DIRECT_TEXTS_MAX {
            self.draw_ends(&mut out, &scale);
        }
        out.push_str("</div>");
        Svg(out)
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

    /// Says in words what the chart shows.
    fn summary(&self) -> String {
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

    fn x(&self, time: Timestamp) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "spans of pages are far below 2^53 ms")]
        let share = (time.as_millis() - self.start.as_millis()) as f64
            / (self.end.as_millis() - self.start.as_millis()).max(1) as f64;
        share.clamp(0.0, 1.0)
    }

    fn y_px(&self, scale: &Scale, value: f64) -> f64 {
        TOP + (1.0 - scale.place(value)) * f64::from(self.height)
    }

    fn draw_axes(&self, out: &mut String, scale: &Scale) {
        for tick in &scale.ticks {
            let y = self.y_px(scale, *tick).round() - 0.5;
            let _ = write!(
                out,
                "<line class=\"grid\" x2=\"100%\" y1=\"{y}\" y2=\"{y}\"/><text class=\"tick\" y=\"{}\">{}</text>",
                y - 3.0,
                escape(&self.unit.show(*tick))
            );
        }
        let base = TOP + f64::from(self.height);
        for (time, text) in time_ticks(self.start, self.end, self.zone, 5) {
            let x = self.x(time);
            // Its text would stick out.
            if !(0.04..=0.96).contains(&x) {
                continue;
            }
            let x = percent(x);
            let _ = write!(
                out,
                "<line class=\"mark\" x1=\"{x}\" x2=\"{x}\" y1=\"{base}\" y2=\"{}\"/>\
                 <text class=\"tick\" x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                base + 4.0,
                base + BOTTOM - 4.0,
                escape(&text)
            );
        }
    }

    /// Hatches the stretches in which no line has a point.
    fn draw_gaps(&self, out: &mut String) {
        let mut times: Vec<i64> = self
            .lines
            .iter()
            .flat_map(|l| l.points.iter().filter(|p| p.value.is_finite()).map(|p| p.timestamp.as_millis()))
            .collect();
        times.sort_unstable();
        times.dedup();
        let longest = self.gap_ms();
        let ends = [self.start.as_millis()].into_iter().chain(times).chain([self.end.as_millis()]);
        let ends: Vec<i64> = ends.collect();
        for pair in ends.windows(2) {
            let &[from, to] = pair else { continue };
            if to - from <= longest {
                continue;
            }
            let (from, to) = (self.x(Timestamp::from_millis(from)), self.x(Timestamp::from_millis(to)));
            let _ = write!(
                out,
                "<rect class=\"gap\" x=\"{}\" width=\"{}\" y=\"{TOP}\" height=\"{}\"><title>no data</title></rect>",
                percent(from),
                percent(to - from),
                self.height
            );
        }
    }

    /// How far two points may lie apart and still be joined.
    fn gap_ms(&self) -> i64 {
        i64::try_from(self.step.as_millis()).unwrap_or(i64::MAX).saturating_mul(5) / 2
    }

    fn draw_limits(&self, out: &mut String, scale: &Scale) {
        for limit in self.limits {
            let y = unit_y(scale, limit.value);
            let _ = write!(
                out,
                "<path class=\"limit {}\" d=\"M0 {y}H1000\"><title>{} {}</title></path>",
                limit.class,
                escape(&limit.name),
                escape(&self.unit.show(limit.value))
            );
        }
    }

    fn draw_line(&self, out: &mut String, scale: &Scale, index: usize, line: &Line) {
        let points = thin(&line.points, self.start, self.end, COLUMNS);
        let class = index % 8 + 1;
        let mut strokes = String::new();
        let mut area = String::new();
        let joined = |a: &Sample, b: &Sample| {
            a.value.is_finite()
                && b.value.is_finite()
                && b.timestamp.as_millis() - a.timestamp.as_millis() <= self.gap_ms()
        };
        for run in points.chunk_by(joined) {
            let Some(first) = run.first().filter(|p| p.value.is_finite()) else { continue };
            let path = self.path(scale, run);
            let _ = write!(strokes, "{path}");
            if run.len() == 1 {
                strokes.push_str("h0");
            }
            if self.filled && self.lines.len() == 1 {
                let (x0, x1) = (self.unit_x(first), run.last().map_or(0, |p| self.unit_x(p)));
                let _ = write!(area, "{path}L{x1} 1000H{x0}z");
            }
        }
        if !area.is_empty() {
            let _ = write!(out, "<path class=\"area s{class}\" d=\"{area}\"/>");
        }
        let _ = write!(
            out,
            "<path class=\"line s{class}\" d=\"{strokes}\" data-name=\"{}\"><title>{}</title></path>",
            escape(&line.name),
            escape(&line.name)
        );
    }

    /// Writes one unbroken run as relative steps in units of the inner picture.
    fn path(&self, scale: &Scale, run: &[Sample]) -> String {
        let mut path = String::with_capacity(run.len() * 6);
        let mut before = None;
        for point in run {
            let (x, y) = (self.unit_x(point), unit_y(scale, point.value));
            match before {
                None => {
                    let _ = write!(path, "M{x} {y}");
                }
                Some((x0, y0)) if (x0, y0) == (x, y) => continue,
                Some((x0, y0)) => {
                    let (dx, dy): (i64, i64) = (x - x0, y - y0);
                    let _ = write!(path, "l{dx}{}{dy}", if dy < 0 { "" } else { " " });
                }
            }
            before = Some((x, y));
        }
        path
    }

    fn unit_x(&self, point: &Sample) -> i64 {
        thousandths(self.x(point.timestamp))
    }

    /// Writes name and last value beside the end of each line, pushed apart where they would touch.
    fn draw_ends(&self, out: &mut String, scale: &Scale) {
        let mut texts: Vec<(f64, usize, &Line, f64)> = Vec::new();
        for (i, line) in self.lines.iter().enumerate() {
            if let Some(last) = line.points.iter().rev().find(|p| p.value.is_finite()) {
                texts.push((self.y_px(scale, last.value), i, line, last.value));
            }
        }
        texts.sort_by(|a, b| a.0.total_cmp(&b.0));
        let one = if texts.len() == 1 { 0.0 } else { TEXT_HEIGHT * 2.0 };
        let bottom = TOP + f64::from(self.height);
        let mut lowest = f64::NEG_INFINITY;
        for text in &mut texts {
            text.0 = text.0.max(lowest + one).max(TOP);
            lowest = text.0;
        }
        let mut highest = bottom - TEXT_HEIGHT;
        for text in texts.iter_mut().rev() {
            text.0 = text.0.min(highest);
            highest = text.0 - one;
        }
        let _ = write!(out, "<svg class=\"ends\" aria-hidden=\"true\" height=\"{}\">", bottom + BOTTOM);
        for (y, i, line, value) in texts {
            let _ = write!(
                out,
                "<text class=\"end s{}\" x=\"8\" y=\"{:.0}\">{}<tspan x=\"8\" dy=\"{TEXT_HEIGHT}\">{}</tspan></text>",
                i % 8 + 1,
                y + 4.0,
                escape(&self.unit.show(value)),
                escape(&shorten(&line.name))
            );
        }
        out.push_str("</svg>");
    }
}

/// Cuts a name to what fits beside a chart; the whole name is in the line's title. Of a subject the end tells more.
fn shorten(name: &str) -> String {
    let count = name.chars().count();
    match count {
        0..=13 => name.to_owned(),
        _ if name.contains('.') => ['…'].into_iter().chain(name.chars().skip(count - 12)).collect(),
        _ => name.chars().take(12).chain(['…']).collect(),
    }
}

fn unit_y(scale: &Scale, value: f64) -> i64 {
    thousandths(1.0 - scale.place(value))
}

#[expect(clippy::cast_possible_truncation, reason = "a share between 0 and 1")]
fn thousandths(share: f64) -> i64 {
    (share * 1000.0).round() as i64
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
