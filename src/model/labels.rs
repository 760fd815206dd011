//! Label sets: what names a series, a target, a stream, an alert.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

/// The label that holds the metric name.
pub const LABEL_NAME: &str = "__name__";

/// A sorted set of label pairs; cheap to clone.
///
/// Shape: names are unique and in byte order; a pair with an empty value does not exist (it is the same
/// as no label). Kept as one text with the ends of its parts, so a set costs two allocations.
#[derive(Clone)]
pub struct Labels(Arc<Inner>);

struct Inner {
    /// All names and values, one after the other.
    text: Box<str>,
    /// Where each part ends in `text`: name, value, name, value, ...
    ends: Box<[u32]>,
}

impl Labels {
    /// Returns the empty set.
    #[must_use]
    pub fn empty() -> Self {
        Labels::from_sorted(std::iter::empty::<(&str, &str)>())
    }

    /// Builds a set from pairs in any order; the last of a repeated name wins, empty values fall away.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut builder = LabelsBuilder::default();
        for (name, value) in pairs {
            builder.set(name.as_ref(), value.as_ref());
        }
        builder.build()
    }

    /// Builds a set from pairs that are already in byte order of unique names, with no empty value.
    fn from_sorted<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut text = String::new();
        let mut ends = Vec::new();
        let end = |text: &String| u32::try_from(text.len()).unwrap_or(u32::MAX);
        for (name, value) in pairs {
            text.push_str(name);
            ends.push(end(&text));
            text.push_str(value);
            ends.push(end(&text));
        }
        Labels(Arc::new(Inner { text: text.into_boxed_str(), ends: ends.into_boxed_slice() }))
    }

    /// Returns how many pairs the set has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.ends.len() / 2
    }

    /// Tells whether the set has no pair.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.ends.is_empty()
    }

    /// Returns the pairs in byte order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut start = 0;
        self.0.ends.chunks_exact(2).map(move |pair| {
            let (name_end, value_end) = match *pair {
                [n, v] => (n as usize, v as usize),
                _ => (start, start),
            };
            let name = self.0.text.get(start..name_end).unwrap_or("");
            let value = self.0.text.get(name_end..value_end).unwrap_or("");
            start = value_end;
            (name, value)
        })
    }

    /// Returns the value of a label, or `None` if the set does not have it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| *n == name).map(|(_, v)| v)
    }

    /// Returns the metric name; empty if there is none.
    #[must_use]
    pub fn metric_name(&self) -> &str {
        self.get(LABEL_NAME).unwrap_or("")
    }

    /// Returns a hash of the set that is the same in every process and version.
    #[must_use]
    pub fn stable_hash(&self) -> u64 {
        let mut hasher = Xxh3::new();
        for (name, value) in self.iter() {
            hasher.update(name.as_bytes());
            hasher.update(&[0xff]);
            hasher.update(value.as_bytes());
            hasher.update(&[0xfe]);
        }
        hasher.digest()
    }

    /// Returns a builder that starts from this set.
    #[must_use]
    pub fn builder(&self) -> LabelsBuilder {
        LabelsBuilder { pairs: self.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect() }
    }

    /// Returns the set without the metric name.
    #[must_use]
    pub fn without_name(&self) -> Labels {
        if self.get(LABEL_NAME).is_none() {
            return self.clone();
        }
        Labels::from_sorted(self.iter().filter(|(n, _)| *n != LABEL_NAME))
    }

    /// Returns the pairs whose name is in `names`.
    #[must_use]
    pub fn keep(&self, names: &[impl AsRef<str>]) -> Labels {
        Labels::from_sorted(self.iter().filter(|(n, _)| names.iter().any(|k| k.as_ref() == *n)))
    }

    /// Returns the pairs whose name is not in `names`.
    #[must_use]
    pub fn drop(&self, names: &[impl AsRef<str>]) -> Labels {
        Labels::from_sorted(self.iter().filter(|(n, _)| names.iter().all(|k| k.as_ref() != *n)))
    }

    /// Returns how many bytes of memory the set holds.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.0.text.len() + self.0.ends.len() * 4 + 48
    }
}

impl Default for Labels {
    fn default() -> Self {
        Labels::empty()
    }
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || (self.0.ends == other.0.ends && self.0.text == other.0.text)
    }
}

impl Eq for Labels {}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.ends.hash(state);
        self.0.text.hash(state);
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Labels {
    /// Orders as Prometheus does: pair by pair, name before value, the shorter set first.
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl fmt::Display for Labels {
    /// Writes the set as PromQL does: `name{a="b"}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.metric_name())?;
        let mut rest = self.iter().filter(|(n, _)| *n != LABEL_NAME).peekable();
        if rest.peek().is_none() && !self.metric_name().is_empty() {
            return Ok(());
        }
        f.write_str("{")?;
        for (i, (name, value)) in rest.enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{name}={value:?}")?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<N: AsRef<str>, V: AsRef<str>> FromIterator<(N, V)> for Labels {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(iter: T) -> Self {
        Labels::from_pairs(iter)
    }
}

/// A label set in the making.
#[derive(Debug, Clone, Default)]
pub struct LabelsBuilder {
    pairs: Vec<(String, String)>,
}

impl LabelsBuilder {
    /// Sets a label; an empty value removes it.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        match self.pairs.iter_mut().find(|(n, _)| n == name) {
            Some((_, v)) => value.clone_into(v),
            None => self.pairs.push((name.to_owned(), value.to_owned())),
        }
        self
    }

    /// Removes a label.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.pairs.retain(|(n, _)| n != name);
        self
    }

    /// Returns the value that a label has so far; `None` if it is not set or empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(n, v)| n == name && !v.is_empty()).map(|(_, v)| v.as_str())
    }

    /// Returns the pairs so far, in the order they came.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().filter(|(_, v)| !v.is_empty()).map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// Returns the finished set.
    #[must_use]
    pub fn build(mut self) -> Labels {
        self.pairs.retain(|(_, v)| !v.is_empty());
        self.pairs.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Labels::from_sorted(self.pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_sorted_unique_and_without_empty_values() {
        let set = Labels::from_pairs([("b", "2"), ("a", "1"), ("c", ""), ("b", "3")]);
        assert_eq!(set.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "3")]);
        assert_eq!(set.get("c"), None);
        assert_eq!(set.len(), 2);
    }

    #[test]
    fn equal_text_with_other_borders_is_another_set() {
        let one = Labels::from_pairs([("ab", "c")]);
        let two = Labels::from_pairs([("a", "bc")]);
        assert_ne!(one, two);
        assert_ne!(one.stable_hash(), two.stable_hash());
    }

    #[test]
    fn the_stable_hash_never_changes() {
        let set = Labels::from_pairs([("__name__", "up"), ("job", "node")]);
        assert_eq!(set.stable_hash(), Labels::from_pairs([("job", "node"), ("__name__", "up")]).stable_hash());
    }

    #[test]
    fn sets_are_written_as_promql_writes_them() {
        assert_eq!(Labels::from_pairs([("__name__", "up"), ("job", "a\"b")]).to_string(), "up{job=\"a\\\"b\"}");
        assert_eq!(Labels::from_pairs([("__name__", "up")]).to_string(), "up");
        assert_eq!(Labels::empty().to_string(), "{}");
    }

    #[test]
    fn a_shorter_set_comes_first() {
        let one = Labels::from_pairs([("a", "1")]);
        let two = Labels::from_pairs([("a", "1"), ("b", "2")]);
        assert!(one < two);
        assert!(two < Labels::from_pairs([("a", "2")]));
    }
}
