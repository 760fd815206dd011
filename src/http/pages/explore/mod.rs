//! Questions in PromQL: a chart over time and a table at its end, up to four below each other. The address is the
//! whole state.

mod answer;
mod complete;
mod names;
mod nothing;
mod table;
mod tree;

use std::time::Duration;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;

pub(super) use self::complete::{label, metric as selector_of};
pub(super) use self::names::{Known, expression as first_question};

use self::answer::{Answer, answer};
use self::names::{Name, names};
pub(in crate::http::pages) use self::tree::parts;
use super::ask::ask;
use super::layout::Frame;
use super::visit::{Params, Visit, encode};
use super::window::Window;
use super::{failed, page};
use crate::http::AppState;
use crate::model::{format_duration, parse_duration};

/// Points of a line, unless the address names a step.
const POINTS: u64 = 240;
/// Points of a line, at most.
const POINTS_MAX: u64 = 2000;
/// Steps that read well, in seconds.
const STEPS: [u64; 13] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 900, 1800, 3600, 21_600];
/// Parameters that hold an expression each.
const FIELDS: [&str; 4] = ["q", "q2", "q3", "q4"];

/// Returns the paths of this page.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/explore", get(explore))
        .route("/explore/complete", get(complete::complete))
        .route("/explore/table.csv", get(table::csv))
}

/// An expression with its field and what came of it.
#[derive(Debug)]
struct Question {
    /// Name of its field.
    field: &'static str,
    expression: String,
    answer: Answer,
    /// The page without it; empty if it is the only one.
    without: String,
    /// Its answer as a file.
    csv: String,
}

#[derive(Debug, Template)]
#[template(path = "pages/explore.html")]
struct Explore {
    frame: Frame,
    window: Window,
    questions: Vec<Question>,
    /// The page with room for one more question; empty if there is none.
    more: String,
    /// Where completions come from, with the window.
    complete: String,
    /// The right end of the window, if it is not now.
    end: String,
    step: String,
    step_used: String,
    find: String,
    names: Vec<Name>,
    names_all: usize,
    /// Whether the list of metrics is what the page is about.
    is_browsing: bool,
    words: String,
}

/// The distance of points of a page: what the address says, else one that reads well.
#[derive(Debug, Clone, Copy)]
struct Step {
    asked: Option<Duration>,
    used: Duration,
}

impl Step {
    fn read(params: &Params, window: &Window) -> Step {
        let asked = params.get("step").and_then(|s| parse_duration(s).ok()).filter(|s| !s.is_zero());
        let used = asked.unwrap_or_else(|| round_step(window.step(POINTS))).max(window.step(POINTS_MAX));
        Step { asked, used }
    }
}

/// Answers `GET /explore`.
async fn explore(State(state): State<AppState>, visit: Visit) -> Response {
    let params = &visit.params;
    let expressions = expressions(params);
    let window = Window::read(params, Duration::from_secs(3600), visit.now);
    let refresh_s = if window.is_live && !expressions.is_empty() { 10 } else { 0 };
    let frame = Frame::new(&state, &visit, "/explore", "Explore", refresh_s);
    let step = Step::read(params, &window);
    let find = params.get("find").unwrap_or("").to_owned();
    let (shown, wanted, asked, address) = (window.clone(), find.clone(), expressions.clone(), params.clone());
    let found = ask(&state, visit.now, move |asker| {
        let answers: Vec<Answer> = asked.iter().map(|e| answer(asker, e, &shown, step.used)).collect();
        (names(asker, &wanted, &shown, &address), answers)
    });
    let Ok(((names, names_all), answers)) = found.await else { return failed(frame) };
    let mut questions: Vec<Question> = expressions
        .iter()
        .zip(answers)
        .enumerate()
        .map(|(i, (expression, answer))| Question {
            field: FIELDS.get(i).copied().unwrap_or_default(),
            csv: format!("/explore/table.csv{}", with_questions(params, &expressions[i..=i])),
            without: if expressions.len() > 1 {
                with_questions(params, &all_but(&expressions, i))
            } else {
                String::new()
            },
            expression: expression.clone(),
            answer,
        })
        .collect();
    let has_room = expressions.len() < FIELDS.len() && !expressions.is_empty();
    let is_asked_for = expressions.is_empty() || params.get("add").is_some() && has_room;
    if is_asked_for {
        questions.push(Question {
            field: FIELDS.get(expressions.len()).copied().unwrap_or_default(),
            expression: String::new(),
            answer: Answer::default(),
            without: if expressions.is_empty() { String::new() } else { with_questions(params, &expressions) },
            csv: String::new(),
        });
    }
    page(&Explore {
        is_browsing: expressions.is_empty() || !find.is_empty(),
        words: window.words(&state.info.time_zone),
        more: if has_room && !is_asked_for { params.with(&[("add", "1")]) } else { String::new() },
        complete: format!("/explore/complete?range={}&end={}", window.name, encode(params.get("end").unwrap_or(""))),
        end: params.get("end").filter(|_| !window.is_live).unwrap_or("").to_owned(),
        step: step.asked.map_or_else(String::new, format_duration),
        step_used: format_duration(step.used),
        frame,
        window,
        questions,
        find,
        names,
        names_all,
    })
}

/// Returns the expressions of an address.
fn expressions(params: &Params) -> Vec<String> {
    let written = FIELDS.iter().filter_map(|field| params.get(field).map(str::trim));
    written.filter(|expression| !expression.is_empty()).map(str::to_owned).collect()
}

fn all_but(expressions: &[String], left_out: usize) -> Vec<String> {
    expressions.iter().enumerate().filter(|(i, _)| *i != left_out).map(|(_, e)| e.clone()).collect()
}

/// Returns the address with these expressions instead.
fn with_questions(params: &Params, expressions: &[String]) -> String {
    let written = expressions.iter().map(String::as_str).chain(std::iter::repeat(""));
    let changes: Vec<(&str, &str)> = FIELDS.into_iter().zip(written).chain([("add", "")]).collect();
    params.with(&changes)
}

fn round_step(step: Duration) -> Duration {
    STEPS.into_iter().map(Duration::from_secs).find(|s| *s >= step).unwrap_or(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_holds_several_expressions() {
        let params = Params::of(&[("q", " a "), ("q2", "  "), ("q3", "b"), ("range", "6h"), ("add", "1")]);
        let asked = expressions(&params);
        assert_eq!(asked, ["a", "b"]);
        assert_eq!(with_questions(&params, &asked), "?q=a&q2=b&range=6h");
        assert_eq!(with_questions(&params, &all_but(&asked, 0)), "?q=b&range=6h");
    }
}
