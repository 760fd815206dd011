//! The engine's handle.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::columns::{Grid, is_present};
use super::eval::{Evaluation, Repeated};
use super::plan::{Planner, selector_matchers};
use super::syntax::{Expr, json, parse, pretty};
use super::trace::{Counts, Tracer};
use super::tree::{Plan, Vector};
use super::warnings::Remarks;
use super::{Asked, Error, InstantSeries, Result, Stats, Trace, Value};
use crate::clock::Clock;
use crate::model::{Matcher, Sample, Timestamp};
use crate::query::limits::{Deadline, Kept, SampleBudget, Together};
use crate::query::log::{Origin, Outcome, QueryLog};
use crate::storage::tsdb::Db;
use crate::task::Cores;

/// Upper bound of steps of a range query after its first, as upstream has it.
const STEPS_MAX: i64 = 11_000;

/// When a query is evaluated.
#[derive(Debug, Clone, Copy)]
struct Frame {
    grid: Grid,
    /// The end as asked for, milliseconds; the last step may be earlier.
    end: i64,
    /// What `step()` is; 0 for an instant query.
    step_ms: i64,
}

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
    /// Whether samples are to be counted at each step ([`Stats::queryable_at`]).
    pub counts_steps: bool,
    /// Whether it is to be told what each part of the expression takes ([`QueryResult::trace`]). Costs two looks at the
    /// clock for each row that a part hands on.
    pub is_traced: bool,
    /// When it is asked, if [`Engine::asked`] is to know; rules, which ask all the time, do not say.
    pub asked_at: Option<Timestamp>,
    /// Who asks, for the record.
    pub origin: Origin,
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
    /// What it took.
    pub stats: Stats,
    /// What its parts took, if it was asked for; an answer that is worked out of numbers only has none.
    pub trace: Option<Trace>,
    /// What counts its samples among those that all queries hold, until it is dropped.
    pub kept: Kept,
}

/// Answers PromQL over a store; cheap to clone. Calls are synchronous and heavy: run them on the pool.
#[derive(Debug, Clone)]
pub struct Engine {
    db: Db,
    limits: Arc<Limits>,
    asked: Asked,
    cores: Cores,
    /// What all queries hold.
    together: Together,
    log: QueryLog,
}

impl Engine {
    /// Returns an engine over a store.
    #[must_use]
    pub fn new(db: Db, limits: Limits) -> Self {
        let log = QueryLog::new(Clock::system());
        let (asked, cores, together) = (Asked::default(), Cores::of_machine(), Together::default());
        Engine { db, limits: Arc::new(limits), asked, cores, together, log }
    }

    /// Returns the record of when metrics were asked for last.
    #[must_use]
    pub fn asked(&self) -> &Asked {
        &self.asked
    }

    /// Returns an engine of its own that takes the machine to have so many cores.
    #[must_use]
    pub fn on_cores(&self, cores: usize) -> Self {
        Engine { cores: Cores::new(cores), ..self.clone() }
    }

    /// Returns the engine with a record that goes by this clock.
    #[must_use]
    pub fn timed_by(self, clock: Clock) -> Self {
        Engine { log: QueryLog::new(clock), ..self }
    }

    /// Returns what is asked and what it takes.
    #[must_use]
    pub fn log(&self) -> &QueryLog {
        &self.log
    }

