//! Remarks of an evaluation that do not stop it.

use std::cell::RefCell;
use std::collections::BTreeSet;

/// Upper bound of remarks kept of each kind: they are for people.
const REMARKS_MAX: usize = 10;

/// Collects remarks, each once.
#[derive(Debug, Default)]
pub(super) struct Remarks {
    warnings: RefCell<BTreeSet<String>>,
    infos: RefCell<BTreeSet<String>>,
}

impl Remarks {
    /// Says that the answer may be wrong.
    pub(super) fn warn(&self, text: impl std::fmt::Display) {
        add(&self.warnings, format!("PromQL warning: {text}"));
    }

    /// Says that the question may be odd.
    pub(super) fn inform(&self, text: impl std::fmt::Display) {
        add(&self.infos, format!("PromQL info: {text}"));
    }

    /// Returns warnings and infos, sorted.
    pub(super) fn into_parts(self) -> (Vec<String>, Vec<String>) {
        (self.warnings.into_inner().into_iter().collect(), self.infos.into_inner().into_iter().collect())
    }
}

fn add(to: &RefCell<BTreeSet<String>>, text: String) {
    let mut to = to.borrow_mut();
    if to.len() < REMARKS_MAX {
        to.insert(text);
    }
}
