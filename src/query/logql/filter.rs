//! Conditions on a line and on its labels.

use regex::Regex;

use super::extract::Fields;
use super::unit;
use crate::model::Matcher;

/// A condition on the text of a line.
#[derive(Debug, Clone)]
pub(super) struct LineFilter {
    /// Whether a line with one of the texts passes, or one with none.
    pub(super) is_wanted: bool,
    /// Alternatives; not empty.
    pub(super) texts: Vec<LineText>,
}

/// What to look for in a line.
#[derive(Debug, Clone)]
pub(super) enum LineText {
    Plain(String),
    Regex(Regex),
}

impl LineFilter {
    pub(super) fn passes(&self, line: &str) -> bool {
        let is_found = self.texts.iter().any(|text| match text {
            LineText::Plain(text) => line.contains(text.as_str()),
            LineText::Regex(regex) => regex.is_match(line),
        });
        is_found == self.is_wanted
    }

    /// Returns the text that each passing line holds, if there is such a one.
    pub(super) fn needle(&self) -> Option<&str> {
        match (self.is_wanted, self.texts.as_slice()) {
            (true, [LineText::Plain(text)]) if !text.is_empty() => Some(text),
            _ => None,
        }
    }
}

/// A condition on the labels and fields of a line.
#[derive(Debug, Clone)]
pub(super) enum LabelFilter {
    And(Box<LabelFilter>, Box<LabelFilter>),
    Or(Box<LabelFilter>, Box<LabelFilter>),
    Text(Matcher),
    Number { name: String, comparison: Comparison, value: f64, unit: Unit },
}

/// How numbers compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// How a field's text becomes a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Plain,
    Nanoseconds,
    Bytes,
}

impl LabelFilter {
    /// Tells whether a line passes.
    ///
    /// As in Loki: a field that is not there fails a comparison of numbers; one that is no number, and a line
    /// that could not be parsed, pass it and carry `__error__`.
    pub(super) fn passes(&self, fields: &mut Fields<'_>) -> bool {
        match self {
            LabelFilter::And(a, b) => a.passes(fields) && b.passes(fields),
            LabelFilter::Or(a, b) => a.passes(fields) || b.passes(fields),
            LabelFilter::Text(matcher) => matcher.matches(fields.get(matcher.name()).unwrap_or("")),
            LabelFilter::Number { name, comparison, value, unit } => {
                if fields.has_error() {
                    return true;
                }
                let Some(text) = fields.get(name) else { return false };
                match unit.read(text) {
                    Some(found) => comparison.holds(found, *value),
                    None => {
                        fields.set_error("LabelFilterErr");
                        true
                    }
                }
            }
        }
    }
}

impl Comparison {
    #[expect(clippy::float_cmp, reason = "equality is what the person asked for")]
    fn holds(self, found: f64, value: f64) -> bool {
        match self {
            Comparison::Equal => found == value,
            Comparison::NotEqual => found != value,
            Comparison::Greater => found > value,
            Comparison::GreaterOrEqual => found >= value,
            Comparison::Less => found < value,
            Comparison::LessOrEqual => found <= value,
        }
    }
}

impl Unit {
    fn read(self, text: &str) -> Option<f64> {
        match self {
            Unit::Plain => text.parse().ok(),
            Unit::Nanoseconds => unit::parse_duration_ns(text),
            Unit::Bytes => unit::parse_bytes(text),
        }
    }
}
