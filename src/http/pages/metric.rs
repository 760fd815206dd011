//! One metric more closely: which label makes its series many, who wants it, and settings that drop it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::ask::Asker;
use super::cardinality::{Asked, Wishes, bar, count, questions};
use super::chart::Svg;
use super::relabel::try_address;
use crate::collect::drop_rule;
use crate::model::{LABEL_NAME, Labels, Matcher};

/// How far back series are looked at: the head's reach.
const LOOK_BACK: Duration = Duration::from_secs(3 * 3600);
/// Values shown of a label.
const EXAMPLES: usize = 3;
/// Longest example.
const EXAMPLE_CHARS_MAX: usize = 40;
/// A label with so many values, a different one in at least every other series, is to blame.
const CULPRIT_VALUES_MIN: usize = 20;

/// A label of a metric.
#[derive(Debug)]
pub(super) struct LabelRow {
    pub(super) name: String,
    pub(super) values: String,
    pub(super) examples: String,
    pub(super) bar: Svg,
    /// Whether it is what makes the series many.
    pub(super) is_culprit: bool,
}

/// One metric.
#[derive(Debug)]
pub(super) struct Detail {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) help: String,
    pub(super) series: String,
    pub(super) asked: Asked,
    pub(super) labels: Vec<LabelRow>,
    /// The same metric on the page for questions, and its number of series there.
    pub(super) explore: String,
    pub(super) growth: String,
    /// Settings that drop it, and where they belong.
    pub(super) rule: String,
    pub(super) place: String,
    /// The rule tried on one of its series.
    pub(super) tried: String,
}

/// Looks at a metric.
pub(super) fn detail(asker: &Asker, name: &str, about: (&str, &str), wishes: &Wishes) -> Detail {
    let (from, to) = (asker.now - LOOK_BACK, asker.now + Duration::from_secs(60));
    let matchers = [Matcher::equal(LABEL_NAME, name)];
    let series = asker.state.db.querier().series(&matchers, from, to).unwrap_or_default();
    let (explore, growth) = questions(name, about.0);
    let rule = drop_rule(std::iter::once(name));
    Detail {
        name: name.to_owned(),
        kind: about.0.to_owned(),
        help: about.1.to_owned(),
        series: count(series.len() as u64),
        asked: wishes.for_metric(name),
        labels: labels(&series),
        explore,
        growth,
        place: place(asker, &series),
        tried: series.first().map_or_else(String::new, |labels| try_address(labels, &rule)),
        rule,
    }
}

/// Returns the labels, those with the most values first.
fn labels(series: &[Labels]) -> Vec<LabelRow> {
    let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, value) in series.iter().flat_map(|labels| labels.iter()).filter(|(name, _)| *name != LABEL_NAME) {
        values.entry(name).or_default().insert(value);
    }
    let mut found: Vec<(&str, BTreeSet<&str>)> = values.into_iter().collect();
    found.sort_by_key(|(_, values)| std::cmp::Reverse(values.len()));
    let most = found.first().map_or(0, |(_, values)| values.len());
    let rows = found.iter().enumerate().map(|(i, (name, values))| LabelRow {
        name: (*name).to_owned(),
        values: count(values.len() as u64),
        examples: values.iter().take(EXAMPLES).map(|v| short(v)).collect::<Vec<_>>().join(", "),
        bar: bar(name, values.len() as u64, most as u64),
        is_culprit: i == 0 && values.len() >= CULPRIT_VALUES_MIN && values.len() * 2 >= series.len(),
    });
    rows.collect()
}

fn short(value: &str) -> String {
    let mut text: String = value.chars().take(EXAMPLE_CHARS_MAX).collect();
    if text.len() < value.len() {
        text.push('…');
    }
    text
}

/// Says where a rule about these series belongs: under the jobs that scrape them, else where they come from.
fn place(asker: &Asker, series: &[Labels]) -> String {
    let jobs: BTreeSet<&str> = series.iter().filter_map(|labels| labels.get("job")).collect();
    let snapshot = asker.state.collector.snapshot();
    let scraped: Vec<&str> = jobs.iter().copied().filter(|job| snapshot.jobs.iter().any(|j| j.name == *job)).collect();
    if !scraped.is_empty() {
        return format!("metric_relabel_configs of the scrape job {}", scraped.join(" and of "));
    }
    let is_read = jobs.iter().any(|job| snapshot.sources.iter().any(|source| source.job == *job));
    let is_of_devices = series.iter().any(|labels| labels.get("device_id").is_some());
    match (is_of_devices, is_read) {
        (true, _) => "telemetry.metric_relabel_configs".to_owned(),
        (false, true) => "no relabelling: what this box reads of itself is chosen under its own section".to_owned(),
        (false, false) => {
            "write_relabel_configs of the program that sends it, or the rule file that records it".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_with_most_values_is_to_blame() {
        let series: Vec<Labels> =
            (0..30).map(|i| Labels::from_pairs([("__name__", "m"), ("id", &format!("{i}")), ("job", "a")])).collect();
        let found = labels(&series);
        let told: Vec<(&str, &str, bool)> =
            found.iter().map(|row| (row.name.as_str(), row.values.as_str(), row.is_culprit)).collect();
        assert_eq!(told, [("id", "30", true), ("job", "1", false)]);
        assert_eq!(found[0].examples, "0, 1, 10");
        assert!(!labels(&series[..4])[0].is_culprit, "few");
    }
}
