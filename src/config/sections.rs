//! Andon's own sections: listener, stores, bus, devices, this machine, own log lines.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::folder::Folder;
use super::{LogFormat, Logging, http_client, upstream};
use crate::model::{AnchoredRegex, MetricKind};
use crate::yaml::{Fields, Item};
use crate::{alarms, bus, collect, gateway, http, query, storage};

/// Where samples, lines and state lie unless the settings or the command line say otherwise.
const DATA_FOLDER: &str = "/var/lib/andon";

/// Where the box listens unless the settings or the command line say otherwise.
const LISTEN: &str = "127.0.0.1:26366";

/// Reads `http`; `listen_flag` wins over `http.listen`.
pub(super) fn http(root: &Fields<'_>, listen_flag: Option<&str>) -> Option<(http::Config, Option<String>)> {
    const KEYS: &[&str] =
        &["listen", "unprotected", "external_url", "connections_limit", "body_size_limit", "header_timeout"];
    let fields = section(root, "http", KEYS);
    let get = |key| fields.as_ref().and_then(|f| f.get(key));
    let unprotected = get("unprotected").and_then(|i| i.bool()).unwrap_or(false);
    let external_url = get("external_url").and_then(|item| {
        let url = item.string()?;
        let check = http_client::check_url(&url);
        check.map_or_else(|why| item.mistake(why), |()| Some(url.trim_end_matches('/').to_owned()))
    });
    let connections_max = fields.as_ref().and_then(|f| f.count("connections_limit", 1, 65_536)).unwrap_or(256);
    let body_bytes_max = fields.as_ref().and_then(|f| f.byte_size("body_size_limit")).unwrap_or(10 << 20);
    let header_timeout =
        fields.as_ref().and_then(|f| f.positive_duration("header_timeout")).unwrap_or(Duration::from_secs(10));
    let at = if listen_flag.is_some() { None } else { get("listen") };
    let complain = |message: String| -> Option<SocketAddr> {
        match &at {
            Some(item) => item.mistake(message),
            None => root.item().mistake(format!("--listen: {message}")),
        }
    };
    let written = at.as_ref().map(Item::string);
    let text = match (listen_flag, written) {
        (Some(flag), _) => flag.to_owned(),
        (None, Some(written)) => written?,
        (None, None) => LISTEN.to_owned(),
    };
    let listen = match http::listen_address(&text) {
        Err(error) => complain(error.to_string())?,
        Ok(address) if !address.ip().is_loopback() && !unprotected => {
            complain(http::Error::Unprotected { address }.to_string())?
        }
        Ok(address) => address,
    };
    let body_bytes_max = usize::try_from(body_bytes_max).unwrap_or(usize::MAX);
    Some((http::Config { listen, unprotected, connections_max, body_bytes_max, header_timeout }, external_url))
}

/// Returns the section's keys, as an empty map where it is missing.
fn section<'a>(root: &Fields<'a>, key: &str, keys: &'static [&'static str]) -> Option<Fields<'a>> {
    root.fields(key, keys)
}

/// What `storage` says for the stores and for the rooms that keep their own files in the data folder.
pub(super) struct Stores {
    pub(super) storage: storage::Config,
    pub(super) alarms: alarms::Config,
    pub(super) outbox: PathBuf,
}

