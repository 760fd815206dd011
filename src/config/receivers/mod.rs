//! `receivers` of `notifications`: one reader for each kind of `*_configs`, with Alertmanager's keys and defaults.

mod chats;
mod local;
mod mail;
mod pagers;

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use super::folder::Folder;
use super::{glob, http_client, upstream};
use crate::model::{Authorization, HttpClient, Secret};
use crate::notify::{FALLBACK_AFTER, Fallback, Kind, Receiver, Way, Webhook, default_templates};
use crate::template::{Library, Template};
use crate::yaml::{Fields, Item};

/// Kinds that are read, with the reader and whether resolved alarms are told by default.
const KINDS: [(&str, Reader, bool); 14] = [
    ("webhook_configs", webhook, true),
    ("slack_configs", chats::slack, false),
    ("pagerduty_configs", pagers::pagerduty, true),
    ("opsgenie_configs", pagers::opsgenie, true),
    ("telegram_configs", chats::telegram, true),
    ("discord_configs", chats::discord, true),
    ("msteams_configs", chats::msteams, true),
    ("msteamsv2_configs", chats::msteamsv2, true),
    ("pushover_configs", pagers::pushover, true),
    ("email_configs", mail::email, false),
    ("nats_configs", local::nats, true),
    ("command_configs", local::command, true),
    ("modbus_configs", local::modbus, true),
    ("sms_configs", local::sms, true),
];

/// What an entry of `receivers` has that Alertmanager's do not.
const OWN_KEYS: [&str; 4] = ["name", "fallback", "fallback_after", "per_minute_max"];

/// What Andon has and what Alertmanager has; kinds that are not among [`KINDS`] are refused.
const RECEIVER_KEYS: &[&str] = &[
    "name",
    "fallback",
    "fallback_after",
    "per_minute_max",
    "nats_configs",
    "command_configs",
    "modbus_configs",
    "sms_configs",
    "webhook_configs",
    "slack_configs",
    "pagerduty_configs",
    "opsgenie_configs",
    "telegram_configs",
    "discord_configs",
    "msteams_configs",
    "msteamsv2_configs",
    "pushover_configs",
    "email_configs",
    "incidentio_configs",
    "jira_configs",
    "mattermost_configs",
    "rocketchat_configs",
    "sns_configs",
    "victorops_configs",
    "webex_configs",
    "wechat_configs",
];

/// How long one attempt may take unless the settings say otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Reads one entry of a kind; `None` after a mistake.
type Reader = fn(&Item<'_>, &Shared<'_>) -> Option<(Kind, Common)>;

/// What `global` says for all receivers, and the templates.
#[derive(Debug)]
pub(super) struct Shared<'a> {
    pub(super) folder: &'a Folder,
    pub(super) http: HttpClient,
    pub(super) library: Library,
    slack_url: Option<Secret>,
    pagerduty_url: String,
    opsgenie_url: String,
    opsgenie_key: Option<Secret>,
    telegram_url: String,
    telegram_token: Option<Secret>,
    smtp: mail::Smtp,
}

/// What every kind may say.
struct Common {
    send_resolved: Option<bool>,
    timeout: Duration,
    http: HttpClient,
}

impl<'a> Shared<'a> {
    /// Reads what all receivers share; `global` is the section of that name.
    pub(super) fn read(section: &Fields<'_>, global: Option<&Fields<'_>>, folder: &'a Folder) -> Self {
        let secret = |key, file| global.and_then(|g| folder.secret(g, key, file));
        let url = |key, default: &str| {
            let own = global.and_then(|g| checked_url(&g.get(key)?)).unwrap_or_else(|| default.to_owned());
            own.trim_end_matches('/').to_owned()
        };
        let http = global.and_then(|g| g.fields("http_config", http_client::KEYS));
        Shared {
            folder,
            http: http.map_or_else(HttpClient::plain, |fields| http_client::read(&fields, folder)),
            library: library(section, folder),
            slack_url: secret("slack_api_url", "slack_api_url_file"),
            pagerduty_url: url("pagerduty_url", "https://events.pagerduty.com/v2/enqueue"),
            opsgenie_url: url("opsgenie_api_url", "https://api.opsgenie.com"),
            opsgenie_key: secret("opsgenie_api_key", "opsgenie_api_key_file"),
            telegram_url: url("telegram_api_url", "https://api.telegram.org"),
            telegram_token: secret("telegram_bot_token", "telegram_bot_token_file"),
            smtp: mail::Smtp::read(global, folder),
        }
    }

