//! The syntax tree: what was written, with its places.

use super::words::Span;
use crate::model::MatchOp;
use crate::query::promql::tree::{Operator, SetOperator};

/// An expression and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Expr {
    pub(crate) span: Span,
    pub(crate) node: Node,
}

/// What an expression is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    /// A number.
    Number(f64),
    /// A duration, in seconds: a number too.
    Duration(f64),
    /// A text.
    Text(String),
    /// `(x)`
    Paren(Box<Expr>),
    /// `-x` or `+x`
    Unary {
        is_minus: bool,
        inner: Box<Expr>,
    },
    /// `name{label="value"}`
    Selector(Selector),
    /// `name[5m]`
    Range(Selector, Length),
    /// `x[5m:1m]`
    Subquery(Box<Subquery>),
    Binary(Box<Binary>),
    Aggregate(Box<Aggregate>),
    Call(Call),
}

/// Series, and where to look.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Selector {
    /// The name before the braces; one within them is a matcher.
    pub(crate) name: Option<String>,
    pub(crate) matchers: Vec<LabelMatcher>,
    pub(crate) place: Place,
    pub(crate) extent: Extent,
}

/// `label="value"`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LabelMatcher {
    pub(crate) span: Span,
    pub(crate) name: String,
    pub(crate) op: MatchOp,
    pub(crate) value: String,
}

/// `@` and `offset`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Place {
    pub(crate) at: Option<At>,
    pub(crate) offset: Option<Length>,
}

/// `@ ...`
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum At {
    /// Seconds since the epoch.
    Time(f64),
    Start,
    End,
}

/// What is taken beside the samples of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Extent {
    /// Nothing.
    #[default]
    Plain,
    /// `anchored`: the sample before the window stands at its start.
    Anchored,
    /// `smoothed`: values at both ends are interpolated.
    Smoothed,
}

/// A duration with arithmetic.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Length {
    pub(crate) span: Span,
    pub(crate) node: LengthNode,
}

/// What a duration is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum LengthNode {
    /// A number of seconds.
    Number(f64),
    /// Seconds, written with units.
    Duration(f64),
    /// `step()`
    Step,
    /// `range()`
    Range,
    Paren(Box<Length>),
    Unary {
        is_minus: bool,
        inner: Box<Length>,
    },
    /// One of `+ - * / % ^`.
    Binary(Operator, Box<Length>, Box<Length>),
    /// `min_of(a, b)`
    Smaller(Box<Length>, Box<Length>),
    /// `max_of(a, b)`
    Larger(Box<Length>, Box<Length>),
}

/// An expression evaluated at many steps.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Subquery {
    pub(crate) input: Expr,
    pub(crate) range: Length,
    pub(crate) step: Option<Length>,
    pub(crate) place: Place,
}

/// An operation on two expressions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Binary {
    pub(crate) operation: Operation,
    /// Where the operator stands.
    pub(crate) at: Span,
    pub(crate) left: Expr,
    pub(crate) right: Expr,
    pub(crate) is_bool: bool,
    /// `on` (true) or `ignoring`, with their labels.
    pub(crate) matching: Option<(bool, Vec<String>)>,
    pub(crate) group: Option<Group>,
    pub(crate) fill_left: Option<f64>,
    pub(crate) fill_right: Option<f64>,
}

/// A chain of operators is as deep as it is long: it is taken apart in a loop, because a call for each would overrun
/// the stack.
impl Drop for Binary {
    fn drop(&mut self) {
        let nothing = || Expr { span: Span::default(), node: Node::Number(0.0) };
        let mut left = std::mem::replace(&mut self.left, nothing());
        while let Node::Binary(binary) = &mut left.node {
            left = std::mem::replace(&mut binary.left, nothing());
        }
    }
}

/// What a binary operator does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Arithmetic(Operator),
    Set(SetOperator),
    /// `</`: of native histograms.
    TrimUpper,
    /// `>/`: of native histograms.
    TrimLower,
}

/// `group_left(...)` or `group_right(...)`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Group {
    pub(crate) is_left: bool,
    pub(crate) labels: Vec<String>,
}

/// `sum by (a) (x)`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Aggregate {
    pub(crate) name: &'static str,
    pub(crate) parameter: Option<Expr>,
    pub(crate) input: Expr,
    /// `by` or `without` (true), with their labels.
    pub(crate) grouping: Option<(bool, Vec<String>)>,
}

/// `rate(x[5m])`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    pub(crate) name: String,
    pub(crate) arguments: Vec<Expr>,
}

/// The type of an expression's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Scalar,
    Vector,
    Matrix,
    Text,
}

impl Type {
    /// Returns its name as upstream's messages have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Type::Scalar => "scalar",
            Type::Vector => "instant vector",
            Type::Matrix => "range vector",
            Type::Text => "string",
        }
    }
}

/// Returns all selectors of an expression. No recursion: a chain may be longer than calls may nest.
pub(crate) fn selectors(tree: &Expr) -> Vec<&Selector> {
    let mut found = Vec::new();
    let mut open = vec![tree];
    while let Some(expr) = open.pop() {
        match &expr.node {
            Node::Number(_) | Node::Duration(_) | Node::Text(_) => {}
            Node::Paren(inner) | Node::Unary { inner, .. } => open.push(inner),
            Node::Selector(selector) | Node::Range(selector, _) => found.push(selector),
            Node::Subquery(subquery) => open.push(&subquery.input),
            Node::Binary(binary) => open.extend([&binary.left, &binary.right]),
            Node::Aggregate(aggregate) => open.extend(aggregate.parameter.iter().chain([&aggregate.input])),
            Node::Call(call) => open.extend(&call.arguments),
        }
    }
    found
}

impl Operation {
    /// Returns how it is written.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Operation::Set(SetOperator::And) => "and",
            Operation::Set(SetOperator::Or) => "or",
            Operation::Set(SetOperator::Unless) => "unless",
            Operation::TrimUpper => "</",
            Operation::TrimLower => ">/",
            Operation::Arithmetic(operator) => operator_text(operator),
        }
    }

    /// Returns how tightly it binds.
    pub(crate) fn precedence(self) -> u8 {
        use Operator::{Add, Atan2, Divide, Modulo, Multiply, Power, Subtract};
        match self {
            Operation::Set(SetOperator::Or) => 1,
            Operation::Set(SetOperator::And | SetOperator::Unless) => 2,
            Operation::Arithmetic(Add | Subtract) => 4,
            Operation::Arithmetic(Multiply | Divide | Modulo | Atan2) => 5,
            Operation::Arithmetic(Power) => 6,
            Operation::Arithmetic(_) | Operation::TrimUpper | Operation::TrimLower => 3,
        }
    }
}

/// Returns how an operator is written.
pub(crate) fn operator_text(operator: Operator) -> &'static str {
    match operator {
        Operator::Add => "+",
        Operator::Subtract => "-",
        Operator::Multiply => "*",
        Operator::Divide => "/",
        Operator::Modulo => "%",
        Operator::Power => "^",
        Operator::Atan2 => "atan2",
        Operator::Equal => "==",
        Operator::NotEqual => "!=",
        Operator::Less => "<",
        Operator::LessOrEqual => "<=",
        Operator::Greater => ">",
        Operator::GreaterOrEqual => ">=",
    }
}
