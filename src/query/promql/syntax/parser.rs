//! Words to a tree: by precedence, with one word of look-ahead. Says where something is wrong, and what was expected.
//!
//! Keywords are keywords only where they can be one: `sum`, `offset` and `anchored` may also name metrics and labels.

use super::ast::{Aggregate, Binary, Call, Expr, Group, Node, Operation};
use super::words::{Placed, Span, Word, error_at, words};
use crate::query::promql::tree::{Operator, SetOperator};
use crate::query::promql::{Error, Result};

/// Upper bound of brackets, signs and operators within one another: reading calls itself for each.
pub(super) const NESTING_MAX: usize = 128;

/// Upper bound of operators: every second word is one.
pub(super) const CHAIN_MAX: usize = 8191;

/// Names of aggregations; those with a parameter are marked.
pub(super) const AGGREGATIONS: [(&str, bool); 14] = [
    ("avg", false),
    ("bottomk", true),
    ("count", false),
    ("count_values", true),
    ("group", false),
    ("limit_ratio", true),
    ("limitk", true),
    ("max", false),
    ("min", false),
    ("quantile", true),
    ("stddev", false),
    ("stdvar", false),
    ("sum", false),
    ("topk", true),
];

/// Names that cannot be metrics without quotes.
const NO_METRICS: [&str; 6] = ["atan2", "bool", "group_left", "group_right", "ignoring", "on"];

/// Reads a text.
pub(super) struct Parser<'t> {
    pub(super) text: &'t str,
    words: Vec<Placed>,
    at: usize,
    depth: usize,
    operators: usize,
}

/// Reads an expression; its types are not checked.
pub(crate) fn read(text: &str) -> Result<Expr> {
    let mut parser = Parser { text, words: words(text)?, at: 0, depth: 0, operators: 0 };
    parser.check_brackets()?;
    if parser.peek() == &Word::End {
        return Err(error_at(text, 0, "no expression found in input".to_owned()));
    }
    let expr = parser.expr(0)?;
    match parser.peek() {
        Word::End => Ok(expr),
        _ => Err(parser.unexpected("", "")),
    }
}

impl<'t> Parser<'t> {
    pub(super) fn peek(&self) -> &Word {
        self.words.get(self.at).map_or(&Word::End, |p| &p.word)
    }

    pub(super) fn span(&self) -> Span {
        let end = Span { start: self.text.len(), end: self.text.len() };
        self.words.get(self.at).map_or(end, |p| p.span)
    }

    fn last_span(&self) -> Span {
        self.at.checked_sub(1).and_then(|at| self.words.get(at)).map_or(Span::default(), |p| p.span)
    }

    /// Returns where the last word ended, seen from `start`.
    pub(super) fn since(&self, start: Span) -> Span {
        start.to(self.last_span())
    }

    pub(super) fn skip(&mut self) {
        self.at += 1;
    }

