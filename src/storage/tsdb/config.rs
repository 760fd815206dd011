//! Settings of the store.

use std::time::Duration;

/// How long samples are kept when nothing is said.
pub const RETENTION_DEFAULT: Duration = Duration::from_secs(15 * 24 * 3600);

/// How far ahead of the clock a sample may be when nothing is said.
pub const AHEAD_MAX_DEFAULT: Duration = Duration::from_secs(600);

/// A sample that comes this long after its time, or after newer data, is late, see `Db::late_since`.
pub const LATE_AFTER: Duration = Duration::from_secs(5);

/// When what was appended is made safe against a power cut. The end of the process alone loses nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalSync {
    /// Before each answer: a power cut loses nothing; each batch waits for the disk and wears it.
    Always,
    /// So often: a power cut loses what came since; default is one second.
    Interval(Duration),
    /// Whenever the system likes: a power cut loses up to half a minute.
    Never,
}

/// Resolved settings. All need a restart but for `retention`, see `Db::set_retention`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// How long samples are kept; default 15 d, up to 100 y.
    pub retention: Duration,
    /// When the WAL is synced; default every second.
    pub wal_sync: WalSync,
    /// How many series the head may hold; beyond it samples of new series are refused.
    pub series_max: usize,
    /// How far ahead of the clock a sample may be; default 10 min.
    pub ahead_max: Duration,
}
