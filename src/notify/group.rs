//! An aggregation group: alarms that are told together, and when: pure.
//!
//! Times are since the start of the process, so that a clock that is set holds nothing back.

use std::collections::BTreeMap;
use std::time::Duration;

use super::config::Route;
use crate::model::{Alarm, AlarmState, Labels, Timestamp};

/// Alarms of one route that share the labels it groups by.
#[derive(Debug, Clone)]
pub(super) struct Group {
    /// The route, without its children.
    pub(super) route: Route,
    /// How other programs know the group: route's path and group's labels, as Alertmanager writes it.
    pub(super) key: String,
    pub(super) labels: Labels,
    /// By fingerprint; cleared ones until that is told.
    pub(super) alarms: BTreeMap<u64, Alarm>,
    /// When it is looked at next.
    pub(super) next: Duration,
    has_flushed: bool,
}

impl Group {
    pub(super) fn new(route: &Route, path: &str, labels: Labels, elapsed: Duration) -> Self {
        Group {
            key: format!("{path}:{labels}"),
            route: Route { routes: Vec::new(), ..route.clone() },
            labels,
            alarms: BTreeMap::new(),
            next: elapsed + route.group_wait,
            has_flushed: false,
        }
    }

    /// Takes an alarm as it is now. One that has been there longer than the group would wait is told at once.
    pub(super) fn insert(&mut self, alarm: Alarm, now: Timestamp, elapsed: Duration) {
        if !self.has_flushed && now.since(alarm.raised_at) >= self.route.group_wait {
            self.next = elapsed;
        }
        self.alarms.insert(alarm.fingerprint, alarm);
    }

    /// The group was looked at: cleared alarms for which `keeps` says no go, the next look is after the
    /// route's interval.
    pub(super) fn flushed(&mut self, elapsed: Duration, keeps: impl Fn(u64) -> bool) {
        self.has_flushed = true;
        self.next = elapsed + self.route.group_interval;
        self.alarms.retain(|fingerprint, alarm| alarm.state == AlarmState::Active || keeps(*fingerprint));
    }
}
