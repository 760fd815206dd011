//! What this box keeps: how much, since when, how safe, and how long its flash will last.

use std::path::Path;
use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::ask::{Asker, ask};
use super::chart::{Meter, Svg};
use super::layout::{Frame, Notice};
use super::number::{Unit, clock, span};
use super::panel::{Panel, Question};
use super::visit::Visit;
use super::window::Window;
use super::{failed, page};
use crate::collect::{disk_of, flash_lives};
use crate::http::AppState;
use crate::model::Timestamp;
use crate::storage::disk::Space;
use crate::storage::tsdb::WalSync;
use crate::storage::{Basis, Part, Projection, ScrubRound, Wear};

/// How often the page is fetched again, in seconds.
const REFRESH_S: u32 = 15;

/// What is written a day is taken from so much time, or what there is.
const PACE_WINDOW: Duration = Duration::from_secs(7 * 86_400);

/// Findings that are listed; the log has all.
const FINDINGS_MAX: usize = 20;

/// A figure with its name, its share of a whole as a bar, and a remark.
#[derive(Debug, Default)]
struct Row {
    name: String,
    text: String,
    note: String,
    bar: Svg,
    /// Whether it stands for all above it.
    is_sum: bool,
}

impl Row {
    fn plain(name: &str, text: String, note: String) -> Row {
        Row { name: name.to_owned(), text, note, ..Row::default() }
    }
}

/// How long the flash will last.
#[derive(Debug, Default)]
struct Life {
    /// In words, for example `9 years`.
    text: String,
    is_unknown: bool,
    /// Priority class; empty while all is well.
    class: &'static str,
    /// How it was worked out.
    how: String,
    facts: Vec<Row>,
}

#[derive(Debug, Template)]
#[template(path = "pages/storage.html")]
struct StoragePage {
    frame: Frame,
    window: Window,
    headline: String,
    folder: String,
    parts: Vec<Row>,
    kept: Vec<Row>,
    written: Vec<Row>,
    life: Life,
    panels: Vec<Panel>,
    checked: Row,
    findings: Vec<String>,
    findings_more: usize,
    snapshots: Vec<Row>,
    quarantine: Vec<Row>,
    problems: Vec<String>,
}

/// Answers `GET /storage`.
pub(super) async fn storage(State(state): State<AppState>, visit: Visit) -> Response {
    let frame = Frame::new(&state, &visit, "/storage", "Storage", REFRESH_S);
    let window = Window::read(&visit.params, Duration::from_secs(86_400), visit.now);
    let asked = ask(&state, visit.now, move |asker| {
        let (parts, headline) = parts(asker);
        let mut findings = findings(&asker.state);
        let findings_more = findings.len().saturating_sub(FINDINGS_MAX);
        findings.drain(..findings_more);
        let question = Question {
            title: "Written, by cause",
            expression: "sum by (cause) (rate(andon_storage_written_bytes_total[10m])) > 0",
            unit: Unit::BytesPerSecond,
            label: "cause",
            lines_max: 6,
            ..Question::default()
        };
        let panels = vec![question.panel(asker, &window)];
        StoragePage {
            headline,
            folder: asker.state.info.data_dir.clone(),
            parts,
            kept: kept(asker),
            written: written(asker),
            life: life(asker),
            panels,
            checked: checked(asker),
            findings,
            findings_more,
            snapshots: snapshots(asker),
            quarantine: quarantine(asker),
            problems: asker.problems(),
            frame,
            window,
        }
    });
    match asked.await {
        Ok(answer) => page(&answer),
        Err(_) => failed(Frame::new(&state, &visit, "/storage", "Storage", REFRESH_S)),
    }
}

