//! Bytes written to the data folder, by cause: what the flash is worn by.
//!
//! Complete by construction: every store and journal stands on one [`Disk`] that counts ([`metered`]); SQLite
//! and sled count for their own files; own log files are added by whoever writes them. Not in it: what the
//! file system adds (its journal, whole pages for a few bytes); the kernel's own figure for the process,
//! `process_io_storage_written_bytes_total`, is shown beside it.

use std::path::Path;
use std::sync::Arc;

use super::disk::{Disk, metered, written_bytes};
use super::files;
use super::tsdb::MERGE_SUFFIX;
use crate::instrument::Registry;

/// Returns the disk with everything written below `folder` counted by cause.
pub(super) fn counted(disk: Arc<dyn Disk>, folder: &Path, registry: &Registry) -> Arc<dyn Disk> {
    let (folder, family) = (folder.to_owned(), written_bytes(registry));
    metered(disk, move |path| family.with(&[cause(path.strip_prefix(&folder).unwrap_or(path))]))
}

/// Returns why a file of the data folder is written.
fn cause(path: &Path) -> &'static str {
    let mut parts = path.iter().map(|part| part.to_str().unwrap_or(""));
    match (parts.next().unwrap_or(""), parts.next().unwrap_or("")) {
        (files::METRICS, "wal") => "metrics_wal",
        (files::METRICS, name) if name.starts_with("checkpoint") => "metrics_checkpoint",
        (files::METRICS, "blocks") if parts.next().unwrap_or("").ends_with(MERGE_SUFFIX) => "metrics_compaction",
        (files::METRICS, _) => "metrics_blocks",
        (files::LOGS, "wal") => "logs_wal",
        (files::LOGS, _) => "logs_parts",
        (files::ALARMS, _) => "alarm_journal",
        (files::NOTICES, _) => "outbox",
        (files::BUS, "streams") => "bus_streams",
        (files::BUS, _) => "bus_spool",
        (files::SNAPSHOTS, _) => "snapshots",
        (files::RESERVE, _) => "reserve",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::{TEMPORARY_SUFFIX, WRITTEN_CAUSES};

    #[track_caller]
    fn check(path: &str, expected: &str) {
        assert_eq!(cause(Path::new(path)), expected, "{path}");
        assert!(WRITTEN_CAUSES.contains(&expected));
    }

    #[test]
    fn a_path_has_a_cause() {
        assert!(MERGE_SUFFIX.ends_with(TEMPORARY_SUFFIX));
        check("tsdb/wal/00000001", "metrics_wal");
        check("tsdb/checkpoint.00000007/00000001", "metrics_checkpoint");
        check("tsdb/blocks/00000003.tmp/chunks", "metrics_blocks");
        check(&format!("tsdb/blocks/00000003{MERGE_SUFFIX}/index"), "metrics_compaction");
        check("tsdb/tombstones.tmp", "metrics_blocks");
        check("logs/wal/00000001", "logs_wal");
        check("logs/days/2026-08-21/00000001.part.tmp", "logs_parts");
        check("alarms/journal/00000001", "alarm_journal");
        check("notify/00000001", "outbox");
        check("bus/spool/00000001", "bus_spool");
        check("bus/streams/EVENTS/00000001", "bus_streams");
        check("snapshots/20261121T120000Z-01/blocks/00000004.tmp/chunks", "snapshots");
        check("reserve", "reserve");
        check("writable.tmp", "other");
    }
}