    /// Answers an expression at one time.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn instant(&self, expression: &str, at: Timestamp, options: &Options) -> Result<QueryResult> {
        let grid = Grid { start: at.as_millis(), step: 1, count: 1 };
        self.run(expression, Frame { grid, end: grid.start, step_ms: 0 }, options, |evaluation, plan| match plan {
            Plan::Text(text) => Ok(Value::String(at, text)),
            Plan::Scalar(scalar) => {
                let value = evaluation.scalar(&scalar, &grid)?.first().copied().unwrap_or(f64::NAN);
                Ok(Value::Scalar(Sample::new(at, value)))
            }
            Plan::Vector(vector) => {
                let found = evaluation.vector(&vector, &grid)?;
                let samples = found.rows().filter_map(|(labels, row)| {
                    let value = row.first().copied().filter(|v| is_present(*v))?;
                    Some(InstantSeries { labels: labels.clone(), sample: Sample::new(at, value) })
                });
                Ok(Value::Vector(samples.collect()))
            }
            Plan::Range(range) => evaluation.samples(&range, &grid).map(Value::Matrix),
        })
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
        let grid = range_grid(start, end, step)?;
        self.run(expression, Frame { grid, end: end.as_millis(), step_ms: grid.step }, options, |evaluation, plan| {
            let vector = match plan {
                Plan::Scalar(scalar) => Vector::OfScalar(scalar),
                Plan::Vector(vector) => vector,
                Plan::Range(_) => return Err(wrong_type("range vector")),
                Plan::Text(_) => return Err(wrong_type("string")),
            };
            let mut found = evaluation.matrix(&vector, &grid)?;
            found.sort_by(|a, b| a.labels.cmp(&b.labels));
            Ok(Value::Matrix(found))
        })
    }

    /// Answers, and notes it.
    fn run(
        &self,
        expression: &str,
        frame: Frame,
        options: &Options,
        answer: impl FnOnce(&Evaluation<'_>, Plan) -> Result<Value>,
    ) -> Result<QueryResult> {
        let (start, end) = (Timestamp::from_millis(frame.grid.start), Timestamp::from_millis(frame.end));
        let step = Duration::from_millis(frame.step_ms.unsigned_abs());
        let entry = self.log.begin(options.origin.clone(), expression, start, end, step);
        let result = self.evaluate(expression, frame, options, answer);
        entry.end(match &result {
            Ok(result) => Outcome::Answer { series: result.value.series(), samples: result.samples },
            Err(error) => Outcome::Failure(error.to_string()),
        });
        result
    }

    fn evaluate(
        &self,
        expression: &str,
        Frame { grid, end, step_ms }: Frame,
        options: &Options,
        answer: impl FnOnce(&Evaluation<'_>, Plan) -> Result<Value>,
    ) -> Result<QueryResult> {
        let timeout = options.timeout.map_or(self.limits.timeout, |t| t.min(self.limits.timeout));
        let deadline = Deadline::after(timeout, options.cancelled.clone());
        let budget = SampleBudget::new(self.limits.samples_max, self.together.clone(), self.db.headroom());
        let remarks = Remarks::default();
        let default_step_ms = millis(self.limits.default_step).max(1);
        let is_traced = options.is_traced;
        let repeated = Repeated::default();
        let (text, start, is_counted) = (expression, grid.start, Some(&repeated));
        let planner = Planner { text, start, end, step_ms, default_step_ms, is_traced, repeated: is_counted };
        let tree = parse(expression)?;
        let plan = planner.plan(&tree)?;
        if let Some(at) = options.asked_at {
            self.asked.note(&tree, at);
        }
        deadline.check()?;
        let preparing = deadline.elapsed();
        let counts = Counts::new(if options.counts_steps { grid.count } else { 0 });
        let tracer = is_traced.then(Tracer::default);
        let _busy = self.cores.enter();
        let querier = self.db.querier();
        let evaluation = Evaluation {
            querier: &querier,
            deadline: &deadline,
            budget: &budget,
            lookback_ms: millis(options.lookback.unwrap_or(self.limits.lookback)),
            is_instant: grid.count == 1,
            remarks: &remarks,
            counts: &counts,
            tracer: tracer.as_ref(),
            cores: &self.cores,
            given: Mutex::default(),
            is_part: false,
            repeated: &repeated,
        };
        let value = answer(&evaluation, plan)?;
        let (warnings, infos) = remarks.into_parts(expression);
        let (queryable, queryable_at) = counts.into_parts(&grid);
        let evaluating = deadline.elapsed().saturating_sub(preparing);
        let stats = Stats { queryable, queryable_at, peak: budget.peak(), preparing, evaluating };
        let trace = tracer.and_then(|tracer| tracer.into_trace(expression));
        let kept = self.together.keep(value.weight());
        Ok(QueryResult { value, warnings, infos, samples: budget.read(), stats, trace, kept })
    }
}

/// Returns the steps of a range query.
fn range_grid(start: Timestamp, end: Timestamp, step: Duration) -> Result<Grid> {
    let (start, end, step) = (start.as_millis(), end.as_millis(), millis(step));
    if step <= 0 {
        return Err(Error::Execution("zero or negative query resolution step widths are not accepted".to_owned()));
    }
    let span = end.checked_sub(start).filter(|s| *s >= 0);
    let span = span.ok_or_else(|| Error::Execution("end timestamp must not be before start time".to_owned()))?;
    if span / step > STEPS_MAX {
        return Err(Error::Limit(format!(
            "exceeded maximum resolution of {STEPS_MAX} points per timeseries. Try decreasing the query resolution (?step=XX)"
        )));
    }
    let count = usize::try_from(span / step + 1).unwrap_or(1);
    Ok(Grid { start, step, count })
}

fn wrong_type(found: &str) -> Error {
    Error::Parse {
        line: 0,
        column: 0,
        message: format!("invalid expression type \"{found}\" for range query, must be Scalar or instant Vector"),
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Checks an expression without evaluating it: parses, resolves functions, checks types.
///
/// # Errors
/// [`Error::Parse`] with the position where it is known, or [`Error::Limit`].
pub fn check(expression: &str) -> Result<()> {
    checked(expression).map(|_| ())
}

/// Reads an expression and plans it, so that all its mistakes are found.
fn checked(expression: &str) -> Result<Expr> {
    let tree = parse(expression)?;
    // `step()` and `range()` are not known yet; whatever they are, the rest is checked.
    let (end, step_ms, default_step_ms) = (3_600_000, 60_000, 60_000);
    let planner =
        Planner { text: expression, start: 0, end, step_ms, default_step_ms, is_traced: false, repeated: None };
    planner.plan(&tree)?;
    Ok(tree)
}

/// Reads a series selector (`match[]` of the API).
///
/// # Errors
/// [`Error::Parse`] if it is not a plain selector.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>> {
    let not_plain = || Error::Parse { line: 1, column: 1, message: "expected a series selector".to_owned() };
    selector_matchers(&parse(text)?, text).ok_or_else(not_plain)?
}

/// Returns the expression written in the usual way, over several lines if it is long.
///
/// # Errors
/// [`Error::Parse`] if it is not PromQL.
pub fn format(expression: &str) -> Result<String> {
    checked(expression).map(|tree| pretty(&tree))
}

/// Returns the expression's syntax tree as JSON text, in the shape of upstream's `parse_query`.
///
/// # Errors
/// [`Error::Parse`] if it is not PromQL.
pub fn syntax_tree(expression: &str) -> Result<String> {
    checked(expression).map(|tree| json(&tree, expression))
}
