//! Aggregations that choose or collect values: `topk`, `bottomk`, `quantile`, `count_values`, `limitk`, `limit_ratio`.

use foldhash::{HashMap, HashMapExt};
use xxhash_rust::xxh64::xxh64;

use super::Evaluation;
use crate::model::Labels;
use crate::query::limits::Pace;
use crate::query::promql::columns::{Columns, Grid, Numbers, Rows, is_present};
use crate::query::promql::numeric::quantile;
use crate::query::promql::tree::{Grouping, Ranking, Vector};
use crate::query::promql::{Error, Result, format_value};

/// To sort a value or to look up what is the same takes as long as other work on so many.
const COSTLY: usize = 16;

/// The rows of one group.
type Group = (Labels, Vec<usize>);

/// One value and the row it stands in.
type Entry = (f64, usize);

impl<'a> Evaluation<'a> {
    /// Returns what is chosen or collected of each group.
    pub(super) fn rank(
        &self,
        ranking: &Ranking,
        input: &Vector,
        grouping: &Grouping,
        grid: &Grid,
    ) -> Result<Columns<'a>> {
        let input = self.vector(input, grid)?;
        let groups = groups(&input, grouping);
        match ranking {
            Ranking::CountValues(label) => self.count_values(&input, &groups, label),
            Ranking::Quantile(q, place) => {
                let q = self.scalar(q, grid)?;
                q.iter().for_each(|q| self.remark_on_quantile(*q, *place));
                self.quantiles(&input, &groups, &q)
            }
            Ranking::Largest(k) => self.best(&input, &groups, &self.counts(k, grid)?, |a, b| b.total_cmp(a)),
            Ranking::Smallest(k) => self.best(&input, &groups, &self.counts(k, grid)?, f64::total_cmp),
            Ranking::Limit(k) => {
                let counts = self.counts(k, grid)?;
                self.chosen(&input, &groups, |step, entries| entries.truncate(counts[step]))
            }
            Ranking::Ratio(ratio, place) => {
                let ratios = self.ratios(self.scalar(ratio, grid)?, *place)?;
                let places: Vec<f64> = (0..input.len()).map(|row| place_of(input.labels(row))).collect();
                self.chosen(&input, &groups, |step, entries| entries.retain(|e| is_in_ratio(ratios[step], places[e.1])))
            }
        }
    }

    /// Returns the parameter of `topk` and its like as counts; negative ones are 0.
    fn counts(&self, k: &crate::query::promql::tree::Scalar, grid: &Grid) -> Result<Vec<usize>> {
        let count = |k: f64| {
            if k.is_nan() {
                return Err(Error::Execution("Parameter value is NaN".to_owned()));
            }
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, which is meant")]
            let count = k as usize;
            // The same bounds as upstream's 64-bit integer.
            if k >= 9_223_372_036_854_775_807.0 || k <= -9_223_372_036_854_775_809.0 {
                return Err(Error::Execution(format!("Scalar value {} overflows int64", format_value(k))));
            }
            Ok(count)
        };
        self.scalar(k, grid)?.iter().copied().map(count).collect()
    }

    fn ratios(&self, mut ratios: Numbers<'a>, place: usize) -> Result<Numbers<'a>> {
        for ratio in ratios.iter_mut() {
            if ratio.is_nan() {
                return Err(Error::Execution("Ratio value is NaN".to_owned()));
            }
            if !(-1.0..=1.0).contains(ratio) {
                let capped = ratio.clamp(-1.0, 1.0);
                let (got, to) = (format_value(*ratio), format_value(capped));
                let remark = format_args!("ratio value should be between -1 and 1, got {got}, capping to {to}");
                self.remarks.warn(place, remark);
                *ratio = capped;
            }
        }
        Ok(ratios)
    }

    fn count_values(&self, input: &Columns<'_>, groups: &[Group], label: &str) -> Result<Columns<'a>> {
        let mut rows = Rows::new(input.width(), self.budget);
        let mut pace = Pace::new(self.deadline);
        for (labels, members) in groups {
            let mut of_value: HashMap<u64, usize> = HashMap::new();
            for &member in members {
                pace.work(input.width() * COSTLY)?;
                for (step, value) in input.row(member).iter().enumerate().filter(|(_, v)| is_present(**v)) {
                    // All NaN look the same when written.
                    let bits = if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() };
                    let row = match of_value.get(&bits) {
                        Some(row) => *row,
                        None => {
                            let mut labels = labels.builder();
                            labels.set(label, &format_value(*value));
                            *of_value.entry(bits).or_insert(rows.row(labels.build())?)
                        }
                    };
                    let cell = &mut rows.columns.row_mut(row)[step];
                    *cell = if is_present(*cell) { *cell + 1.0 } else { 1.0 };
                }
            }
        }
        Ok(rows.columns)
    }

    fn quantiles(&self, input: &Columns<'_>, groups: &[Group], q: &[f64]) -> Result<Columns<'a>> {
        let mut columns = Columns::new(input.width(), self.budget);
        let mut values = Vec::new();
        let mut pace = Pace::new(self.deadline);
        for (labels, members) in groups {
            let row = columns.push_absent(labels.clone())?;
            for (step, q) in q.iter().enumerate() {
                pace.work(members.len() * COSTLY)?;
                values.clear();
                values.extend(members.iter().map(|m| input.cell(*m, step)).filter(|v| is_present(*v)));
                if !values.is_empty() {
                    columns.row_mut(row)[step] = quantile(*q, &mut values);
                }
            }
        }
        Ok(columns)
    }

    /// Keeps the first of each group in an order; NaN comes last. Ties fall to the row that comes first.
    fn best(
        &self,
        input: &Columns<'_>,
        groups: &[Group],
        counts: &[usize],
        order: impl Fn(&f64, &f64) -> std::cmp::Ordering,
    ) -> Result<Columns<'a>> {
        self.chosen(input, groups, |step, entries| {
            let k = counts[step];
            let by_rank = |a: &Entry, b: &Entry| {
                let nan_last = a.0.is_nan().cmp(&b.0.is_nan());
                let by_value = if a.0 == b.0 { std::cmp::Ordering::Equal } else { order(&a.0, &b.0) };
                nan_last.then(by_value).then(a.1.cmp(&b.1))
            };
            if k == 0 {
                entries.clear();
            } else if k < entries.len() {
                entries.select_nth_unstable_by(k - 1, by_rank);
                entries.truncate(k);
            }
            entries.sort_unstable_by(by_rank);
        })
    }

    /// Keeps the entries that `choose` leaves of each group at each step. For an instant query rows come in the
    /// order of the entries.
    fn chosen(
        &self,
        input: &Columns<'_>,
        groups: &[Group],
        mut choose: impl FnMut(usize, &mut Vec<Entry>),
    ) -> Result<Columns<'a>> {
        let mut columns = Columns::new(input.width(), self.budget);
        let mut entries = Vec::new();
        let mut row_of: HashMap<usize, usize> = HashMap::new();
        let mut pace = Pace::new(self.deadline);
        for (_, members) in groups {
            for step in 0..input.width() {
                pace.work(members.len() * COSTLY)?;
                entries.clear();
                entries.extend(members.iter().map(|m| (input.cell(*m, step), *m)).filter(|e| is_present(e.0)));
                choose(step, &mut entries);
                for (value, member) in &entries {
                    let row = match row_of.get(member) {
                        Some(row) => *row,
                        None => {
                            let row = columns.push_absent(input.labels(*member).clone())?;
                            row_of.insert(*member, row);
                            row
                        }
                    };
                    columns.row_mut(row)[step] = *value;
                }
            }
        }
        Ok(columns)
    }
}

