//! Text to words, each with its place. Bounds how long a text may be and how many words it may have.

use crate::model::parse_duration;
use crate::query::promql::{Error, Result};

/// Upper bound of a query's text.
const QUERY_BYTES_MAX: usize = 64 << 10;

/// Upper bound of words.
const WORDS_MAX: usize = 16_384;

/// A stretch of the text, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    /// First byte.
    pub(crate) start: usize,
    /// First byte after it.
    pub(crate) end: usize,
}

impl Span {
    /// Returns the stretch from this one's start to the other's end.
    pub(crate) fn to(self, other: Span) -> Span {
        Span { start: self.start, end: other.end }
    }
}

/// What a word is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Word {
    /// A name or keyword, as written.
    Name,
    /// A number.
    Number(f64),
    /// A duration, in seconds: a number too.
    Duration(f64),
    /// A quoted text, unquoted.
    Text(String),
    /// A bracket, an operator, a comma.
    Mark(&'static str),
    /// Behind the last word.
    End,
}

/// A word and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Placed {
    pub(crate) word: Word,
    pub(crate) span: Span,
}

/// All marks, the longer ones first.
const MARKS: [&str; 26] = [
    "==", "=~", "!=", "!~", "<=", ">=", "</", ">/", "(", ")", "{", "}", "[", "]", ",", ":", "=", "<", ">", "+", "-",
    "*", "/", "%", "^", "@",
];

/// Returns a parse error with line and column, both from 1.
pub(crate) fn error_at(text: &str, at: usize, message: String) -> Error {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |n| n + 1);
    Error::Parse { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1, message }
}

/// Splits a text into words; comments and spaces fall away. The last word is [`Word::End`].
pub(crate) fn words(text: &str) -> Result<Vec<Placed>> {
    if text.len() > QUERY_BYTES_MAX {
        return Err(Error::Limit(format!("query is longer than {QUERY_BYTES_MAX} bytes")));
    }
    let mut words = Vec::new();
    let mut at = 0;
    // Within brackets a colon stands between range and step; elsewhere it is part of names.
    let mut brackets = 0_usize;
    while let Some(first) = text.get(at..).and_then(|rest| rest.chars().next()) {
        let rest = &text[at..];
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        if first == '#' {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        }
        let (word, length) = next(text, at, first, brackets > 0)?;
        match word {
            Word::Mark("[") => brackets += 1,
            Word::Mark("]") => brackets = brackets.saturating_sub(1),
            _ => {}
        }
        words.push(Placed { word, span: Span { start: at, end: at + length } });
        at += length;
        if words.len() > WORDS_MAX {
            return Err(Error::Limit(format!("query has more than {WORDS_MAX} words")));
        }
    }
    words.push(Placed { word: Word::End, span: Span { start: text.len(), end: text.len() } });
    Ok(words)
}

/// Returns the word that begins at `at`, and its length.
fn next(text: &str, at: usize, first: char, in_brackets: bool) -> Result<(Word, usize)> {
    let rest = &text[at..];
    let begins_number =
        first.is_ascii_digit() || (first == '.' && rest[1..].chars().next().is_some_and(|c| c.is_ascii_digit()));
    if matches!(first, '"' | '\'' | '`') {
        let length = quoted(rest, first).ok_or_else(|| error_at(text, at, "unterminated quoted string".to_owned()))?;
        let inner = &rest[1..length - 1];
        let unquoted = if first == '`' { Some(inner.to_owned()) } else { unquote(inner) };
        let unquoted = unquoted.ok_or_else(|| error_at(text, at, "invalid escape sequence in string".to_owned()))?;
        return Ok((Word::Text(unquoted), length));
    }
    if begins_number {
        let length = number_length(rest);
        let written = &rest[..length];
        let word = number(written).map(Word::Number).or_else(|| seconds(written).map(Word::Duration));
        let word = word.ok_or_else(|| error_at(text, at, format!("bad number or duration syntax: {written:?}")))?;
        return Ok((word, length));
    }
    if first.is_ascii_alphabetic() || first == '_' || (first == ':' && !in_brackets) {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || (c == ':' && !in_brackets);
        let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let is = |word: &str| rest[..length].eq_ignore_ascii_case(word);
        let word = match () {
            () if is("inf") => Word::Number(f64::INFINITY),
            () if is("nan") => Word::Number(f64::NAN),
            () => Word::Name,
        };
        return Ok((word, length));
    }
    match MARKS.iter().find(|mark| rest.starts_with(**mark)) {
        Some(mark) => Ok((Word::Mark(mark), mark.len())),
        None => Err(error_at(text, at, format!("unexpected character: {first:?}"))),
    }
}

/// Returns how long a quoted text is, with its quotes; `None` if it does not end.
fn quoted(rest: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' && quote != '`' {
            escaped = true;
        } else if c == quote {
            return Some(at + 1);
        } else if c == '\n' && quote != '`' {
            return None;
        }
    }
    None
}

/// Resolves the escapes of a text, which are Go's; `None` if one is not. Bytes that make no UTF-8 become `U+FFFD`.
fn unquote(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let escape = rest[at + 1..].chars().next()?;
        let after = at + 1 + escape.len_utf8();
        let (bytes, length) = match escape {
            'a' => (vec![0x07], 0),
            'b' => (vec![0x08], 0),
            'f' => (vec![0x0c], 0),
            'n' => (vec![b'\n'], 0),
            'r' => (vec![b'\r'], 0),
            't' => (vec![b'\t'], 0),
            'v' => (vec![0x0b], 0),
            '\\' | '\'' | '"' => (vec![u8::try_from(escape).ok()?], 0),
            'x' => (vec![u8::try_from(digits(rest, after, 2, 16)?).ok()?], 2),
            'u' => (char::from_u32(digits(rest, after, 4, 16)?)?.to_string().into_bytes(), 4),
            'U' => (char::from_u32(digits(rest, after, 8, 16)?)?.to_string().into_bytes(), 8),
            '0'..='7' => (vec![u8::try_from(digits(rest, after - 1, 3, 8)?).ok()?], 2),
            _ => return None,
        };
        out.extend(bytes);
        rest = &rest[after + length..];
    }
    out.extend_from_slice(rest.as_bytes());
    Some(String::from_utf8_lossy(&out).into_owned())
}

