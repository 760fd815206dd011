//! What the series are made of: which metrics, labels and values there are most of, who asks for them, and the rule
//! that drops one.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::ask::{Asker, ask};
use super::breakable::Breakable;
use super::chart::{Meter, Svg};
use super::explore::{Known, first_question, label, selector_of};
use super::layout::Frame;
use super::metric::{Detail, detail};
use super::number::{Unit, ago, span};
use super::room::{Room, room};
use super::visit::{Params, Visit, encode};
use super::{failed, page};
use crate::http::AppState;
use crate::model::{LABEL_NAME, Timestamp};
use crate::query::promql::{AskedSnapshot, selected_metrics};
use crate::rules::Snapshot as RulesSnapshot;
use crate::storage::tsdb::Cardinality as Counts;

/// Metrics, and labels or pairs, unless the address asks for all.
const ROWS: (usize, usize) = (20, 12);
/// Rows of a list at most.
const ROWS_MAX: usize = 500;

/// Metrics among which those that nobody asked for are looked up, the largest ones.
const UNASKED_OF: usize = 10_000;

/// A metric with what it has and who wants it.
#[derive(Debug)]
struct Metric {
    name: Breakable,
    href: String,
    series: String,
    bar: Svg,
    asked: Asked,
}

/// Who wants a metric.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// When somebody asked last, in words.
    pub(super) age: String,
    /// The question without a name that may have meant it.
    pub(super) by: String,
    /// Rules that use it.
    pub(super) rules: Vec<String>,
}

impl Asked {
    /// Tells whether nobody wants it.
    pub(super) fn is_nobody(&self) -> bool {
        self.age.is_empty() && self.rules.is_empty()
    }
}

/// A name with how much there is of it.
#[derive(Debug)]
struct Row {
    name: String,
    href: String,
    count: String,
    note: String,
    bar: Svg,
}

#[derive(Debug, Template)]
#[template(path = "pages/cardinality.html")]
struct Cardinality {
    frame: Frame,
    headline: String,
    /// Since when questions are noted.
    since: String,
    metrics: Vec<Metric>,
    metrics_more: usize,
    is_unasked: bool,
    /// Links: all metrics, those that nobody wants, the whole lists.
    all: String,
    unasked: String,
    more: String,
    labels: Vec<Row>,
    pairs: Vec<Row>,
    room: Room,
    detail: Option<Detail>,
}

/// Who wants which metric: the record of questions, and the rules.
#[derive(Debug)]
pub(super) struct Wishes {
    asked: AskedSnapshot,
    /// Metrics with the rules that name them.
    rules: BTreeMap<String, Vec<String>>,
    now: Timestamp,
}

impl Wishes {
    fn of(asked: AskedSnapshot, rules: &RulesSnapshot, now: Timestamp) -> Wishes {
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for rule in rules.groups.iter().flat_map(|group| &group.rules) {
            for metric in selected_metrics(&rule.expression) {
                let names = found.entry(metric).or_default();
                if !names.contains(&rule.name) {
                    names.push(rule.name.clone());
                }
            }
        }
        Wishes { asked, rules: found, now }
    }

    /// Returns who wants a metric.
    pub(super) fn for_metric(&self, name: &str) -> Asked {
        let last = self.asked.last(name);
        Asked {
            age: last.as_ref().map_or_else(String::new, |last| ago(last.at, self.now)),
            by: last.and_then(|last| last.by).unwrap_or_default(),
            rules: self.rules.get(name).cloned().unwrap_or_default(),
        }
    }
}

/// Answers `GET /cardinality`: `metric` shows one more closely, `wanted=no` lists those that nobody asked for, `all`
/// shows longer lists.
pub(super) async fn cardinality(State(state): State<AppState>, visit: Visit) -> Response {
    let frame = Frame::new(&state, &visit, "/explore", "Cardinality", 0);
    let snapshot = state.collector.snapshot();
    let rules = state.rules.snapshot();
    let params = visit.params.clone();
    let found = ask(&state, visit.now, move |asker| {
        let wishes = Wishes::of(asker.state.engine.asked().snapshot(), &rules, asker.now);
        let room = room(&asker.state, &snapshot.refused, asker.now);
        view(asker, frame, &params, &wishes, room)
    });
    match found.await {
        Ok(view) => page(&view),
        Err(_) => failed(Frame::new(&state, &visit, "/explore", "Cardinality", 0)),
    }
}