    /// Reads a template under a key; without the key the default.
    fn text(&self, fields: &Fields<'_>, key: &str, default: &str) -> Template {
        match fields.get(key) {
            Some(item) => self.template(&item),
            None => self.parsed(default),
        }
    }

    fn template(&self, item: &Item<'_>) -> Template {
        let Some(text) = item.string() else { return self.parsed("") };
        Template::parse_in(&text, &self.library).unwrap_or_else(|mistakes| {
            for mistake in mistakes {
                let _: Option<()> = item.mistake(mistake.to_string());
            }
            self.parsed("")
        })
    }

    /// Returns a template of ours: it has no mistake, or a test would show it.
    fn parsed(&self, text: &str) -> Template {
        Template::parse_in(text, &self.library).unwrap_or_default()
    }

    fn texts(&self, item: &Item<'_>) -> BTreeMap<String, Template> {
        item.entries().into_iter().map(|(name, value)| (name.to_owned(), self.template(&value))).collect()
    }

    fn common(&self, fields: &Fields<'_>) -> Common {
        let own = fields.fields("http_config", http_client::KEYS).map(|f| http_client::read(&f, self.folder));
        let timeout = fields.get("timeout").and_then(|item| item.duration()).filter(|t| !t.is_zero());
        Common {
            send_resolved: fields.bool("send_resolved"),
            timeout: timeout.unwrap_or(TIMEOUT),
            http: own.unwrap_or_else(|| self.http.clone()),
        }
    }

    /// Reads a secret that stands in the entry, or in `global`.
    fn secret(
        &self,
        fields: &Fields<'_>,
        key: &'static str,
        file: &'static str,
        of_all: Option<&Secret>,
    ) -> Option<Secret> {
        if fields.get(key).is_some() || fields.get(file).is_some() {
            return self.folder.secret(fields, key, file);
        }
        match of_all {
            Some(secret) => Some(secret.clone()),
            None => fields.item().mistake(format!("{key} or {file} is missing")),
        }
    }

    /// Reads a secret address.
    fn secret_url(
        &self,
        fields: &Fields<'_>,
        key: &'static str,
        file: &'static str,
        of_all: Option<&Secret>,
    ) -> Option<Secret> {
        let url = self.secret(fields, key, file, of_all)?;
        match http_client::check_url(url.expose()) {
            Ok(()) => Some(url),
            Err(why) => {
                let at = fields.get(key).or_else(|| fields.get(file)).unwrap_or_else(|| fields.item().clone());
                at.mistake_with(why, "write it like http://host:8080/hook")
            }
        }
    }
}

/// Reads `templates`: files with definitions that all texts may call.
fn library(section: &Fields<'_>, folder: &Folder) -> Library {
    let mut library = default_templates().unwrap_or_default();
    for item in section.items("templates") {
        let Some(pattern) = item.string() else { continue };
        let paths = glob::expand(&folder.path(&pattern));
        if paths.is_empty() {
            item.note(format!("no file matches {pattern:?}"));
        }
        for path in paths {
            let Some(text) = folder.read(&item, &path) else { continue };
            match library.with(&text) {
                Ok(more) => library = more,
                Err(mistakes) => {
                    for mistake in mistakes {
                        let _: Option<()> = item.mistake(format!("{}: {mistake}", path.display()));
                    }
                }
            }
        }
    }
    library
}

