//! The kinds that page somebody: PagerDuty, OpsGenie, Pushover.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Common, Shared, checked_url};
use crate::notify::{Kind, OpsGenie, PagerDuty, PagerDutyKey, Pushover, Responder};
use crate::template::Template;
use crate::yaml::Item;

pub(super) fn pagerduty(item: &Item<'_>, shared: &Shared<'_>) -> Option<(Kind, Common)> {
    let fields = item.fields(&[
        "send_resolved",
        "http_config",
        "timeout",
        "routing_key",
        "routing_key_file",
        "service_key",
        "service_key_file",
        "url",
        "client",
        "client_url",
        "description",
        "severity",
        "source",
        "details",
        "images",
        "links",
        "class",
        "component",
        "group",
    ])?;
    let routing = shared.folder.secret(&fields, "routing_key", "routing_key_file");
    let service = shared.folder.secret(&fields, "service_key", "service_key_file");
    let own_url = fields.get("url").and_then(|item| checked_url(&item));
    let (key, url) = match (routing, service) {
        (Some(_), Some(_)) => return item.mistake("routing_key and service_key exclude each other"),
        (Some(key), None) => (PagerDutyKey::Routing(key), shared.pagerduty_url.clone()),
        (None, Some(key)) => {
            (PagerDutyKey::Service(key), "https://events.pagerduty.com/generic/2010-04-15/create_event.json".to_owned())
        }
        (None, None) => return item.mistake("routing_key or service_key is missing"),
    };
    let text = |key, default| shared.text(&fields, key, default);
    let mut details: BTreeMap<String, Template> = [
        ("firing", r#"{{ template "pagerduty.default.instances" .Alerts.Firing }}"#),
        ("resolved", r#"{{ template "pagerduty.default.instances" .Alerts.Resolved }}"#),
        ("num_firing", "{{ .Alerts.Firing | len }}"),
        ("num_resolved", "{{ .Alerts.Resolved | len }}"),
    ]
    .into_iter()
    .map(|(name, text)| (name.to_owned(), shared.parsed(text)))
    .collect();
    details.extend(fields.get("details").map(|item| shared.texts(&item)).unwrap_or_default());
    let all = |key| fields.items(key).iter().map(|item| shared.texts(item)).collect();
    let pagerduty = PagerDuty {
        url: own_url.unwrap_or(url),
        key,
        client: text("client", r#"{{ template "pagerduty.default.client" . }}"#),
        client_url: text("client_url", r#"{{ template "pagerduty.default.clientURL" . }}"#),
        description: text("description", r#"{{ template "pagerduty.default.description" . }}"#),
        severity: text("severity", "error"),
        source: text("source", ""),
        class: text("class", ""),
        component: text("component", ""),
        group: text("group", ""),
        details,
        images: all("images"),
        links: all("links"),
    };
    Some((Kind::PagerDuty(Box::new(pagerduty)), shared.common(&fields)))
}

pub(super) fn opsgenie(item: &Item<'_>, shared: &Shared<'_>) -> Option<(Kind, Common)> {
    let fields = item.fields(&[
        "send_resolved",
        "http_config",
        "timeout",
        "api_key",
        "api_key_file",
        "api_url",
        "message",
        "description",
        "source",
        "details",
        "entity",
        "responders",
        "tags",
        "note",
        "priority",
        "update_alerts",
        "actions",
    ])?;
    let url = fields.get("api_url").and_then(|item| checked_url(&item));
    let text = |key, default| shared.text(&fields, key, default);
    let opsgenie = OpsGenie {
        url: url.map_or_else(|| shared.opsgenie_url.clone(), |url| url.trim_end_matches('/').to_owned()),
        key: shared.secret(&fields, "api_key", "api_key_file", shared.opsgenie_key.as_ref())?,
        message: text("message", r#"{{ template "opsgenie.default.message" . }}"#),
        description: text("description", r#"{{ template "opsgenie.default.description" . }}"#),
        source: text("source", r#"{{ template "opsgenie.default.source" . }}"#),
        details: fields.get("details").map(|item| shared.texts(&item)).unwrap_or_default(),
        entity: text("entity", ""),
        responders: fields.items("responders").iter().filter_map(|item| responder(item, shared)).collect(),
        tags: text("tags", ""),
        note: text("note", ""),
        priority: text("priority", ""),
        actions: text("actions", ""),
        updates: fields.bool("update_alerts").unwrap_or(false),
    };
    Some((Kind::OpsGenie(Box::new(opsgenie)), shared.common(&fields)))
}

fn responder(item: &Item<'_>, shared: &Shared<'_>) -> Option<Responder> {
    let fields = item.fields(&["id", "name", "username", "type"])?;
    let kind = shared.template(&fields.required("type")?);
    let named = ["id", "name", "username"].into_iter().find_map(|by| Some((by, fields.get(by)?)));
    match named {
        Some((by, name)) => Some(Responder { kind, by, name: shared.template(&name) }),
        None => item.mistake("one of id, name and username is missing"),
    }
}

pub(super) fn pushover(item: &Item<'_>, shared: &Shared<'_>) -> Option<(Kind, Common)> {
    let fields = item.fields(&[
        "send_resolved",
        "http_config",
        "timeout",
        "user_key",
        "user_key_file",
        "token",
        "token_file",
        "title",
        "message",
        "url",
        "url_title",
        "device",
        "sound",
        "priority",
        "retry",
        "expire",
        "ttl",
        "html",
        "monospace",
    ])?;
    let text = |key, default| shared.text(&fields, key, default);
    let duration = |key, seconds| fields.duration(key).unwrap_or(Duration::from_secs(seconds));
    let is_html = fields.bool("html").unwrap_or(false);
    let is_monospace = fields.bool("monospace").unwrap_or(false);
    if is_html && is_monospace {
        return item.mistake("html and monospace exclude each other");
    }
    let pushover = Pushover {
        url: "https://api.pushover.net/1/messages.json".to_owned(),
        user: shared.secret(&fields, "user_key", "user_key_file", None)?,
        token: shared.secret(&fields, "token", "token_file", None)?,
        title: text("title", r#"{{ template "pushover.default.title" . }}"#),
        message: text("message", r#"{{ template "pushover.default.message" . }}"#),
        link: text("url", r#"{{ template "pushover.default.url" . }}"#),
        link_title: text("url_title", ""),
        device: text("device", ""),
        sound: text("sound", ""),
        priority: text("priority", r#"{{ if eq .Status "firing" }}2{{ else }}0{{ end }}"#),
        retry: duration("retry", 60),
        expire: duration("expire", 3600),
        ttl: duration("ttl", 0),
        is_html,
        is_monospace,
    };
    Some((Kind::Pushover(Box::new(pushover)), shared.common(&fields)))
}
