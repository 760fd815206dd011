//! Numbers, times and `printf` as Go's `fmt` writes them.
//!
//! Source: Go, packages `fmt` and `strconv`. Annotations are compared with what Prometheus would have
//! written, so a number must come out the same to the last digit.

use jiff::tz::TimeZone;

use super::value::Value;
use crate::model::Timestamp;

/// Upper bound of a width or a precision: keeps a template from asking for megabytes of blanks.
const WIDTH_MAX: usize = 1024;

/// Writes a number by one of Go's verbs `e`, `f` or `g`; without a precision `g` is the shortest text that
/// reads back as the same number, the others have six digits.
pub(super) fn format_float(value: f64, verb: char, precision: Option<usize>) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() };
    }
    match verb {
        'e' => exponent_form(&format!("{value:.*e}", precision.unwrap_or(6))),
        'f' => format!("{value:.*}", precision.unwrap_or(6)),
        _ => general_form(value, precision),
    }
}

/// `%g`: exponent form below 1e-4 and from `10^precision` on (from 1e6 on in the shortest form), trailing
/// zeros removed.
fn general_form(value: f64, precision: Option<usize>) -> String {
    let significant = precision.map(|p| p.max(1));
    let scientific = match significant {
        Some(p) => format!("{value:.*e}", p - 1),
        None => format!("{value:e}"),
    };
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let has_point = digits.contains('.');
    let digits = if has_point { digits.trim_end_matches('0').trim_end_matches('.') } else { digits };
    let count = digits.bytes().filter(u8::is_ascii_digit).count();
    let count = i32::try_from(count).unwrap_or(i32::MAX);
    // A precision that is larger than the digits there are does not widen the plain form.
    let threshold = match significant.map(|p| i32::try_from(p).unwrap_or(i32::MAX)) {
        None => 6,
        Some(p) if p > count && count > exponent => count,
        Some(p) => p,
    };
    if exponent < -4 || exponent >= threshold {
        return exponent_form(&format!("{digits}e{exponent}"));
    }
    match significant {
        None => format!("{value}"),
        Some(p) => {
            let decimals = usize::try_from(i32::try_from(p).unwrap_or(i32::MAX) - 1 - exponent).unwrap_or(0);
            let text = format!("{value:.decimals$}");
            if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
        }
    }
}

