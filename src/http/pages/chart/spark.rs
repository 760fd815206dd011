//! A line without axes, as large as a word.

use std::fmt::Write as _;

use super::Svg;
use super::scale::thin;
use crate::model::{Sample, Timestamp};

/// Draws the course of a value between two times; empty if there are fewer than two points.
///
/// The lowest value lies at the bottom and the highest at the top; a value that does not move is a line through
/// the middle.
pub(in crate::http::pages) fn spark(points: &[Sample], start: Timestamp, end: Timestamp) -> Svg {
    let finite: Vec<Sample> = points.iter().filter(|p| p.value.is_finite()).copied().collect();
    let points = thin(&finite, start, end, 60);
    if points.len() < 2 {
        return Svg::default();
    }
    let low = points.iter().map(|p| p.value).fold(f64::INFINITY, f64::min);
    let high = points.iter().map(|p| p.value).fold(f64::NEG_INFINITY, f64::max);
    #[expect(clippy::cast_precision_loss, reason = "spans of pages are far below 2^53 ms")]
    let x = |t: Timestamp| {
        (t.as_millis() - start.as_millis()) as f64 / (end.as_millis() - start.as_millis()).max(1) as f64 * 200.0
    };
    let y = |v: f64| if high > low { 30.0 - (v - low) / (high - low) * 28.0 } else { 16.0 };
    let mut path = String::new();
    for (i, p) in points.iter().enumerate() {
        let _ = write!(path, "{}{:.0} {:.0}", if i == 0 { "M" } else { "L" }, x(p.timestamp), y(p.value));
    }
    Svg(format!(
        "<svg class=\"spark\" viewBox=\"0 0 200 32\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
         <path d=\"{path}\"/></svg>"
    ))
}
