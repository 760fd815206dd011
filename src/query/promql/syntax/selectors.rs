//! Selectors, and what follows an expression: brackets, `offset`, `@`, `anchored`, `smoothed`.

use super::ast::{At, Expr, Extent, LabelMatcher, Node, Place, Selector, Subquery};
use super::parser::{NESTING_MAX, Parser};
use super::words::Word;
use crate::model::{LABEL_NAME, MatchOp};
use crate::query::promql::{Error, Result};

impl Parser<'_> {
    /// Reads the matchers behind a metric name, if there are any.
    pub(super) fn braces(&mut self, name: Option<String>) -> Result<Selector> {
        let mut selector = Selector { name, ..Selector::default() };
        if !self.take("{") {
            return Ok(selector);
        }
        while !self.take("}") {
            let matcher = self.matcher()?;
            selector.matchers.push(matcher);
            if !self.is_mark("}") && !self.take(",") {
                return Err(self.unexpected("label matching", "\",\" or \"}\""));
            }
        }
        Ok(selector)
    }

    /// Reads `label="value"`, or a metric name in quotes.
    fn matcher(&mut self) -> Result<LabelMatcher> {
        let start = self.span();
        let (name, is_quoted) = match self.peek() {
            Word::Name => (self.written().to_owned(), false),
            // Not numbers here.
            Word::Number(_) if self.written().starts_with(|c: char| c.is_ascii_alphabetic()) => {
                (self.written().to_owned(), false)
            }
            Word::Text(text) => (text.clone(), true),
            _ => return Err(self.unexpected("label matching", "identifier or \"}\"")),
        };
        self.skip();
        let op = match self.peek() {
            Word::Mark("=") => MatchOp::Equal,
            Word::Mark("!=") => MatchOp::NotEqual,
            Word::Mark("=~") => MatchOp::Regex,
            Word::Mark("!~") => MatchOp::NotRegex,
            _ if is_quoted && (self.is_mark(",") || self.is_mark("}")) => {
                let span = self.since(start);
                return Ok(LabelMatcher { span, name: LABEL_NAME.to_owned(), op: MatchOp::Equal, value: name });
            }
            _ => return Err(self.unexpected("label matching", "label matching operator")),
        };
        self.skip();
        let Word::Text(value) = self.peek().clone() else {
            return Err(self.unexpected("label matching", "string"));
        };
        self.skip();
        Ok(LabelMatcher { span: self.since(start), name, op, value })
    }

    /// Reads what follows a primary: brackets, `offset`, `@`, `anchored`, `smoothed`.
    pub(super) fn followed(&mut self, mut expr: Expr) -> Result<Expr> {
        let mut follows = 0;
        loop {
            let (start, at) = (expr.span, self.span());
            let node = if self.is_mark("[") {
                self.bracket(expr)?
            } else if self.take_keyword("offset") {
                let offset = self.offset()?;
                let place = place_of(&mut expr).ok_or_else(|| self.error(at, not_placed("offset modifier")))?;
                if place.offset.replace(offset).is_some() {
                    return Err(self.error(at, "offset may not be set multiple times"));
                }
                expr.node
            } else if self.take("@") {
                let moment = self.moment()?;
                let place = place_of(&mut expr).ok_or_else(|| self.error(at, not_placed("@ modifier")))?;
                if place.at.replace(moment).is_some() {
                    return Err(self.error(at, "@ <timestamp> may not be set multiple times"));
                }
                expr.node
            } else if self.is_keyword("anchored") || self.is_keyword("smoothed") {
                self.extended(expr)?
            } else {
                return Ok(expr);
            };
            expr = Expr { span: self.since(start), node };
            follows += 1;
            if follows > NESTING_MAX {
                return Err(Error::Limit(format!("query nests deeper than {NESTING_MAX} levels")));
            }
        }
    }

    /// Reads `anchored` or `smoothed`.
    fn extended(&mut self, expr: Expr) -> Result<Node> {
        let at = self.span();
        let keyword = self.written().to_ascii_lowercase();
        self.skip();
        let extent = if keyword == "anchored" { Extent::Anchored } else { Extent::Smoothed };
        let mut node = expr.node;
        if matches!(node, Node::Subquery(_)) {
            return Err(self.error(expr.span, format!("{keyword} modifier is not supported for subqueries")));
        }
        let (Node::Selector(selector) | Node::Range(selector, _)) = &mut node else {
            let message =
                format!("{keyword} modifier must be preceded by an instant vector selector or range vector selector");
            return Err(self.error(at, message));
        };
        if selector.extent != Extent::Plain {
            return Err(self.error(at, "anchored and smoothed modifiers may be set only once and not together"));
        }
        selector.extent = extent;
        Ok(node)
    }

    /// Reads `[range]` or `[range:step]` behind an expression.
    fn bracket(&mut self, expr: Expr) -> Result<Node> {
        let at = self.span();
        self.skip();
        let context =
            if matches!(expr.node, Node::Selector(_)) { "subquery or range selector" } else { "subquery selector" };
        if self.is_mark("]") || self.is_mark(":") {
            return Err(self.unexpected(context, "number, duration, step(), or range()"));
        }
        let range = self.length()?;
        if self.take("]") {
            return match expr.node {
                Node::Selector(selector) if selector.place.offset.is_some() => {
                    Err(self.error(at, "no offset modifiers allowed before range"))
                }
                Node::Selector(selector) if selector.place.at.is_some() => {
                    Err(self.error(at, "no @ modifiers allowed before range"))
                }
                Node::Selector(selector) => Ok(Node::Range(selector, range)),
                _ => Err(self.error(at, "ranges only allowed for vector selectors")),
            };
        }
        self.expect(":", context)?;
        let step = if self.is_mark("]") { None } else { Some(self.length()?) };
        self.expect("]", context)?;
        Ok(Node::Subquery(Box::new(Subquery { input: expr, range, step, place: Place::default() })))
    }

    /// Reads what stands behind `@`.
    fn moment(&mut self) -> Result<At> {
        for (keyword, moment) in [("start", At::Start), ("end", At::End)] {
            if self.is_keyword(keyword) && self.is_mark_after("(") {
                self.skip();
                self.skip();
                return self.expect(")", "@").map(|()| moment);
            }
        }
        let at = self.span();
        let is_minus = self.is_mark("-");
        if is_minus || self.is_mark("+") {
            self.skip();
        }
        let (Word::Number(seconds) | Word::Duration(seconds)) = *self.peek() else {
            return Err(self.unexpected("@", "timestamp, start() or end()"));
        };
        self.skip();
        let seconds = if is_minus { -seconds } else { seconds };
        if seconds.is_nan() || seconds.abs() >= 9_223_372_036_854_775.0 {
            return Err(self.error(at, format!("timestamp out of bounds for @ modifier: {seconds}")));
        }
        Ok(At::Time(seconds))
    }
}

/// Returns where `offset` and `@` are kept.
fn place_of(expr: &mut Expr) -> Option<&mut Place> {
    match &mut expr.node {
        Node::Selector(selector) | Node::Range(selector, _) => Some(&mut selector.place),
        Node::Subquery(subquery) => Some(&mut subquery.place),
        _ => None,
    }
}

fn not_placed(what: &str) -> String {
    format!("{what} must be preceded by an instant vector selector or range vector selector or a subquery")
}
