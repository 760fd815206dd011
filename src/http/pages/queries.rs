//! Queries: what is being answered now, and what took the longest within a day.

use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::layout::Frame;
use super::number::{Unit, ago, clock, span};
use super::page;
use super::visit::{Visit, encode};
use crate::http::AppState;
use crate::model::{Timestamp, format_duration};
use crate::query::log::{Answered, Outcome, QueryLog, Question};

/// How often the page is fetched again, in seconds.
const REFRESH_S: u32 = 5;

/// Running questions shown.
const RUNNING_MAX: usize = 50;

/// One question.
#[derive(Debug)]
struct Row {
    took: String,
    text: String,
    href: String,
    about: String,
    asker: String,
    age: String,
    series: String,
    samples: String,
    failure: String,
}

#[derive(Debug, Template)]
#[template(path = "pages/queries.html")]
struct Queries {
    frame: Frame,
    running: Vec<Row>,
    running_more: usize,
    waiting: usize,
    slowest: Vec<Row>,
}

/// Answers `GET /queries`.
pub(super) async fn queries(State(state): State<AppState>, visit: Visit) -> Response {
    let frame = Frame::new(&state, &visit, "/explore", "Queries", REFRESH_S);
    let waiting = state.tasks.questions().waiting();
    page(&view(frame, state.engine.log(), waiting, visit.now, &state.info.time_zone))
}

fn view(frame: Frame, log: &QueryLog, waiting: usize, now: Timestamp, zone: &jiff::tz::TimeZone) -> Queries {
    let all = log.running();
    let running = all.iter().take(RUNNING_MAX).map(|r| Row { took: took(r.so_far), ..row(&r.question, now, zone) });
    Queries {
        running: running.collect(),
        running_more: all.len().saturating_sub(RUNNING_MAX),
        waiting,
        slowest: log.slowest().iter().map(|answered| answered_row(answered, now, zone)).collect(),
        frame,
    }
}

fn answered_row(answered: &Answered, now: Timestamp, zone: &jiff::tz::TimeZone) -> Row {
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let show = |n: usize| Unit::Plain.show(n as f64);
    let (series, samples, failure) = match &answered.outcome {
        Outcome::Answer { series, samples } => (show(*series), show(*samples), String::new()),
        Outcome::Failure(why) => (String::new(), String::new(), why.clone()),
    };
    Row { took: took(answered.took), series, samples, failure, ..row(&answered.question, now, zone) }
}

fn row(question: &Question, now: Timestamp, zone: &jiff::tz::TimeZone) -> Row {
    let range = question.end.since(question.start);
    let end = clock(question.end, now, zone);
    let about = if question.step.is_zero() {
        format!("at {end}")
    } else {
        format!("{} to {end}, every {}", span(range), format_duration(question.step))
    };
    let mut href = format!("/explore?q={}&end={}", encode(&question.text), question.end.as_millis().div_euclid(1000));
    if !question.step.is_zero() {
        href = format!("{href}&range={}", format_duration(Duration::from_secs(range.as_secs().max(60))));
    }
    Row {
        took: String::new(),
        text: question.text.clone(),
        href,
        about,
        asker: question.origin.to_string(),
        age: ago(question.begun_at, now),
        series: String::new(),
        samples: String::new(),
        failure: String::new(),
    }
}

fn took(duration: Duration) -> String {
    Unit::Seconds.show(duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::log::Origin;

    #[test]
    fn a_question_says_what_it_is_about_and_leads_to_it() {
        let at = Timestamp::from_millis(1_700_000_000_000);
        let mut question = Question {
            origin: Origin::Rule("host / Load".to_owned()),
            text: "up == 0".to_owned(),
            start: at,
            end: at,
            step: Duration::ZERO,
            begun_at: at,
        };
        let zone = jiff::tz::TimeZone::UTC;
        let moment = row(&question, at, &zone);
        assert_eq!((moment.about.as_str(), moment.asker.as_str()), ("at 22:13:20", "rule host / Load"));
        assert_eq!(moment.href, "/explore?q=up+%3D%3D+0&end=1700000000");
        question.start = at - Duration::from_secs(6 * 3600);
        question.step = Duration::from_secs(15);
        let range = row(&question, at, &zone);
        assert_eq!(range.about, "6\u{202f}h to 22:13:20, every 15s");
        assert_eq!(range.href, "/explore?q=up+%3D%3D+0&end=1700000000&range=6h");
    }
}
