//! `and`, `or`, `unless`.

use foldhash::{HashMap, HashMapExt};

use super::Evaluation;
use crate::model::Labels;
use crate::query::limits::Pace;
use crate::query::promql::Result;
use crate::query::promql::columns::{ABSENT, Columns, Rows, is_present};
use crate::query::promql::tree::{Matching, SetOperator};

impl<'a> Evaluation<'a> {
    /// Combines two vectors by whether the other one has a series that agrees, at each step.
    pub(super) fn set(
        &self,
        operator: SetOperator,
        left: &Columns<'_>,
        right: &Columns<'_>,
        matching: &Matching,
    ) -> Result<Columns<'a>> {
        match operator {
            SetOperator::And => self.kept(left, &members(right, matching), matching, |is_there| is_there),
            SetOperator::Unless => self.kept(left, &members(right, matching), matching, |is_there| !is_there),
            SetOperator::Or => {
                let mut rows = Rows::new(left.width(), self.budget);
                let mut pace = Pace::new(self.deadline);
                for (labels, cells) in left.rows() {
                    pace.work(cells.len())?;
                    let row = rows.row(labels.clone())?;
                    rows.columns.row_mut(row).copy_from_slice(cells);
                }
                let there = members(left, matching);
                for (labels, cells) in right.rows() {
                    pace.work(cells.len())?;
                    let there = there.get(&matching.key(labels));
                    let row = rows.row(labels.clone())?;
                    for (step, value) in cells.iter().enumerate().filter(|(_, v)| is_present(**v)) {
                        if !there.is_some_and(|t| t[step]) {
                            rows.columns.row_mut(row)[step] = *value;
                        }
                    }
                }
                Ok(rows.columns)
            }
        }
    }

    fn kept(
        &self,
        left: &Columns<'_>,
        there: &HashMap<Labels, Vec<bool>>,
        matching: &Matching,
        keeps: impl Fn(bool) -> bool,
    ) -> Result<Columns<'a>> {
        let mut columns = Columns::new(left.width(), self.budget);
        let mut pace = Pace::new(self.deadline);
        for (labels, cells) in left.rows() {
            pace.work(cells.len())?;
            let there = there.get(&matching.key(labels));
            let row = columns.push_absent(labels.clone())?;
            for (step, (out, value)) in columns.row_mut(row).iter_mut().zip(cells).enumerate() {
                *out = if keeps(there.is_some_and(|t| t[step])) { *value } else { ABSENT };
            }
        }
        Ok(columns)
    }
}

/// Returns for each key at which steps there is a series with it.
fn members(columns: &Columns<'_>, matching: &Matching) -> HashMap<Labels, Vec<bool>> {
    let mut members: HashMap<Labels, Vec<bool>> = HashMap::new();
    for (labels, cells) in columns.rows() {
        let steps = members.entry(matching.key(labels)).or_insert_with(|| vec![false; cells.len()]);
        steps.iter_mut().zip(cells).for_each(|(s, v)| *s |= is_present(*v));
    }
    members
}
