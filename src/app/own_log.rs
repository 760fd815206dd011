//! The task that carries own log lines into the log store.

use std::sync::atomic::Ordering;

use super::OwnLines;
use crate::instrument::Registry;
use crate::storage::disk;
use crate::storage::logs::LogStore;
use crate::task::{OnPanic, Phase, Tasks};

/// Lines that are appended at once.
const BATCH_MAX: usize = 256;

/// Carries lines until the stores close.
pub(super) fn store(lines: OwnLines, logs: &LogStore, registry: &Registry, tasks: &Tasks) {
    let OwnLines { clock, mut received, dropped, file_bytes } = lines;
    let written = disk::written_bytes(registry).with(&["own_log"]);
    let dropped_total = registry.counters(
        "andon_log_lines_dropped_total",
        "Own log lines that did not get into the log store.",
        &["reason"],
    );
    let logs = logs.clone();
    let end = tasks.token(Phase::Stores);
    tasks.spawn("own log", OnPanic::EndTask, async move {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                // Lines that are waiting go before the end.
                biased;
                n = received.recv_many(&mut batch, BATCH_MAX) => if n == 0 { return },
                () = end.cancelled() => return,
            }
            dropped_total.with(&["queue_full"]).add(dropped.swap(0, Ordering::Relaxed));
            written.add(file_bytes.swap(0, Ordering::Relaxed));
            let lines = batch.len() as u64;
            // The store tells of its own troubles; a line about this one could not be kept either.
            if logs.append(batch.drain(..).map(|line| line.stamped(&clock)).collect()).is_err() {
                dropped_total.with(&["store"]).add(lines);
            }
        }
    });
}
