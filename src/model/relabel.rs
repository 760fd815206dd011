//! Relabelling: rules that change or drop labels, as a pure function over label sets.
//!
//! Source: Prometheus 3, `model/relabel`.

use super::md5::md5;
use super::{AnchoredRegex, Labels, LabelsBuilder};

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RelabelAction {
    /// Write the expanded replacement to the target label if the source matches.
    Replace,
    /// Drop what does not match.
    Keep,
    /// Drop what matches.
    Drop,
    /// Keep only where source and target label are equal.
    KeepEqual,
    /// Drop where source and target label are equal.
    DropEqual,
    /// Write a hash of the source, modulo, to the target label.
    HashMod,
    /// Copy labels whose names match to the expanded replacement.
    LabelMap,
    /// Remove labels whose names match.
    LabelDrop,
    /// Remove labels whose names do not match.
    LabelKeep,
    /// Write the source in lower case.
    Lowercase,
    /// Write the source in upper case.
    Uppercase,
}

impl RelabelAction {
    /// All actions.
    pub const ALL: [RelabelAction; 11] = [
        RelabelAction::Replace,
        RelabelAction::Keep,
        RelabelAction::Drop,
        RelabelAction::KeepEqual,
        RelabelAction::DropEqual,
        RelabelAction::HashMod,
        RelabelAction::LabelMap,
        RelabelAction::LabelDrop,
        RelabelAction::LabelKeep,
        RelabelAction::Lowercase,
        RelabelAction::Uppercase,
    ];

    /// Returns its name in settings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            RelabelAction::Replace => "replace",
            RelabelAction::Keep => "keep",
            RelabelAction::Drop => "drop",
            RelabelAction::KeepEqual => "keepequal",
            RelabelAction::DropEqual => "dropequal",
            RelabelAction::HashMod => "hashmod",
            RelabelAction::LabelMap => "labelmap",
            RelabelAction::LabelDrop => "labeldrop",
            RelabelAction::LabelKeep => "labelkeep",
            RelabelAction::Lowercase => "lowercase",
            RelabelAction::Uppercase => "uppercase",
        }
    }
}

/// One relabelling rule, with all defaults applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelabelRule {
    /// Labels whose values are joined.
    pub source_labels: Vec<String>,
    /// What stands between them; `;` by default.
    pub separator: String,
    /// What the joined source must match; `(.*)` by default.
    pub regex: AnchoredRegex,
    /// For [`RelabelAction::HashMod`]; at least 1.
    pub modulus: u64,
    /// Label to write; may hold group references.
    pub target_label: String,
    /// What to write; `$1` by default. `$1`, `${1}`, `$name`, `${name}` are groups of `regex`, `$$` is `$`.
    pub replacement: String,
    /// What to do.
    pub action: RelabelAction,
}

/// Applies rules in order; `None` if one drops the set.
#[must_use]
pub fn relabel(labels: &Labels, rules: &[RelabelRule]) -> Option<Labels> {
    if rules.is_empty() {
        return Some(labels.clone());
    }
    let mut builder = labels.builder();
    rules.iter().all(|rule| apply(rule, &mut builder)).then(|| builder.build())
}

/// What one rule did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelabelStep {
    /// The values of the source labels, joined; empty if there are none.
    pub source: String,
    /// Whether the regular expression matches that.
    pub is_match: bool,
    /// The labels after the rule; `None` if it dropped them, and then it is the last step.
    pub labels: Option<Labels>,
}

/// Applies rules in order and tells what each did, up to the one that drops the set.
#[must_use]
pub fn relabel_steps(labels: &Labels, rules: &[RelabelRule]) -> Vec<RelabelStep> {
    let mut builder = labels.builder();
    let mut steps = Vec::new();
    for rule in rules {
        let source = source_of(rule, &builder);
        let is_match = rule.regex.is_match(&source);
        let is_kept = apply(rule, &mut builder);
        steps.push(RelabelStep { source, is_match, labels: is_kept.then(|| builder.clone().build()) });
        if !is_kept {
            break;
        }
    }
    steps
}

