//! `info(v, selector)`: adds the data labels of info series, which agree in `instance` and `job`.

use foldhash::{HashMap, HashMapExt};

use super::Evaluation;
use crate::model::{LABEL_NAME, Labels, Matcher};
use crate::query::limits::Pace;
use crate::query::promql::columns::{Columns, Grid, Rows, is_present};
use crate::query::promql::lookback::Cell;
use crate::query::promql::syntax::Extent;
use crate::query::promql::tree::{Info, Selector, Vector};
use crate::query::promql::{Error, Result};

/// The labels that tell which info series belongs to a series.
const IDENTITY: [&str; 2] = ["instance", "job"];

impl<'a> Evaluation<'a> {
    /// Returns the rows with the labels of their info series at each step.
    pub(super) fn info(&self, input: &Vector, info: &Info, grid: &Grid) -> Result<Columns<'a>> {
        let input = self.vector(input, grid)?;
        let found = self.info_series(info, grid)?;
        let mut by_identity: HashMap<Labels, Vec<usize>> = HashMap::new();
        for row in 0..found.len() {
            by_identity.entry(found.labels(row).keep(&IDENTITY)).or_default().push(row);
        }
        let mut rows = Rows::new(grid.count, self.budget);
        let mut pace = Pace::new(self.deadline);
        for (labels, cells) in input.rows() {
            // An info series is not joined with itself.
            let is_info = info.names.iter().all(|m| m.matches(labels.metric_name()));
            let identity = labels.keep(&IDENTITY);
            let joined = if is_info || identity.is_empty() { None } else { by_identity.get(&identity) };
            for (step, value) in cells.iter().enumerate().filter(|(_, v)| is_present(**v)) {
                // Labels are put together for each.
                pace.work(joined.map_or(1, Vec::len) * 256)?;
                let labels = if is_info {
                    Some(labels.clone())
                } else {
                    with_data(labels, joined.map_or(&[], Vec::as_slice), &found, step, info)?
                };
                if let Some(labels) = labels {
                    let row = rows.row(labels)?;
                    rows.columns.row_mut(row)[step] = *value;
                }
            }
        }
        Ok(rows.columns)
    }

    fn info_series(&self, info: &Info, grid: &Grid) -> Result<Columns<'a>> {
        let matchers: Vec<Matcher> = info.names.iter().chain(&info.data).cloned().collect();
        let selector = Selector { matchers, shift: info.shift, extent: Extent::Plain };
        let mut columns = Columns::new(grid.count, self.budget);
        // Their times, because of two with the same identity and name the newer one counts.
        self.select(&selector, Cell::Time, grid, &mut |labels, row| Ok(columns.push(labels, row)?))?;
        Ok(columns)
    }
}

/// Returns the labels with data labels added; `None` if the data matchers demand an info series and there is none.
fn with_data(labels: &Labels, rows: &[usize], found: &Columns<'_>, step: usize, info: &Info) -> Result<Option<Labels>> {
    let mut newest: HashMap<&str, usize> = HashMap::new();
    for &row in rows.iter().filter(|r| is_present(found.cell(**r, step))) {
        let name = found.labels(row).metric_name();
        let best = newest.entry(name).or_insert(row);
        if found.cell(row, step) > found.cell(*best, step) {
            *best = row;
        } else if row != *best && found.cell(row, step) == found.cell(*best, step) {
            let text = format!(
                "found duplicate series for info metric: existing {}, new {}",
                found.labels(*best),
                found.labels(row)
            );
            return Err(Error::Execution(text));
        }
    }
    let mut builder = labels.builder();
    let mut added: HashMap<&str, &str> = HashMap::new();
    for row in newest.values() {
        for (name, value) in found.labels(*row).iter() {
            let is_wanted = info.data.is_empty() || info.data.iter().any(|m| m.name() == name);
            if name == LABEL_NAME || IDENTITY.contains(&name) || !is_wanted || labels.get(name).is_some() {
                continue;
            }
            if added.insert(name, value).is_some_and(|other| other != value) {
                return Err(Error::Execution(format!("conflicting label: {name}")));
            }
            builder.set(name, value);
        }
    }
    let demands = info.data.iter().any(|m| !m.matches_empty());
    Ok(if newest.is_empty() && demands { None } else { Some(builder.build()) })
}
