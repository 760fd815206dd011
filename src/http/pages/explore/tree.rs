//! What the parts of an expression took, drawn as a tree: series, samples, time, and the share that is a part's own.

use std::time::Duration;

use crate::http::pages::chart::{Meter, Svg};
use crate::http::pages::number::Unit;
use crate::query::promql::Trace;

/// Rows drawn.
const PARTS_MAX: usize = 100;
/// Steps of indentation; what lies deeper stands below the last.
const DEPTH_MAX: usize = 8;

/// A part of an expression.
#[derive(Debug)]
pub(in crate::http::pages) struct Part {
    pub(in crate::http::pages) depth: usize,
    /// How it is written, cut where the parts it is made of stand.
    pub(in crate::http::pages) text: Vec<String>,
    /// All of it.
    pub(in crate::http::pages) whole: String,
    pub(in crate::http::pages) series: String,
    pub(in crate::http::pages) samples: String,
    pub(in crate::http::pages) took: String,
    /// The share of the whole query's time that it took itself, without its parts.
    pub(in crate::http::pages) bar: Svg,
}

/// Returns the parts of an expression, each before those it is made of.
pub(in crate::http::pages) fn parts(trace: &Trace) -> Vec<Part> {
    let mut found = Vec::new();
    let mut open = vec![(trace, 0)];
    while let Some((part, depth)) = open.pop() {
        if found.len() == PARTS_MAX {
            break;
        }
        found.push(draw(part, depth, trace.took));
        open.extend(part.parts.iter().rev().map(|inner| (inner, depth + 1)));
    }
    found
}

fn draw(part: &Trace, depth: usize, whole: Duration) -> Part {
    let own = own_time(part).as_secs_f64() / whole.as_secs_f64().max(f64::MIN_POSITIVE);
    let title = format!("{}: {} of the time", part.text, Unit::Ratio.show(own));
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let count = |n: usize| Unit::Plain.show(n as f64);
    Part {
        depth: depth.min(DEPTH_MAX),
        text: pieces(part),
        whole: part.text.clone(),
        series: count(part.series),
        samples: count(part.samples),
        took: Unit::Seconds.show(part.took.as_secs_f64()),
        bar: Meter { title: &title, value: own, ends: (0.0, 1.0), pointers: &[], class: "" }.svg(),
    }
}

/// Returns the time that a part took without those it is made of.
fn own_time(part: &Trace) -> Duration {
    part.took.saturating_sub(part.parts.iter().map(|inner| inner.took).sum())
}

/// Returns what a part is written with, around the parts it is made of.
fn pieces(part: &Trace) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut from = 0;
    for inner in &part.parts {
        let place = |at: usize| at.saturating_sub(part.place.start);
        pieces.push(part.text.get(from..place(inner.place.start)).unwrap_or("").to_owned());
        from = place(inner.place.end);
    }
    pieces.push(part.text.get(from..).unwrap_or("").to_owned());
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(text: &str, start: usize, took_ms: u64, parts: Vec<Trace>) -> Trace {
        let took = Duration::from_millis(took_ms);
        Trace { place: start..start + text.len(), text: text.to_owned(), series: 1, samples: 2, took, parts }
    }

    #[test]
    fn a_part_is_written_without_those_it_is_made_of() {
        let left = part("rate(a[5m])", 0, 30, vec![part("a[5m]", 5, 10, Vec::new())]);
        let whole = part("rate(a[5m]) / b", 0, 50, vec![left, part("b", 14, 15, Vec::new())]);
        let rows = parts(&whole);
        let told: Vec<(usize, String)> = rows.iter().map(|p| (p.depth, p.text.join("…"))).collect();
        let row = |depth, text: &str| (depth, text.to_owned());
        assert_eq!(told, [row(0, "… / …"), row(1, "rate(…)"), row(2, "a[5m]"), row(1, "b")]);
        assert_eq!(own_time(&whole), Duration::from_millis(5));
    }

    #[test]
    fn a_long_list_is_cut() {
        let many = (0..PARTS_MAX * 2).map(|i| part("a", i, 1, Vec::new())).collect();
        assert_eq!(parts(&part(&"a".repeat(PARTS_MAX * 2), 0, 1, many)).len(), PARTS_MAX);
    }
}
