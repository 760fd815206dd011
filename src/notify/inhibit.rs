//! An active alarm mutes others: pure.
//!
//! Source: Alertmanager, `inhibit/inhibit.go`: an alarm that matches both sides of a rule cannot be muted by
//! one for which the same is true, so that a group of equals does not mute itself.

use std::collections::{BTreeMap, HashMap};

use super::config::InhibitRule;
use crate::model::{Alarm, AlarmState, Labels, Matcher};

/// Returns the fingerprints of the active alarms that others mute, each with one that does.
pub(super) fn inhibited(rules: &[InhibitRule], alarms: &[Alarm]) -> BTreeMap<u64, u64> {
    let active = || alarms.iter().filter(|a| a.state == AlarmState::Active);
    let mut muted = BTreeMap::new();
    for rule in rules {
        let value = |labels: &Labels, name: &String| labels.get(name).unwrap_or("").to_owned();
        let key = |labels: &Labels| rule.equal.iter().map(|name| value(labels, name)).collect::<Vec<_>>();
        // Sources by the labels that must be equal, with whether one is there that is not a target too.
        let mut sources: HashMap<(Vec<String>, bool), u64> = HashMap::new();
        for source in active().filter(|a| matches(&rule.source, &a.labels)) {
            sources.insert((key(&source.labels), matches(&rule.target, &source.labels)), source.fingerprint);
        }
        for target in active().filter(|a| matches(&rule.target, &a.labels)) {
            let is_source = matches(&rule.source, &target.labels);
            let key = key(&target.labels);
            let by_plain = sources.get(&(key.clone(), false));
            let by = by_plain.or_else(|| sources.get(&(key, true)).filter(|_| !is_source));
            if let Some(by) = by {
                muted.insert(target.fingerprint, *by);
            }
        }
    }
    muted
}

fn matches(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|m| m.matches_labels(labels))
}
