//! The bus's own metrics.

use crate::instrument::{Counter, CounterFamily, Gauge, Registry};

#[derive(Debug, Clone)]
pub(super) struct Instruments {
    pub(super) published_local: Counter,
    pub(super) published_nats: Counter,
    pub(super) received_nats: Counter,
    pub(super) dropped: CounterFamily,
    pub(super) connected: Gauge,
    pub(super) connects: Counter,
    pub(super) patterns: Gauge,
}

impl Instruments {
    pub(super) fn new(registry: &Registry) -> Self {
        let published =
            registry.counters("andon_bus_published_total", "Messages published, by where they went.", &["to"]);
        Instruments {
            published_local: published.with(&["local"]),
            published_nats: published.with(&["nats"]),
            received_nats: registry.counter("andon_bus_received_total", "Messages taken from NATS."),
            dropped: registry.counters(
                "andon_bus_dropped_total",
                "Messages that did not reach NATS or a subscriber, by reason.",
                &["reason"],
            ),
            connected: registry.gauge("andon_bus_connected", "1 while connected to NATS, else 0."),
            connects: registry.counter("andon_bus_connects_total", "Times that a connection to NATS was made."),
            patterns: registry.gauge("andon_bus_patterns", "Distinct subject patterns that somebody here listens to."),
        }
    }
}
