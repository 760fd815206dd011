//! Text to the parser crate's tree. What the crate gets wrong or does not bound is caught before: length, nesting,
//! text that is not closed, numbers with underscores, times that its arithmetic does not survive.

use promql_parser::parser::Expr;

use super::durations::{Replacement, Spans, replacements};
use super::{Error, Result};

/// Upper bound of a query's text.
const QUERY_BYTES_MAX: usize = 64 << 10;

/// Upper bound of brackets within brackets.
const NESTING_MAX: usize = 128;

/// Upper bound of words.
const WORDS_MAX: usize = 16_384;

/// Upper bound of operators: the crate's time grows with the square of a chain of them, and its stack with the chain.
const OPERATORS_MAX: usize = 1024;

/// Upper bound of a number that is used as a time, in seconds: 292 years, as upstream's 64-bit nanoseconds.
const SECONDS_MAX: f64 = 9_223_372_036.0;

/// Name of a matcher that is put into the second argument of `info`, whose selector may be one that the crate refuses
/// elsewhere because it demands nothing.
pub(super) const INFO_MARK: &str = "__in_info__";

/// Reads an expression.
pub(super) fn parse(text: &str, spans: Spans) -> Result<Expr> {
    if text.len() > QUERY_BYTES_MAX {
        return Err(Error::Limit(format!("query is longer than {QUERY_BYTES_MAX} bytes")));
    }
    let words = words(text)?;
    check_words(text, &words)?;
    let mended = mended(text, &words, replacements(text, &words, spans)?);
    promql_parser::parser::parse(&mended).map_err(|message| located(text, &words, message))
}

/// Returns the text written in the usual way. Cost: grows with the square of the nesting, which is bounded.
pub(super) fn pretty(text: &str, spans: Spans) -> Result<String> {
    Ok(parse(text, spans)?.prettify())
}

/// What a word of the text is, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name, a keyword, or a duration's unit.
    Name,
    /// A number or a duration.
    Number,
    /// A quoted text.
    Text,
    /// Anything else, one character.
    Mark,
}

/// A word and where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word<'t> {
    /// What it is.
    pub(super) kind: Kind,
    /// Where it begins, in bytes.
    pub(super) start: usize,
    /// Itself.
    pub(super) text: &'t str,
}

/// Splits a text into words; comments and spaces fall away.
pub(super) fn words(text: &str) -> Result<Vec<Word<'_>>> {
    let mut words: Vec<Word<'_>> = Vec::new();
    let mut at = 0;
    // Within brackets a colon stands between range and step; elsewhere it is part of names.
    let mut in_brackets = 0_usize;
    while let Some(first) = text.get(at..).and_then(|rest| rest.chars().next()) {
        let rest = &text[at..];
        let is_digit = |c: char| c.is_ascii_digit();
        let begins_number =
            is_digit(first) || (first == '.' && rest[1..].chars().next().is_some_and(|c| c.is_ascii_digit()));
        let (kind, length) = if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        } else if first == '#' {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        } else if matches!(first, '"' | '\'' | '`') {
            let length =
                quoted(rest, first).ok_or_else(|| error_at(text, at, "unterminated quoted string".to_owned()))?;
            (Kind::Text, length)
        } else if begins_number {
            (Kind::Number, number(rest))
        } else if first.is_ascii_alphabetic() || first == '_' || (first == ':' && in_brackets == 0) {
            let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || (c == ':' && in_brackets == 0);
            (Kind::Name, rest.find(|c| !is_part(c)).unwrap_or(rest.len()))
        } else {
            (Kind::Mark, first.len_utf8())
        };
        match first {
            '[' => in_brackets += 1,
            ']' => in_brackets = in_brackets.saturating_sub(1),
            _ => {}
        }
        words.push(Word { kind, start: at, text: &rest[..length] });
        at += length;
        if words.len() > WORDS_MAX {
            return Err(Error::Limit(format!("query has more than {WORDS_MAX} words")));
        }
    }
    Ok(words)
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

