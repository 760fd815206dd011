use std::time::Duration;

use super::alerting::{Alerts, Found, RESOLVED_KEPT, Refusal};
use super::file::Alerting;
use crate::model::{AlertState, Labels, Timestamp};

fn rule(hold_s: u64, keep_firing_s: u64) -> Alerting {
    Alerting {
        hold: Duration::from_secs(hold_s),
        keep_firing: Duration::from_secs(keep_firing_s),
        labels: vec![],
        annotations: vec![],
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn found(instance: &str) -> Found {
    let labels = Labels::from_pairs([("alertname", "Hot"), ("instance", instance)]);
    Found { labels, annotations: Labels::empty(), value: 1.0 }
}

/// Steps through times at which the condition holds (`+`) or not (`-`), ten seconds apart, and tells the
/// state after each: `.` none, `p` pending, `F` firing, `r` resolved.
#[track_caller]
fn check(rule: &Alerting, conditions: &str, states: &str) {
    let mut alerts = Alerts::default();
    let mut seen = String::new();
    for (i, condition) in conditions.chars().enumerate() {
        let result = if condition == '+' { vec![found("a")] } else { vec![] };
        alerts.step(rule, 0, result, at(10 * i as i64)).unwrap();
        seen.push(match alerts.0.values().next().map(|a| a.state) {
            None => '.',
            Some(AlertState::Pending) => 'p',
            Some(AlertState::Firing) => 'F',
            Some(AlertState::Resolved) => 'r',
        });
    }
    assert_eq!(seen, states, "for {:?} keep {:?}: {conditions}", rule.hold, rule.keep_firing);
}

#[test]
fn without_for_an_alert_fires_at_once() {
    check(&rule(0, 0), "-+-+", ".FrF");
}

#[test]
fn an_alert_is_pending_until_its_condition_held_long_enough() {
    check(&rule(20, 0), "+++-", "ppFr");
    check(&rule(20, 0), "++-+++", "pp.ppF");
}

#[test]
fn keep_firing_bridges_gaps_of_the_condition() {
    check(&rule(0, 20), "+-+-+", "FFFFF");
    check(&rule(0, 20), "+---", "FFFr");
    check(&rule(0, 20), "+-+---", "FFFFFr");
}

#[test]
fn a_resolved_alert_that_comes_back_begins_anew() {
    check(&rule(10, 0), "++-++", "pFrpF");
}

#[test]
fn a_resolved_alert_is_kept_for_fifteen_minutes() {
    let mut alerts = Alerts::default();
    let rule = rule(0, 0);
    alerts.step(&rule, 0, vec![found("a")], at(0)).unwrap();
    alerts.step(&rule, 0, vec![], at(10)).unwrap();
    alerts.step(&rule, 0, vec![], at(10) + RESOLVED_KEPT).unwrap();
    assert_eq!(alerts.0.len(), 1);
    alerts.step(&rule, 0, vec![], at(11) + RESOLVED_KEPT).unwrap();
    assert_eq!(alerts.0.len(), 0);
}

#[test]
fn a_restored_alert_is_held_until_its_condition_can_be_seen_again() {
    let rule = rule(0, 0);
    let mut alerts = Alerts::default();
    alerts.step(&rule, 0, vec![found("a")], at(0)).unwrap();
    let hold = |alerts: &mut Alerts| alerts.0.values_mut().for_each(|a| a.held_until = Some(at(120)));
    hold(&mut alerts);
    alerts.step(&rule, 0, vec![], at(110)).unwrap();
    assert_eq!(alerts.0.values().next().unwrap().state, AlertState::Firing);
    alerts.step(&rule, 0, vec![], at(120)).unwrap();
    assert_eq!(alerts.0.values().next().unwrap().state, AlertState::Resolved);

    let mut alerts = Alerts::default();
    alerts.step(&rule, 0, vec![found("a")], at(0)).unwrap();
    hold(&mut alerts);
    // Seen once, by a sample of before the restart that still counts, and gone with it.
    alerts.step(&rule, 0, vec![found("a")], at(10)).unwrap();
    alerts.step(&rule, 0, vec![], at(20)).unwrap();
    assert_eq!(alerts.0.values().next().unwrap().state, AlertState::Firing);
    let fingerprints = alerts.0.keys().copied().collect();
    alerts.release(&fingerprints);
    alerts.step(&rule, 0, vec![], at(30)).unwrap();
    assert_eq!(alerts.0.values().next().unwrap().state, AlertState::Resolved, "its samples say no");
}

#[test]
fn the_same_labels_twice_are_refused_and_change_nothing() {
    let mut alerts = Alerts::default();
    alerts.step(&rule(0, 0), 0, vec![found("a")], at(0)).unwrap();
    let before = alerts.clone();
    assert_eq!(alerts.step(&rule(0, 0), 0, vec![found("b"), found("b")], at(10)), Err(Refusal::Duplicate));
    assert_eq!(alerts, before);
}

#[test]
fn above_the_limit_all_alerts_are_dropped() {
    let mut alerts = Alerts::default();
    alerts.step(&rule(0, 0), 2, vec![found("a"), found("b")], at(0)).unwrap();
    let refused = alerts.step(&rule(0, 0), 1, vec![found("a"), found("b")], at(10));
    assert_eq!(refused, Err(Refusal::Limit { limit: 1, found: 2 }));
    assert!(alerts.0.is_empty());
}

#[test]
fn live_alerts_are_told_as_two_series() {
    let mut alerts = Alerts::default();
    alerts.step(&rule(20, 0), 0, vec![found("a")], at(100)).unwrap();
    let series: Vec<String> = alerts.series().into_iter().map(|(l, v)| format!("{l} {v}")).collect();
    assert_eq!(
        series,
        [
            "ALERTS{alertname=\"Hot\", alertstate=\"pending\", instance=\"a\"} 1",
            "ALERTS_FOR_STATE{alertname=\"Hot\", instance=\"a\"} 100"
        ]
    );
}

#[test]
fn a_clock_that_is_set_right_makes_no_alert_older() {
    let (rule, year_ms) = (rule(20, 0), 365 * 86_400_000);
    let mut alerts = Alerts::default();
    alerts.step(&rule, 0, vec![found("a")], at(0)).unwrap();
    alerts.0.values_mut().for_each(|alert| alert.correct(year_ms));
    let state = |alerts: &Alerts| alerts.0.values().next().map(|a| a.state);
    alerts.step(&rule, 0, vec![found("a")], at(year_ms / 1000 + 10)).unwrap();
    assert_eq!(state(&alerts), Some(AlertState::Pending));
    alerts.step(&rule, 0, vec![found("a")], at(year_ms / 1000 + 20)).unwrap();
    assert_eq!(state(&alerts), Some(AlertState::Firing));
}
