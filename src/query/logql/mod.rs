//! A part of LogQL over the log store: which lines, not yet how many.
//!
//! ```text
//! {job="devices", level=~"warn|error"} |= "jam" != "test" | json | duration_ms > 250 and line="3"
//! ```
//!
//! - a stream selector with `= != =~ !~`; `{}` is every stream (Loki refuses that, a box is small enough);
//! - line filters `|= != |~ !~`, each with `or` alternatives; expressions are not anchored;
//! - `| json` (nested keys joined with `_`, arrays left out) and `| logfmt`; a field that is named as a label of
//!   the stream gets the suffix `_extracted`; a line that does not parse has the label `__error__`;
//! - label filters on all of these, with `and`, `or`, parentheses; numbers, durations (`250ms`) and sizes
//!   (`10KB`) compare with `> >= < <= == !=`.
//!
//! The line itself is never changed by a stage, so line filters are tried first, and the texts of `|=` let the
//! store skip whole blocks. What else LogQL has (`rate(..)`, `line_format`, `unwrap`, ...) is refused by name
//! with its column.
//!
//! [`LogEngine`] answers over the store within a time and a size; [`Filter`] tells the same of one line, for
//! the live tail.

mod error;
mod eval;
mod extract;
mod filter;
mod lex;
mod parse;
#[cfg(test)]
mod parse_test;
mod plan;
mod unit;

pub use error::{Error, Result};
pub use eval::{Answer, LogEngine, LogLine, Request};
pub use plan::Filter;
