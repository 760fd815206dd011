//! Settings of the data folder.

use std::path::PathBuf;

use super::{logs, tsdb};
use crate::clock::Trust;

/// How much space is kept back for acting on a full disk when nothing is said.
pub const RESERVE_BYTES_DEFAULT: u64 = 32 << 20;

/// Resolved settings; a change needs a restart.
#[derive(Debug, Clone)]
pub struct Config {
    /// The data folder; made if it is not there.
    pub folder: PathBuf,
    /// `storage.size_limit`: bytes that metrics and logs may take together; `None`: only what the disk has,
    /// less a tenth.
    pub size_limit: Option<u64>,
    /// Bytes kept back in the file `reserve` and given up when the disk is full; 0 keeps none.
    pub reserve_bytes: u64,
    /// The metric store.
    pub tsdb: tsdb::Config,
    /// When the system's clock is believed.
    pub clock_trust: Trust,
    /// The log store.
    pub logs: logs::Config,
}
