//! The log store: lines in, lines of a time range out.
//!
//! SKELETON: keeps lines in memory only. Its owner replaces the inside; the signatures below are what the
//! other rooms rely on.

mod store;

pub use store::{AppendOutcome, Direction, Error, LogStore, Result, Scan, ScanRequest};
