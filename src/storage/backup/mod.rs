//! A data folder in one file, and back.
//!
//! A running box makes a snapshot first ([`Snapshot`]): hard links of what does not change any more, so that
//! nothing is copied but the state and what is only in memory; then it writes the archive from there
//! ([`write_archive`]) while everything goes on. On the folder of a stopped box the archive is written directly.
//! [`check`] reads an archive from end to end; [`restore()`] checks first, unpacks beside, and swaps in by renames.
//!
//! In it: metrics, logs, the alarm journal, the outbox, streams of this box with the places of their readers, messages
//! that wait for NATS, the state, settings and rules as far as they can be read.
//! Not in it: last-known values (rebuilt by the next messages), quarantine, the reserve. An archive holds
//! secrets: whatever the settings hold, and the keys of devices' tokens.

mod archive;
#[cfg(test)]
mod backup_test;
mod error;
mod manifest;
mod restore;
mod snapshot;

pub use archive::{Source, check, sources, write_archive};
pub use error::{Error, Result};
pub use manifest::{About, Manifest, Member};
pub(super) use restore::is_cut_off;
pub use restore::{RestoreOptions, Restored, restore};
pub use snapshot::Snapshot;
pub(super) use snapshot::clear;
