//! The tree: nodes that know where they stand.

/// A value and the place of its first character; line and column count from 1, the column in characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Line in the text.
    pub line: usize,
    /// Column in the line.
    pub column: usize,
    /// What stands there.
    pub kind: Kind,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Nothing, `~` or `null`.
    Null,
    /// A text that may mean a number or a claim if it is plain.
    Scalar {
        /// The text after quotes and escapes are taken away.
        text: String,
        /// Whether it was written without quotes; only then can it be a number or a claim.
        is_plain: bool,
    },
    /// Values in order.
    List(Vec<Node>),
    /// Values by key, in the order of the text; no key stands twice.
    Map(Vec<Entry>),
}

/// One key of a map and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key's text.
    pub key: String,
    /// Line of the key.
    pub line: usize,
    /// Column of the key.
    pub column: usize,
    /// What stands under the key.
    pub value: Node,
}

impl Node {
    /// Returns the value under a key, if this is a map that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.kind {
            Kind::Map(entries) => entries.iter().find(|e| e.key == key).map(|e| &e.value),
            Kind::Null | Kind::Scalar { .. } | Kind::List(_) => None,
        }
    }

    /// Tells whether nothing stands here.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.kind == Kind::Null
    }

    /// Returns what this is in a person's words, for mistakes: `a list`, `a map`, `"text"`, `nothing`.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.kind {
            Kind::Null => "nothing".to_owned(),
            Kind::Scalar { text, .. } => {
                let short: String = text.chars().take(40).collect();
                let more = if short.len() < text.len() { ".." } else { "" };
                format!("{short:?}{more}")
            }
            Kind::List(_) => "a list".to_owned(),
            Kind::Map(_) => "a map".to_owned(),
        }
    }
}
