//! Ways to tell somebody: the closed set of kinds, and what all of them get and give.

mod webhook;

use std::time::Duration;

use crate::model::{Labels, Timestamp};

pub(super) use webhook::Sender;

/// Returns where an alarm's expression is shown: Alertmanager's `generatorURL`. `external_url` is this box's, without
/// a slash at the end.
#[must_use]
pub fn generator_url(external_url: &str, expression: &str) -> String {
    format!("{external_url}/graph?g0.expr={}&g0.tab=1", form_encode(expression))
}

/// Encodes a query parameter: a blank becomes `+`.
fn form_encode(text: &str) -> String {
    let encode = |b: u8| match b {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(b).to_string(),
        b' ' => "+".to_owned(),
        b => format!("%{b:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// What is told to one integration of a receiver.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Notice {
    /// Its number in the outbox.
    pub(super) id: u64,
    /// When it was made.
    pub(super) made_at: Timestamp,
    /// The group as other programs know it.
    pub(super) group_key: String,
    /// The receiver's name.
    pub(super) receiver: String,
    /// Which of the receiver's ways: `webhook[0]`.
    pub(super) integration: String,
    /// Labels of the group.
    pub(super) group_labels: Labels,
    /// What it tells of, sorted by labels; at least one.
    pub(super) alarms: Vec<NoticeAlarm>,
}

/// An alarm as a notice tells it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NoticeAlarm {
    pub(super) fingerprint: u64,
    pub(super) labels: Labels,
    pub(super) annotations: Labels,
    pub(super) starts_at: Timestamp,
    /// `None`: it fires.
    pub(super) ends_at: Option<Timestamp>,
    pub(super) expression: String,
}

impl Notice {
    /// Returns how many of the alarms fire.
    pub(super) fn firing(&self) -> usize {
        self.alarms.iter().filter(|a| a.ends_at.is_none()).count()
    }

    /// Tells whether two notices are for the same eyes about the same group.
    pub(super) fn same_lane(&self, other: &Notice) -> bool {
        self.group_key == other.group_key && self.receiver == other.receiver && self.integration == other.integration
    }
}

/// Why a notice was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// For people.
    pub(super) reason: String,
    /// The other side says that the request itself is wrong.
    pub(super) is_refusal: bool,
    /// How long the other side asks us to wait.
    pub(super) retry_after: Option<Duration>,
}

impl Failure {
    /// Returns a failure that will probably pass.
    pub(super) fn passing(reason: impl Into<String>) -> Self {
        Failure { reason: reason.into(), is_refusal: false, retry_after: None }
    }
}
