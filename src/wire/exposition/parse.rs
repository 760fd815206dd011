//! A scrape body, line by line, into entries over its text.
//!
//! A sample's line is only cut into series, value and time here; [`SampleLine::labels`] reads the series part,
//! which a scraper needs once in a series' life. Cost of a known line: one pass over its bytes, no allocation.

use std::borrow::Cow;

use memchr::{memchr, memchr3, memrchr};

use super::float::parse_value;
use super::normal_bound;
use crate::model::{LABEL_NAME, Labels, LabelsBuilder, MetricKind};
use crate::wire::{Error, Result};

/// Which of the two text formats a body is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `text/plain; version=0.0.4`, and whatever does not say what it is. Times in milliseconds.
    Text,
    /// `application/openmetrics-text`. Times in seconds, ends with `# EOF`.
    OpenMetrics,
}

impl Format {
    /// Returns the format that a `Content-Type` names.
    #[must_use]
    pub fn of_content_type(content_type: &str) -> Self {
        let media_type = content_type.split(';').next().unwrap_or("").trim();
        if media_type.eq_ignore_ascii_case("application/openmetrics-text") { Format::OpenMetrics } else { Format::Text }
    }
}

/// What a line says. Comments and empty lines are passed over.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry<'a> {
    /// `# HELP name text`, with escapes resolved.
    Help(&'a str, Cow<'a, str>),
    /// `# TYPE name kind`; a kind we do not know is [`MetricKind::Unknown`].
    Type(&'a str, MetricKind),
    /// `# UNIT name unit`.
    Unit(&'a str, &'a str),
    /// A sample.
    Sample(SampleLine<'a>),
}

/// One sample's line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleLine<'a> {
    /// Name and labels as written: the same text is always the same series (under the same kind).
    pub series: &'a str,
    /// The value.
    pub value: f64,
    /// The target's own time, milliseconds since the epoch.
    pub timestamp_ms: Option<i64>,
    /// What the last `# TYPE` said.
    pub kind: MetricKind,
    /// Line number, from 1.
    pub line: usize,
}

/// Reads a body; an error is about one line, and a reader that goes on continues with the next.
#[derive(Debug, Clone)]
pub struct Parser<'a> {
    rest: &'a str,
    format: Format,
    line: usize,
    kind: MetricKind,
    has_ended: bool,
}

impl<'a> Parser<'a> {
    /// Starts at the first line.
    ///
    /// # Errors
    /// [`Error::Exposition`] if the body is not UTF-8.
    pub fn new(body: &'a [u8], format: Format) -> Result<Self> {
        let rest = std::str::from_utf8(body).map_err(|e| {
            let sound = body.get(..e.valid_up_to()).unwrap_or_default();
            let line = 1 + sound.iter().filter(|byte| **byte == b'\n').count();
            Error::Exposition { line, reason: "not UTF-8".to_owned() }
        })?;
        Ok(Parser { rest, format, line: 0, kind: MetricKind::Unknown, has_ended: false })
    }

