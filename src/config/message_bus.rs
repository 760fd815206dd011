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
    config.streams = streams(&fields, config.nats.is_some());
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

/// What JetStream calls a setting of a stream, and what to write instead; what is not ours to set is set on NATS.
const OF_JETSTREAM: [(&str, &str); 23] = [
    ("max_msgs", "write max_messages"),
    ("max_bytes", "write max_size"),
    ("max_msg_size", "write max_message_size"),
    ("max_msgs_per_subject", "write max_messages_per_subject"),
    ("num_replicas", "write replicas"),
    ("storage", "leave it out for a stream on disk, or write in_memory: true"),
    ("discard", "leave it out to drop what is oldest, or write discard_new: true"),
    ("retention", "streams keep messages by their limits; leave it out"),
    ("max_consumers", "leave it out: the number of readers is not limited"),
    ("no_ack", "leave it out: what is published to a stream is acknowledged"),
    ("discard_new_per_subject", "leave it out: a stream refuses what is new only when it is full as a whole"),
    ("allow_direct", "leave it out: it is always so"),
    ("mirror", SET_ON_NATS),
    ("sources", SET_ON_NATS),
    ("mirror_direct", SET_ON_NATS),
    ("placement", SET_ON_NATS),
    ("republish", SET_ON_NATS),
    ("compression", SET_ON_NATS),
    ("subject_transform", SET_ON_NATS),
    ("allow_rollup_hdrs", SET_ON_NATS),
    ("first_seq", SET_ON_NATS),
    ("sealed", SET_ON_NATS),
    ("metadata", SET_ON_NATS),
];
const SET_ON_NATS: &str = "set it on NATS: what the settings do not speak of stays there as it is";

fn streams(bus: &Fields<'_>, with_nats: bool) -> Vec<bus::StreamConfig> {
    let mut streams: Vec<bus::StreamConfig> = Vec::new();
    for item in bus.items("streams") {
        let Some(stream) = stream(&item, with_nats) else { continue };
        if streams.iter().any(|other| other.name == stream.name) {
            let _: Option<()> = item.mistake("a stream of this name stands above");
        }
        streams.push(stream);
    }
    streams
}

fn stream(item: &Item<'_>, with_nats: bool) -> Option<bus::StreamConfig> {
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
    let fields = item.fields_named_elsewhere(KEYS, &OF_JETSTREAM)?;
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
    if !with_nats {
        refuse_what_needs_nats(&fields, &stream);
    }
    Some(stream)
}

/// Refuses what a stream of NATS can do and one that this box keeps cannot.
fn refuse_what_needs_nats(fields: &Fields<'_>, stream: &bus::StreamConfig) {
    let refuse = |key: &str, is_beyond: bool, what: String, remedy: &str| {
        if is_beyond && let Some(item) = fields.get(key) {
            let _: Option<()> = item.mistake_with(what, format!("{remedy}, or name servers under bus.nats"));
        }
    };
    let limits = bus::STORE_LIMITS;
    let per_subject = stream.messages_per_subject_max;
    refuse(
        "max_messages_per_subject",
        per_subject.is_some_and(|max| max > limits.messages_per_subject_max),
        format!("a stream that this box keeps counts up to {} messages of a subject", limits.messages_per_subject_max),
        "write less, or leave it out and bound the stream by max_messages, max_age or max_size",
    );
    refuse(
        "max_messages",
        per_subject.is_some() && stream.messages_max.is_some(),
        "a stream that this box keeps cannot count messages beside messages of each subject".to_owned(),
        "leave out one of max_messages and max_messages_per_subject",
    );
    refuse(
        "max_message_size",
        stream.message_bytes_max.is_some_and(|max| u64::from(max) > limits.message_bytes_max),
        format!("a stream that this box keeps takes messages of up to {} MB", limits.message_bytes_max >> 20),
        "write less",
    );
    refuse(
        "max_size",
        stream.bytes_max.is_some_and(|max| max < limits.bytes_min),
        format!("a stream that this box keeps has at least {} KB", limits.bytes_min >> 10),
        "write more",
    );
    refuse(
        "replicas",
        stream.replicas > 1,
        "a stream that this box keeps is on this box alone".to_owned(),
        "leave it out",
    );
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
