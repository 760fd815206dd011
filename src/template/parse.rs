//! Template text to nodes; every undefined name is reported, not only the first.

use std::sync::Arc;

use super::error::Mistake;
use super::functions::Function;
use super::lex::{Kind, Piece, Token, mistake, pieces};
use super::value::Value;

/// How deep blocks and parentheses may be nested; the renderer recurses as deep.
const DEPTH_MAX: usize = 50;

/// A part of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    /// Text as it is.
    Text(String),
    /// A pipeline whose value is printed, unless it declares or assigns.
    Action(Pipeline),
    /// `if`, with its branches: a condition and what follows; the last may have none.
    If(Vec<(Option<Pipeline>, Vec<Node>)>),
    /// `with`: as `if`, but the dot is the condition's value.
    With(Vec<(Option<Pipeline>, Vec<Node>)>),
    /// `range` with its body and what stands for an empty list.
    Range(Pipeline, Vec<Node>, Vec<Node>),
    /// `template "name" value`
    Template(usize, String, Option<Pipeline>),
    /// `break`
    Break,
    /// `continue`
    Continue,
}

/// Commands, each handed the value of the one before, and the variables that take the result.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pipeline {
    /// Byte offset in the template, for messages.
    pub(super) at: usize,
    /// Variables that take the value: one, or two in a `range`.
    pub(super) variables: Vec<String>,
    /// Whether these exist already (`=`) instead of being made (`:=`).
    pub(super) assigns: bool,
    pub(super) commands: Vec<Command>,
}

/// An operand with arguments.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Command {
    pub(super) at: usize,
    /// At least one; more than one only if the first is a function or ends in a method.
    pub(super) operands: Vec<Operand>,
}

/// A term and the fields taken of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Operand {
    pub(super) term: Term,
    pub(super) fields: Vec<String>,
}

/// The beginning of an operand.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Term {
    Dot,
    Constant(Value),
    Variable(String),
    Function(Function),
    Pipeline(Box<Pipeline>),
}

/// A template as read: the nodes, and the named templates in it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Parsed {
    pub(super) nodes: Vec<Node>,
    pub(super) defined: Vec<Defined>,
    /// Names of the templates that are called, with where.
    pub(super) called: Vec<(usize, String)>,
}

/// A named template; cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Defined {
    pub(super) name: String,
    /// The text that it stands in, for messages.
    pub(super) text: Arc<str>,
    pub(super) nodes: Arc<Vec<Node>>,
}

/// Reads a template. `variables` are those the caller will give, without `$`.
pub(super) fn parse(template: &str, variables: &[&str]) -> Result<Parsed, Vec<Mistake>> {
    let pieces = pieces(template).map_err(|m| vec![m])?;
    let mut parser = Parser {
        template,
        pieces: pieces.into_iter(),
        known: std::iter::once("").chain(variables.iter().copied()).map(str::to_owned).collect(),
        given: variables.iter().map(|v| (*v).to_owned()).collect(),
        loops: 0,
        depth: 0,
        defined: Vec::new(),
        called: Vec::new(),
        mistakes: Vec::new(),
    };
    let nodes = match parser.block() {
        Ok((nodes, None)) => nodes,
        Ok((_, Some(end))) => {
            let word = end.word;
            parser.mistakes.push(mistake(template, end.at, format!("unexpected {{{{{word}}}}}: nothing is open here")));
            Vec::new()
        }
        Err(fatal) => {
            parser.mistakes.push(fatal);
            Vec::new()
        }
    };
    if !parser.mistakes.is_empty() {
        return Err(parser.mistakes);
    }
    let text: Arc<str> = Arc::from(template);
    let named = |(name, nodes)| Defined { name, text: text.clone(), nodes: Arc::new(nodes) };
    Ok(Parsed { nodes, defined: parser.defined.into_iter().map(named).collect(), called: parser.called })
}

struct Parser<'t> {
    template: &'t str,
    pieces: std::vec::IntoIter<Piece>,
    /// Variables in sight, innermost last.
    known: Vec<String>,
    /// Variables of the caller, for suggestions.
    given: Vec<String>,
    loops: usize,
    depth: usize,
    defined: Vec<(String, Vec<Node>)>,
    called: Vec<(usize, String)>,
    mistakes: Vec<Mistake>,
}

/// What ended a block: `end` or `else`, with the rest of its action.
struct End {
    at: usize,
    word: String,
    tokens: Vec<Token>,
}

type Fatal<T> = Result<T, Mistake>;