/// Reads `storage`; `data_flag` wins over `storage.path`.
pub(super) fn storage(root: &Fields<'_>, folder: &Folder, data_flag: Option<&Path>) -> Stores {
    const KEYS: &[&str] = &["path", "size_limit", "reserve", "metrics", "logs", "alarms", "tsdb", "exemplars"];
    let fields = section(root, "storage", KEYS);
    let mut tsdb = storage::tsdb::Config {
        retention: storage::tsdb::RETENTION_DEFAULT,
        wal_sync: storage::tsdb::WalSync::Interval(Duration::from_secs(1)),
        series_max: storage::tsdb::SERIES_MAX_DEFAULT,
        ahead_max: storage::tsdb::AHEAD_MAX_DEFAULT,
    };
    let mut logs = storage::logs::Config::usual();
    let mut path = PathBuf::from(DATA_FOLDER);
    let mut size_limit = None;
    let mut reserve_bytes = storage::RESERVE_BYTES_DEFAULT;
    let mut history_age = Duration::from_secs(90 * 24 * 3600);
    let mut active_max = 10_000;
    if let Some(fields) = fields {
        upstream::note(
            &fields,
            &[
                ("tsdb", "samples are taken out of order anywhere within storage.metrics.retention"),
                ("exemplars", "exemplars are not stored"),
            ],
        );
        path = folder.path_of(&fields, "path").unwrap_or(path);
        size_limit = fields.byte_size("size_limit");
        reserve_bytes = fields.byte_size("reserve").unwrap_or(reserve_bytes);
        if let Some(metrics) = fields.fields("metrics", &["retention", "wal_sync", "series_limit", "ahead_limit"]) {
            tsdb.retention = metrics.positive_duration("retention").unwrap_or(tsdb.retention);
            tsdb.wal_sync = metrics.get("wal_sync").and_then(|i| wal_sync(&i)).unwrap_or(tsdb.wal_sync);
            tsdb.series_max = metrics.count("series_limit", 1, 100_000_000).unwrap_or(tsdb.series_max);
            tsdb.ahead_max = metrics.duration("ahead_limit").unwrap_or(tsdb.ahead_max);
        }
        if let Some(lines) = fields.fields("logs", &["retention", "line_size_limit", "stream_limit"]) {
            logs.retention = lines.positive_duration("retention").unwrap_or(logs.retention);
            let line_bytes = lines.byte_size("line_size_limit").and_then(|bytes| usize::try_from(bytes).ok());
            logs.line_bytes_max = line_bytes.unwrap_or(logs.line_bytes_max).clamp(64, 1 << 20);
            logs.streams_max = lines.count("stream_limit", 1, 1_000_000).unwrap_or(logs.streams_max);
        }
        if let Some(alarms) = fields.fields("alarms", &["retention", "active_limit"]) {
            history_age = alarms.positive_duration("retention").unwrap_or(history_age);
            active_max = alarms.count("active_limit", 1, 1_000_000).unwrap_or(active_max);
        }
    }
    let path = data_flag.map_or(path, Path::to_owned);
    Stores {
        alarms: alarms::Config {
            folder: path.join("alarms/journal"),
            history_age,
            active_max,
            resolve_timeout: Duration::from_secs(300),
        },
        outbox: path.join("notify"),
        storage: storage::Config { folder: path, size_limit, reserve_bytes, tsdb, logs },
    }
}

fn wal_sync(item: &Item<'_>) -> Option<storage::tsdb::WalSync> {
    use storage::tsdb::WalSync;

    match item.string()?.as_str() {
        "always" => Some(WalSync::Always),
        "never" => Some(WalSync::Never),
        text => match crate::model::parse_duration(text) {
            Ok(interval) if !interval.is_zero() => Some(WalSync::Interval(interval)),
            _ => {
                item.mistake_with(format!("not a way to sync: {text:?}"), "write always, never, or how often, like 1s")
            }
        },
    }
}

/// Reads `query`. `default_step` is the evaluation interval.
pub(super) fn query(root: &Fields<'_>, default_step: Duration) -> query::promql::Limits {
    let fields = section(root, "query", &["lookback", "timeout", "samples_limit"]);
    let duration = |key| fields.as_ref().and_then(|f| f.positive_duration(key));
    query::promql::Limits {
        lookback: duration("lookback").unwrap_or(Duration::from_secs(300)),
        timeout: duration("timeout").unwrap_or(Duration::from_secs(120)),
        samples_max: fields.and_then(|f| f.count("samples_limit", 1, 1_000_000_000)).unwrap_or(10_000_000),
        default_step,
    }
}

