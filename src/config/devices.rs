//! `gateway`: devices over WebSocket.

use std::time::Duration;

use super::folder::Folder;
use crate::gateway::jwt;
use crate::yaml::{Fields, Item};
use crate::{bus, gateway};

/// Most roles.
const ROLES_MAX: usize = 256;

/// Reads `gateway`.
pub(super) fn gateway(root: &Fields<'_>, folder: &Folder) -> gateway::Config {
    const KEYS: &[&str] = &[
        "message_size_limit",
        "messages_per_second",
        "bytes_per_second",
        "total_messages_per_second",
        "total_bytes_per_second",
        "idle_timeout",
        "connections_per_address_limit",
        "unauthenticated_limit",
        "second_session",
        "jwt",
        "roles",
        "auth_timeout",
        "ping_interval",
        "dead_after",
        "request_timeout",
        "subscriptions_limit",
        "connections_limit",
        "unauthenticated_per_address_limit",
        "auth_failures_limit",
        "payload_shape",
        "black_box",
        "default_publish",
        "default_subscribe",
    ];
    let Some(fields) = root.fields("gateway", KEYS) else { return gateway::Config::default() };
    let mut read = gateway::Config::default();
    limits(&fields, &mut read);
    times(&fields, &mut read);
    if let Some(shape) = fields.get("payload_shape").and_then(|i| i.one_of(&["plain", "envelope"])) {
        read.payload_shape =
            if shape == "plain" { gateway::PayloadShape::Plain } else { gateway::PayloadShape::Envelope };
    }
    if let Some(second) = fields.get("second_session").and_then(|i| i.one_of(&["replace", "refuse"])) {
        read.second_session =
            if second == "replace" { gateway::SecondSession::Replace } else { gateway::SecondSession::Refuse };
    }
    let lists = [("default_publish", &mut read.default_publish), ("default_subscribe", &mut read.default_subscribe)];
    for (key, list) in lists {
        if fields.get(key).is_some() {
            *list = patterns(&fields, key);
        }
    }
    read.jwt = fields.get("jwt").and_then(|item| json_web_tokens(&item, folder));
    black_box(&fields, &mut read.black_box);
    read.roles = fields.get("roles").map(|item| roles(&item)).unwrap_or_default();
    read
}

fn limits(fields: &Fields<'_>, read: &mut gateway::Config) {
    let rate = |key, max, default: u32| {
        let read = fields.count(key, 1, max).and_then(|n| u32::try_from(n).ok());
        read.unwrap_or(default)
    };
    read.messages_per_second = rate("messages_per_second", 100_000, read.messages_per_second);
    read.total_messages_per_second = rate("total_messages_per_second", 10_000_000, read.total_messages_per_second);
    read.auth_failures_max = rate("auth_failures_limit", 100_000, read.auth_failures_max);
    let size = |key, (min, max): (u64, u64), words: &str| {
        let item = fields.get(key)?;
        match item.byte_size()? {
            bytes if (min..=max).contains(&bytes) => Some(bytes),
            _ => item.mistake(format!("must be {words}")),
        }
    };
    if let Some(bytes) = size("message_size_limit", (1 << 10, 16 << 20), "from 1KB to 16MB") {
        read.message_bytes_max = usize::try_from(bytes).unwrap_or(usize::MAX);
    }
    if let Some(bytes) = size("bytes_per_second", (1 << 10, 1 << 30), "from 1KB to 1GB") {
        read.bytes_per_second = bytes;
    }
    if let Some(bytes) = size("total_bytes_per_second", (1 << 10, 100 << 30), "from 1KB to 100GB") {
        read.total_bytes_per_second = bytes;
    }
    let count = |key, default| fields.count(key, 1, 1_000_000).unwrap_or(default);
    read.subscriptions_max = count("subscriptions_limit", read.subscriptions_max);
    read.connections_max = count("connections_limit", read.connections_max);
    read.connections_per_address_max = count("connections_per_address_limit", read.connections_per_address_max);
    read.unauthenticated_max = count("unauthenticated_limit", read.unauthenticated_max);
    read.unauthenticated_per_address_max =
        count("unauthenticated_per_address_limit", read.unauthenticated_per_address_max);
}

