//! The time-series store: samples in, windows of series out.
//!
//! SKELETON: keeps samples in memory only. Its owner replaces the inside; the signatures below are what the
//! other rooms rely on.

mod config;
mod db;
mod error;

pub use config::{AHEAD_MAX_DEFAULT, Config, RETENTION_DEFAULT, SERIES_MAX_DEFAULT, WalSync};
pub use db::{AppendOutcome, Batch, Db, Querier, SeriesRef, SeriesSamples, SeriesSet, Stats};
pub use error::{Error, Result};
