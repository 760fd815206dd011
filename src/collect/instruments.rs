//! The collectors' own counters.

use crate::instrument::{Counter, CounterFamily, Registry};
use crate::storage::tsdb::AppendOutcome;

/// Where samples come from, as told apart in the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Scraped.
    Scrape,
    /// Read from this machine.
    Host,
    /// Read from a NATS server.
    Nats,
    /// Made from device messages.
    Telemetry,
    /// Pushed.
    RemoteWrite,
    /// Andon's own.
    Own,
}

impl Way {
    fn as_str(self) -> &'static str {
        match self {
            Way::Scrape => "scrape",
            Way::Host => "host",
            Way::Nats => "nats",
            Way::Telemetry => "telemetry",
            Way::RemoteWrite => "remote_write",
            Way::Own => "own",
        }
    }
}

/// All counters of the room; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Instruments {
    samples: CounterFamily,
    refused: CounterFamily,
    /// Scrapes by result: `ok` or `failed`.
    pub(super) scrapes: CounterFamily,
    /// Readings that were due while the one before was still running, by way.
    skipped: CounterFamily,
    /// Device messages by what became of them: `mapped`, `logged`, `unmapped`, `malformed`.
    pub(super) messages: CounterFamily,
    /// Messages of the bus that were lost because we were slow.
    pub(super) bus_lost: Counter,
    /// Lines by what became of them: `kept`, `refused`, `dropped`.
    pub(super) lines: CounterFamily,
    /// Texts masked in log lines, by kind.
    pub(super) masked: CounterFamily,
}

impl Instruments {
    pub(super) fn new(registry: &Registry) -> Self {
        Instruments {
            samples: registry.counters(
                "andon_collect_samples_total",
                "Samples handed to the store and taken, by way in.",
                &["way"],
            ),
            refused: registry.counters(
                "andon_collect_samples_refused_total",
                "Samples that were not kept, by way in and reason.",
                &["way", "reason"],
            ),
            scrapes: registry.counters("andon_collect_scrapes_total", "Scrapes by result.", &["result"]),
            skipped: registry.counters(
                "andon_collect_ticks_skipped_total",
                "Readings left out because the one before was still running, by way in.",
                &["way"],
            ),
            messages: registry.counters(
                "andon_collect_messages_total",
                "Device messages by what became of them.",
                &["result"],
            ),
            bus_lost: registry.counter(
                "andon_collect_bus_messages_lost_total",
                "Messages of the bus that were lost because the collector was slow.",
            ),
            lines: registry.counters("andon_collect_log_lines_total", "Log lines by what became of them.", &["result"]),
            masked: registry.counters(
                "andon_collect_masked_total",
                "Secrets masked in log lines before they were kept, by kind.",
                &["kind"],
            ),
        }
    }

    /// Counts what became of a batch.
    pub(super) fn appended(&self, way: Way, outcome: &AppendOutcome) {
        self.samples.with(&[way.as_str()]).add(outcome.appended);
        for (reason, count) in [
            ("duplicate", outcome.duplicate),
            ("conflicting", outcome.conflicting),
            ("too_old", outcome.too_old),
            ("too_new", outcome.too_new),
            ("over_series_limit", outcome.over_series_limit),
        ] {
            self.refused(way, reason, count);
        }
    }

    /// Counts samples that were not kept.
    pub(super) fn refused(&self, way: Way, reason: &'static str, count: u64) {
        if count > 0 {
            self.refused.with(&[way.as_str(), reason]).add(count);
        }
    }

    /// Counts readings that were left out.
    pub(super) fn skipped(&self, way: Way, count: u64) {
        if count > 0 {
            self.skipped.with(&[way.as_str()]).add(count);
        }
    }
}
