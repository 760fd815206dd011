//! Templates: texts for people with values in them, in the syntax of Go's `text/template` and with the
//! functions that Prometheus adds for rules and Alertmanager for notices.
//!
//! A template is read once, with every undefined name reported, and rendered many times, within bounds of
//! text and steps. `query` is answered by a closure of the caller; nothing here reads or writes anything.
//! Where Go compares only like with like, numbers of both kinds may be compared here.
//!
//! Source: Go 1.24, `text/template`; Prometheus 3, `template/template.go`.

mod error;
mod format;
mod functions;
mod humanize;
mod lex;
mod methods;
mod parse;
mod reads;
mod render;
#[cfg(test)]
mod template_test;
mod value;

pub use error::{Error, Mistake, Result};
pub use render::{Context, Library, QueryFn, Template};
pub use value::Value;

/// Returns the names of all functions, those that Go's templates bring along first.
#[must_use]
pub fn function_names() -> Vec<&'static str> {
    functions::Function::names()
}