impl std::fmt::Display for RelabelRule {
    /// Writes the rule as settings have it, without what is as always.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.source_labels.is_empty() {
            writeln!(f, "source_labels: [{}]", self.source_labels.join(", "))?;
        }
        if self.separator != ";" {
            writeln!(f, "separator: {:?}", self.separator)?;
        }
        if self.regex.pattern() != "(.*)" {
            writeln!(f, "regex: {}", self.regex.pattern())?;
        }
        if self.modulus > 0 {
            writeln!(f, "modulus: {}", self.modulus)?;
        }
        if !self.target_label.is_empty() {
            writeln!(f, "target_label: {}", self.target_label)?;
        }
        if matches!(self.action, RelabelAction::Replace | RelabelAction::LabelMap) && self.replacement != "$1" {
            writeln!(f, "replacement: {:?}", self.replacement)?;
        }
        write!(f, "action: {}", self.action.as_str())
    }
}

/// Applies one rule; `false` if it drops the set.
fn apply(rule: &RelabelRule, labels: &mut LabelsBuilder) -> bool {
    let source = source_of(rule, labels);
    match rule.action {
        RelabelAction::Keep => return rule.regex.is_match(&source),
        RelabelAction::Drop => return !rule.regex.is_match(&source),
        RelabelAction::KeepEqual => return labels.get(&rule.target_label).unwrap_or("") == source,
        RelabelAction::DropEqual => return labels.get(&rule.target_label).unwrap_or("") != source,
        RelabelAction::Replace => replace(rule, &source, labels),
        RelabelAction::Lowercase => {
            labels.set(&rule.target_label, &source.to_lowercase());
        }
        RelabelAction::Uppercase => {
            labels.set(&rule.target_label, &source.to_uppercase());
        }
        RelabelAction::HashMod => {
            // The last eight bytes of the digest, as Prometheus has always taken.
            let hash = md5(source.as_bytes()).iter().skip(8).fold(0_u64, |hash, byte| (hash << 8) | u64::from(*byte));
            labels.set(&rule.target_label, &(hash % rule.modulus.max(1)).to_string());
        }
        RelabelAction::LabelMap => {
            let copies: Vec<(String, String)> = labels
                .iter()
                .filter_map(|(name, value)| Some((expand(rule, name, &rule.replacement)?, value.to_owned())))
                .collect();
            for (name, value) in copies.iter().filter(|(name, _)| !name.is_empty()) {
                labels.set(name, value);
            }
        }
        RelabelAction::LabelDrop => remove(labels, |name| rule.regex.is_match(name)),
        RelabelAction::LabelKeep => remove(labels, |name| !rule.regex.is_match(name)),
    }
    true
}

fn source_of(rule: &RelabelRule, labels: &LabelsBuilder) -> String {
    let mut source = String::new();
    for (i, name) in rule.source_labels.iter().enumerate() {
        if i > 0 {
            source.push_str(&rule.separator);
        }
        source.push_str(labels.get(name).unwrap_or(""));
    }
    source
}

fn replace(rule: &RelabelRule, source: &str, labels: &mut LabelsBuilder) {
    let Some(target) = expand(rule, source, &rule.target_label).filter(|target| !target.is_empty()) else { return };
    let value = expand(rule, source, &rule.replacement).unwrap_or_default();
    // An empty value removes the label.
    labels.set(&target, &value);
}

/// Returns `template` with the groups of the match filled in; `None` if `text` does not match. What a name
/// after `$` is, and that an unknown one is empty, the expression crate has in common with Go.
fn expand(rule: &RelabelRule, text: &str, template: &str) -> Option<String> {
    let groups = rule.regex.captures(text)?;
    let mut expanded = String::new();
    groups.expand(template, &mut expanded);
    Some(expanded)
}

