//! The bus's own metrics.

use super::resilience::Resilience;
use super::{SpoolState, StreamState};
use crate::instrument::{Counter, CounterFamily, Gauge, GaugeFamily, Registry};
use crate::model::Timestamp;

#[derive(Debug, Clone)]
pub(super) struct Instruments {
    pub(super) published_local: Counter,
    pub(super) published_nats: Counter,
    pub(super) received_nats: Counter,
    pub(super) dropped: CounterFamily,
    pub(super) connected: Gauge,
    pub(super) connects: Counter,
    pub(super) patterns: Gauge,
    pub(super) resilience: Resilience,
}

impl Instruments {
    /// Without NATS nothing is shown of a connection to it: a rule would take that for a lost one.
    pub(super) fn new(registry: &Registry, has_nats: bool) -> Self {
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
            resilience: if has_nats { Resilience::new(registry) } else { Resilience::new(&Registry::default()) },
        }
    }
}

/// What the spool counts.
#[derive(Debug, Clone)]
pub(super) struct SpoolInstruments {
    pub(super) taken: Counter,
    pub(super) acknowledged: CounterFamily,
    pub(super) repeats: Counter,
    pub(super) resent: Counter,
    pub(super) dropped: CounterFamily,
    pub(super) writes: Counter,
    pub(super) went_back: Counter,
    pub(super) damages: Counter,
    pub(super) resilience: Resilience,
    waiting: Gauge,
    bytes: Gauge,
    oldest: Gauge,
}

/// Why the spool drops messages.
const DROPPED: [&str; 5] = ["full", "too_old", "too_large", "refused", "no_room"];

impl SpoolInstruments {
    pub(super) fn new(r: &Registry, resilience: Resilience) -> Self {
        let dropped =
            r.counters("andon_bus_spool_dropped_total", "Messages for streams that were lost, by reason.", &["reason"]);
        for reason in DROPPED {
            let _ = dropped.with(&[reason]);
        }
        SpoolInstruments {
            taken: r.counter("andon_bus_spool_taken_total", "Messages taken for streams."),
            acknowledged: r.counters(
                "andon_bus_spool_acknowledged_total",
                "Messages that a stream has acknowledged, by stream.",
                &["stream"],
            ),
            repeats: r.counter("andon_bus_spool_repeats_total", "Messages that their stream had already."),
            resent: r.counter("andon_bus_spool_resent_total", "Messages that were sent to NATS again."),
            dropped,
            resilience,
            writes: r.counter("andon_bus_spool_writes_total", "Times that the spool was written and synced."),
            went_back: r.counter(
                "andon_bus_stream_went_back_total",
                "Times that a stream had forgotten what it had acknowledged.",
            ),
            damages: r.counter("andon_bus_spool_damages_total", "Places of the spool that did not check out."),
            waiting: r.gauge("andon_bus_spool_messages", "Messages that no stream has acknowledged yet."),
            bytes: r.gauge("andon_bus_spool_bytes", "Bytes of the spool on disk."),
            oldest: r.gauge("andon_bus_spool_oldest_seconds", "Age of the oldest message that waits for its stream."),
        }
    }

    pub(super) fn dropped_count(&self) -> u64 {
        DROPPED.iter().map(|reason| self.dropped.with(&[reason]).get()).sum()
    }

    #[expect(clippy::cast_precision_loss, reason = "counts and ages are below 2^53")]
    pub(super) fn show(&self, state: &SpoolState, now: Timestamp) {
        self.waiting.set(state.waiting as f64);
        self.resilience.pending(state.waiting);
        self.bytes.set(state.bytes as f64);
        let age_ms = state.oldest.map_or(0, |at| now.as_millis().saturating_sub(at.as_millis()).max(0));
        self.oldest.set(age_ms as f64 / 1000.0);
    }
}

/// What streams of this box count, by stream.
#[derive(Debug, Clone)]
pub(super) struct StoreFamilies {
    stored: CounterFamily,
    repeats: CounterFamily,
    dropped: CounterFamily,
    writes: CounterFamily,
    damages: CounterFamily,
    forgotten: CounterFamily,
    messages: GaugeFamily,
    bytes: GaugeFamily,
    last: GaugeFamily,
    subjects: GaugeFamily,
    places: GaugeFamily,
    problem: GaugeFamily,
}