/// Reads `gateway.black_box`.
fn black_box(fields: &Fields<'_>, read: &mut gateway::BlackBoxConfig) {
    const KEYS: &[&str] = &["size_limit", "device_size_limit", "kept_for", "payload_limit"];
    let Some(fields) = fields.fields("black_box", KEYS) else { return };
    let size = |key, (min, max): (u64, u64), words: &str, default: usize| {
        let read = fields.get(key).and_then(|item| match item.byte_size()? {
            bytes if (min..=max).contains(&bytes) => usize::try_from(bytes).ok(),
            _ => item.mistake(format!("must be {words}")),
        });
        read.unwrap_or(default)
    };
    read.bytes_max = size("size_limit", (0, 1 << 30), "at most 1GB", read.bytes_max);
    read.device_bytes_max = size("device_size_limit", (4 << 10, 16 << 20), "from 4KB to 16MB", read.device_bytes_max);
    read.payload_bytes_max = size("payload_limit", (0, 4 << 10), "at most 4KB", read.payload_bytes_max);
    read.age = fields.positive_duration("kept_for").unwrap_or(read.age);
}

fn times(fields: &Fields<'_>, read: &mut gateway::Config) {
    let duration = |key, default| fields.positive_duration(key).unwrap_or(default);
    read.auth_timeout = duration("auth_timeout", read.auth_timeout);
    read.ping_interval = duration("ping_interval", read.ping_interval);
    read.dead_after = duration("dead_after", read.dead_after.max(read.ping_interval * 3));
    read.request_timeout = duration("request_timeout", read.request_timeout);
    read.idle_timeout = fields.positive_duration("idle_timeout");
    if read.dead_after <= read.ping_interval {
        let _: Option<()> = fields.item().mistake("dead_after must be longer than ping_interval");
    }
}

/// Reads `gateway.jwt`; key files are read now, and by the gateway when they change.
fn json_web_tokens(item: &Item<'_>, folder: &Folder) -> Option<jwt::Config> {
    const KEYS: &[&str] =
        &["secret", "secret_file", "public_key_files", "jwks_file", "issuer", "audience", "clock_skew"];
    let fields = item.fields(KEYS)?;
    let path = |file: &Item<'_>| file.string().map(|text| folder.path(&text));
    let mut origins = Vec::new();
    match (fields.get("secret"), fields.get("secret_file")) {
        (Some(_), Some(file)) => return file.mistake("secret and secret_file exclude each other"),
        (Some(inline), None) => origins.push((jwt::Origin::Secret(inline.secret()?), inline)),
        (None, Some(file)) => origins.push((jwt::Origin::SecretFile(path(&file)?), file)),
        (None, None) => {}
    }
    for file in fields.items("public_key_files") {
        origins.push((jwt::Origin::PublicKey(path(&file)?), file));
    }
    if let Some(file) = fields.get("jwks_file") {
        origins.push((jwt::Origin::Set(path(&file)?), file));
    }
    if origins.is_empty() {
        return item.mistake("needs a key: secret, secret_file, public_key_files or jwks_file");
    }
    // All are read, so that all mistakes are told.
    let read = |(origin, at): (jwt::Origin, Item<'_>)| match jwt::Source::read(origin) {
        Ok(source) => Some(source),
        Err(why) => at.mistake(why),
    };
    let sources: Vec<_> = origins.into_iter().map(read).collect();
    Some(jwt::Config {
        sources: sources.into_iter().collect::<Option<_>>()?,
        issuer: fields.string("issuer"),
        audience: fields.string("audience"),
        clock_skew: fields.duration("clock_skew").unwrap_or(Duration::from_secs(30)),
    })
}

/// Reads `gateway.roles`: lists by name.
fn roles(item: &Item<'_>) -> gateway::Roles {
    let entries = item.entries();
    if entries.len() > ROLES_MAX {
        let _: Option<()> = item.mistake(format!("no more than {ROLES_MAX} roles"));
    }
    let read = |(name, item): (&str, Item<'_>)| {
        let fields = item.fields(&["publish", "subscribe"])?;
        let role = gateway::Role { publish: patterns(&fields, "publish"), subscribe: patterns(&fields, "subscribe") };
        Some((name.to_owned(), role))
    };
    entries.into_iter().filter_map(read).collect()
}

fn patterns(fields: &Fields<'_>, key: &str) -> Vec<String> {
    fields.items(key).iter().filter_map(pattern).collect()
}

/// Reads a subject pattern that may hold `{device}` and `{group}`.
fn pattern(item: &Item<'_>) -> Option<String> {
    let text = item.string()?;
    let names = ["{device}", "{deviceId}", "{clientId}", "{group}"];
    let replaced = names.iter().fold(text.clone(), |text, name| text.replace(name, "x"));
    match replaced.parse::<bus::SubjectPattern>() {
        Ok(_) => Some(text),
        Err(error) => item.mistake(error.to_string()),
    }
}
