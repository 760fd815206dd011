//! Ways to tell somebody: the closed set of kinds, each of which puts a notice into one HTTP request, and the sender
//! that all share.

mod discord;
mod msteams;
mod opsgenie;
mod pagerduty;
mod pushover;
#[cfg(test)]
mod receiver_test;
mod sender;
mod slack;
mod telegram;
mod webhook;

use std::time::Duration;

use crate::model::{HttpClient, Labels, Timestamp};

use super::message::Message;

pub(super) use sender::Sender;

pub use discord::Discord;
pub use msteams::{Card, MsTeams};
pub use opsgenie::{OpsGenie, Responder};
pub use pagerduty::{PagerDuty, PagerDutyKey};
pub use pushover::Pushover;
pub use slack::{Slack, SlackAction, SlackField};
pub use telegram::Telegram;
pub use webhook::Webhook;

/// One way of a receiver: an entry of `webhook_configs`, `slack_configs` and the like.
#[derive(Debug, Clone, PartialEq)]
pub struct Way {
    /// Which service, and what it needs.
    pub kind: Kind,
    /// Whether resolved alarms are told.
    pub send_resolved: bool,
    /// How long one attempt may take; 10 s by default.
    pub timeout: Duration,
    /// `http_config`.
    pub http: HttpClient,
}

/// The services that notices can be sent to.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// `webhook_configs`
    Webhook(Webhook),
    /// `slack_configs`
    Slack(Box<Slack>),
    /// `pagerduty_configs`
    PagerDuty(Box<PagerDuty>),
    /// `opsgenie_configs`
    OpsGenie(Box<OpsGenie>),
    /// `telegram_configs`
    Telegram(Box<Telegram>),
    /// `discord_configs`
    Discord(Box<Discord>),
    /// `msteams_configs` and `msteamsv2_configs`
    MsTeams(Box<MsTeams>),
    /// `pushover_configs`
    Pushover(Box<Pushover>),
}

impl Kind {
    /// Returns the word of the settings: `slack` of `slack_configs`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Webhook(_) => "webhook",
            Kind::Slack(_) => "slack",
            Kind::PagerDuty(_) => "pagerduty",
            Kind::OpsGenie(_) => "opsgenie",
            Kind::Telegram(_) => "telegram",
            Kind::Discord(_) => "discord",
            Kind::MsTeams(teams) => match teams.card {
                Card::Message => "msteams",
                Card::Adaptive => "msteamsv2",
            },
            Kind::Pushover(_) => "pushover",
        }
    }

    /// Puts a notice into requests, sent in order; `Err` if a template cannot be rendered with it.
    fn posts(&self, message: &Message<'_>) -> Result<Vec<Post>, String> {
        match self {
            Kind::Webhook(webhook) => Ok(vec![webhook.post(message)]),
            Kind::Slack(slack) => Ok(vec![slack.post(message)?]),
            Kind::PagerDuty(pagerduty) => Ok(vec![pagerduty.post(message)?]),
            Kind::OpsGenie(opsgenie) => opsgenie.posts(message),
            Kind::Telegram(telegram) => Ok(vec![telegram.post(message)?]),
            Kind::Discord(discord) => Ok(vec![discord.post(message)?]),
            Kind::MsTeams(teams) => Ok(vec![teams.post(message)?]),
            Kind::Pushover(pushover) => Ok(vec![pushover.post(message)?]),
        }
    }
}

/// One HTTP request that tells a notice.
#[derive(Debug, Clone, PartialEq)]
struct Post {
    /// May carry a secret.
    url: String,
    content_type: &'static str,
    authorization: Option<String>,
    body: String,
}

impl Post {
    fn json(url: impl Into<String>, body: &serde_json::Value) -> Self {
        Post { url: url.into(), content_type: "application/json", authorization: None, body: body.to_string() }
    }
}

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

/// Names a group where a service wants one short word for it: the same for all notices of a group.
fn group_word(message: &Message<'_>) -> String {
    use sha2::{Digest, Sha256};

    let hash = Sha256::digest(message.notice.group_key.as_bytes());
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
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
