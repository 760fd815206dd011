//! A query, ready to be asked of lines.

use super::extract::{self, Fields};
use super::filter::{LabelFilter, LineFilter};
use super::{LogLine, Result, parse};
use crate::model::{Labels, LogEntry, Matcher};

/// How fields are taken out of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parser {
    Json,
    Logfmt,
}

/// What follows the line filters, in the order written.
#[derive(Debug, Clone)]
pub(super) enum Stage {
    Parse(Parser),
    Filter(LabelFilter),
}

/// A compiled query: tells for one line whether it passes, and with which labels. Used for the live tail.
#[derive(Debug, Clone)]
pub struct Filter {
    pub(super) matchers: Vec<Matcher>,
    pub(super) line_filters: Vec<LineFilter>,
    pub(super) stages: Vec<Stage>,
}

impl Filter {
    /// Compiles a query.
    ///
    /// # Errors
    /// [`super::Error::Parse`].
    pub fn new(query: &str) -> Result<Self> {
        parse::parse(query)
    }

    /// Tells whether a line passes.
    #[must_use]
    pub fn matches(&self, entry: &LogEntry) -> bool {
        self.matches_stream(&entry.stream) && self.labels(&entry.stream, &entry.line).is_some()
    }

    /// Returns the line with its labels and fields, if it passes.
    #[must_use]
    pub fn apply(&self, entry: LogEntry) -> Option<LogLine> {
        if !self.matches_stream(&entry.stream) {
            return None;
        }
        let labels = self.labels(&entry.stream, &entry.line)?;
        Some(LogLine { entry, labels })
    }

    /// Returns the conditions on the stream's labels.
    #[must_use]
    pub fn matchers(&self) -> &[Matcher] {
        &self.matchers
    }

    /// Returns texts that each passing line holds as they stand.
    pub(super) fn needles(&self) -> Vec<String> {
        self.line_filters.iter().filter_map(LineFilter::needle).map(str::to_owned).collect()
    }

    /// Returns the labels and fields of a line of a matching stream; `None` if it does not pass.
    pub(super) fn labels(&self, stream: &Labels, line: &str) -> Option<Labels> {
        if !self.line_filters.iter().all(|f| f.passes(line)) {
            return None;
        }
        if self.stages.is_empty() {
            return Some(stream.clone());
        }
        let mut fields = Fields::new(stream);
        for stage in &self.stages {
            match stage {
                Stage::Parse(Parser::Json) => extract::json(line, &mut fields),
                Stage::Parse(Parser::Logfmt) => extract::logfmt(line, &mut fields),
                Stage::Filter(filter) => {
                    if !filter.passes(&mut fields) {
                        return None;
                    }
                }
            }
        }
        Some(fields.into_labels())
    }

    fn matches_stream(&self, stream: &Labels) -> bool {
        self.matchers.iter().all(|m| m.matches_labels(stream))
    }
}
