//! `bus`: inside the process, or NATS.

use std::path::Path;
use std::time::Duration;

use super::folder::Folder;
use crate::bus;
use crate::yaml::{Fields, Item};

/// Reads `bus`.
pub(super) fn bus(root: &Fields<'_>, folder: &Folder, data: &Path, box_name: &str) -> bus::Config {
    const KEYS: &[&str] =
        &["box_id", "nats", "streams", "spool", "replay_place_kept", "queue_limit", "queue_size_limit"];
    let mut config = bus::Config { folder: data.join("bus"), ..bus::Config::embedded(box_name) };
    let Some(fields) = root.fields("bus", KEYS) else { return config };
    if let Some(id) = fields.get("box_id").and_then(|item| item.string().map(|id| (item, id))) {
        match id {
            (item, id) if id.is_empty() || id.contains(char::is_control) => {
                let _: Option<()> = item.mistake("a name without control characters is needed");
            }
            (_, id) => config.box_id = id,
        }
    }
    config.nats = nats(&fields, folder);
    config.streams = streams(&fields);
    config.spool = spool(&fields);
    if let Some(kept_for) = fields.positive_duration("replay_place_kept") {
        config.place_kept_for = kept_for;
    }
    if let Some(limit) = fields.count("queue_limit", 1, 1_000_000) {
        config.queue_messages_max = limit;
    }
    if let Some(limit) = fields.byte_size("queue_size_limit") {
        config.queue_bytes_max = usize::try_from(limit).unwrap_or(usize::MAX);
    }
    config
}

fn spool(bus: &Fields<'_>) -> bus::SpoolConfig {
    let mut config = bus::SpoolConfig::default();
    let Some(fields) = bus.fields("spool", &["size_limit", "max_age", "keep_after_ack", "write_interval"]) else {
        return config;
    };
    if let Some(limit) = fields.byte_size("size_limit") {
        config.bytes_max = limit;
    }
    for (key, value) in [
        ("max_age", &mut config.age_max),
        ("keep_after_ack", &mut config.kept_after_ack),
        ("write_interval", &mut config.write_interval),
    ] {
        if let Some(duration) = fields.positive_duration(key) {
            *value = duration;
        }
    }
    config
}

fn streams(bus: &Fields<'_>) -> Vec<bus::StreamConfig> {
    let mut streams: Vec<bus::StreamConfig> = Vec::new();
    for item in bus.items("streams") {
        let Some(stream) = stream(&item) else { continue };
        if streams.iter().any(|other| other.name == stream.name) {
            let _: Option<()> = item.mistake("a stream of this name stands above");
        }
        streams.push(stream);
    }
    streams
}

fn stream(item: &Item<'_>) -> Option<bus::StreamConfig> {
    const KEYS: &[&str] = &[
        "name",
        "subjects",
        "max_age",
        "max_messages",
        "max_size",
        "max_message_size",
        "max_messages_per_subject",
        "duplicate_window",
        "replicas",
        "in_memory",
        "discard_new",
        "deny_delete",
        "deny_purge",
    ];
    let fields = item.fields(KEYS)?;
    let name = fields.required_string("name")?;
    if name.is_empty() || name.len() > 255 || name.contains(|c: char| c.is_whitespace() || ".*>/\\".contains(c)) {
        return fields.item().mistake("a stream's name has no dots, spaces, slashes or wildcards");
    }
    let mut subjects = Vec::new();
    for item in fields.items("subjects") {
        let Some(text) = item.string() else { continue };
        match text.parse() {
            Ok(pattern) => subjects.push(pattern),
            Err(error) => {
                let error: bus::Error = error;
                let _: Option<()> = item.mistake(error.to_string());
            }
        }
    }
    if subjects.is_empty() {
        return fields.item().mistake("subjects is missing");
    }
    let mut stream = bus::StreamConfig::new(&name, subjects);
    let count = |key| fields.count(key, 1, usize::MAX).map(|count| count as u64);
    stream.age_max = fields.positive_duration("max_age");
    stream.messages_max = count("max_messages");
    stream.bytes_max = fields.byte_size("max_size");
    stream.message_bytes_max =
        fields.byte_size("max_message_size").map(|bytes| u32::try_from(bytes).unwrap_or(u32::MAX));
    stream.messages_per_subject_max = count("max_messages_per_subject");
    if let Some(window) = fields.positive_duration("duplicate_window") {
        stream.duplicate_window = window;
    }
    if let Some(replicas) = fields.count("replicas", 1, 5) {
        stream.replicas = replicas;
    }
    let flag = |key| fields.bool(key).unwrap_or(false);
    stream.is_in_memory = flag("in_memory");
    stream.refuses_new = flag("discard_new");
    stream.deny_delete = flag("deny_delete");
    stream.deny_purge = flag("deny_purge");
    Some(stream)
}

