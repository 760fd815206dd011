//! Production lines: what each is doing, and its OEE as availability x performance x quality.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::ask::{Asker, Latest};
use super::chart::{Cell, Meter, Pointer, Strip, Svg};
use super::number::{Unit, ago, span};
use super::window::Window;
use crate::model::{Labels, Sample, Timestamp};

/// Cells of a line's strip of states, about.
const CELLS: u64 = 240;
/// Values older than this are shown as stale.
const STALE_AFTER: Duration = Duration::from_secs(60);
/// World class by the usual reading: 90 % available, 95 % performing, 99.9 % good, 85 % in all.
const TARGETS: [(&str, &str, f64); 4] = [
    ("Availability", "availability", 0.90),
    ("Performance", "performance", 0.95),
    ("Quality", "quality", 0.999),
    ("OEE", "overall", 0.85),
];

/// What a line does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineState {
    /// It produces.
    Running,
    /// It stands, without a fault.
    Stopped,
    /// It stands because of a fault.
    Fault,
    /// It does not say, or says something that is not known here.
    Unknown,
}

impl LineState {
    /// Reads the value of `factory_line_state`: 0 stopped, 1 running, 2 fault.
    fn of(value: f64) -> LineState {
        match value {
            0.0 => LineState::Stopped,
            1.0 => LineState::Running,
            2.0 => LineState::Fault,
            _ => LineState::Unknown,
        }
    }

    /// Returns the word for people.
    pub(super) fn word(self) -> &'static str {
        match self {
            LineState::Running => "Running",
            LineState::Stopped => "Stopped",
            LineState::Fault => "Fault",
            LineState::Unknown => "Not known",
        }
    }

    /// Returns its shape.
    pub(super) fn shape(self) -> &'static str {
        match self {
            LineState::Running => "ok",
            LineState::Stopped | LineState::Unknown => "off",
            LineState::Fault => "p1",
        }
    }

    /// Returns its class.
    pub(super) fn class(self) -> &'static str {
        if self == LineState::Fault { "p1" } else { "" }
    }

    fn cell(self) -> Cell {
        match self {
            LineState::Running => Cell::Good,
            LineState::Stopped => Cell::Idle,
            LineState::Fault => Cell::Bad,
            LineState::Unknown => Cell::Unknown,
        }
    }
}

/// One factor of the OEE, or the OEE itself.
#[derive(Debug, Clone)]
pub(super) struct Factor {
    /// What it is called.
    pub(super) name: &'static str,
    /// Its value, or a dash.
    pub(super) text: String,
    /// Beside its target.
    pub(super) meter: Svg,
}

/// A number with its name.
#[derive(Debug, Clone)]
pub(super) struct Fact {
    /// What it is.
    pub(super) name: &'static str,
    /// Its value.
    pub(super) text: String,
    /// What puts it in place: `of 1000`; may be empty.
    pub(super) note: String,
}

/// One production line.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// Its name.
    pub(super) id: String,
    /// What it does.
    pub(super) state: LineState,
    /// Since when: `for 42 min`; empty if not known.
    pub(super) since: String,
    /// How old its newest value is.
    pub(super) age: String,
    /// Whether that is too old to act on.
    pub(super) is_stale: bool,
    /// The factors, then their product.
    pub(super) factors: Vec<Factor>,
    /// Output, rejects and the rest.
    pub(super) facts: Vec<Fact>,
    /// States over the window.
    pub(super) strip: Svg,
}

/// Everything the store says about lines, asked for once for all of them.
struct Readings {
    states: Vec<Latest>,
    factors: Vec<Latest>,
    output: Vec<(Labels, f64)>,
    target: Vec<(Labels, f64)>,
    output_rate: Vec<(Labels, f64)>,
    defects: Vec<(Labels, f64)>,
    stops: Vec<(Labels, f64)>,
    history: Vec<(Labels, Vec<Sample>)>,
}

/// Returns the lines that have samples in the window, by name.
pub(super) fn lines(asker: &Asker, window: &Window, zone: &TimeZone) -> Vec<Line> {
    let readings = read(asker, window);
    let ids: BTreeSet<&str> =
        readings.states.iter().chain(&readings.factors).filter_map(|l| l.labels.get("line_id")).collect();
    ids.into_iter().map(|id| line(id, &readings, window, asker.now, zone)).collect()
}

fn read(asker: &Asker, window: &Window) -> Readings {
    let over = format!("{}s", window.range.as_secs());
    let points =
        |series: Vec<crate::query::promql::RangeSeries>| series.into_iter().map(|s| (s.labels, s.points)).collect();
    Readings {
        states: asker.latest("factory_line_state"),
        factors: TARGETS.iter().flat_map(|(_, key, _)| asker.latest(&format!("factory_oee_{key}"))).collect(),
        output: asker.vector("sum by (line_id) (last_over_time(factory_production_count_total[6h]))"),
        target: asker.vector("sum by (line_id) (factory_production_target)"),
        output_rate: asker.vector("sum by (line_id) (rate(factory_production_count_total[2m])) * 60"),
        defects: asker.vector("sum by (line_id) (last_over_time(factory_defect_count_total[6h]))"),
        stops: asker.vector(&format!("sum by (line_id) (increase(factory_emergency_stop_total[{over}]))")),
        history: points(asker.range("max by (line_id) (factory_line_state)", window, window.step(CELLS))),
    }
}

