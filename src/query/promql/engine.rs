//! The engine's handle.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::{Error, Result, Value};
use crate::model::{Matcher, Timestamp};
use crate::storage::tsdb::Db;

/// Bounds of one query.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How far back a sample still counts at a step; 5 minutes by default.
    pub lookback: Duration,
    /// How long a query may take.
    pub timeout: Duration,
    /// How many samples a query may hold.
    pub samples_max: usize,
    /// Step of subqueries that do not name one: the global evaluation interval.
    pub default_step: Duration,
}

/// What a caller may change for one query.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Instead of [`Limits::lookback`].
    pub lookback: Option<Duration>,
    /// Instead of [`Limits::timeout`], if shorter.
    pub timeout: Option<Duration>,
    /// Set to true to stop the query.
    pub cancelled: Option<Arc<AtomicBool>>,
}

/// An answer with remarks and figures.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryResult {
    /// The answer.
    pub value: Value,
    /// Remarks that say the answer may be wrong.
    pub warnings: Vec<String>,
    /// Remarks that say the question may be odd.
    pub infos: Vec<String>,
    /// Samples read from the store.
    pub samples: usize,
}

/// Answers PromQL over a store; cheap to clone. Calls are synchronous and heavy: run them on the pool.
#[derive(Debug, Clone)]
pub struct Engine {
    db: Db,
    limits: Arc<Limits>,
}

impl Engine {
    /// Returns an engine over a store.
    #[must_use]
    pub fn new(db: Db, limits: Limits) -> Self {
        Engine { db, limits: Arc::new(limits) }
    }

    /// Answers an expression at one time.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn instant(&self, expression: &str, at: Timestamp, options: &Options) -> Result<QueryResult> {
        let _ = (&self.db, &self.limits, expression, at, options);
        Err(Error::Execution("the PromQL engine is not in this build yet".to_owned()))
    }

    /// Answers an expression at `start`, `start + step`, ... up to and including `end`.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn range(
        &self,
        expression: &str,
        start: Timestamp,
        end: Timestamp,
        step: Duration,
        options: &Options,
    ) -> Result<QueryResult> {
        let _ = (&self.db, &self.limits, expression, start, end, step, options);
        Err(Error::Execution("the PromQL engine is not in this build yet".to_owned()))
    }
}

/// Checks an expression without evaluating it: parses, resolves functions, checks types.
///
/// # Errors
/// [`Error::Parse`].
pub fn check(expression: &str) -> Result<()> {
    promql_parser::parser::parse(expression).map(|_| ()).map_err(|message| Error::Parse { line: 0, column: 0, message })
}

/// Reads a series selector (`match[]` of the API).
///
/// # Errors
/// [`Error::Parse`] if it is not a plain selector.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>> {
    let _ = text;
    Err(Error::Execution("the PromQL engine is not in this build yet".to_owned()))
}
