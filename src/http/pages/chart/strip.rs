//! States over time as a row of pills or one band: was it all right, and when not?

use std::fmt::Write as _;

use jiff::tz::TimeZone;

use super::{Svg, escape};
use crate::http::pages::number::local;
use crate::model::Timestamp;

/// What was the case in one cell of a strip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http::pages) enum Cell {
    /// As it should be: grey, full height.
    Good,
    /// At rest, on purpose: light.
    Idle,
    /// Not as it should be: coloured, and lower, so that it shows without colour.
    Bad,
    /// Nothing is known: a thin line.
    Unknown,
}

impl Cell {
    fn class(self) -> &'static str {
        match self {
            Cell::Good => "good",
            Cell::Idle => "idle",
            Cell::Bad => "bad",
            Cell::Unknown => "unknown",
        }
    }
}

/// States over time, one cell per equal part of the window.
#[derive(Debug, Clone)]
pub(in crate::http::pages) struct Strip<'a> {
    /// What it shows, for people who do not see it.
    pub(in crate::http::pages) title: &'a str,
    /// Left end.
    pub(in crate::http::pages) start: Timestamp,
    /// Right end.
    pub(in crate::http::pages) end: Timestamp,
    /// Cells, oldest first.
    pub(in crate::http::pages) cells: &'a [Cell],
    /// Words for good, idle and bad.
    pub(in crate::http::pages) words: [&'a str; 3],
    /// Draws one band instead of pills.
    pub(in crate::http::pages) is_band: bool,
    /// Zone of the times in titles.
    pub(in crate::http::pages) zone: &'a TimeZone,
}

impl Strip<'_> {
    /// Draws the strip: one element per run of equal cells.
    pub(in crate::http::pages) fn svg(&self) -> Svg {
        let count = self.cells.len().max(1);
        let mut out = String::new();
        let _ = write!(
            out,
            "<svg class=\"strip{}\" viewBox=\"0 0 {count} 20\" preserveAspectRatio=\"none\" role=\"img\" \
             aria-label=\"{}\">",
            if self.is_band { " band" } else { "" },
            escape(&self.summary())
        );
        let mut at = 0;
        for run in self.cells.chunk_by(|a, b| a == b) {
            let cell = run.first().copied().unwrap_or(Cell::Unknown);
            let (y, height) = match cell {
                Cell::Good => (10, 20),
                Cell::Idle => (10, 20),
                Cell::Bad => (13, 14),
                Cell::Unknown => (18, 3),
            };
            let _ = write!(
                out,
                "<path class=\"{}\" d=\"M{at} {y}h{}\" stroke-width=\"{height}\"><title>{}</title></path>",
                cell.class(),
                run.len(),
                escape(&format!("{}–{} {}", self.clock(at), self.clock(at + run.len()), self.word(cell)))
            );
            at += run.len();
        }
        out.push_str("</svg>");
        Svg(out)
    }

    fn word(&self, cell: Cell) -> &str {
        let [good, idle, bad] = self.words;
        match cell {
            Cell::Good => good,
            Cell::Idle => idle,
            Cell::Bad => bad,
            Cell::Unknown => "no data",
        }
    }

    fn clock(&self, cell: usize) -> String {
        let span_ms = self.end.as_millis() - self.start.as_millis();
        let count = i64::try_from(self.cells.len().max(1)).unwrap_or(1);
        let ms = self.start.as_millis() + span_ms * i64::try_from(cell).unwrap_or(0) / count;
        let pattern = if span_ms > 86_400_000 { "%d %b %H:%M" } else { "%H:%M" };
        local(Timestamp::from_millis(ms), self.zone, pattern)
    }

    fn summary(&self) -> String {
        let share = |cell| 100 * self.cells.iter().filter(|c| **c == cell).count() / self.cells.len().max(1);
        let parts: Vec<String> = [Cell::Good, Cell::Idle, Cell::Bad, Cell::Unknown]
            .into_iter()
            .filter(|c| share(*c) > 0)
            .map(|c| format!("{} {} %", self.word(c), share(c)))
            .collect();
        format!("{}: {}", self.title, parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_cells_are_one_element() {
        let cells = [Cell::Good, Cell::Good, Cell::Bad, Cell::Unknown];
        let strip = Strip {
            title: "press<1>",
            start: Timestamp::from_millis(0),
            end: Timestamp::from_millis(240_000),
            cells: &cells,
            words: ["online", "idle", "offline"],
            is_band: false,
            zone: &TimeZone::UTC,
        };
        let svg = strip.svg().to_string();
        assert_eq!(svg.matches("<path").count(), 3);
        assert!(svg.contains("d=\"M0 10h2\"") && svg.contains("00:02–00:03 offline"), "{svg}");
        assert!(svg.contains("press&lt;1&gt;: online 50 %, offline 25 %, no data 25 %"), "{svg}");
    }
}
