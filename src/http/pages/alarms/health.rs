//! How well the alarms serve people: the figures of ISA-18.2, and who makes most of the work.

use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use crate::alarms::{Actor, FLOOD_ABOVE, Figures, STALE_AFTER};
use crate::http::AppState;
use crate::http::pages::ask::ask;
use crate::http::pages::layout::Frame;
use crate::http::pages::number::{ago, clock, span};
use crate::http::pages::visit::{Visit, encode};
use crate::http::pages::window::Window;
use crate::http::pages::{failed, page};
use crate::model::{Labels, Timestamp, format_duration};

use super::row::Row;

/// The window that is looked at if nothing is said.
const USUAL: Duration = Duration::from_secs(7 * 86_400);
/// Stale alarms and floods that are listed.
const LISTED: usize = 20;

/// Fewer alarms than these say nothing about how they are split.
const MANY: usize = 20;

/// What came less often gets no advice.
const SELDOM: usize = 3;

/// A figure beside what it should be.
#[derive(Debug)]
struct Measure {
    name: &'static str,
    value: String,
    aim: &'static str,
    is_good: bool,
}

/// An alarm that makes much work, and what could be done.
#[derive(Debug)]
struct BadActor {
    name: String,
    place: String,
    href: String,
    raised: usize,
    share: String,
    typical: String,
    pause: String,
    remedy: String,
    remedy_href: String,
}

/// A flood.
#[derive(Debug)]
struct FloodLine {
    when: String,
    lasted: String,
    alarms: usize,
    first: String,
    first_href: String,
}

#[derive(Debug, Template)]
#[template(path = "pages/health.html")]
struct Health {
    frame: Frame,
    window: Window,
    measures: Vec<Measure>,
    priorities: Vec<Measure>,
    top: Vec<BadActor>,
    chattering: Vec<BadActor>,
    stale: Vec<Row>,
    floods: Vec<FloodLine>,
    raised: usize,
    response: String,
}

/// Answers `GET /alarms/health`.
pub(super) async fn health(State(state): State<AppState>, visit: Visit) -> Response {
    let frame = Frame::new(&state, &visit, "/alarms", "Alarm health", 0);
    let window = Window::read(&visit.params, USUAL, visit.now);
    let (start, end) = (window.start, window.end);
    let figures = ask(&state, visit.now, move |asker| asker.state.alarms.figures(start, end)).await;
    let Ok(figures) = figures else { return failed(frame) };
    let stale = Row::some(&state, visit.now, usize::MAX, |a| {
        a.cleared_at.is_none() && visit.now.since(a.raised_at) > STALE_AFTER
    });
    let actors = |all: &[Actor]| all.iter().map(|a| bad_actor(a, &figures, &state)).collect();
    page(&Health {
        measures: measures(&figures, stale.len()),
        priorities: priorities(&figures),
        top: actors(&figures.top),
        chattering: actors(&figures.chattering),
        stale: stale.into_iter().take(LISTED).collect(),
        floods: floods(&figures, &state, visit.now),
        raised: figures.raised,
        response: match figures.acknowledged {
            0 => String::new(),
            n => format!("{n} acknowledged, typically {} after they came", span(figures.typical_response)),
        },
        window,
        frame,
    })
}

fn percent(share: f64) -> String {
    // A sum of nothing is minus zero.
    format!("{:.1} %", share.max(0.0) * 100.0)
}

/// Returns the six figures with the aims that ISA-18.2 names.
fn measures(figures: &Figures, stale: usize) -> Vec<Measure> {
    let rate = figures.rate();
    let measure = |name, value, aim, is_good| Measure { name, value, aim, is_good };
    vec![
        measure(
            "Alarms in 10 minutes, mean",
            format!("{rate:.2}"),
            "1 is good, 2 the most that can be handled",
            rate <= 2.0,
        ),
        measure("Most in 10 minutes", figures.peak.to_string(), "10", figures.peak <= FLOOD_ABOVE),
        measure("Time in floods", percent(figures.flood_share), "below 1 %", figures.flood_share < 0.01),
        measure(
            "Share of the ten most frequent",
            percent(figures.top_share),
            "1 to 5 %",
            figures.top_share <= 0.05 || figures.raised < 100,
        ),
        measure("Chattering alarms", figures.chattering_count.to_string(), "0", figures.chattering_count == 0),
        measure("Stale alarms", stale.to_string(), "fewer than 5", stale < 5),
    ]
}

/// Returns how the alarms are split among the priorities; of a few alarms no split is bad.
fn priorities(figures: &Figures) -> Vec<Measure> {
    let is_many = figures.raised >= MANY;
    let aims = [
        ("Priority 1, critical", "about 5 %", 0.1),
        ("Priority 2", "about 15 %", 0.3),
        ("Priority 3", "with priority 4 about 80 %", 1.0),
        ("Priority 4", "", 1.0),
    ];
    let split = aims.into_iter().zip(figures.by_priority);
    split
        .map(|((name, aim, most), count)| {
            #[expect(clippy::cast_precision_loss, reason = "counts of alarms")]
            let share = count as f64 / figures.raised.max(1) as f64;
            Measure { name, value: format!("{count}, {}", percent(share)), aim, is_good: !is_many || share <= most }
        })
        .collect()
}