/// Returns the groups in the order in which they are first seen.
fn groups(input: &Columns<'_>, grouping: &Grouping) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut index: HashMap<Labels, usize> = HashMap::new();
    for row in 0..input.len() {
        let key = grouping.key(input.labels(row));
        let group = *index.entry(key).or_insert_with_key(|key| {
            groups.push((key.clone(), Vec::new()));
            groups.len() - 1
        });
        groups[group].1.push(row);
    }
    groups
}

/// Returns where a series stands between 0 and 1, by its labels alone, so that `limit_ratio` keeps the same ones each
/// time and everywhere: also those that upstream keeps, whose hash is xxHash64 of names and values, each behind its
/// length: a byte, or 255 and three bytes, lowest first.
///
/// Source: Prometheus 3, `Labels.Hash` of the usual build (`labels_stringlabels.go`).
#[expect(clippy::cast_precision_loss, reason = "a fraction of the whole range is meant")]
fn place_of(labels: &Labels) -> f64 {
    let mut bytes = Vec::new();
    for text in labels.iter().flat_map(|(name, value)| [name, value]) {
        match u8::try_from(text.len()) {
            Ok(length) if length < u8::MAX => bytes.push(length),
            _ => {
                let [low, middle, high, ..] = text.len().to_le_bytes();
                bytes.extend([255, low, middle, high]);
            }
        }
        bytes.extend_from_slice(text.as_bytes());
    }
    xxh64(&bytes, 0) as f64 / u64::MAX as f64
}

/// Tells whether a place is among the first `ratio`, or for a negative one among those that 1 + `ratio` leaves out.
fn is_in_ratio(ratio: f64, place: f64) -> bool {
    (ratio >= 0.0 && place < ratio) || (ratio < 0.0 && place >= 1.0 + ratio)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values are worked out by the definition of xxHash64.
    #[test]
    fn a_series_stands_where_upstream_has_it() {
        let place = |value: &str| place_of(&Labels::from_pairs([("__name__", "a"), ("long", value)]));
        assert!((place("") - 0.657_401_388_358_763_8).abs() < 1e-15);
        let long = Labels::from_pairs([("__name__", "long".to_owned()), ("x", "y".repeat(300))]);
        assert!((place_of(&long) - 0.505_849_174_029_749_5).abs() < 1e-15);
    }

    #[test]
    fn a_ratio_and_its_complement_share_nothing_and_leave_nothing() {
        for place in [0.0, 0.25, 0.5, 0.99] {
            assert_ne!(is_in_ratio(0.25, place), is_in_ratio(-0.75, place), "{place}");
        }
    }
}
