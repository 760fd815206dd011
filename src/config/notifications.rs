//! `notifications`: Alertmanager's `route`, `receivers`, `inhibit_rules` and `time_intervals`.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use super::folder::Folder;
use super::{carried, interval, matcher, receivers, upstream};
use crate::model::{AnchoredRegex, Holiday, MatchOp, Matcher};
use crate::notify::{Config, GroupBy, Heartbeat, InhibitRule, RelayConfig, Route};
use crate::yaml::{self, Fields, Item, Report};

const KEYS: &[&str] = &[
    "global",
    "route",
    "receivers",
    "inhibit_rules",
    "time_intervals",
    "mute_time_intervals",
    "templates",
    "tracing",
    // Andon's own.
    "config_file",
    "heartbeats",
    "acknowledge_links",
];

const GLOBAL_KEYS: &[&str] = &[
    "resolve_timeout",
    "http_config",
    "smtp_from",
    "smtp_smarthost",
    "smtp_hello",
    "smtp_auth_username",
    "smtp_auth_password",
    "smtp_auth_password_file",
    "smtp_auth_identity",
    "smtp_auth_secret",
    "smtp_auth_secret_file",
    "smtp_require_tls",
    "smtp_tls_config",
    "smtp_force_implicit_tls",
    "slack_api_url",
    "slack_api_url_file",
    "slack_app_token",
    "slack_app_token_file",
    "slack_app_url",
    "victorops_api_key",
    "victorops_api_key_file",
    "victorops_api_url",
    "pagerduty_url",
    "opsgenie_api_key",
    "opsgenie_api_key_file",
    "opsgenie_api_url",
    "webex_api_url",
    "telegram_api_url",
    "telegram_bot_token",
    "telegram_bot_token_file",
    "jira_api_url",
    "rocketchat_api_url",
    "rocketchat_token",
    "rocketchat_token_file",
    "rocketchat_token_id",
    "rocketchat_token_id_file",
    "wechat_api_url",
    "wechat_api_secret",
    "wechat_api_secret_file",
    "wechat_api_corp_id",
    "mattermost_webhook_url",
    "mattermost_webhook_url_file",
];

/// What the keys of `global` begin with that only kinds of receivers use which Andon does not have.
const UNUSED: [&str; 7] = ["slack_app_", "victorops_", "webex_", "jira_", "rocketchat_", "wechat_", "mattermost_"];

const ROUTE_KEYS: &[&str] = &[
    "receiver",
    "group_by",
    "continue",
    "match",
    "match_re",
    "matchers",
    "group_wait",
    "group_interval",
    "repeat_interval",
    "mute_time_intervals",
    "active_time_intervals",
    "routes",
];

const INHIBIT_KEYS: &[&str] = &[
    "name",
    "source_matchers",
    "source_match",
    "source_match_re",
    "target_matchers",
    "target_match",
    "target_match_re",
    "equal",
];

/// How far signs of life are apart unless the settings say otherwise.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(60);

/// How long links by which alarms are acknowledged are good unless the settings say otherwise.
const ACK_LINKS_FOR: Duration = Duration::from_secs(7 * 86_400);

/// Deepest routing tree.
const DEPTH_MAX: usize = 32;

/// What `notifications` says.
#[derive(Debug)]
pub(super) struct Notifications {
    pub(super) notify: Config,
    pub(super) resolve_timeout: Duration,
}

/// What the words of notices say about this box.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) external_url: String,
    /// Whether the settings say it; else it is guessed from the listener.
    pub(super) is_known: bool,
    pub(super) box_name: String,
    pub(super) time_zone: jiff::tz::TimeZone,
}

/// Reads the section. Without it nobody is told.
pub(super) fn read(
    root: &Fields<'_>,
    folder: &Folder,
    outbox: PathBuf,
    place: Place,
    holidays: &[Holiday],
) -> Notifications {
    let place_is_known = place.is_known;
    let mut read = Notifications {
        notify: Config {
            folder: outbox,
            external_url: place.external_url,
            box_name: place.box_name,
            time_zone: place.time_zone,
            ack_links_for: place.is_known.then_some(ACK_LINKS_FOR),
            heartbeats: Vec::new(),
            relay: RelayConfig::default(),
            route: None,
            receivers: Vec::new(),
            inhibit_rules: carried::rules(),
            time_intervals: Vec::new(),
        },
        resolve_timeout: Duration::from_secs(300),
    };
    let Some(fields) = root.fields("notifications", KEYS) else { return read };
    match fields.get("config_file") {
        Some(file) => {
            let beside = ["global", "route", "receivers", "inhibit_rules", "time_intervals", "templates"];
            if let Some(item) = beside.iter().find_map(|key| fields.get(key)) {
                let _: Option<()> = item.mistake("this stands in config_file, or here, not in both");
            }
            other_file(&file, folder, holidays, &mut read);
        }
        None => section(&fields, folder, holidays, &mut read),
    }
    if let Some(lasting) = fields.duration("acknowledge_links") {
        read.notify.ack_links_for = Some(lasting).filter(|d| place_is_known && !d.is_zero());
    }
    read.notify.heartbeats =
        fields.items("heartbeats").iter().filter_map(|item| heartbeat(item, &read.notify)).collect();
    read
}

