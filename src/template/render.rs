//! Nodes plus values to text, within bounds.

use std::sync::Arc;

use super::error::{Error, Result};
use super::functions::Function;
use super::lex::mistake;
use super::parse::{Command, Defined, Node, Operand, Parsed, Pipeline, Term};
use super::value::Value;
use crate::model::{Labels, Timestamp};

/// Upper bound of what a template writes, and of each text on the way.
pub(super) const TEXT_BYTES_MAX: usize = 16 << 10;

/// Upper bound of nodes and operands visited: a nested `range` over a large answer must end.
const STEPS_MAX: usize = 100_000;

/// How deep templates may call one another.
const CALLS_MAX: usize = 20;

/// Answers a query with labels and values, or says why not.
pub type QueryFn<'a> = dyn Fn(&str) -> std::result::Result<Vec<(Labels, f64)>, String> + 'a;

/// What a template may use besides its values.
pub struct Context<'a> {
    /// Answers `query`.
    pub query: &'a QueryFn<'a>,
    /// What `externalURL` gives.
    pub external_url: &'a str,
    /// What `now` gives.
    pub now: Timestamp,
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("external_url", &self.external_url)
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

/// Renders a template with a dot and the caller's variables.
pub(super) fn render(
    text: &str,
    parsed: &Parsed,
    context: &Context<'_>,
    dot: &Value,
    variables: &[(&str, Value)],
) -> Result<String> {
    let mut known = vec![(String::new(), dot.clone())];
    known.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    let mut renderer =
        Renderer { text: Arc::from(text), parsed, context, variables: known, out: String::new(), steps: 0, calls: 0 };
    renderer.nodes(&parsed.nodes, dot)?;
    Ok(renderer.out)
}

struct Renderer<'a> {
    /// What the nodes in hand stand in, for messages.
    text: Arc<str>,
    parsed: &'a Parsed,
    context: &'a Context<'a>,
    variables: Vec<(String, Value)>,
    out: String,
    steps: usize,
    calls: usize,
}

/// Whether a loop goes on.
#[derive(PartialEq)]
enum Flow {
    On,
    Break,
    Continue,
}

