//! `bus`: inside the process, or NATS.

use std::time::Duration;

use super::folder::Folder;
use crate::bus;
use crate::yaml::Fields;

/// Reads `bus`.
pub(super) fn bus(root: &Fields<'_>, folder: &Folder, box_name: &str) -> bus::Config {
    let fields = root.fields("bus", &["box_id", "nats", "queue_limit", "queue_size_limit"]);
    let bytes = fields.as_ref().and_then(|f| f.byte_size("queue_size_limit")).unwrap_or(10 << 20);
    bus::Config {
        box_id: fields.as_ref().and_then(|f| f.string("box_id")).unwrap_or_else(|| box_name.to_owned()),
        nats: fields.as_ref().and_then(|f| nats(f, folder)),
        queue_messages_max: fields.as_ref().and_then(|f| f.count("queue_limit", 1, 1_000_000)).unwrap_or(256),
        queue_bytes_max: usize::try_from(bytes).unwrap_or(usize::MAX),
    }
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
    ];
    let fields = bus.fields("nats", KEYS)?;
    let mut servers = Vec::new();
    for item in fields.items("servers") {
        let Some(text) = item.string() else { continue };
        let text = if text.contains("://") { text } else { format!("nats://{text}") };
        match reqwest::Url::parse(&text) {
            Ok(url) if matches!(url.scheme(), "nats" | "tls" | "ws" | "wss") => servers.push(text),
            _ => {
                let _: Option<()> = item.mistake_with("not the URL of a NATS server", "write it like nats://host:4222");
            }
        }
    }
    if fields.items("servers").is_empty() {
        let _: Option<()> = fields.item().mistake("servers is missing");
    }
    let password = folder.secret(&fields, "password", "password_file");
    let token = folder.secret(&fields, "token", "token_file");
    let credentials = match (fields.string("user"), password, token, folder.path_of(&fields, "credentials_file")) {
        (None, None, None, None) => bus::Credentials::None,
        (Some(user), Some(password), None, None) => {
            bus::Credentials::UserPassword { user, password: password.expose().to_owned() }
        }
        (None, None, Some(token), None) => bus::Credentials::Token(token.expose().to_owned()),
        (None, None, None, Some(path)) => bus::Credentials::File(path),
        _ => fields
            .item()
            .mistake("name one of: user with password, token, credentials_file")
            .unwrap_or(bus::Credentials::None),
    };
    let seconds = Duration::from_secs;
    Some(bus::NatsConfig {
        servers,
        credentials,
        client_name: fields.string("client_name").unwrap_or_else(|| "andon".to_owned()),
        connect_timeout: fields.positive_duration("connect_timeout").unwrap_or(seconds(10)),
        publish_timeout: fields.positive_duration("publish_timeout").unwrap_or(Duration::from_millis(250)),
        ca_file: folder.path_of(&fields, "ca_file"),
    })
}
