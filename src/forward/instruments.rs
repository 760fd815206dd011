//! Own counters of forwarding, by destination; destinations are a closed set, the settings name them.

use crate::instrument::{Counter, CounterFamily, Gauge, GaugeFamily, Histogram, HistogramFamily, Registry};

/// The families.
#[derive(Debug, Clone)]
pub(super) struct Instruments {
    sent: CounterFamily,
    late: CounterFamily,
    refused: CounterFamily,
    dropped: CounterFamily,
    requests: CounterFamily,
    retries: CounterFamily,
    bytes: CounterFamily,
    skipped_seconds: CounterFamily,
    lag: GaugeFamily,
    duration: HistogramFamily,
}

impl Instruments {
    /// Registers all families.
    pub(super) fn new(registry: &Registry) -> Self {
        let one = ["destination"];
        let by_reason = ["destination", "reason"];
        Instruments {
            sent: registry.counters("andon_forward_samples_total", "Samples that a destination took.", &one),
            late: registry.counters(
                "andon_forward_late_samples_total",
                "Samples, among all, that were sent because their minute received some late.",
                &one,
            ),
            refused: registry.counters(
                "andon_forward_refused_samples_total",
                "Samples that a destination refused for good.",
                &by_reason,
            ),
            dropped: registry.counters(
                "andon_forward_dropped_total",
                "Samples that were not sent, by reason: relabelling dropped them, or the destination refused them.",
                &by_reason,
            ),
            requests: registry.counters(
                "andon_forward_requests_total",
                "Requests that a destination answered well.",
                &one,
            ),
            retries: registry.counters(
                "andon_forward_retries_total",
                "Attempts that failed and were repeated.",
                &by_reason,
            ),
            bytes: registry.counters("andon_forward_bytes_total", "Bytes of bodies that a destination took.", &one),
            skipped_seconds: registry.counters(
                "andon_forward_skipped_seconds_total",
                "Time that was never sent because the store no longer has it.",
                &one,
            ),
            lag: registry.gauges("andon_forward_lag_seconds", "How far the cursor is behind the clock.", &one),
            duration: registry.histograms(
                "andon_forward_request_duration_seconds",
                "How long a destination took to answer.",
                &one,
                &[0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 30.0],
            ),
        }
    }

    /// Returns the instruments of one destination.
    pub(super) fn of(&self, destination: &str) -> OfDestination {
        OfDestination {
            sent: self.sent.with(&[destination]),
            late: self.late.with(&[destination]),
            requests: self.requests.with(&[destination]),
            bytes: self.bytes.with(&[destination]),
            skipped_seconds: self.skipped_seconds.with(&[destination]),
            lag: self.lag.with(&[destination]),
            duration: self.duration.with(&[destination]),
            families: self.clone(),
            destination: destination.to_owned(),
        }
    }
}

/// The instruments of one destination.
#[derive(Debug)]
pub(super) struct OfDestination {
    pub(super) sent: Counter,
    pub(super) late: Counter,
    pub(super) requests: Counter,
    pub(super) bytes: Counter,
    pub(super) skipped_seconds: Counter,
    pub(super) lag: Gauge,
    pub(super) duration: Histogram,
    families: Instruments,
    destination: String,
}

impl OfDestination {
    /// Counts samples that were refused for good.
    pub(super) fn refuse(&self, reason: &str, samples: u64) {
        self.families.refused.with(&[&self.destination, reason]).add(samples);
        self.families.dropped.with(&[&self.destination, "refused"]).add(samples);
    }

    /// Counts samples that relabelling dropped.
    pub(super) fn drop_relabelled(&self, samples: u64) {
        self.families.dropped.with(&[&self.destination, "relabelled"]).add(samples);
    }

    /// Counts an attempt that will be repeated.
    pub(super) fn retry(&self, reason: &str) {
        self.families.retries.with(&[&self.destination, reason]).inc();
    }
}
