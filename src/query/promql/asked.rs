//! When somebody last asked for a metric: what nobody looks at can be told from what is needed.
//!
//! In memory and since the start only. A name costs a map's entry; a question without a metric's name, for example
//! `{job="a"}`, is kept as it is and stands for every metric whose name its matchers let pass, so that nothing that is
//! needed looks forgotten. Bounded: of names and of such questions the oldest go first.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::syntax::{Expr, Selector, parse, selectors};
use crate::model::{LABEL_NAME, MatchOp, Matcher, Timestamp};

/// Names that are kept; with [`NAME_BYTES_MAX`] about 3 MB at worst, some ten kilobytes as a rule.
const NAMES_MAX: usize = 10_000;
/// Longer names are not kept.
const NAME_BYTES_MAX: usize = 256;
/// Questions without a name that are kept.
const WIDE_MAX: usize = 32;

/// The record's handle; cheap to clone. A note holds its lock for a look into a map.
#[derive(Debug, Clone, Default)]
pub struct Asked(Arc<Mutex<AskedSnapshot>>);

/// The record at one moment.
#[derive(Debug, Clone, Default)]
pub struct AskedSnapshot {
    names: BTreeMap<String, Timestamp>,
    /// By how they are written.
    wide: BTreeMap<String, Wide>,
}

/// A question without a metric's name.
#[derive(Debug, Clone)]
struct Wide {
    at: Timestamp,
    /// What a name has to pass.
    names: Vec<Matcher>,
}

/// When a metric was asked for last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastAsked {
    /// When.
    pub at: Timestamp,
    /// The question without a name that may have meant it; `None` if it was named.
    pub by: Option<String>,
}

impl Asked {
    /// Notes the selectors of an expression.
    pub(super) fn note(&self, tree: &Expr, at: Timestamp) {
        let found = selectors(tree);
        let mut record = self.lock();
        for selector in found {
            record.note(name_of(selector), parts(selector), at);
        }
    }

    /// Notes a selector that was no expression: of federation or remote read.
    pub fn note_selector(&self, matchers: &[Matcher], at: Timestamp) {
        let parts = || matchers.iter().map(|m| (m.name(), m.op(), m.value()));
        self.lock().note(named(parts()), parts(), at);
    }

    /// Returns the record as it is now.
    #[must_use]
    pub fn snapshot(&self) -> AskedSnapshot {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, AskedSnapshot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the metrics that an expression names; none if it does not read.
pub(crate) fn selected_metrics(expression: &str) -> Vec<String> {
    let tree = parse(expression).ok();
    let named = |selector: &Selector| name_of(selector).map(str::to_owned);
    tree.iter().flat_map(|tree| selectors(tree)).filter_map(named).collect()
}

/// Returns the one metric that a selector can mean.
fn name_of(selector: &Selector) -> Option<&str> {
    selector.name.as_deref().or_else(|| named(parts(selector)))
}

/// A matcher: label, operator, value.
type Part<'a> = (&'a str, MatchOp, &'a str);

/// Returns the matchers in a selector's braces.
fn parts(selector: &Selector) -> impl Iterator<Item = Part<'_>> {
    selector.matchers.iter().map(|m| (m.name.as_str(), m.op, m.value.as_str()))
}

/// Returns the one metric that matchers let pass.
fn named<'a>(mut parts: impl Iterator<Item = Part<'a>>) -> Option<&'a str> {
    parts.find(|(name, op, value)| *name == LABEL_NAME && *op == MatchOp::Equal && !value.is_empty()).map(|part| part.2)
}

impl AskedSnapshot {
    /// Returns when a metric was asked for last; `None` if it was not since the start.
    #[must_use]
    pub fn last(&self, metric: &str) -> Option<LastAsked> {
        let named = self.names.get(metric).map(|at| LastAsked { at: *at, by: None });
        let passes = |wide: &&Wide| wide.names.iter().all(|m| m.matches(metric));
        let wide = self.wide.iter().filter(|(_, wide)| passes(wide)).max_by_key(|(_, wide)| wide.at);
        let wide = wide.map(|(text, wide)| LastAsked { at: wide.at, by: Some(text.clone()) });
        // Whoever named it is told rather than who may have meant it.
        named.or(wide)
    }

