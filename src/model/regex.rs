//! Regular expressions with Go's meaning: anchored as Prometheus uses them in matchers and relabelling, and free as
//! log filters use them.

use regex::{Captures, Regex, RegexBuilder};

use super::{Error, Result};

/// Upper bound of one compiled expression: keeps a hostile pattern from taking the memory.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// Upper bound of a pattern's text.
const PATTERN_BYTES_MAX: usize = 64 << 10;

/// An expression that must match the whole text; `.` matches a line end too.
#[derive(Debug, Clone)]
pub struct AnchoredRegex {
    pattern: String,
    compiled: Regex,
}

impl AnchoredRegex {
    /// Compiles `^(?s:pattern)$`.
    ///
    /// # Errors
    /// [`Error::Regex`] if the pattern does not compile or is too large.
    pub fn new(pattern: &str) -> Result<Self> {
        let compiled = compile(pattern, |translated| format!("^(?s:{translated})$"))?;
        Ok(AnchoredRegex { pattern: pattern.to_owned(), compiled })
    }

    /// Returns the pattern as written.
    #[must_use]
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// Tells whether the whole text matches.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        self.compiled.is_match(text)
    }

    /// Returns the groups of a match of the whole text.
    #[must_use]
    pub fn captures<'t>(&self, text: &'t str) -> Option<Captures<'t>> {
        self.compiled.captures(text)
    }
}

/// Compiles an expression that may match anywhere in a text.
///
/// # Errors
/// [`Error::Regex`] if the pattern does not compile or is too large.
pub fn search_regex(pattern: &str) -> Result<Regex> {
    compile(pattern, str::to_owned)
}

fn compile(pattern: &str, wrap: impl FnOnce(&str) -> String) -> Result<Regex> {
    let fail = |reason: String| Error::Regex { pattern: pattern.chars().take(200).collect(), reason };
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(fail(format!("longer than {PATTERN_BYTES_MAX} bytes")));
    }
    let translated = super::re2::translate(pattern).map_err(fail)?;
    RegexBuilder::new(&wrap(&translated))
        .size_limit(COMPILED_BYTES_MAX)
        .dfa_size_limit(COMPILED_BYTES_MAX)
        .nest_limit(250)
        .build()
        .map_err(|e| {
            let text = e.to_string();
            fail(text.lines().last().unwrap_or("does not compile").trim().trim_start_matches("error: ").to_owned())
        })
}

impl PartialEq for AnchoredRegex {
    fn eq(&self, other: &Self) -> bool {
        self.pattern == other.pattern
    }
}

impl Eq for AnchoredRegex {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_text_must_match() {
        let re = AnchoredRegex::new("a.c|d").unwrap();
        assert!(re.is_match("a\nc"));
        assert!(re.is_match("d"));
        assert!(!re.is_match("xd"));
        assert!(!re.is_match("dx"));
    }

    #[test]
    fn a_free_expression_matches_anywhere() {
        let re = search_regex(r"j.m|\d+$").unwrap();
        assert!(re.is_match("paper jam in zone"));
        assert!(re.is_match("zone 3"));
        assert!(!re.is_match("zone \u{0663}"));
    }

    #[test]
    fn a_bad_pattern_says_why() {
        let error = AnchoredRegex::new("(a").unwrap_err().to_string();
        assert!(error.contains("unclosed group"), "{error}");
        assert!(AnchoredRegex::new("((a{900}){900}){900}").is_err());
    }
}