/// Reads the list.
pub(super) fn read(section: &Fields<'_>, shared: &Shared<'_>) -> Vec<Receiver> {
    let mut names = HashSet::new();
    let mut receivers = Vec::new();
    for item in section.items("receivers") {
        let Some(fields) = item.fields(RECEIVER_KEYS) else { continue };
        let is_other = |key: &&&str| !OWN_KEYS.contains(*key) && KINDS.iter().all(|(kind, ..)| kind != *key);
        for key in RECEIVER_KEYS.iter().filter(is_other) {
            upstream::refuse(&fields, &[(*key, "there is no such service in Andon; webhook_configs may reach it")]);
        }
        let mut ways = Vec::new();
        for (key, reader, resolves) in KINDS {
            let read = fields.items(key).into_iter().filter_map(|item| reader(&item, shared));
            ways.extend(read.map(|(kind, common)| Way {
                kind,
                send_resolved: common.send_resolved.unwrap_or(resolves),
                timeout: common.timeout,
                http: common.http,
            }));
        }
        let Some(name) = fields.required_string("name") else { continue };
        let after = fields.positive_duration("fallback_after").unwrap_or(FALLBACK_AFTER);
        let fallback = fields.string("fallback").map(|receiver| Fallback { receiver, after });
        let modems = ways.iter().any(|way| matches!(way.kind, Kind::Sms(_)));
        let per_minute_max = fields.count("per_minute_max", 1, 10_000);
        let per_minute_max = per_minute_max.or(modems.then_some(local::TEXTS_PER_MINUTE));
        if names.insert(name.clone()) {
            receivers.push(Receiver { name, ways, fallback, per_minute_max });
        } else {
            let _: Option<()> = item.mistake(format!("a second receiver is named {name:?}"));
        }
    }
    check_fallbacks(section, &receivers);
    receivers
}

/// Every fallback is there and none leads back.
fn check_fallbacks(section: &Fields<'_>, receivers: &[Receiver]) {
    let find = |name: &str| receivers.iter().find(|r| r.name == name);
    for item in section.items("receivers") {
        let Some(fields) = item.fields(RECEIVER_KEYS) else { continue };
        let (Some(at), Some(name)) = (fields.get("fallback"), fields.string("name")) else { continue };
        let mut seen = HashSet::from([name]);
        let mut next = fields.string("fallback");
        while let Some(name) = next {
            let Some(receiver) = find(&name) else {
                let _: Option<()> = at.mistake(format!("no receiver is named {name:?}"));
                break;
            };
            if !seen.insert(name.clone()) {
                let _: Option<()> = at.mistake(format!("leads back to {name:?}"));
                break;
            }
            next = receiver.fallback.as_ref().map(|f| f.receiver.clone());
        }
    }
}

fn webhook(item: &Item<'_>, shared: &Shared<'_>) -> Option<(Kind, Common)> {
    let fields = item.fields(&["url", "url_file", "send_resolved", "max_alerts", "timeout", "http_config"])?;
    let mut common = shared.common(&fields);
    let url = match shared.folder.secret(&fields, "url", "url_file") {
        Some(url) => url,
        None if fields.get("url").is_none() && fields.get("url_file").is_none() => {
            return fields.item().mistake("url or url_file is missing");
        }
        None => return None,
    };
    // User and password in the URL become a header, so that the URL may be shown without them.
    let (url, authorization) = without_user(url.expose());
    if let Err(why) = http_client::check_url(&url) {
        let at = fields.get("url").or_else(|| fields.get("url_file"))?;
        return at.mistake_with(why, "write it like http://host:8080/hook");
    }
    if let (Some(authorization), Authorization::None) = (authorization, &common.http.authorization) {
        common.http.authorization = authorization;
    }
    let alerts_max = fields.count("max_alerts", 0, usize::MAX).unwrap_or(0);
    Some((Kind::Webhook(Webhook { url: Secret::new(url), alerts_max }), common))
}

fn without_user(url: &str) -> (String, Option<Authorization>) {
    let Ok(mut parsed) = reqwest::Url::parse(url) else { return (url.to_owned(), None) };
    if parsed.username().is_empty() {
        return (url.to_owned(), None);
    }
    let username = parsed.username().to_owned();
    let password = Secret::new(parsed.password().unwrap_or_default());
    if parsed.set_username("").is_err() || parsed.set_password(None).is_err() {
        return (url.to_owned(), None);
    }
    (parsed.to_string(), Some(Authorization::Basic { username, password }))
}

/// Reads an address that is no secret.
fn checked_url(item: &Item<'_>) -> Option<String> {
    let text = item.string()?;
    match http_client::check_url(&text) {
        Ok(()) => Some(text),
        Err(why) => item.mistake(why),
    }
}
