//! What is not a legal name, label, matcher, duration or time.

/// Result of reading a word of the model from text.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a text is not a word of the model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is not a Prometheus duration.
    #[error("not a valid duration: {0:?} (expected something like 30s, 5m, 1h30m, 15d)")]
    Duration(String),
    /// The text is not a time.
    #[error("not a valid time: {0:?} (expected RFC 3339 or seconds since the epoch)")]
    Time(String),
    /// The regular expression does not compile.
    #[error("invalid regular expression {pattern:?}: {reason}")]
    Regex {
        /// The expression as written.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The text is no list of matchers.
    #[error("not a matcher: {text:?}: {why}")]
    Matcher {
        /// The text.
        text: String,
        /// What was expected.
        why: String,
    },
    /// The text is not a legal label name.
    #[error("not a valid label name: {0:?}")]
    LabelName(String),
    /// The text is not a legal metric name.
    #[error("not a valid metric name: {0:?}")]
    MetricName(String),
    /// A label name stands twice in one label set.
    #[error("label {0:?} stands twice in one label set")]
    DuplicateLabel(String),
}
