//! How the clock stands, in words: the notice on every page, the lines on the page about the box.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};

use super::layout::{Frame, Notice};
use super::message;
use super::number::{clock, span};
use super::visit::Visit;
use crate::clock::{Belief, Doubt, Standing, State as ClockState};
use crate::http::AppState;
use crate::http::api::confirm_time;

/// What is shown about the clock.
#[derive(Debug)]
pub(super) struct ClockPart {
    /// Names with values.
    pub(super) facts: Vec<(&'static str, String)>,
    /// Whether somebody may say that the system's clock is right: there is something to be decided.
    pub(super) is_open: bool,
}

/// Returns the lines about the clock.
pub(super) fn part(state: &AppState, visit: &Visit) -> ClockPart {
    let zone = &state.info.time_zone;
    let Some(seen) = state.clock.state() else { return ClockPart { facts: Vec::new(), is_open: false } };
    let time = |t| super::number::local(t, zone, "%Y-%m-%d %H:%M:%S");
    let mut facts = vec![
        ("Believed", believed(seen.standing)),
        ("Time of the box", time(visit.now)),
        ("System's clock", time(seen.wall)),
        ("Time server", if seen.is_synchronized { "keeps it right" } else { "none seen" }.to_owned()),
    ];
    if let Some(step) = seen.last_step {
        let (by, at) = (span(length(step.by_ms)), clock(step.at, visit.now, zone));
        let way = if step.by_ms < 0 { "back" } else { "forward" };
        facts.push(("Last step", format!("{by} {way}, at {at}")));
    }
    let provisional = state.db.provisional_samples();
    if provisional > 0 {
        facts.push(("Provisional samples", provisional.to_string()));
    }
    ClockPart { facts, is_open: is_open(&seen) }
}

/// Returns the notice for every page; none while all is well.
pub(super) fn notice(state: &AppState) -> Option<Notice> {
    let seen = state.clock.state().filter(is_open)?;
    let ahead = span(length(seen.ahead_ms));
    let side = if seen.ahead_ms < 0 { "behind" } else { "ahead of" };
    let text = match seen.standing {
        Standing::Doubted(doubt) => format!(
            "The time is not known: {}. Samples are kept, shown by the box's own time, not forwarded, and moved to \
             their true time once it is known.",
            doubted(doubt)
        ),
        Standing::Believed(_) => format!(
            "The system's clock was set without a time server and is now {ahead} {side} the box's time. Andon goes \
             on with the time it had."
        ),
    };
    Some(Notice { class: "p2", shape: "p2", text, href: "/about#clock", link: "Clock" })
}

/// Answers `POST /about/clock`: an operator says that the system's clock is right now.
pub(super) async fn confirm(State(state): State<AppState>, visit: Visit) -> Response {
    match confirm_time(&state).await {
        Ok(()) => Redirect::to("/about").into_response(),
        Err(refused) => {
            let frame = Frame::new(&state, &visit, "/about", "About", 0);
            message(frame, refused.status, &format!("Not taken: {}.", refused.message))
        }
    }
}

/// Tells whether the system's clock and the box's time are at odds.
fn is_open(seen: &ClockState) -> bool {
    matches!(seen.standing, Standing::Doubted(_)) || seen.ahead_ms != 0
}

fn length(ms: i64) -> Duration {
    Duration::from_millis(ms.unsigned_abs())
}

fn believed(standing: Standing) -> String {
    let belief = match standing {
        Standing::Believed(Belief::Plausible) => "yes: it says nothing impossible",
        Standing::Believed(Belief::Synchronized) => "yes: a time server has set it",
        Standing::Believed(Belief::Operator) => "yes: an operator said so",
        Standing::Believed(Belief::Always) => "always, by the settings",
        Standing::Doubted(doubt) => return format!("no: {}", doubted(doubt)),
    };
    belief.to_owned()
}

fn doubted(doubt: Doubt) -> &'static str {
    match doubt {
        Doubt::BeforeBuild => "the system's clock showed a time before this program was made",
        Doubt::BeforeLastStamp => "the system's clock was behind what this box has recorded",
        Doubt::FarAhead => "the system's clock is more than a month ahead of what this box has recorded",
        Doubt::Stepped => "the system's clock was set, and no time server confirms it",
        Doubt::Unsynchronized => "no time server has set the system's clock yet",
    }
}