/// Returns the notice for every page that the box began without its newest data; none after a start as it should be.
pub(super) fn notice(state: &AppState) -> Option<Notice> {
    let what = match state.storage.left_out() {
        [] => return None,
        [Part::Logs] => "log lines",
        [Part::MetricLog] => "metrics",
        _ => "metrics and log lines",
    };
    let text = format!(
        "Safe mode: the newest {what} of before this start are missing. Three starts in a row were cut off while they \
         were read, so they were put into quarantine. What comes is recorded. Find the cause (mostly too little \
         memory), then restart."
    );
    Some(Notice { class: "p2", shape: "p2", text, href: "/storage#damage", link: "Storage" })
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn bytes(bytes: u64) -> String {
    Unit::Bytes.show(bytes as f64)
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn bar(name: &str, part: u64, whole: u64, class: &str) -> Svg {
    let value = part as f64 / whole.max(1) as f64;
    let title = format!("{name}: {}", Unit::Ratio.show(value));
    Meter { title: &title, value, ends: (0.0, 1.0), pointers: &[], class }.svg()
}

/// Returns what each part takes, held against what there is for all, and a sentence on the whole.
fn parts(asker: &Asker) -> (Vec<Row>, String) {
    let (parts, space) = asker.state.storage.usage();
    let used: u64 = parts.iter().map(|(_, bytes)| bytes).sum();
    let (limit, why) = limit(asker.state.info.size_limit, used, space);
    let mut rows: Vec<Row> = parts
        .iter()
        .filter(|(_, bytes)| *bytes > 0)
        .map(|(part, size)| {
            let name = part_name(*part);
            let class = if *part == Part::Quarantine { "p2" } else { "" };
            Row { bar: bar(name, *size, used, class), ..Row::plain(name, bytes(*size), String::new()) }
        })
        .collect();
    rows.push(Row {
        bar: bar("Together", used, limit, ""),
        is_sum: true,
        ..Row::plain("Together", bytes(used), format!("of {} ({why})", bytes(limit)))
    });
    if let Some(space) = space {
        let class = if space.free_bytes < space.total_bytes / 10 { "p2" } else { "" };
        let taken = space.total_bytes.saturating_sub(space.free_bytes);
        let note = format!("of {}, {} free", bytes(space.total_bytes), bytes(space.free_bytes));
        let bar = bar("The whole disk", taken, space.total_bytes, class);
        rows.push(Row { bar, is_sum: true, ..Row::plain("The whole disk", bytes(taken), note) });
    }
    let since = asker.state.db.stats().min_time;
    let reach = since.map_or_else(
        || "no sample yet".to_owned(),
        |t| format!("the oldest sample is {} old", span(asker.now.since(t))),
    );
    (rows, format!("{} of {} in use; {reach}.", bytes(used), bytes(limit)))
}

/// Returns how much may be used, and by whose word.
fn limit(size_limit: Option<u64>, used: u64, space: Option<Space>) -> (u64, &'static str) {
    let there_is = space.map_or(u64::MAX, |s| used.saturating_add(s.free_bytes));
    match size_limit {
        Some(limit) if limit <= there_is => (limit, "storage.size_limit for metrics and logs"),
        _ => (there_is.max(used), "what the disk has"),
    }
}

fn part_name(part: Part) -> &'static str {
    match part {
        Part::MetricBlocks => "Metrics",
        Part::MetricLog => "Metrics, newest (log)",
        Part::Logs => "Logs",
        Part::Journals => "Alarms and notices",
        Part::State => "State and last values",
        Part::Snapshots => "Snapshots",
        Part::Quarantine => "Quarantine",
        Part::Reserve => "Reserve for a full disk",
    }
}

/// Returns since when things are kept, how long, and how safe.
fn kept(asker: &Asker) -> Vec<Row> {
    let AppState { db, logs, info, storage, .. } = &asker.state;
    let stats = db.stats();
    let since = |t: Option<Timestamp>| t.map_or_else(|| "–".to_owned(), |t| clock(t, asker.now, &info.time_zone));
    let first_day = logs.stats().days.first().map(|(day, _)| day.clone());
    let (sync, loss) = match db.wal_sync() {
        WalSync::Always => ("before each answer".to_owned(), "a power cut loses nothing".to_owned()),
        WalSync::Interval(every) => {
            (format!("every {}", span(every)), format!("a power cut loses about {}", span(every)))
        }
        WalSync::Never => ("when the system likes".to_owned(), "a power cut loses up to half a minute".to_owned()),
    };
    let (backup, remark) = match storage.last_backup() {
        Some((at, size)) => (format!("{} ago", span(asker.now.since(at))), bytes(size)),
        None => ("never".to_owned(), "andon backup FILE makes one".to_owned()),
    };
    vec![
        Row::plain("Metrics since", since(stats.min_time), format!("kept {}", span(db.retention()))),
        Row::plain(
            "Logs since",
            first_day.unwrap_or_else(|| "–".to_owned()),
            format!("kept {}", span(logs.retention())),
        ),
        Row::plain("Made safe", sync, loss),
        Row::plain("Blocks", stats.blocks.to_string(), per_sample(stats.block_bytes, stats.block_samples)),
        Row::plain("Last backup", backup, remark),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn per_sample(bytes: u64, samples: u64) -> String {
    if samples == 0 { String::new() } else { format!("{:.2} bytes a sample", bytes as f64 / samples as f64) }
}

/// Returns what was written since midnight, by cause, the largest first; then what the kernel has counted.
fn written(asker: &Asker) -> Vec<Row> {
    let today = format!("[{}s]", seconds_of_day(asker));
    // Anchored: what the counters counted. Extrapolation would double what is written once, at the start.
    let by_cause = format!("sum by (cause) (increase(andon_storage_written_bytes_total{today} anchored))");
    let mut causes: Vec<(String, f64)> = asker
        .vector(&by_cause)
        .into_iter()
        .map(|(labels, value)| (cause_name(labels.get("cause").unwrap_or("")).to_owned(), value))
        .filter(|(_, value)| *value >= 1.0)
        .collect();
    causes.sort_by(|a, b| b.1.total_cmp(&a.1));
    let sum: f64 = causes.iter().map(|(_, value)| value).sum();
    let row = |(name, value): &(String, f64)| {
        let title = format!("{name}: {}", Unit::Ratio.show(value / sum));
        let bar = Meter { title: &title, value: value / sum, ends: (0.0, 1.0), pointers: &[], class: "" }.svg();
        Row { bar, ..Row::plain(name, Unit::Bytes.show(*value), String::new()) }
    };
    let mut rows: Vec<Row> = causes.iter().map(row).collect();
    if rows.is_empty() {
        return rows;
    }
    let bare = |name: &str, value: f64, note: &str| Row::plain(name, Unit::Bytes.show(value), note.to_owned());
    rows.push(Row { is_sum: true, ..bare("Together", sum, "") });
    let kernel = format!("sum(increase(process_io_storage_written_bytes_total{{job=\"andon\"}}{today} anchored))");
    if let Some(counted) = asker.number(&kernel) {
        rows.push(bare("As the kernel counts it", counted, "whole pages"));
    }
    if let Some(disk) = disk(asker) {
        let all =
            format!("sum(increase(node_disk_written_bytes_total{{job=\"host\",device=\"{disk}\"}}{today} anchored))");
        rows.extend(asker.number(&all).map(|value| bare("All programs", value, &format!("on {disk}"))));
    }
    rows
}

/// Returns the seconds since midnight at the site, two minutes at least.
fn seconds_of_day(asker: &Asker) -> i64 {
    let now = asker.now.as_millis();
    let midnight = jiff::Timestamp::from_millisecond(now)
        .and_then(|t| t.to_zoned(asker.state.info.time_zone.clone()).start_of_day())
        .map_or(now - 86_400_000, |midnight| midnight.timestamp().as_millisecond());
    ((now - midnight) / 1000).max(120)
}

fn cause_name(cause: &str) -> &str {
    match cause {
        "metrics_wal" => "Metrics: write-ahead log",
        "metrics_checkpoint" => "Metrics: checkpoint",
        "metrics_blocks" => "Metrics: new blocks",
        "metrics_compaction" => "Metrics: merged blocks",
        "logs_wal" => "Logs: write-ahead log",
        "logs_parts" => "Logs: parts",
        "state" => "State",
        "last" => "Last values",
        "alarm_journal" => "Alarm journal",
        "outbox" => "Notices to send",
        "own_log" => "Own log files",
        "snapshots" => "Snapshots",
        "reserve" => "Reserve",
        other => other,
    }
}

fn disk(asker: &Asker) -> Option<String> {
    disk_of(Path::new("/sys"), Path::new(&asker.state.info.data_dir))
}

/// Projects the life of the flash that holds the data folder.
fn life(asker: &Asker) -> Life {
    let AppState { info, storage, db, .. } = &asker.state;
    let disk = disk(asker);
    let told = flash_lives(Path::new("/sys")).into_iter().find(|life| disk.as_ref() == Some(&life.device));
    let steps = told.as_ref().map(|life| storage.flash_steps(&life.id)).unwrap_or_default();
    let window =
        db.stats().min_time.map_or(PACE_WINDOW, |t| asker.now.since(t)).clamp(Duration::from_secs(300), PACE_WINDOW);
    let a_day = |selector: &str| asker.number(&format!("sum(rate({selector}[{}s])) * 86400", window.as_secs()));
    let by_all = disk.as_ref().and_then(|disk| {
        let all = a_day(&format!("node_disk_written_bytes_total{{job=\"host\",device=\"{disk}\"}}"))?;
        Some((all, format!("to {disk} by all programs")))
    });
    let own = || Some((a_day("process_io_storage_written_bytes_total{job=\"andon\"}")?, "by Andon".to_owned()));
    let pace = by_all.or_else(own);
    let wear = Wear {
        steps: &steps,
        endurance_bytes: info.flash_endurance,
        bytes_a_day: pace.as_ref().map(|(bytes, _)| *bytes),
        now: asker.now,
    };
    let mut facts = Vec::new();
    if let Some((a_day, by_whom)) = &pace {
        let note = format!("{by_whom}, mean of {}", span(window));
        facts.push(Row::plain("Written a day", Unit::Bytes.show(*a_day), note));
    }
    if let Some(life) = &told {
        let used = format!("{} %", life.step.min(10) * 10);
        facts.push(Row::plain("Used, as the device tells", used, format!("{}, in steps of 10 %", life.device)));
    }
    facts.extend(
        info.flash_endurance
            .map(|b| Row::plain("Promised by the maker", bytes(b), "storage.flash_endurance".to_owned())),
    );
    let device = disk.as_deref().unwrap_or("the disk");
    let projection = wear.projection();
    Life {
        is_unknown: projection.is_none(),
        text: projection.map_or_else(|| "not known".to_owned(), |p| years(&p)),
        class: projection.filter(|p| p.years < 1.0 && !matches!(p.basis, Basis::NoStep { .. })).map_or("", |_| "p2"),
        how: how(projection.map(|p| p.basis), told.is_some(), device),
        facts,
    }
}

fn years(projection: &Projection) -> String {
    let least = if matches!(projection.basis, Basis::NoStep { .. }) { "at least " } else { "" };
    match projection.years {
        years if years >= 100.0 => "over 100 years".to_owned(),
        years if years >= 10.0 => format!("{least}{years:.0} years"),
        years if years >= 2.0 => format!("{least}{years:.1} years"),
        years => format!("{least}{:.0} months", years * 12.0),
    }
}

/// Says how a projection was worked out, or why there is none.
fn how(basis: Option<Basis>, is_told: bool, device: &str) -> String {
    match basis {
        Some(Basis::Endurance { used: Some(used) }) => format!(
            "What the maker promises, less the {} that {device} says is used, divided by what is written a day.",
            Unit::Ratio.show(used)
        ),
        Some(Basis::Endurance { used: None }) => format!(
            "What the maker promises, divided by what is written a day. {device} does not say how much is used already, \
             so this counts from new."
        ),
        Some(Basis::Steps { count, within }) => format!(
            "{device} has used {} of its life in {}; what is left lasts as long at that pace.",
            Unit::Ratio.show(f64::from(count) / 10.0),
            span(within)
        ),
        Some(Basis::NoStep { since }) => format!(
            "{device} says its wear in steps of a tenth and has begun none in {} of watching: it lasts at least this \
             long, and the longer it is watched the better that is known.",
            span(since)
        ),
        None if is_told => format!("{device} says its wear; it was not watched long enough yet."),
        None => format!(
            "The kernel shows no wear of {device}. With the maker's figure in the settings (storage.flash_endurance, \
             the TBW of the data sheet) the life is worked out from what is written."
        ),
    }
}

/// Returns what was found damaged since the start, oldest first.
fn findings(state: &AppState) -> Vec<String> {
    let settings = state.state.damage().map(|found| format!("state: {}; it began empty", found.reason));
    let last = state.last.damage().map(|found| format!("last values: {}; they began empty", found.reason));
    let stores = state.db.stats().damages.into_iter().chain(state.storage.logs.stats().damages);
    settings.into_iter().chain(last).chain(stores).collect()
}

/// Returns when everything was last read and checked, or how far that is.
fn checked(asker: &Asker) -> Row {
    let stats = asker.state.storage.scrub();
    let found = |round: &ScrubRound| match round.findings {
        0 => "nothing found".to_owned(),
        1 => "1 place did not check out".to_owned(),
        n => format!("{n} places did not check out"),
    };
    let (text, note) = match (&stats.current, &stats.last) {
        (Some(round), _) => {
            let text = format!("{} of {}", Unit::Ratio.show(stats.progress_ratio), bytes(stats.all_bytes));
            (text, format!("under way for {}, {}", span(asker.now.since(round.begun_at)), found(round)))
        }
        (None, Some(round)) => (
            format!("{} ago", span(asker.now.since(round.ended_at))),
            format!("{}, {}", bytes(round.bytes), found(round)),
        ),
        (None, None) => ("not yet".to_owned(), "begins an hour after the start, then once a week".to_owned()),
    };
    Row::plain("Read and checked", text, note)
}

/// Returns the snapshots that somebody has asked for, the newest first.
fn snapshots(asker: &Asker) -> Vec<Row> {
    let kept = asker.state.storage.kept_snapshots().into_iter().rev();
    kept.map(|k| Row::plain(&k.name, bytes(k.bytes), format!("{} only here", bytes(k.own_bytes)))).collect()
}

/// Returns what lies in quarantine: its name, bytes, and why.
fn quarantine(asker: &Asker) -> Vec<Row> {
    let shown = asker.state.storage.quarantine().into_iter().rev().take(FINDINGS_MAX);
    shown.map(|q| Row::plain(&q.name, bytes(q.bytes), q.why)).collect()
}
