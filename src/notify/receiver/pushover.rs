//! A notice as a message of Pushover.
//!
//! Source: Alertmanager, `notify/pushover`; Pushover, Message API.

use std::time::Duration;

use super::Post;
use crate::model::{Secret, encode_query};
use crate::notify::message::Message;
use crate::template::Template;

const TITLE_CHARS_MAX: usize = 250;
const MESSAGE_CHARS_MAX: usize = 1024;
const URL_CHARS_MAX: usize = 512;

/// One entry of `pushover_configs`.
#[derive(Debug, Clone, PartialEq)]
pub struct Pushover {
    /// Where to post.
    pub url: String,
    /// Who is told.
    pub user: Secret,
    /// Which application tells.
    pub token: Secret,
    /// Headline.
    pub title: Template,
    /// The words.
    pub message: Template,
    /// A link.
    pub link: Template,
    /// Its text.
    pub link_title: Template,
    /// Which device; empty: all.
    pub device: Template,
    /// Which sound; empty: the user's.
    pub sound: Template,
    /// -2 to 2; 2 is repeated until somebody takes note.
    pub priority: Template,
    /// How often priority 2 is repeated.
    pub retry: Duration,
    /// For how long.
    pub expire: Duration,
    /// How long the message is kept; zero: for ever.
    pub ttl: Duration,
    /// Whether the words are HTML.
    pub is_html: bool,
    /// Whether they are in letters of one width.
    pub is_monospace: bool,
}

impl Pushover {
    pub(super) fn post(&self, message: &Message<'_>) -> Result<Post, String> {
        let words = match self.is_html {
            true => message.words_in_html(&self.message, MESSAGE_CHARS_MAX)?,
            false => message.words(&self.message, MESSAGE_CHARS_MAX)?,
        };
        // The service refuses an empty message.
        let words = if words.trim().is_empty() { "(no details)".to_owned() } else { words };
        let seconds = |duration: Duration| duration.as_secs().to_string();
        let mut fields = vec![
            ("token", self.token.expose().to_owned()),
            ("user", self.user.expose().to_owned()),
            ("title", message.headline(&self.title, TITLE_CHARS_MAX)?),
            ("message", words),
            ("url", message.render_within(&self.link, URL_CHARS_MAX)?),
            ("url_title", message.render(&self.link_title)?),
            ("device", message.render(&self.device)?),
            ("sound", message.render(&self.sound)?),
            ("priority", message.render(&self.priority)?),
            ("retry", seconds(self.retry)),
            ("expire", seconds(self.expire)),
        ];
        if !self.ttl.is_zero() {
            fields.push(("ttl", seconds(self.ttl)));
        }
        if self.is_html {
            fields.push(("html", "1".to_owned()));
        } else if self.is_monospace {
            fields.push(("monospace", "1".to_owned()));
        }
        let filled = fields.iter().filter(|(_, value)| !value.is_empty());
        let pairs: Vec<String> = filled.map(|(name, value)| format!("{name}={}", encode_query(value))).collect();
        Ok(Post {
            url: self.url.clone(),
            content_type: "application/x-www-form-urlencoded",
            authorization: None,
            body: pairs.join("&"),
        })
    }
}
