//! Typed reading of a tree; what does not fit goes to the report and reading goes on.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Kind, Mistake, Node, Report, closest, scalar};
use crate::model::{Secret, parse_duration};

/// A node with the way to it and the report that hears of its mistakes; cheap to clone.
#[derive(Debug, Clone)]
pub struct Item<'a> {
    node: &'a Node,
    path: String,
    report: &'a Report,
}

impl<'a> Item<'a> {
    /// Returns the whole tree as an item.
    #[must_use]
    pub fn root(node: &'a Node, report: &'a Report) -> Self {
        Item { node, path: String::new(), report }
    }

    /// Returns the node itself.
    #[must_use]
    pub fn node(&self) -> &'a Node {
        self.node
    }

    /// Returns the way to the node: `groups[0].rules[3].expr`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the report that hears of mistakes here.
    #[must_use]
    pub fn report(&self) -> &'a Report {
        self.report
    }

    /// Reports a mistake at this place. Always returns `None`, so that a reader can end with it.
    pub fn mistake<T>(&self, message: impl Into<String>) -> Option<T> {
        self.report.add(self.remark(message.into(), None));
        None
    }

    /// Reports a mistake and what would be right. Always returns `None`.
    pub fn mistake_with<T>(&self, message: impl Into<String>, suggestion: impl Into<String>) -> Option<T> {
        self.report.add(self.remark(message.into(), Some(suggestion.into())));
        None
    }

    /// Reports something worth knowing at this place.
    pub fn note(&self, message: impl Into<String>) {
        self.report.note(self.remark(message.into(), None));
    }

    fn remark(&self, message: String, suggestion: Option<String>) -> Mistake {
        let Node { line, column, .. } = *self.node;
        Mistake { line, column, key_path: self.path.clone(), message, suggestion }
    }

    fn expected<T>(&self, what: &str) -> Option<T> {
        self.mistake(format!("expected {what}, found {}", self.node.describe()))
    }

    /// Returns the text of a scalar, quoted or not.
    fn scalar(&self, what: &str) -> Option<&'a str> {
        match &self.node.kind {
            Kind::Scalar { text, .. } => Some(text),
            Kind::Null | Kind::List(_) | Kind::Map(_) => self.expected(what),
        }
    }

    fn plain<T>(&self, what: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        match &self.node.kind {
            Kind::Scalar { text, is_plain } => match read(text) {
                Some(value) if *is_plain => Some(value),
                Some(_) => self.mistake_with(
                    format!("expected {what}, found the text {}", self.node.describe()),
                    format!("write {text} without quotes"),
                ),
                None => self.expected(what),
            },
            Kind::Null | Kind::List(_) | Kind::Map(_) => self.expected(what),
        }
    }

    /// Reads a text; numbers and claims count as the text they were written as.
    #[must_use]
    pub fn string(&self) -> Option<String> {
        self.scalar("a text").map(str::to_owned)
    }

    /// Reads a text that must not be shown again.
    #[must_use]
    pub fn secret(&self) -> Option<Secret> {
        match &self.node.kind {
            Kind::Scalar { text, .. } => Some(Secret::new(text.clone())),
            Kind::Null | Kind::List(_) | Kind::Map(_) => self.expected("a text"),
        }
    }

    /// Reads a claim: `true` or `false`.
    #[must_use]
    pub fn bool(&self) -> Option<bool> {
        self.plain("true or false", scalar::parse_bool)
    }

    /// Reads a whole number.
    #[must_use]
    pub fn integer(&self) -> Option<i64> {
        self.plain("a whole number", scalar::parse_integer)
    }

    /// Reads a whole number of at least `min` and at most `max`.
    #[must_use]
    pub fn integer_within(&self, min: i64, max: i64) -> Option<i64> {
        let number = self.integer()?;
        if (min..=max).contains(&number) {
            return Some(number);
        }
        self.mistake(if max == i64::MAX {
            format!("must be at least {min}, found {number}")
        } else {
            format!("must be from {min} to {max}, found {number}")
        })
    }

    /// Reads a number.
    #[must_use]
    pub fn float(&self) -> Option<f64> {
        self.plain("a number", scalar::parse_float)
    }

    /// Reads a duration as Prometheus writes it.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        let text = self.scalar("a duration like 30s")?;
        if let Ok(duration) = parse_duration(text) {
            return Some(duration);
        }
        let message = format!("not a duration: {}", self.node.describe());
        if text.bytes().all(|b| b.is_ascii_digit()) {
            return self.mistake_with(message, format!("write the unit, for example {text}s"));
        }
        self.mistake_with(message, "write it like 500ms, 30s, 5m, 1h30m or 15d")
    }

    /// Reads a size in bytes: `512KB`, `20GB`.
    #[must_use]
    pub fn byte_size(&self) -> Option<u64> {
        let text = self.scalar("a size like 20GB")?;
        match scalar::parse_byte_size(text) {
            Some(bytes) => Some(bytes),
            None => {
                self.mistake_with(format!("not a size: {}", self.node.describe()), "write it like 512KB, 100MB or 20GB")
            }
        }
    }

    /// Reads one of a closed set of words.
    #[must_use]
    pub fn one_of(&self, words: &[&'static str]) -> Option<&'static str> {
        let text = self.scalar(&format!("one of {}", words.join(", ")))?;
        if let Some(word) = words.iter().find(|w| **w == text) {
            return Some(word);
        }
        let message = format!("expected one of {}, found {}", words.join(", "), self.node.describe());
        match closest(text, words) {
            Some(word) => self.mistake_with(message, format!("did you mean {word:?}?")),
            None => self.mistake(message),
        }
    }

    /// Reads a list; empty if nothing stands here.
    #[must_use]
    pub fn items(&self) -> Vec<Item<'a>> {
        match &self.node.kind {
            Kind::Null => Vec::new(),
            Kind::List(list) => {
                let at = |(i, node)| Item { node, path: format!("{}[{i}]", self.path), report: self.report };
                list.iter().enumerate().map(at).collect()
            }
            Kind::Scalar { .. } | Kind::Map(_) => {
                let _: Option<()> = self.mistake_with(
                    format!("expected a list, found {}", self.node.describe()),
                    "begin each element with \"- \"",
                );
                Vec::new()
            }
        }
    }

    /// Reads a list of texts.
    #[must_use]
    pub fn strings(&self) -> Vec<String> {
        self.items().iter().filter_map(Item::string).collect()
    }

    /// Reads a map whose keys are the user's own, in the order of the text; empty if nothing stands here.
    #[must_use]
    pub fn entries(&self) -> Vec<(&'a str, Item<'a>)> {
        match &self.node.kind {
            Kind::Null => Vec::new(),
            Kind::Map(entries) => entries.iter().map(|e| (e.key.as_str(), self.below(&e.key, &e.value))).collect(),
            Kind::Scalar { .. } | Kind::List(_) => {
                let _: Option<()> = self.expected("a map");
                Vec::new()
            }
        }
    }

    /// Reads a map of texts, as labels are.
    #[must_use]
    pub fn string_map(&self) -> BTreeMap<String, String> {
        self.entries().into_iter().filter_map(|(key, item)| Some((key.to_owned(), item.string()?))).collect()
    }

    /// Reads a map whose keys must be among `known`; each other key is a mistake. `None` if it is no map; a
    /// place where nothing stands is a map without keys.
    #[must_use]
    pub fn fields(&self, known: &'static [&'static str]) -> Option<Fields<'a>> {
        self.fields_named_elsewhere(known, &[])
    }

    /// As [`Item::fields`], for a map whose keys have other names elsewhere: each with what is to be done about it.
    pub fn fields_named_elsewhere(
        &self,
        known: &'static [&'static str],
        elsewhere: &[(&str, &str)],
    ) -> Option<Fields<'a>> {
        let fields = Fields { item: self.clone(), known };
        let entries = match &self.node.kind {
            Kind::Null => return Some(fields),
            Kind::Map(entries) => entries,
            Kind::Scalar { .. } | Kind::List(_) => return self.expected("a map"),
        };
        for entry in entries.iter().filter(|e| !known.contains(&e.key.as_str())) {
            self.report.add(Mistake {
                line: entry.line,
                column: entry.column,
                key_path: self.below(&entry.key, &entry.value).path,
                message: "unknown key".to_owned(),
                suggestion: match elsewhere.iter().find(|(name, _)| *name == entry.key) {
                    Some((_, remedy)) => Some((*remedy).to_owned()),
                    None => closest(&entry.key, known).map(|key| format!("did you mean {key:?}?")),
                },
            });
        }
        Some(fields)
    }

    fn below(&self, key: &str, node: &'a Node) -> Item<'a> {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        Item { node, path, report: self.report }
    }
}

