//! A notice as a card of Microsoft Teams, by a webhook: the older message card, or an adaptive card for workflows.
//!
//! Source: Alertmanager, `notify/msteams` and `notify/msteamsv2`; Microsoft, message cards and adaptive cards.

use serde_json::json;

use super::Post;
use crate::model::Secret;
use crate::notify::message::Message;
use crate::template::Template;

/// The shapes that Teams takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Card {
    /// `msteams_configs`
    Message,
    /// `msteamsv2_configs`
    Adaptive,
}

/// One entry of `msteams_configs` or `msteamsv2_configs`.
#[derive(Debug, Clone, PartialEq)]
pub struct MsTeams {
    /// Which shape.
    pub card: Card,
    /// Where to post.
    pub url: Secret,
    /// Headline.
    pub title: Template,
    /// In short, where a message card cannot be shown.
    pub summary: Template,
    /// The words.
    pub text: Template,
}

impl MsTeams {
    pub(super) fn post(&self, message: &Message<'_>) -> Result<Post, String> {
        let title = message.headline(&self.title, usize::MAX)?;
        let text = message.words(&self.text, usize::MAX)?;
        let is_firing = message.is_firing();
        let body = match self.card {
            Card::Message => json!({
                "@context": "http://schema.org/extensions",
                "@type": "MessageCard",
                "title": title,
                "summary": message.headline(&self.summary, usize::MAX)?,
                "text": text,
                "themeColor": if is_firing { "8C1A1A" } else { "2DC72D" },
            }),
            Card::Adaptive => json!({
                "type": "message",
                "attachments": [{
                    "contentType": "application/vnd.microsoft.card.adaptive",
                    "content": {
                        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                        "type": "AdaptiveCard",
                        "version": "1.4",
                        "msteams": { "width": "full" },
                        "body": [
                            {
                                "type": "TextBlock", "text": title, "weight": "Bolder", "size": "Medium",
                                "wrap": true, "style": "heading",
                                "color": if is_firing { "Attention" } else { "Good" },
                            },
                            { "type": "TextBlock", "text": text, "wrap": true },
                        ],
                    },
                }],
            }),
        };
        Ok(Post::json(self.url.expose(), &body))
    }
}
