//! Do the types fit? What upstream refuses after parsing.

use super::ast::{Aggregate, Binary, Call, Expr, Node, Operation, Selector, Type};
use super::signatures::{Last, signature};
use super::words::{Span, error_at};
use crate::model::{LABEL_NAME, Matcher};
use crate::query::promql::{Error, Result};

/// Checks the types of a tree; returns that of its answer.
pub(crate) fn check(expr: &Expr, text: &str) -> Result<Type> {
    Checker { text }.expr(expr)
}

struct Checker<'t> {
    text: &'t str,
}

impl Checker<'_> {
    fn error(&self, span: Span, message: impl Into<String>) -> Error {
        error_at(self.text, span.start, message.into())
    }

    fn expr(&self, expr: &Expr) -> Result<Type> {
        match &expr.node {
            Node::Number(_) | Node::Duration(_) => Ok(Type::Scalar),
            Node::Text(_) => Ok(Type::Text),
            Node::Paren(inner) => self.expr(inner),
            Node::Unary { inner, .. } => match self.expr(inner)? {
                Type::Scalar => Ok(Type::Scalar),
                Type::Vector => Ok(Type::Vector),
                other => {
                    let message = "unary expression only allowed on expressions of type scalar or instant vector";
                    Err(self.error(expr.span, format!("{message}, got {:?}", other.name())))
                }
            },
            Node::Selector(selector) => self.selector(selector, expr.span, true).map(|()| Type::Vector),
            Node::Range(selector, _) => self.selector(selector, expr.span, true).map(|()| Type::Matrix),
            Node::Subquery(subquery) => match self.expr(&subquery.input)? {
                Type::Vector => Ok(Type::Matrix),
                other => {
                    let message = format!("subquery is only allowed on instant vector, got {} instead", other.name());
                    Err(self.error(expr.span, message))
                }
            },
            Node::Binary(binary) => self.chain(binary, expr.span),
            Node::Aggregate(aggregate) => self.aggregate(aggregate),
            Node::Call(call) => self.call(call, expr.span),
        }
    }

    fn expect(&self, expr: &Expr, wanted: Type, context: &str) -> Result<()> {
        let got = self.expr(expr)?;
        if got == wanted {
            return Ok(());
        }
        Err(self.error(expr.span, format!("expected type {} in {context}, got {}", wanted.name(), got.name())))
    }

    /// Checks a selector. `demands`: whether it must demand something of a series.
    fn selector(&self, selector: &Selector, span: Span, demands: bool) -> Result<()> {
        let mut named = selector.matchers.iter().filter(|m| m.name == LABEL_NAME);
        if let (Some(first), Some(second)) = (&selector.name, named.next()) {
            let message = format!("metric name must not be set twice: {first:?} or {:?}", second.value);
            return Err(self.error(second.span, message));
        }
        let mut has_demand = selector.name.is_some();
        for matcher in &selector.matchers {
            let made = Matcher::new(&matcher.name, matcher.op, &matcher.value);
            let made = made.map_err(|e| self.error(matcher.span, e.to_string()))?;
            has_demand |= !made.matches_empty();
        }
        if demands && !has_demand {
            return Err(self.error(span, "vector selector must contain at least one non-empty matcher"));
        }
        Ok(())
    }

    /// Checks operations from left to right, without calling itself for each: a chain may be long.
    fn chain(&self, last: &Binary, span: Span) -> Result<Type> {
        let mut chain = vec![(last, span)];
        while let Some((Expr { node: Node::Binary(before), span }, _)) = chain.last().map(|(b, s)| (&b.left, s)) {
            chain.push((before, *span));
        }
        let mut left = None;
        for (binary, span) in chain.into_iter().rev() {
            let found = left.map_or_else(|| self.expr(&binary.left), Ok)?;
            left = Some(self.binary(binary, span, found)?);
        }
        Ok(left.unwrap_or(Type::Vector))
    }

    fn binary(&self, binary: &Binary, span: Span, left: Type) -> Result<Type> {
        let right = self.expr(&binary.right)?;
        for (side, found) in [(&binary.left, left), (&binary.right, right)] {
            if !matches!(found, Type::Scalar | Type::Vector) {
                let message = "binary expression must contain only scalar and instant vector types";
                return Err(self.error(side.span, message));
            }
        }
        let are_vectors = left == Type::Vector && right == Type::Vector;
        let is_comparison = matches!(binary.operation, Operation::Arithmetic(o) if o.is_comparison());
        let fills = binary.fill_left.is_some() || binary.fill_right.is_some();
        let name = binary.operation.text();
        if binary.is_bool && !is_comparison {
            return Err(self.error(binary.at, "bool modifier can only be used on comparison operators"));
        }
        if is_comparison && !binary.is_bool && left == Type::Scalar && right == Type::Scalar {
            return Err(self.error(binary.at, "comparisons between scalars must use BOOL modifier"));
        }
        if let Operation::Set(_) = binary.operation {
            if left == Type::Scalar || right == Type::Scalar {
                return Err(self.error(span, format!("set operator {name:?} not allowed in binary scalar expression")));
            }
            if binary.group.is_some() {
                return Err(self.error(binary.at, format!("no grouping allowed for {name:?} operation")));
            }
            if fills {
                return Err(self.error(binary.at, "filling in missing series is not allowed for set operators"));
            }
        }
        if !are_vectors && (binary.matching.is_some() || binary.group.is_some()) {
            return Err(self.error(binary.at, "vector matching only allowed between instant vectors"));
        }
        if !are_vectors && fills {
            return Err(self.error(binary.at, "filling in missing series only allowed between instant vectors"));
        }
        if let (Some((true, on)), Some(group)) = (&binary.matching, &binary.group)
            && let Some(label) = group.labels.iter().find(|l| on.contains(l))
        {
            let message = format!("label {label:?} must not occur in ON and GROUP clause at once");
            return Err(self.error(binary.at, message));
        }
        Ok(if left == Type::Scalar && right == Type::Scalar { Type::Scalar } else { Type::Vector })
    }

    fn aggregate(&self, aggregate: &Aggregate) -> Result<Type> {
        self.expect(&aggregate.input, Type::Vector, "aggregation expression")?;
        if let Some(parameter) = &aggregate.parameter {
            let wanted = if aggregate.name == "count_values" { Type::Text } else { Type::Scalar };
            self.expect(parameter, wanted, "aggregation parameter")?;
        }
        Ok(Type::Vector)
    }

    fn call(&self, call: &Call, span: Span) -> Result<Type> {
        let name = &call.name;
        let Some(signature) = signature(name) else {
            return Err(self.error(span, format!("unknown function with name {name:?}")));
        };
        let (wanted, got) = (signature.arguments.len(), call.arguments.len());
        let bound = match signature.last {
            Last::Once if got != wanted => Some(("", wanted)),
            Last::UpTo(_) | Last::Any if got + 1 < wanted => Some(("at least ", wanted - 1)),
            Last::UpTo(more) if got + 1 > wanted + more => Some(("at most ", wanted - 1 + more)),
            _ => None,
        };
        if let Some((bound, wanted)) = bound {
            let message = format!("expected {bound}{wanted} argument(s) in call to {name:?}, got {got}");
            return Err(self.error(span, message));
        }
        let context = format!("call to function {name:?}");
        for (at, argument) in call.arguments.iter().enumerate() {
            if let ("info", 1) = (name.as_str(), at) {
                self.info_labels(argument)?;
            } else if let Some(wanted) = signature.arguments.get(at).or(signature.arguments.last()) {
                self.expect(argument, *wanted, &context)?;
            }
        }
        Ok(signature.returns)
    }

    /// The second argument of `info` says which labels are wanted: a selector without a name, which need not demand
    /// anything.
    fn info_labels(&self, argument: &Expr) -> Result<()> {
        match &argument.node {
            Node::Selector(selector) if selector.name.is_none() => self.selector(selector, argument.span, false),
            Node::Selector(_) => {
                Err(self.error(argument.span, "expected label selectors only, got vector selector instead"))
            }
            _ => Err(self.error(argument.span, "expected label selectors as the second argument to \"info\" function")),
        }
    }
}
