//! Stored samples as text: all of a window, as they were kept, for other programs.
//!
//! Metric after metric, so that each is a selection of its own and lines of one name stand together; one series is in
//! memory at a time, and the answer ends with its reader. Staleness markers are left out: no text format has them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::format::{ApiError, LabelsObject};
use super::parameters::Parameters;
use super::pieces::{self, Pieces};
use crate::http::AppState;
use crate::model::{LABEL_NAME, MatchOp, Matcher, Timestamp, is_stale};
use crate::storage::tsdb::{self, Db, SeriesSamples};
use crate::task::BlockingPool;
use crate::wire::exposition::{OPENMETRICS, push_sample, push_series, push_value};

/// Exports at once, and how many may wait; one more is told to come again.
const EXPORTS_MAX: usize = 1;
const WAITING_MAX: usize = 4;

/// Samples in a line of JSON; a longer series has several lines.
const LINE_SAMPLES_MAX: usize = 10_000;

/// Returns the path of this file.
pub(super) fn routes() -> Router<AppState> {
    // A place of its own: neither questions nor samples wait for a slow reader.
    let pool = BlockingPool::new(EXPORTS_MAX);
    let answer = move |state: State<AppState>, parameters: Parameters| export(pool, state, parameters);
    Router::new().route("/api/v1/export", get(answer.clone()).post(answer))
}

/// How samples are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A line of JSON for each series, as `VictoriaMetrics` has it.
    JsonLines,
    /// Time, series, value.
    Csv,
    /// The text that `andon backfill` and `promtool tsdb create-blocks-from` read.
    OpenMetrics,
}

impl Form {
    fn read(text: Option<&str>) -> Result<Self, ApiError> {
        match text {
            None | Some("jsonl") => Ok(Form::JsonLines),
            Some("csv") => Ok(Form::Csv),
            Some("openmetrics") => Ok(Form::OpenMetrics),
            Some(other) => {
                Err(ApiError::parameter("format", format_args!("{other:?} is none of jsonl, csv, openmetrics")))
            }
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Form::JsonLines => "application/stream+json",
            Form::Csv => "text/csv; charset=utf-8",
            Form::OpenMetrics => OPENMETRICS,
        }
    }
}

/// What is wanted.
#[derive(Debug)]
struct Wanted {
    /// Sets of matchers; a series must pass one of them.
    selectors: Vec<Vec<Matcher>>,
    min: Timestamp,
    max: Timestamp,
    form: Form,
}

