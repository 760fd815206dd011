//! A notice as an alert of OpsGenie: created while something fires, closed when all is over.
//!
//! Source: Alertmanager, `notify/opsgenie`; OpsGenie, Alert API.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Post, group_word};
use crate::model::Secret;
use crate::notify::message::Message;
use crate::template::Template;

/// Longest message.
const MESSAGE_CHARS_MAX: usize = 130;

/// Longest description.
const DESCRIPTION_CHARS_MAX: usize = 15_000;

/// One entry of `opsgenie_configs`.
#[derive(Debug, Clone, PartialEq)]
pub struct OpsGenie {
    /// The API's address, without a slash at the end.
    pub url: String,
    /// The key.
    pub key: Secret,
    /// What is the matter.
    pub message: Template,
    /// The same at length.
    pub description: Template,
    /// Who tells.
    pub source: Template,
    /// More about it; the labels that all alarms have are there anyway.
    pub details: BTreeMap<String, Template>,
    /// What it is about.
    pub entity: Template,
    /// Who is to answer.
    pub responders: Vec<Responder>,
    /// Words, separated by commas.
    pub tags: Template,
    /// A note.
    pub note: Template,
    /// `P1` to `P5`.
    pub priority: Template,
    /// What can be done, separated by commas.
    pub actions: Template,
    /// Whether message and description follow what changes.
    pub updates: bool,
}

/// An entry of `responders`.
#[derive(Debug, Clone, PartialEq)]
pub struct Responder {
    /// `team`, `teams`, `user`, `escalation` or `schedule`.
    pub kind: Template,
    /// Which key names it: `id`, `name` or `username`.
    pub by: &'static str,
    /// The name; of `teams` several, separated by commas.
    pub name: Template,
}

impl OpsGenie {
    pub(super) fn posts(&self, message: &Message<'_>) -> Result<Vec<Post>, String> {
        let alias = group_word(&message.notice.group_key);
        let source = message.render(&self.source)?;
        let post = |path: &str, body: Value| {
            let mut post = Post::json(format!("{}/v2/alerts{path}", self.url), &body);
            post.authorization = Some(format!("GenieKey {}", self.key.expose()));
            post
        };
        let close = |alias: &str| post(&format!("/{alias}/close?identifierType=alias"), json!({ "source": source }));
        if message.digest().is_none() && !message.is_firing() {
            return Ok(vec![close(&alias)]);
        }
        let text = message.headline(&self.message, MESSAGE_CHARS_MAX)?;
        let description = message.words(&self.description, DESCRIPTION_CHARS_MAX)?;
        let common = crate::notify::message::common(message.notice, |a| &a.labels);
        let mut details: BTreeMap<String, String> =
            common.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        for (name, template) in &self.details {
            details.insert(name.clone(), message.render(template)?);
        }
        let mut responders = Vec::new();
        for responder in &self.responders {
            responders.extend(responder.objects(message)?);
        }
        let body = json!({
            "alias": alias,
            "message": text,
            "description": description,
            "details": details,
            "source": source,
            "responders": responders,
            "tags": words(&message.render(&self.tags)?),
            "note": message.render(&self.note)?,
            "priority": if message.digest().is_some() { "P5".to_owned() } else { message.render(&self.priority)? },
            "entity": message.render(&self.entity)?,
            "actions": words(&message.render(&self.actions)?),
        });
        let mut posts = vec![post("", without_empty(body))];
        if message.digest().is_some() {
            // What it stands for is closed, and so is the digest itself: it is there to be read.
            let mut all: Vec<Post> = message.notice.folded.iter().map(|key| close(&group_word(key))).collect();
            all.append(&mut posts);
            all.push(close(&alias));
            return Ok(all);
        }
        if self.updates {
            let path = |what: &str| format!("/{alias}/{what}?identifierType=alias");
            posts.push(post(&path("message"), json!({ "message": text })));
            posts.push(post(&path("description"), json!({ "description": description })));
        }
        Ok(posts)
    }
}

impl Responder {
    fn objects(&self, message: &Message<'_>) -> Result<Vec<Value>, String> {
        let (kind, name) = (message.render(&self.kind)?, message.render(&self.name)?);
        let names = if kind == "teams" { words(&name) } else { vec![name] };
        let kind = if kind == "teams" { "team" } else { kind.as_str() };
        let names = names.into_iter().filter(|name| !name.is_empty());
        Ok(names.map(|name| json!({ "type": kind, self.by: name })).collect())
    }
}

/// Splits words at commas.
fn words(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|w| !w.is_empty()).map(str::to_owned).collect()
}

/// Leaves out what is empty: the API refuses an empty priority.
fn without_empty(body: Value) -> Value {
    let Value::Object(object) = body else { return body };
    let is_empty = |value: &Value| match value {
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    };
    Value::Object(object.into_iter().filter(|(_, value)| !is_empty(value)).collect())
}
