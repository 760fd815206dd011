//! The store's own counters.

use crate::instrument::{Counter, CounterFamily, Gauge, Histogram, Registry};

/// Bounds for calls that should take well under a millisecond, and for passes that take seconds.
const SECONDS: [f64; 9] = [0.000_1, 0.000_5, 0.002, 0.01, 0.05, 0.2, 1.0, 5.0, 30.0];

/// All instruments of the room; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Instruments {
    pub(crate) appended: Counter,
    pub(crate) out_of_order: Counter,
    pub(crate) refused: CounterFamily,
    pub(crate) series_refused: CounterFamily,
    pub(crate) append_seconds: Histogram,
    pub(crate) sync_seconds: Histogram,
    pub(crate) wal_truncated: Counter,
    pub(crate) unsynced_seconds: Gauge,
    pub(crate) read_only: Gauge,
    pub(crate) head_series: Gauge,
    pub(crate) series_max: Gauge,
    pub(crate) head_samples: Gauge,
    pub(crate) head_bytes: Gauge,
    pub(crate) blocks: Gauge,
    pub(crate) block_bytes: Gauge,
    pub(crate) wal_bytes: Gauge,
    pub(crate) cuts: CounterFamily,
    pub(crate) cut_seconds: Histogram,
    pub(crate) compactions: CounterFamily,
    pub(crate) compaction_seconds: Histogram,
    pub(crate) retired: CounterFamily,
    pub(crate) replay_seconds: Gauge,
    pub(crate) replay_orphans: Gauge,
}

impl Instruments {
    pub(crate) fn new(registry: &Registry) -> Self {
        let counter = |name, help| registry.counter(name, help);
        let counters = |name, help, label| registry.counters(name, help, &[label]);
        let gauge = |name, help| registry.gauge(name, help);
        let seconds = |name, help| registry.histogram(name, help, &SECONDS);
        Instruments {
            appended: counter("andon_tsdb_samples_appended_total", "Samples taken."),
            out_of_order: counter(
                "andon_tsdb_samples_out_of_order_total",
                "Samples taken that came after newer ones of their series.",
            ),
            refused: counters("andon_tsdb_samples_refused_total", "Samples not taken, by reason.", "reason"),
            series_refused: counters(
                "andon_tsdb_series_refused_total",
                "Times that a new series was refused, by reason; a sender that tries again counts again.",
                "reason",
            ),
            append_seconds: seconds("andon_tsdb_append_seconds", "Time to take a batch."),
            sync_seconds: seconds("andon_tsdb_wal_sync_seconds", "Time to sync the WAL."),
            wal_truncated: counter("andon_wal_truncated_bytes_total", "Bytes of torn writes cut off the WAL at start."),
            unsynced_seconds: gauge("andon_unsynced_seconds", "Age of the oldest sample that a power cut would lose."),
            read_only: gauge(
                "andon_storage_read_only",
                "1 while appends are refused because the disk is full or fails.",
            ),
            head_series: gauge("andon_tsdb_head_series", "Series in the head."),
            series_max: gauge("andon_tsdb_series_limit", "Series that the head may hold."),
            head_samples: gauge("andon_tsdb_head_samples", "Samples in the head."),
            head_bytes: gauge("andon_tsdb_head_memory_bytes", "About how much memory the head takes."),
            blocks: gauge("andon_tsdb_blocks", "Blocks on disk."),
            block_bytes: gauge("andon_tsdb_block_bytes", "Bytes of all blocks."),
            wal_bytes: gauge("andon_tsdb_wal_bytes", "Bytes of the WAL."),
            cuts: counters("andon_tsdb_cuts_total", "Times that blocks were cut from the head.", "result"),
            cut_seconds: seconds("andon_tsdb_cut_seconds", "Time to cut blocks from the head."),
            compactions: counters("andon_tsdb_compactions_total", "Times that blocks were merged.", "result"),
            compaction_seconds: seconds("andon_tsdb_compaction_seconds", "Time to merge blocks."),
            retired: counters("andon_tsdb_blocks_retired_total", "Blocks removed by retention, by reason.", "reason"),
            replay_seconds: gauge("andon_tsdb_replay_seconds", "Time the last start took to read the WAL."),
            replay_orphans: gauge(
                "andon_tsdb_replay_orphans",
                "Samples in the WAL at the last start without a series.",
            ),
        }
    }
}
