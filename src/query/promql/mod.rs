//! PromQL with the semantics of Prometheus 3: windows and lookback are `(t - range, t]`, `.` in a regex is any
//! character, sums are compensated, operations drop the metric name at once. Native histograms are not stored here;
//! functions that only they answer give nothing.
//!
//! A query goes through four rooms, each testable alone: `syntax` (text to a tree with places, types checked), `plan` (to the typed
//! `tree`: functions looked up, regexes compiled, durations worked out), `eval` (one node at a time over all steps; an
//! instant query is a range of one step) which reads each selector once from the store, a wide one on all cores that are
//! idle, and `engine` (bounds, and the answer's shape). Beside them `trace` has what a query and each of its parts took,
//! `spot` and `vocabulary` help people to write one, and `asked` keeps when each metric was asked for last.

mod asked;
mod columns;
mod engine;
#[cfg(test)]
mod engine_test;
mod error;
mod eval;
mod functions;
mod lookback;
mod numeric;
mod plan;
mod spot;
mod syntax;
mod trace;
mod tree;
mod value;
mod vocabulary;
mod warnings;
mod window;

pub use engine::{Engine, Limits, Options, QueryResult, check, format, parse_selector, syntax_tree};
pub(crate) use spot::{Place, Selection, Spot, spot};
pub(crate) use syntax::{Binary, Call, Expr, LabelMatcher, Node, Selector, aggregation_names, function_names, parse};

pub(crate) use vocabulary::{WordKind, vocabulary};

pub(crate) use asked::selected_metrics;
pub use asked::{Asked, AskedSnapshot, LastAsked};
pub use error::{Error, Result};
pub use trace::{Stats, Trace};
pub use value::{InstantSeries, RangeSeries, Value, format_value};