    /// Returns the word as written.
    pub(super) fn written(&self) -> &'t str {
        let span = self.span();
        self.text.get(span.start..span.end).unwrap_or("")
    }

    pub(super) fn is_mark(&self, mark: &str) -> bool {
        matches!(self.peek(), Word::Mark(found) if *found == mark)
    }

    pub(super) fn take(&mut self, mark: &str) -> bool {
        let is_there = self.is_mark(mark);
        self.at += usize::from(is_there);
        is_there
    }

    pub(super) fn expect(&mut self, mark: &str, context: &str) -> Result<()> {
        if self.take(mark) { Ok(()) } else { Err(self.unexpected(context, &format!("{mark:?}"))) }
    }

    /// Tells whether the next word is this keyword, in whatever case.
    pub(super) fn is_keyword(&self, keyword: &str) -> bool {
        self.peek() == &Word::Name && self.written().eq_ignore_ascii_case(keyword)
    }

    pub(super) fn take_keyword(&mut self, keyword: &str) -> bool {
        let is_there = self.is_keyword(keyword);
        self.at += usize::from(is_there);
        is_there
    }

    pub(super) fn is_mark_after(&self, mark: &str) -> bool {
        self.words.get(self.at + 1).is_some_and(|p| matches!(p.word, Word::Mark(found) if found == mark))
    }

    pub(super) fn error(&self, span: Span, message: impl Into<String>) -> Error {
        error_at(self.text, span.start, message.into())
    }

    /// Says that the next word does not fit.
    pub(super) fn unexpected(&self, context: &str, expected: &str) -> Error {
        let written = self.written();
        let what = match self.peek() {
            Word::End => "end of input".to_owned(),
            Word::Name => format!("identifier {written:?}"),
            Word::Number(_) => format!("number {written:?}"),
            Word::Duration(_) => format!("duration {written:?}"),
            Word::Text(_) => format!("string {written}"),
            Word::Mark(mark) => format!("{mark:?}"),
        };
        let context = if context.is_empty() { String::new() } else { format!(" in {context}") };
        let expected = if expected.is_empty() { String::new() } else { format!(", expected {expected}") };
        self.error(self.span(), format!("unexpected {what}{context}{expected}"))
    }

    /// Refuses brackets that are not closed, or not by their like.
    fn check_brackets(&self) -> Result<()> {
        let mut open: Vec<(&str, Span)> = Vec::new();
        for Placed { word, span } in &self.words {
            let Word::Mark(mark) = word else { continue };
            let opening = match *mark {
                "(" | "[" | "{" => {
                    open.push((mark, *span));
                    continue;
                }
                ")" => "(",
                "]" => "[",
                "}" => "{",
                _ => continue,
            };
            if open.pop().is_none_or(|(found, _)| found != opening) {
                return Err(self.error(*span, format!("unexpected {mark:?}")));
            }
        }
        let Some((mark, span)) = open.pop() else { return Ok(()) };
        let name = match mark {
            "(" => "parenthesis",
            "[" => "bracket",
            _ => "brace",
        };
        Err(self.error(span, format!("unclosed left {name}")))
    }

    /// Runs one level deeper.
    pub(super) fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= NESTING_MAX {
            return Err(Error::Limit(format!("query nests deeper than {NESTING_MAX} levels")));
        }
        self.depth += 1;
        let found = read(self);
        self.depth -= 1;
        found
    }

    /// Reads operations that bind at least as tightly as `lowest`.
    fn expr(&mut self, lowest: u8) -> Result<Expr> {
        let mut left = self.operand()?;
        while let Some(operation) = self.operation().filter(|o| o.precedence() >= lowest) {
            self.operators += 1;
            if self.operators > CHAIN_MAX {
                return Err(Error::Limit(format!("query has more than {CHAIN_MAX} operators")));
            }
            left = self.deeper_if(operation, |parser| parser.binary(left, operation))?;
        }
        Ok(left)
    }

    /// Only powers nest to the right.
    fn deeper_if<T>(&mut self, operation: Operation, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if operation == Operation::Arithmetic(Operator::Power) { self.deeper(read) } else { read(self) }
    }

    /// Returns the operation that the next word stands for.
    fn operation(&self) -> Option<Operation> {
        let arithmetic = Operation::Arithmetic;
        if self.peek() == &Word::Name {
            return Some(match self.written().to_ascii_lowercase().as_str() {
                "and" => Operation::Set(SetOperator::And),
                "or" => Operation::Set(SetOperator::Or),
                "unless" => Operation::Set(SetOperator::Unless),
                "atan2" => arithmetic(Operator::Atan2),
                _ => return None,
            });
        }
        let Word::Mark(mark) = self.peek() else { return None };
        Some(match *mark {
            "+" => arithmetic(Operator::Add),
            "-" => arithmetic(Operator::Subtract),
            "*" => arithmetic(Operator::Multiply),
            "/" => arithmetic(Operator::Divide),
            "%" => arithmetic(Operator::Modulo),
            "^" => arithmetic(Operator::Power),
            "==" => arithmetic(Operator::Equal),
            "!=" => arithmetic(Operator::NotEqual),
            "<" => arithmetic(Operator::Less),
            "<=" => arithmetic(Operator::LessOrEqual),
            ">" => arithmetic(Operator::Greater),
            ">=" => arithmetic(Operator::GreaterOrEqual),
            "</" => Operation::TrimUpper,
            ">/" => Operation::TrimLower,
            _ => return None,
        })
    }

    fn binary(&mut self, left: Expr, operation: Operation) -> Result<Expr> {
        let at = self.span();
        self.skip();
        let is_bool = self.take_keyword("bool");
        let mut matching = None;
        for (keyword, is_on) in [("on", true), ("ignoring", false)] {
            if matching.is_none() && self.is_keyword(keyword) {
                self.skip();
                matching = Some((is_on, self.label_list()?));
            }
        }
        let mut group = None;
        for (keyword, is_left) in [("group_left", true), ("group_right", false)] {
            if matching.is_some() && group.is_none() && self.is_keyword(keyword) {
                self.skip();
                let labels = if self.is_mark("(") { self.label_list()? } else { Vec::new() };
                group = Some(Group { is_left, labels });
            }
        }
        let (mut fill_left, mut fill_right) = (None, None);
        while ["fill", "fill_left", "fill_right"].iter().any(|k| self.is_keyword(k)) && self.is_mark_after("(") {
            let keyword = self.written().to_ascii_lowercase();
            let value = self.fill()?;
            let (sets_left, sets_right) = (keyword != "fill_right", keyword != "fill_left");
            fill_left = if sets_left { Some(value) } else { fill_left };
            fill_right = if sets_right { Some(value) } else { fill_right };
        }
        let is_power = operation == Operation::Arithmetic(Operator::Power);
        let right = self.expr(operation.precedence() + u8::from(!is_power))?;
        let span = left.span.to(right.span);
        let binary = Binary { operation, at, left, right, is_bool, matching, group, fill_left, fill_right };
        Ok(Expr { span, node: Node::Binary(Box::new(binary)) })
    }

    /// Reads `fill(1)`.
    fn fill(&mut self) -> Result<f64> {
        self.skip();
        self.expect("(", "fill modifier")?;
        let is_minus = self.is_mark("-");
        if is_minus || self.is_mark("+") {
            self.skip();
        }
        let (Word::Number(value) | Word::Duration(value)) = *self.peek() else {
            return Err(self.unexpected("fill modifier", "number"));
        };
        self.skip();
        self.expect(")", "fill modifier")?;
        Ok(if is_minus { -value } else { value })
    }

    /// Reads `(a, "b")`.
    fn label_list(&mut self) -> Result<Vec<String>> {
        let context = "grouping opts";
        self.expect("(", context)?;
        let mut labels = Vec::new();
        while !self.take(")") {
            match self.peek() {
                Word::Name => labels.push(self.written().to_owned()),
                Word::Text(text) => labels.push(text.clone()),
                _ => return Err(self.unexpected(context, "label")),
            }
            self.skip();
            if !self.is_mark(")") && !self.take(",") {
                return Err(self.unexpected(context, "\",\" or \")\""));
            }
        }
        Ok(labels)
    }

    /// Reads what stands between operators: signs, then a primary with what follows it.
    fn operand(&mut self) -> Result<Expr> {
        let start = self.span();
        let is_minus = self.is_mark("-");
        if !is_minus && !self.is_mark("+") {
            let primary = self.primary()?;
            return self.followed(primary);
        }
        self.skip();
        // Powers bind more tightly than signs.
        let power = Operation::Arithmetic(Operator::Power).precedence();
        let inner = self.deeper(|parser| parser.expr(power))?;
        let span = start.to(inner.span);
        Ok(match inner.node {
            Node::Number(number) => Expr { span, node: Node::Number(if is_minus { -number } else { number }) },
            Node::Duration(seconds) => Expr { span, node: Node::Duration(if is_minus { -seconds } else { seconds }) },
            _ => Expr { span, node: Node::Unary { is_minus, inner: Box::new(inner) } },
        })
    }

    fn primary(&mut self) -> Result<Expr> {
        let start = self.span();
        let node = match self.peek().clone() {
            Word::Number(number) => {
                self.skip();
                Node::Number(number)
            }
            Word::Duration(seconds) => {
                self.skip();
                Node::Duration(seconds)
            }
            Word::Text(text) => {
                self.skip();
                Node::Text(text)
            }
            Word::Mark("(") => {
                self.skip();
                let inner = self.deeper(|parser| parser.expr(0))?;
                self.expect(")", "parenthesised expression")?;
                Node::Paren(Box::new(inner))
            }
            Word::Mark("{") => Node::Selector(self.braces(None)?),
            Word::Name => self.named()?,
            Word::Mark(_) | Word::End => return Err(self.unexpected("", "")),
        };
        Ok(Expr { span: self.since(start), node })
    }

    /// Reads what begins with a name: an aggregation, a call, or a metric.
    fn named(&mut self) -> Result<Node> {
        let name = self.written();
        let lower = name.to_ascii_lowercase();
        let aggregation = AGGREGATIONS.iter().find(|(known, _)| *known == lower);
        let is_grouped = |word: Option<&Placed>| {
            word.and_then(|p| self.text.get(p.span.start..p.span.end))
                .is_some_and(|w| w.eq_ignore_ascii_case("by") || w.eq_ignore_ascii_case("without"))
        };
        let groups_first = is_grouped(self.words.get(self.at + 1));
        if let Some((known, has_parameter)) = aggregation
            && (self.is_mark_after("(") || groups_first)
        {
            self.skip();
            return self.aggregate(known, *has_parameter);
        }
        if self.is_mark_after("(") {
            let start = self.span();
            self.skip();
            if super::signatures::signature(name).is_none() {
                return Err(self.error(start, unknown_function(name)));
            }
            let arguments = self.arguments()?;
            return Ok(Node::Call(Call { name: name.to_owned(), arguments }));
        }
        if NO_METRICS.contains(&lower.as_str()) {
            return Err(self.unexpected("", ""));
        }
        self.skip();
        self.braces(Some(name.to_owned())).map(Node::Selector)
    }

    /// Reads `(x, y)`.
    fn arguments(&mut self) -> Result<Vec<Expr>> {
        let context = "function call args";
        self.expect("(", context)?;
        let mut arguments = Vec::new();
        if self.take(")") {
            return Ok(arguments);
        }
        loop {
            arguments.push(self.deeper(|parser| parser.expr(0))?);
            if self.take(")") {
                return Ok(arguments);
            }
            self.expect(",", context)?;
            if self.is_mark(")") {
                return Err(self.error(self.span(), "trailing commas not allowed in function call args"));
            }
        }
    }

    fn aggregate(&mut self, name: &'static str, has_parameter: bool) -> Result<Node> {
        let start = self.span();
        let mut grouping = self.grouping()?;
        let arguments = self.arguments()?;
        if grouping.is_none() {
            grouping = self.grouping()?;
        }
        let expected = 1 + usize::from(has_parameter);
        if arguments.is_empty() {
            return Err(self.error(start, "no arguments for aggregate expression provided"));
        }
        if arguments.len() != expected {
            let got = arguments.len();
            let message =
                format!("wrong number of arguments for aggregate expression provided, expected {expected}, got {got}");
            return Err(self.error(start, message));
        }
        let mut arguments = arguments.into_iter();
        let parameter = if has_parameter { arguments.next() } else { None };
        let Some(input) = arguments.next() else { return Err(self.unexpected("aggregation", "expression")) };
        Ok(Node::Aggregate(Box::new(Aggregate { name, parameter, input, grouping })))
    }

    fn grouping(&mut self) -> Result<Option<(bool, Vec<String>)>> {
        for (keyword, is_without) in [("by", false), ("without", true)] {
            if self.take_keyword(keyword) {
                return self.label_list().map(|labels| Some((is_without, labels)));
            }
        }
        Ok(None)
    }
}

/// Says that there is no such function, and offers the one with the nearest name.
fn unknown_function(name: &str) -> String {
    let functions = super::signatures::signatures().iter().map(|s| s.name);
    let names: Vec<&str> = functions.chain(AGGREGATIONS.iter().map(|(name, _)| *name)).collect();
    match crate::yaml::closest(name, &names) {
        Some(near) => format!("unknown function with name {name:?}, did you mean {near:?}?"),
        None => format!("unknown function with name {name:?}"),
    }
}
