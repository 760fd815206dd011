//! What is kept: metrics, logs, settings made in the running box, last-known state.
//!
//! Four strangers stand on this floor (`tsdb`, `logs`, `state`, `last`); this door opens them in one data
//! folder with one owner and one size limit.

pub mod disk;
pub mod last;
pub mod logs;
pub mod state;
pub mod tsdb;
