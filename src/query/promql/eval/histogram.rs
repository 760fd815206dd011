//! `histogram_quantile`, `histogram_quantiles`, `histogram_fraction` over classic buckets.

use foldhash::{HashMap, HashMapExt};

use super::{Evaluation, duplicate};
use crate::model::Labels;
use crate::query::limits::Pace;
use crate::query::promql::columns::{Columns, Grid, Rows, is_present};
use crate::query::promql::functions::histogram::{Bucket, Repair, fraction, quantile};
use crate::query::promql::tree::{OfBuckets, Vector};
use crate::query::promql::{Result, format_value};

/// The label with a bucket's upper bound.
const BOUND: &str = "le";

/// A histogram: its labels without name and bound, and its buckets' bounds and rows, rising by bound.
type Histogram = (Labels, Vec<(f64, usize)>);

impl<'a> Evaluation<'a> {
    /// Returns what is worked out of the buckets of each histogram.
    pub(super) fn histogram(&self, input: &Vector, what: &OfBuckets, place: usize, grid: &Grid) -> Result<Columns<'a>> {
        let input = self.vector(input, grid)?;
        let histograms = self.histograms(&input, place);
        let mut rows = Rows::new(grid.count, self.budget);
        match what {
            OfBuckets::Quantile(q, q_place) => {
                let q = self.scalar(q, grid)?;
                q.iter().for_each(|q| self.remark_on_quantile(*q, *q_place));
                for (labels, buckets) in &histograms {
                    self.deadline.check()?;
                    self.fill(&input, buckets, labels.clone(), &mut rows, |step, b| self.quantile(q[step], b, place))?;
                }
            }
            OfBuckets::Quantiles(label, qs) => {
                for (q, q_place) in qs {
                    let q = self.scalar(q, grid)?;
                    q.iter().for_each(|q| self.remark_on_quantile(*q, *q_place));
                    let mut distinct = q.to_vec();
                    distinct.sort_unstable_by(f64::total_cmp);
                    distinct.dedup_by_key(|q| q.to_bits());
                    for (labels, buckets) in &histograms {
                        self.deadline.check()?;
                        for value in &distinct {
                            let mut named = labels.builder();
                            named.set(label, &format_bound(*value));
                            self.fill(&input, buckets, named.build(), &mut rows, |step, b| {
                                if q[step].to_bits() == value.to_bits() {
                                    self.quantile(*value, b, place)
                                } else {
                                    super::ABSENT
                                }
                            })?;
                        }
                    }
                }
            }
            OfBuckets::Fraction(lower, upper) => {
                let (lower, upper) = (self.scalar(lower, grid)?, self.scalar(upper, grid)?);
                for (labels, buckets) in &histograms {
                    self.deadline.check()?;
                    self.fill(&input, buckets, labels.clone(), &mut rows, |step, b| {
                        fraction(lower[step], upper[step], b)
                    })?;
                }
            }
        }
        Ok(rows.columns)
    }

    fn quantile(&self, q: f64, buckets: &mut Vec<Bucket>, place: usize) -> f64 {
        let (value, repair) = quantile(q, buckets);
        if repair == Repair::ForcedMonotonic {
            let remark = "input to histogram_quantile needed to be fixed for monotonicity (see \
                 https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)";
            self.remarks.inform(place, remark);
        }
        value
    }

    /// Sets the result at each step where the histogram has a bucket.
    fn fill(
        &self,
        input: &Columns<'_>,
        bounds: &[(f64, usize)],
        labels: Labels,
        rows: &mut Rows<'_>,
        mut result: impl FnMut(usize, &mut Vec<Bucket>) -> f64,
    ) -> Result<()> {
        let row = rows.row(labels)?;
        let mut pace = Pace::new(self.deadline);
        let mut buckets = Vec::with_capacity(bounds.len());
        for step in 0..input.width() {
            buckets.clear();
            pace.work(bounds.len())?;
            for (bound, row) in bounds {
                let count = input.cell(*row, step);
                if is_present(count) {
                    buckets.push(Bucket { bound: *bound, count });
                }
            }
            if !buckets.is_empty() {
                let value = result(step, &mut buckets);
                let cell = &mut rows.columns.row_mut(row)[step];
                if is_present(value) && is_present(*cell) {
                    return Err(duplicate());
                }
                if is_present(value) {
                    *cell = value;
                }
            }
        }
        Ok(())
    }

    /// Sorts series into histograms; those without a legal bound are remarked on and left out.
    fn histograms(&self, input: &Columns<'_>, place: usize) -> Vec<Histogram> {
        let mut found: Vec<Histogram> = Vec::new();
        let mut index: HashMap<Labels, usize> = HashMap::new();
        for row in 0..input.len() {
            let labels = input.labels(row);
            let text = labels.get(BOUND).unwrap_or("");
            let Some(bound) = parse_bound(text) else {
                let remark = "bucket label \"le\" is missing or has a malformed value of";
                let of_metric = match labels.metric_name() {
                    "" => String::new(),
                    name => format!(" for metric name {name:?}"),
                };
                self.remarks.warn(place, format_args!("{remark} {text:?}{of_metric}"));
                continue;
            };
            let key = labels.without_name().drop(&[BOUND]);
            let at = *index.entry(key).or_insert_with_key(|key| {
                found.push((key.clone(), Vec::new()));
                found.len() - 1
            });
            found[at].1.push((bound, row));
        }
        for (_, buckets) in &mut found {
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        found
    }
}

/// Writes a number as OpenMetrics writes bounds and quantiles: `1.0`, `0.5`, `+Inf`.
fn format_bound(value: f64) -> String {
    let text = format_value(value);
    if value.is_finite() && !text.contains('.') { format!("{text}.0") } else { text }
}

/// Reads a bound as Go reads a float; NaN is none.
fn parse_bound(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|b| !b.is_nan())
}
