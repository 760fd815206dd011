//! Label sets: what names a series, a target, a stream, an alert.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

/// The label that holds the metric name.
pub const LABEL_NAME: &str = "__name__";

/// A sorted set of label pairs; cheap to clone.
///
/// Shape: names are unique and in byte order; a pair with an empty value does not exist (it is the same
/// as no label). One allocation: name, value, name, value, ..., each behind its length.
///
/// A length is written as characters below 128, six bits each, lowest first, all but the last with bit 6 set,
/// so that the whole is one text and equal sets are equal texts.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Labels(Arc<str>);

impl Labels {
    /// Returns the empty set.
    #[must_use]
    pub fn empty() -> Self {
        Labels(Arc::from(""))
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
    pub(crate) fn from_sorted<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        Labels::from_sorted_in(&mut String::new(), pairs)
    }

    /// Does so by way of a text that many sets can be built in, one after the other.
    pub(crate) fn from_sorted_in<'a>(text: &mut String, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        text.clear();
        for (name, value) in pairs {
            push_part(text, name);
            push_part(text, value);
        }
        Labels(Arc::from(text.as_str()))
    }

    /// Returns how many pairs the set has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Tells whether the set has no pair.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the pairs in byte order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let (name, behind) = split_part(rest)?;
            let (value, behind) = split_part(behind)?;
            rest = behind;
            Some((name, value))
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

    /// Returns the set with those labels of another that it does not have.
    #[must_use]
    pub fn or(&self, other: &Labels) -> Labels {
        if other.is_empty() {
            return self.clone();
        }
        let mut builder = self.builder();
        for (name, value) in other.iter().filter(|(name, _)| self.get(name).is_none()) {
            builder.set(name, value);
        }
        builder.build()
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
        self.0.len() + 2 * size_of::<usize>()
    }
}

impl Default for Labels {
    fn default() -> Self {
        Labels::empty()
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
        // Sources that are read side by side mostly have the same one next.
        if self.0 == other.0 { Ordering::Equal } else { self.iter().cmp(other.iter()) }
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

fn push_part(text: &mut String, part: &str) {
    let mut length = part.len();
    while length >= 64 {
        text.push(char::from(64 | low_six_bits(length)));
        length >>= 6;
    }
    text.push(char::from(low_six_bits(length)));
    text.push_str(part);
}

fn low_six_bits(length: usize) -> u8 {
    u8::try_from(length & 63).unwrap_or(0)
}

/// Returns the first part and what is behind it; `None` at the end.
fn split_part(text: &str) -> Option<(&str, &str)> {
    let (mut length, mut shift) = (0, 0);
    for (i, byte) in text.bytes().enumerate() {
        length |= usize::from(byte & 63) << shift;
        if byte & 64 == 0 {
            return text.get(i + 1..)?.split_at_checked(length);
        }
        shift += 6;
    }
    None
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
    fn parts_of_any_length_come_back() {
        for length in [0, 1, 63, 64, 65, 4095, 4096, 300_000] {
            let value = "ä".repeat(length) + "x";
            let set = Labels::from_pairs([("a\0", value.as_str()), ("b", "\0")]);
            assert_eq!(set.iter().collect::<Vec<_>>(), [("a\0", value.as_str()), ("b", "\0")]);
        }
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