fn nats(bus: &Fields<'_>, folder: &Folder) -> Option<bus::NatsConfig> {
    const KEYS: &[&str] = &[
        "servers",
        "user",
        "password",
        "password_file",
        "token",
        "token_file",
        "credentials_file",
        "client_name",
        "connect_timeout",
        "publish_timeout",
        "ca_file",
        "nkey",
        "nkey_file",
        "cert_file",
        "key_file",
        "probe_leaves",
    ];
    let fields = bus.fields("nats", KEYS)?;
    let servers = urls(&fields, "servers");
    let probe_leaves = urls(&fields, "probe_leaves");
    if fields.items("servers").is_empty() {
        let _: Option<()> = fields.item().mistake("servers is missing");
    }
    let password = folder.secret(&fields, "password", "password_file");
    let token = folder.secret(&fields, "token", "token_file");
    let nkey = folder.secret(&fields, "nkey", "nkey_file");
    let file = folder.path_of(&fields, "credentials_file");
    let credentials = match (fields.string("user"), password, token, nkey, file) {
        (None, None, None, None, None) => bus::Credentials::None,
        (Some(user), Some(password), None, None, None) => {
            bus::Credentials::UserPassword { user, password: password.expose().to_owned() }
        }
        (None, None, Some(token), None, None) => bus::Credentials::Token(token.expose().to_owned()),
        (None, None, None, Some(seed), None) => bus::Credentials::NKey(seed.expose().trim().to_owned()),
        (None, None, None, None, Some(path)) => bus::Credentials::File(path),
        _ => fields
            .item()
            .mistake("name one of: user with password, token, nkey, credentials_file")
            .unwrap_or(bus::Credentials::None),
    };
    let certificate = match (folder.path_of(&fields, "cert_file"), folder.path_of(&fields, "key_file")) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some((certificate, key)),
        _ => fields.item().mistake("cert_file and key_file belong together"),
    };
    let seconds = Duration::from_secs;
    Some(bus::NatsConfig {
        servers,
        credentials,
        client_name: fields.string("client_name").unwrap_or_else(|| "andon".to_owned()),
        connect_timeout: fields.positive_duration("connect_timeout").unwrap_or(seconds(10)),
        publish_timeout: fields.positive_duration("publish_timeout").unwrap_or(Duration::from_millis(250)),
        ca_file: folder.path_of(&fields, "ca_file"),
        certificate,
        probe_leaves,
    })
}

fn urls(fields: &Fields<'_>, key: &str) -> Vec<String> {
    let mut urls = Vec::new();
    for item in fields.items(key) {
        let Some(text) = item.string() else { continue };
        let text = if text.contains("://") { text } else { format!("nats://{text}") };
        match reqwest::Url::parse(&text) {
            Ok(url) if matches!(url.scheme(), "nats" | "tls" | "ws" | "wss") => urls.push(text),
            _ => {
                let _: Option<()> = item.mistake_with("not the URL of a NATS server", "write it like nats://host:4222");
            }
        }
    }
    urls
}
