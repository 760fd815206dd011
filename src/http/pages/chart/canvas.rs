//! Pixels in a few inks, each in shades from white, and their PNG.
//!
//! A pixel is an ink and a shade in one byte, an entry of the PNG's palette. Few shades are enough where a picture is shown at
//! half its size, and pack best. Where two inks meet the stronger one stays; they do not mix.

use std::io::Write as _;

use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};

use super::glyphs::{self, Glyph};

/// Shades of an ink: 0 is white, the last one is the ink.
pub(super) const SHADES: u8 = 4;

/// What is drawn with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::http::pages) enum Ink {
    Grid,
    Gap,
    Text,
    Limit,
    Line1,
    Line2,
    Line3,
    Line4,
}

impl Ink {
    /// The colours, of the pages' light sheet; in the order of the variants.
    const COLOURS: [[u8; 3]; 8] = [
        [0xd8, 0xda, 0xde],
        [0xec, 0xed, 0xef],
        [0x55, 0x5b, 0x63],
        [0xc8, 0x10, 0x2e],
        [0x0b, 0x5c, 0xad],
        [0x00, 0x70, 0x7a],
        [0x5b, 0x4f, 0xa8],
        [0x7a, 0x5c, 0x00],
    ];

    /// Returns the ink of a chart's line; they come again after four.
    pub(in crate::http::pages) fn of_line(index: usize) -> Ink {
        match index % 4 {
            0 => Ink::Line1,
            1 => Ink::Line2,
            2 => Ink::Line3,
            _ => Ink::Line4,
        }
    }

    /// Returns its colour: red, green, blue.
    pub(in crate::http::pages) fn colour(self) -> [u8; 3] {
        Ink::COLOURS.get(usize::from(self as u8)).copied().unwrap_or_default()
    }
}

/// A white sheet to draw on; what lies beside it is not drawn.
#[derive(Debug)]
pub(super) struct Canvas {
    width: usize,
    height: usize,
    /// Row by row: ink times [`SHADES`], and shade.
    pixels: Vec<u8>,
}

impl Canvas {
    pub(super) fn new(width: f64, height: f64) -> Canvas {
        let (width, height) = (whole(width), whole(height));
        Canvas { width, height, pixels: vec![0; width * height] }
    }