impl Parser<'_> {
    fn fail<T>(&self, at: usize, message: impl Into<String>) -> Fatal<T> {
        Err(mistake(self.template, at, message))
    }

    /// Reads nodes up to `end`, `else` or the template's end.
    fn block(&mut self) -> Fatal<(Vec<Node>, Option<End>)> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let (at, tokens) = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action { at, tokens } => (at, tokens),
            };
            let keyword = match tokens.first().map(|t| &t.kind) {
                Some(Kind::Word(word)) => word.clone(),
                Some(_) => String::new(),
                None => return self.fail(at, "missing value for command"),
            };
            let rest = || tokens.iter().skip(1).cloned().collect::<Vec<_>>();
            match keyword.as_str() {
                "end" | "else" => return Ok((nodes, Some(End { at, word: keyword, tokens: rest() }))),
                "if" => nodes.push(Node::If(self.branches(at, rest(), "if")?)),
                "with" => nodes.push(Node::With(self.branches(at, rest(), "with")?)),
                "range" => nodes.push(self.range(at, rest())?),
                "define" => self.define(at, &rest())?,
                "block" => nodes.push(self.named_block(at, rest())?),
                "template" => nodes.push(self.template(at, rest())?),
                "break" | "continue" => {
                    if self.loops == 0 {
                        return self.fail(at, format!("{{{{{keyword}}}}} outside {{{{range}}}}"));
                    }
                    nodes.push(if keyword == "break" { Node::Break } else { Node::Continue });
                }
                _ => nodes.push(Node::Action(self.pipeline(at, tokens, Variables::One)?)),
            }
        }
        Ok((nodes, None))
    }

    /// Reads a block inside another and what ended it.
    fn inner(&mut self, at: usize, what: &str) -> Fatal<(Vec<Node>, End)> {
        self.deeper(at)?;
        let seen = self.known.len();
        let (nodes, end) = self.block()?;
        self.known.truncate(seen);
        self.depth -= 1;
        match end {
            Some(end) => Ok((nodes, end)),
            None => self.fail(at, format!("unclosed {{{{{what}}}}}: there is no {{{{end}}}} for it")),
        }
    }

    fn deeper(&mut self, at: usize) -> Fatal<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { self.fail(at, format!("nested deeper than {DEPTH_MAX}")) } else { Ok(()) }
    }

    fn branches(&mut self, at: usize, tokens: Vec<Token>, what: &str) -> Fatal<Vec<(Option<Pipeline>, Vec<Node>)>> {
        let seen = self.known.len();
        let mut branches = Vec::new();
        let mut condition = Some(self.pipeline(at, tokens, Variables::One)?);
        loop {
            let is_last = condition.is_none();
            let (nodes, mut end) = self.inner(at, what)?;
            branches.push((condition, nodes));
            if end.word == "end" {
                break;
            }
            if is_last {
                return self.fail(end.at, "expected {{end}} after {{else}}");
            }
            let follows = matches!(end.tokens.first().map(|t| &t.kind), Some(Kind::Word(w)) if w == what);
            condition = if end.tokens.is_empty() {
                None
            } else if follows {
                end.tokens.remove(0);
                Some(self.pipeline(end.at, end.tokens, Variables::One)?)
            } else {
                return self.fail(end.at, format!("expected {{{{else}}}} or {{{{else {what} ...}}}}"));
            };
        }
        self.known.truncate(seen);
        Ok(branches)
    }

    fn range(&mut self, at: usize, tokens: Vec<Token>) -> Fatal<Node> {
        let seen = self.known.len();
        let over = self.pipeline(at, tokens, Variables::Two)?;
        self.loops += 1;
        let (body, end) = self.inner(at, "range")?;
        self.loops -= 1;
        self.known.truncate(seen);
        if end.word == "end" {
            return Ok(Node::Range(over, body, Vec::new()));
        }
        let (otherwise, end) = self.inner(at, "range")?;
        if end.word != "end" {
            return self.fail(end.at, "expected {{end}} after {{else}}");
        }
        Ok(Node::Range(over, body, otherwise))
    }

    fn name(&self, at: usize, tokens: &[Token], what: &str) -> Fatal<String> {
        match tokens.first().map(|t| &t.kind) {
            Some(Kind::Text(name)) => Ok(name.clone()),
            _ => self.fail(at, format!("{{{{{what}}}}} needs a name in quotes")),
        }
    }

    fn define(&mut self, at: usize, tokens: &[Token]) -> Fatal<()> {
        let name = self.name(at, tokens, "define")?;
        let body = self.body_of_its_own(at, "define")?;
        self.defined.push((name, body));
        Ok(())
    }

    /// Reads the body of a named template: only `$` is in sight there.
    fn body_of_its_own(&mut self, at: usize, what: &str) -> Fatal<Vec<Node>> {
        let outer = std::mem::replace(&mut self.known, vec![String::new()]);
        let loops = std::mem::take(&mut self.loops);
        let (nodes, end) = self.inner(at, what)?;
        self.known = outer;
        self.loops = loops;
        if end.word == "end" { Ok(nodes) } else { self.fail(end.at, "unexpected {{else}}") }
    }

    fn named_block(&mut self, at: usize, tokens: Vec<Token>) -> Fatal<Node> {
        let node = self.template(at, tokens)?;
        let body = self.body_of_its_own(at, "block")?;
        if let Node::Template(_, name, _) = &node {
            self.defined.push((name.clone(), body));
        }
        Ok(node)
    }

    fn template(&mut self, at: usize, mut tokens: Vec<Token>) -> Fatal<Node> {
        let name = self.name(at, &tokens, "template")?;
        tokens.remove(0);
        let value = if tokens.is_empty() { None } else { Some(self.pipeline(at, tokens, Variables::One)?) };
        self.called.push((at, name.clone()));
        Ok(Node::Template(at, name, value))
    }

    fn pipeline(&mut self, at: usize, tokens: Vec<Token>, allowed: Variables) -> Fatal<Pipeline> {
        let mut tokens = Tokens { tokens: tokens.into_iter().peekable(), end: at };
        let (variables, assigns, first) = self.variables(&mut tokens, allowed)?;
        let mut pipeline = self.commands(at, &mut tokens, first)?;
        if let Some(token) = tokens.next() {
            return self.fail(token.at, "unexpected right parenthesis");
        }
        for name in &variables {
            if assigns {
                self.check_variable(at, name);
            } else {
                self.known.push(name.clone());
            }
        }
        pipeline.variables = variables;
        pipeline.assigns = assigns;
        Ok(pipeline)
    }

    /// Reads `$a :=`, `$a, $b :=` or `$a =`. If a variable is not followed by one of these, it is the first
    /// operand and handed back.
    fn variables(&mut self, tokens: &mut Tokens, allowed: Variables) -> Fatal<(Vec<String>, bool, Option<Token>)> {
        let Some(first) = tokens.next_if(|k| matches!(k, Kind::Variable(_))) else {
            return Ok((Vec::new(), false, None));
        };
        let Kind::Variable(name) = first.kind.clone() else { return Ok((Vec::new(), false, Some(first))) };
        let mut names = vec![name];
        if tokens.next_if(|k| *k == Kind::Comma).is_some() {
            match (allowed, tokens.next()) {
                (Variables::Two, Some(Token { kind: Kind::Variable(second), .. })) => names.push(second),
                _ => return self.fail(first.at, "two variables are only for {{range $i, $x := ...}}"),
            }
        }
        match tokens.next_if(|k| matches!(k, Kind::Declare | Kind::Assign)) {
            Some(token) => Ok((names, token.kind == Kind::Assign, None)),
            None if names.len() == 1 => Ok((Vec::new(), false, Some(first))),
            None => self.fail(first.at, "expected := after the variables"),
        }
    }

    fn commands(&mut self, at: usize, tokens: &mut Tokens, mut first: Option<Token>) -> Fatal<Pipeline> {
        let mut commands = Vec::new();
        loop {
            let mut operands = Vec::new();
            let command_at = first.as_ref().map_or_else(|| tokens.at(), |t| t.at);
            while let Some(token) = first.take().or_else(|| tokens.next_operand()) {
                operands.push(self.operand(token, tokens)?);
            }
            match operands.as_slice() {
                [] => return self.fail(command_at, "missing value for command"),
                [Operand { term: Term::Function(_), .. }, ..] | [_] => {}
                // A method: only the value tells whether there is one.
                [Operand { fields, .. }, ..] if !fields.is_empty() => {}
                _ => return self.fail(command_at, "can't give arguments to what is not a function"),
            }
            if !commands.is_empty() && !matches!(operands.as_slice(), [Operand { term: Term::Function(_), .. }, ..]) {
                return self.fail(command_at, "only a function can stand after |");
            }
            commands.push(Command { at: command_at, operands });
            if tokens.next_if(|k| *k == Kind::Pipe).is_none() {
                return Ok(Pipeline { at, variables: Vec::new(), assigns: false, commands });
            }
        }
    }

    fn operand(&mut self, token: Token, tokens: &mut Tokens) -> Fatal<Operand> {
        let mut fields = Vec::new();
        let term = match token.kind {
            Kind::Dot => Term::Dot,
            Kind::Field(name) => {
                fields.push(name);
                Term::Dot
            }
            Kind::Text(text) => Term::Constant(Value::text(text)),
            Kind::Int(i) => Term::Constant(Value::Int(i)),
            Kind::Float(f) => Term::Constant(Value::Float(f)),
            Kind::Variable(name) => {
                self.check_variable(token.at, &name);
                Term::Variable(name)
            }
            Kind::Word(word) => match word.as_str() {
                "true" => Term::Constant(Value::Bool(true)),
                "false" => Term::Constant(Value::Bool(false)),
                "nil" => Term::Constant(Value::Nil),
                _ => Term::Function(self.function(token.at, &word)),
            },
            Kind::Open => {
                self.deeper(token.at)?;
                let inner = self.commands(token.at, tokens, None)?;
                if tokens.next_if(|k| *k == Kind::Close).is_none() {
                    return self.fail(token.at, "unclosed left parenthesis");
                }
                self.depth -= 1;
                Term::Pipeline(Box::new(inner))
            }
            Kind::Pipe | Kind::Close | Kind::Comma | Kind::Declare | Kind::Assign => {
                return self.fail(token.at, "an operand was expected here");
            }
        };
        while let Some(Token { kind: Kind::Field(name), .. }) = tokens.next_attached_field() {
            fields.push(name);
        }
        Ok(Operand { term, fields })
    }

    fn check_variable(&mut self, at: usize, name: &str) {
        if self.known.iter().any(|k| k == name) {
            return;
        }
        let given: Vec<&str> = self.given.iter().map(String::as_str).collect();
        let hint = match nearest(name, &given) {
            Some(near) => format!("; did you mean ${near}?"),
            None => format!("; there are {}", given.iter().map(|v| format!("${v}")).collect::<Vec<_>>().join(", ")),
        };
        self.mistakes.push(mistake(self.template, at, format!("undefined variable \"${name}\"{hint}")));
    }

    /// Finds a function. One that is not known is noted, and another stands in so that reading goes on.
    fn function(&mut self, at: usize, name: &str) -> Function {
        if let Some(function) = Function::named(name) {
            return function;
        }
        let hint = match name {
            "default" => "; write {{ or $labels.x \"unknown\" }} instead".to_owned(),
            _ => nearest(name, &Function::names()).map_or(String::new(), |near| format!("; did you mean {near}?")),
        };
        self.mistakes.push(mistake(self.template, at, format!("function {name:?} not defined{hint}")));
        Function::Print
    }
}

