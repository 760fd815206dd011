//! One alarm, one thing that happens, its next state: pure.

use crate::model::{Acknowledgement, Alarm, AlarmState, Alert, AlertState, Timestamp};

use super::snapshot::Event;

/// What an alert makes of an alarm.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Heard {
    /// A transition: to be journalled, told and shown.
    Changed(Event, Alarm),
    /// The same alarm with newer value or texts: only shown.
    Refreshed(Alarm),
    /// Nothing to do.
    Nothing,
}

/// Takes an alert for the alarm with the same labels, if there is one.
pub(super) fn hear(alarm: Option<&Alarm>, alert: &Alert, now: Timestamp) -> Heard {
    match (alert.state, alarm.map(|a| (a, a.state))) {
        (AlertState::Pending, _) | (AlertState::Resolved, None | Some((_, AlarmState::Cleared))) => Heard::Nothing,
        (AlertState::Firing, None) => Heard::Changed(Event::Raised, raised(alert, alert.fired_at.unwrap_or(now))),
        (AlertState::Firing, Some((alarm, AlarmState::Cleared))) => {
            // Cleared because it was not heard of, and here it is again: it began anew, at a time of its own.
            let fired_at = alert.fired_at.filter(|at| alarm.cleared_at.is_none_or(|cleared| *at > cleared));
            Heard::Changed(Event::Raised, raised(alert, fired_at.unwrap_or(now)))
        }
        (AlertState::Firing, Some((alarm, AlarmState::Active))) => {
            let mut next = alarm.clone();
            next.value = alert.value;
            next.expression.clone_from(&alert.expression);
            next.source_url.clone_from(&alert.source_url);
            next.rule_version = alert.rule_version;
            if next.annotations != alert.annotations {
                next.annotations = alert.annotations.clone();
                next.changed_at = now;
            }
            if same(&next, alarm) { Heard::Nothing } else { Heard::Refreshed(next) }
        }
        (AlertState::Resolved, Some((alarm, AlarmState::Active))) => {
            let at = alert.resolved_at.unwrap_or(now);
            // A late word of an earlier time round does not clear what was raised since.
            if at < alarm.raised_at {
                Heard::Nothing
            } else {
                Heard::Changed(Event::Cleared, cleared(alarm, at, alert.value))
            }
        }
    }
}

/// Compares with values by their bits, since NaN must equal itself here.
fn same(a: &Alarm, b: &Alarm) -> bool {
    a.value.to_bits() == b.value.to_bits()
        && a.annotations == b.annotations
        && a.expression == b.expression
        && a.source_url == b.source_url
        && a.rule_version == b.rule_version
}

fn raised(alert: &Alert, at: Timestamp) -> Alarm {
    Alarm {
        fingerprint: alert.labels.stable_hash(),
        labels: alert.labels.clone(),
        annotations: alert.annotations.clone(),
        state: AlarmState::Active,
        raised_at: at,
        cleared_at: None,
        acknowledgement: None,
        value: alert.value,
        expression: alert.expression.clone(),
        source_url: alert.source_url.clone(),
        rule_version: alert.rule_version,
        changed_at: at,
    }
}

/// Returns the alarm with its cause gone.
pub(super) fn cleared(alarm: &Alarm, at: Timestamp, value: f64) -> Alarm {
    Alarm { state: AlarmState::Cleared, cleared_at: Some(at), changed_at: at, value, ..alarm.clone() }
}

/// Returns the alarm with somebody's note on it; a later note takes the place of an earlier one.
pub(super) fn acknowledged(alarm: &Alarm, acknowledgement: Acknowledgement) -> Alarm {
    Alarm { changed_at: acknowledgement.at, acknowledgement: Some(acknowledgement), ..alarm.clone() }
}
