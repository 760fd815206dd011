//! An expression that compares something with a number, taken apart: what is measured, how, and with what. Pure.

use std::ops::Range;

use crate::query::promql::{Expr, Node, parse};

/// `rate(x[5m]) > 0.1`: the measure is `rate(x[5m])`, the comparison `>`, the limit 0.1.
#[derive(Debug, Clone, PartialEq)]
pub struct Threshold {
    /// What is measured, as it is written.
    pub measure: String,
    /// How it is compared with the limit, the measure on the left: one of `== != > < >= <=`.
    pub comparison: &'static str,
    /// The limit.
    pub limit: f64,
    /// The whole expression.
    expression: String,
    /// Where the limit stands in it, in bytes.
    place: Range<usize>,
}

impl Threshold {
    /// Returns the expression with another limit.
    #[must_use]
    pub fn with_limit(&self, limit: f64) -> String {
        let (start, end) = (self.expression.get(..self.place.start), self.expression.get(self.place.end..));
        format!("{}{limit}{}", start.unwrap_or(""), end.unwrap_or(""))
    }

    /// Tells whether alerts come from values above the limit; `None` where it is neither above nor below.
    #[must_use]
    pub fn is_upper(&self) -> Option<bool> {
        match self.comparison {
            ">" | ">=" => Some(true),
            "<" | "<=" => Some(false),
            _ => None,
        }
    }
}

/// Takes an expression apart; `None` if it is not a comparison with a number.
#[must_use]
pub fn threshold(expression: &str) -> Option<Threshold> {
    let tree = parse(expression).ok()?;
    let Node::Binary(binary) = &bare(&tree).node else { return None };
    if binary.is_bool {
        return None;
    }
    let comparison = binary.operation.text();
    let turned = match comparison {
        "==" => "==",
        "!=" => "!=",
        ">" => "<",
        "<" => ">",
        ">=" => "<=",
        "<=" => ">=",
        _ => return None,
    };
    let (measure, limit, comparison) = match (number(&binary.left), number(&binary.right)) {
        (None, Some(_)) => (&binary.left, &binary.right, comparison),
        (Some(_), None) => (&binary.right, &binary.left, turned),
        _ => return None,
    };
    Some(Threshold {
        measure: expression.get(measure.span.start..measure.span.end)?.to_owned(),
        comparison,
        limit: number(limit)?,
        expression: expression.to_owned(),
        place: limit.span.start..limit.span.end,
    })
}

/// Takes brackets away.
pub(super) fn bare(expr: &Expr) -> &Expr {
    let mut expr = expr;
    while let Node::Paren(inner) = &expr.node {
        expr = inner;
    }
    expr
}

/// Returns the number that an expression is; `None` if it is more than that.
pub(super) fn number(expr: &Expr) -> Option<f64> {
    match &bare(expr).node {
        Node::Number(value) | Node::Duration(value) => Some(*value),
        Node::Unary { is_minus, inner } => number(inner).map(|value| if *is_minus { -value } else { value }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(expression: &str, expected: Option<(&str, &str, f64, &str)>) {
        let found = threshold(expression);
        let other = found.as_ref().map(|t| t.with_limit(7.5));
        let found = found.as_ref().zip(other.as_ref());
        assert_eq!(found.map(|(t, o)| (t.measure.as_str(), t.comparison, t.limit, o.as_str())), expected);
    }

    #[test]
    fn a_comparison_with_a_number_is_taken_apart() {
        check("temp > 80", Some(("temp", ">", 80.0, "temp > 7.5")));
        check("( rate(x[5m]) / y > 0.1 )", Some(("rate(x[5m]) / y", ">", 0.1, "( rate(x[5m]) / y > 7.5 )")));
        check("delta(c[5m]) < -50", Some(("delta(c[5m])", "<", -50.0, "delta(c[5m]) < 7.5")));
        check("5 < x", Some(("x", ">", 5.0, "7.5 < x")));
        check("up == bool 0", None);
        check("a > b", None);
        check("absent(x)", None);
        check("x > 1 and y > 2", None);
        check("1 > 2", None);
    }
}
