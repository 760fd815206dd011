//! Names in the data folder; what stands inside the folders of the stores, they say themselves.

/// Folder of the metric store.
pub(super) const METRICS: &str = "tsdb";

/// Folder of the log store.
pub(super) const LOGS: &str = "logs";

/// The state, a file of SQLite.
pub(super) const STATE: &str = "state.db";

/// Last-known values: sled's folder.
pub(super) const LAST: &str = "last";

/// Folder of the alarm journal; its owner is `alarms`.
pub(super) const ALARMS: &str = "alarms";

/// Folder of the outbox; its owner is `notify`.
pub(super) const NOTICES: &str = "notify";

/// Folder of streams that this box keeps, and of messages for NATS; its owner is `bus`.
pub(super) const BUS: &str = "bus";

/// In it, messages for NATS.
pub(super) const SPOOL: &str = "spool";

/// Space kept back.
pub(super) const RESERVE: &str = "reserve";

/// Settings and rules, in an archive and where one was restored.
pub(super) const SETTINGS: &str = "settings";

/// A snapshot, while a backup is made of it.
pub(super) const SNAPSHOT: &str = "backup.tmp";

/// Snapshots that somebody has asked for.
pub(super) const SNAPSHOTS: &str = "snapshots";

/// What is being restored; while it is there, the folder is not whole.
pub(super) const RESTORING: &str = "restore.tmp";

/// What did not check out.
pub(super) const QUARANTINE: &str = "quarantine";

/// What of a data folder goes into a backup, sorted.
pub(super) const KEPT: [&str; 7] = [ALARMS, BUS, LOGS, NOTICES, STATE, STATE_WAL, METRICS];

/// What SQLite has not folded into the state yet; in the folder of a box that was not stopped in order.
pub(super) const STATE_WAL: &str = "state.db-wal";
