//! The time-series store: samples in, windows of series out.
//!
//! A batch is sorted out (series found, times checked), written to the WAL as one record, then put into the
//! head. Every two hours, or when it holds so much that a start would take long, what is older is cut from the
//! head into an immutable block; blocks of a day become one; blocks beyond retention are unlinked whole.
//! Samples may come in any order within retention. A query reads head and blocks as one, each sample once.
//!
//! ```text
//! Batch -> wal -> head --cut--> blocks --merge--> day blocks --retention--> gone
//!                   \______________\________________/
//!                                Querier
//! ```
//!
//! What is acknowledged survives the end of the process at once and a power cut after the next sync
//! ([`WalSync`]). What does not check out on disk is put aside, reported and survived: opening never fails for
//! damage. A full disk makes the store read-only until there is space.
//!
//! Costs, on the reference box: 0.62 bytes a sample in a block, its index included, about 1 in memory;
//! 4 bytes written per sample over its life; half a microsecond to take a sample of a known series.
//!
//! Not for log lines (`logs`), settings (`state`) or last-known values (`last`).
#![deny(clippy::indexing_slicing)]
#![warn(clippy::cast_possible_truncation, clippy::cast_sign_loss)]

mod admit;
#[cfg(test)]
mod admit_test;
mod batch;
#[doc(hidden)]
pub mod bench;
mod block;
mod cache;
mod chunk;
mod column;
mod compact;
mod config;
mod cut;
mod db;
#[cfg(test)]
mod db_test;
mod delete;
#[cfg(test)]
mod delete_test;
mod due;
mod error;
mod files;
#[cfg(test)]
mod format_test;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod head;
mod inspect;
mod instruments;
mod maintenance;
mod merge;
mod pace;
mod postings;
mod provisional;
mod querier;
#[cfg(test)]
mod querier_test;
mod repair;
mod retention;
mod scrub;
mod select;
mod snapshot;
mod stats;
#[cfg(test)]
mod testing;
mod tidy;
mod tombstones;
mod wal;

pub use admit::{Account, Refusal};
pub use batch::{AppendOutcome, Batch, SeriesRef};
pub use config::{AHEAD_MAX_DEFAULT, Config, LATE_AFTER, RETENTION_DEFAULT, WalSync};
pub use db::Db;
pub use error::{Error, Result};
pub(crate) use files::MERGE_SUFFIX;
pub(crate) use files::is_wal;
pub(crate) use inspect::blocks;
pub use inspect::{BlockAbout, Depth, Inspection, Share, Values, inspect};
pub use querier::{Querier, SeriesSamples, SeriesSet};
pub use scrub::ScrubPlace;
pub use snapshot::SnapshotInfo;
pub use stats::{BlockInfo, Cardinality, Stats};
