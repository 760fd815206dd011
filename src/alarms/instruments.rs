//! What the room counts about itself.

use crate::instrument::{Counter, CounterFamily, Gauge, GaugeFamily, Registry};

#[derive(Debug, Clone)]
pub(super) struct Instruments {
    pub(super) active: GaugeFamily,
    pub(super) transitions: CounterFamily,
    pub(super) refused: Counter,
    pub(super) expired: Counter,
    pub(super) journal_failures: Counter,
    pub(super) journal_waiting: Gauge,
    pub(super) journal_dropped: Counter,
    pub(super) journal_damages: Counter,
}

impl Instruments {
    pub(super) fn new(registry: &Registry) -> Self {
        Instruments {
            active: registry.gauges("andon_alarms_active", "Alarms whose cause is there.", &["priority"]),
            transitions: registry.counters("andon_alarms_transitions_total", "Transitions of alarms.", &["event"]),
            refused: registry.counter("andon_alarms_refused_total", "Alerts refused because the board is full."),
            expired: registry
                .counter("andon_alarms_expired_total", "Alarms cleared because their rule was not heard of any more."),
            journal_failures: registry.counter(
                "andon_alarms_journal_failures_total",
                "Writes to the journal that failed; they are tried again.",
            ),
            journal_waiting: registry
                .gauge("andon_alarms_journal_waiting_transitions", "Transitions that are not in the journal yet."),
            journal_dropped: registry.counter(
                "andon_alarms_journal_dropped_total",
                "Transitions that never got into the journal because it could not be written for too long.",
            ),
            journal_damages: registry.counter(
                "andon_alarms_journal_damages_total",
                "Places of the journal that could not be read at start.",
            ),
        }
    }
}
