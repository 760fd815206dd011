//! Where and how much.

use std::path::PathBuf;
use std::time::Duration;

/// Where last-known state lies and how much of it is kept. All of it needs a restart.
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder; sled's own.
    pub path: PathBuf,
    /// How often what changed is written; default 5 s.
    pub flush_interval: Duration,
    /// Sled's cache, bytes; default 4 MiB.
    pub cache_bytes: u64,
    /// How many devices are known at most; default 20 000, as in the registry.
    pub devices_max: usize,
    /// How many subjects are kept per device; default 256.
    pub subjects_per_device_max: u32,
    /// How large a body may be to be kept, bytes; default 64 KiB.
    pub body_bytes_max: usize,
    /// How many changed keys may wait for the next write; default 20 000.
    pub waiting_max: usize,
}

impl Config {
    /// Returns the usual settings for a folder.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Config {
            path,
            flush_interval: Duration::from_secs(5),
            cache_bytes: 4 << 20,
            devices_max: 20_000,
            subjects_per_device_max: 256,
            body_bytes_max: 64 << 10,
            waiting_max: 20_000,
        }
    }
}