async fn export(pool: BlockingPool, State(app): State<AppState>, parameters: Parameters) -> Result<Response, ApiError> {
    let wanted = Wanted {
        selectors: parameters.selectors("match[]")?,
        min: parameters.time("start", Timestamp::MIN)?,
        max: parameters.time("end", Timestamp::MAX)?,
        form: Form::read(parameters.get("format"))?,
    };
    if wanted.selectors.is_empty() {
        return Err(ApiError::parameter("match[]", r#"no selector; all series are {__name__!=""}"#));
    }
    if wanted.max < wanted.min {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    if pool.waiting() >= WAITING_MAX {
        return Err(ApiError::unavailable(format!("{WAITING_MAX} exports wait already")));
    }
    let (db, form) = (app.db.clone(), wanted.form);
    let body = pieces::written(&app, pool, "export", move |out| wanted.write(&db, out));
    Ok(([(header::CONTENT_TYPE, form.content_type())], body).into_response())
}

/// Why an export broke off.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Store(#[from] tsdb::Error),
    #[error(transparent)]
    Gone(#[from] std::io::Error),
}

impl Wanted {
    fn write(&self, db: &Db, out: &mut Pieces) -> Result<(), Failure> {
        let querier = db.querier();
        let mut names = BTreeSet::new();
        for selector in &self.selectors {
            names.extend(querier.label_values(LABEL_NAME, selector, self.min, self.max)?);
        }
        if self.form == Form::Csv {
            out.write_all(b"time,series,value\n")?;
        }
        let mut text = String::new();
        for name in &names {
            let of_name = Matcher::new(LABEL_NAME, MatchOp::Equal, name).ok();
            // What an earlier selector has had already.
            let mut seen = BTreeSet::new();
            for (number, selector) in self.selectors.iter().enumerate() {
                let matchers: Vec<Matcher> = of_name.iter().chain(selector).cloned().collect();
                for series in querier.select(&matchers, self.min, self.max, usize::MAX)? {
                    let series = series?;
                    if number > 0 && seen.contains(&series.labels) {
                        continue;
                    }
                    self.form.push(&mut text, &series);
                    out.write_all(text.as_bytes())?;
                    text.clear();
                    if number + 1 < self.selectors.len() {
                        seen.insert(series.labels);
                    }
                }
            }
        }
        if self.form == Form::OpenMetrics {
            out.write_all(b"# EOF\n")?;
        }
        Ok(out.flush()?)
    }
}

impl Form {
    /// Appends the samples of a series.
    fn push(self, text: &mut String, series: &SeriesSamples) {
        let samples = || series.timestamps.iter().copied().zip(series.values.iter().copied());
        let mut kept = samples().filter(|(_, value)| !is_stale(*value)).peekable();
        let mut name = String::new();
        match self {
            Form::OpenMetrics => {
                push_series(&mut name, &series.labels);
                kept.for_each(|(time, value)| push_sample(text, &name, time, value));
            }
            Form::Csv => {
                push_series(&mut name, &series.labels);
                let name = name.replace('"', "\"\"");
                for (time, value) in kept {
                    text.extend([Timestamp::from_millis(time).to_rfc3339().as_str(), ",\"", &name, "\","]);
                    push_value(text, value);
                    text.push('\n');
                }
            }
            Form::JsonLines => {
                let labels = serde_json::to_string(&LabelsObject(&series.labels)).unwrap_or_default();
                while kept.peek().is_some() {
                    let line: Vec<(i64, f64)> = kept.by_ref().take(LINE_SAMPLES_MAX).collect();
                    text.extend([r#"{"metric":"#, &labels, r#","values":["#]);
                    push_list(text, &line, |text, (_, value)| push_json_value(text, value));
                    text.push_str(r#"],"timestamps":["#);
                    push_list(text, &line, |text, (time, _)| {
                        let written = write!(text, "{time}");
                        debug_assert!(written.is_ok(), "bug: a String takes every text");
                    });
                    text.push_str("]}\n");
                }
            }
        }
    }
}

fn push_list(text: &mut String, samples: &[(i64, f64)], push: impl Fn(&mut String, (i64, f64))) {
    for (i, sample) in samples.iter().enumerate() {
        if i > 0 {
            text.push(',');
        }
        push(text, *sample);
    }
}

/// JSON has no word for what is not finite; these are `VictoriaMetrics`'s.
fn push_json_value(text: &mut String, value: f64) {
    match value {
        v if v.is_nan() => text.push_str("null"),
        f64::INFINITY => text.push_str("\"Infinity\""),
        f64::NEG_INFINITY => text.push_str("\"-Infinity\""),
        v => push_value(text, v),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Labels, stale_nan};

    fn written(form: Form) -> String {
        let series = SeriesSamples {
            labels: Labels::from_pairs([("__name__", "m"), ("line", "a\"b")]),
            timestamps: vec![1000, 2500, 3000, 4000],
            values: vec![1.0, f64::NAN, stale_nan(), f64::NEG_INFINITY],
        };
        let mut text = String::new();
        form.push(&mut text, &series);
        text
    }

    #[test]
    fn each_form_has_every_sample_but_the_markers_of_staleness() {
        assert_eq!(
            written(Form::OpenMetrics),
            "m{line=\"a\\\"b\"} 1 1\nm{line=\"a\\\"b\"} NaN 2.500\nm{line=\"a\\\"b\"} -Inf 4\n"
        );
        assert_eq!(
            written(Form::Csv),
            "1970-01-01T00:00:01.000Z,\"m{line=\"\"a\\\"\"b\"\"}\",1\n\
             1970-01-01T00:00:02.500Z,\"m{line=\"\"a\\\"\"b\"\"}\",NaN\n\
             1970-01-01T00:00:04.000Z,\"m{line=\"\"a\\\"\"b\"\"}\",-Inf\n"
        );
        assert_eq!(
            written(Form::JsonLines),
            "{\"metric\":{\"__name__\":\"m\",\"line\":\"a\\\"b\"},\"values\":[1,null,\"-Infinity\"],\
             \"timestamps\":[1000,2500,4000]}\n"
        );
    }
}
