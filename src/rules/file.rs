//! Text of a Prometheus rule file to groups; every mistake is listed with its line and rule.

use std::collections::HashMap;
use std::time::Duration;

use super::snapshot::Mistake;
use crate::model::{LABEL_NAME, Labels, is_label_name, is_metric_name};
use crate::query::promql;
use crate::template::Template;
use crate::yaml::{self, Fields, Item, Report};

/// Variables that templates of rules may use; as Prometheus has them.
pub(super) const VARIABLES: [&str; 4] = ["labels", "externalLabels", "externalURL", "value"];

/// The most rules of one file; more are refused with a message.
const RULES_MAX: usize = 10_000;

const GROUP_KEYS: &[&str] = &["name", "interval", "query_offset", "limit", "labels", "rules"];
const RULE_KEYS: &[&str] = &["record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations"];

/// A group as written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) file: String,
    /// `None`: the global evaluation interval.
    pub(super) interval: Option<Duration>,
    /// `None`: the global offset.
    pub(super) query_offset: Option<Duration>,
    /// The most series or alerts of one rule; 0 is no limit.
    pub(super) limit: usize,
    /// The good ones, in order.
    pub(super) rules: Vec<Rule>,
}

/// A rule whose expression and templates check out.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) expression: String,
    /// The group's labels and the rule's over them, as written.
    pub(super) labels: Labels,
    /// Line of the file it begins at.
    pub(super) line: usize,
    /// Names the definition: another one as soon as anything of it is written otherwise.
    pub(super) version: u32,
    pub(super) kind: Kind,
}

/// What a rule does with its result.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Recording,
    Alerting(Alerting),
}

/// What an alerting rule has beyond the rest.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Alerting {
    /// `for`
    pub(super) hold: Duration,
    /// `keep_firing_for`
    pub(super) keep_firing: Duration,
    /// Templates of the labels.
    pub(super) labels: Vec<(String, Template)>,
    /// Templates of the annotations.
    pub(super) annotations: Vec<(String, Template)>,
}

/// A rule file as read: what is good of it, and what is wrong.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RuleFile {
    pub(super) groups: Vec<Group>,
    pub(super) mistakes: Vec<Mistake>,
}

/// Reads a rule file. Good rules are there even if others are not.
pub(super) fn read(path: &str, text: &str) -> RuleFile {
    let report = Report::new(path);
    let tree = yaml::parse(text, &report);
    let mut reader = Reader { path, lines: text.lines().collect(), names: HashMap::new(), rules: 0 };
    let groups = match Item::root(&tree, &report).fields(&["groups"]) {
        Some(file) => reader.groups(&file),
        None => Vec::new(),
    };
    let (mistakes, _) = report.into_parts();
    let mut list: Vec<Mistake> = Vec::new();
    if let Some(found) = mistakes {
        list.extend(found.list.into_iter().map(|m| reader.named(m)));
        if found.left_out > 0 {
            list.push(Mistake::of_file(path, format!("and {} more mistakes", found.left_out)));
        }
    }
    RuleFile { groups, mistakes: list }
}

struct Reader<'p> {
    path: &'p str,
    /// The file's lines, to find where in a text of several lines a mistake is.
    lines: Vec<&'p str>,
    /// Names of groups and rules by their key path.
    names: HashMap<String, String>,
    rules: usize,
}

