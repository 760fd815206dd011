//! Remarks of an evaluation that do not stop it, with the place in the query that they are about.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Upper bound of remarks told of each kind: they are for people. As upstream's API.
const REMARKS_MAX: usize = 10;

/// Upper bound of remarks that are told apart, to say how many more there are.
const KEPT_MAX: usize = 1000;

/// Remarks, each once a place.
type Kept = Mutex<BTreeSet<(String, usize)>>;

/// Collects remarks.
#[derive(Debug, Default)]
pub(super) struct Remarks {
    warnings: Kept,
    infos: Kept,
}

impl Remarks {
    /// Says that the answer may be wrong, because of what stands at this byte of the query.
    pub(super) fn warn(&self, place: usize, text: impl std::fmt::Display) {
        add(&self.warnings, format!("PromQL warning: {text}"), place);
    }

    /// Says that the question may be odd, because of what stands at this byte of the query.
    pub(super) fn inform(&self, place: usize, text: impl std::fmt::Display) {
        add(&self.infos, format!("PromQL info: {text}"), place);
    }

    /// Returns warnings and infos, sorted, with line and column in the query.
    pub(super) fn into_parts(self, query: &str) -> (Vec<String>, Vec<String>) {
        let kept = |kept: Kept| kept.into_inner().unwrap_or_else(PoisonError::into_inner);
        (told(kept(self.warnings), query, "warning"), told(kept(self.infos), query, "info"))
    }
}

fn add(to: &Kept, text: String, place: usize) {
    let mut to = to.lock().unwrap_or_else(PoisonError::into_inner);
    if to.len() < KEPT_MAX {
        to.insert((text, place));
    }
}

fn told(kept: BTreeSet<(String, usize)>, query: &str, kind: &str) -> Vec<String> {
    let more = kept.len().saturating_sub(REMARKS_MAX);
    let with_place = |(text, place): (String, usize)| format!("{text} ({})", line_and_column(query, place));
    let mut told: Vec<String> = kept.into_iter().take(REMARKS_MAX).map(with_place).collect();
    if more > 0 {
        told.push(format!("{more} more {kind} annotations omitted"));
    }
    told
}

/// Returns `line:column` from 1; the column counts bytes, as upstream's does.
fn line_and_column(query: &str, place: usize) -> String {
    let before = query.get(..place).unwrap_or(query);
    let line = before.matches('\n').count() + 1;
    let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1) + 1;
    format!("{line}:{column}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remarks_carry_their_place() {
        let remarks = Remarks::default();
        let query = "sum(\n  rate(x[5m]))";
        for _ in 0..2 {
            remarks.inform(query.find("x[").unwrap(), "odd");
        }
        remarks.warn(0, "wrong");
        let (warnings, infos) = remarks.into_parts(query);
        assert_eq!(warnings, ["PromQL warning: wrong (1:1)"]);
        assert_eq!(infos, ["PromQL info: odd (2:8)"]);
    }

    #[test]
    fn ten_are_told_and_the_others_counted() {
        let remarks = Remarks::default();
        (0..12).for_each(|i| remarks.warn(0, i));
        let (warnings, _) = remarks.into_parts("");
        assert_eq!((warnings.len(), warnings.last().unwrap().as_str()), (11, "2 more warning annotations omitted"));
    }
}
