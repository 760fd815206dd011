//! Matchers to postings: which series pass, without touching each of them where an index will do.
//!
//! A regular expression that is only a choice of words (`a|b|c`) becomes that many lookups; one with a fixed
//! beginning looks only at values that begin so. A matcher that also passes series without the label is
//! turned round: the series it refuses are taken off. When few series are left, the rest of the matchers is
//! tried on their labels.

use regex_syntax::hir::literal::{ExtractKind, Extractor};

use super::postings::{Postings, intersect, normalise, subtract};
use crate::model::{LABEL_NAME, MatchOp, Matcher};

/// An expression with more words than this is tried on the values instead.
const WORDS_MAX: usize = 512;

/// With so few candidates per value of a label, looking at their labels is cheaper than the index.
const CANDIDATES_PER_VALUE: usize = 4;

/// Matchers made ready for several indexes.
#[derive(Debug)]
pub(crate) struct Selection<'a> {
    conditions: Vec<Condition<'a>>,
}

#[derive(Debug)]
struct Condition<'a> {
    matcher: &'a Matcher,
    /// Whether series without the label pass.
    passes_empty: bool,
    /// All values that pass (or, for a negative expression, that do not), if they are few and known.
    words: Option<Vec<String>>,
    /// How each such value begins.
    prefix: String,
}

impl<'a> Selection<'a> {
    /// Looks into the expressions.
    pub(crate) fn new(matchers: &'a [Matcher]) -> Self {
        let mut conditions: Vec<Condition<'a>> = matchers.iter().map(Condition::new).collect();
        // Exact ones first: they leave the fewest series.
        conditions.sort_by_key(|c| (c.passes_empty, c.words.as_ref().map_or(usize::MAX, Vec::len)));
        Selection { conditions }
    }

    /// Tells whether a series whose metric name is one from `first` to `last` may pass.
    pub(crate) fn reaches(&self, first: &str, last: &str) -> bool {
        let of_name = self.conditions.iter().filter(|c| c.matcher.name() == LABEL_NAME);
        of_name.filter(|c| !c.passes_empty && !c.is_negative()).all(|condition| match &condition.words {
            Some(words) => words.iter().any(|word| first <= word.as_str() && word.as_str() <= last),
            None => {
                let prefix = condition.prefix.as_str();
                last >= prefix && (first <= prefix || first.starts_with(prefix))
            }
        })
    }

    /// Returns the series of an index that pass all matchers, sorted.
    pub(crate) fn select(&self, index: &impl Postings) -> Vec<u32> {
        let mut found: Option<Vec<u32>> = None;
        for condition in &self.conditions {
            found = Some(match found {
                None if condition.passes_empty => condition.apply(index, index.all()),
                None => condition.positive(index),
                Some(candidates) if candidates.is_empty() => candidates,
                Some(candidates) => condition.apply(index, candidates),
            });
        }
        found.unwrap_or_else(|| index.all())
    }
}

impl<'a> Condition<'a> {
    fn new(matcher: &'a Matcher) -> Self {
        let value = matcher.value();
        let (words, prefix) = match matcher.op() {
            MatchOp::Equal | MatchOp::NotEqual => (Some(vec![value.to_owned()]), String::new()),
            MatchOp::Regex | MatchOp::NotRegex => literals(value),
        };
        Condition { matcher, passes_empty: matcher.matches_empty(), words, prefix }
    }

    fn is_negative(&self) -> bool {
        matches!(self.matcher.op(), MatchOp::NotEqual | MatchOp::NotRegex)
    }

    /// Returns the candidates that pass.
    fn apply(&self, index: &impl Postings, candidates: Vec<u32>) -> Vec<u32> {
        let name = self.matcher.name();
        let lookups = self.words.as_ref().map_or_else(|| index.value_count(name), Vec::len);
        if candidates.len() < lookups.saturating_mul(CANDIDATES_PER_VALUE) {
            return candidates.into_iter().filter(|id| self.matcher.matches(index.label(*id, name))).collect();
        }
        if self.passes_empty {
            subtract(candidates, &self.refused(index))
        } else {
            intersect(&candidates, &self.positive(index))
        }
    }

    /// Returns the series that have the label with a value that passes.
    fn positive(&self, index: &impl Postings) -> Vec<u32> {
        self.values(index, true)
    }

