//! The words of a mapping rule: subjects with captures, paths into JSON, texts with placeholders.

use std::fmt;
use std::str::FromStr;

use crate::model::MetricKind;

/// Why a text is no part of a mapping rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?}: {reason}")]
pub struct RuleError {
    text: String,
    reason: &'static str,
}

fn refuse<T>(text: &str, reason: &'static str) -> Result<T, RuleError> {
    Err(RuleError { text: text.chars().take(100).collect(), reason })
}

/// One rule: which messages, and which samples they give.
#[derive(Debug, Clone, PartialEq)]
pub struct MappingRule {
    /// What people call it, for pages and messages.
    pub name: String,
    /// Which messages.
    pub subject: SubjectTemplate,
    /// Where the message's own time is, RFC 3339 text or seconds or milliseconds since the epoch; without it,
    /// or if it is not believable, the time of receipt counts.
    pub timestamp: Option<JsonPath>,
    /// What they give; a sample whose value is not in the message is left out.
    pub samples: Vec<SampleRule>,
}

/// One sample of a message, or several where a path says `{name}` for each member.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleRule {
    /// The metric's name; what comes out is made legal by `_`, and that of a counter ends with `_total`.
    pub metric: Text,
    /// What kind it is, for the metadata.
    pub kind: MetricKind,
    /// What it means, for the metadata.
    pub help: String,
    /// In what it is measured: goes into the name, before the `_total` of a counter.
    pub unit: Option<Text>,
    /// Where the value is: a number, `true` or `false`, a text that is a number, or one of `words`.
    pub value: JsonPath,
    /// Values of texts, compared without case.
    pub words: Vec<(String, f64)>,
    /// What the value is multiplied with; 1 by default.
    pub scale: f64,
    /// Labels; one whose text comes out empty is left out.
    pub labels: Vec<(String, Text)>,
}

/// A subject with captures: `factory.{line_id}.conveyor.status`. A token may be a text, `{name}` or `*` for
/// any one token, and last `{name>}` or `>` for all that follow (at least one).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectTemplate {
    text: String,
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Literal(String),
    One(Option<String>),
    Rest(Option<String>),
}

impl SubjectTemplate {
    /// Returns the template as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the subject pattern of the bus that covers what the template matches.
    #[must_use]
    pub fn bus_pattern(&self) -> String {
        let tokens = self.tokens.iter().map(|token| match token {
            Token::Literal(text) => text.as_str(),
            Token::One(_) => "*",
            Token::Rest(_) => ">",
        });
        tokens.collect::<Vec<_>>().join(".")
    }

    /// Returns what the captures hold if the subject matches, in the order of the template.
    #[must_use]
    pub fn captures<'a>(&'a self, subject: &'a str) -> Option<Vec<(&'a str, &'a str)>> {
        let mut captures = Vec::new();
        let mut rest = Some(subject);
        for token in &self.tokens {
            let left = rest?;
            if let Token::Rest(name) = token {
                captures.extend(name.as_deref().map(|name| (name, left)));
                return Some(captures);
            }
            let (first, after) = left.split_once('.').map_or((left, None), |(first, after)| (first, Some(after)));
            match token {
                Token::Literal(text) if text != first => return None,
                Token::One(Some(name)) => captures.push((name, first)),
                Token::Literal(_) | Token::One(None) | Token::Rest(_) => {}
            }
            rest = after;
        }
        rest.is_none().then_some(captures)
    }
}

impl FromStr for SubjectTemplate {
    type Err = RuleError;
    fn from_str(text: &str) -> Result<Self, RuleError> {
        let mut tokens = Vec::new();
        for token in text.split('.') {
            if matches!(tokens.last(), Some(Token::Rest(_))) {
                return refuse(text, "nothing may follow `>`");
            }
            let capture = token.strip_prefix('{').and_then(|t| t.strip_suffix('}'));
            tokens.push(match (token, capture) {
                ("", _) => return refuse(text, "a token of a subject is empty"),
                ("*", _) => Token::One(None),
                (">", _) => Token::Rest(None),
                (_, Some(name)) => match name.strip_suffix('>') {
                    Some(name) if is_name(name) => Token::Rest(Some(name.to_owned())),
                    None if is_name(name) => Token::One(Some(name.to_owned())),
                    Some(_) | None => return refuse(text, "a capture is `{name}` of letters, digits and `_`"),
                },
                (literal, None) if literal.contains(['{', '}', '*', '>', ' ']) => {
                    return refuse(text, "a capture or wildcard must be a whole token");
                }
                (literal, None) => Token::Literal(literal.to_owned()),
            });
        }
        Ok(SubjectTemplate { text: text.to_owned(), tokens })
    }
}