fn view(asker: &Asker, frame: Frame, params: &Params, wishes: &Wishes, room: Room) -> Cardinality {
    let (metrics_max, rows_max) = if params.get("all").is_some() { (ROWS_MAX, ROWS_MAX) } else { ROWS };
    let is_unasked = params.get("wanted") == Some("no");
    let counts = asker.state.db.cardinality(if is_unasked { UNASKED_OF } else { ROWS_MAX });
    let (metrics, metrics_more) = metrics(&counts, params, wishes, is_unasked, metrics_max);
    let known = Known::of(&asker.state.db);
    Cardinality {
        headline: headline(asker, &counts),
        since: span(asker.now.since(asker.state.info.started_at)),
        metrics,
        metrics_more,
        is_unasked,
        all: params.without("wanted"),
        unasked: params.with(&[("wanted", "no")]),
        more: params.with(&[("all", "1")]),
        labels: labels(&counts, rows_max),
        pairs: pairs(&counts, rows_max),
        room,
        detail: params.get("metric").map(|name| detail(asker, name, known.about(name), wishes)),
        frame,
    }
}

fn headline(asker: &Asker, counts: &Counts) -> String {
    let stats = asker.state.db.stats();
    let each = stats.head_bytes.checked_div(counts.series).unwrap_or(0);
    format!(
        "{} series of {} metrics are in memory, with {} labels and {} pairs of label and value; {}, which is {} a series.",
        count(counts.series),
        count(counts.metrics),
        count(counts.label_names),
        count(counts.label_pairs),
        bytes(stats.head_bytes),
        bytes(each),
    )
}

fn metrics(
    counts: &Counts,
    params: &Params,
    wishes: &Wishes,
    is_unasked: bool,
    rows_max: usize,
) -> (Vec<Metric>, usize) {
    let mut rows = Vec::new();
    let mut more = if is_unasked {
        0
    } else {
        usize::try_from(counts.metrics).unwrap_or(0).saturating_sub(counts.series_by_metric.len())
    };
    for (name, series) in &counts.series_by_metric {
        let asked = wishes.for_metric(name);
        if is_unasked && !asked.is_nobody() {
            continue;
        }
        if rows.len() >= rows_max {
            more += 1;
            continue;
        }
        rows.push(Metric {
            href: format!("{}#metric", params.with(&[("metric", name)])),
            series: count(*series),
            bar: share(name, *series, counts.series),
            asked,
            name: Breakable::new(name),
        });
    }
    (rows, more)
}

fn labels(counts: &Counts, rows_max: usize) -> Vec<Row> {
    let most = counts.values_by_label.first().map_or(0, |(_, values)| *values);
    let bytes_of = |name: &str| counts.bytes_by_label.iter().find(|(n, _)| n == name).map_or(0, |(_, bytes)| *bytes);
    let rows = counts.values_by_label.iter().take(rows_max).map(|(name, values)| Row {
        href: format!("/explore?q={}", encode(&format!("count by ({}) ({{{}!=\"\"}})", label(name), label(name)))),
        count: count(*values),
        note: bytes(bytes_of(name)),
        bar: bar(name, *values, most),
        name: name.clone(),
    });
    rows.collect()
}

/// Labels that all series of a source have in common fill this list; still it tells which source has most.
fn pairs(counts: &Counts, rows_max: usize) -> Vec<Row> {
    let is_name = |pair: &str| pair.starts_with(LABEL_NAME);
    let rows = counts.series_by_pair.iter().filter(|(pair, _)| !is_name(pair)).take(rows_max).map(|(pair, series)| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let question = format!("count by (__name__) ({{{}={value:?}}})", label(name));
        Row {
            href: format!("/explore?q={}", encode(&question)),
            count: count(*series),
            note: String::new(),
            bar: share(pair, *series, counts.series),
            name: pair.clone(),
        }
    });
    rows.collect()
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub(super) fn count(n: u64) -> String {
    Unit::Plain.show(n as f64)
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn bytes(bytes: u64) -> String {
    Unit::Bytes.show(bytes as f64)
}

/// Draws a part of a whole.
pub(super) fn share(name: &str, part: u64, whole: u64) -> Svg {
    #[expect(clippy::cast_precision_loss, reason = "a picture for people")]
    let value = part as f64 / whole.max(1) as f64;
    let title = format!("{name}: {}", Unit::Ratio.show(value));
    Meter { title: &title, value, ends: (0.0, 1.0), pointers: &[], class: "" }.svg()
}

/// Draws a count beside the largest.
pub(super) fn bar(name: &str, n: u64, most: u64) -> Svg {
    #[expect(clippy::cast_precision_loss, reason = "a picture for people")]
    let value = n as f64 / most.max(1) as f64;
    Meter { title: &format!("{name}: {}", count(n)), value, ends: (0.0, 1.0), pointers: &[], class: "" }.svg()
}

/// Returns links to a metric's questions: what it looks like, and how many series it has over time.
pub(super) fn questions(name: &str, kind: &str) -> (String, String) {
    let of = |expression: &str| format!("/explore?q={}", encode(expression));
    (of(&first_question(name, kind)), of(&format!("count({})", selector_of(name))))
}
