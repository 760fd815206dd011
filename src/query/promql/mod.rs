//! PromQL with the semantics of Prometheus 3.
//!
//! SKELETON: signatures that the other rooms rely on; its owner fills the inside.

mod engine;
mod error;
mod value;

pub use engine::{Engine, Limits, Options, QueryResult, check, parse_selector};
pub use error::{Error, Result};
pub use value::{InstantSeries, RangeSeries, Value, format_value};