    /// Covers a pixel with an ink to a share between 0 and 1: whole, or more than it is covered already.
    fn cover(&mut self, x: usize, y: usize, ink: Ink, share: f64) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share between 0 and 1")]
        let shade = (share.clamp(0.0, 1.0) * f64::from(SHADES - 1)).round() as u8;
        if x >= self.width {
            return;
        }
        let Some(pixel) = self.pixels.get_mut(y * self.width + x) else { return };
        if shade > *pixel % SHADES || shade == SHADES - 1 {
            *pixel = ink as u8 * SHADES + shade;
        }
    }

    /// Fills a rectangle, in whole pixels.
    pub(super) fn fill(&mut self, left: f64, top: f64, right: f64, bottom: f64, ink: Ink) {
        for y in whole(top)..whole(bottom) {
            for x in whole(left)..whole(right) {
                self.cover(x, y, ink, 1.0);
            }
        }
    }

    /// Draws a line through points with round corners and ends; of a single point a dot.
    pub(super) fn stroke(&mut self, points: &[(f64, f64)], half_width: f64, ink: Ink) {
        let starts = points.iter().zip(points.iter().skip(1));
        let dot = points.first().filter(|_| points.len() == 1).map(|p| (p, p));
        for (&(x0, y0), &(x1, y1)) in starts.chain(dot) {
            let reach = half_width + 1.0;
            let (dx, dy) = (x1 - x0, y1 - y0);
            let length_squared = (dx * dx + dy * dy).max(f64::MIN_POSITIVE);
            for y in whole(y0.min(y1) - reach)..=whole(y0.max(y1) + reach) {
                // Only where the line may be in this row, not all between its ends.
                let (from, to) = span(x0, y0, dx, dy, middle(y), reach);
                for x in whole(from)..=whole(to) {
                    let (px, py) = (middle(x) - x0, middle(y) - y0);
                    let along = ((px * dx + py * dy) / length_squared).clamp(0.0, 1.0);
                    let distance = (px - along * dx).hypot(py - along * dy);
                    self.cover(x, y, ink, half_width + 0.5 - distance);
                }
            }
        }
    }

    /// Writes a text that stands on `y`; characters without a form are blanks.
    pub(super) fn text(&mut self, x: f64, y: f64, text: &str, ink: Ink) {
        let mut left = x + glyphs::HALF_WIDTH;
        for glyph in text.chars().map(Glyph::of) {
            for stroke in glyph.strokes() {
                let points: Vec<(f64, f64)> = stroke.iter().map(|(right, down)| (left + right, y + down)).collect();
                self.stroke(&points, glyphs::HALF_WIDTH, ink);
            }
            left += glyph.advance();
        }
    }

    /// Returns how wide a text is.
    pub(super) fn text_width(text: &str) -> f64 {
        text.chars().map(|c| Glyph::of(c).advance()).sum()
    }

    /// Returns the picture as PNG: a palette, one byte a pixel.
    ///
    /// Source: PNG (W3C, third edition), 5 and 11.2.
    pub(super) fn png(&self) -> Vec<u8> {
        let size = |pixels: usize| u32::try_from(pixels).unwrap_or(u32::MAX).to_be_bytes();
        let mut header = [size(self.width), size(self.height)].concat();
        // Eight bits, a palette; packing, filters and order as there is only one.
        header.extend([8, 3, 0, 0, 0]);
        let mut palette = Vec::with_capacity(768);
        for colour in Ink::COLOURS {
            for shade in 0..SHADES {
                palette.extend(colour.map(|full| mix(full, shade)));
            }
        }
        let mut packed = ZlibEncoder::new(Vec::new(), Compression::default());
        for row in self.pixels.chunks(self.width.max(1)) {
            // A byte before each row says that it is as it is. Writing to memory does not fail.
            let _ = packed.write_all(&[0]);
            let _ = packed.write_all(row);
        }
        let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
        put_chunk(&mut png, *b"IHDR", &header);
        put_chunk(&mut png, *b"PLTE", &palette);
        put_chunk(&mut png, *b"IDAT", &packed.finish().unwrap_or_default());
        put_chunk(&mut png, *b"IEND", &[]);
        png
    }
}

fn put_chunk(png: &mut Vec<u8>, kind: [u8; 4], payload: &[u8]) {
    let mut checksum = Crc::new();
    checksum.update(&kind);
    checksum.update(payload);
    png.extend(u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes());
    png.extend(kind);
    png.extend(payload);
    png.extend(checksum.sum().to_be_bytes());
}

/// Returns a colour's part between white and `full`.
fn mix(full: u8, shade: u8) -> u8 {
    let (full, shade, all) = (u16::from(full), u16::from(shade), u16::from(SHADES - 1));
    u8::try_from((255 * (all - shade) + full * shade + all / 2) / all).unwrap_or(u8::MAX)
}

/// Returns between which places a line may cover pixels of a row that is `y` high.
fn span(x0: f64, y0: f64, dx: f64, dy: f64, y: f64, reach: f64) -> (f64, f64) {
    let at = |y: f64| x0 + dx * if dy.abs() < 1e-9 { 0.0 } else { ((y - y0) / dy).clamp(0.0, 1.0) };
    let (a, b) = if dy.abs() < 1e-9 { (x0, x0 + dx) } else { (at(y - reach), at(y + reach)) };
    (a.min(b) - reach, a.max(b) + reach)
}

/// Returns the pixel that a place lies in; what lies before the sheet is its first one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "cut to what there can be")]
fn whole(place: f64) -> usize {
    place.clamp(0.0, 65_535.0) as usize
}

fn middle(pixel: usize) -> f64 {
    u32::try_from(pixel).map_or(0.0, f64::from) + 0.5
}