    /// Returns the series that have the label with a value that does not pass.
    fn refused(&self, index: &impl Postings) -> Vec<u32> {
        self.values(index, false)
    }

    fn values(&self, index: &impl Postings, passing: bool) -> Vec<u32> {
        let name = self.matcher.name();
        let mut found = Vec::new();
        // The words and the prefix say which values pass; of a negative matcher, which do not.
        let is_narrow = passing != self.is_negative();
        match &self.words {
            Some(words) if is_narrow => match words.as_slice() {
                [word] => return index.equal(name, word),
                words => words.iter().for_each(|w| found.extend(index.equal(name, w))),
            },
            _ => {
                let prefix = if is_narrow { self.prefix.as_str() } else { "" };
                index.matching(name, prefix, &mut |value| self.matcher.matches(value) == passing, &mut found);
            }
        }
        normalise(&mut found);
        found
    }
}

/// Returns the words an expression is a choice of, if it is, and else what all its matches begin with.
fn literals(pattern: &str) -> (Option<Vec<String>>, String) {
    let Ok(hir) = regex_syntax::Parser::new().parse(&format!("(?s:{pattern})")) else { return (None, String::new()) };
    let mut extractor = Extractor::new();
    extractor.kind(ExtractKind::Prefix).limit_total(WORDS_MAX).limit_repeat(4).limit_class(16);
    let sequence = extractor.extract(&hir);
    let prefix = sequence.longest_common_prefix().and_then(|p| std::str::from_utf8(p).ok()).unwrap_or("").to_owned();
    let words = sequence.literals().filter(|_| sequence.is_exact()).and_then(|literals| {
        literals.iter().map(|l| String::from_utf8(l.as_bytes().to_vec()).ok()).collect::<Option<Vec<String>>>()
    });
    // Anchors and word borders are not in the literals: such an expression is not only words.
    let is_plain = hir.properties().look_set().is_empty();
    (words.filter(|_| is_plain), if is_plain { prefix } else { String::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, words: Option<&[&str]>, prefix: &str) {
        let (found, common) = literals(pattern);
        let found = found.map(|mut w| {
            w.sort();
            w
        });
        assert_eq!(found, words.map(|w| w.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()), "{pattern}");
        assert_eq!(common, prefix, "{pattern}");
    }

    #[track_caller]
    fn check_reaches(op: MatchOp, value: &str, first: &str, last: &str, expected: bool) {
        let matchers = [Matcher::new("__name__", op, value).unwrap(), Matcher::equal("a", "b")];
        assert_eq!(Selection::new(&matchers).reaches(first, last), expected, "{value} in {first} to {last}");
    }

    #[test]
    fn a_page_is_passed_over_by_its_names() {
        check_reaches(MatchOp::Equal, "up", "a", "z", true);
        check_reaches(MatchOp::Equal, "up", "up", "up", true);
        check_reaches(MatchOp::Equal, "up", "v", "z", false);
        check_reaches(MatchOp::Equal, "up", "a", "u", false);
        check_reaches(MatchOp::Regex, "node_.*", "node_cpu", "node_load", true);
        check_reaches(MatchOp::Regex, "node_.*", "a", "node_", true);
        check_reaches(MatchOp::Regex, "node_.*", "a", "node", false);
        check_reaches(MatchOp::Regex, "node_.*", "nodf", "z", false);
        check_reaches(MatchOp::Regex, "up|down", "e", "t", false);
        check_reaches(MatchOp::Regex, ".*", "e", "t", true);
        check_reaches(MatchOp::NotEqual, "up", "up", "up", true);
        check_reaches(MatchOp::Equal, "", "a", "b", true);
    }

    #[test]
    fn words_and_beginnings_are_found_in_expressions() {
        check("a|b|c", Some(&["a", "b", "c"]), "");
        check("press[12]", Some(&["press1", "press2"]), "press");
        check("press.*", None, "press");
        check("(foo|foobar)", Some(&["foo", "foobar"]), "foo");
        check("a?", Some(&["", "a"]), "");
        check(".*", None, "");
        check("", Some(&[""]), "");
        check("(?i)ab", Some(&["AB", "Ab", "aB", "ab"]), "");
        check("^a", None, "");
    }
}