/// Reads a file of Alertmanager's as it is; its mistakes are told with their places in it.
fn other_file(item: &Item<'_>, folder: &Folder, holidays: &[Holiday], read: &mut Notifications) {
    let Some(name) = item.string() else { return };
    let path = folder.path(&name);
    let Some(text) = folder.read(item, &path) else { return };
    let report = Report::new(path.display().to_string());
    let root = yaml::parse(&text, &report);
    if let Some(fields) = Item::root(&root, &report).fields(KEYS) {
        section(&fields, &Folder::beside(&path), holidays, read);
    }
    match report.finish() {
        Ok(notes) => notes.lines().into_iter().for_each(|line| item.note(line)),
        Err(mistakes) => {
            let _: Option<()> = item.mistake(mistakes.to_string());
        }
    }
}

/// Reads what an Alertmanager has in its file.
fn section(fields: &Fields<'_>, folder: &Folder, holidays: &[Holiday], read: &mut Notifications) {
    upstream::note(fields, &[("tracing", "nothing is traced")]);
    let global = fields.fields("global", GLOBAL_KEYS);
    if let Some(global) = &global {
        if let Some(timeout) = global.positive_duration("resolve_timeout") {
            read.resolve_timeout = timeout;
        }
        let unused = GLOBAL_KEYS.iter().filter(|key| UNUSED.iter().any(|prefix| key.starts_with(prefix)));
        for key in unused {
            upstream::note(global, &[(*key, "there is no receiver of this kind")]);
        }
    }
    let shared = receivers::Shared::read(fields, global.as_ref(), folder);
    read.notify.receivers = receivers::read(fields, &shared);
    read.notify.time_intervals = interval::read(fields, holidays);
    let own: Vec<InhibitRule> = fields.items("inhibit_rules").iter().filter_map(inhibit_rule).collect();
    read.notify.inhibit_rules = own.into_iter().chain(carried::rules()).collect();
    read.notify.route = match fields.get("route") {
        Some(item) => root_route(&item, &read.notify),
        None if fields.get("receivers").is_some() => fields.item().mistake("route is missing"),
        None => None,
    };
}

fn heartbeat(item: &Item<'_>, config: &Config) -> Option<Heartbeat> {
    let fields = item.fields(&["receiver", "interval"])?;
    let receiver = fields.required_string("receiver")?;
    if !config.receivers.iter().any(|r| r.name == receiver) {
        let known: Vec<&str> = config.receivers.iter().map(|r| r.name.as_str()).collect();
        unknown(&fields.get("receiver")?, "receiver", &receiver, &known);
    }
    let interval = fields.positive_duration("interval").unwrap_or(HEARTBEAT_INTERVAL);
    Some(Heartbeat { receiver, interval: interval.max(Duration::from_secs(1)) })
}

fn root_route(item: &Item<'_>, config: &Config) -> Option<Route> {
    let defaults = Route {
        receiver: String::new(),
        matchers: Vec::new(),
        continues: false,
        group_by: GroupBy::Labels(Vec::new()),
        group_wait: Duration::from_secs(30),
        group_interval: Duration::from_secs(300),
        repeat_interval: Duration::from_secs(4 * 3600),
        mute_time_intervals: Vec::new(),
        active_time_intervals: Vec::new(),
        routes: Vec::new(),
    };
    let fields = item.fields(ROUTE_KEYS)?;
    for key in ["match", "match_re", "matchers", "mute_time_intervals", "active_time_intervals", "continue"] {
        if let Some(item) = fields.get(key) {
            let _: Option<()> = item.mistake("the root route takes every alarm, always; put this into routes");
        }
    }
    if fields.get("receiver").is_none() {
        return item.mistake("receiver is missing; the root route must name one");
    }
    route(item, &defaults, config, 0)
}

