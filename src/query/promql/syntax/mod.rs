//! The language's form: text to words to a tree, the types of a tree, and a tree to text.
//!
//! A parser of our own, because places matter to people: a mistake is underlined at its column. Reading is bounded: bytes,
//! words, nesting, operators in a chain. Nothing is resolved here: durations keep their arithmetic, functions their
//! names; `plan.rs` does that.

mod ast;
mod check;
mod json;
#[cfg(test)]
mod judge_test;
mod lengths;
mod parser;
#[cfg(test)]
mod parser_test;
mod print;
mod selectors;
mod signatures;
mod words;

pub(crate) use ast::{
    Aggregate, At, Binary, Call, Expr, Extent, LabelMatcher, Length, Node, Operation, Place, Selector, Subquery, Type,
    selectors,
};
pub(crate) use check::check;
pub(crate) use json::json;
pub(crate) use lengths::Spans;
pub(crate) use print::pretty;
pub(crate) use signatures::{Last, Signature, signatures as function_signatures};
pub(crate) use words::{Span, error_at};

use super::Result;

/// Reads an expression and checks its types.
pub(crate) fn parse(text: &str) -> Result<Expr> {
    let expr = parser::read(text)?;
    check(&expr, text)?;
    Ok(expr)
}

/// Returns the names of all functions, by name.
pub(crate) fn function_names() -> impl Iterator<Item = &'static str> {
    signatures::signatures().iter().map(|signature| signature.name)
}

/// Returns the names of all aggregations, by name.
pub(crate) fn aggregation_names() -> impl Iterator<Item = &'static str> {
    parser::AGGREGATIONS.iter().map(|(name, _)| *name)
}
