//! Text to tree, within bounds.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};

use super::{Entry, Kind, Mistake, Node, Report};

/// Largest text that is read; the largest rule files people share have about 1 MiB.
const TEXT_BYTES_MAX: usize = 16 << 20;

/// Deepest nesting; also keeps recursion over a tree shallow.
const DEPTH_MAX: usize = 64;

/// Most nodes of one tree, aliases counted with all they stand for.
const NODES_MAX: usize = 1_000_000;

/// Reads a text of one YAML document into a tree; an empty text is [`Kind::Null`].
///
/// What is not YAML is one mistake in `report` and the answer is [`Kind::Null`]; a key that stands twice is
/// a mistake, and the first stays.
#[must_use]
pub fn parse(text: &str, report: &Report) -> Node {
    let null = Node { line: 1, column: 1, kind: Kind::Null };
    if text.len() > TEXT_BYTES_MAX {
        report.add(mistake(Marker::default(), format!("longer than {} MiB", TEXT_BYTES_MAX >> 20)));
        return null;
    }
    let mut builder = Builder { report, open: Vec::new(), anchors: HashMap::new(), nodes: 0, root: None };
    let mut parser = Parser::new_from_str(text);
    loop {
        let (event, span) = match parser.next_event() {
            None | Some(Ok((Event::StreamEnd, _))) => break,
            Some(Ok(next)) => next,
            Some(Err(error)) => {
                report.add(mistake(*error.marker(), format!("not YAML: {}", error.info())));
                return null;
            }
        };
        if let Err(stop) = builder.take(event, span) {
            report.add(stop);
            return null;
        }
    }
    builder.root.unwrap_or(null)
}

fn mistake(at: Marker, message: impl Into<String>) -> Mistake {
    let column = if at.line() == 0 { 0 } else { at.col() + 1 };
    Mistake { line: at.line(), column, key_path: String::new(), message: message.into(), suggestion: None }
}

/// A list or map whose end has not come yet.
struct Open {
    line: usize,
    column: usize,
    anchor: usize,
    /// Nodes of the whole tree when this began, to know its size.
    nodes_before: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, key: Option<Node> },
}

struct Builder<'r> {
    report: &'r Report,
    open: Vec<Open>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    root: Option<Node>,
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Mistake> {
        let (line, column) = (span.start.line(), span.start.col() + 1);
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(mistake(span.start, "a second document begins here; one file holds one document"))
            }
            Event::DocumentStart(_) => Ok(()),
            Event::Alias(id) => {
                let Some((node, size)) = self.anchors.get(&id) else {
                    return Err(mistake(span.start, "an alias inside of what it stands for"));
                };
                let size = *size;
                if self.nodes.saturating_add(size) <= NODES_MAX {
                    let node = Node { line, column, kind: node.kind.clone() };
                    self.nodes += size;
                    return self.close(node);
                }
                self.count(size, span.start)
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.count(1, span.start)?;
                let is_text = tag.is_some_and(|t| t.is_yaml_core_schema() && t.suffix == "str");
                let is_plain = style == ScalarStyle::Plain && !is_text;
                let is_null = is_plain && matches!(text.as_ref(), "" | "~" | "null" | "Null" | "NULL");
                let kind = if is_null { Kind::Null } else { Kind::Scalar { text: text.into_owned(), is_plain } };
                let node = Node { line, column, kind };
                self.remember(anchor, &node, 1);
                self.close(node)
            }
            Event::SequenceStart(anchor, _) => self.open(span.start, anchor, Content::List(Vec::new())),
            Event::MappingStart(anchor, _) => {
                self.open(span.start, anchor, Content::Map { entries: Vec::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(Open { line, column, anchor, nodes_before, content }) = self.open.pop() else {
                    return Err(mistake(span.start, "an end without a beginning"));
                };
                let kind = match content {
                    Content::List(list) => Kind::List(list),
                    Content::Map { entries, .. } => Kind::Map(self.merged(entries)),
                };
                let node = Node { line, column, kind };
                self.remember(anchor, &node, self.nodes - nodes_before);
                self.close(node)
            }
        }
    }

    fn open(&mut self, at: Marker, anchor: usize, content: Content) -> Result<(), Mistake> {
        if self.open.len() == DEPTH_MAX {
            return Err(mistake(at, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        let nodes_before = self.nodes;
        self.count(1, at)?;
        self.open.push(Open { line: at.line(), column: at.col() + 1, anchor, nodes_before, content });
        Ok(())
    }

    fn count(&mut self, nodes: usize, at: Marker) -> Result<(), Mistake> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > NODES_MAX {
            return Err(mistake(at, format!("more than {NODES_MAX} values, aliases included")));
        }
        Ok(())
    }

    fn remember(&mut self, anchor: usize, node: &Node, size: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), size));
        }
    }

    /// Puts a whole node where it belongs: the list or map around it, or the root.
    fn close(&mut self, node: Node) -> Result<(), Mistake> {
        match self.open.last_mut().map(|o| &mut o.content) {
            None => self.root = Some(node),
            Some(Content::List(list)) => list.push(node),
            Some(Content::Map { entries, key }) => match key.take() {
                None => *key = Some(node),
                Some(Node { line, column, kind: Kind::Scalar { text, .. } }) => {
                    entries.push(Entry { key: text, line, column, value: node });
                }
                Some(Node { line, column, .. }) => {
                    return Err(mistake(Marker::new(0, line, column - 1), "a key must be a text"));
                }
            },
        }
        Ok(())
    }

    /// Applies merge keys (`<<`) and takes out keys that stand twice.
    fn merged(&self, entries: Vec<Entry>) -> Vec<Entry> {
        let mut kept: Vec<Entry> = Vec::with_capacity(entries.len());
        let mut places: HashMap<String, usize> = HashMap::with_capacity(entries.len());
        let mut merges = Vec::new();
        for entry in entries {
            if entry.key == "<<" {
                merges.push(entry.value);
                continue;
            }
            if let Some(first) = places.get(&entry.key) {
                self.report.add(Mistake {
                    line: entry.line,
                    column: entry.column,
                    key_path: entry.key.clone(),
                    message: format!("stands twice; the first is in line {first}"),
                    suggestion: None,
                });
                continue;
            }
            places.insert(entry.key.clone(), entry.line);
            kept.push(entry);
        }
        for merge in merges {
            let maps = match merge.kind {
                Kind::List(list) => list,
                Kind::Null | Kind::Scalar { .. } | Kind::Map(_) => vec![merge],
            };
            for map in maps {
                let Kind::Map(entries) = map.kind else {
                    let at = Marker::new(0, map.line, map.column - 1);
                    self.report.add(mistake(at, "<< must name a map or a list of maps"));
                    continue;
                };
                for entry in entries {
                    if !places.contains_key(&entry.key) {
                        places.insert(entry.key.clone(), entry.line);
                        kept.push(entry);
                    }
                }
            }
        }
        kept
    }
}
