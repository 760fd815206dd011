//! A notice as an event of PagerDuty: Events API v2 by routing key, or the older API by service key.
//!
//! Source: Alertmanager, `notify/pagerduty`; PagerDuty, Events API v2.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Post, group_word};
use crate::model::Secret;
use crate::notify::message::Message;
use crate::template::Template;

/// Longest summary and description.
const SUMMARY_CHARS_MAX: usize = 1024;

/// How an event finds its service, which also says the version of the API.
#[derive(Debug, Clone, PartialEq)]
pub enum PagerDutyKey {
    /// `routing_key`: Events API v2.
    Routing(Secret),
    /// `service_key`: the older API.
    Service(Secret),
}

/// One entry of `pagerduty_configs`.
#[derive(Debug, Clone, PartialEq)]
pub struct PagerDuty {
    /// Where to post.
    pub url: String,
    /// Which service.
    pub key: PagerDutyKey,
    /// Who tells.
    pub client: Template,
    /// Where that is.
    pub client_url: Template,
    /// What is the matter.
    pub description: Template,
    /// `critical`, `error`, `warning` or `info`.
    pub severity: Template,
    /// Where it is; the client if empty.
    pub source: Template,
    /// Kind of the event.
    pub class: Template,
    /// Part of the source.
    pub component: Template,
    /// Group of components.
    pub group: Template,
    /// More about it.
    pub details: BTreeMap<String, Template>,
    /// Pictures: `src`, `alt`, `href`.
    pub images: Vec<BTreeMap<String, Template>>,
    /// Links: `href`, `text`.
    pub links: Vec<BTreeMap<String, Template>>,
}

impl PagerDuty {
    /// A digest resolves all that it stands for, and is an incident that is resolved at once: it is there to be read.
    pub(super) fn posts(&self, message: &Message<'_>) -> Result<Vec<Post>, String> {
        let key = &message.notice.group_key;
        if message.digest().is_none() {
            return Ok(vec![self.post(message, if message.is_firing() { "trigger" } else { "resolve" }, key)?]);
        }
        let folded = message.notice.folded.iter().map(|folded| (folded, "resolve"));
        let all = folded.chain([(key, "trigger"), (key, "resolve")]);
        all.map(|(key, action)| self.post(message, action, key)).collect()
    }

    fn post(&self, message: &Message<'_>, action: &str, group_key: &str) -> Result<Post, String> {
        let summary = message.headline(&self.description, SUMMARY_CHARS_MAX)?;
        let details = match message.digest() {
            Some(digest) => json!({ "digest": digest.text() }),
            None => rendered(message, &self.details)?,
        };
        let word = group_word(group_key);
        let client = message.render(&self.client)?;
        let client_url = message.render(&self.client_url)?;
        let body = match &self.key {
            PagerDutyKey::Service(key) => json!({
                "service_key": key.expose(),
                "event_type": action,
                "incident_key": word,
                "description": summary,
                "client": client,
                "client_url": client_url,
                "details": details,
            }),
            PagerDutyKey::Routing(key) => {
                let source = message.render(&self.source)?;
                let severity = match message.digest() {
                    Some(_) => "info".to_owned(),
                    None => message.render(&self.severity)?,
                };
                let all = |list: &[BTreeMap<String, Template>]| -> Result<Vec<Value>, String> {
                    list.iter().map(|one| rendered(message, one)).collect()
                };
                json!({
                    "routing_key": key.expose(),
                    "event_action": action,
                    "dedup_key": word,
                    "client": client,
                    "client_url": client_url,
                    "payload": {
                        "summary": summary,
                        "source": if source.is_empty() { client.clone() } else { source },
                        "severity": if severity.is_empty() { "error".to_owned() } else { severity },
                        "class": message.render(&self.class)?,
                        "component": message.render(&self.component)?,
                        "group": message.render(&self.group)?,
                        "custom_details": details,
                    },
                    "images": all(&self.images)?,
                    "links": all(&self.links)?,
                })
            }
        };
        Ok(Post::json(self.url.clone(), &body))
    }
}

fn rendered(message: &Message<'_>, texts: &BTreeMap<String, Template>) -> Result<Value, String> {
    let one = |(name, template): (&String, &Template)| Ok((name.clone(), message.render(template)?.into()));
    Ok(Value::Object(texts.iter().map(one).collect::<Result<_, String>>()?))
}
