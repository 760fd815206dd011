//! What is not legal on the wire, and where.

/// Result of reading a format of another program.
pub type Result<T> = std::result::Result<T, Error>;

/// Why bytes from another program could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The body says that it is, unpacked, larger than we take. Nothing was unpacked.
    #[error("body of {claimed_bytes} bytes unpacked is larger than the limit of {limit_bytes}")]
    TooLarge {
        /// What the body claims.
        claimed_bytes: u64,
        /// What we take.
        limit_bytes: u64,
    },
    /// More series or samples than one request may carry.
    #[error("request has more than {limit} {what}")]
    TooMany {
        /// `series`, `samples`, ...
        what: &'static str,
        /// What we take.
        limit: usize,
    },
    /// The body is not snappy.
    #[error("not snappy block format: {0}")]
    Snappy(String),
    /// The bytes are not the protobuf message that was expected.
    #[error("not the message that was expected: {what} at byte {offset}")]
    Protobuf {
        /// What is wrong.
        what: &'static str,
        /// Where, counted in the unpacked body.
        offset: usize,
    },
    /// A matcher that is none, for example a regex that does not compile.
    #[error("bad matcher: {0}")]
    Matcher(String),
    /// A line of the text exposition format does not parse.
    #[error("line {line}: {reason}")]
    Exposition {
        /// Which line, counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}
