//! A chart as PNG, for mails: most mail programs show no SVG.
//!
//! Always dark on white, because a mail is light whatever its reader's room is. Twice as many pixels as it is wide, so
//! that it is sharp on a phone. Some 1 MB while it is drawn.

use super::canvas::{Canvas, Ink};
use super::plot::{BOTTOM, Plot, TOP};

/// Pixels of the file for one of the picture's own.
const DENSITY: f64 = 2.0;

/// Half the width of a line, in pixels of the file.
const LINE_HALF: f64 = 1.75;

/// Lengths of the dashes of a limit and of the space between them, in pixels of the file.
const DASH: f64 = 8.0;

/// Draws a chart that is `width` wide.
pub(super) fn write(plot: &Plot<'_>, width: u16) -> Vec<u8> {
    let chart = plot.chart;
    let (wide, high) = (f64::from(width) * DENSITY, f64::from(chart.picture_height()) * DENSITY);
    let mut canvas = Canvas::new(wide, high);
    let (top, height) = (f64::from(TOP) * DENSITY, f64::from(chart.height) * DENSITY);
    for (from, to) in &plot.gaps {
        canvas.fill(from * wide, top, to * wide, top + height, Ink::Gap);
    }
    for (y, text) in &plot.grid {
        let y = (y * DENSITY).round();
        canvas.fill(0.0, y, wide, y + 1.0, Ink::Grid);
        canvas.text(0.0, y - 3.0 * DENSITY, text, Ink::Text);
    }
    let base = top + height;
    for (x, text) in &plot.clock {
        let x = (x * wide).round();
        canvas.fill(x, base, x + DENSITY, base + 4.0 * DENSITY, Ink::Text);
        canvas.text(x - Canvas::text_width(text) / 2.0, base + (f64::from(BOTTOM) - 2.0) * DENSITY, text, Ink::Text);
    }
    for y in &plot.limits {
        let y = top + y * height;
        let mut x = 0.0;
        while x < wide {
            canvas.fill(x, y - 1.0, x + DASH, y + 2.0, Ink::Limit);
            x += DASH * 2.0;
        }
    }
    for (i, runs) in plot.runs.iter().enumerate() {
        let place = |(x, y): &(f64, f64)| (x * wide, top + y * height);
        for run in runs {
            let points: Vec<(f64, f64)> = run.iter().map(place).collect();
            canvas.stroke(&points, LINE_HALF, Ink::of_line(i));
        }
    }
    canvas.png()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::time::Duration;

    use jiff::tz::TimeZone;

    use super::super::canvas::SHADES;
    use super::super::{Chart, Limit, Line};
    use super::*;
    use crate::http::pages::number::Unit;
    use crate::model::{Sample, Timestamp};

    /// Three hours of so many lines, which run as `course` says.
    fn drawn(count: usize, course: impl Fn(usize, i64) -> f64) -> Vec<u8> {
        let minute = |i| Timestamp::from_millis(1_700_000_000_000 + i * 60_000);
        let line = |n: usize| Line {
            name: format!("press{n}"),
            points: (0..=180).map(|i| Sample::new(minute(i), course(n, i))).collect(),
        };
        let lines: Vec<Line> = (0..count).map(line).collect();
        let limits = [Limit { value: 80.0, name: "limit".to_owned(), class: "p1" }];
        let chart = Chart {
            title: "temp",
            unit: Unit::Sign("°C"),
            start: minute(0),
            end: minute(180),
            step: Duration::from_secs(60),
            lines: &lines,
            limits: &limits,
            bounds: None,
            height: 180,
            filled: false,
            zone: &TimeZone::UTC,
        };
        chart.png(600)
    }

    /// Returns width, height and pixels of a picture, whose chunks must check out.
    fn read(png: &[u8]) -> (usize, usize, Vec<u8>) {
        let mut rest = png.strip_prefix(b"\x89PNG\r\n\x1a\n").unwrap();
        let (mut size, mut packed, mut kinds) = ((0, 0), Vec::new(), Vec::new());
        let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
        while !rest.is_empty() {
            let length = number(&rest[..4]) as usize;
            let (chunk, behind) = rest[4..].split_at(length + 8);
            let mut checksum = flate2::Crc::new();
            checksum.update(&chunk[..length + 4]);
            assert_eq!(checksum.sum(), number(&chunk[length + 4..]));
            let content = &chunk[4..length + 4];
            match &chunk[..4] {
                b"IHDR" => size = (number(&content[..4]) as usize, number(&content[4..8]) as usize),
                b"IDAT" => packed.extend(content),
                _ => {}
            }
            kinds.push(chunk[..4].to_vec());
            rest = behind;
        }
        assert_eq!(kinds, [b"IHDR", b"PLTE", b"IDAT", b"IEND"]);
        let mut rows = Vec::new();
        flate2::read::ZlibDecoder::new(packed.as_slice()).read_to_end(&mut rows).unwrap();
        let pixels = rows.chunks(size.0 + 1).flat_map(|row| row[1..].to_vec()).collect();
        (size.0, size.1, pixels)
    }

    #[test]
    fn a_line_is_drawn_where_its_values_are() {
        // 70 in the first half, 90 in the second, on an axis from 70 to 90.
        let (width, height, pixels) = read(&drawn(1, |_, i| if i < 90 { 70.0 } else { 90.0 }));
        assert_eq!((width, height), (1200, 432));
        let ink = |x: usize, y: usize| pixels[y * width + x];
        let line = Ink::Line1 as u8 * SHADES + SHADES - 1;
        let (top, bottom) = (32, 32 + 360);
        assert_eq!((ink(900, top), ink(300, bottom)), (line, line));
        assert_ne!(ink(300, top), line);
        assert_ne!(ink(900, bottom), line);
        assert_eq!(ink(4, top + 180), Ink::Limit as u8 * SHADES + SHADES - 1, "the limit of 80 in the middle");
        let texts = pixels.iter().filter(|p| *p / SHADES == Ink::Text as u8).count();
        assert!(texts > 2_000, "texts at both axes: {texts}");
    }

    #[test]
    fn what_is_not_there_is_a_gap() {
        let (width, _, pixels) = read(&drawn(1, |_, i| if (60..120).contains(&i) { f64::NAN } else { 75.0 }));
        let at = |x: usize| pixels[100 * width + x];
        assert_eq!(at(600), Ink::Gap as u8 * SHADES + SHADES - 1);
        assert_eq!(at(200), 0);
    }

    #[test]
    fn a_picture_stays_small_however_wild_its_lines_are() {
        let calm = drawn(4, |n, i| 60.0 + n as f64 * 5.0 + ((i + 40 * n as i64) as f64 / 20.0).sin());
        let mut seed = 7_u64;
        let mut noise = Vec::new();
        for _ in 0..4 * 181 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            noise.push((seed >> 40) as f64 / (1 << 24) as f64 * 100.0);
        }
        let wild = drawn(4, |n, i| noise[n * 181 + usize::try_from(i).unwrap()]);
        assert!(calm.len() < 8 << 10 && wild.len() < 48 << 10, "{} {}", calm.len(), wild.len());
        let one = drawn(1, |_, i| noise[usize::try_from(i).unwrap()]);
        assert!(one.len() < 24 << 10, "what a mail falls back to: {}", one.len());
    }
}
