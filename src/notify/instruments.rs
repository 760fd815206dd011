//! What the room counts about itself.

use crate::instrument::{Counter, CounterFamily, Gauge, Histogram, Registry};

#[derive(Debug, Clone)]
pub(super) struct Instruments {
    pub(super) attempts: CounterFamily,
    pub(super) notices: CounterFamily,
    pub(super) waiting: Gauge,
    pub(super) groups: Gauge,
    pub(super) inhibited: Gauge,
    pub(super) duration: Histogram,
    pub(super) outbox_failures: Counter,
    pub(super) log_failures: Counter,
}

impl Instruments {
    pub(super) fn new(registry: &Registry) -> Self {
        Instruments {
            attempts: registry.counters(
                "andon_notify_attempts_total",
                "Attempts to tell a receiver, by outcome: sent, failed.",
                &["receiver", "outcome"],
            ),
            notices: registry.counters(
                "andon_notify_notices_total",
                "Notices by what became of them: made, sent, replaced by a newer one, given_up, dropped.",
                &["outcome"],
            ),
            waiting: registry.gauge("andon_notify_outbox_notices", "Notices that wait to be sent."),
            groups: registry.gauge("andon_notify_groups", "Aggregation groups."),
            inhibited: registry.gauge("andon_notify_inhibited_alarms", "Active alarms that others mute."),
            duration: registry.histogram(
                "andon_notify_attempt_duration_seconds",
                "How long an attempt took.",
                &[0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0],
            ),
            outbox_failures: registry.counter(
                "andon_notify_outbox_failures_total",
                "Writes to the outbox that failed; the notices are in memory only.",
            ),
            log_failures: registry
                .counter("andon_notify_log_failures_total", "Writes to the log of what was told that failed."),
        }
    }
}