/// Reads `bus`.
pub(super) fn bus(root: &Fields<'_>, folder: &Folder, box_name: &str) -> bus::Config {
    let fields = section(root, "bus", &["box_id", "nats", "queue_limit", "queue_size_limit"]);
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
    let Some(fields) = section(root, "gateway", KEYS) else { return read };
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

/// Reads `telemetry`.
pub(super) fn telemetry(root: &Fields<'_>) -> collect::TelemetryConfig {
    const KEYS: &[&str] =
        &["rules", "telemetry_defaults", "factory_defaults", "series_per_device_limit", "devices_limit", "job"];
    let fields = section(root, "telemetry", KEYS);
    let fields = fields.as_ref();
    let bool = |key| fields.and_then(|f| f.bool(key)).unwrap_or(true);
    collect::TelemetryConfig {
        rules: fields.map(|f| f.items("rules").iter().filter_map(mapping_rule).collect()).unwrap_or_default(),
        telemetry_defaults: bool("telemetry_defaults"),
        factory_defaults: bool("factory_defaults"),
        series_per_device_max: fields.and_then(|f| f.count("series_per_device_limit", 1, 1_000_000)).unwrap_or(500),
        devices_max: fields.and_then(|f| f.count("devices_limit", 1, 1_000_000)).unwrap_or(2000),
        job: fields.and_then(|f| f.string("job")).unwrap_or_else(|| "devices".to_owned()),
    }
}

/// Reads a text into one of the words of mapping rules.
fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(item: &Item<'_>) -> Option<T> {
    item.string()?.parse().map_or_else(|e: T::Err| item.mistake(e.to_string()), Some)
}

fn mapping_rule(item: &Item<'_>) -> Option<collect::telemetry::MappingRule> {
    let fields = item.fields(&["name", "subject", "timestamp", "samples"])?;
    let samples: Vec<_> = fields.items("samples").iter().filter_map(sample_rule).collect();
    if fields.items("samples").is_empty() {
        let _: Option<()> = fields.item().mistake("samples is missing");
    }
    let timestamp = fields.get("timestamp").and_then(|i| parsed(&i));
    let subject: collect::telemetry::SubjectTemplate = parsed(&fields.required("subject")?)?;
    let name = fields.string("name").unwrap_or_else(|| subject.as_str().to_owned());
    Some(collect::telemetry::MappingRule { name, subject, timestamp, samples })
}

fn sample_rule(item: &Item<'_>) -> Option<collect::telemetry::SampleRule> {
    let fields = item.fields(&["metric", "kind", "help", "value", "words", "scale", "labels"])?;
    let kind = match fields.get("kind").and_then(|i| i.one_of(&["gauge", "counter", "unknown"])) {
        Some("counter") => MetricKind::Counter,
        Some("unknown") => MetricKind::Unknown,
        _ => MetricKind::Gauge,
    };
    let words = fields.get("words").map(|i| i.entries()).unwrap_or_default();
    let labels = fields.get("labels").map(|i| i.entries()).unwrap_or_default();
    let value = fields.get("value").map_or_else(|| "$".parse().ok(), |i| parsed(&i));
    Some(collect::telemetry::SampleRule {
        metric: parsed(&fields.required("metric")?)?,
        kind,
        help: fields.string("help").unwrap_or_default(),
        value: value?,
        words: words.into_iter().filter_map(|(word, item)| Some((word.to_owned(), item.float()?))).collect(),
        scale: fields.float("scale").unwrap_or(1.0),
        labels: labels.into_iter().filter_map(|(name, item)| Some((name.to_owned(), parsed(&item)?))).collect(),
    })
}

/// Reads `logs`.
pub(super) fn logs(root: &Fields<'_>) -> collect::LogsConfig {
    let fields = section(root, "logs", &["subjects", "scrub_secrets"]);
    let subjects = match fields.as_ref().and_then(|f| f.get("subjects")) {
        Some(item) => item.items().iter().filter_map(parsed).collect(),
        None => ["logs.{device}", "logs.{device}.>", "factory.{line}.alerts.>"]
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect(),
    };
    collect::LogsConfig { subjects, scrub_secrets: fields.and_then(|f| f.bool("scrub_secrets")).unwrap_or(true) }
}

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
    let fields = section(root, "host", KEYS);
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
    collect::OwnConfig { interval: interval(section(root, "own_metrics", &["interval"]).as_ref()) }
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
    let fields = section(root, "nats_monitoring", KEYS)?;
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
        connections_max: fields.count("connections_limit", 0, 100_000).unwrap_or(256),
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

/// Tells whether a part of a filter is a level or gives one to a part of the program.
fn is_level(part: &str) -> bool {
    let level = part.split_once('=').map_or(part, |(_, level)| level);
    ["off", "error", "warn", "info", "debug", "trace"].contains(&level.trim())
}

/// Reads `logging`.
pub(super) fn logging(root: &Fields<'_>, folder: &Folder) -> Logging {
    let mut read = Logging { level: "info".to_owned(), format: LogFormat::Text, folder: None };
    let Some(fields) = section(root, "logging", &["level", "format", "folder"]) else { return read };
    if let Some(item) = fields.get("level")
        && let Some(level) = item.string()
    {
        if level.split(',').all(is_level) {
            read.level = level;
        } else {
            let _: Option<()> = item.mistake_with(
                format!("not a level: {level:?}"),
                "write error, warn, info or debug, or a filter like info,andon::forward=debug",
            );
        }
    }
    if let Some("json") = fields.get("format").and_then(|i| i.one_of(&["text", "json"])) {
        read.format = LogFormat::Json;
    }
    read.folder = folder.path_of(&fields, "folder");
    read
}
