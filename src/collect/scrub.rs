//! Secrets out of log lines before they are stored.
//!
//! Masks passwords, tokens and keys by their shape or by the name in front of them. One pass tells which
//! shapes occur at all; most lines have none and are handed on untouched. What was masked is counted by
//! kind, never shown. This is a net, not a wall: whoever logs a secret in a shape of their own gets it stored.

use std::borrow::Cow;

use regex::{Regex, RegexSet};

/// Kind, expression, what stands in its place. The order matters: what is certain comes first.
const PATTERNS: [(&str, &str, &str); 7] = [
    ("private_key", r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)", "***"),
    ("jwt", r"\beyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*", "***"),
    ("cloud_key", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{30,}|\bxox[abprs]-[A-Za-z0-9-]{10,}", "***"),
    ("authorization", r"(?i)\b(bearer|basic)( +)[A-Za-z0-9._~+/=-]{8,}", "$1$2***"),
    ("url_password", r"(?i)\b([a-z][a-z0-9+.-]*://[^\s:/@?#]*):[^\s@/?#]+@", "$1:***@"),
    (
        "quoted",
        r#"(?i)((?:password|passwd|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key)\\?["']\s*[:=]\s*\\?["'])[^"'\\]+"#,
        "$1***",
    ),
    (
        "named",
        r#"(?i)\b((?:[a-z0-9]+[_.-])*(?:password|passwd|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key)\s?[=:]\s?["']?)[^\s"',;&*]{3,}"#,
        "$1***",
    ),
];

/// Masks secrets.
#[derive(Debug)]
pub(super) struct Scrub {
    which: RegexSet,
    each: Vec<Regex>,
}

impl Scrub {
    /// Compiles the patterns. One that does not compile is left out; a test sees to it that all do.
    pub(super) fn new() -> Self {
        let each: Vec<Regex> = PATTERNS.iter().filter_map(|(_, pattern, _)| Regex::new(pattern).ok()).collect();
        let which = RegexSet::new(PATTERNS.map(|(_, pattern, _)| pattern)).unwrap_or_else(|_| RegexSet::empty());
        Scrub { which, each }
    }

    /// Returns the line with `***` for secrets; `masked` hears the kind of each shape that was there.
    pub(super) fn mask<'a>(&self, line: &'a str, mut masked: impl FnMut(&'static str)) -> Cow<'a, str> {
        let mut out = Cow::Borrowed(line);
        for i in self.which.matches(line) {
            let (Some(regex), Some((kind, _, replacement))) = (self.each.get(i), PATTERNS.get(i)) else { continue };
            if let Cow::Owned(changed) = regex.replace_all(&out, *replacement) {
                masked(kind);
                out = Cow::Owned(changed);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_patterns_compile() {
        let scrub = Scrub::new();
        assert_eq!((scrub.each.len(), scrub.which.len()), (PATTERNS.len(), PATTERNS.len()));
    }

    #[track_caller]
    fn check(line: &str, expected: &str) {
        assert_eq!(Scrub::new().mask(line, |_| {}), expected);
    }

    #[test]
    fn secrets_are_masked_and_the_rest_stays() {
        check("Authorization: Bearer abcdef123456 ok", "Authorization: Bearer *** ok");
        check("got eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl!", "got ***!");
        check("key AKIAIOSFODNN7EXAMPLE used", "key *** used");
        check("nats://user:s3cret@host:4222 up", "nats://user:***@host:4222 up");
        check("db_password=hunter2;next", "db_password=***;next");
        check("password: hunter2", "password: ***");
        check(r#"{"user":"a","password":"my pass","n":1}"#, r#"{"user":"a","password":"***","n":1}"#);
        check(r#"{\"apiKey\":\"abc\"}"#, r#"{\"apiKey\":\"***\"}"#);
        check("x -----BEGIN RSA PRIVATE KEY----- MIIE", "x ***");
        check("?token=abcd&x=1", "?token=***&x=1");
    }

    #[test]
    fn plain_lines_are_not_touched() {
        for line in [
            "temperature 71.5 over limit",
            "http://host:8080/path?x=1",
            "password changed by admin",
            "tokens: 500 left",
            "basic mode on",
            "scan 10:20:30 done",
        ] {
            assert!(matches!(Scrub::new().mask(line, |_| {}), Cow::Borrowed(_)), "{line}");
        }
    }

    #[test]
    fn kinds_are_told() {
        let mut kinds = Vec::new();
        Scrub::new().mask("password=abc Bearer abcdefghi", |kind| kinds.push(kind));
        assert_eq!(kinds, ["authorization", "named"]);
    }
}
