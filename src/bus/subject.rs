//! Addresses on the bus, as NATS has them: tokens between dots.
//!
//! In a pattern `*` stands for exactly one token and `>`, only as the last token, for one or more.
//! Source: NATS, subject-based messaging, 2.10.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::{Error, Result};

/// Longest subject or pattern in bytes; NATS itself refuses little, but a bound is needed.
pub const SUBJECT_BYTES_MAX: usize = 1024;
/// Most tokens of a subject or pattern: bounds the depth of the router's tree.
pub const SUBJECT_TOKENS_MAX: usize = 64;

/// A literal address: one or more tokens, no wildcards. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject(Arc<str>);

/// An address that may hold wildcards. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubjectPattern(Arc<str>);

impl Subject {
    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the tokens, in order; at least one.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }
}

impl SubjectPattern {
    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the tokens, in order; at least one.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// Tells whether the pattern stands for this subject.
    #[must_use]
    pub fn matches(&self, subject: &Subject) -> bool {
        contains(self.tokens(), subject.tokens())
    }

    /// Tells whether every subject that `other` stands for is also one of this pattern's.
    ///
    /// Decided token by token: a wildcard in `other` is covered only by a wildcard that is as wide.
    #[must_use]
    pub fn contains(&self, other: &SubjectPattern) -> bool {
        contains(self.tokens(), other.tokens())
    }
}

/// Walks two token lists; the inner one may hold wildcards, which only as wide a wildcard covers.
fn contains<'a>(outer: impl Iterator<Item = &'a str>, inner: impl Iterator<Item = &'a str>) -> bool {
    let mut inner = inner.peekable();
    for token in outer {
        match (token, inner.next()) {
            (_, None) => return false,
            (">", Some(_)) => return true,
            (_, Some(">")) => return false,
            ("*", Some(_)) => {}
            (literal, Some(other)) if literal == other => {}
            (_, Some(_)) => return false,
        }
    }
    inner.peek().is_none()
}

impl FromStr for Subject {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        check(text, "subject")?;
        if text.split('.').any(|token| token == "*" || token == ">") {
            return Err(refusal(text, "subject", "a subject to publish on has no wildcards"));
        }
        Ok(Subject(text.into()))
    }
}

impl FromStr for SubjectPattern {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        const WHAT: &str = "subject pattern";
        check(text, WHAT)?;
        let mut tokens = text.split('.').rev();
        tokens.next();
        if tokens.any(|token| token == ">") {
            return Err(refusal(text, WHAT, "'>' may only be the last token"));
        }
        Ok(SubjectPattern(text.into()))
    }
}

impl From<Subject> for SubjectPattern {
    fn from(subject: Subject) -> Self {
        SubjectPattern(subject.0)
    }
}

fn check(text: &str, what: &'static str) -> Result<()> {
    let reason = if text.is_empty() {
        "it is empty"
    } else if text.len() > SUBJECT_BYTES_MAX {
        "it is longer than 1024 bytes"
    } else if text.bytes().any(|b| b.is_ascii_control() || b == b' ') {
        "it holds a space or a control character"
    } else if text.split('.').any(str::is_empty) {
        "it has an empty token (a dot at an end, or two in a row)"
    } else if text.split('.').count() > SUBJECT_TOKENS_MAX {
        "it has more than 64 tokens"
    } else {
        return Ok(());
    };
    Err(refusal(text, what, reason))
}

fn refusal(text: &str, what: &'static str, reason: &'static str) -> Error {
    Error::Subject { text: text.chars().take(80).collect(), what, reason }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl fmt::Display for SubjectPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SubjectPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> SubjectPattern {
        text.parse().unwrap()
    }

    #[track_caller]
    fn check_match(text: &str, subject: &str, expected: bool) {
        assert_eq!(pattern(text).matches(&subject.parse().unwrap()), expected, "{text} on {subject}");
    }

    #[test]
    fn star_is_one_token_and_gt_is_the_rest() {
        check_match("telemetry.*.temp", "telemetry.press1.temp", true);
        check_match("telemetry.*", "telemetry.press1.temp", false);
        check_match("telemetry.>", "telemetry.press1.temp", true);
        check_match("telemetry.>", "telemetry", false);
        check_match(">", "telemetry", true);
        check_match("Telemetry.x", "telemetry.x", false);
    }

    #[track_caller]
    fn check_contains(outer: &str, inner: &str, expected: bool) {
        assert_eq!(pattern(outer).contains(&pattern(inner)), expected, "{outer} contains {inner}");
    }

    #[test]
    fn a_wildcard_is_covered_only_by_one_as_wide() {
        check_contains("a.*", "a.*", true);
        check_contains("a.*", "a.>", false);
        check_contains("a.>", "a.*", true);
        check_contains("a.>", "a.>", true);
        check_contains("a.>", ">", false);
        check_contains("a.>", "*.b", false);
        check_contains("*.b", "a.b", true);
        check_contains("a.b", "a.*", false);
        check_contains("a.*", "a.*.>", false);
        check_contains("a.*.>", "a.>", false);
    }

    /// Compares containment with its definition on all patterns of up to three tokens.
    #[test]
    fn containment_is_what_enumeration_says() {
        let lists = |alphabet: &[&str], lengths: std::ops::RangeInclusive<usize>| -> Vec<String> {
            let mut all: Vec<Vec<String>> = vec![vec![]];
            let mut result = Vec::new();
            for length in 1..=*lengths.end() {
                all = all
                    .iter()
                    .flat_map(|list| alphabet.iter().map(|t| [list.clone(), vec![(*t).to_owned()]].concat()))
                    .collect();
                if lengths.contains(&length) {
                    result.extend(all.iter().map(|list| list.join(".")));
                }
            }
            result
        };
        // A third letter and a fourth token stand for all that the patterns do not name.
        let subjects: Vec<Subject> = lists(&["a", "b", "c"], 1..=4).iter().map(|s| s.parse().unwrap()).collect();
        let patterns: Vec<SubjectPattern> =
            lists(&["a", "b", "*", ">"], 1..=3).iter().filter_map(|p| p.parse().ok()).collect();
        for outer in &patterns {
            for inner in &patterns {
                let by_definition = subjects.iter().filter(|s| inner.matches(s)).all(|s| outer.matches(s));
                assert_eq!(outer.contains(inner), by_definition, "{outer} contains {inner}");
            }
        }
    }

    #[test]
    fn what_nats_would_refuse_is_refused() {
        for bad in ["", ".", "a.", ".a", "a..b", "a b", "a\tb", "a\r\nPUB x", "a\0", "a.>.b", ">.a", &"a".repeat(1025)]
        {
            assert!(bad.parse::<SubjectPattern>().is_err(), "{bad:?}");
            assert!(bad.parse::<Subject>().is_err(), "{bad:?}");
        }
        assert!("a.*".parse::<Subject>().is_err());
        assert!("a.>".parse::<Subject>().is_err());
        assert!("a>b.c*".parse::<Subject>().is_ok(), "a wildcard is a whole token");
        assert!(vec!["a"; 65].join(".").parse::<Subject>().is_err());
        assert!(vec!["a"; 64].join(".").parse::<Subject>().is_ok());
    }
}