/// How many variables may stand before `:=`.
#[derive(Clone, Copy)]
enum Variables {
    One,
    Two,
}

/// The tokens of an action that are still to be read.
struct Tokens {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    /// Offset of what was read last, for messages at the end.
    end: usize,
}

impl Tokens {
    fn at(&mut self) -> usize {
        self.tokens.peek().map_or(self.end, |t| t.at)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.next()?;
        self.end = token.at;
        Some(token)
    }

    fn next_if(&mut self, wanted: impl Fn(&Kind) -> bool) -> Option<Token> {
        self.tokens.next_if(|t| wanted(&t.kind))
    }

    fn next_operand(&mut self) -> Option<Token> {
        self.next_if(|k| !matches!(k, Kind::Pipe | Kind::Close))
    }

    /// Returns a field that stands right behind what was read, without white space.
    fn next_attached_field(&mut self) -> Option<Token> {
        self.tokens.next_if(|t| !t.is_spaced && matches!(t.kind, Kind::Field(_)))
    }
}

/// Returns the name that is closest to a misspelt one, if one is close.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let allowed = (name.chars().count() / 3).max(1);
    let distances = known.iter().map(|k| (distance(&name.to_lowercase(), &k.to_lowercase()), *k));
    distances.filter(|(d, _)| *d <= allowed).min().map(|(_, k)| k)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (j, y) in b.iter().enumerate() {
            let above = row.get(j + 1).copied().unwrap_or(usize::MAX);
            let cost = diagonal + usize::from(x != *y);
            diagonal = above;
            left = cost.min(above + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}