/// A map with known keys. A key under which nothing stands counts as absent, as Prometheus has it.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    item: Item<'a>,
    known: &'static [&'static str],
}

impl<'a> Fields<'a> {
    /// Returns the map as an item, for mistakes that concern all of it.
    #[must_use]
    pub fn item(&self) -> &Item<'a> {
        &self.item
    }

    /// Returns what stands under a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Item<'a>> {
        debug_assert!(self.known.contains(&key), "bug: {key} is read but not among the known keys");
        let node = self.item.node.get(key)?;
        (!node.is_null()).then(|| self.item.below(key, node))
    }

    /// Returns what stands under a key; a mistake at the map if nothing does.
    #[must_use]
    pub fn required(&self, key: &str) -> Option<Item<'a>> {
        self.get(key).or_else(|| self.item.mistake(format!("{key} is missing")))
    }

    /// Reads the required text under a key.
    #[must_use]
    pub fn required_string(&self, key: &str) -> Option<String> {
        self.required(key)?.string()
    }

    /// Reads the text under a key.
    #[must_use]
    pub fn string(&self, key: &str) -> Option<String> {
        self.get(key)?.string()
    }

    /// Reads the secret under a key.
    #[must_use]
    pub fn secret(&self, key: &str) -> Option<Secret> {
        self.get(key)?.secret()
    }

    /// Reads the claim under a key.
    #[must_use]
    pub fn bool(&self, key: &str) -> Option<bool> {
        self.get(key)?.bool()
    }

    /// Reads the whole number under a key.
    #[must_use]
    pub fn integer(&self, key: &str) -> Option<i64> {
        self.get(key)?.integer()
    }

    /// Reads the count under a key: a whole number from `min` to `max`.
    #[must_use]
    pub fn count(&self, key: &str, min: usize, max: usize) -> Option<usize> {
        let bound = |n| i64::try_from(n).unwrap_or(i64::MAX);
        usize::try_from(self.get(key)?.integer_within(bound(min), bound(max))?).ok()
    }

    /// Reads the number under a key.
    #[must_use]
    pub fn float(&self, key: &str) -> Option<f64> {
        self.get(key)?.float()
    }

    /// Reads the duration under a key.
    #[must_use]
    pub fn duration(&self, key: &str) -> Option<Duration> {
        self.get(key)?.duration()
    }

    /// Reads the duration under a key, which must not be zero.
    #[must_use]
    pub fn positive_duration(&self, key: &str) -> Option<Duration> {
        let item = self.get(key)?;
        let duration = item.duration()?;
        if duration.is_zero() { item.mistake("must be longer than zero") } else { Some(duration) }
    }

    /// Reads the size in bytes under a key.
    #[must_use]
    pub fn byte_size(&self, key: &str) -> Option<u64> {
        self.get(key)?.byte_size()
    }

    /// Reads the list under a key; empty if nothing stands there.
    #[must_use]
    pub fn items(&self, key: &str) -> Vec<Item<'a>> {
        self.get(key).map(|item| item.items()).unwrap_or_default()
    }

    /// Reads the list of texts under a key; empty if nothing stands there.
    #[must_use]
    pub fn strings(&self, key: &str) -> Vec<String> {
        self.get(key).map(|item| item.strings()).unwrap_or_default()
    }

    /// Reads the map of texts under a key; empty if nothing stands there.
    #[must_use]
    pub fn string_map(&self, key: &str) -> BTreeMap<String, String> {
        self.get(key).map(|item| item.string_map()).unwrap_or_default()
    }

    /// Reads the map with known keys under a key; `None` if nothing stands there or it is no map.
    #[must_use]
    pub fn fields(&self, key: &str, known: &'static [&'static str]) -> Option<Fields<'a>> {
        self.get(key)?.fields(known)
    }
}
