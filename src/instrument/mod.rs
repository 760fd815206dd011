//! Andon's own counters, apart from the metrics it stores.
//!
//! A room registers its instruments in a [`Registry`] at start and keeps the handles; `gather` turns all of
//! them into families for `/metrics` and for the store. Labels come from closed sets, never a device id
//! unless the registry of devices bounds it.

mod kinds;
mod registry;

pub use kinds::{Counter, Gauge, Histogram};
pub use registry::{CounterFamily, GaugeFamily, HistogramFamily, Registry};
