//! The connection to NATS under the names that people's rules and dashboards know: `router_nats_*`.
//!
//! They came from a router that counted only successes as publishes, left gauges of states behind that no longer
//! held, and gave up after ten attempts. Here they say what they are called: an attempt is counted with its outcome, a
//! state is one number, and nothing is ever given up, so that `reconnection_exhausted` stays zero.

use std::time::Duration;

use crate::instrument::{Counter, CounterFamily, Gauge, Histogram, Registry};

/// From a round trip on the same machine to a server far away.
const LATENCY_BOUNDS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// What happens between this box and NATS.
#[derive(Debug, Clone)]
pub(super) struct Resilience {
    status: Gauge,
    established: Counter,
    restored: Counter,
    lost: Counter,
    failures: CounterFamily,
    attempts: Counter,
    failed_attempts: CounterFamily,
    published: Counter,
    publish_attempts: CounterFamily,
    publish_failures: CounterFamily,
    acknowledged: Counter,
    not_acknowledged: CounterFamily,
    latency: Histogram,
    retries: Counter,
    pending: Gauge,
    pending_dropped: Counter,
    pub(super) subscribed: Counter,
    pub(super) subscribe_failures: CounterFamily,
    pub(super) acks: Counter,
    pub(super) naks: Counter,
    health: CounterFamily,
}

impl Resilience {
    pub(super) fn new(r: &Registry) -> Self {
        let counter = |name: &str, help| r.counter(&format!("router_nats_{name}_total"), help);
        let by = |name: &str, help, label| r.counters(&format!("router_nats_{name}_total"), help, &[label]);
        let _ = counter("reconnection_exhausted", "Times that reconnecting was given up: never.");
        let resilience = Resilience {
            status: r.gauge("router_nats_connection_status", "1 connected, 0.5 connecting, 0 not connected."),
            established: counter("connection_established", "Connections made to NATS."),
            restored: counter("connection_restored", "Connections made again after one was lost."),
            lost: counter("connection_lost", "Connections that were lost."),
            failures: by(
                "connection_failures",
                "Attempts to connect that failed, the first of all included.",
                "reason",
            ),
            attempts: counter("reconnect_attempts", "Attempts to connect again."),
            failed_attempts: by("reconnect_failures", "Attempts to connect again that failed.", "reason"),
            published: counter("publish", "Messages that NATS took."),
            publish_attempts: by("publish_attempts", "Messages for NATS, by outcome.", "status"),
            publish_failures: by("publish_failures", "Messages that NATS did not take, by reason.", "reason"),
            acknowledged: counter("publish_with_ack", "Messages that a stream has acknowledged."),
            not_acknowledged: by("publish_with_ack_failures", "Messages that a stream did not take.", "reason"),
            latency: r.histogram(
                "router_nats_publish_latency_seconds",
                "From handing a message to the connection to its stream's acknowledgement.",
                &LATENCY_BOUNDS,
            ),
            retries: counter("publish_retries", "Messages that were sent again."),
            pending: r.gauge("router_nats_pending_operations_count", "Messages that wait for their stream."),
            pending_dropped: counter("pending_operations_dropped", "Messages dropped while they waited."),
            subscribed: counter("subscribe", "Subscriptions made on NATS."),
            subscribe_failures: by("subscribe_failures", "Subscriptions that NATS did not take.", "reason"),
            acks: counter("ack", "Messages of streams that were delivered and acknowledged."),
            naks: counter("nak", "Messages of streams that were given back."),
            health: by("health_check", "Probes through NATS, by outcome.", "status"),
        };
        resilience.status.set(0.5);
        for status in ["healthy", "unhealthy"] {
            let _ = resilience.health.with(&[status]);
        }
        for status in ["success", "failure"] {
            let _ = resilience.publish_attempts.with(&[status]);
        }
        resilience
    }

    /// Counts an attempt to connect; `is_first` before the first success.
    pub(super) fn attempt(&self, is_first: bool) {
        if !is_first {
            self.attempts.inc();
        }
    }

    pub(super) fn connected(&self, is_first: bool) {
        self.status.set(1.0);
        self.established.inc();
        if !is_first {
            self.restored.inc();
        }
    }

    pub(super) fn not_connected(&self, is_first: bool, reason: &str) {
        self.status.set(0.0);
        self.failures.with(&[reason]).inc();
        if !is_first {
            self.failed_attempts.with(&[reason]).inc();
        }
    }

    pub(super) fn lost(&self) {
        self.status.set(0.5);
        self.lost.inc();
    }

    /// Counts a message that is not for a stream, by its outcome.
    pub(super) fn publish(&self, failure: Option<&str>) {
        match failure {
            None => {
                self.published.inc();
                self.publish_attempts.with(&["success"]).inc();
            }
            Some(reason) => {
                self.publish_failures.with(&[reason]).inc();
                self.publish_attempts.with(&["failure"]).inc();
            }
        }
    }

    pub(super) fn acknowledged(&self, after: Option<Duration>) {
        self.acknowledged.inc();
        self.publish(None);
        after.into_iter().for_each(|after| self.latency.observe_duration(after));
    }

    pub(super) fn not_acknowledged(&self, reason: &str) {
        self.not_acknowledged.with(&[reason]).inc();
        self.publish(Some(reason));
    }

    pub(super) fn retry(&self) {
        self.retries.inc();
    }

    pub(super) fn dropped(&self, messages: u64) {
        self.pending_dropped.add(messages);
    }

    pub(super) fn pending(&self, messages: u64) {
        #[expect(clippy::cast_precision_loss, reason = "a count is below 2^53")]
        self.pending.set(messages as f64);
    }

    pub(super) fn probed(&self, is_well: bool) {
        self.health.with(&[if is_well { "healthy" } else { "unhealthy" }]).inc();
    }
}