    /// Returns a reader of what follows behind the part that this one has read to its end.
    ///
    /// # Errors
    /// [`Error::Exposition`] if it is not UTF-8.
    pub fn continued<'b>(&self, body: &'b [u8]) -> Result<Parser<'b>> {
        let next = Parser::new(body, self.format).map_err(|error| match error {
            Error::Exposition { line, reason } => Error::Exposition { line: self.line + line, reason },
            other => other,
        })?;
        Ok(Parser { line: self.line, kind: self.kind, ..next })
    }

    /// Whether `# EOF` was read.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    fn fail<T>(&self, reason: impl Into<String>) -> Result<T> {
        Err(Error::Exposition { line: self.line, reason: reason.into() })
    }

    /// Reads what stands after `#`; `None` for a comment.
    fn comment(&mut self, text: &'a str) -> Result<Option<Entry<'a>>> {
        let Some(text) = text.strip_prefix([' ', '\t']) else { return Ok(None) };
        let (keyword, rest) = cut_word(text);
        if !matches!(keyword, "HELP" | "TYPE" | "UNIT") {
            return Ok(None);
        }
        let (name, text) = match rest.strip_prefix('"') {
            Some(quoted) => match quoted.split_once('"') {
                Some((name, after)) => (name, after.trim_start_matches([' ', '\t'])),
                None => return self.fail(format!("a quoted name after {keyword} is not closed")),
            },
            None => cut_word(rest),
        };
        if name.is_empty() {
            return self.fail(format!("no name after {keyword}"));
        }
        Ok(Some(match keyword {
            "HELP" => Entry::Help(name, unescape(text, false)),
            "UNIT" => Entry::Unit(name, text.trim_end()),
            _ => {
                self.kind = kind_of(text.trim_end());
                Entry::Type(name, self.kind)
            }
        }))
    }

    fn sample(&self, text: &'a str) -> Result<SampleLine<'a>> {
        let end = match self.format {
            Format::Text => text_series_end(text),
            Format::OpenMetrics => series_end(text),
        };
        let Some((series, rest)) = end.and_then(|end| text.split_at_checked(end)) else {
            return self.fail("a label set is not closed");
        };
        if series.is_empty() {
            return self.fail("no metric name");
        }
        let (value_text, rest) = cut_word(skip_space(rest));
        let Some(value) = parse_value(value_text) else {
            return self.fail(format!("{:?} is no value", shorten(value_text)));
        };
        let (time_text, rest) = match self.format {
            // An exemplar follows `#`: passed over.
            Format::OpenMetrics if rest.starts_with('#') => ("", ""),
            Format::Text | Format::OpenMetrics => cut_word(rest),
        };
        let Ok(timestamp_ms) = self.time(time_text) else {
            return self.fail(format!("{:?} is no time", shorten(time_text)));
        };
        match self.format {
            Format::OpenMetrics if rest.starts_with('#') => {}
            _ if rest.trim_end().is_empty() => {}
            Format::Text | Format::OpenMetrics => return self.fail(format!("{:?} after the sample", shorten(rest))),
        }
        Ok(SampleLine { series, value, timestamp_ms, kind: self.kind, line: self.line })
    }

    fn time(&self, text: &str) -> std::result::Result<Option<i64>, ()> {
        match self.format {
            _ if text.is_empty() => Ok(None),
            Format::Text => text.parse().map(Some).map_err(|_| ()),
            Format::OpenMetrics => match text.parse::<f64>() {
                Ok(seconds) if seconds.is_finite() => {
                    Ok(Some(crate::model::Timestamp::from_seconds(seconds).as_millis()))
                }
                Ok(_) | Err(_) => Err(()),
            },
        }
    }
}

impl<'a> Iterator for Parser<'a> {
    type Item = Result<Entry<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let end = memchr(b'\n', self.rest.as_bytes()).unwrap_or(self.rest.len());
            let (line, rest) = self.rest.split_at(end);
            self.rest = rest.strip_prefix('\n').unwrap_or(rest);
            self.line += 1;
            let text = skip_space(line);
            let text = text.strip_suffix('\r').unwrap_or(text);
            if text.is_empty() {
                continue;
            }
            let Some(comment) = text.strip_prefix('#') else {
                return Some(self.sample(text).map(Entry::Sample));
            };
            if self.format == Format::OpenMetrics && comment.trim_end() == " EOF" {
                (self.rest, self.has_ended) = ("", true);
                return None;
            }
            match self.comment(comment) {
                Ok(None) => {}
                Ok(Some(entry)) => return Some(Ok(entry)),
                Err(error) => return Some(Err(error)),
            }
        }
        None
    }
}

impl SampleLine<'_> {
    /// Returns the labels with the metric name. A bucket's `le` and a summary's `quantile` are made normal.
    ///
    /// # Errors
    /// [`Error::Exposition`] if the series part does not parse, names no metric or a label twice.
    pub fn labels(&self) -> Result<Labels> {
        let mut reader = SeriesReader { rest: self.series, line: self.line };
        let name = reader.plain_name(true);
        let mut builder = LabelsBuilder::default();
        builder.set(LABEL_NAME, name);
        reader.skip_space();
        if reader.take('{') {
            while let Some((name, value)) = reader.pair()? {
                let value = match (self.kind, name.as_ref()) {
                    (MetricKind::Histogram, "le") | (MetricKind::Summary, "quantile") => {
                        Cow::Owned(normal_bound(&value))
                    }
                    _ => value,
                };
                if builder.get(&name).is_some() {
                    return reader.fail(format!("label {name:?} stands twice"));
                }
                builder.set(&name, &value);
            }
        }
        if builder.get(LABEL_NAME).is_none() {
            return reader.fail("no metric name");
        }
        if !reader.rest.is_empty() {
            return reader.fail(format!("{:?} is no metric name", shorten(self.series)));
        }
        Ok(builder.build())
    }
}

