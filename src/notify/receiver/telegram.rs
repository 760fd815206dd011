//! A notice as a message of a bot of Telegram.
//!
//! Source: Alertmanager, `notify/telegram`; Telegram, Bot API, `sendMessage`.

use serde_json::json;

use super::Post;
use crate::model::Secret;
use crate::notify::message::Message;
use crate::template::Template;

/// Longest message.
const MESSAGE_CHARS_MAX: usize = 4096;

/// One entry of `telegram_configs`.
#[derive(Debug, Clone, PartialEq)]
pub struct Telegram {
    /// The API's address, without a slash at the end.
    pub url: String,
    /// The bot's token.
    pub token: Secret,
    /// Which chat.
    pub chat_id: i64,
    /// Which thread of it.
    pub thread_id: Option<i64>,
    /// The words.
    pub message: Template,
    /// Whether it comes without a sound.
    pub is_silent: bool,
    /// `HTML`, `Markdown`, `MarkdownV2`, or empty for plain text.
    pub parse_mode: &'static str,
}

impl Telegram {
    pub(super) fn post(&self, message: &Message<'_>) -> Result<Post, String> {
        let words = match self.parse_mode {
            "HTML" => message.words_in_html(&self.message, MESSAGE_CHARS_MAX)?,
            _ => message.words(&self.message, MESSAGE_CHARS_MAX)?,
        };
        let mut body = json!({
            "chat_id": self.chat_id,
            "text": words,
            "disable_notification": self.is_silent,
            "disable_web_page_preview": true,
        });
        if !self.parse_mode.is_empty() {
            body["parse_mode"] = self.parse_mode.into();
        }
        if let Some(thread) = self.thread_id {
            body["message_thread_id"] = thread.into();
        }
        Ok(Post::json(format!("{}/bot{}/sendMessage", self.url, self.token.expose()), &body))
    }
}
