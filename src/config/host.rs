//! `host`, `own_metrics` and `nats_monitoring`: what is read without being scraped.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::http_client;
use crate::collect;
use crate::model::AnchoredRegex;
use crate::yaml::{Fields, Item};

/// Reads `host`; `None` if it is switched off.
pub(super) fn host(root: &Fields<'_>) -> Option<collect::HostConfig> {
    const KEYS: &[&str] = &[
        "enabled",
        "job",
        "interval",
        "proc_root",
        "sys_root",
        "file_system_root",
        "mount_points_exclude",
        "file_systems_exclude",
        "disks_exclude",
        "networks_exclude",
    ];
    let fields = root.fields("host", KEYS);
    let fields = fields.as_ref();
    if fields.and_then(|f| f.bool("enabled")) == Some(false) {
        return None;
    }
    let path =
        |key, default: &str| PathBuf::from(fields.and_then(|f| f.string(key)).unwrap_or_else(|| default.to_owned()));
    let regex = |key, default: &str| {
        let item = fields.and_then(|f| f.get(key));
        let text = item.as_ref().and_then(Item::string).unwrap_or_else(|| default.to_owned());
        match (AnchoredRegex::new(&text), item) {
            (Ok(regex), _) => Some(regex),
            (Err(error), Some(item)) => item.mistake(error.to_string()),
            (Err(_), None) => None,
        }
    };
    Some(collect::HostConfig {
        job: fields.and_then(|f| f.string("job")).unwrap_or_else(|| "host".to_owned()),
        interval: interval(fields),
        proc_root: path("proc_root", "/proc"),
        sys_root: path("sys_root", "/sys"),
        file_system_root: path("file_system_root", "/"),
        mount_points_exclude: regex("mount_points_exclude", collect::HostConfig::MOUNT_POINTS_EXCLUDE)?,
        file_systems_exclude: regex("file_systems_exclude", collect::HostConfig::FILE_SYSTEMS_EXCLUDE)?,
        disks_exclude: regex("disks_exclude", collect::HostConfig::DISKS_EXCLUDE)?,
        networks_exclude: regex("networks_exclude", "")?,
    })
}

/// Reads `own_metrics`.
pub(super) fn own_metrics(root: &Fields<'_>) -> collect::OwnConfig {
    collect::OwnConfig { interval: interval(root.fields("own_metrics", &["interval"]).as_ref()) }
}

/// Reads `interval`: 15 s by default, at least 1 s.
fn interval(fields: Option<&Fields<'_>>) -> Duration {
    let Some(item) = fields.and_then(|f| f.get("interval")) else { return Duration::from_secs(15) };
    match item.duration() {
        Some(short) if short < Duration::from_secs(1) => item.mistake("must be at least 1s"),
        read => read,
    }
    .unwrap_or(Duration::from_secs(15))
}

/// Reads `nats_monitoring`; `None` if it names no server.
pub(super) fn nats_monitoring(root: &Fields<'_>) -> Option<collect::NatsConfig> {
    const KEYS: &[&str] = &["servers", "job", "interval", "timeout", "connections_limit", "streams_limit"];
    let fields = root.fields("nats_monitoring", KEYS)?;
    let mut instances = BTreeSet::new();
    let mut servers = Vec::new();
    for item in fields.items("servers") {
        let Some(server) = nats_server(&item) else { continue };
        if instances.insert(server.instance.clone()) {
            servers.push(server);
        } else {
            let _: Option<()> = item.mistake(format!("a second server has the instance {:?}", server.instance));
        }
    }
    let read = collect::NatsConfig {
        job: fields.string("job").unwrap_or_else(|| "nats".to_owned()),
        interval: interval(Some(&fields)),
        timeout: fields.positive_duration("timeout").unwrap_or(Duration::from_secs(5)),
        connections_max: fields.count("connections_limit", 0, 100_000).unwrap_or(1024),
        streams_max: fields.count("streams_limit", 0, 100_000).unwrap_or(1000),
        servers,
    };
    (!read.servers.is_empty()).then_some(read)
}

/// Reads a server: its URL, or a map with `url` and `instance`.
fn nats_server(item: &Item<'_>) -> Option<collect::NatsServer> {
    let (at, given) = match &item.node().kind {
        crate::yaml::Kind::Scalar { .. } => (item.clone(), None),
        _ => {
            let fields = item.fields(&["url", "instance"])?;
            (fields.required("url")?, fields.string("instance"))
        }
    };
    let url = at.string()?.trim_end_matches('/').to_owned();
    if let Err(why) = http_client::check_url(&url) {
        return at.mistake_with(why, "write it like http://127.0.0.1:8222");
    }
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default().to_owned();
    Some(collect::NatsServer { instance: given.unwrap_or(host), url })
}