/// Returns how long a number or duration is: digits, letters, underscores, dots, and the sign of an exponent.
fn number(rest: &str) -> usize {
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

/// Refuses what would nest too deep or is not closed.
fn check_words(text: &str, words: &[Word<'_>]) -> Result<()> {
    let is_not_finite = |w: &Word<'_>| w.text.eq_ignore_ascii_case("inf") || w.text.eq_ignore_ascii_case("nan");
    if let Some(i) = (0..words.len()).find(|i| is_not_finite(&words[*i]) && is_time(words, *i)) {
        return Err(error_at(text, words[i].start, format!("{:?} is not a duration", words[i].text)));
    }
    let mut open: Vec<&Word<'_>> = Vec::new();
    let mut operators = 0;
    for word in words {
        // Within braces they are matchers.
        operators += usize::from(is_operator(word) && open.last().is_none_or(|w| w.text != "{"));
        if operators > OPERATORS_MAX {
            return Err(Error::Limit(format!("query has more than {OPERATORS_MAX} operators")));
        }
        if word.kind != Kind::Mark {
            continue;
        }
        match word.text {
            "(" | "[" | "{" => open.push(word),
            ")" | "]" | "}" => {
                let expected = match open.pop().map(|w| w.text) {
                    Some("(") => ")",
                    Some("[") => "]",
                    Some("{") => "}",
                    _ => "",
                };
                if expected != word.text {
                    return Err(error_at(text, word.start, format!("unexpected {:?}", word.text)));
                }
            }
            _ => {}
        }
        if open.len() > NESTING_MAX {
            return Err(Error::Limit(format!("query nests deeper than {NESTING_MAX} brackets")));
        }
    }
    match open.pop() {
        Some(word) => {
            let name = match word.text {
                "(" => "parenthesis",
                "[" => "bracket",
                _ => "brace",
            };
            Err(error_at(text, word.start, format!("unclosed left {name}")))
        }
        None if words.is_empty() => Err(error_at(text, 0, "no expression found in input".to_owned())),
        None => Ok(()),
    }
}

/// Tells whether a word is an operator or part of one.
fn is_operator(word: &Word<'_>) -> bool {
    match word.kind {
        Kind::Mark => matches!(word.text, "+" | "-" | "*" | "/" | "%" | "^" | "<" | ">" | "=" | "!"),
        Kind::Name => ["and", "or", "unless", "atan2"].iter().any(|o| word.text.eq_ignore_ascii_case(o)),
        Kind::Number | Kind::Text => false,
    }
}

/// Returns the text with what the crate does not take written as it does: numbers without underscores, `0` for
/// `0s`, durations that were worked out, a mark in the selector of `info`, and no number that its arithmetic of times
/// panics on.
fn mended(text: &str, words: &[Word<'_>], durations: Vec<Replacement>) -> String {
    let is_worked_out = |w: &Word<'_>| durations.iter().any(|d| (d.start..d.end).contains(&w.start));
    let plain = words.iter().enumerate().filter(|(_, w)| w.kind == Kind::Number && !is_worked_out(w));
    let mut changes: Vec<Replacement> = plain.map(|(i, _)| plain_number(words, i)).collect();
    let marked = format!("{{{INFO_MARK}=\"1\",");
    changes.extend(info_selectors(words).map(|w| Replacement {
        start: w.start,
        end: w.start + 1,
        text: marked.clone(),
    }));
    changes.extend(durations);
    changes.sort_by_key(|c| c.start);
    let mut mended = String::with_capacity(text.len());
    let mut copied = 0;
    for change in changes {
        mended.push_str(&text[copied..change.start]);
        mended.push_str(&change.text);
        copied = change.end;
    }
    mended.push_str(&text[copied..]);
    mended
}

fn plain_number(words: &[Word<'_>], i: usize) -> Replacement {
    let word = words[i];
    let plain = without_underscores(word.text);
    let text = match plain.parse::<f64>() {
        // Written so that the crate refuses it with a message.
        Ok(seconds) if is_time(words, i) && seconds > SECONDS_MAX => "99999999999y".to_owned(),
        _ if is_zero_duration(&plain) && before(words, i) != "[" => "0".to_owned(),
        _ => plain,
    };
    Replacement { start: word.start, end: word.start + word.text.len(), text }
}

/// Returns the opening braces of nameless selectors that are second arguments of `info`.
fn info_selectors<'w, 't>(words: &'w [Word<'t>]) -> impl Iterator<Item = &'w Word<'t>> {
    let mut open: Vec<bool> = Vec::new();
    words.iter().enumerate().filter_map(move |(i, word)| {
        let is_second = open.last() == Some(&true) && word.text == "{" && before(words, i) == ",";
        if word.kind == Kind::Mark {
            match word.text {
                "(" | "[" | "{" => open.push(word.text == "(" && before(words, i) == "info"),
                ")" | "]" | "}" => drop(open.pop()),
                _ => {}
            }
        }
        is_second.then_some(word)
    })
}

fn before<'t>(words: &[Word<'t>], i: usize) -> &'t str {
    i.checked_sub(1).and_then(|b| words.get(b)).map_or("", |w| w.text)
}