impl StoreFamilies {
    pub(super) fn new(r: &Registry) -> Self {
        const BY: &[&str] = &["stream"];
        let counters = |name: &str, help: &str| r.counters(&format!("andon_bus_stream_{name}_total"), help, BY);
        let gauges = |name: &str, help: &str| r.gauges(&format!("andon_bus_stream_{name}"), help, BY);
        StoreFamilies {
            stored: counters("stored", "Messages that a stream of this box has stored."),
            repeats: counters("repeats", "Messages that a stream of this box had already."),
            dropped: r.counters(
                "andon_bus_stream_dropped_total",
                "Messages that a stream of this box refused, by reason.",
                &["stream", "reason"],
            ),
            writes: counters("writes", "Times that a stream of this box was written and synced."),
            damages: counters("damages", "Places of a stream of this box that did not check out."),
            forgotten: counters("subjects_forgotten", "Subjects whose last message is not known any more: too many."),
            messages: gauges("messages", "Messages in a stream of this box."),
            bytes: gauges("bytes", "Bytes of a stream of this box on disk."),
            last: gauges("last_sequence", "Sequence of the newest message of a stream of this box."),
            subjects: gauges("subjects", "Subjects whose last message is known."),
            places: gauges("places", "Readers whose place in a stream of this box is kept."),
            problem: gauges("problem", "1 while a stream of this box cannot be written, else 0."),
        }
    }

    /// Returns what one stream counts.
    pub(super) fn of(&self, stream: &str) -> StoreInstruments {
        let by = [stream];
        StoreInstruments {
            stored: self.stored.with(&by),
            repeats: self.repeats.with(&by),
            dropped: STORE_DROPPED.map(|reason| (reason, self.dropped.with(&[stream, reason]))),
            writes: self.writes.with(&by),
            damages: self.damages.with(&by),
            forgotten: self.forgotten.with(&by),
            messages: self.messages.with(&by),
            bytes: self.bytes.with(&by),
            last: self.last.with(&by),
            subjects: self.subjects.with(&by),
            places: self.places.with(&by),
            problem: self.problem.with(&by),
        }
    }
}

/// Why a stream of this box refuses messages.
const STORE_DROPPED: [&str; 3] = ["no_room", "too_large", "full"];

/// What one stream of this box counts.
#[derive(Debug, Clone)]
pub(super) struct StoreInstruments {
    pub(super) stored: Counter,
    pub(super) repeats: Counter,
    pub(super) writes: Counter,
    pub(super) damages: Counter,
    dropped: [(&'static str, Counter); 3],
    forgotten: Counter,
    messages: Gauge,
    bytes: Gauge,
    last: Gauge,
    subjects: Gauge,
    places: Gauge,
    problem: Gauge,
}

impl StoreInstruments {
    pub(super) fn dropped(&self, reason: &str) {
        self.dropped.iter().filter(|(known, _)| *known == reason).for_each(|(_, counter)| counter.inc());
    }

    pub(super) fn dropped_count(&self) -> u64 {
        self.dropped.iter().map(|(_, counter)| counter.get()).sum()
    }

    #[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
    pub(super) fn show(&self, state: &StreamState, forgotten: u64) {
        self.forgotten.add(forgotten.saturating_sub(self.forgotten.get()));
        self.messages.set(state.messages as f64);
        self.bytes.set(state.bytes as f64);
        self.last.set(state.last as f64);
        self.subjects.set(state.subjects as f64);
        self.places.set(state.places as f64);
        self.problem.set(if state.problem.is_some() { 1.0 } else { 0.0 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_without_nats_shows_no_state_of_a_connection() {
        let has_state = |has_nats| {
            let registry = Registry::default();
            let _ = Instruments::new(&registry, has_nats);
            registry.gather().iter().any(|family| family.name == "router_nats_connection_status")
        };
        assert!(has_state(true));
        assert!(!has_state(false));
    }
}
