use std::time::Duration;

use super::config::{GroupBy, InhibitRule, Route};
use super::inhibit::inhibited;
use super::route::{Tree, group_labels};
use crate::model::{Alarm, AlarmState, Labels, MatchOp, Matcher, Timestamp};

fn matcher(text: &str) -> Matcher {
    for (sign, op) in [("=~", MatchOp::Regex), ("!=", MatchOp::NotEqual), ("=", MatchOp::Equal)] {
        if let Some((name, value)) = text.split_once(sign) {
            return Matcher::new(name, op, value).unwrap();
        }
    }
    panic!("no operator in {text}")
}

fn matchers(text: &str) -> Vec<Matcher> {
    text.split_whitespace().map(matcher).collect()
}

fn route(receiver: &str, text: &str, continues: bool, routes: Vec<Route>) -> Route {
    Route {
        receiver: receiver.to_owned(),
        matchers: matchers(text),
        continues,
        group_by: GroupBy::Labels(vec!["alertname".to_owned()]),
        group_wait: Duration::ZERO,
        group_interval: Duration::ZERO,
        repeat_interval: Duration::ZERO,
        mute_time_intervals: vec![],
        active_time_intervals: vec![],
        routes,
    }
}

fn labels(text: &str) -> Labels {
    Labels::from_pairs(text.split_whitespace().map(|pair| pair.split_once('=').unwrap()))
}

fn tree() -> Tree {
    Tree::new(route(
        "default",
        "",
        false,
        vec![
            route("pager", "severity=critical", true, vec![route("night", "shift=night", false, vec![])]),
            route("team", "severity=~critical|warning", false, vec![route("line1", "line=1", false, vec![])]),
            route("info", "severity=info", false, vec![]),
        ],
    ))
}

#[track_caller]
fn check(text: &str, expected: &[(&str, &str, usize)]) {
    let tree = tree();
    let taken = tree.routes(&labels(text));
    let taken: Vec<_> = taken.iter().map(|t| (t.route.receiver.as_str(), t.path, t.index)).collect();
    assert_eq!(taken, expected, "{text}");
}

#[test]
fn the_first_child_that_matches_takes_an_alarm_unless_it_continues() {
    check("severity=none", &[("default", "{}", 0)]);
    check("severity=info", &[("info", "{}/{severity=\"info\"}", 5)]);
    check("severity=warning", &[("team", "{}/{severity=~\"critical|warning\"}", 3)]);
    check("severity=warning line=1", &[("line1", "{}/{severity=~\"critical|warning\"}/{line=\"1\"}", 4)]);
    check(
        "severity=critical",
        &[("pager", "{}/{severity=\"critical\"}", 1), ("team", "{}/{severity=~\"critical|warning\"}", 3)],
    );
    check(
        "severity=critical shift=night",
        &[
            ("night", "{}/{severity=\"critical\"}/{shift=\"night\"}", 2),
            ("team", "{}/{severity=~\"critical|warning\"}", 3),
        ],
    );
}

#[test]
fn groups_are_formed_by_labels_that_are_there() {
    let route = Route { group_by: GroupBy::Labels(vec!["a".into(), "z".into()]), ..route("r", "", false, vec![]) };
    assert_eq!(group_labels(&route, &labels("a=1 b=2")), labels("a=1"));
    let all = Route { group_by: GroupBy::All, ..route };
    assert_eq!(group_labels(&all, &labels("a=1 b=2")), labels("a=1 b=2"));
}

fn alarm(text: &str, state: AlarmState) -> Alarm {
    let labels = labels(text);
    Alarm {
        fingerprint: labels.stable_hash(),
        labels,
        annotations: Labels::empty(),
        state,
        raised_at: Timestamp::from_millis(0),
        cleared_at: None,
        acknowledgement: None,
        value: 0.0,
        expression: String::new(),
        source_url: String::new(),
        rule_version: 0,
        changed_at: Timestamp::from_millis(0),
    }
}

/// `alarms` are label texts; a leading `-` is a cleared one. `muted` are positions among them.
#[track_caller]
fn mutes(source: &str, target: &str, equal: &[&str], alarms: &[&str], muted: &[usize]) {
    let rule = InhibitRule {
        source: matchers(source),
        target: matchers(target),
        equal: equal.iter().map(|s| (*s).to_owned()).collect(),
    };
    let alarms: Vec<Alarm> = alarms
        .iter()
        .map(|text| match text.strip_prefix('-') {
            Some(text) => alarm(text, AlarmState::Cleared),
            None => alarm(text, AlarmState::Active),
        })
        .collect();
    let found = inhibited(&[rule], &alarms);
    let found: Vec<usize> = (0..alarms.len()).filter(|i| found.contains_key(&alarms[*i].fingerprint)).collect();
    assert_eq!(found, muted);
}

#[test]
fn an_active_source_mutes_targets_that_agree() {
    mutes(
        "severity=critical",
        "severity=warning",
        &["line"],
        &["severity=critical line=1", "severity=warning line=1"],
        &[1],
    );
    mutes(
        "severity=critical",
        "severity=warning",
        &["line"],
        &["severity=critical line=1", "severity=warning line=2"],
        &[],
    );
    mutes(
        "severity=critical",
        "severity=warning",
        &["line"],
        &["-severity=critical line=1", "severity=warning line=1"],
        &[],
    );
    mutes("severity=critical", "severity=warning", &["line"], &["severity=critical", "severity=warning"], &[1]);
    mutes("alertname=NATSDown", "service=gateway", &[], &["alertname=NATSDown", "service=gateway line=7"], &[1]);
}

#[test]
fn an_alarm_that_is_on_both_sides_is_not_muted_by_its_like() {
    mutes("alertname=A", "alertname=~A|B", &[], &["alertname=A line=1", "alertname=A line=2"], &[]);
    mutes("alertname=A", "alertname=~A|B", &[], &["alertname=A", "alertname=B"], &[1]);
    mutes("s=1", "t=1", &[], &["s=1", "s=1 t=1"], &[1]);
}
