//! A chart as SVG, for pages.

use std::fmt::Write as _;

use super::plot::{BOTTOM, Plot, TEXT_HEIGHT, TOP};
use super::{Svg, escape, percent};

/// Writes a chart; colours come from the page's classes.
pub(super) fn write(plot: &Plot<'_>) -> Svg {
    let chart = plot.chart;
    let mut out = String::new();
    let _ = write!(
        out,
        "<div class=\"plot\"><svg class=\"chart\" role=\"img\" aria-label=\"{}\" height=\"{}\" \
         data-start=\"{}\" data-end=\"{}\" data-low=\"{}\" data-high=\"{}\">",
        escape(&chart.summary()),
        chart.picture_height(),
        chart.start.as_millis(),
        chart.end.as_millis(),
        plot.ends.0,
        plot.ends.1
    );
    write_axes(&mut out, plot);
    for (from, to) in &plot.gaps {
        let (x, width) = (percent(*from), percent(to - from));
        let _ = write!(
            out,
            "<rect class=\"gap\" x=\"{x}\" width=\"{width}\" y=\"{TOP}\" height=\"{}\"><title>no data</title></rect>",
            chart.height
        );
    }
    let _ = write!(
        out,
        "<svg class=\"lines\" y=\"{TOP}\" width=\"100%\" height=\"{}\" viewBox=\"0 0 1000 1000\" \
         preserveAspectRatio=\"none\">",
        chart.height
    );
    for (limit, y) in chart.limits.iter().zip(&plot.limits) {
        let _ = write!(
            out,
            "<path class=\"limit {}\" d=\"M0 {}H1000\"><title>{} {}</title></path>",
            limit.class,
            thousandths(*y),
            escape(&limit.name),
            escape(&chart.unit.show(limit.value))
        );
    }
    let is_filled = chart.filled && chart.lines.len() == 1;
    for (i, (line, runs)) in chart.lines.iter().zip(&plot.runs).enumerate() {
        write_line(&mut out, i, &line.name, runs, is_filled);
    }
    out.push_str("</svg></svg>");
    if !chart.lines.is_empty() && chart.lines.len() <= super::DIRECT_TEXTS_MAX {
        write_texts(&mut out, plot);
    }
    out.push_str("</div>");
    Svg(out)
}

fn write_axes(out: &mut String, plot: &Plot<'_>) {
    for (y, text) in &plot.grid {
        let _ = write!(
            out,
            "<line class=\"grid\" x2=\"100%\" y1=\"{y}\" y2=\"{y}\"/><text class=\"tick\" y=\"{}\">{}</text>",
            y - 3.0,
            escape(text)
        );
    }
    let base = f64::from(TOP + plot.chart.height);
    for (x, text) in &plot.clock {
        let x = percent(*x);
        let _ = write!(
            out,
            "<line class=\"mark\" x1=\"{x}\" x2=\"{x}\" y1=\"{base}\" y2=\"{}\"/>\
             <text class=\"tick\" x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            base + 4.0,
            base + f64::from(BOTTOM) - 4.0,
            escape(text)
        );
    }
}

fn write_line(out: &mut String, index: usize, name: &str, runs: &[Vec<(f64, f64)>], is_filled: bool) {
    let class = index % 8 + 1;
    let mut strokes = String::new();
    let mut area = String::new();
    for run in runs {
        let path = path(run);
        let _ = write!(strokes, "{path}");
        if run.len() == 1 {
            strokes.push_str("h0");
        }
        if is_filled && let (Some((x0, _)), Some((x1, _))) = (run.first(), run.last()) {
            let _ = write!(area, "{path}L{} 1000H{}z", thousandths(*x1), thousandths(*x0));
        }
    }
    if !area.is_empty() {
        let _ = write!(out, "<path class=\"area s{class}\" d=\"{area}\"/>");
    }
    let name = escape(name);
    let _ =
        write!(out, "<path class=\"line s{class}\" d=\"{strokes}\" data-name=\"{name}\"><title>{name}</title></path>");
}

/// Writes one unbroken run as relative steps in units of the inner picture.
fn path(run: &[(f64, f64)]) -> String {
    let mut path = String::with_capacity(run.len() * 6);
    let mut before = None;
    for (x, y) in run {
        let (x, y) = (thousandths(*x), thousandths(*y));
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

/// Writes name and last value beside the end of each line.
fn write_texts(out: &mut String, plot: &Plot<'_>) {
    let _ = write!(out, "<svg class=\"ends\" aria-hidden=\"true\" height=\"{}\">", plot.chart.picture_height());
    for text in &plot.texts {
        let _ = write!(
            out,
            "<text class=\"end s{}\" x=\"8\" y=\"{:.0}\">{}<tspan x=\"8\" dy=\"{TEXT_HEIGHT}\">{}</tspan></text>",
            text.index % 8 + 1,
            text.y + 4.0,
            escape(&plot.chart.unit.show(text.value)),
            escape(&shorten(&text.line.name))
        );
    }
    out.push_str("</svg>");
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

#[expect(clippy::cast_possible_truncation, reason = "a share between 0 and 1")]
fn thousandths(share: f64) -> i64 {
    (share * 1000.0).round() as i64
}
