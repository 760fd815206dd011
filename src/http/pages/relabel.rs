//! Relabelling step by step: what each rule makes of a label set, and which one drops it.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::layout::Frame;
use super::mistake::{Mistake, underline};
use super::page;
use super::visit::{Visit, encode};
use crate::collect::scrape::target_labels;
use crate::http::AppState;
use crate::model::{LABEL_NAME, Labels, MatchOp, RelabelAction, RelabelRule, relabel_steps};
use crate::query::promql::{Error, parse_selector};

/// Labels read from an address.
const LABELS_BYTES_MAX: usize = 16 * 1024;

/// A choice of rules.
#[derive(Debug)]
struct Choice {
    value: String,
    name: String,
    is_chosen: bool,
}

/// What a rule did.
#[derive(Debug)]
struct Step {
    number: usize,
    rule: String,
    /// What was looked at, if the rule looks at labels' values.
    source: Option<String>,
    /// Whether it dropped the labels.
    is_end: bool,
    /// Whether nothing came of it.
    is_idle: bool,
    /// What came of it, if not changes.
    outcome: &'static str,
    changes: Vec<Change>,
}

/// A label that is not as before.
#[derive(Debug, PartialEq)]
struct Change {
    name: String,
    before: Option<String>,
    after: Option<String>,
}

/// How it ends.
#[derive(Debug, Default)]
struct Outcome {
    steps: Vec<Step>,
    /// Rules that were not reached.
    unreached: usize,
    /// The labels at the end; empty if they were dropped.
    labels: Vec<(String, String)>,
    is_dropped: bool,
    remark: &'static str,
}

#[derive(Debug, Template)]
#[template(path = "pages/relabel.html")]
struct Relabel {
    frame: Frame,
    choices: Vec<Choice>,
    labels: String,
    own: String,
    is_own: bool,
    labels_mistake: Option<Mistake>,
    own_mistake: String,
    /// Whether no labels were given yet.
    is_empty: bool,
    outcome: Option<Outcome>,
}

/// Returns the address that shows what becomes of a label set.
pub(super) fn address(place: &str, labels: &Labels) -> String {
    format!("/targets/relabel?rules={}&labels={}", encode(place), encode(&labels.to_string()))
}

/// Returns the address that tries rules on a label set.
pub(super) fn try_address(labels: &Labels, rules: &str) -> String {
    format!("/targets/relabel?rules=own&labels={}&own={}", encode(&labels.to_string()), encode(rules))
}

/// Answers `GET /targets/relabel`: `labels` as PromQL writes them, `rules` the place of rules in the settings or `own`,
/// `own` rules as the settings have them.
pub(super) async fn relabel(State(state): State<AppState>, visit: Visit) -> Response {
    let frame = Frame::new(&state, &visit, "/targets", "Relabelling", 0);
    let places = state.settings.borrow().relabelling.clone();
    let wanted = visit.params.get("rules").unwrap_or("");
    let own = visit.params.get("own").unwrap_or("").to_owned();
    let place =
        places.iter().find(|p| p.place == wanted).or(places.first().filter(|_| wanted.is_empty() && own.is_empty()));
    let labels = visit.params.get("labels").unwrap_or("").to_owned();
    let rules = match place {
        Some(place) => Ok(place.rules.clone()),
        None if own.is_empty() => Ok(Vec::new()),
        None => (state.info.read_rules)(&own),
    };
    let read = if labels.is_empty() { Ok(None) } else { read_labels(&labels).map(Some) };
    let outcome = match (&read, &rules) {
        (Ok(Some(labels)), Ok(rules)) => Some(outcome(labels, rules, place.is_some_and(|p| p.is_of_targets))),
        _ => None,
    };
    let choices = places.iter().map(|p| Choice {
        value: p.place.clone(),
        name: match p.rules.len() {
            1 => format!("{} (1 rule)", p.place),
            n => format!("{} ({n} rules)", p.place),
        },
        is_chosen: place.is_some_and(|chosen| chosen.place == p.place),
    });
    page(&Relabel {
        choices: choices.collect(),
        is_own: place.is_none(),
        labels_mistake: read.as_ref().err().map(|(line, column, message)| underline(&labels, *line, *column, message)),
        own_mistake: rules.err().unwrap_or_default(),
        is_empty: matches!(read, Ok(None)),
        outcome,
        labels,
        own,
        frame,
    })
}

/// Reads labels as PromQL writes them; a mistake with line and column.
fn read_labels(text: &str) -> Result<Labels, (usize, usize, String)> {
    if text.len() > LABELS_BYTES_MAX {
        return Err((0, 0, format!("more than {LABELS_BYTES_MAX} bytes")));
    }
    let matchers = parse_selector(text).map_err(|error| match error {
        Error::Parse { line, column, message } => (line, column, message),
        other => (0, 0, other.to_string()),
    })?;
    match matchers.iter().find(|m| m.op() != MatchOp::Equal) {
        Some(odd) => {
            Err((0, 0, format!("{}{}{:?}: a label has one value: write =", odd.name(), odd.op().as_str(), odd.value())))
        }
        None => Ok(Labels::from_pairs(matchers.iter().map(|m| (m.name(), m.value())))),
    }
}