impl Reader<'_> {
    /// Adds the names of group and rule to a mistake that has only its place.
    fn named(&self, mistake: yaml::Mistake) -> Mistake {
        let path = &mistake.key_path;
        let end_of = |part: &str| path.find(part).and_then(|i| path.get(i..)?.find(']').map(|j| i + j + 1));
        let name = |end: Option<usize>| end.and_then(|e| self.names.get(path.get(..e)?)).cloned().unwrap_or_default();
        let (group_end, rule_end) = (end_of("groups["), end_of(".rules["));
        let key = path.get(rule_end.or(group_end).unwrap_or(0)..).unwrap_or("").trim_start_matches('.');
        let mut message = if key.is_empty() { String::new() } else { format!("{key}: ") };
        message.push_str(&mistake.message);
        if let Some(suggestion) = &mistake.suggestion {
            message.push_str(&format!("; {suggestion}"));
        }
        Mistake {
            file: self.path.to_owned(),
            line: mistake.line,
            column: mistake.column,
            group: name(group_end),
            rule: name(rule_end),
            message,
        }
    }

    fn groups(&mut self, file: &Fields<'_>) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        for item in file.items("groups") {
            let Some(fields) = item.fields(GROUP_KEYS) else { continue };
            let Some(name) = fields.required_string("name") else { continue };
            self.names.insert(item.path().to_owned(), name.clone());
            if name.is_empty() {
                let _: Option<()> = item.mistake("name must not be empty");
                continue;
            }
            if groups.iter().any(|g| g.name == name) {
                let _: Option<()> = item.mistake("a group of this name stands above; names must be unique in a file");
                continue;
            }
            let labels = labels(&fields, "labels");
            let _ = self.templates(&fields, "labels");
            // Zero is the global one, as upstream has it.
            let interval = fields.duration("interval").filter(|interval| !interval.is_zero());
            let rules = fields.items("rules").iter().filter_map(|rule| self.rule(rule, &labels)).collect();
            groups.push(Group {
                name,
                file: self.path.to_owned(),
                interval,
                query_offset: fields.duration("query_offset"),
                limit: fields.count("limit", 0, usize::MAX).unwrap_or(0),
                rules,
            });
        }
        groups
    }

    /// Reads one rule; `None` if anything about it is wrong.
    fn rule(&mut self, item: &Item<'_>, group_labels: &Labels) -> Option<Rule> {
        let before = item.report().count();
        let name_of = |key| item.node().get(key).and_then(|n| Item::root(n, item.report()).string());
        let name = name_of("alert").or_else(|| name_of("record")).unwrap_or_default();
        self.names.insert(item.path().to_owned(), name.clone());
        self.rules += 1;
        if self.rules > RULES_MAX {
            return (self.rules == RULES_MAX + 1)
                .then(|| item.mistake(format!("more than {RULES_MAX} rules in one file")))
                .flatten();
        }
        let fields = item.fields(RULE_KEYS)?;
        let own_labels = labels(&fields, "labels");
        let mut merged = group_labels.builder();
        for (name, value) in own_labels.iter() {
            merged.set(name, value);
        }
        let merged = merged.build();
        let kind = match (fields.get("record"), fields.get("alert")) {
            (Some(_), Some(_)) => item.mistake("only one of record and alert may be there"),
            (None, None) => item.mistake("one of record and alert must be there"),
            (Some(record), None) => recording(&fields, &record, &name),
            (None, Some(alert)) if name.is_empty() => alert.mistake("an alerting rule needs a name"),
            (None, Some(_)) => Some(Kind::Alerting(self.alerting(&fields, &merged))),
        };
        let expression = self.expression(&fields);
        let (kind, expression) = (kind?, expression?);
        (item.report().count() == before).then(|| Rule {
            version: version(&name, &expression, &merged, &kind),
            name,
            expression,
            labels: merged,
            line: item.node().line,
            kind,
        })
    }

    fn expression(&self, fields: &Fields<'_>) -> Option<String> {
        let item = fields.required("expr")?;
        let text = item.string()?;
        match promql::check(&text) {
            Ok(()) => Some(text.trim().to_owned()),
            Err(promql::Error::Parse { line, column, message }) => {
                self.mistake_inside(&item, &text, (line, column), format!("parse error: {message}"))
            }
            Err(error) => item.mistake(error.to_string()),
        }
    }

    fn alerting(&self, fields: &Fields<'_>, labels: &Labels) -> Alerting {
        let own_labels = self.templates(fields, "labels");
        // Labels of the group may be templates too; they were checked with the rules that name none of their own.
        let inherited = labels.iter().filter(|(name, _)| !own_labels.iter().any(|(n, _)| n == name));
        let inherited = inherited.filter_map(|(n, v)| Template::parse(v, &VARIABLES).ok().map(|t| (n.to_owned(), t)));
        let inherited: Vec<_> = inherited.collect();
        Alerting {
            hold: fields.duration("for").unwrap_or_default(),
            keep_firing: fields.duration("keep_firing_for").unwrap_or_default(),
            labels: inherited.into_iter().chain(own_labels).collect(),
            annotations: self.templates(fields, "annotations"),
        }
    }

    fn templates(&self, fields: &Fields<'_>, key: &'static str) -> Vec<(String, Template)> {
        let texts = checked_map(fields, key).into_iter();
        texts.filter_map(|(name, item)| Some((name, self.template(&item)?))).collect()
    }

    fn template(&self, item: &Item<'_>) -> Option<Template> {
        // Nothing behind a name is an empty text, as upstream has it.
        let text = if item.node().kind == yaml::Kind::Null { String::new() } else { item.string()? };
        match Template::parse(&text, &VARIABLES) {
            Ok(template) => Some(template),
            Err(mistakes) => {
                for mistake in mistakes {
                    let at = (mistake.line, mistake.column);
                    let _: Option<()> = self.mistake_inside(item, &text, at, mistake.message);
                }
                None
            }
        }
    }

    /// Reports a mistake at a line and column of a text, counted from 1, at its place in the file. Where the
    /// file writes the text in another way (escapes, folded lines), the place is that of the text, and the
    /// message tells the rest.
    fn mistake_inside<T>(
        &self,
        item: &Item<'_>,
        text: &str,
        (line, column): (usize, usize),
        message: String,
    ) -> Option<T> {
        let node = item.node();
        let of_text = text.lines().nth(line.saturating_sub(1)).filter(|l| line > 0 && !l.trim().is_empty());
        let of_file = self.lines.get(node.line + line.saturating_sub(1) - 1);
        let found = of_text.zip(of_file).and_then(|(inner, outer)| {
            let start = outer.find(inner.trim_end())?;
            Some(outer.get(..start)?.chars().count())
        });
        let (line, column, message) = match found {
            Some(before) => (node.line + line - 1, before + column, message),
            None if line > 0 => (node.line, node.column, format!("{line}:{column} of the text: {message}")),
            None => (node.line, node.column, message),
        };
        let key_path = item.path().to_owned();
        item.report().add(yaml::Mistake { line, column, key_path, message, suggestion: None });
        None
    }
}

