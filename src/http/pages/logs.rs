//! Log lines: search, filter, follow.

use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::ask::{Asker, ask};
use super::chart::{Columns, Svg};
use super::layout::Frame;
use super::log_lines::{Level, LogLine, log_lines};
use super::number::{clock, span};
use super::visit::{Visit, encode};
use super::window::Window;
use super::{failed, page};
use crate::http::AppState;
use crate::model::Timestamp;
use crate::query::logql::Error;

/// Lines on the page.
const LINES_MAX: usize = 200;
/// Lines that are counted for the columns.
const COUNTED_MAX: usize = 5000;
/// Columns of the picture of how many lines there were when.
const COLUMNS: usize = 60;

/// A stream that a click leads to.
#[derive(Debug)]
struct Stream {
    name: String,
    href: String,
    is_current: bool,
}

#[derive(Debug, Template)]
#[template(path = "pages/logs.html")]
struct Logs {
    frame: Frame,
    window: Window,
    query: String,
    words: String,
    ends: (String, String),
    streams: Vec<Stream>,
    lines: Vec<LogLine>,
    counted: usize,
    is_cut: bool,
    columns: Svg,
    mistake: String,
    mistake_before: String,
    mistake_at: String,
    empty: String,
    tail: String,
}

/// What was asked from the store.
struct Answers {
    lines: Result<Vec<LogLine>, Error>,
    streams: Vec<String>,
}

/// Answers `GET /logs`.
pub(super) async fn logs(State(state): State<AppState>, visit: Visit) -> Response {
    let window = Window::read(&visit.params, Duration::from_secs(3600), visit.now);
    let frame = Frame::new(&state, &visit, "/logs", "Logs", 0);
    let query = visit.params.get("q").unwrap_or("").trim().to_owned();
    // A plain text is a search in everything: nobody should have to know a language to find a word.
    let asked = match query.as_str() {
        "" => EVERYTHING.to_owned(),
        text if text.starts_with('{') => text.to_owned(),
        text => format!("{EVERYTHING} |= `{}`", text.replace('`', "")),
    };
    let (shown, expression) = (window.clone(), asked.clone());
    let answers = ask(&state, visit.now, move |asker| Answers {
        lines: log_lines(asker, &expression, &shown, COUNTED_MAX),
        streams: stream_names(asker, &shown),
    });
    let Ok(answers) = answers.await else { return failed(frame) };
    let streams = answers.streams.into_iter().map(|name| {
        let selector = format!("{{{name}}}");
        let is_current = query.starts_with(&selector);
        Stream { href: visit.params.with(&[("q", if is_current { "" } else { &selector })]), is_current, name }
    });
    let streams: Vec<Stream> = streams.collect();
    let mut view = Logs {
        words: window.words(&state.info.time_zone),
        ends: (
            clock(window.start, visit.now, &state.info.time_zone),
            clock(window.end, visit.now, &state.info.time_zone),
        ),
        tail: if window.is_live { format!("/api/v1/logs/tail?query={}", encode(&asked)) } else { String::new() },
        streams,
        query,
        lines: Vec::new(),
        counted: 0,
        is_cut: false,
        columns: Svg::default(),
        mistake: String::new(),
        mistake_before: String::new(),
        mistake_at: String::new(),
        empty: String::new(),
        window,
        frame,
    };
    match answers.lines {
        Ok(lines) => fill(&mut view, lines, &state),
        Err(Error::Parse { column, message }) => {
            let at = asked.char_indices().nth(column.saturating_sub(1)).map_or(asked.len(), |(i, _)| i);
            view.mistake = message;
            view.mistake_before = asked.get(..at).unwrap_or("").to_owned();
            view.mistake_at = asked.get(at..).filter(|t| !t.is_empty()).unwrap_or("\u{a0}").to_owned();
        }
        Err(error) => view.mistake = format!("{error}."),
    }
    page(&view)
}

/// The selector of all streams.
const EVERYTHING: &str = "{}";

fn fill(view: &mut Logs, lines: Vec<LogLine>, state: &AppState) {
    view.counted = lines.len();
    view.is_cut = lines.len() >= COUNTED_MAX;
    view.columns = columns(&lines, &view.window, state);
    if lines.is_empty() {
        view.empty = if view.streams.is_empty() {
            format!(
                "No lines at all in the last {}. Devices log by publishing to logs.NAME; Andon's own lines come by \
                 themselves.",
                span(view.window.range)
            )
        } else {
            format!("{} streams have lines in this time range, but none passes the filter.", view.streams.len())
        };
    }
    view.lines = lines;
    view.lines.truncate(LINES_MAX);
}

/// Draws how many lines there were when, by level.
fn columns(lines: &[LogLine], window: &Window, state: &AppState) -> Svg {
    let mut counts = vec![[0_u32; 3]; COLUMNS];
    let span_ms = i64::try_from(window.range.as_millis()).unwrap_or(i64::MAX).max(1);
    for line in lines {
        let share = (line.at.as_millis() - window.start.as_millis()) * i64::try_from(COLUMNS).unwrap_or(1) / span_ms;
        let at = usize::try_from(share).unwrap_or(0).min(COLUMNS - 1);
        let level = match line.level {
            Level::Error => 0,
            Level::Warning => 1,
            Level::Info | Level::Other => 2,
        };
        if let Some(count) = counts.get_mut(at).and_then(|c| c.get_mut(level)) {
            *count += 1;
        }
    }
    Columns {
        title: "Lines over time",
        start: window.start,
        end: window.end,
        classes: ["error", "warning", "info"],
        counts: &counts,
        zone: &state.info.time_zone,
    }
    .svg()
}

/// Returns what tells streams apart, as selectors without braces, sorted.
fn stream_names(asker: &Asker, window: &Window) -> Vec<String> {
    let ns = |t: Timestamp| t.as_millis().saturating_mul(1_000_000);
    let streams = asker.state.logs.streams(&[], ns(window.start), ns(window.end)).unwrap_or_default();
    let name = |name: &str, value: &str| format!("{name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""));
    let of = |s: &crate::model::Labels| {
        ["device_id", "unit", "service", "app", "job"].into_iter().find_map(|n| Some(name(n, s.get(n)?)))
    };
    let mut names: Vec<String> = streams.iter().filter_map(of).collect();
    names.sort();
    names.dedup();
    names.truncate(24);
    names
}
