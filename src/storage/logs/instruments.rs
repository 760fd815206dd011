//! The room's own counters.

use crate::instrument::{Counter, CounterFamily, Gauge, Histogram, Registry};
use crate::storage::disk::Damages;

#[derive(Debug)]
pub(super) struct Instruments {
    pub(super) lines: Counter,
    pub(super) line_bytes: Counter,
    pub(super) refused: CounterFamily,
    pub(super) truncated: Counter,
    pub(super) sync_seconds: Histogram,
    pub(super) sync_failures: Counter,
    pub(super) part_seconds: Histogram,
    pub(super) part_failures: Counter,
    pub(super) parts: Counter,
    pub(super) part_bytes: Counter,
    pub(super) days_deleted: Counter,
    pub(super) damages: Damages,
    pub(super) wal_truncated_bytes: Counter,
    pub(super) blocks_read: Counter,
    pub(super) blocks_passed: CounterFamily,
    pub(super) head_bytes: Gauge,
    pub(super) streams: Gauge,
    pub(super) wal_bytes: Gauge,
    pub(super) stored_bytes: Gauge,
    pub(super) days: Gauge,
}

impl Instruments {
    pub(super) fn new(registry: &Registry) -> Self {
        let seconds = &[0.001, 0.005, 0.02, 0.1, 0.5, 2.0];
        let counter = |name, help| registry.counter(name, help);
        let by = |name, help, label: &str| registry.counters(name, help, &[label]);
        let gauge = |name, help| registry.gauge(name, help);
        Instruments {
            lines: counter("andon_logs_lines_total", "Log lines taken."),
            line_bytes: counter("andon_logs_line_bytes_total", "Bytes of log lines taken."),
            refused: by("andon_logs_lines_refused_total", "Log lines refused, by reason.", "reason"),
            truncated: counter("andon_logs_lines_truncated_total", "Log lines cut to the longest a line may be."),
            sync_seconds: registry.histogram("andon_logs_wal_sync_duration_seconds", "Time to sync the WAL.", seconds),
            sync_failures: counter("andon_logs_wal_sync_failures_total", "Syncs of the WAL that failed."),
            part_seconds: registry.histogram("andon_logs_part_duration_seconds", "Time to write a part.", seconds),
            part_failures: counter("andon_logs_part_failures_total", "Parts that could not be written; tried again."),
            parts: counter("andon_logs_parts_total", "Parts written."),
            part_bytes: counter("andon_logs_part_bytes_total", "Bytes of parts written."),
            days_deleted: counter("andon_logs_days_deleted_total", "Days deleted by age or for space."),
            damages: Damages::new(registry),
            wal_truncated_bytes: counter("andon_logs_wal_truncated_bytes_total", "Bytes of torn writes cut at start."),
            blocks_read: counter("andon_logs_blocks_read_total", "Blocks unpacked by scans."),
            blocks_passed: by("andon_logs_blocks_passed_total", "Blocks scans passed over, by reason.", "reason"),
            head_bytes: gauge("andon_logs_head_bytes", "Memory of lines not yet in a part."),
            streams: gauge("andon_logs_active_streams", "Streams with lines not yet in a part."),
            wal_bytes: gauge("andon_logs_wal_bytes", "Bytes of the WAL."),
            stored_bytes: gauge("andon_logs_stored_bytes", "Bytes of all parts."),
            days: gauge("andon_logs_days", "Days with stored lines."),
        }
    }
}