fn place_of(labels: &Labels) -> &str {
    let names = ["device_id", "line_id", "line", "instance", "job"];
    names.into_iter().find_map(|name| labels.get(name).filter(|v| !v.is_empty())).unwrap_or("")
}

fn bad_actor(actor: &Actor, figures: &Figures, state: &AppState) -> BadActor {
    #[expect(clippy::cast_precision_loss, reason = "counts of alarms")]
    let share = actor.raised as f64 / figures.raised.max(1) as f64;
    let name = actor.labels.get("alertname").unwrap_or("");
    let rules = state.rules.snapshot();
    let has_rule = rules.groups.iter().flat_map(|g| &g.rules).any(|r| r.name == name);
    let (remedy, change) = remedy(actor, has_rule);
    let range = format_duration(figures.end.since(figures.start));
    BadActor {
        name: name.to_owned(),
        place: place_of(&actor.labels).to_owned(),
        href: format!("/alarms/{:016x}", actor.fingerprint),
        raised: actor.raised,
        share: percent(share),
        typical: lasting(actor.typical),
        pause: lasting(actor.typical_pause),
        remedy,
        remedy_href: match has_rule {
            true => format!("/rules/rule?name={}&range={range}{change}", encode(name)),
            false => String::new(),
        },
    }
}

/// Writes how long something lasts; nothing that was seen to end is a dash.
fn lasting(duration: Duration) -> String {
    if duration.is_zero() { "–".to_owned() } else { span(duration) }
}

/// Says what would make an alarm come less often, and how the back-test is asked for it. What is short is waited out,
/// what comes again at once is held up, what is neither is for people to think about.
fn remedy(actor: &Actor, has_rule: bool) -> (String, String) {
    let short = Duration::from_secs(600);
    let longer = |d: Duration| Duration::from_secs((d.as_secs() * 3 / 2).div_ceil(60).max(1) * 60);
    if actor.raised < SELDOM {
        return ("It came too seldom to say.".to_owned(), String::new());
    }
    let is_brief = actor.typical < short && actor.typical > Duration::ZERO && actor.typical <= actor.typical_pause;
    let comes_again = actor.typical_pause < short && actor.typical_pause > Duration::ZERO;
    if !has_rule {
        let delay = match (is_brief, comes_again) {
            (true, _) => format!(
                "on: {} for it in alarms.delays most of it would not come",
                format_duration(longer(actor.typical))
            ),
            (_, true) => format!(
                "off: {} for it in alarms.delays it would be one alarm instead of several",
                format_duration(longer(actor.typical_pause))
            ),
            _ => "other settings where it is sent from it may come less often".to_owned(),
        };
        return (format!("Its rule is not here: with {delay}."), String::new());
    }
    if is_brief {
        let hold = format_duration(longer(actor.typical));
        let text =
            format!("It is over after {}, typically: with for: {hold} most of it would not come.", span(actor.typical));
        return (text, format!("&for={hold}"));
    }
    if comes_again {
        let keep = format_duration(longer(actor.typical_pause));
        let text = format!(
            "It comes again after {}, typically: with keep_firing_for: {keep} it would be one alarm instead of several.",
            span(actor.typical_pause)
        );
        return (text, format!("&keep={keep}"));
    }
    ("Another limit, or the cause itself: the back-test shows what a limit would do.".to_owned(), String::new())
}

fn floods(figures: &Figures, state: &AppState, now: Timestamp) -> Vec<FloodLine> {
    let names = |fingerprint: u64| {
        let all = figures.top.iter().chain(&figures.chattering);
        let known = all.into_iter().find(|a| a.fingerprint == fingerprint).map(|a| &a.labels);
        let board = state.alarms.snapshot();
        let labels = known.cloned().or_else(|| board.alarm(fingerprint).map(|a| a.labels.clone()));
        labels.map_or_else(
            || "the alarm".to_owned(),
            |l| format!("{} {}", l.get("alertname").unwrap_or(""), place_of(&l)),
        )
    };
    let zone = &state.info.time_zone;
    let newest = figures.floods.iter().rev().take(LISTED);
    newest
        .map(|flood| FloodLine {
            when: clock(flood.start, now, zone),
            lasted: flood.end.map_or_else(
                || format!("goes on, since {}", ago(flood.start, now)),
                |end| span(end.since(flood.start)),
            ),
            alarms: flood.alarms,
            first: names(flood.first_out),
            first_href: format!("/alarms/{:016x}", flood.first_out),
        })
        .collect()
}
