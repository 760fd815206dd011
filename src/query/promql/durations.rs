//! Arithmetic in durations (`x[5m * 2]`, `offset (1h / 2)`, `x[step() + 1m]`): worked out here and written as plain
//! seconds, because the parser crate takes only those. What `step()` and `range()` are is known before parsing.

use super::Result;
use super::parse::{Kind, Word, error_at};
use crate::model::parse_duration;

/// What a query's own functions mean in durations, in seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spans {
    /// `step()`
    pub(super) step: f64,
    /// `range()`
    pub(super) range: f64,
}

/// A place in the text and what is written there instead.
#[derive(Debug, PartialEq)]
pub(super) struct Replacement {
    /// First byte.
    pub(super) start: usize,
    /// First byte after it.
    pub(super) end: usize,
    /// The seconds.
    pub(super) text: String,
}

/// Finds all durations that are more than one word and works them out.
pub(super) fn replacements(text: &str, words: &[Word<'_>], spans: Spans) -> Result<Vec<Replacement>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let word = words[at];
        if word.kind == Kind::Mark && word.text == "[" {
            let end = closing(words, at);
            for part in words[at + 1..end].split(|w| w.text == ":") {
                let is_plain = matches!(part, [] | [Word { kind: Kind::Number, .. }]);
                if let Some(replacement) = if is_plain { None } else { Some(whole(text, part, spans)?) } {
                    found.push(replacement);
                }
            }
            at = end;
        } else if word.kind == Kind::Name && word.text.eq_ignore_ascii_case("offset") {
            let rest = &words[at + 1..];
            let sign = usize::from(rest.first().is_some_and(|w| is_sign(w)));
            let begins = rest.get(sign).is_some_and(|w| w.text == "(" || is_function(w));
            let is_called = |w: &Word<'_>| w.text == "(" || rest.get(sign + 1).is_some_and(|n| n.text == "(");
            if begins && rest.get(sign).is_some_and(is_called) {
                let mut parser = Parser { text, words: rest, at: 0, spans };
                let seconds = parser.signed()?;
                found.push(replacement(rest, parser.at, seconds));
                at += parser.at;
            }
        }
        at += 1;
    }
    Ok(found)
}

