//! Charts for notices: what they are, and who draws them.

use std::fmt;
use std::sync::Arc;

use crate::model::Timestamp;

/// A chart of an expression, as pixels and the words around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// The file.
    pub png: Vec<u8>,
    /// How large it is to be shown; the file may have more pixels.
    pub size: (u16, u16),
    /// What is shown, and of when.
    pub title: String,
    /// All of it in words, for who does not see it.
    pub words: String,
    /// Its lines, and its limit.
    pub legend: Vec<LegendLine>,
    /// Lines that it had no room for.
    pub left_out: usize,
}

/// What a line of a chart is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegendLine {
    /// Red, green, blue.
    pub colour: [u8; 3],
    /// Whether it is a limit, which is dashed.
    pub is_limit: bool,
    /// The line's name; may be empty.
    pub name: String,
    /// Its newest value, or the limit's.
    pub value: String,
}

/// From an expression and a moment to a picture.
type Draw = dyn Fn(&str, Timestamp) -> Option<Picture> + Send + Sync;

/// Draws an expression as it was in the hours before a moment; `None` if it has nothing to show. May take its time.
#[derive(Clone)]
pub struct Drawer(Arc<Draw>);

impl Drawer {
    /// Wraps a function that draws.
    pub fn new(draw: impl Fn(&str, Timestamp) -> Option<Picture> + Send + Sync + 'static) -> Drawer {
        Drawer(Arc::new(draw))
    }

    /// Returns one that never draws.
    #[must_use]
    pub fn none() -> Drawer {
        Drawer::new(|_, _| None)
    }

    pub(super) fn draw(&self, expression: &str, now: Timestamp) -> Option<Picture> {
        (self.0)(expression, now)
    }
}

impl fmt::Debug for Drawer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Drawer")
    }
}