/// Turns Rust's `1.5e7` into Go's `1.5e+07`.
fn exponent_form(text: &str) -> String {
    let (digits, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

/// The pieces of Go's layouts, the longer ones before those that they begin with, and how they are written here.
const LAYOUT: [(&str, &str); 26] = [
    ("January", "%B"),
    ("Jan", "%b"),
    ("Monday", "%A"),
    ("Mon", "%a"),
    ("MST", "%Z"),
    ("2006", "%Y"),
    (".000000", ".%6f"),
    (".000", ".%3f"),
    ("Z07:00", "Z"),
    ("Z0700", "Z"),
    ("-07:00", "%:z"),
    ("-0700", "%z"),
    ("-07", "+00"),
    ("01", "%m"),
    ("02", "%d"),
    ("03", "%I"),
    ("04", "%M"),
    ("05", "%S"),
    ("06", "%y"),
    ("15", "%H"),
    ("PM", "%p"),
    ("pm", "%P"),
    ("_2", "%e"),
    ("1", "%-m"),
    ("2", "%-d"),
    ("3", "%-I"),
];

/// Writes a time as the clocks of a zone show it by one of Go's layouts, `2006-01-02 15:04:05 MST`.
pub(super) fn format_layout(time: Timestamp, zone: &TimeZone, layout: &str) -> String {
    let Ok(at) = jiff::Timestamp::from_millisecond(time.as_millis()) else { return time.to_string() };
    let at = at.to_zoned(zone.clone());
    let mut out = String::new();
    let mut rest = layout;
    while let Some(c) = rest.chars().next() {
        match LAYOUT.iter().find(|(piece, _)| rest.starts_with(piece)) {
            Some((piece, form)) => {
                // A `Z` stands for UTC only; elsewhere it is the offset.
                let form = match *piece {
                    "Z07:00" if at.offset() != jiff::tz::Offset::UTC => "%:z",
                    "Z0700" if at.offset() != jiff::tz::Offset::UTC => "%z",
                    _ => form,
                };
                out.push_str(&at.strftime(form).to_string());
                rest = rest.get(piece.len()..).unwrap_or("");
            }
            None => {
                out.push(c);
                rest = rest.get(c.len_utf8()..).unwrap_or("");
            }
        }
    }
    out
}

/// Writes a time as Go's `time.Time` prints itself: `2015-07-01 20:10:51.781 +0000 UTC`.
pub(super) fn format_time(time: Timestamp, zone: &TimeZone) -> String {
    match jiff::Timestamp::from_millisecond(time.as_millis()) {
        Ok(t) => {
            let civil = t.to_zoned(zone.clone());
            let fraction = civil.millisecond().unsigned_abs();
            let fraction =
                if fraction == 0 { String::new() } else { format!(".{fraction:03}").trim_end_matches('0').to_owned() };
            format!("{}{fraction} {}", civil.strftime("%Y-%m-%d %H:%M:%S"), civil.strftime("%z %Z"))
        }
        Err(_) => time.to_string(),
    }
}

/// One `%` directive.
#[derive(Debug, Default)]
struct Directive {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Writes values by a format as Go's `Sprintf` does, its complaints (`%!d(string=x)`) included.
pub(super) fn sprintf(format: &str, values: &[Value]) -> String {
    let mut out = String::new();
    let mut values = values.iter();
    let mut rest = format.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut directive = Directive::default();
        while let Some(flag) = rest.next_if(|c| "-+# 0".contains(*c)) {
            match flag {
                '-' => directive.minus = true,
                '+' => directive.plus = true,
                '#' => directive.sharp = true,
                ' ' => directive.space = true,
                _ => directive.zero = true,
            }
        }
        directive.width = number(&mut rest, &mut values);
        if rest.next_if_eq(&'.').is_some() {
            directive.precision = Some(number(&mut rest, &mut values).unwrap_or(0));
        }
        match rest.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match values.next() {
                None => out.push_str(&format!("%!{verb}(MISSING)")),
                Some(value) => directive.write(&mut out, verb, value),
            },
        }
    }
    let extra: Vec<String> = values.map(|v| format!("{}={}", v.type_name(), v.to_text())).collect();
    if !extra.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

/// Reads a width or precision: digits, or `*` for the next value.
fn number<'a>(
    rest: &mut std::iter::Peekable<std::str::Chars<'_>>,
    values: &mut impl Iterator<Item = &'a Value>,
) -> Option<usize> {
    if rest.next_if_eq(&'*').is_some() {
        return match values.next() {
            Some(Value::Int(i)) => usize::try_from(*i).ok().map(|n| n.min(WIDTH_MAX)),
            _ => None,
        };
    }
    let mut found = None;
    while let Some(digit) = rest.peek().and_then(|c| c.to_digit(10)) {
        rest.next();
        found = Some((found.unwrap_or(0) * 10 + digit as usize).min(WIDTH_MAX));
    }
    found
}

impl Directive {
    fn write(&self, out: &mut String, verb: char, value: &Value) {
        let (text, is_number) = match (verb, value) {
            ('v', Value::Float(f)) => (self.signed(format_float(*f, 'g', self.precision)), true),
            ('v', Value::Int(i)) | ('d', Value::Int(i)) => (self.signed(i.to_string()), true),
            ('v', Value::Nil) => ("<nil>".to_owned(), false),
            ('v', _) => (self.cut(value.to_text()), false),
            (
                's',
                Value::Text(_)
                | Value::Time(_)
                | Value::LocalTime(..)
                | Value::List(_)
                | Value::Labels(_)
                | Value::Map(_),
            ) => (self.cut(value.to_text()), false),
            ('q', Value::Text(t)) => (quote(t), false),
            ('t', Value::Bool(_)) => (value.to_text(), false),
            ('e' | 'f' | 'g', Value::Float(f)) => (self.signed(format_float(*f, verb, self.precision)), true),
            ('E' | 'G', Value::Float(f)) => {
                (self.signed(format_float(*f, verb.to_ascii_lowercase(), self.precision)).to_uppercase(), true)
            }
            ('F', Value::Float(f)) => (self.signed(format_float(*f, 'f', self.precision)), true),
            ('x', Value::Int(i)) => (self.radix(*i, "0x", |n| format!("{n:x}")), true),
            ('X', Value::Int(i)) => (self.radix(*i, "0X", |n| format!("{n:X}")), true),
            ('o', Value::Int(i)) => (self.radix(*i, "0", |n| format!("{n:o}")), true),
            ('b', Value::Int(i)) => (self.radix(*i, "0b", |n| format!("{n:b}")), true),
            ('c', Value::Int(i)) => {
                (u32::try_from(*i).ok().and_then(char::from_u32).unwrap_or('\u{fffd}').to_string(), false)
            }
            ('x', Value::Text(t)) => (t.bytes().map(|b| format!("{b:02x}")).collect(), false),
            ('X', Value::Text(t)) => (t.bytes().map(|b| format!("{b:02X}")).collect(), false),
            ('T', _) => (value.type_name().to_owned(), false),
            (_, Value::Nil) => (format!("%!{verb}(<nil>)"), false),
            _ => (format!("%!{verb}({}={})", value.type_name(), value.to_text()), false),
        };
        self.pad(out, &text, is_number);
    }

    /// Cuts a text to the precision.
    fn cut(&self, text: String) -> String {
        match self.precision {
            Some(p) => text.chars().take(p).collect(),
            None => text,
        }
    }

    /// Puts the sign that a flag asks for before a number that has none.
    fn signed(&self, text: String) -> String {
        match (text.starts_with(['-', '+']), self.plus, self.space) {
            (false, true, _) => format!("+{text}"),
            (false, false, true) => format!(" {text}"),
            _ => text,
        }
    }

    fn radix(&self, value: i64, prefix: &str, write: impl Fn(u64) -> String) -> String {
        let sign = if value < 0 { "-" } else { "" };
        let prefix = if self.sharp { prefix } else { "" };
        self.signed(format!("{sign}{prefix}{}", write(value.unsigned_abs())))
    }

    fn pad(&self, out: &mut String, text: &str, is_number: bool) {
        let missing = self.width.unwrap_or(0).saturating_sub(text.chars().count());
        if self.minus {
            out.push_str(text);
            out.extend(std::iter::repeat_n(' ', missing));
        } else if self.zero && is_number && !text.ends_with("Inf") && text != "NaN" {
            let sign = text.len() - text.trim_start_matches(['-', '+', ' ']).len();
            let (sign, digits) = text.split_at(sign);
            out.push_str(sign);
            out.extend(std::iter::repeat_n('0', missing));
            out.push_str(digits);
        } else {
            out.extend(std::iter::repeat_n(if self.zero { '0' } else { ' ' }, missing));
            out.push_str(text);
        }
    }
}

/// Writes a text in double quotes with escapes, as `%q` does.
pub(super) fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(format: &str, value: Value, expected: &str) {
        assert_eq!(sprintf(format, &[value]), expected, "{format}");
    }

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        for (value, expected) in [
            (0.0, "0"),
            (81.5, "81.5"),
            (100_000.0, "100000"),
            (1_234_567.0, "1.234567e+06"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1e21, "1e+21"),
            (-2.5, "-2.5"),
            (f64::INFINITY, "+Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(Value::Float(value).to_text(), expected);
        }
        check("%.4g", Value::Float(1234.567), "1235");
        check("%.4g", Value::Float(12345.67), "1.235e+04");
        check("%.4g", Value::Float(0.5), "0.5");
        check("%.4g", Value::Float(100.0), "100");
        check("%.2f", Value::Float(81.456), "81.46");
        check("%.0f", Value::Float(81.5), "82");
        check("%f", Value::Float(1.0), "1.000000");
        check("%e", Value::Float(1234.5), "1.234500e+03");
    }

    #[test]
    fn widths_flags_and_complaints_are_gos() {
        check("%5.1f|", Value::Float(2.25), "  2.2|");
        check("%-6s|", Value::text("ab"), "ab    |");
        check("%06.2f", Value::Float(-1.5), "-01.50");
        check("%+d", Value::Int(5), "+5");
        check("%x", Value::Int(255), "ff");
        check("%q", Value::text("a\"b"), "\"a\\\"b\"");
        check("100%%", Value::Int(1), "100%%!(EXTRA int=1)");
        check("%d", Value::Float(1.5), "%!d(float64=1.5)");
        check("%s", Value::Float(1.5), "%!s(float64=1.5)");
        assert_eq!(sprintf("%d", &[]), "%!d(MISSING)");
        assert_eq!(sprintf("%", &[]), "%!(NOVERB)");
    }

    #[test]
    fn a_time_is_written_as_go_writes_it() {
        assert_eq!(
            format_time(Timestamp::from_millis(1_435_781_451_780), &TimeZone::UTC),
            "2015-07-01 20:10:51.78 +0000 UTC"
        );
        assert_eq!(format_time(Timestamp::from_millis(0), &TimeZone::UTC), "1970-01-01 00:00:00 +0000 UTC");
    }
}
