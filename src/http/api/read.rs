//! Remote read: samples for another Prometheus, whole or as a stream of packed chunks.
//!
//! As upstream, series carry the `external_labels` they do not have themselves, and a matcher that asks for one
//! of those is taken as fulfilled. A stream holds one series in memory and stops with its reader.

use std::io::Write;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;

use super::pieces::{self, Pieces};
use crate::http::AppState;
use crate::model::{Labels, MatchOp, Matcher, Timestamp};
use crate::query::limits::Deadline;
use crate::storage::tsdb::{self, Db, SeriesSamples};
use crate::task::BlockingPool;
use crate::wire::remote_read::{self, Form, Query};
use crate::wire::{self, remote_write};

/// Answers that are worked on at once: a whole one is held in memory until it is sent.
const WHOLE_MAX: usize = 1;
const STREAMS_MAX: usize = 2;

/// Requests that may wait for a place; one more is told to come again.
const WAITING_MAX: usize = 8;

/// Samples that one answer may read, as upstream's default.
const SAMPLES_MAX: usize = 50_000_000;

/// How long one answer may take, slow readers included.
const TIME_MAX: Duration = Duration::from_secs(600);

/// The types of both answers.
const WHOLE: &str = "application/x-protobuf";
const STREAMED: &str = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";

/// Returns the path of this file.
pub(super) fn routes() -> Router<AppState> {
    // Places of their own: neither questions nor samples wait for a slow reader.
    let pools = (BlockingPool::new(WHOLE_MAX), BlockingPool::new(STREAMS_MAX));
    Router::new().route("/api/v1/read", post(move |state: State<AppState>, body: Bytes| read(pools, state, body)))
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Wire(#[from] wire::Error),
    #[error(transparent)]
    Store(#[from] tsdb::Error),
    #[error("{0}")]
    Gone(#[from] std::io::Error),
    #[error("took longer than {TIME_MAX:?}")]
    Late,
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, message) = match &self {
            // In upstream's words; the streamed form has no such bound.
            Failure::Wire(wire::Error::TooLarge { .. }) | Failure::Store(tsdb::Error::TooManySamples { .. }) => {
                (StatusCode::BAD_REQUEST, format!("exceeded sample limit: {self}\n"))
            }
            Failure::Wire(_) => (StatusCode::BAD_REQUEST, format!("{self}\n")),
            Failure::Store(_) | Failure::Gone(_) | Failure::Late => {
                (StatusCode::INTERNAL_SERVER_ERROR, format!("{self}\n"))
            }
        };
        (status, message).into_response()
    }
}

async fn read(
    (whole, streams): (BlockingPool, BlockingPool),
    State(app): State<AppState>,
    body: Bytes,
) -> Result<Response, Failure> {
    let mut unpacked = Vec::new();
    remote_write::unpack(&body, &mut unpacked)?;
    let (queries, form) = remote_read::decode(&unpacked)?;
    let question = Question::new(queries, app.settings.borrow().external_labels.clone());
    let now = app.clock.now();
    question.queries.iter().for_each(|query| app.engine.asked().note_selector(&query.matchers, now));
    let pool = match form {
        Form::Samples => whole,
        Form::Chunks => streams,
    };
    if pool.waiting() >= WAITING_MAX {
        let retry = [(header::RETRY_AFTER, "1")];
        return Ok((StatusCode::SERVICE_UNAVAILABLE, retry, "too many remote reads wait already\n").into_response());
    }
    let db = app.db.clone();
    match form {
        Form::Samples => {
            let packed = pool.run(move || question.whole(&db)).await;
            let packed = packed.map_err(|panicked| std::io::Error::other(panicked.to_string()))??;
            Ok(([(header::CONTENT_TYPE, WHOLE), (header::CONTENT_ENCODING, "snappy")], packed).into_response())
        }
        Form::Chunks => {
            let body = pieces::written(&app, pool, "remote read", move |out| question.stream(&db, out));
            Ok(([(header::CONTENT_TYPE, STREAMED)], body).into_response())
        }
    }
}

/// What is asked, with the labels that tell this box from others.
#[derive(Debug)]
struct Question {
    queries: Vec<Query>,
    external: Labels,
    deadline: Deadline,
}

impl Question {
    fn new(mut queries: Vec<Query>, external: Labels) -> Self {
        let is_ours = |matcher: &Matcher| {
            matcher.op() == MatchOp::Equal && external.get(matcher.name()).is_some_and(|v| v == matcher.value())
        };
        queries.iter_mut().for_each(|query| query.matchers.retain(|matcher| !is_ours(matcher)));
        Question { queries, external, deadline: Deadline::after(TIME_MAX, None) }
    }

    /// Hands each series of each query on, with the query's number.
    fn each(&self, db: &Db, mut take: impl FnMut(usize, SeriesSamples) -> Result<(), Failure>) -> Result<(), Failure> {
        let mut left = SAMPLES_MAX;
        let querier = db.querier();
        for (number, query) in self.queries.iter().enumerate() {
            let (start, end) = (Timestamp::from_millis(query.start_ms), Timestamp::from_millis(query.end_ms));
            if end < start {
                continue;
            }
            for series in querier.select(&query.matchers, start, end, left)? {
                self.deadline.check().map_err(|_| Failure::Late)?;
                let mut series = series?;
                left = left.saturating_sub(series.timestamps.len());
                series.labels = series.labels.or(&self.external);
                take(number, series)?;
            }
        }
        Ok(())
    }

    fn whole(&self, db: &Db) -> Result<Vec<u8>, Failure> {
        let mut answer = remote_read::Samples::new(self.queries.len());
        self.each(db, |number, series| Ok(answer.push(number, &series.labels, &series.timestamps, &series.values)?))?;
        Ok(answer.finish()?)
    }

    fn stream(&self, db: &Db, out: &mut Pieces) -> Result<(), Failure> {
        self.each(db, |number, series| {
            for frame in remote_read::frames(number, &series.labels, &series.timestamps, &series.values) {
                out.write_all(&frame)?;
            }
            Ok(())
        })?;
        Ok(out.flush()?)
    }
}