fn digits(text: &str, at: usize, count: usize, radix: u32) -> Option<u32> {
    let digits = text.get(at..at + count)?;
    if digits.starts_with('+') { None } else { u32::from_str_radix(digits, radix).ok() }
}

/// Returns how long a number or duration is: digits, letters, underscores, dots, and the sign of an exponent.
fn number_length(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let is_hex = bytes.len() > 1 && bytes[0] == b'0' && matches!(bytes[1], b'x' | b'X');
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let is_sign_of_exponent = matches!(byte, b'+' | b'-')
            && !is_hex
            && matches!(bytes.get(at.wrapping_sub(1)), Some(b'e' | b'E'))
            && bytes.get(at + 1).is_some_and(u8::is_ascii_digit);
        if !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.') || is_sign_of_exponent) {
            break;
        }
        at += 1;
    }
    at
}

/// Reads a number as Go does: decimal, `0x` hexadecimal, a leading zero for octal, underscores between digits.
fn number(text: &str) -> Option<f64> {
    let plain = without_underscores(text)?;
    if let Some(hex) = plain.strip_prefix("0x").or_else(|| plain.strip_prefix("0X")) {
        return i64::from_str_radix(hex, 16).ok().filter(|_| !hex.starts_with('+')).map(|n| n as f64);
    }
    let is_octal = plain.len() > 1 && plain.starts_with('0') && plain.bytes().all(|b| (b'0'..=b'7').contains(&b));
    if is_octal && let Ok(octal) = i64::from_str_radix(&plain, 8) {
        return Some(octal as f64);
    }
    let is_decimal = plain.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    plain.parse::<f64>().ok().filter(|n| is_decimal && n.is_finite())
}

/// Reads a duration, in seconds.
fn seconds(text: &str) -> Option<f64> {
    let plain = without_underscores(text).filter(|plain| plain.len() == text.len())?;
    parse_duration(&plain).ok().map(|d| d.as_secs_f64())
}

/// Takes out underscores between digits; `None` if one stands elsewhere.
fn without_underscores(text: &str) -> Option<String> {
    if !text.contains('_') {
        return Some(text.to_owned());
    }
    let bytes = text.as_bytes();
    let is_digit = |i: usize| bytes.get(i).is_some_and(u8::is_ascii_hexdigit);
    let is_behind_prefix = |i: usize| i == 2 && matches!(bytes.get(..2), Some(b"0x" | b"0X"));
    let fits = |i: usize| is_digit(i + 1) && (is_digit(i.wrapping_sub(1)) || is_behind_prefix(i));
    let all_fit = bytes.iter().enumerate().filter(|(_, b)| **b == b'_').all(|(i, _)| fits(i));
    all_fit.then(|| text.replace('_', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[Word]) {
        let found: Vec<Word> = words(text).unwrap().into_iter().map(|p| p.word).collect();
        assert_eq!(found, [expected, &[Word::End]].concat(), "{text}");
    }

    #[track_caller]
    fn check_refused(text: &str, expected: &str) {
        assert_eq!(words(text).unwrap_err().to_string(), expected, "{text}");
    }

    #[test]
    fn numbers_are_read_as_go_does() {
        let one = |text: &str, value: f64| check(text, &[Word::Number(value)]);
        one("1_000", 1000.0);
        one("0x_1F", 31.0);
        one("010", 8.0);
        one("089", 89.0);
        one(".5e-2", 0.005);
        one("1e3", 1000.0);
        one("iNf", f64::INFINITY);
        check("1h30m", &[Word::Duration(5400.0)]);
        check("0s", &[Word::Duration(0.0)]);
        check_refused("1e400", "1:1: parse error: bad number or duration syntax: \"1e400\"");
        check_refused("x + 1_", "1:5: parse error: bad number or duration syntax: \"1_\"");
        check_refused("5m3y", "1:1: parse error: bad number or duration syntax: \"5m3y\"");
        check_refused("1__0", "1:1: parse error: bad number or duration syntax: \"1__0\"");
    }

    #[test]
    fn texts_are_unquoted_as_go_does() {
        let one = |text: &str, value: &str| check(text, &[Word::Text(value.to_owned())]);
        one(r#""a\\b\n\x41\101é\U0001F600""#, "a\\b\nAA\u{e9}\u{1F600}");
        one(r"'it\'s'", "it's");
        one(r"`a\n`", r"a\n");
        check_refused(r#"{a="\q"}"#, "1:4: parse error: invalid escape sequence in string");
        check_refused("'a\nb'", "1:1: parse error: unterminated quoted string");
    }

    #[test]
    fn a_colon_is_part_of_names_outside_of_brackets() {
        check("a:b", &[Word::Name]);
        check(
            "a[5m:1m]",
            &[
                Word::Name,
                Word::Mark("["),
                Word::Duration(300.0),
                Word::Mark(":"),
                Word::Duration(60.0),
                Word::Mark("]"),
            ],
        );
        check_refused("a ; b", "1:3: parse error: unexpected character: ';'");
        check_refused("a !b", "1:3: parse error: unexpected character: '!'");
    }
}
