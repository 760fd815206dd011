//! A number beside what is normal for it: a bar with pointers at its limits.

use std::fmt::Write as _;

use super::{Svg, escape};

/// A limit or target on a meter.
#[derive(Debug, Clone)]
pub(in crate::http::pages) struct Pointer {
    /// Where.
    pub(in crate::http::pages) value: f64,
    /// What it is.
    pub(in crate::http::pages) name: &'static str,
}

/// A value between two ends.
#[derive(Debug, Clone)]
pub(in crate::http::pages) struct Meter<'a> {
    /// What it shows and its value as text, for people who do not see it.
    pub(in crate::http::pages) title: &'a str,
    /// The value; what is not a number draws an empty bar.
    pub(in crate::http::pages) value: f64,
    /// Left and right end.
    pub(in crate::http::pages) ends: (f64, f64),
    /// Limits and targets.
    pub(in crate::http::pages) pointers: &'a [Pointer],
    /// Priority colour of the bar (`p1`, `p2`), or empty while all is well.
    pub(in crate::http::pages) class: &'a str,
}

impl Meter<'_> {
    /// Draws the meter.
    pub(in crate::http::pages) fn svg(&self) -> Svg {
        let (low, high) = self.ends;
        let x = |v: f64| ((v - low) / (high - low)).clamp(0.0, 1.0) * 100.0;
        let mut out = String::new();
        let _ = write!(
            out,
            "<svg class=\"meter {}\" role=\"img\" aria-label=\"{}\"><rect class=\"track\" width=\"100%\" height=\"6\" \
             y=\"4\" rx=\"3\"/>",
            self.class,
            escape(self.title)
        );
        if self.value.is_finite() {
            let _ =
                write!(out, "<rect class=\"value\" width=\"{:.1}%\" height=\"6\" y=\"4\" rx=\"3\"/>", x(self.value));
        }
        for pointer in self.pointers {
            let _ = write!(
                out,
                "<svg x=\"{:.1}%\" overflow=\"visible\"><path class=\"pointer\" d=\"M0 10l4 7h-8z\">\
                 <title>{}</title></path></svg>",
                x(pointer.value),
                escape(pointer.name)
            );
        }
        out.push_str("</svg>");
        Svg(out)
    }
}
