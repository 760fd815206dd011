//! How much room there is for series, who has it, and who was refused new ones. On the page of targets.

use super::number::{Unit, ago};
use crate::collect::Refused;
use crate::headroom::Level;
use crate::http::AppState;
use crate::model::Timestamp;

/// So many sources with the most series are shown.
const SOURCES_SHOWN: usize = 8;

/// So many labels of a metric are shown.
const LABELS_SHOWN: usize = 3;

/// A figure beside its limit.
#[derive(Debug)]
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) text: String,
    pub(super) note: String,
    pub(super) class: &'static str,
}

/// A source with many series.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) name: String,
    pub(super) series: String,
}

/// What was refused of one metric.
#[derive(Debug)]
pub(super) struct Metric {
    pub(super) name: String,
    pub(super) series: String,
    pub(super) labels: Vec<Label>,
}

/// How many values a label had.
#[derive(Debug)]
pub(super) struct Label {
    pub(super) name: String,
    pub(super) values: String,
    pub(super) example: String,
    pub(super) is_culprit: bool,
}

/// What was refused to one source.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) name: String,
    pub(super) reasons: Vec<String>,
    pub(super) age: String,
    pub(super) metrics: Vec<Metric>,
    pub(super) remedy: String,
    pub(super) remedy_place: &'static str,
}

/// The two sections.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) figures: Vec<Figure>,
    pub(super) holders: Vec<Holder>,
    pub(super) refused: Vec<Refusal>,
}

/// Returns what the page shows.
pub(super) fn room(state: &AppState, refused: &[Refused], now: Timestamp) -> Room {
    let (series, series_max) = (state.db.series_count(), state.db.series_max());
    let headroom = state.db.headroom();
    let mut figures = vec![Figure {
        name: "Series",
        text: count(series),
        note: format!("of {}", count(series_max)),
        class: if series >= series_max { "p2" } else { "" },
    }];
    if let Some(limit) = headroom.limit_bytes() {
        #[expect(clippy::cast_precision_loss, reason = "bytes of memory are below 2^53")]
        let bytes = |bytes: u64| Unit::Bytes.show(bytes as f64);
        figures.push(Figure {
            name: "Memory",
            text: bytes(headroom.used_bytes()),
            note: format!("of {}{}", bytes(limit), if headroom.level() == Level::Ample { "" } else { ": short" }),
            class: if headroom.level() == Level::Ample { "" } else { "p2" },
        });
    }
    let holders = state.db.accounts(SOURCES_SHOWN).into_iter();
    Room {
        figures,
        holders: holders.map(|(name, series)| Holder { name, series: count(series) }).collect(),
        refused: refused.iter().map(|refused| refusal(refused, now)).collect(),
    }
}

fn refusal(refused: &Refused, now: Timestamp) -> Refusal {
    let reasons = refused.reasons.iter().map(|(reason, samples)| {
        let samples = if *samples == 1 { "1 sample".to_owned() } else { format!("{samples} samples") };
        match *reason {
            "over_source_limit" => {
                format!("{samples} of new series refused: it has {}, which is its limit", count(refused.series_max))
            }
            "over_series_limit" => format!("{samples} of new series refused: the store has as many as it may have"),
            "memory_short" => format!("{samples} of new series refused: memory was short"),
            "bad_labels" => format!("{samples} refused whose labels are too many or too long"),
            other => format!("{samples} refused: {other}"),
        }
    });
    let metrics = refused.metrics.iter().map(|metric| Metric {
        name: metric.name.clone(),
        series: count(metric.series),
        labels: metric
            .labels
            .iter()
            .filter(|label| label.values > 1)
            .take(LABELS_SHOWN)
            .map(|label| Label {
                name: label.name.clone(),
                values: count(label.values),
                example: label.example.clone(),
                is_culprit: metric.culprit().is_some_and(|culprit| culprit.name == label.name),
            })
            .collect(),
    });
    Refusal {
        name: refused.supplier.to_string(),
        reasons: reasons.collect(),
        age: ago(refused.last, now),
        metrics: metrics.collect(),
        remedy: refused.remedy().unwrap_or_default(),
        remedy_place: match refused.supplier {
            crate::collect::Supplier::Sender(_) => "Settings of the sender that drop them",
            _ => "Settings that drop them",
        },
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of series is far below 2^53")]
fn count(n: usize) -> String {
    Unit::Plain.show(n as f64)
}
