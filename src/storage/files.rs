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

/// Space kept back.
pub(super) const RESERVE: &str = "reserve";
