//! `gateway`: devices over WebSocket.

use std::time::Duration;

use crate::yaml::{Fields, Item};
use crate::{bus, gateway};

/// Reads `gateway`.
pub(super) fn gateway(root: &Fields<'_>) -> gateway::Config {
    const KEYS: &[&str] = &[
        "message_size_limit",
        "messages_per_second",
        "auth_timeout",
        "ping_interval",
        "dead_after",
        "request_timeout",
        "subscriptions_limit",
        "connections_limit",
        "unauthenticated_per_address_limit",
        "auth_failures_limit",
        "payload_shape",
        "default_publish",
        "default_subscribe",
    ];
    let patterns = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
    let seconds = Duration::from_secs;
    let mut read = gateway::Config {
        message_bytes_max: 1 << 20,
        messages_per_second: 100,
        auth_timeout: seconds(10),
        ping_interval: seconds(15),
        dead_after: seconds(45),
        request_timeout: seconds(5),
        subscriptions_max: 64,
        connections_max: 10_000,
        unauthenticated_per_address_max: 64,
        auth_failures_max: 50,
        payload_shape: gateway::PayloadShape::Plain,
        default_publish: patterns(&gateway::DEFAULT_PUBLISH),
        default_subscribe: patterns(&gateway::DEFAULT_SUBSCRIBE),
    };
    let Some(fields) = root.fields("gateway", KEYS) else { return read };
    let rate = |key, default: u32| {
        let read = fields.count(key, 1, 100_000).and_then(|n| u32::try_from(n).ok());
        read.unwrap_or(default)
    };
    if let Some(item) = fields.get("message_size_limit") {
        match item.byte_size() {
            Some(bytes) if !(1 << 10..=16 << 20).contains(&bytes) => {
                let _: Option<()> = item.mistake("must be from 1KB to 16MB");
            }
            Some(bytes) => read.message_bytes_max = usize::try_from(bytes).unwrap_or(usize::MAX),
            None => {}
        }
    }
    read.messages_per_second = rate("messages_per_second", read.messages_per_second);
    read.auth_failures_max = rate("auth_failures_limit", read.auth_failures_max);
    let duration = |key, default| fields.positive_duration(key).unwrap_or(default);
    read.auth_timeout = duration("auth_timeout", read.auth_timeout);
    read.ping_interval = duration("ping_interval", read.ping_interval);
    read.dead_after = duration("dead_after", read.dead_after.max(read.ping_interval * 3));
    read.request_timeout = duration("request_timeout", read.request_timeout);
    if read.dead_after <= read.ping_interval {
        let _: Option<()> = fields.item().mistake("dead_after must be longer than ping_interval");
    }
    let count = |key, default| fields.count(key, 1, 1_000_000).unwrap_or(default);
    read.subscriptions_max = count("subscriptions_limit", read.subscriptions_max);
    read.connections_max = count("connections_limit", read.connections_max);
    read.unauthenticated_per_address_max =
        count("unauthenticated_per_address_limit", read.unauthenticated_per_address_max);
    if let Some(shape) = fields.get("payload_shape").and_then(|i| i.one_of(&["plain", "envelope"])) {
        read.payload_shape =
            if shape == "plain" { gateway::PayloadShape::Plain } else { gateway::PayloadShape::Envelope };
    }
    let lists = [("default_publish", &mut read.default_publish), ("default_subscribe", &mut read.default_subscribe)];
    for (key, list) in lists {
        if fields.get(key).is_some() {
            *list = fields.items(key).iter().filter_map(pattern).collect();
        }
    }
    read
}

/// Reads a subject pattern that may hold `{device}`.
fn pattern(item: &Item<'_>) -> Option<String> {
    let text = item.string()?;
    match text.replace("{device}", "device").parse::<bus::SubjectPattern>() {
        Ok(_) => Some(text),
        Err(error) => item.mistake(error.to_string()),
    }
}