/// Where something is in a JSON message: members between dots (`reading.value`), of an array by their number from 0
/// (`readings.0`), `{name}` for each member of an object or array, whose name or number is then captured. Empty or `$`:
/// the message itself. A leading `$.` is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPath {
    text: String,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Member(String),
    Each(String),
}

impl JsonPath {
    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }
}

impl FromStr for JsonPath {
    type Err = RuleError;
    fn from_str(text: &str) -> Result<Self, RuleError> {
        let rest = text.strip_prefix("$.").unwrap_or(if text == "$" { "" } else { text });
        let mut steps = Vec::new();
        for member in rest.split('.').filter(|_| !rest.is_empty()) {
            let each = member.strip_prefix('{').and_then(|m| m.strip_suffix('}'));
            steps.push(match each {
                Some(name) if is_name(name) => Step::Each(name.to_owned()),
                Some(_) => return refuse(text, "a capture is `{name}` of letters, digits and `_`"),
                None if member.is_empty() => return refuse(text, "a member of the path is empty"),
                None => Step::Member(member.to_owned()),
            });
        }
        Ok(JsonPath { text: text.to_owned(), steps })
    }
}

/// A text with placeholders: `{line_id}` is a capture of the subject or of a path, or `{device_id}`,
/// `{device_type}` of the sender; `{$.unit}` is a member of the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Literal(String),
    Capture(String),
    Member(JsonPath),
}

impl Text {
    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }
}

impl FromStr for Text {
    type Err = RuleError;
    fn from_str(text: &str) -> Result<Self, RuleError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once('{') {
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
            }
            let Some((placeholder, after)) = after.split_once('}') else {
                return refuse(text, "a placeholder is not closed");
            };
            parts.push(match placeholder.strip_prefix("$.") {
                Some(path) if !path.contains('{') => Part::Member(path.parse()?),
                None if is_name(placeholder) => Part::Capture(placeholder.to_owned()),
                Some(_) | None => return refuse(text, "a placeholder is `{name}` or `{$.member}`"),
            });
            rest = after;
        }
        if rest.contains('}') {
            return refuse(text, "`}` without `{`");
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        Ok(Text { text: text.to_owned(), parts })
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(template: &str, subject: &str, expected: Option<&[(&str, &str)]>) {
        let template: SubjectTemplate = template.parse().unwrap();
        assert_eq!(template.captures(subject).as_deref(), expected, "{} on {subject}", template.as_str());
    }

    #[test]
    fn a_subject_gives_its_captures() {
        check("factory.{line}.temp", "factory.line1.temp", Some(&[("line", "line1")]));
        check("factory.{line}.temp", "factory.line1.temp.x", None);
        check("factory.{line}.temp", "factory.line1", None);
        check("factory.*.>", "factory.line1.a.b", Some(&[]));
        check("t.{device}.{metric>}", "t.press1.a.b", Some(&[("device", "press1"), ("metric", "a.b")]));
        check("t.{device}.{metric>}", "t.press1", None);
    }

    #[test]
    fn a_template_has_a_pattern_for_the_bus() {
        let pattern = |text: &str| text.parse::<SubjectTemplate>().unwrap().bus_pattern();
        assert_eq!(pattern("factory.{line}.alerts.{level>}"), "factory.*.alerts.>");
    }

    #[test]
    fn bad_words_are_refused() {
        for bad in ["", "a..b", "a.{b", "a.x{b}", "{a>}.b", ">.a", "a.{}", "a.{b c}"] {
            assert!(bad.parse::<SubjectTemplate>().is_err(), "{bad}");
        }
        for bad in ["a..b", "{a b}", "a."] {
            assert!(bad.parse::<JsonPath>().is_err(), "{bad}");
        }
        for bad in ["{", "a}", "{a b}", "{$.{x}}", "{}"] {
            assert!(bad.parse::<Text>().is_err(), "{bad}");
        }
        assert!("$".parse::<JsonPath>().unwrap().steps().is_empty());
    }
}