impl Renderer<'_> {
    fn step(&mut self) -> Result<()> {
        self.steps += 1;
        if self.steps > STEPS_MAX { Err(Error::Limit("takes too many steps")) } else { Ok(()) }
    }

    fn write(&mut self, text: &str) -> Result<()> {
        if self.out.len() + text.len() > TEXT_BYTES_MAX {
            return Err(Error::Limit("writes more than 16 KiB"));
        }
        self.out.push_str(text);
        Ok(())
    }

    /// Renders nodes in a scope of their own.
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow> {
        let seen = self.variables.len();
        for node in nodes {
            let flow = self.node(node, dot)?;
            if flow != Flow::On {
                self.variables.truncate(seen);
                return Ok(flow);
            }
        }
        self.variables.truncate(seen);
        Ok(Flow::On)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<Flow> {
        self.step()?;
        match node {
            Node::Text(text) => self.write(text)?,
            Node::Action(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    self.write(&value.to_text())?;
                }
            }
            Node::If(branches) => return self.branches(branches, dot, false),
            Node::With(branches) => return self.branches(branches, dot, true),
            Node::Range(over, body, otherwise) => return self.range(over, body, otherwise, dot),
            Node::Template(at, name, value) => {
                let value = value.as_ref().map_or(Ok(Value::Nil), |v| self.pipeline(v, dot))?;
                self.template(*at, name, &value)?;
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    fn branches(&mut self, branches: &[(Option<Pipeline>, Vec<Node>)], dot: &Value, moves_dot: bool) -> Result<Flow> {
        let seen = self.variables.len();
        for (condition, nodes) in branches {
            let value = condition.as_ref().map(|c| self.pipeline(c, dot)).transpose()?;
            if value.as_ref().is_none_or(Value::is_true) {
                let inner = value.filter(|_| moves_dot).unwrap_or_else(|| dot.clone());
                let flow = self.nodes(nodes, &inner);
                self.variables.truncate(seen);
                return flow;
            }
        }
        self.variables.truncate(seen);
        Ok(Flow::On)
    }

    fn range(&mut self, over: &Pipeline, body: &[Node], otherwise: &[Node], dot: &Value) -> Result<Flow> {
        let seen = self.variables.len();
        let value = self.pipeline(over, dot)?;
        self.variables.truncate(seen);
        let items = self.items(over, &value)?;
        if items.is_empty() {
            return self.nodes(otherwise, dot);
        }
        for (key, item) in items {
            self.step()?;
            match over.variables.as_slice() {
                [one] => self.take(over.assigns, one, item.clone()),
                [one, two] => {
                    self.take(over.assigns, one, key);
                    self.take(over.assigns, two, item.clone());
                }
                _ => {}
            }
            let flow = self.nodes(body, &item)?;
            self.variables.truncate(seen);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::On)
    }

    /// Returns what a `range` goes over, with keys or positions.
    fn items(&self, over: &Pipeline, value: &Value) -> Result<Vec<(Value, Value)>> {
        let positions = (0i64..).map(Value::Int);
        Ok(match value {
            Value::List(list) => positions.zip(list.iter().cloned()).collect(),
            Value::Int(n) => (0..(*n).clamp(0, STEPS_MAX as i64)).map(|i| (Value::Int(i), Value::Int(i))).collect(),
            Value::Labels(labels) | Value::Pairs(labels) => {
                labels.iter().map(|(n, v)| (Value::text(n), Value::text(v))).collect()
            }
            Value::Map(map) => map.iter().map(|(k, v)| (Value::text(k), v.clone())).collect(),
            Value::Nil => Vec::new(),
            other => return Err(self.at(over.at, format!("range can't iterate over a {}", other.type_name()))),
        })
    }

    fn template(&mut self, at: usize, name: &str, value: &Value) -> Result<()> {
        let parsed = self.parsed;
        let Some(defined) = parsed.defined.iter().rev().find(|d| d.name == name) else {
            return Err(self.at(at, format!("template {name:?} not defined")));
        };
        self.calls += 1;
        if self.calls > CALLS_MAX {
            return Err(Error::Limit("calls templates too deeply"));
        }
        let outer = std::mem::replace(&mut self.variables, vec![(String::new(), value.clone())]);
        let text = std::mem::replace(&mut self.text, defined.text.clone());
        self.nodes(&defined.nodes, value)?;
        self.text = text;
        self.variables = outer;
        self.calls -= 1;
        Ok(())
    }

    fn take(&mut self, assigns: bool, name: &str, value: Value) {
        match self.variables.iter_mut().rev().find(|(n, _)| assigns && n == name) {
            Some((_, old)) => *old = value,
            None => self.variables.push((name.to_owned(), value)),
        }
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value> {
        let mut value = None;
        for command in &pipeline.commands {
            value = Some(self.command(command, dot, value)?);
        }
        let value = value.unwrap_or(Value::Nil);
        // A `range` gives its variables out per item.
        if let [name] = pipeline.variables.as_slice() {
            self.take(pipeline.assigns, name, value.clone());
        }
        Ok(value)
    }

    /// Evaluates a command; `piped` is the value of the one before and becomes the last argument.
    fn command(&mut self, command: &Command, dot: &Value, piped: Option<Value>) -> Result<Value> {
        self.step()?;
        let Some((first, rest)) = command.operands.split_first() else { return Ok(Value::Nil) };
        let Term::Function(function) = &first.term else {
            return if rest.is_empty() { self.operand(first, command.at, dot) } else { self.method(command, dot) };
        };
        let mut args = Vec::with_capacity(rest.len() + 1);
        for operand in rest {
            let value = self.operand(operand, command.at, dot)?;
            let decides = match function {
                Function::And => !value.is_true(),
                Function::Or => value.is_true(),
                _ => false,
            };
            if decides {
                return self.fields(first, command.at, value);
            }
            args.push(value);
        }
        args.extend(piped);
        let value = function.call(self.context, &args).map_err(|e| self.placed(command.at, e))?;
        self.fields(first, command.at, value)
    }

    /// Calls a method with arguments: `.StartsAt.Format "15:04"`.
    fn method(&mut self, command: &Command, dot: &Value) -> Result<Value> {
        let Some((first, rest)) = command.operands.split_first() else { return Ok(Value::Nil) };
        let Some((name, fields)) = first.fields.split_last() else { return Ok(Value::Nil) };
        let owner = Operand { term: first.term.clone(), fields: fields.to_vec() };
        let value = self.operand(&owner, command.at, dot)?;
        let mut arguments = Vec::with_capacity(rest.len());
        for operand in rest {
            arguments.push(self.operand(operand, command.at, dot)?);
        }
        let answer = super::methods::call(&value, name, &arguments);
        let none = || Err(format!("{name} is not a method of a {} but has arguments", value.type_name()));
        answer.unwrap_or_else(none).map_err(|message| self.at(command.at, message))
    }

    fn operand(&mut self, operand: &Operand, at: usize, dot: &Value) -> Result<Value> {
        self.step()?;
        let value = match &operand.term {
            Term::Dot => dot.clone(),
            Term::Constant(value) => value.clone(),
            Term::Variable(name) => {
                let found = self.variables.iter().rev().find(|(n, _)| n == name);
                found.map(|(_, v)| v.clone()).ok_or_else(|| self.at(at, format!("undefined variable \"${name}\"")))?
            }
            Term::Function(function) => function.call(self.context, &[]).map_err(|e| self.placed(at, e))?,
            Term::Pipeline(pipeline) => self.pipeline(pipeline, dot)?,
        };
        self.fields(operand, at, value)
    }

    fn fields(&self, operand: &Operand, at: usize, value: Value) -> Result<Value> {
        operand.fields.iter().try_fold(value, |value, name| value.field(name)).map_err(|message| self.at(at, message))
    }

    fn at(&self, at: usize, message: String) -> Error {
        Error::Value(mistake(&self.text, at, message).to_string())
    }

    fn placed(&self, at: usize, error: Error) -> Error {
        match error {
            Error::Value(message) => self.at(at, message),
            Error::Limit(_) => error,
        }
    }
}

/// A template that has been read; cheap to clone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Template {
    text: Arc<str>,
    parsed: Arc<Parsed>,
}

impl Template {
    /// Reads a template. `variables` are the names, without `$`, that every rendering will give.
    ///
    /// # Errors
    /// All undefined names, and the first mistake of syntax.
    pub fn parse(text: &str, variables: &[&str]) -> std::result::Result<Template, Vec<super::Mistake>> {
        let parsed = super::parse::parse(text, variables)?;
        Ok(Template { text: Arc::from(text), parsed: Arc::new(parsed) })
    }

    /// Reads a template that may call the named templates of a library.
    ///
    /// # Errors
    /// As [`Template::parse`]; also when a template is called that is defined nowhere.
    pub fn parse_in(text: &str, library: &Library) -> std::result::Result<Template, Vec<super::Mistake>> {
        let mut parsed = super::parse::parse(text, &[])?;
        parsed.defined = library.defined.iter().chain(&parsed.defined).cloned().collect();
        let is_known = |name: &String| parsed.defined.iter().any(|d| d.name == *name);
        let unknown = parsed.called.iter().filter(|(_, name)| !is_known(name));
        let mistakes: Vec<_> =
            unknown.map(|(at, name)| mistake(text, *at, format!("template {name:?} not defined"))).collect();
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        Ok(Template { text: Arc::from(text), parsed: Arc::new(parsed) })
    }

    /// Returns the template as written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Tells whether the template, or one that it calls, takes a field of this name of anything.
    #[must_use]
    pub fn reads(&self, field: &str) -> bool {
        super::reads::reads(&self.parsed, field)
    }

    /// Renders the template. Cost: bounded by 16 KiB of text and 100 000 steps; a `query` costs what it costs.
    ///
    /// # Errors
    /// [`Error`] if a value does not fit, a query fails or a bound is reached.
    pub fn render(&self, context: &Context<'_>, dot: &Value, variables: &[(&str, Value)]) -> Result<String> {
        render(&self.text, &self.parsed, context, dot, variables)
    }
}

/// Named templates that others may call; cheap to clone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Library {
    defined: Arc<Vec<Defined>>,
}

impl Library {
    /// Returns a library that has these definitions too. A later one of the same name counts.
    ///
    /// # Errors
    /// As [`Template::parse`].
    pub fn with(&self, text: &str) -> std::result::Result<Library, Vec<super::Mistake>> {
        let parsed = super::parse::parse(text, &[])?;
        Ok(Library { defined: Arc::new(self.defined.iter().chain(&parsed.defined).cloned().collect()) })
    }
}
