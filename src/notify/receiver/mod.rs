//! Ways to tell somebody: the closed set of kinds, each of which says what is to be sent, and the sender that sends it:
//! HTTP requests, a mail, a message on the bus, a command, writes to a Modbus device, a text by a modem.

mod command;
mod discord;
mod email;
mod modbus;
mod msteams;
mod nats;
mod opsgenie;
mod pagerduty;
mod pushover;
#[cfg(test)]
mod receiver_test;
mod sender;
mod slack;
mod sms;
mod telegram;
mod webhook;

use std::time::Duration;

use crate::model::{HttpClient, encode_query};

use super::message::Message;
use super::notice::{Notice, NoticeAlarm};
use super::picture::Picture;

pub(super) use sender::{STOP_PATIENCE, Sender, Tools};

pub use command::Command;
pub use discord::Discord;
pub use email::{Email, SmtpSecurity};
pub use modbus::{Modbus, Output, Place};
pub use msteams::{Card, MsTeams};
pub use nats::Nats;
pub use opsgenie::{OpsGenie, Responder};
pub use pagerduty::{PagerDuty, PagerDutyKey};
pub use pushover::Pushover;
pub use slack::{Slack, SlackAction, SlackField};
pub use sms::Sms;
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
    /// `email_configs`
    Email(Box<Email>),
    /// `nats_configs`
    Nats(Box<Nats>),
    /// `command_configs`
    Command(Box<Command>),
    /// `modbus_configs`
    Modbus(Box<Modbus>),
    /// `sms_configs`
    Sms(Box<Sms>),
}

/// What is to be sent.
#[derive(Debug)]
enum Request {
    /// One after the other.
    Posts(Vec<Post>),
    Mail(Box<lettre::Message>),
    Message(crate::bus::Message),
    /// The arguments and what stands on standard input.
    Command(command::Call),
    /// One after the other.
    Writes(Vec<modbus::Write>),
    /// In the alphabet of GSM.
    Text(Vec<u8>),
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
            Kind::Email(_) => "email",
            Kind::Nats(_) => "nats",
            Kind::Command(_) => "command",
            Kind::Modbus(_) => "modbus",
            Kind::Sms(_) => "sms",
        }
    }

    /// Says what is to be sent; `Err` if a template cannot be rendered with the notice. `chart` is for mails.
    fn request(&self, message: &Message<'_>, send_resolved: bool, chart: Option<&Picture>) -> Result<Request, String> {
        let one = |post| Ok(Request::Posts(vec![post]));
        match self {
            Kind::Webhook(webhook) => one(webhook.post(message)),
            Kind::Slack(slack) => one(slack.post(message)?),
            Kind::PagerDuty(pagerduty) => Ok(Request::Posts(pagerduty.posts(message)?)),
            Kind::OpsGenie(opsgenie) => Ok(Request::Posts(opsgenie.posts(message)?)),
            Kind::Telegram(telegram) => one(telegram.post(message)?),
            Kind::Discord(discord) => one(discord.post(message)?),
            Kind::MsTeams(teams) => one(teams.post(message)?),
            Kind::Pushover(pushover) => one(pushover.post(message)?),
            Kind::Email(email) => Ok(Request::Mail(Box::new(email.mail(message, chart)?))),
            Kind::Nats(nats) => Ok(Request::Message(nats.message(message)?)),
            Kind::Command(command) => Ok(Request::Command(command.call(message)?)),
            Kind::Modbus(modbus) => Ok(Request::Writes(modbus.writes(message, send_resolved))),
            Kind::Sms(sms) => Ok(Request::Text(sms.text(message)?)),
        }
    }

    /// Tells whether what matters is how things stand, not the news: such a way gets no digests.
    pub(super) fn is_lamp(&self) -> bool {
        matches!(self, Kind::Modbus(_))
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

/// Returns where an alarm's cause is shown: Alertmanager's `generatorURL`. That is `source_url` where another program
/// gave one, else the expression on this box; empty if there is neither. `external_url` has no slash at the end.
#[must_use]
pub fn generator_url(external_url: &str, source_url: &str, expression: &str) -> String {
    match (source_url, expression) {
        ("", "") => String::new(),
        ("", expression) => format!("{external_url}/graph?g0.expr={}&g0.tab=1", encode_query(expression)),
        (source_url, _) => source_url.to_owned(),
    }
}

/// Names a group where a service wants one short word for it: the same for all notices of a group.
fn group_word(group_key: &str) -> String {
    use sha2::{Digest, Sha256};

    let hash = Sha256::digest(group_key.as_bytes());
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
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

    /// Returns a failure that lasts until somebody changes something.
    pub(super) fn refusal(reason: impl Into<String>) -> Self {
        Failure { reason: reason.into(), is_refusal: true, retry_after: None }
    }
}
