//! The forms of characters that stand at axes: figures, units, clocks.
//!
//! `glyphs.txt` has a line for each: the character, its width, and its strokes between bars, each a row of `x,y` from the
//! left and from the top of capitals, of which 10 is the line that text stands on. A stroke bends towards its inner points
//! and ends at its outer ones; one behind `o` is closed. Where a form has a corner a stroke ends and the next begins.

/// All forms.
const GLYPHS: &str = include_str!("glyphs.txt");

/// Pixels of one unit, and what is between two characters.
const UNIT: f64 = 1.8;
const SPACE: f64 = 2.4 * UNIT;

/// How far the top of capitals is above the line that text stands on.
const CAPITALS: f64 = 10.0;

/// Half the width of a stroke, in pixels.
pub(super) const HALF_WIDTH: f64 = 1.1;

/// Straight pieces of a bend.
const PIECES: u8 = 5;

/// A place: to the right of a character's left edge, and below the line that text stands on.
type Place = (f64, f64);

/// The form of a character.
#[derive(Debug, Clone, Copy)]
pub(super) struct Glyph {
    width: f64,
    strokes: &'static str,
}

impl Glyph {
    /// Returns the form of a character; a blank if it has none.
    pub(super) fn of(c: char) -> Glyph {
        let rest = GLYPHS.lines().find_map(|line| line.strip_prefix(c)?.strip_prefix(' '));
        let (width, strokes) = rest.and_then(|rest| rest.split_once(' ')).unwrap_or(("1.4", ""));
        Glyph { width: width.parse().unwrap_or_default(), strokes }
    }

    /// Returns how far it is to the next character, in pixels.
    pub(super) fn advance(self) -> f64 {
        self.width * UNIT + SPACE
    }

    /// Returns the strokes as straight lines, in pixels.
    pub(super) fn strokes(self) -> impl Iterator<Item = Vec<Place>> {
        self.strokes.split(" | ").filter(|stroke| !stroke.is_empty()).map(|stroke| {
            let (is_closed, stroke) = stroke.strip_prefix("o ").map_or((false, stroke), |stroke| (true, stroke));
            let number = |text: &str| text.parse::<f64>().ok();
            let place = |(x, y): (&str, &str)| Some((number(x)? * UNIT, (number(y)? - CAPITALS) * UNIT));
            let points: Vec<Place> =
                stroke.split(' ').filter_map(|point| point.split_once(',').and_then(place)).collect();
            bend(&points, is_closed)
        })
    }
}

/// Bends a line: it passes through the middles between its inner points, a quadratic B-spline.
fn bend(points: &[Place], is_closed: bool) -> Vec<Place> {
    let middle = |a: Place, b: Place| (f64::midpoint(a.0, b.0), f64::midpoint(a.1, b.1));
    let (&[first, .., last], true) = (points, is_closed || points.len() > 2) else { return points.to_vec() };
    let mut bent = vec![if is_closed { middle(last, first) } else { first }];
    let inner = if is_closed { points } else { points.get(1..points.len() - 1).unwrap_or_default() };
    for (i, &towards) in inner.iter().enumerate() {
        let to = match inner.get(i + 1) {
            Some(&next) => middle(towards, next),
            None if is_closed => middle(last, first),
            None => last,
        };
        let from = bent.last().copied().unwrap_or(first);
        bent.extend((1..=PIECES).map(|piece| {
            let along = f64::from(piece) / f64::from(PIECES);
            let mix = |a: f64, b: f64, c: f64| {
                let (ab, bc) = (a + (b - a) * along, b + (c - b) * along);
                ab + (bc - ab) * along
            };
            (mix(from.0, towards.0, to.0), mix(from.1, towards.1, to.1))
        }));
    }
    bent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_of_an_axis_has_a_form_within_its_width() {
        for c in "0123456789.-−–∞:%/°µ".chars().chain('a'..='z').chain('A'..='Z') {
            let glyph = Glyph::of(c);
            let places: Vec<Place> = glyph.strokes().flatten().collect();
            assert!(!places.is_empty(), "{c}");
            let (left, right) = (-UNIT, glyph.width * UNIT + 0.1);
            assert!(
                places.iter().all(|(x, y)| (left..=right).contains(x) && (-20.0..6.0).contains(y)),
                "{c}: {places:?}"
            );
        }
        assert_eq!(Glyph::of('|').strokes().count() + Glyph::of(' ').strokes().count(), 0, "blanks");
    }

    #[test]
    fn a_bend_keeps_its_ends_and_a_closed_one_its_sides() {
        let open = bend(&[(0.0, 0.0), (2.0, 0.0), (2.0, 2.0)], false);
        assert_eq!((open[0], open[open.len() - 1]), ((0.0, 0.0), (2.0, 2.0)));
        let closed = bend(&[(0.0, 0.0), (2.0, 0.0), (2.0, 2.0), (0.0, 2.0)], true);
        assert_eq!((closed[0], closed[closed.len() - 1]), ((0.0, 1.0), (0.0, 1.0)));
        assert!(closed.contains(&(1.0, 0.0)) && closed.contains(&(2.0, 1.0)), "{closed:?}");
    }
}
