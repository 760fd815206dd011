//! A notice as a message of Slack: by an incoming webhook or by `chat.postMessage`.
//!
//! Source: Alertmanager, `notify/slack`; Slack, incoming webhooks and message attachments.

use serde_json::{Map, Value, json};

use super::Post;
use crate::model::Secret;
use crate::notify::message::Message;
use crate::template::Template;

/// Longest title of an attachment.
const TITLE_CHARS_MAX: usize = 1024;

/// One entry of `slack_configs`.
#[derive(Debug, Clone, PartialEq)]
pub struct Slack {
    /// Where to post.
    pub url: Secret,
    /// The token of an app, if it is posted as one.
    pub token: Option<Secret>,
    /// `#channel` or `@user`; empty: where the webhook leads.
    pub channel: Template,
    /// Who speaks.
    pub username: Template,
    /// `good`, `danger` or `#rrggbb`.
    pub color: Template,
    /// Headline.
    pub title: Template,
    /// Where the headline leads.
    pub title_link: Template,
    /// Before the attachment.
    pub pretext: Template,
    /// Its text.
    pub text: Template,
    /// For clients that show no attachments.
    pub fallback: Template,
    /// Small print.
    pub footer: Template,
    /// Names the attachment for apps.
    pub callback_id: Template,
    /// Picture of the speaker.
    pub icon_emoji: Template,
    /// The same as an address.
    pub icon_url: Template,
    /// A picture.
    pub image_url: Template,
    /// A small picture.
    pub thumb_url: Template,
    /// Whether names become links.
    pub link_names: bool,
    /// Which parts are in Slack's markup.
    pub mrkdwn_in: Vec<String>,
    /// Whether fields without a word of their own stand side by side.
    pub short_fields: bool,
    /// A small table.
    pub fields: Vec<SlackField>,
    /// Buttons.
    pub actions: Vec<SlackAction>,
}

/// An entry of `fields`.
#[derive(Debug, Clone, PartialEq)]
pub struct SlackField {
    /// Its head.
    pub title: Template,
    /// Its text.
    pub value: Template,
    /// Whether another may stand beside it.
    pub short: Option<bool>,
}

/// An entry of `actions`: a button that leads somewhere.
#[derive(Debug, Clone, PartialEq)]
pub struct SlackAction {
    /// `button`.
    pub kind: Template,
    /// What stands on it.
    pub text: Template,
    /// Where it leads.
    pub url: Template,
    /// `primary` or `danger`.
    pub style: Template,
    /// Names it for apps.
    pub name: Template,
    /// What apps are told.
    pub value: Template,
}

impl Slack {
    pub(super) fn post(&self, message: &Message<'_>) -> Result<Post, String> {
        let mut attachment = texts(
            message,
            &[
                ("title_link", &self.title_link),
                ("pretext", &self.pretext),
                ("footer", &self.footer),
                ("callback_id", &self.callback_id),
                ("image_url", &self.image_url),
                ("thumb_url", &self.thumb_url),
                ("color", &self.color),
            ],
        )?;
        attachment.insert("title".to_owned(), message.headline(&self.title, TITLE_CHARS_MAX)?.into());
        let texts_of_our_own = [
            ("text", message.words(&self.text, usize::MAX)?),
            ("fallback", message.headline(&self.fallback, usize::MAX)?),
        ];
        for (name, text) in texts_of_our_own.into_iter().filter(|(_, text)| !text.is_empty()) {
            attachment.insert(name.to_owned(), text.into());
        }
        attachment.insert("mrkdwn_in".to_owned(), json!(self.mrkdwn_in));
        if !self.fields.is_empty() {
            let field = |field: &SlackField| -> Result<Value, String> {
                let mut object = texts(message, &[("title", &field.title), ("value", &field.value)])?;
                object.insert("short".to_owned(), field.short.unwrap_or(self.short_fields).into());
                Ok(Value::Object(object))
            };
            let fields: Result<Vec<Value>, String> = self.fields.iter().map(field).collect();
            attachment.insert("fields".to_owned(), Value::Array(fields?));
        }
        if !self.actions.is_empty() {
            let action = |a: &SlackAction| -> Result<Value, String> {
                let parts = [
                    ("type", &a.kind),
                    ("text", &a.text),
                    ("url", &a.url),
                    ("style", &a.style),
                    ("name", &a.name),
                    ("value", &a.value),
                ];
                texts(message, &parts).map(Value::Object)
            };
            let actions: Result<Vec<Value>, String> = self.actions.iter().map(action).collect();
            attachment.insert("actions".to_owned(), Value::Array(actions?));
        }
        let mut body = texts(
            message,
            &[
                ("channel", &self.channel),
                ("username", &self.username),
                ("icon_emoji", &self.icon_emoji),
                ("icon_url", &self.icon_url),
            ],
        )?;
        if self.link_names {
            body.insert("link_names".to_owned(), true.into());
        }
        body.insert("attachments".to_owned(), json!([attachment]));
        let mut post = Post::json(self.url.expose(), &Value::Object(body));
        post.authorization = self.token.as_ref().map(|token| format!("Bearer {}", token.expose()));
        Ok(post)
    }
}

/// Renders texts into an object; empty ones are left out.
fn texts(message: &Message<'_>, parts: &[(&str, &Template)]) -> Result<Map<String, Value>, String> {
    let mut object = Map::new();
    for (name, template) in parts {
        let text = message.render(template)?;
        if !text.is_empty() {
            object.insert((*name).to_owned(), text.into());
        }
    }
    Ok(object)
}
