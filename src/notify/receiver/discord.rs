//! A notice as a message of Discord, by a webhook.
//!
//! Source: Alertmanager, `notify/discord`; Discord, Execute Webhook.

use serde_json::json;

use super::Post;
use crate::model::Secret;
use crate::notify::message::Message;
use crate::template::Template;

const TITLE_CHARS_MAX: usize = 256;
const TEXT_CHARS_MAX: usize = 2048;
const CONTENT_CHARS_MAX: usize = 2000;

/// Red while something fires, green when all is over.
const COLORS: [u32; 2] = [0x0099_2d22, 0x002e_cc71];

/// One entry of `discord_configs`.
#[derive(Debug, Clone, PartialEq)]
pub struct Discord {
    /// Where to post.
    pub url: Secret,
    /// Before the message.
    pub content: Template,
    /// Headline.
    pub title: Template,
    /// The words.
    pub message: Template,
    /// Who speaks; empty: as the webhook says.
    pub username: String,
    /// Picture of the speaker.
    pub avatar_url: String,
}

impl Discord {
    pub(super) fn post(&self, message: &Message<'_>) -> Result<Post, String> {
        let [firing, resolved] = COLORS;
        let mut body = json!({
            "content": message.render_within(&self.content, CONTENT_CHARS_MAX)?,
            "embeds": [{
                "title": message.headline(&self.title, TITLE_CHARS_MAX)?,
                "description": message.words(&self.message, TEXT_CHARS_MAX)?,
                "color": if message.is_firing() { firing } else { resolved },
            }],
        });
        for (name, value) in [("username", &self.username), ("avatar_url", &self.avatar_url)] {
            if !value.is_empty() {
                body[name] = value.as_str().into();
            }
        }
        Ok(Post::json(self.url.expose(), &body))
    }
}
