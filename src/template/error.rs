//! What can be wrong with a template, and where.

/// Result of rendering.
pub type Result<T> = std::result::Result<T, Error>;

/// One mistake found when a template is read; positions are counted from 1, in characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Line in the template.
    pub line: usize,
    /// Column in the line.
    pub column: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

impl std::fmt::Display for Mistake {
    /// Writes `template 1:8: message`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "template {}:{}: {}", self.line, self.column, self.message)
    }
}

/// Why a template could not be rendered with these values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A value does not fit what is done with it.
    #[error("{0}")]
    Value(String),
    /// The text, a loop or a nesting went over its bound.
    #[error("the template {0}")]
    Limit(&'static str),
}
