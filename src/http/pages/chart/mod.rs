//! Pictures drawn on the server: charts over time, sparklines, strips of states, meters.
//!
//! The horizontal axis is in per cent of the width, the vertical one in pixels, so that a picture fits a phone
//! and a wall without its text being stretched: lines live in an inner `<svg>` of 1000 by 1000 units that is
//! stretched, text and ticks in the outer one that is not. Colour comes from classes only; nothing is inline.
//! All text from outside goes through [`escape`]. For mails, a chart over time is a picture of pixels (`image.rs`).

mod canvas;
mod columns;
mod glyphs;
mod image;
mod meter;
mod plot;
mod scale;
mod spark;
mod strip;
mod vector;

use std::fmt;

pub(super) use canvas::Ink;
pub(super) use columns::Columns;
pub(super) use meter::{Meter, Pointer};
pub(super) use plot::{Chart, DIRECT_TEXTS_MAX, Limit, Line};
pub(super) use spark::spark;
pub(super) use strip::{Cell, Strip};

use crate::model::escape_html as escape;

/// A finished picture: markup in which all text from outside is escaped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Svg(String);

impl fmt::Display for Svg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl askama::filters::HtmlSafe for Svg {}

/// Writes a share of the width: `12.3%`.
fn percent(share: f64) -> String {
    let text = format!("{:.2}", share * 100.0);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}
