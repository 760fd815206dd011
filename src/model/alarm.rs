//! An alarm: what is kept of an alert for people.

use super::{Labels, Timestamp};

/// Whether the cause of an alarm is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AlarmState {
    /// The cause is there.
    Active,
    /// The cause is gone.
    Cleared,
}

impl AlarmState {
    /// Returns the word shown to people: `active` or `cleared`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            AlarmState::Active => "active",
            AlarmState::Cleared => "cleared",
        }
    }
}

/// That somebody took note of an alarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Who.
    pub by: String,
    /// What they wrote; may be empty.
    pub note: String,
    /// When.
    pub at: Timestamp,
}

/// An alert as work for a person: kept, acknowledged, remembered for 90 days.
#[derive(Debug, Clone, PartialEq)]
pub struct Alarm {
    /// The stable hash of the labels: names the alarm in links and journals.
    pub fingerprint: u64,
    /// Labels, `alertname` included.
    pub labels: Labels,
    /// Texts for people.
    pub annotations: Labels,
    /// Whether the cause is still there.
    pub state: AlarmState,
    /// When it was raised.
    pub raised_at: Timestamp,
    /// When it was cleared; `None` while active.
    pub cleared_at: Option<Timestamp>,
    /// Who took note; falls away when the alarm is raised again.
    pub acknowledgement: Option<Acknowledgement>,
    /// The expression's value when last seen.
    pub value: f64,
    /// The rule's expression.
    pub expression: String,
    /// As [`super::Alert::source_url`].
    pub source_url: String,
    /// Names the rule's definition, as [`super::Alert::rule_version`] does.
    pub rule_version: u32,
    /// When any of this last changed.
    pub changed_at: Timestamp,
}

impl Alarm {
    /// Returns the rule's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.labels.get("alertname").unwrap_or("")
    }

    /// Returns the `severity` label; empty if there is none.
    #[must_use]
    pub fn severity(&self) -> &str {
        self.labels.get("severity").unwrap_or("")
    }

    /// Returns the labels under which others know the alarm: if it is of a rule of this box, which has a version, with
    /// those of `external` that it has no others for, as a Prometheus adds them to what it sends.
    #[must_use]
    pub fn labels_for_others(&self, external: &Labels) -> Labels {
        if self.rule_version == 0 || external.is_empty() {
            return self.labels.clone();
        }
        let added = external.iter().filter(|(name, _)| self.labels.get(name).is_none());
        Labels::from_pairs(self.labels.iter().chain(added))
    }

    /// Returns the priority that pages show: 1 critical, 2 high or warning, 3 everything else, 4 info.
    #[must_use]
    pub fn priority(&self) -> u8 {
        priority_of(self.severity())
    }
}

/// Returns the priority that pages show for a `severity` label: 1 critical, 2 high or warning, 3 everything else,
/// 4 info.
#[must_use]
pub fn priority_of(severity: &str) -> u8 {
    match severity {
        "critical" | "page" | "emergency" => 1,
        "warning" | "high" | "error" | "major" => 2,
        "info" | "none" | "low" => 4,
        _ => 3,
    }
}
