//! What is unusual about a tenant, from the first sign until it is over, as alerts.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{Alert, AlertState, Labels, Timestamp};

/// Anomalies of one tenant that stand at once; further ones are counted only.
const STANDING_MAX: usize = 64;
/// An alert that is not heard of again counts at least so long.
const EXPIRES_MIN: Duration = Duration::from_secs(240);
/// Checks that an alert outlives.
const EXPIRES_CHECKS: u32 = 4;

/// What kind of anomaly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Far more messages than normal.
    MessageRate,
    /// Too many errors.
    ErrorRate,
    /// A kind of subject that was never seen.
    UnusualSubject,
    /// A client says that it sent something else than what came.
    CountMismatch,
    /// A client says that it does not work.
    UnhealthyClient,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 5] =
        [Kind::MessageRate, Kind::ErrorRate, Kind::UnusualSubject, Kind::CountMismatch, Kind::UnhealthyClient];

    /// Returns the word of the API and of the label `anomaly`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::MessageRate => "message_rate",
            Kind::ErrorRate => "error_rate",
            Kind::UnusualSubject => "unusual_subject",
            Kind::CountMismatch => "count_mismatch",
            Kind::UnhealthyClient => "unhealthy_client",
        }
    }

    fn alert_name(self) -> &'static str {
        match self {
            Kind::MessageRate => "TenantMessageRateUnusual",
            Kind::ErrorRate => "TenantErrorRateHigh",
            Kind::UnusualSubject => "TenantSubjectUnusual",
            Kind::CountMismatch => "TenantCountMismatch",
            Kind::UnhealthyClient => "TenantClientUnhealthy",
        }
    }
}

/// One sign of an anomaly.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sign {
    pub(super) kind: Kind,
    /// The client or kind of subject it is about; empty if it is about the tenant.
    pub(super) about: String,
    /// `low`, `medium`, `high` or `critical`.
    pub(super) severity: &'static str,
    /// What was seen.
    pub(super) value: f64,
    /// In words.
    pub(super) text: String,
}

#[derive(Debug, Clone)]
struct Standing {
    sign: Sign,
    since: Timestamp,
    until: Timestamp,
}

/// The anomalies of one tenant that stand.
#[derive(Debug, Clone, Default)]
pub(super) struct Anomalies {
    standing: BTreeMap<(Kind, String), Standing>,
    /// Over, but the alarms room has not been told.
    over: Vec<Standing>,
}

impl Anomalies {
    /// Notes a sign; the anomaly stands for `hold` after its last one. Returns whether it is a new one, or nothing if
    /// too many stand.
    pub(super) fn note(&mut self, sign: Sign, now: Timestamp, hold: Duration) -> Option<bool> {
        let key = (sign.kind, sign.about.clone());
        let until = now + hold;
        if let Some(standing) = self.standing.get_mut(&key) {
            // Labels name an alarm, so a standing one keeps its severity.
            standing.sign = Sign { severity: standing.sign.severity, ..sign };
            standing.until = until;
            return Some(false);
        }
        if self.standing.len() >= STANDING_MAX {
            return None;
        }
        self.standing.insert(key, Standing { sign, since: now, until });
        Some(true)
    }

    /// Ends what has not been seen for long enough.
    pub(super) fn end(&mut self, now: Timestamp) {
        let over = self.standing.extract_if(.., |_, standing| standing.until <= now);
        self.over.extend(over.map(|(_, standing)| standing));
        let surplus = self.over.len().saturating_sub(STANDING_MAX);
        self.over.drain(..surplus);
    }

    /// Ends everything: the tenant is no more.
    pub(super) fn end_all(&mut self) {
        self.over.extend(std::mem::take(&mut self.standing).into_values());
    }

    pub(super) fn len(&self) -> usize {
        self.standing.len()
    }

    pub(super) fn count(&self, kind: Kind) -> usize {
        self.standing.keys().filter(|(k, _)| *k == kind).count()
    }

