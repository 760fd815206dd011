//! A tree as text, as upstream writes it: on one line, or over several where it is long.

use std::fmt::Write;
use std::time::Duration;

use super::ast::{
    Aggregate, At, Binary, Expr, Extent, LabelMatcher, Length, LengthNode, Node, Place, Selector, Subquery,
    operator_text,
};
use crate::model::{LABEL_NAME, MatchOp, format_duration};
use crate::query::promql::format_value;

/// What is longer is written over several lines.
const LINE_CHARACTERS_MAX: usize = 100;

/// A chain of more operators stays on one line: each further one is indented more than the one before.
const SPLIT_MAX: usize = 256;

/// Returns an expression over several lines where it is long. Cost: grows with the nesting, which is bounded.
pub(crate) fn pretty(expr: &Expr) -> String {
    split(expr, 0)
}

fn split(expr: &Expr, level: usize) -> String {
    let indent = "  ".repeat(level);
    let whole = text(expr);
    if whole.chars().count() <= LINE_CHARACTERS_MAX {
        return format!("{indent}{whole}");
    }
    let list = |all: &[&Expr]| all.iter().map(|e| split(e, level + 1)).collect::<Vec<_>>().join(",\n");
    match &expr.node {
        Node::Paren(inner) => format!("{indent}(\n{}\n{indent})", split(inner, level + 1)),
        Node::Unary { is_minus, inner } => {
            format!("{indent}{}{}", if *is_minus { "-" } else { "+" }, split(inner, level).trim_start())
        }
        Node::Subquery(subquery) => format!("{}{}", split(&subquery.input, level), subquery_suffix(subquery)),
        Node::Binary(binary) if operators(binary) <= SPLIT_MAX => {
            let (left, right) = (split(&binary.left, level + 1), split(&binary.right, level + 1));
            format!("{left}\n{indent}{}\n{right}", operator(binary))
        }
        Node::Aggregate(aggregate) => {
            let arguments: Vec<&Expr> = aggregate.parameter.iter().chain([&aggregate.input]).collect();
            format!("{indent}{}(\n{}\n{indent})", aggregation(aggregate), list(&arguments))
        }
        Node::Call(call) if !call.arguments.is_empty() => {
            let arguments: Vec<&Expr> = call.arguments.iter().collect();
            format!("{indent}{}(\n{}\n{indent})", call.name, list(&arguments))
        }
        _ => format!("{indent}{whole}"),
    }
}

/// Returns an expression on one line.
pub(crate) fn text(expr: &Expr) -> String {
    match &expr.node {
        Node::Number(number) => format_value(*number),
        Node::Duration(seconds) => duration(*seconds),
        Node::Text(text) => quoted(text),
        Node::Paren(inner) => format!("({})", text(inner)),
        Node::Unary { is_minus, inner } => format!("{}{}", if *is_minus { "-" } else { "+" }, text(inner)),
        Node::Selector(selector) => {
            format!("{}{}{}", series(selector), extent(selector.extent), place(&selector.place))
        }
        Node::Range(selector, range) => {
            format!("{}[{}]{}{}", series(selector), length(range), extent(selector.extent), place(&selector.place))
        }
        Node::Subquery(subquery) => format!("{}{}", text(&subquery.input), subquery_suffix(subquery)),
        Node::Binary(binary) => chain(binary),
        Node::Aggregate(aggregate) => {
            let arguments: Vec<String> = aggregate.parameter.iter().chain([&aggregate.input]).map(text).collect();
            format!("{}({})", aggregation(aggregate), arguments.join(", "))
        }
        Node::Call(call) => {
            let arguments: Vec<String> = call.arguments.iter().map(text).collect();
            format!("{}({})", call.name, arguments.join(", "))
        }
    }
}

/// Writes operations from left to right, without calling itself for each: a chain may be long.
fn chain(last: &Binary) -> String {
    let mut chain = vec![last];
    while let Some(Node::Binary(before)) = chain.last().map(|b| &b.left.node) {
        chain.push(before);
    }
    let mut out = chain.last().map(|first| text(&first.left)).unwrap_or_default();
    for binary in chain.into_iter().rev() {
        let _ = write!(out, " {} {}", operator(binary), text(&binary.right));
    }
    out
}

/// Returns how many operators a chain has.
fn operators(last: &Binary) -> usize {
    let (mut count, mut binary) = (1, last);
    while let Node::Binary(before) = &binary.left.node {
        (count, binary) = (count + 1, before);
    }
    count
}

fn aggregation(aggregate: &Aggregate) -> String {
    match &aggregate.grouping {
        Some((true, labels)) => format!("{} without ({}) ", aggregate.name, names(labels)),
        Some((false, labels)) if !labels.is_empty() => format!("{} by ({}) ", aggregate.name, names(labels)),
        _ => aggregate.name.to_owned(),
    }
}

