//! What the room counts, by tenant: a closed set, the settings name them. History is made of these.

use crate::instrument::{Counter, CounterFamily, Gauge, GaugeFamily, Registry};

use super::anomaly::Kind;

/// All counts of the room.
#[derive(Debug, Clone)]
pub(super) struct Instruments {
    messages: CounterFamily,
    bytes: CounterFamily,
    errors: CounterFamily,
    heartbeats: CounterFamily,
    subjects: CounterFamily,
    clients: GaugeFamily,
    channels: GaugeFamily,
    latency: GaugeFamily,
    raised: CounterFamily,
    standing: GaugeFamily,
    asked: CounterFamily,
    /// Heartbeats that do not count, by reason.
    pub(super) refused: CounterFamily,
    /// Messages that came faster than this room counts.
    pub(super) lost: Counter,
    /// Attempts to read direct connections that failed.
    pub(super) unread: Counter,
}

/// The counts of one tenant.
#[derive(Debug, Clone)]
pub(super) struct Counts {
    pub(super) messages: Counter,
    pub(super) bytes: Counter,
    pub(super) errors: Counter,
    pub(super) heartbeats: Counter,
    pub(super) online: Gauge,
    pub(super) offline: Gauge,
    pub(super) channels: Gauge,
    pub(super) latency: Gauge,
    pub(super) asked: Counter,
}

impl Instruments {
    pub(super) fn new(registry: &Registry) -> Self {
        let tenant = &["tenant"];
        Instruments {
            messages: registry.counters("andon_tenants_messages_total", "Messages of a tenant.", tenant),
            bytes: registry.counters("andon_tenants_bytes_total", "Bytes in messages of a tenant.", tenant),
            errors: registry.counters(
                "andon_tenants_errors_total",
                "Errors that a tenant's clients and services told of.",
                tenant,
            ),
            heartbeats: registry.counters(
                "andon_tenants_heartbeats_total",
                "Heartbeats of clients that count.",
                tenant,
            ),
            subjects: registry.counters(
                "andon_tenants_subject_messages_total",
                "Messages of a tenant by kind of subject.",
                &["tenant", "pattern"],
            ),
            clients: registry.gauges("andon_tenants_clients", "Known clients of a tenant.", &["tenant", "state"]),
            channels: registry.gauges("andon_tenants_channels", "Channels with traffic in the last day.", tenant),
            latency: registry.gauges(
                "andon_tenants_latency_seconds",
                "Time from what a message or heartbeat says until it was here.",
                tenant,
            ),
            raised: registry.counters("andon_tenants_anomalies_total", "Anomalies found.", &["tenant", "anomaly"]),
            standing: registry.gauges("andon_tenants_anomalies", "Anomalies that stand.", &["tenant", "anomaly"]),
            asked: registry.counters("andon_tenants_api_calls_total", "Questions with a tenant's key.", tenant),
            refused: registry.counters(
                "andon_tenants_heartbeats_refused_total",
                "Heartbeats that do not count.",
                &["reason"],
            ),
            lost: registry.counter(
                "andon_tenants_lost_messages_total",
                "Messages of tenants that came faster than they were counted.",
            ),
            unread: registry.counter(
                "andon_tenants_connections_unread_total",
                "Times that a NATS server did not tell of its connections.",
            ),
        }
    }

    /// Returns the counts of a tenant.
    pub(super) fn of(&self, tenant: &str) -> Counts {
        for kind in Kind::ALL {
            let _ = self.raised(tenant, kind);
        }
        Counts {
            messages: self.messages.with(&[tenant]),
            bytes: self.bytes.with(&[tenant]),
            errors: self.errors.with(&[tenant]),
            heartbeats: self.heartbeats.with(&[tenant]),
            online: self.clients.with(&[tenant, "online"]),
            offline: self.clients.with(&[tenant, "offline"]),
            channels: self.channels.with(&[tenant]),
            latency: self.latency.with(&[tenant]),
            asked: self.asked.with(&[tenant]),
        }
    }

    pub(super) fn subject(&self, tenant: &str, pattern: &str) -> Counter {
        self.subjects.with(&[tenant, pattern])
    }

    pub(super) fn raised(&self, tenant: &str, kind: Kind) -> Counter {
        self.raised.with(&[tenant, kind.as_str()])
    }

    pub(super) fn standing(&self, tenant: &str, kind: Kind) -> Gauge {
        self.standing.with(&[tenant, kind.as_str()])
    }

    /// Forgets a tenant that is none any more.
    pub(super) fn forget<'a>(&self, tenant: &str, patterns: impl Iterator<Item = &'a str>) {
        for family in [&self.messages, &self.bytes, &self.errors, &self.heartbeats, &self.asked] {
            family.remove(&[tenant]);
        }
        for family in [&self.channels, &self.latency] {
            family.remove(&[tenant]);
        }
        patterns.for_each(|pattern| self.subjects.remove(&[tenant, pattern]));
        ["online", "offline"].iter().for_each(|state| self.clients.remove(&[tenant, state]));
        for kind in Kind::ALL {
            self.raised.remove(&[tenant, kind.as_str()]);
            self.standing.remove(&[tenant, kind.as_str()]);
        }
    }
}
