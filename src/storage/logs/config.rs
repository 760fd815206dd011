//! How long and how much.

use std::time::Duration;

/// How the log store behaves. All of it needs a restart.
#[derive(Debug, Clone)]
pub struct Config {
    /// How long lines are kept; whole days (UTC) are deleted once their last moment is older. Default 7 d.
    pub retention: Duration,
    /// How much of what was appended a power cut may cost. Zero: synced only when asked, and no threads run;
    /// for tests. Default 1 s.
    pub sync_interval: Duration,
    /// Longer lines are cut, bytes. Default 256 KiB.
    pub line_bytes_max: usize,
    /// How many streams may be active, that is, have lines in the head. Default 10 000.
    pub streams_max: usize,
    /// With so many bytes in the head a part is written. Default 8 MiB.
    pub head_bytes_max: usize,
    /// A part is written when the head is so old. Default 2 h.
    pub head_age_max: Duration,
    /// Lines further ahead of the clock are refused. Default 10 min.
    pub ahead_max: Duration,
}

impl Config {
    /// Returns the usual settings.
    #[must_use]
    pub fn usual() -> Self {
        Config {
            retention: Duration::from_secs(7 * 86_400),
            sync_interval: Duration::from_secs(1),
            line_bytes_max: 256 << 10,
            streams_max: 10_000,
            head_bytes_max: 8 << 20,
            head_age_max: Duration::from_secs(2 * 3600),
            ahead_max: Duration::from_secs(600),
        }
    }
}
