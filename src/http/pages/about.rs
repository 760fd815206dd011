//! About this box: version, store, limits, settings, whose work is in it.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::clock::ClockPart;
use super::layout::Frame;
use super::number::{Unit, clock, span};
use super::page;
use super::visit::Visit;
use crate::http::AppState;

/// How often the page is fetched again, in seconds.
const REFRESH_S: u32 = 10;

/// A figure with its name.
#[derive(Debug)]
struct Fact {
    name: &'static str,
    value: String,
}

#[derive(Debug, Template)]
#[template(path = "pages/about.html")]
struct About {
    frame: Frame,
    box_facts: Vec<Fact>,
    store_facts: Vec<Fact>,
    clock: ClockPart,
    damage: Vec<String>,
    settings: String,
    tasks: Vec<(String, usize)>,
}

/// Answers `GET /about`.
pub(super) async fn about(State(state): State<AppState>, visit: Visit) -> Response {
    let frame = Frame::new(&state, &visit, "/about", "About", REFRESH_S);
    let mut damage = Vec::new();
    if let Some(found) = state.state.damage() {
        damage.push(format!("Settings store: {found:?}"));
    }
    if let Some(found) = state.last.damage() {
        damage.push(format!("Last messages: {found:?}"));
    }
    page(&About {
        box_facts: box_facts(&state, &visit),
        store_facts: store_facts(&state, &visit),
        clock: super::clock::part(&state, &visit),
        damage,
        settings: state.settings.borrow().text.clone(),
        tasks: tasks(&state),
        frame,
    })
}

fn box_facts(state: &AppState, visit: &Visit) -> Vec<Fact> {
    let info = &state.info;
    let zone = &info.time_zone;
    let started = clock(info.started_at, visit.now, zone);
    vec![
        Fact { name: "Version", value: info.version.clone() },
        Fact { name: "Box", value: info.box_name.clone() },
        Fact { name: "Address", value: info.external_url.clone() },
        Fact { name: "Started", value: format!("{started} ({} ago)", span(visit.now.since(info.started_at))) },
        Fact { name: "Time zone", value: zone.iana_name().unwrap_or("UTC").to_owned() },
        Fact { name: "Data folder", value: info.data_dir.clone() },
    ]
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn store_facts(state: &AppState, visit: &Visit) -> Vec<Fact> {
    let stats = state.db.stats();
    let zone = &state.info.time_zone;
    let when = |t: Option<crate::model::Timestamp>| t.map_or_else(|| "–".to_owned(), |t| clock(t, visit.now, zone));
    vec![
        Fact { name: "Series in memory", value: Unit::Plain.show(stats.head_series as f64) },
        Fact { name: "Samples in memory", value: Unit::Plain.show(stats.head_samples as f64) },
        Fact { name: "Blocks", value: format!("{}, {}", stats.blocks, Unit::Bytes.show(stats.block_bytes as f64)) },
        Fact { name: "Write-ahead log", value: Unit::Bytes.show(stats.wal_bytes as f64) },
        Fact { name: "Oldest sample", value: when(stats.min_time) },
        Fact { name: "Newest sample", value: when(stats.max_time) },
    ]
}

/// Returns what kinds of tasks run, by the first words of their names, and how many of each.
fn tasks(state: &AppState) -> Vec<(String, usize)> {
    let mut counts = std::collections::BTreeMap::new();
    let is_word = |word: &&str| word.bytes().all(|b| b.is_ascii_lowercase());
    for name in state.tasks.running() {
        let kind: Vec<&str> = name.split(' ').take(2).take_while(is_word).collect();
        *counts.entry(kind.join(" ")).or_insert(0) += 1;
    }
    counts.into_iter().collect()
}