/// Returns what names a rule's definition.
fn version(name: &str, expression: &str, labels: &Labels, kind: &Kind) -> u32 {
    let mut definition = vec![("name".to_owned(), name.to_owned()), ("expr".to_owned(), expression.to_owned())];
    definition.push(("labels".to_owned(), labels.to_string()));
    if let Kind::Alerting(alerting) = kind {
        definition.push(("for".to_owned(), alerting.hold.as_millis().to_string()));
        definition.push(("keep_firing_for".to_owned(), alerting.keep_firing.as_millis().to_string()));
        let texts = alerting.annotations.iter().map(|(name, t)| (format!("annotation {name}"), t.text().to_owned()));
        definition.extend(texts);
    }
    let hash = Labels::from_pairs(definition).stable_hash();
    u32::try_from(hash >> 32).unwrap_or_default()
}

fn recording(fields: &Fields<'_>, record: &Item<'_>, name: &str) -> Option<Kind> {
    for key in ["for", "keep_firing_for", "annotations"] {
        if let Some(item) = fields.get(key) {
            let _: Option<()> = item.mistake("only alerting rules can have this");
        }
    }
    let _ = checked_map(fields, "labels");
    if !is_metric_name(name) {
        return record.mistake(format!("not a metric name: {name:?}"));
    }
    if name.contains(['{', '}']) {
        return record.mistake("braces in the name of a recording rule; labels go under labels, selectors into expr");
    }
    Some(Kind::Recording)
}

/// Reads a map of texts whose keys are label names; bad names are reported and left out.
fn checked_map<'a>(fields: &Fields<'a>, key: &'static str) -> Vec<(String, Item<'a>)> {
    let Some(map) = fields.get(key) else { return Vec::new() };
    let is_good = |(name, item): &(&str, Item<'a>)| {
        let is_good = is_label_name(name) && *name != LABEL_NAME;
        if !is_good {
            let _: Option<()> = item.mistake(format!("not a label name for a rule: {name:?}"));
        }
        is_good
    };
    map.entries().into_iter().filter(is_good).map(|(name, item)| (name.to_owned(), item)).collect()
}

/// Reads a map of labels as written.
fn labels(fields: &Fields<'_>, key: &'static str) -> Labels {
    let Some(map) = fields.get(key) else { return Labels::empty() };
    let pairs = map.entries().into_iter().filter(|(name, _)| is_label_name(name) && *name != LABEL_NAME);
    Labels::from_pairs(pairs.filter_map(|(name, item)| match &item.node().kind {
        yaml::Kind::Scalar { text, .. } => Some((name.to_owned(), text.clone())),
        yaml::Kind::Null => Some((name.to_owned(), String::new())),
        yaml::Kind::List(_) | yaml::Kind::Map(_) => None,
    }))
}
