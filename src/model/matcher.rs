//! One condition on a label.

use std::fmt;

use super::{AnchoredRegex, Labels, Result};

/// How a matcher compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

impl MatchOp {
    /// Returns the operator as written in PromQL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        }
    }

    /// Reads an operator as [`MatchOp::as_str`] writes it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex]
            .into_iter()
            .find(|op| op.as_str() == text)
    }
}

/// One condition on a label. A label that is not there has the empty value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    regex: Option<AnchoredRegex>,
}

impl Matcher {
    /// Builds a matcher.
    ///
    /// # Errors
    /// [`super::Error::Regex`] if `value` is to be an expression and does not compile.
    pub fn new(name: &str, op: MatchOp, value: &str) -> Result<Self> {
        let regex = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(AnchoredRegex::new(value)?),
        };
        Ok(Matcher { name: name.to_owned(), op, value: value.to_owned(), regex })
    }

    /// Builds `name="value"`.
    #[must_use]
    pub fn equal(name: &str, value: &str) -> Self {
        Matcher { name: name.to_owned(), op: MatchOp::Equal, value: value.to_owned(), regex: None }
    }

    /// Returns the label's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns how it compares.
    #[must_use]
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// Returns the value or the expression as written.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Tells whether a label with this value (empty: no such label) passes.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        let by_regex = |wanted: bool| self.regex.as_ref().is_some_and(|r| r.is_match(value) == wanted);
        match self.op {
            MatchOp::Equal => self.value == value,
            MatchOp::NotEqual => self.value != value,
            MatchOp::Regex => by_regex(true),
            MatchOp::NotRegex => by_regex(false),
        }
    }

    /// Tells whether a series without the label passes.
    #[must_use]
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }

    /// Tells whether a label set passes.
    #[must_use]
    pub fn matches_labels(&self, labels: &Labels) -> bool {
        self.matches(labels.get(&self.name).unwrap_or(""))
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{:?}", self.name, self.op.as_str(), self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(op: MatchOp, pattern: &str, value: &str, expected: bool) {
        assert_eq!(
            Matcher::new("l", op, pattern).unwrap().matches(value),
            expected,
            "{} {pattern} {value}",
            op.as_str()
        );
    }

    #[test]
    fn a_missing_label_has_the_empty_value() {
        check(MatchOp::Equal, "", "", true);
        check(MatchOp::NotEqual, "a", "", true);
        check(MatchOp::Regex, ".*", "", true);
        check(MatchOp::Regex, ".+", "", false);
        check(MatchOp::NotRegex, "a|b", "", true);
        check(MatchOp::NotRegex, "a|b", "b", false);
    }
}