/// Reads a route; what it does not say it has from `parent`, but for matchers, intervals and `continue`.
fn route(item: &Item<'_>, parent: &Route, config: &Config, depth: usize) -> Option<Route> {
    if depth == DEPTH_MAX {
        return item.mistake(format!("routes are nested deeper than {DEPTH_MAX}"));
    }
    let fields = item.fields(ROUTE_KEYS)?;
    let receiver = match fields.get("receiver") {
        None => parent.receiver.clone(),
        Some(item) => {
            let name = item.string()?;
            if !config.receivers.iter().any(|r| r.name == name) {
                let known: Vec<&str> = config.receivers.iter().map(|r| r.name.as_str()).collect();
                unknown(&item, "receiver", &name, &known);
            }
            name
        }
    };
    let intervals = |key| {
        let known: Vec<&str> = config.time_intervals.iter().map(|i| i.name.as_str()).collect();
        let items = fields.items(key).into_iter().filter_map(|item| {
            let name = item.string()?;
            if !known.contains(&name.as_str()) {
                unknown(&item, "time interval", &name, &known);
            }
            Some(name)
        });
        items.collect::<Vec<_>>()
    };
    let mut read = Route {
        receiver,
        matchers: matchers(&fields, "matchers", "match", "match_re"),
        continues: fields.bool("continue").unwrap_or(false),
        group_by: group_by(&fields).unwrap_or_else(|| parent.group_by.clone()),
        group_wait: fields.duration("group_wait").unwrap_or(parent.group_wait),
        group_interval: fields.positive_duration("group_interval").unwrap_or(parent.group_interval),
        repeat_interval: fields.positive_duration("repeat_interval").unwrap_or(parent.repeat_interval),
        mute_time_intervals: intervals("mute_time_intervals"),
        active_time_intervals: intervals("active_time_intervals"),
        routes: Vec::new(),
    };
    read.routes = fields.items("routes").iter().filter_map(|i| route(i, &read, config, depth + 1)).collect();
    Some(read)
}

fn unknown(item: &Item<'_>, what: &str, name: &str, known: &[&str]) {
    let message = format!("no {what} is named {name:?}");
    let _: Option<()> = match crate::yaml::closest(name, known) {
        Some(near) => item.mistake_with(message, format!("did you mean {near:?}?")),
        None => item.mistake(message),
    };
}

fn group_by(fields: &Fields<'_>) -> Option<GroupBy> {
    let item = fields.get("group_by")?;
    let labels = item.strings();
    let distinct: HashSet<&String> = labels.iter().collect();
    if distinct.len() < labels.len() {
        return item.mistake("a label stands twice");
    }
    if labels.iter().any(|l| l == "...") {
        if labels.len() > 1 {
            return item.mistake("\"...\" means all labels and stands alone");
        }
        return Some(GroupBy::All);
    }
    Some(GroupBy::Labels(labels))
}

/// Reads the three ways to write conditions; all of them together count.
fn matchers(fields: &Fields<'_>, key: &'static str, equal_key: &'static str, regex_key: &'static str) -> Vec<Matcher> {
    let mut matchers: Vec<Matcher> = fields.items(key).iter().flat_map(matcher::read).collect();
    let equal: BTreeMap<String, String> = fields.string_map(equal_key);
    matchers.extend(equal.iter().map(|(name, value)| Matcher::equal(name, value)));
    let Some(item) = fields.get(regex_key) else { return matchers };
    for (name, value) in item.entries() {
        let Some(text) = value.string() else { continue };
        // As upstream writes it where it shows a route, in the keys of groups above all.
        let whole = format!("^(?:{text})$");
        match AnchoredRegex::new(&text).and_then(|_| Matcher::new(name, MatchOp::Regex, &whole)) {
            Ok(matcher) => matchers.push(matcher),
            Err(error) => {
                let _: Option<()> = value.mistake(error.to_string());
            }
        }
    }
    matchers
}

fn inhibit_rule(item: &Item<'_>) -> Option<InhibitRule> {
    let fields = item.fields(INHIBIT_KEYS)?;
    let _ = fields.string("name");
    Some(InhibitRule {
        source: matchers(&fields, "source_matchers", "source_match", "source_match_re"),
        target: matchers(&fields, "target_matchers", "target_match", "target_match_re"),
        equal: fields.strings("equal"),
    })
}