fn line(id: &str, readings: &Readings, window: &Window, now: Timestamp, zone: &TimeZone) -> Line {
    let is_mine = |labels: &Labels| labels.get("line_id") == Some(id);
    let number = |series: &[(Labels, f64)]| series.iter().find(|(l, _)| is_mine(l)).map(|(_, v)| *v);
    let course = |series: &[(Labels, Vec<Sample>)]| -> Vec<Sample> {
        series.iter().find(|(l, _)| is_mine(l)).map(|(_, p)| p.clone()).unwrap_or_default()
    };
    let newest = readings.states.iter().chain(&readings.factors).filter(|l| is_mine(&l.labels)).map(|l| l.at).max();
    let age = newest.map_or(Duration::MAX, |t| now.since(t));
    let state =
        readings.states.iter().find(|l| is_mine(&l.labels)).map_or(LineState::Unknown, |l| LineState::of(l.value));
    let history = course(&readings.history);
    let strip = Strip {
        title: "States",
        start: window.start,
        end: window.end,
        cells: &cells(&history, window, window.cells(CELLS).1, |v| LineState::of(v).cell()),
        words: ["running", "stopped", "fault"],
        is_band: true,
        zone,
    };
    Line {
        id: id.to_owned(),
        state,
        since: since(&history, window),
        age: newest.map_or_else(String::new, |t| ago(t, now)),
        is_stale: age > STALE_AFTER,
        factors: TARGETS.iter().map(|(name, key, target)| factor(name, key, *target, readings, id)).collect(),
        facts: facts(readings, &number, window),
        strip: strip.svg(),
    }
}

fn factor(name: &'static str, key: &str, target: f64, readings: &Readings, id: &str) -> Factor {
    let metric = format!("factory_oee_{key}");
    let found =
        readings.factors.iter().find(|l| l.labels.metric_name() == metric && l.labels.get("line_id") == Some(id));
    let value = found.map_or(f64::NAN, |l| l.value);
    // One digit after the point always: four of them stand side by side.
    let text = if value.is_finite() { format!("{:.1}\u{202f}%", value * 100.0) } else { "–".to_owned() };
    let title = format!("{name} {text}, target {}", Unit::Ratio.show(target));
    let pointers = [Pointer { value: target, name: "target" }];
    let meter = Meter { title: &title, value, ends: (0.0, 1.0), pointers: &pointers, class: "" };
    Factor { name, text, meter: meter.svg() }
}

fn facts(readings: &Readings, number: &impl Fn(&[(Labels, f64)]) -> Option<f64>, window: &Window) -> Vec<Fact> {
    let (output, defects) = (number(&readings.output), number(&readings.defects));
    let share = defects.zip(output).filter(|(_, o)| *o > 0.0).map(|(d, o)| Unit::Ratio.show(d / o));
    let target = number(&readings.target).map(|t| format!("of {}", Unit::Plain.show(t)));
    let stops = number(&readings.stops).map(f64::round);
    let fact = |name, value: Option<f64>, unit: Unit, note: String| Some(Fact { name, text: unit.show(value?), note });
    [
        fact("Output", output, Unit::Plain, target.unwrap_or_default()),
        fact("Rate", number(&readings.output_rate), Unit::PerMinute, "last 2 min".to_owned()),
        fact("Rejects", defects, Unit::Plain, share.unwrap_or_default()),
        fact("Emergency stops", stops, Unit::Plain, format!("in {}", span(window.range))),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Says for how long the last value has been the same: `for 42 min`, or `for more than 6 h`.
fn since(history: &[Sample], window: &Window) -> String {
    let Some(last) = history.last() else { return String::new() };
    match history.iter().rev().find(|p| p.value.to_bits() != last.value.to_bits()) {
        Some(change) => format!("for {}", span(window.end.since(change.timestamp))),
        None => {
            format!("for more than {}", span(window.end.since(history.first().map_or(window.start, |p| p.timestamp))))
        }
    }
}

/// Sorts points into `count` equal cells of the window; a cell without a point is unknown, and one with several
/// shows the last.
pub(super) fn cells(points: &[Sample], window: &Window, count: usize, of: impl Fn(f64) -> Cell) -> Vec<Cell> {
    let count_signed = i64::try_from(count).unwrap_or(1);
    let span_ms = i64::try_from(window.range.as_millis()).unwrap_or(i64::MAX).max(1);
    let mut cells = vec![Cell::Unknown; count];
    for point in points {
        // A point at a cell's right end tells what the cell was.
        let at = (point.timestamp.as_millis() - window.start.as_millis() - 1).saturating_mul(count_signed) / span_ms;
        if let Some(cell) = usize::try_from(at).ok().and_then(|i| cells.get_mut(i)) {
            *cell = of(point.value);
        }
    }
    // Steps stand on whole seconds since the epoch, so the newest cell may be too young to have one.
    if let [.., before, last] = cells.as_mut_slice()
        && *last == Cell::Unknown
    {
        *last = *before;
    }
    cells
}
