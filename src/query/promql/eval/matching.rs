//! Operations on two vectors: which series match, and what the result is called.

use foldhash::{HashMap, HashMapExt};

use super::{Evaluation, duplicate, filtered};
use crate::model::Labels;
use crate::query::limits::Pace;
use crate::query::promql::columns::{Columns, Rows, is_present};
use crate::query::promql::tree::{Cardinality, Join};
use crate::query::promql::{Error, Result};

/// Series of both sides that agree on the labels that count.
#[derive(Debug, Default)]
struct Match {
    /// Rows of the side that may have many at a step.
    many: Vec<usize>,
    /// Rows of the side that may have one at a step.
    one: Vec<usize>,
}

/// The two sides as roles: `group_right` makes the right side the many.
struct Sides<'s, 'b> {
    many: &'s Columns<'b>,
    one: &'s Columns<'b>,
    is_swapped: bool,
    /// Values for a side that is not there. As upstream has it, `fill_left` stands for the many, also where they are
    /// the right side.
    fill_many: Option<f64>,
    fill_one: Option<f64>,
}

impl<'a> Evaluation<'a> {
    /// Combines the series of two vectors that match.
    pub(super) fn join(&self, join: &Join, left: &Columns<'_>, right: &Columns<'_>) -> Result<Columns<'a>> {
        let is_swapped = matches!(join.cardinality, Cardinality::OneToMany(_));
        let sides = if is_swapped {
            Sides { many: right, one: left, is_swapped, fill_many: join.fill_left, fill_one: join.fill_right }
        } else {
            Sides { many: left, one: right, is_swapped, fill_many: join.fill_left, fill_one: join.fill_right }
        };
        let mut rows = Rows::new(left.width(), self.budget);
        for (key, found) in matches(join, &sides) {
            self.deadline.check()?;
            self.join_match(join, &sides, &key, &found, &mut rows)?;
        }
        Ok(rows.columns)
    }

    /// Combines the series of one match at all steps.
    fn join_match(
        &self,
        join: &Join,
        sides: &Sides<'_, '_>,
        key: &Labels,
        found: &Match,
        rows: &mut Rows<'_>,
    ) -> Result<()> {
        let at = |side: &Columns<'_>, row: usize, step: usize| Some(side.cell(row, step)).filter(|v| is_present(*v));
        // The result's row for a pair of rows; the labels are worked out once.
        let mut row_of: HashMap<(Option<usize>, Option<usize>), usize> = HashMap::new();
        let mut pace = Pace::new(self.deadline);
        for step in 0..sides.many.width() {
            pace.work(found.many.len() + found.one.len())?;
            let mut one = None;
            for &row in &found.one {
                if let Some(value) = at(sides.one, row, step)
                    && let Some((other, _)) = one.replace((Some(row), value))
                {
                    return Err(many_to_many(sides, key, other.map_or(row, |o| o), row));
                }
            }
            let Some((one_row, one_value)) = one.or(sides.fill_one.map(|v| (None, v))) else { continue };
            let mut is_matched = false;
            let many = found.many.iter().filter_map(|row| Some((Some(*row), at(sides.many, *row, step)?)));
            let fill = sides.fill_many.filter(|_| one_row.is_some()).map(|v| (None, v));
            let is_empty = !found.many.iter().any(|row| at(sides.many, *row, step).is_some());
            for (many_row, many_value) in many.chain(fill.filter(|_| is_empty)) {
                let (left, right) = if sides.is_swapped { (one_value, many_value) } else { (many_value, one_value) };
                let is_one_to_one = matches!(join.cardinality, Cardinality::OneToOne);
                // Also where a filter leaves one of them.
                if is_one_to_one && is_matched {
                    return Err(Error::Execution(
                        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
                            .to_owned(),
                    ));
                }
                is_matched = true;
                // A filter keeps the left side's value, also where the right side is the many.
                let value = filtered(join.operator, left, right, join.is_bool, left);
                if !is_present(value) {
                    continue;
                }
                let row = match row_of.get(&(many_row, one_row)) {
                    Some(row) => *row,
                    None => {
                        let labels = result_labels(join, sides, key, many_row, one_row);
                        *row_of.entry((many_row, one_row)).or_insert(rows.row(labels)?)
                    }
                };
                let cell = &mut rows.columns.row_mut(row)[step];
                if is_present(*cell) {
                    return Err(if is_one_to_one { duplicate() } else { not_unique() });
                }
                *cell = value;
            }
        }
        Ok(())
    }
}

fn not_unique() -> Error {
    Error::Execution("multiple matches for labels: grouping labels must ensure unique matches".to_owned())
}

fn many_to_many(sides: &Sides<'_, '_>, key: &Labels, first: usize, second: usize) -> Error {
    let side = if sides.is_swapped { "left" } else { "right" };
    let braced = |labels: &Labels| {
        let pairs: Vec<String> = labels.iter().map(|(n, v)| format!("{n}={v:?}")).collect();
        format!("{{{}}}", pairs.join(", "))
    };
    Error::Execution(format!(
        "found duplicate series for the match group {} on the {side} hand-side of the operation: [{}, {}];\
         many-to-many matching not allowed: matching labels must be unique on one side",
        braced(key),
        braced(sides.one.labels(second)),
        braced(sides.one.labels(first)),
    ))
}

/// Returns the matches in the order of the side of many; those without a side of many last, if they can be filled.
fn matches(join: &Join, sides: &Sides<'_, '_>) -> Vec<(Labels, Match)> {
    let mut found: Vec<(Labels, Match)> = Vec::new();
    let mut index: HashMap<Labels, usize> = HashMap::new();
    for row in 0..sides.many.len() {
        let key = join.matching.key(sides.many.labels(row));
        let at = *index.entry(key).or_insert_with_key(|key| {
            found.push((key.clone(), Match::default()));
            found.len() - 1
        });
        found[at].1.many.push(row);
    }
    for row in 0..sides.one.len() {
        let key = join.matching.key(sides.one.labels(row));
        // Also where nothing matches: two of one side in a match are an error in any case.
        let at = *index.entry(key).or_insert_with_key(|key| {
            found.push((key.clone(), Match::default()));
            found.len() - 1
        });
        found[at].1.one.push(row);
    }
    found
}

/// Returns the labels of a result. A side that is filled in has the labels of the match.
fn result_labels(join: &Join, sides: &Sides<'_, '_>, key: &Labels, many: Option<usize>, one: Option<usize>) -> Labels {
    let of_many = many.map_or_else(|| key.clone(), |row| sides.many.labels(row).clone());
    let drops_name = join.is_bool || !join.operator.is_comparison();
    let labels = if drops_name { of_many.without_name() } else { of_many };
    let included = match &join.cardinality {
        Cardinality::OneToOne if join.matching.is_on => return labels.keep(&join.matching.names),
        Cardinality::OneToOne => return labels.drop(&join.matching.names),
        Cardinality::ManyToOne(included) | Cardinality::OneToMany(included) => included,
    };
    if included.is_empty() {
        return labels;
    }
    let mut builder = labels.builder();
    for name in included {
        let value = one.map_or("", |row| sides.one.labels(row).get(name).unwrap_or(""));
        builder.set(name, value);
    }
    builder.build()
}
