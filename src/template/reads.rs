//! Which fields a template looks at.

use std::collections::BTreeSet;

use super::parse::{Node, Operand, Parsed, Pipeline, Term};

/// Tells whether a template, or one that it calls, takes a field of this name of anything.
pub(super) fn reads(parsed: &Parsed, field: &str) -> bool {
    let mut search = Search { parsed, field, seen: BTreeSet::new() };
    search.nodes(&parsed.nodes)
}

struct Search<'a> {
    parsed: &'a Parsed,
    field: &'a str,
    /// Named templates that were looked at: they may call one another in a circle.
    seen: BTreeSet<&'a str>,
}

impl<'a> Search<'a> {
    fn nodes(&mut self, nodes: &'a [Node]) -> bool {
        nodes.iter().any(|node| self.node(node))
    }

    fn node(&mut self, node: &'a Node) -> bool {
        match node {
            Node::Text(_) | Node::Break | Node::Continue => false,
            Node::Action(pipeline) => self.pipeline(pipeline),
            Node::If(branches) | Node::With(branches) => branches
                .iter()
                .any(|(condition, body)| condition.as_ref().is_some_and(|p| self.pipeline(p)) || self.nodes(body)),
            Node::Range(pipeline, body, otherwise) => {
                self.pipeline(pipeline) || self.nodes(body) || self.nodes(otherwise)
            }
            Node::Template(_, name, argument) => {
                argument.as_ref().is_some_and(|p| self.pipeline(p)) || self.named(name)
            }
        }
    }

    fn named(&mut self, name: &'a str) -> bool {
        if !self.seen.insert(name) {
            return false;
        }
        // A later definition of the same name counts.
        let defined = self.parsed.defined.iter().rev().find(|d| d.name == name);
        defined.is_some_and(|d| self.nodes(&d.nodes))
    }

    fn pipeline(&self, pipeline: &Pipeline) -> bool {
        pipeline.commands.iter().flat_map(|c| &c.operands).any(|operand| self.operand(operand))
    }

    fn operand(&self, operand: &Operand) -> bool {
        let is_deeper = matches!(&operand.term, Term::Pipeline(inner) if self.pipeline(inner));
        is_deeper || operand.fields.iter().any(|f| f == self.field)
    }
}
