//! Alarms that others carry: while a line, a gateway or a device is down, what lies behind it is told as one.
//!
//! A rule says so with a label: `carries: line_id` mutes all alarms of the same line, `carries: device_id` those of the
//! same device, and `carries: devices` those that say of themselves that a device is gone.

use crate::model::{MatchOp, Matcher};
use crate::notify::InhibitRule;

/// The label that says what an alarm carries.
const CARRIES: &str = "carries";

/// What may be carried: labels that are places.
const PLACES: [&str; 7] = ["device_id", "line_id", "line", "area", "gateway", "site", "instance"];

/// Returns the inhibitions that hold on every box, behind those of the settings.
pub(super) fn rules() -> Vec<InhibitRule> {
    let source = |what: &str| vec![Matcher::equal(CARRIES, what)];
    let others = |what: &str| Matcher::new(CARRIES, MatchOp::NotEqual, what).ok();
    let mut rules: Vec<InhibitRule> = PLACES
        .iter()
        .map(|place| InhibitRule {
            source: source(place),
            target: Matcher::new(place, MatchOp::NotEqual, "").ok().into_iter().chain(others(place)).collect(),
            equal: vec![(*place).to_owned()],
        })
        .collect();
    let target = vec![Matcher::equal(CARRIES, "device_id")];
    rules.push(InhibitRule { source: source("devices"), target, equal: Vec::new() });
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;

    /// Tells whether an alarm is carried by another.
    fn is_carried(source: &[(&str, &str)], target: &[(&str, &str)]) -> bool {
        let (source, target) = (Labels::from_pairs(source.iter().copied()), Labels::from_pairs(target.iter().copied()));
        rules().iter().any(|rule| {
            rule.source.iter().all(|m| m.matches_labels(&source))
                && rule.target.iter().all(|m| m.matches_labels(&target))
                && rule.equal.iter().all(|name| source.get(name) == target.get(name))
        })
    }

    #[test]
    fn what_lies_behind_is_carried_and_nothing_else() {
        let line = [("carries", "line_id"), ("line_id", "7")];
        assert!(is_carried(&line, &[("line_id", "7"), ("device_id", "a")]));
        assert!(!is_carried(&line, &[("line_id", "8"), ("device_id", "a")]));
        assert!(!is_carried(&line, &[("device_id", "a")]));
        assert!(!is_carried(&line, &line), "not itself");
        assert!(is_carried(&[("carries", "devices")], &[("carries", "device_id"), ("device_id", "a")]));
        assert!(!is_carried(&[("carries", "devices")], &[("device_id", "a")]));
        assert!(!is_carried(&[("line_id", "7")], &[("line_id", "7"), ("device_id", "a")]));
    }
}