fn remove(labels: &mut LabelsBuilder, is_removed: impl Fn(&str) -> bool) {
    let names: Vec<String> = labels.iter().map(|(name, _)| name.to_owned()).filter(|name| is_removed(name)).collect();
    for name in names {
        labels.remove(&name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(action: RelabelAction, source: &[&str], regex: &str, target: &str, replacement: &str) -> RelabelRule {
        RelabelRule {
            source_labels: source.iter().map(|s| (*s).to_owned()).collect(),
            separator: ";".to_owned(),
            regex: AnchoredRegex::new(regex).unwrap(),
            modulus: 1000,
            target_label: target.to_owned(),
            replacement: replacement.to_owned(),
            action,
        }
    }

    /// Applies rules to `{a="foo", b="bar", c="baz"}`; an empty expectation means dropped.
    #[track_caller]
    fn check(rules: &[RelabelRule], expected: &[(&str, &str)]) {
        let labels = Labels::from_pairs([("a", "foo"), ("b", "bar"), ("c", "baz")]);
        let got = relabel(&labels, rules);
        let expected = (!expected.is_empty()).then(|| Labels::from_pairs(expected.iter().copied()));
        assert_eq!(got, expected);
    }

    // The cases are those of Prometheus's own relabel_test.go, worked through by hand.
    #[test]
    fn replace_writes_what_matches() {
        use RelabelAction::Replace;
        check(
            &[rule(Replace, &["a"], "f(.*)", "d", "ch${1}-ch${1}")],
            &[("a", "foo"), ("b", "bar"), ("c", "baz"), ("d", "choo-choo")],
        );
        check(
            &[
                rule(Replace, &["a", "b"], "f(.*);(.*)r", "a", "b${1}${2}m"),
                rule(Replace, &["c", "a"], "(b).*b(.*)ba(.*)", "d", "$1$2$2$3"),
            ],
            &[("a", "boobam"), ("b", "bar"), ("c", "baz"), ("d", "boooom")],
        );
        check(&[rule(Replace, &["a"], "x", "d", "$1")], &[("a", "foo"), ("b", "bar"), ("c", "baz")]);
        check(&[rule(Replace, &["a"], ".*", "b", "")], &[("a", "foo"), ("c", "baz")]);
        check(
            &[rule(Replace, &["a"], "(f).*", "${1}_x", "$$1")],
            &[("a", "foo"), ("b", "bar"), ("c", "baz"), ("f_x", "$1")],
        );
        check(&[rule(Replace, &["a"], "(f).*", "$2", "x")], &[("a", "foo"), ("b", "bar"), ("c", "baz")]);
        check(&[rule(Replace, &[], "(.*)", "d", "fixed")], &[("a", "foo"), ("b", "bar"), ("c", "baz"), ("d", "fixed")]);
        check(&[rule(Replace, &["a"], "(.*)", "d", "$1x")], &[("a", "foo"), ("b", "bar"), ("c", "baz")]);
    }

    #[test]
    fn keep_and_drop_decide() {
        use RelabelAction::{Drop, DropEqual, Keep, KeepEqual};
        let all = [("a", "foo"), ("b", "bar"), ("c", "baz")];
        check(&[rule(Drop, &["a"], ".*o.*", "", "")], &[]);
        check(&[rule(Drop, &["a"], "f", "", "")], &all);
        check(&[rule(Keep, &["a"], "no-match", "", "")], &[]);
        check(&[rule(Keep, &["a"], "fo.", "", ""), rule(Keep, &["b"], "bar", "", "")], &all);
        check(&[rule(KeepEqual, &["a"], "(.*)", "b", "")], &[]);
        check(&[rule(DropEqual, &["a"], "(.*)", "b", "")], &all);
        check(&[rule(DropEqual, &["nothing"], "(.*)", "also_nothing", "")], &[]);
    }

    #[test]
    fn names_are_mapped_dropped_and_kept() {
        use RelabelAction::{LabelDrop, LabelKeep, LabelMap};
        check(
            &[rule(LabelMap, &[], "(b|c)", "", "x_${1}")],
            &[("a", "foo"), ("b", "bar"), ("c", "baz"), ("x_b", "bar"), ("x_c", "baz")],
        );
        check(&[rule(LabelDrop, &[], "(a|b)", "", "")], &[("c", "baz")]);
        check(&[rule(LabelKeep, &[], "(a|b)", "", "")], &[("a", "foo"), ("b", "bar")]);
    }

    #[test]
    fn letters_and_shards() {
        use RelabelAction::{HashMod, Lowercase, Uppercase};
        check(&[rule(Uppercase, &["a", "b"], "(.*)", "a", "")], &[("a", "FOO;BAR"), ("b", "bar"), ("c", "baz")]);
        check(
            &[rule(Uppercase, &["a"], "(.*)", "a", ""), rule(Lowercase, &["a"], "(.*)", "b", "")],
            &[("a", "FOO"), ("b", "foo"), ("c", "baz")],
        );
        // From relabel_test.go: md5 of "foo", last eight bytes, modulo 1000.
        check(&[rule(HashMod, &["c"], "(.*)", "d", "")], &[("a", "foo"), ("b", "bar"), ("c", "baz"), ("d", "976")]);
    }
}
