//! The forms of characters that stand at axes: figures, units, clocks.
//!
//! `glyphs.txt` has a line for each: the character, its width, and row by row how far each pixel is covered, in sixteenths
//! as a hexadecimal digit; what is missing at the end is empty. The forms are Liberation Sans at 26 pixels.

/// All forms.
const GLYPHS: &str = include_str!("glyphs.txt");

/// Rows of a form above the line that text stands on.
pub(super) const FOOT: usize = 19;

/// Width of what has no form: a narrow space.
pub(super) const BLANK: usize = 5;

/// The form of a character.
#[derive(Debug, Clone, Copy)]
pub(super) struct Glyph {
    pub(super) width: usize,
    digits: &'static str,
}

impl Glyph {
    /// Returns the form of a character; `None` if it has none.
    pub(super) fn of(c: char) -> Option<Glyph> {
        let rest = GLYPHS.lines().find_map(|line| line.strip_prefix(c))?;
        let (width, digits) = rest.trim_start().split_once(' ')?;
        Some(Glyph { width: width.parse().ok().filter(|w| *w > 0)?, digits })
    }

    /// Returns how far each pixel is covered, from 0 to 1, row by row.
    pub(super) fn shares(self) -> impl Iterator<Item = f64> {
        self.digits.chars().map(|digit| digit.to_digit(16).map_or(0.0, |d| f64::from(d) / 15.0))
    }
}
