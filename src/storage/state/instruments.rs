//! The room's own counters.

use crate::instrument::{Counter, CounterFamily, Histogram, Registry};
use crate::storage::disk;

#[derive(Debug)]
pub(super) struct Instruments {
    pub(super) call_seconds: Histogram,
    pub(super) failures: CounterFamily,
    pub(super) quarantined: Counter,
    pub(super) written: Counter,
}

impl Instruments {
    pub(super) fn new(registry: &Registry) -> Self {
        Instruments {
            call_seconds: registry.histogram(
                "andon_state_call_duration_seconds",
                "Time of calls to the state file, waiting for its lock included.",
                &[0.0001, 0.001, 0.01, 0.1, 1.0],
            ),
            failures: registry.counters(
                "andon_state_failures_total",
                "Calls to the state file that failed, by reason.",
                &["reason"],
            ),
            quarantined: registry
                .counter("andon_state_quarantined_total", "State files that did not check out and were put aside."),
            written: disk::written_bytes(registry).with(&["state"]),
        }
    }
}