/// Reads name and labels of one series.
struct SeriesReader<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> SeriesReader<'a> {
    fn fail<T>(&self, reason: impl Into<String>) -> Result<T> {
        Err(Error::Exposition { line: self.line, reason: reason.into() })
    }

    fn skip_space(&mut self) {
        self.rest = skip_space(self.rest);
    }

    fn take(&mut self, wanted: char) -> bool {
        self.rest.strip_prefix(wanted).map(|rest| self.rest = rest).is_some()
    }

    /// Takes a name without quotes; empty if there is none here. `with_colon`: of a metric.
    fn plain_name(&mut self, with_colon: bool) -> &'a str {
        let is_part = |(i, c): (usize, char)| {
            c.is_ascii_alphabetic() || c == '_' || (c == ':' && with_colon) || (i > 0 && c.is_ascii_digit())
        };
        let end = self.rest.char_indices().find(|at| !is_part(*at)).map_or(self.rest.len(), |(i, _)| i);
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        name
    }

    /// Takes a text in quotes, the opening one included.
    fn quoted(&mut self) -> Result<Cow<'a, str>> {
        if !self.take('"') {
            return self.fail(format!("expected a text in quotes at {:?}", shorten(self.rest)));
        }
        let Some(end) = quote_end(self.rest) else { return self.fail("a text in quotes is not closed") };
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest.strip_prefix('"').unwrap_or(rest);
        Ok(unescape(text, true))
    }

    /// Takes one label; `None` at the end of the set. A quoted text alone is the metric's name.
    fn pair(&mut self) -> Result<Option<(Cow<'a, str>, Cow<'a, str>)>> {
        self.skip_space();
        if self.take('}') {
            return Ok(None);
        }
        let is_quoted = self.rest.starts_with('"');
        let name = if is_quoted { self.quoted()? } else { Cow::Borrowed(self.plain_name(false)) };
        self.skip_space();
        let pair = if self.take('=') {
            self.skip_space();
            (name, self.quoted()?)
        } else if is_quoted {
            (Cow::Borrowed(LABEL_NAME), name)
        } else {
            return self.fail(format!("expected a label at {:?}", shorten(self.rest)));
        };
        if pair.0.is_empty() {
            return self.fail("a label without a name");
        }
        self.skip_space();
        if !self.take(',') && !self.rest.starts_with('}') {
            return self.fail(format!("expected `,` or `}}` at {:?}", shorten(self.rest)));
        }
        Ok(Some(pair))
    }
}

/// Returns where the series part of a line of the old format ends: behind the last `}`, because only value and
/// time follow it, or before the first space if there are no labels. What is wrong with the part shows when its
/// labels are read.
fn text_series_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    if let Some(brace) = memrchr(b'}', bytes) {
        return Some(brace + 1);
    }
    match memchr3(b'{', b' ', b'\t', bytes) {
        Some(end) if bytes.get(end) == Some(&b'{') => None,
        Some(end) => Some(end),
        None => Some(text.len()),
    }
}

/// Returns where the series part of a line ends that may have an exemplar behind it.
fn series_end(text: &str) -> Option<usize> {
    let name_end = text.find(['{', ' ', '\t']).unwrap_or(text.len());
    let (_, after) = text.split_at(name_end);
    let brace = after.len() - after.trim_start_matches([' ', '\t']).len();
    let Some(labels) = after.get(brace..).and_then(|rest| rest.strip_prefix('{')) else { return Some(name_end) };
    let labels_start = name_end + brace + 1;
    let mut at = 0;
    while let Some(found) = labels.get(at..)?.find(['"', '}']) {
        at += found + 1;
        if labels.as_bytes().get(at - 1) == Some(&b'}') {
            return Some(labels_start + at);
        }
        at += quote_end(labels.get(at..)?)? + 1;
    }
    None
}

/// Returns where the closing quote is.
fn quote_end(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    })
}

/// Cuts off the first word and the space behind it.
fn cut_word(text: &str) -> (&str, &str) {
    match text.bytes().position(|byte| byte == b' ' || byte == b'\t') {
        Some(end) => {
            let (word, rest) = text.split_at(end);
            (word, skip_space(rest))
        }
        None => (text, ""),
    }
}

fn skip_space(text: &str) -> &str {
    let space = text.bytes().take_while(|byte| *byte == b' ' || *byte == b'\t').count();
    text.get(space..).unwrap_or("")
}

/// Resolves `\\`, `\n` and, in quotes, `\"`; any other backslash stands for itself.
fn unescape(text: &str, in_quotes: bool) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, chars.as_str().chars().next()) {
            ('\\', Some('\\')) => out.push('\\'),
            ('\\', Some('n')) => out.push('\n'),
            ('\\', Some('"')) if in_quotes => out.push('"'),
            _ => {
                out.push(c);
                continue;
            }
        }
        chars.next();
    }
    Cow::Owned(out)
}

fn kind_of(word: &str) -> MetricKind {
    match word {
        "counter" => MetricKind::Counter,
        "gauge" => MetricKind::Gauge,
        "histogram" => MetricKind::Histogram,
        "summary" => MetricKind::Summary,
        _ => MetricKind::Unknown,
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(60).collect()
}