    fn note<'a>(&mut self, name: Option<&str>, parts: impl Iterator<Item = Part<'a>>, at: Timestamp) {
        match name {
            Some(name) => self.note_name(name, at),
            None => self.note_wide(&parts.collect::<Vec<_>>(), at),
        }
    }

    fn note_name(&mut self, name: &str, at: Timestamp) {
        match self.names.get_mut(name) {
            Some(last) => *last = at.max(*last),
            None if name.len() > NAME_BYTES_MAX => {}
            None => {
                if self.names.len() >= NAMES_MAX {
                    forget_oldest(&mut self.names, |at| *at);
                }
                self.names.insert(name.to_owned(), at);
            }
        }
    }

    fn note_wide(&mut self, parts: &[Part<'_>], at: Timestamp) {
        let written = parts.iter().map(|(name, op, value)| format!("{name}{}{value:?}", op.as_str()));
        let text = format!("{{{}}}", written.collect::<Vec<_>>().join(","));
        let text: String = text.chars().take(NAME_BYTES_MAX).collect();
        match self.wide.get_mut(&text) {
            Some(wide) => wide.at = at.max(wide.at),
            None => {
                if self.wide.len() >= WIDE_MAX {
                    forget_oldest(&mut self.wide, |wide| wide.at);
                }
                let names = parts.iter().filter(|(name, ..)| *name == LABEL_NAME);
                let names = names.filter_map(|(name, op, value)| Matcher::new(name, *op, value).ok()).collect();
                self.wide.insert(text, Wide { at, names });
            }
        }
    }
}

fn forget_oldest<V>(map: &mut BTreeMap<String, V>, at: impl Fn(&V) -> Timestamp) {
    if let Some(oldest) = map.iter().min_by_key(|(_, value)| at(value)).map(|(name, _)| name.clone()) {
        map.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn last(asked: &Asked, name: &str) -> Option<(i64, Option<String>)> {
        asked.snapshot().last(name).map(|last| (last.at.as_millis(), last.by))
    }

    #[test]
    fn every_selector_of_an_expression_counts() {
        let asked = Asked::default();
        let text =
            "sum(rate(a[5m])) / on(x) max_over_time(b{c=\"d\"}[1h:5m]) + {__name__=\"e.f\"} * topk(scalar(g), -(h))";
        asked.note(&parse(text).unwrap(), at(5));
        for name in ["a", "b", "e.f", "g", "h"] {
            assert_eq!(last(&asked, name), Some((5, None)), "{name}");
        }
        assert_eq!(last(&asked, "c"), None);
        asked.note(&parse("a").unwrap(), at(9));
        asked.note(&parse("a").unwrap(), at(7));
        assert_eq!(last(&asked, "a"), Some((9, None)), "the newest");
    }

    #[test]
    fn a_question_without_a_name_may_mean_many() {
        let asked = Asked::default();
        asked.note(&parse("{__name__=~\"node_.+\",job=\"a\"}").unwrap(), at(1));
        let by = Some("{__name__=~\"node_.+\",job=\"a\"}".to_owned());
        assert_eq!(last(&asked, "node_load1"), Some((1, by)));
        assert_eq!(last(&asked, "up"), None);
        asked.note(&parse("node_load1").unwrap(), at(0));
        assert_eq!(last(&asked, "node_load1"), Some((0, None)), "by name");
        asked.note_selector(&[Matcher::equal("job", "b")], at(3));
        assert_eq!(last(&asked, "up"), Some((3, Some("{job=\"b\"}".to_owned()))));
        asked.note_selector(&[Matcher::equal(LABEL_NAME, "up")], at(4));
        assert_eq!(last(&asked, "up"), Some((4, None)));
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let asked = Asked::default();
        let names: Vec<Matcher> = (0..=NAMES_MAX).map(|i| Matcher::equal(LABEL_NAME, &format!("m{i}"))).collect();
        for (matcher, i) in names.iter().zip(0..) {
            asked.note_selector(std::slice::from_ref(matcher), at(i));
        }
        assert_eq!((last(&asked, "m0"), last(&asked, "m1")), (None, Some((1, None))));
        for i in 0..=WIDE_MAX {
            asked.note_selector(&[Matcher::equal("a", &i.to_string())], at(1_000_000));
        }
        assert_eq!(asked.snapshot().wide.len(), WIDE_MAX);
        asked.note_selector(&[Matcher::equal(LABEL_NAME, &"x".repeat(NAME_BYTES_MAX + 1))], at(0));
        assert_eq!(asked.snapshot().names.len(), NAMES_MAX);
    }
}
