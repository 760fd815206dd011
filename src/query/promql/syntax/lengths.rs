//! Durations with arithmetic: `5m * 2`, `step() + 1m`, `max_of(step(), 5s)`. What `step()` and `range()` are is known
//! when a query is planned.

use super::ast::{Length, LengthNode};
use super::parser::Parser;
use super::words::{Word, error_at};
use crate::query::promql::Result;
use crate::query::promql::tree::Operator;

/// What a query's own functions mean in durations, in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spans {
    /// `step()`
    pub(crate) step: f64,
    /// `range()`
    pub(crate) range: f64,
}

const CONTEXT: &str = "duration expression";

impl Parser<'_> {
    /// Reads a duration between brackets: sums of products of powers of signed values.
    pub(super) fn length(&mut self) -> Result<Length> {
        self.deeper(|parser| parser.sum(1))
    }

    /// Reads the one value, with a sign or without, that `offset` takes.
    pub(super) fn offset(&mut self) -> Result<Length> {
        let start = self.span();
        let is_minus = self.is_mark("-");
        if !is_minus && !self.is_mark("+") {
            return self.value();
        }
        self.skip();
        let inner = Box::new(self.value()?);
        Ok(Length { span: self.since(start), node: LengthNode::Unary { is_minus, inner } })
    }

    fn sum(&mut self, lowest: u8) -> Result<Length> {
        let mut left = self.signed()?;
        loop {
            let Word::Mark(mark) = self.peek() else { return Ok(left) };
            let (operator, precedence) = match *mark {
                "+" => (Operator::Add, 1),
                "-" => (Operator::Subtract, 1),
                "*" => (Operator::Multiply, 2),
                "/" => (Operator::Divide, 2),
                "%" => (Operator::Modulo, 2),
                "^" => (Operator::Power, 3),
                _ => return Ok(left),
            };
            if precedence < lowest {
                return Ok(left);
            }
            self.skip();
            let is_power = operator == Operator::Power;
            let right = self.deeper(|parser| parser.sum(precedence + u8::from(!is_power)))?;
            let span = left.span.to(right.span);
            left = Length { span, node: LengthNode::Binary(operator, Box::new(left), Box::new(right)) };
        }
    }

    fn signed(&mut self) -> Result<Length> {
        let start = self.span();
        let is_minus = self.is_mark("-");
        if !is_minus && !self.is_mark("+") {
            return self.value();
        }
        self.skip();
        let inner = Box::new(self.deeper(|parser| parser.sum(3))?);
        Ok(Length { span: self.since(start), node: LengthNode::Unary { is_minus, inner } })
    }

    fn value(&mut self) -> Result<Length> {
        let start = self.span();
        let node = match self.peek() {
            Word::Number(seconds) => LengthNode::Number(*seconds),
            Word::Duration(seconds) => LengthNode::Duration(*seconds),
            Word::Mark("(") => {
                self.skip();
                let inner = self.length()?;
                self.expect(")", CONTEXT)?;
                LengthNode::Paren(Box::new(inner))
            }
            Word::Name if self.is_mark_after("(") => self.length_function()?,
            _ => return Err(self.unexpected(CONTEXT, "number, duration, step(), or range()")),
        };
        if matches!(node, LengthNode::Number(_) | LengthNode::Duration(_)) {
            self.skip();
        }
        Ok(Length { span: self.since(start), node })
    }

    fn length_function(&mut self) -> Result<LengthNode> {
        for (name, node) in [("step", LengthNode::Step), ("range", LengthNode::Range)] {
            if self.is_keyword(name) {
                self.skip();
                self.expect("(", CONTEXT)?;
                return self.expect(")", CONTEXT).map(|()| node);
            }
        }
        let is_smaller = self.is_keyword("min_of");
        if !is_smaller && !self.is_keyword("max_of") {
            return Err(self.unexpected(CONTEXT, "number, duration, step(), or range()"));
        }
        self.skip();
        self.expect("(", CONTEXT)?;
        let first = Box::new(self.length()?);
        self.expect(",", CONTEXT)?;
        let second = Box::new(self.length()?);
        self.expect(")", CONTEXT)?;
        Ok(if is_smaller { LengthNode::Smaller(first, second) } else { LengthNode::Larger(first, second) })
    }
}

impl Length {
    /// Returns the duration in seconds; `text` is the query's, for the places of errors.
    pub(crate) fn seconds(&self, spans: Spans, text: &str) -> Result<f64> {
        let two =
            |a: &Length, b: &Length| -> Result<(f64, f64)> { Ok((a.seconds(spans, text)?, b.seconds(spans, text)?)) };
        Ok(match &self.node {
            LengthNode::Number(seconds) | LengthNode::Duration(seconds) => *seconds,
            LengthNode::Step => spans.step,
            LengthNode::Range => spans.range,
            LengthNode::Paren(inner) | LengthNode::Unary { is_minus: false, inner } => inner.seconds(spans, text)?,
            LengthNode::Unary { is_minus: true, inner } => -inner.seconds(spans, text)?,
            LengthNode::Smaller(a, b) => two(a, b).map(|(a, b)| a.min(b))?,
            LengthNode::Larger(a, b) => two(a, b).map(|(a, b)| a.max(b))?,
            LengthNode::Binary(operator, a, b) => {
                let (left, right) = two(a, b)?;
                let by_zero = |what: &str| error_at(text, a.span.end, format!("{what} by zero"));
                match operator {
                    Operator::Add => left + right,
                    Operator::Subtract => left - right,
                    Operator::Multiply => left * right,
                    Operator::Divide if right == 0.0 => return Err(by_zero("division")),
                    Operator::Divide => left / right,
                    Operator::Modulo if right == 0.0 => return Err(by_zero("modulo")),
                    Operator::Modulo => left % right,
                    _ => left.powf(right),
                }
            }
        })
    }
}