    /// Returns alerts of all that stand and all that has ended since they were last taken.
    pub(super) fn alerts(&self, tenant: &str, now: Timestamp, check_interval: Duration) -> Vec<Alert> {
        let expires_at = now + (check_interval * EXPIRES_CHECKS).max(EXPIRES_MIN);
        let firing = self.standing.values().map(|s| s.alert(tenant, now, expires_at, AlertState::Firing));
        let over = self.over.iter().map(|s| s.alert(tenant, now, now, AlertState::Resolved));
        firing.chain(over).collect()
    }

    /// What has ended was told.
    pub(super) fn told(&mut self) {
        self.over.clear();
    }
}

impl Standing {
    fn alert(&self, tenant: &str, now: Timestamp, expires_at: Timestamp, state: AlertState) -> Alert {
        let Sign { kind, about, severity, value, text } = &self.sign;
        let about_label = if *kind == Kind::UnusualSubject { "subject" } else { "client_id" };
        let labels = [
            ("alertname", kind.alert_name()),
            ("tenant", tenant),
            ("anomaly", kind.as_str()),
            ("severity", severity),
            (about_label, about),
        ];
        Alert {
            labels: Labels::from_pairs(labels.into_iter().filter(|(_, value)| !value.is_empty())),
            annotations: Labels::from_pairs([("summary", text.as_str())]),
            state,
            value: *value,
            active_at: self.since,
            fired_at: Some(self.since),
            resolved_at: (state == AlertState::Resolved).then_some(now),
            evaluated_at: now,
            expires_at,
            expression: String::new(),
            group: "tenants".to_owned(),
            source_url: String::new(),
            rule_version: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(about: &str, severity: &'static str) -> Sign {
        Sign { kind: Kind::UnusualSubject, about: about.to_owned(), severity, value: 1.0, text: "t".to_owned() }
    }

    #[test]
    fn an_anomaly_is_one_alert_from_its_first_sign_to_its_end() {
        let at = |s: i64| Timestamp::from_millis(1_700_000_000_000 + s * 1000);
        let (hold, check) = (Duration::from_secs(60), Duration::from_secs(30));
        let mut anomalies = Anomalies::default();
        assert_eq!(anomalies.note(sign("a", "low"), at(0), hold), Some(true));
        assert_eq!(anomalies.note(sign("a", "high"), at(30), hold), Some(false));
        anomalies.end(at(89));
        let alerts = anomalies.alerts("acme", at(89), check);
        assert_eq!(alerts.len(), 1);
        assert_eq!(
            alerts[0].labels.to_string(),
            r#"{alertname="TenantSubjectUnusual", anomaly="unusual_subject", severity="low", subject="a", tenant="acme"}"#
        );
        assert_eq!((alerts[0].state, alerts[0].active_at), (AlertState::Firing, at(0)));
        assert_eq!(alerts[0].expires_at, at(89 + 240));
        anomalies.end(at(90));
        let over = anomalies.alerts("acme", at(90), check);
        assert_eq!((over.len(), over[0].state, over[0].resolved_at), (1, AlertState::Resolved, Some(at(90))));
        assert_eq!(anomalies.alerts("acme", at(91), check).len(), 1, "told again until it was taken");
        anomalies.told();
        assert_eq!(anomalies.alerts("acme", at(92), check), []);
    }

    #[test]
    fn only_so_many_stand() {
        let mut anomalies = Anomalies::default();
        let noted = |n: usize, a: &mut Anomalies| {
            a.note(sign(&n.to_string(), "low"), Timestamp::from_millis(0), Duration::from_secs(60))
        };
        assert!((0..64).all(|n| noted(n, &mut anomalies) == Some(true)));
        assert_eq!((noted(64, &mut anomalies), noted(0, &mut anomalies)), (None, Some(false)));
    }
}
