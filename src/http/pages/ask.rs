//! Asking the stores on behalf of a page.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use super::window::Window;
use crate::http::AppState;
use crate::http::api::GoneFlag;
use crate::model::{Labels, Sample, Timestamp};
use crate::query::log::Origin;
use crate::query::promql::{Options, RangeSeries, Value};
use crate::task::Panicked;

/// How long one question of a page may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks the stores on behalf of one page, on a thread of the pool. A question that fails gives nothing and
/// leaves its reason in [`Asker::problems`].
#[derive(Debug)]
pub(super) struct Asker {
    /// The handles.
    pub(super) state: AppState,
    /// The page's time.
    pub(super) now: Timestamp,
    options: Options,
    problems: RefCell<Vec<String>>,
}

/// The newest value of a series, and when it came.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Latest {
    /// Its labels, metric name included.
    pub(super) labels: Labels,
    /// The value.
    pub(super) value: f64,
    /// When it came, to the second; to the minute if it is older than the lookback.
    pub(super) at: Timestamp,
}

/// Runs `work` on a thread of the pool; one place for all questions of a page.
///
/// # Errors
/// [`Panicked`] if `work` panicked.
pub(super) async fn ask<T: Send + 'static>(
    state: &AppState,
    now: Timestamp,
    work: impl FnOnce(&Asker) -> T + Send + 'static,
) -> Result<T, Panicked> {
    let gone = GoneFlag::default();
    let options = Options {
        timeout: Some(TIMEOUT),
        cancelled: Some(gone.flag()),
        asked_at: Some(now),
        origin: Origin::Page,
        ..Options::default()
    };
    let asker = Asker { state: state.clone(), now, options, problems: RefCell::default() };
    state.tasks.pool().run(move || work(&asker)).await
}

impl Asker {
    /// Returns the limits of a question, for those who ask the engine themselves.
    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    /// Returns series at the page's time.
    pub(super) fn vector(&self, expression: &str) -> Vec<(Labels, f64)> {
        match self.state.engine.instant(expression, self.now, &self.options) {
            Ok(result) => match result.value {
                Value::Vector(series) => series.into_iter().map(|s| (s.labels, s.sample.value)).collect(),
                Value::Scalar(sample) => vec![(Labels::empty(), sample.value)],
                Value::String(..) | Value::Matrix(_) => Vec::new(),
            },
            Err(error) => self.fail(expression, &error),
        }
    }

    /// Returns the first value at the page's time.
    pub(super) fn number(&self, expression: &str) -> Option<f64> {
        self.vector(expression).first().map(|(_, value)| *value).filter(|v| v.is_finite())
    }

    /// Returns series over a window.
    pub(super) fn range(&self, expression: &str, window: &Window, step: Duration) -> Vec<RangeSeries> {
        // Whole steps since the epoch, so that points do not wander from one look to the next.
        let step_ms = i64::try_from(step.as_millis()).unwrap_or(i64::MAX).max(1);
        let align = |t: Timestamp| Timestamp::from_millis(t.as_millis().div_euclid(step_ms) * step_ms);
        let (start, end) = (align(window.start) + step, align(window.end));
        match self.state.engine.range(expression, start, end, step, &self.options) {
            Ok(result) => match result.value {
                Value::Matrix(series) => series,
                Value::Scalar(_) | Value::String(..) | Value::Vector(_) => Vec::new(),
            },
            Err(error) => self.fail(expression, &error),
        }
    }

    /// Returns the points of the first series over a window.
    pub(super) fn line(&self, expression: &str, window: &Window, step: Duration) -> Vec<Sample> {
        self.range(expression, window, step).into_iter().next().map(|s| s.points).unwrap_or_default()
    }

    /// Returns the newest values of a selector of one metric with their times; if there are none within the
    /// lookback, those of the last six hours.
    pub(super) fn latest(&self, selector: &str) -> Vec<Latest> {
        let join = |values: Vec<(Labels, f64)>, times: Vec<(Labels, f64)>| -> Vec<Latest> {
            let times: BTreeMap<Labels, f64> = times.into_iter().map(|(l, t)| (l.without_name(), t)).collect();
            let at = |labels: &Labels| times.get(&labels.without_name()).map(|t| Timestamp::from_seconds(*t));
            values.into_iter().filter_map(|(labels, value)| Some(Latest { at: at(&labels)?, labels, value })).collect()
        };
        let fresh = join(self.vector(selector), self.vector(&format!("timestamp({selector})")));
        if !fresh.is_empty() {
            return fresh;
        }
        join(
            self.vector(&format!("last_over_time({selector}[6h])")),
            self.vector(&format!("max_over_time(timestamp({selector})[6h:1m])")),
        )
    }

    /// Returns why questions failed, each once.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = self.problems.borrow().clone();
        problems.sort();
        problems.dedup();
        problems
    }

    fn fail<T>(&self, expression: &str, error: &dyn std::error::Error) -> Vec<T> {
        self.problems.borrow_mut().push(format!("{error} (in {expression})"));
        Vec::new()
    }
}