fn outcome(labels: &Labels, rules: &[RelabelRule], is_of_targets: bool) -> Outcome {
    let mut before = labels.clone();
    let mut steps = Vec::new();
    let mut is_dropped = false;
    for (rule, done) in rules.iter().zip(relabel_steps(labels, rules)) {
        let changes = done.labels.as_ref().map(|after| changes(&before, after)).unwrap_or_default();
        let outcome = match (&done.labels, done.is_match) {
            (None, _) => "Drops it",
            (Some(_), _) if !changes.is_empty() => "",
            (Some(_), true) if matches!(rule.action, RelabelAction::Keep) => "Keeps it",
            (Some(_), true) => "Matches, changes nothing",
            (Some(_), false) => "Does not match",
        };
        let source = (!rule.source_labels.is_empty()).then_some(done.source);
        let (is_end, is_idle) = (done.labels.is_none(), done.labels.is_some() && changes.is_empty());
        steps.push(Step { number: steps.len() + 1, rule: rule.to_string(), source, is_end, is_idle, outcome, changes });
        match done.labels {
            Some(after) => before = after,
            None => is_dropped = true,
        }
    }
    let (is_lost, remark) = if is_dropped {
        (true, "")
    } else if is_of_targets {
        (
            before.get("__address__").is_none(),
            "Labels that begin with __ say how it is scraped and are taken off; instance is the address unless a rule set it.",
        )
    } else {
        (before.get(LABEL_NAME).is_none(), "")
    };
    let end = if is_of_targets { target_labels(&before) } else { before };
    Outcome {
        unreached: rules.len() - steps.len(),
        steps,
        labels: if is_dropped || is_lost { Vec::new() } else { pairs(&end) },
        is_dropped: is_dropped || is_lost,
        remark: match (is_dropped, is_lost, is_of_targets) {
            (false, true, true) => "No rule drops it, but without __address__ there is nothing to scrape.",
            (false, true, false) => "No rule drops it, but without a name it is no metric.",
            _ => remark,
        },
    }
}

fn pairs(labels: &Labels) -> Vec<(String, String)> {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Returns what differs, by name.
fn changes(before: &Labels, after: &Labels) -> Vec<Change> {
    let mut names: Vec<&str> = before.iter().chain(after.iter()).map(|(name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    let change = |name: &str| Change {
        name: name.to_owned(),
        before: before.get(name).map(str::to_owned),
        after: after.get(name).map(str::to_owned),
    };
    names.into_iter().map(change).filter(|change| change.before != change.after).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AnchoredRegex;

    fn rule(action: RelabelAction, source: &str, regex: &str, target: &str, replacement: &str) -> RelabelRule {
        RelabelRule {
            source_labels: if source.is_empty() { Vec::new() } else { vec![source.to_owned()] },
            separator: ";".to_owned(),
            regex: AnchoredRegex::new(regex).unwrap(),
            modulus: 0,
            target_label: target.to_owned(),
            replacement: replacement.to_owned(),
            action,
        }
    }

    #[test]
    fn each_step_says_what_it_changed_until_one_drops() {
        let labels = read_labels("up{a=\"1\", b=\"2\"}").unwrap();
        let rules = [
            rule(RelabelAction::Replace, "a", "(.*)", "c", "$1"),
            rule(RelabelAction::LabelDrop, "", "b", "", ""),
            rule(RelabelAction::Keep, "a", "1", "", ""),
            rule(RelabelAction::Drop, "c", "1", "", ""),
            rule(RelabelAction::Drop, "c", "2", "", ""),
        ];
        let found = outcome(&labels, &rules, false);
        let told: Vec<(&str, usize)> = found.steps.iter().map(|s| (s.outcome, s.changes.len())).collect();
        assert_eq!(told, [("", 1), ("", 1), ("Keeps it", 0), ("Drops it", 0)]);
        assert_eq!(
            found.steps[0].changes,
            [Change { name: "c".to_owned(), before: None, after: Some("1".to_owned()) }]
        );
        assert_eq!(found.steps[1].changes[0].before.as_deref(), Some("2"));
        assert_eq!((found.unreached, found.is_dropped, found.labels.len()), (1, true, 0));
    }

    #[test]
    fn a_target_loses_what_only_says_how_it_is_scraped() {
        let labels = read_labels("{__address__=\"h:1\", __scheme__=\"http\", job=\"a\"}").unwrap();
        let found = outcome(&labels, &[], true);
        let pair = |n: &str, v: &str| (n.to_owned(), v.to_owned());
        assert_eq!(found.labels, [pair("instance", "h:1"), pair("job", "a")]);
        let found = outcome(&labels, &[rule(RelabelAction::LabelDrop, "", "__address__", "", "")], true);
        assert!(found.is_dropped && found.remark.contains("nothing to scrape"));
    }

    #[test]
    fn labels_are_written_with_an_equals_sign() {
        assert!(read_labels("up{a=~\"b\"}").unwrap_err().2.contains("one value"));
        assert_eq!(read_labels("up{a=").unwrap_err().0, 1);
    }
}
