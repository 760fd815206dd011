//! Counts over time as columns, stacked by kind.

use std::fmt::Write as _;

use jiff::tz::TimeZone;

use super::{Svg, escape};
use crate::http::pages::number::local;
use crate::model::Timestamp;

/// Counts over time, three kinds stacked, the first at the bottom.
#[derive(Debug, Clone)]
pub(in crate::http::pages) struct Columns<'a> {
    /// What it shows, for people who do not see it.
    pub(in crate::http::pages) title: &'a str,
    /// Left end.
    pub(in crate::http::pages) start: Timestamp,
    /// Right end.
    pub(in crate::http::pages) end: Timestamp,
    /// Classes and names of the kinds.
    pub(in crate::http::pages) classes: [&'a str; 3],
    /// Counts of each kind, one entry per equal part of the time.
    pub(in crate::http::pages) counts: &'a [[u32; 3]],
    /// Zone of the times in titles.
    pub(in crate::http::pages) zone: &'a TimeZone,
}

impl Columns<'_> {
    /// Draws the columns; empty if there is nothing to count.
    pub(in crate::http::pages) fn svg(&self) -> Svg {
        let most = self.counts.iter().map(|c| c.iter().sum::<u32>()).max().unwrap_or(0);
        if most == 0 {
            return Svg::default();
        }
        let mut out = String::new();
        let _ = write!(
            out,
            "<svg class=\"columns\" viewBox=\"0 0 {} 100\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\">",
            self.counts.len() * 10,
            escape(&format!("{}, at most {most}", self.title))
        );
        for (i, counts) in self.counts.iter().enumerate() {
            let total: u32 = counts.iter().sum();
            if total == 0 {
                continue;
            }
            let _ = write!(out, "<g><title>{}: {total}</title>", escape(&self.clock(i)));
            let mut top = 100.0;
            for (class, count) in self.classes.iter().zip(counts) {
                // One line among thousands is still one pixel high.
                let height = if *count == 0 { 0.0 } else { (f64::from(*count) / f64::from(most) * 100.0).max(2.0) };
                top -= height;
                if *count > 0 {
                    let _ = write!(
                        out,
                        "<rect class=\"{class}\" x=\"{}\" y=\"{:.1}\" width=\"8\" height=\"{height:.1}\"/>",
                        i * 10 + 1,
                        top.max(0.0)
                    );
                }
            }
            out.push_str("</g>");
        }
        out.push_str("</svg>");
        Svg(out)
    }

    fn clock(&self, column: usize) -> String {
        let span_ms = self.end.as_millis() - self.start.as_millis();
        let count = i64::try_from(self.counts.len().max(1)).unwrap_or(1);
        let ms = self.start.as_millis() + span_ms * i64::try_from(column).unwrap_or(0) / count;
        let pattern = if span_ms > 86_400_000 { "%d %b %H:%M" } else { "%H:%M:%S" };
        local(Timestamp::from_millis(ms), self.zone, pattern)
    }
}
