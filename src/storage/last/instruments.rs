//! The room's own counters.

use crate::instrument::{Counter, CounterFamily, Registry};
use crate::storage::disk;

#[derive(Debug)]
pub(super) struct Instruments {
    pub(super) written: Counter,
    pub(super) dropped: CounterFamily,
    pub(super) failures: Counter,
    pub(super) quarantined: Counter,
    pub(super) bytes: Counter,
}

impl Instruments {
    pub(super) fn new(registry: &Registry) -> Self {
        Instruments {
            written: registry.counter("andon_last_messages_written_total", "Last messages written to disk."),
            dropped: registry.counters(
                "andon_last_dropped_total",
                "Last messages and devices that were not kept, by reason.",
                &["reason"],
            ),
            failures: registry.counter("andon_last_failures_total", "Times the store of last-known state failed."),
            quarantined: registry
                .counter("andon_last_quarantined_total", "Stores of last-known state that were put aside."),
            bytes: disk::written_bytes(registry).with(&["last"]),
        }
    }
}