/// Tells whether a word stands where a duration is expected.
fn is_time(words: &[Word<'_>], i: usize) -> bool {
    let word = before(words, i);
    let word = if matches!(word, "+" | "-") { before(words, i - 1) } else { word };
    matches!(word, "[" | ":") || word.eq_ignore_ascii_case("offset")
}

/// Removes underscores between digits; others make the number wrong and stay.
fn without_underscores(text: &str) -> String {
    let bytes = text.as_bytes();
    let is_digit = |i: Option<usize>| i.and_then(|i| bytes.get(i)).is_some_and(u8::is_ascii_hexdigit);
    let is_prefix = |i: usize| i == 2 && matches!(bytes.get(..2), Some(b"0x" | b"0X"));
    let kept = text
        .char_indices()
        .filter(|(i, c)| !(*c == '_' && (is_digit(i.checked_sub(1)) || is_prefix(*i)) && is_digit(i.checked_add(1))));
    kept.map(|(_, c)| c).collect()
}

fn is_zero_duration(text: &str) -> bool {
    let unit = text.trim_start_matches('0');
    unit.len() < text.len() && matches!(unit, "ms" | "s" | "m" | "h" | "d" | "w" | "y")
}

/// Gives an error of the planner, whose tree has no places, the place of the word that it names.
pub(super) fn placed(text: &str, error: Error) -> Error {
    match (error, words(text)) {
        (Error::Parse { line: 0, message, .. }, Ok(words)) => located(text, &words, message),
        (other, _) => other,
    }
}

/// Finds the place of the crate's message in the text: it names what is wrong, but not where.
fn located(text: &str, words: &[Word<'_>], message: String) -> Error {
    let message = message.trim().to_owned();
    let quoted = message.split(['\'', '"', '`']).skip(1).step_by(2).find(|q| !q.is_empty());
    let word = quoted.and_then(|q| words.iter().find(|w| w.text == q || w.text.trim_matches(['"', '\'', '`']) == q));
    match word {
        Some(word) => error_at(text, word.start, message),
        None => error_at(text, unexpected(words).map_or(0, |w| w.start), message),
    }
}

/// Returns the first word that cannot follow the one before it, as far as that is told by their kinds.
fn unexpected<'w, 't>(words: &'w [Word<'t>]) -> Option<&'w Word<'t>> {
    words.windows(2).find_map(|pair| match pair {
        [a, b] if a.kind == Kind::Number && matches!(b.kind, Kind::Number | Kind::Text) => Some(b),
        [a, b] if a.text == ")" && matches!(b.kind, Kind::Number | Kind::Text) => Some(b),
        [a, b] if a.kind == Kind::Text && b.kind == Kind::Text => Some(b),
        [a, b] if "*/%^".contains(a.text) && "*/%^".contains(b.text) => Some(b),
        [a, b] if "(,".contains(a.text) && "*/%^,".contains(b.text) => Some(b),
        _ => None,
    })
}

/// Returns a parse error with line and column, both from 1.
pub(super) fn error_at(text: &str, at: usize, message: String) -> Error {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |n| n + 1);
    Error::Parse { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPANS: Spans = Spans { step: 15.0, range: 3600.0 };

    #[track_caller]
    fn check_mended(text: &str, expected: &str) {
        let words = words(text).unwrap();
        assert_eq!(mended(text, &words, replacements(text, &words, SPANS).unwrap()), expected);
    }

    #[track_caller]
    fn check_error(text: &str, expected: &str) {
        assert_eq!(parse(text, SPANS).unwrap_err().to_string(), expected, "{text}");
    }

    #[test]
    fn numbers_are_written_as_the_crate_takes_them() {
        check_mended("1_000 + 0x_1F + x_1", "1000 + 0x1F + x_1");
        check_mended("x offset 0s", "x offset 0");
        check_mended("x[0s]", "x[0s]");
        check_mended("'1_000' # 1_000", "'1_000' # 1_000");
        check_mended("x[5m*2:1_0] + y offset (1)", "x[ 600:10] + y offset  1");
        check_mended("info(up, {a=~'.*'}) + up{}", "info(up, {__in_info__=\"1\",a=~'.*'}) + up{}");
    }

    #[test]
    fn errors_say_where() {
        check_error("sum(up", "1:4: parse error: unclosed left parenthesis");
        check_error("up)", "1:3: parse error: unexpected \")\"");
        check_error("up{job=\"a}", "1:8: parse error: unterminated quoted string");
        check_error("up +\n nosuch(up)", "2:2: parse error: unknown function with name 'nosuch'");
        let planned = placed(
            "up{a=~\"b\"} +\n x{c=~\"(\"}",
            Error::Parse { line: 0, column: 0, message: "invalid regular expression \"(\": unclosed group".to_owned() },
        );
        assert!(planned.to_string().starts_with("2:7: parse error: invalid regular"), "{planned}");
        check_error("", "1:1: parse error: no expression found in input");
    }

    #[test]
    fn bounds_are_kept() {
        let nested = |n: usize| format!("{}1{}", "(".repeat(n), ")".repeat(n));
        assert!(parse(&nested(NESTING_MAX), SPANS).is_ok());
        assert!(matches!(parse(&nested(NESTING_MAX + 1), SPANS), Err(Error::Limit(_))));
        let chain = |n: usize| format!("1{}", "+1".repeat(n));
        assert!(parse(&chain(OPERATORS_MAX), SPANS).is_ok());
        assert!(matches!(parse(&chain(OPERATORS_MAX + 1), SPANS), Err(Error::Limit(_))));
        assert!(matches!(parse(&"a ".repeat(WORDS_MAX + 1), SPANS), Err(Error::Limit(_))));
        assert!(matches!(parse(&" ".repeat(QUERY_BYTES_MAX + 1), SPANS), Err(Error::Limit(_))));
        for hostile in ["x[1e300]", "x offset 1e300", "x[5m:1e300]", "x[Inf]", "x offset NaN", "x[NaN:1m]"] {
            assert!(parse(hostile, SPANS).is_err(), "{hostile}");
        }
    }
}
