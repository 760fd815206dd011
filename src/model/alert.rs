//! An alert: one instance of an alerting rule.

use super::{Labels, Timestamp};

/// How far an alert has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AlertState {
    /// The condition holds, but not yet for as long as the rule's `for` asks.
    Pending,
    /// The condition has held long enough.
    Firing,
    /// It was firing; the condition no longer holds.
    Resolved,
}

impl AlertState {
    /// Returns the word of the API: `pending`, `firing` or `resolved`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            AlertState::Pending => "pending",
            AlertState::Firing => "firing",
            AlertState::Resolved => "resolved",
        }
    }
}

/// One instance of an alerting rule, as the rules room evaluates it.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    /// Labels, `alertname` included; they name the alert.
    pub labels: Labels,
    /// Texts for people, templates already rendered.
    pub annotations: Labels,
    /// How far it has come.
    pub state: AlertState,
    /// The expression's value at the last evaluation.
    pub value: f64,
    /// Since when the condition holds.
    pub active_at: Timestamp,
    /// Since when it fires.
    pub fired_at: Option<Timestamp>,
    /// When it was resolved.
    pub resolved_at: Option<Timestamp>,
    /// When it was last evaluated.
    pub evaluated_at: Timestamp,
    /// Until when it counts without being heard of again: four evaluations, at least four minutes. What
    /// is not heard of by then has lost its rule.
    pub expires_at: Timestamp,
    /// The rule's expression, for links.
    pub expression: String,
    /// Where another program shows what raised it (`generatorURL`); empty if it is a rule of this box.
    pub source_url: String,
    /// Group of the rule.
    pub group: String,
    /// Names the rule's definition: another one as soon as anything of it is written otherwise; 0 if it is not known.
    pub rule_version: u32,
}
