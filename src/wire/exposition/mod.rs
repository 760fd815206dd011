//! The text that programs show at `/metrics`.
//!
//! Read: the text format 0.0.4 with the quoted names of Prometheus 3 (`{"a.name", label="x"}`), and
//! OpenMetrics text 1.0 (times in seconds, exemplars passed over, `# EOF`). Written: 0.0.4, and single lines of
//! OpenMetrics.
//! Source: Prometheus "Exposition formats"; OpenMetrics 1.0.

mod float;
mod parse;
mod render;

pub use float::{normal_bound, push_value};
pub use parse::{Entry, Format, Parser, SampleLine};
pub use render::{CONTENT_TYPE, OPENMETRICS, push_sample, push_series, render, render_untyped};

#[cfg(test)]
mod exposition_test;
