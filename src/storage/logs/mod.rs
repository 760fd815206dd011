//! The log store: lines in, lines of a time range out.
//!
//! A line is known by its stream (a label set), its time and its text; the same line twice is one line, so
//! senders may repeat what they are not sure of. Lines come in any order within retention.
//!
//! ```text
//! append -> WAL (segments) -> head (open batches in memory, by day and stream)
//!                               | every two hours, or at 8 MiB
//!                               v
//!           days/2026-08-21/00000001.part, 00000002.part, ...   immutable, deleted with their day
//! ```
//!
//! A part holds compressed blocks of lines of one stream, each with a filter of the pieces of text in it, and
//! an index of its streams. A [`Scan`] walks days, streams and blocks lazily, newest or oldest line first, and
//! passes over blocks by time, by stream and by the filter; it holds a bounded number of unpacked blocks.
//!
//! What is appended survives the end of the process at once, and a power cut within a second
//! (`Config::sync_interval`). Damage costs the block or record it lies in; it is counted, reported and read
//! past. Two threads of its own: one syncs the WAL, one writes parts and deletes days.
//!
//! Costs: a factory line of 150 bytes takes about 180 bytes in the WAL and 15 in a part
//! (`docs/decisions/0022`); memory is the head, twice at most while a part is written.
//!
//! Not for numbers (that is `tsdb`), and not a full-text index.
#![deny(clippy::indexing_slicing)]
#![warn(clippy::cast_possible_truncation, clippy::cast_sign_loss)]

mod append;
mod block;
mod config;
#[cfg(test)]
mod crash_test;
mod error;
mod files;
mod filter;
#[cfg(test)]
mod format_test;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod head;
mod inspect;
mod instruments;
mod lines;
#[cfg(test)]
mod model_test;
mod part;
mod retention;
mod scan;
mod scrub;
mod shelf;
mod store;
#[cfg(test)]
mod store_test;
mod tail;
mod threads;
mod upkeep;
mod wal;

pub use config::Config;
pub use error::{Error, Result};
pub(crate) use files::is_wal;
pub use inspect::{Inspection, PartAbout, inspect};
pub use scan::{Direction, Line, Scan, ScanRequest, ScanStats};
pub use scrub::ScrubPlace;
pub use store::{AppendOutcome, LogStore, Stats};