/// Returns an operator with all that modifies it.
fn operator(binary: &Binary) -> String {
    let mut out = binary.operation.text().to_owned();
    if binary.is_bool {
        out.push_str(" bool");
    }
    if let Some((is_on, labels)) = binary.matching.as_ref().filter(|(is_on, labels)| *is_on || !labels.is_empty()) {
        let _ = write!(out, " {} ({})", if *is_on { "on" } else { "ignoring" }, names(labels));
    }
    if let Some(group) = &binary.group {
        let side = if group.is_left { "group_left" } else { "group_right" };
        let _ = write!(out, " {side} ({})", names(&group.labels));
    }
    match (binary.fill_left, binary.fill_right) {
        (Some(left), Some(right)) if left.to_bits() == right.to_bits() => {
            let _ = write!(out, " fill ({})", format_value(left));
        }
        sides => {
            for (name, value) in [("fill_left", sides.0), ("fill_right", sides.1)] {
                if let Some(value) = value {
                    let _ = write!(out, " {name} ({})", format_value(value));
                }
            }
        }
    }
    out
}

fn subquery_suffix(subquery: &Subquery) -> String {
    let step = subquery.step.as_ref().map(length).unwrap_or_default();
    format!("[{}:{step}]{}", length(&subquery.range), place(&subquery.place))
}

fn series(selector: &Selector) -> String {
    let (bare, inner) = match &selector.name {
        Some(name) => (name.clone(), None),
        None => {
            // A name in quotes is written bare if it can be.
            let is_name = |m: &&LabelMatcher| m.name == LABEL_NAME && m.op == MatchOp::Equal && !m.value.is_empty();
            let named: Vec<&LabelMatcher> = selector.matchers.iter().filter(is_name).collect();
            match named.as_slice() {
                [only] if is_plain(&only.value, true) => (only.value.clone(), Some(only.span)),
                _ => (String::new(), None),
            }
        }
    };
    let others = selector.matchers.iter().filter(|m| inner != Some(m.span));
    let matchers: Vec<String> = others.map(matcher).collect();
    if matchers.is_empty() && !bare.is_empty() { bare } else { format!("{bare}{{{}}}", matchers.join(",")) }
}

fn matcher(matcher: &LabelMatcher) -> String {
    if matcher.name == LABEL_NAME && matcher.op == MatchOp::Equal && !is_plain(&matcher.value, true) {
        return quoted(&matcher.value);
    }
    format!("{}{}{}", name(&matcher.name), matcher.op.as_str(), quoted(&matcher.value))
}

fn names(labels: &[String]) -> String {
    labels.iter().map(|l| name(l)).collect::<Vec<_>>().join(", ")
}

fn name(label: &str) -> String {
    if is_plain(label, false) { label.to_owned() } else { quoted(label) }
}

fn is_plain(name: &str, colons: bool) -> bool {
    let is_start = |c: char| c.is_ascii_alphabetic() || c == '_' || (colons && c == ':');
    name.chars().next().is_some_and(is_start) && name.chars().all(|c| is_start(c) || c.is_ascii_digit())
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn extent(extent: Extent) -> &'static str {
    match extent {
        Extent::Plain => "",
        Extent::Anchored => " anchored",
        Extent::Smoothed => " smoothed",
    }
}

fn place(place: &Place) -> String {
    let at = match place.at {
        None => String::new(),
        Some(At::Start) => " @ start()".to_owned(),
        Some(At::End) => " @ end()".to_owned(),
        Some(At::Time(seconds)) => format!(" @ {seconds:.3}"),
    };
    let offset = place.offset.as_ref().map(|o| format!(" offset {}", offset(o))).unwrap_or_default();
    format!("{at}{offset}")
}

fn offset(length: &Length) -> String {
    match &length.node {
        LengthNode::Unary { is_minus, inner } => {
            format!("{}{}", if *is_minus { "-" } else { "" }, offset(inner))
        }
        _ => self::length(length),
    }
}

/// Returns a whole range, step or offset: a lone number is a duration too.
fn length(length: &Length) -> String {
    match length.node {
        LengthNode::Number(seconds) => duration(seconds),
        _ => part(length),
    }
}

fn part(length: &Length) -> String {
    match &length.node {
        LengthNode::Number(number) => format_value(*number),
        LengthNode::Duration(seconds) => duration(*seconds),
        LengthNode::Step => "step()".to_owned(),
        LengthNode::Range => "range()".to_owned(),
        LengthNode::Paren(inner) => format!("({})", part(inner)),
        LengthNode::Unary { is_minus, inner } => format!("{}{}", if *is_minus { "-" } else { "+" }, part(inner)),
        LengthNode::Binary(op, a, b) => format!("{} {} {}", part(a), operator_text(*op), part(b)),
        LengthNode::Smaller(a, b) => format!("min_of({}, {})", part(a), part(b)),
        LengthNode::Larger(a, b) => format!("max_of({}, {})", part(a), part(b)),
    }
}

fn duration(seconds: f64) -> String {
    let sign = if seconds < 0.0 { "-" } else { "" };
    let length = Duration::try_from_secs_f64((seconds.abs() * 1000.0).round() / 1000.0).unwrap_or(Duration::MAX);
    format!("{sign}{}", format_duration(length))
}