/// Works out all words of a bracket's part, which must be a positive time.
fn whole(text: &str, words: &[Word<'_>], spans: Spans) -> Result<Replacement> {
    let mut parser = Parser { text, words, at: 0, spans };
    let seconds = parser.sum()?;
    if let Some(word) = words.get(parser.at) {
        return Err(error_at(text, word.start, format!("unexpected {:?} in duration expression", word.text)));
    }
    let first = words.first().map_or(0, |w| w.start);
    if seconds.is_nan() || seconds < 0.001 {
        return Err(error_at(text, first, "duration must be greater than 0".to_owned()));
    }
    if seconds.is_infinite() {
        return Err(error_at(text, first, "duration out of range".to_owned()));
    }
    Ok(replacement(words, parser.at, seconds))
}

fn replacement(words: &[Word<'_>], count: usize, seconds: f64) -> Replacement {
    let start = words.first().map_or(0, |w| w.start);
    let end = words.get(count.saturating_sub(1)).map_or(start, |w| w.start + w.text.len());
    let seconds = (seconds * 1000.0).round() / 1000.0;
    Replacement { start, end, text: format!(" {}", if seconds == 0.0 { 0.0 } else { seconds }) }
}

/// Returns the index of the bracket that closes the one at `open`.
fn closing(words: &[Word<'_>], open: usize) -> usize {
    let found = words[open..].iter().position(|w| w.kind == Kind::Mark && w.text == "]");
    found.map_or(words.len(), |n| open + n)
}

fn is_sign(word: &Word<'_>) -> bool {
    matches!(word.text, "+" | "-")
}

fn is_function(word: &Word<'_>) -> bool {
    ["step", "range", "min_of", "max_of"].iter().any(|f| word.text.eq_ignore_ascii_case(f))
}

/// A parser by descent: sums of products of powers of signed values.
struct Parser<'t, 'w> {
    text: &'t str,
    words: &'w [Word<'t>],
    at: usize,
    spans: Spans,
}

impl<'t> Parser<'t, '_> {
    fn peek(&self) -> &'t str {
        self.words.get(self.at).map_or("", |w| w.text)
    }

    fn take(&mut self, wanted: &str) -> bool {
        let is_there = self.peek() == wanted;
        self.at += usize::from(is_there);
        is_there
    }

    fn expect(&mut self, wanted: &str) -> Result<()> {
        if self.take(wanted) { Ok(()) } else { Err(self.unexpected(wanted)) }
    }

    fn unexpected(&self, wanted: &str) -> super::Error {
        let at = self.words.get(self.at).map_or(self.text.len(), |w| w.start);
        error_at(self.text, at, format!("unexpected {:?} in duration expression, expected {wanted}", self.peek()))
    }

    fn sum(&mut self) -> Result<f64> {
        let mut value = self.product()?;
        loop {
            if self.take("+") {
                value += self.product()?;
            } else if self.take("-") {
                value -= self.product()?;
            } else {
                return Ok(value);
            }
        }
    }

    fn product(&mut self) -> Result<f64> {
        let mut value = self.power()?;
        loop {
            let divides = matches!(self.peek(), "/" | "%");
            let at = self.words.get(self.at).map_or(0, |w| w.start);
            if self.take("*") {
                value *= self.power()?;
            } else if divides {
                let is_division = self.peek() == "/";
                self.at += 1;
                let by = self.power()?;
                if by == 0.0 {
                    let what = if is_division { "division" } else { "modulo" };
                    return Err(error_at(self.text, at, format!("{what} by zero")));
                }
                value = if is_division { value / by } else { value % by };
            } else {
                return Ok(value);
            }
        }
    }

    fn power(&mut self) -> Result<f64> {
        if self.take("-") {
            return self.power().map(|v| -v);
        }
        if self.take("+") {
            return self.power();
        }
        let base = self.value()?;
        if self.take("^") { Ok(base.powf(self.power()?)) } else { Ok(base) }
    }

    /// One value with a sign or without: all that `offset` takes.
    fn signed(&mut self) -> Result<f64> {
        if self.take("-") {
            return self.value().map(|v| -v);
        }
        self.take("+");
        self.value()
    }

    fn value(&mut self) -> Result<f64> {
        let word = self.words.get(self.at).copied();
        let Some(word) = word else { return Err(self.unexpected("a duration")) };
        self.at += 1;
        if word.text == "(" {
            let value = self.sum()?;
            self.expect(")")?;
            return Ok(value);
        }
        if word.kind == Kind::Number
            && let Some(seconds) = seconds(word.text)
        {
            return Ok(seconds);
        }
        if !is_function(&word) {
            self.at -= 1;
            return Err(self.unexpected("a duration"));
        }
        self.expect("(")?;
        let value = match word.text.to_ascii_lowercase().as_str() {
            "step" => self.spans.step,
            "range" => self.spans.range,
            name => {
                let first = self.sum()?;
                self.expect(",")?;
                let second = self.sum()?;
                if name == "min_of" { first.min(second) } else { first.max(second) }
            }
        };
        self.expect(")")?;
        Ok(value)
    }
}

/// Reads a number or a duration, in seconds.
fn seconds(text: &str) -> Option<f64> {
    let plain: String = text.chars().filter(|c| *c != '_').collect();
    if let Some(hex) = plain.strip_prefix("0x").or_else(|| plain.strip_prefix("0X")) {
        return u32::from_str_radix(hex, 16).ok().map(f64::from);
    }
    plain.parse().ok().or_else(|| parse_duration(&plain).ok().map(|d| d.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::promql::parse::words;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let spans = Spans { step: 15.0, range: 3600.0 };
        let found = replacements(text, &words(text).unwrap(), spans).unwrap();
        assert_eq!(found.iter().map(|r| r.text.trim()).collect::<Vec<_>>(), expected, "{text}");
    }

    #[track_caller]
    fn check_refused(text: &str, expected: &str) {
        let spans = Spans { step: 15.0, range: 3600.0 };
        assert_eq!(replacements(text, &words(text).unwrap(), spans).unwrap_err().to_string(), expected);
    }

    #[test]
    fn durations_are_worked_out() {
        check("x[5m]", &[]);
        check("x[5m * 2]", &["600"]);
        check("x[-5m + 35m]", &["1800"]);
        check("x[2m*(10+5):STEP()*2]", &["1800", "30"]);
        check("x[4 ^ 2 ^ 0.5 + 7 % 4]", &["10.103"]);
        check("x[max_of(min_of(step(), 1h), 1ms)]", &["15"]);
        check("x offset (1h / 2)", &["1800"]);
        check("x offset -(2 ^ 2) + offset", &["-4"]);
        check("x offset step()*0", &["15"]);
        check("x offset 1m * (2)", &[]);
        check("offset / range", &[]);
    }

    #[test]
    fn what_is_no_duration_is_refused_with_its_place() {
        check_refused("x[5m - 10m]", "1:3: parse error: duration must be greater than 0");
        check_refused("x[5m / 0]", "1:6: parse error: division by zero");
        check_refused(
            "x[min(1m, 2m)]",
            "1:3: parse error: unexpected \"min\" in duration expression, expected a duration",
        );
    }
}
