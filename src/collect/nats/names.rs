//! Which metric names the answers become.
//!
//! The exporter's names carry its labels (`server_id` is the URL, as its default is, because a server's own
//! id changes with each start). The other family has the names in nats-websocket-bridge's rules and text.

use serde_json::{Map, Value};

use super::TIERS_MAX;
use super::answer::{Account, Connz, Consumer, Healthz, Jsz, Stream};
use super::neighbours::seconds;
use crate::collect::families::Families;
use crate::model::Timestamp;

/// Most figures of `/varz`, and how deep they may lie.
const VARZ_MAX: usize = 200;
const VARZ_DEPTH_MAX: usize = 5;

/// Members of `/varz` that only go up.
const VARZ_COUNTERS: [&str; 7] = [
    "total_connections",
    "in_msgs",
    "out_msgs",
    "in_bytes",
    "out_bytes",
    "slow_consumers",
    "jetstream_stats_api_total",
];

/// Names of 2.3 that are members of `/varz` under another name: name, place, whether it only goes up.
const VARZ_ALIASES: [(&str, &str, bool); 9] = [
    ("nats_core_connection_count", "/connections", false),
    ("nats_core_msg_sent_count", "/out_msgs", true),
    ("nats_core_msg_recv_count", "/in_msgs", true),
    ("nats_core_bytes_sent", "/out_bytes", true),
    ("nats_core_bytes_recv", "/in_bytes", true),
    ("nats_jetstream_storage_used", "/jetstream/stats/storage", false),
    ("nats_jetstream_storage_used_bytes", "/jetstream/stats/storage", false),
    ("nats_jetstream_storage_limit", "/jetstream/config/max_storage", false),
    ("nats_jetstream_storage_limit_bytes", "/jetstream/config/max_storage", false),
];

pub(super) fn varz(url: &str, varz: &Value, out: &mut Families) {
    let mut figures = Vec::new();
    if let Some(members) = varz.as_object() {
        flatten("", members, 1, &mut figures);
    }
    let labels = [("server_id", url)];
    for (name, value) in figures {
        let metric = format!("gnatsd_varz_{name}");
        if VARZ_COUNTERS.contains(&name.as_str()) {
            out.counter(&metric, &name, &labels, value);
        } else {
            out.gauge(&metric, &name, &labels, value);
        }
    }
    for (name, place, only_goes_up) in VARZ_ALIASES {
        let Some(value) = varz.pointer(place).and_then(Value::as_f64) else { continue };
        let help = format!("NATS /varz{place}.");
        if only_goes_up {
            out.counter(name, &help, &[], value);
        } else {
            out.gauge(name, &help, &[], value);
        }
    }
}

/// Collects numbers by the way to them, joined with `_`. Objects whose members are not names (as the paths
/// in `http_req_stats`) and lists are passed over.
fn flatten(prefix: &str, members: &Map<String, Value>, depth: usize, figures: &mut Vec<(String, f64)>) {
    for (key, value) in members {
        let is_name = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_name || figures.len() >= VARZ_MAX {
            continue;
        }
        let name = format!("{prefix}{key}");
        match value {
            Value::Number(number) => figures.extend(number.as_f64().map(|value| (name, value))),
            Value::Object(inner) if depth < VARZ_DEPTH_MAX => flatten(&format!("{name}_"), inner, depth + 1, figures),
            Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {}
        }
    }
}

pub(super) fn connz(url: &str, connz: &Connz, out: &mut Families) {
    let labels = [("server_id", url)];
    let sum = |of: fn(&super::answer::Connection) -> f64| connz.connections.iter().map(of).sum::<f64>();
    for (name, value) in [
        ("num_connections", connz.num_connections),
        ("total", connz.total),
        ("offset", connz.offset),
        ("limit", connz.limit),
        ("pending_bytes", sum(|c| c.pending_bytes)),
        ("subscriptions", sum(|c| c.subscriptions)),
        // Sums over those connected now: they fall when one leaves, so they are no counters.
        ("in_bytes", sum(|c| c.in_bytes)),
        ("out_bytes", sum(|c| c.out_bytes)),
        ("in_msgs", sum(|c| c.in_msgs)),
        ("out_msgs", sum(|c| c.out_msgs)),
    ] {
        out.gauge(&format!("gnatsd_connz_{name}"), name, &labels, value);
    }
    let longest = |of: fn(&super::answer::Connection) -> &str| {
        connz.connections.iter().filter_map(|connection| seconds(of(connection))).reduce(f64::max)
    };
    for (name, value) in [
        ("rtt", longest(|c| c.rtt.as_str())),
        ("uptime", longest(|c| c.uptime.as_str())),
        ("idle", longest(|c| c.idle.as_str())),
    ] {
        if let Some(value) = value {
            out.gauge(&format!("gnatsd_connz_{name}"), &format!("Longest {name} in seconds."), &labels, value);
        }
    }
}

pub(super) fn healthz(url: &str, healthz: &Healthz, out: &mut Families) {
    let is_unwell = f64::from(u8::from(healthz.status != "ok"));
    out.gauge("gnatsd_healthz_status", "0 if the server is healthy, else 1", &[("server_id", url)], is_unwell);
}

/// Adds server, accounts, and up to `max` streams and consumers. Returns how many of them were left out.
pub(super) fn jsz(url: &str, varz: &Value, jsz: &Jsz, max: usize, out: &mut Families) -> usize {
    let server_name = varz.get("server_name").and_then(Value::as_str).unwrap_or("");
    let (cluster, leader) = jsz.meta_cluster.as_ref().map_or(("", ""), |meta| (&meta.name, &meta.leader));
    let is_leader = is_leader(jsz.meta_cluster.as_ref().map(|meta| meta.leader.as_str()), server_name);
    let server = [
        ("server_id", url),
        ("server_name", server_name),
        ("cluster", cluster),
        ("domain", jsz.config.domain.as_str()),
        ("meta_leader", leader),
        ("is_meta_leader", is_leader),
    ];
    for (name, help, value) in [
        ("jetstream_disabled", "JetStream disabled or not", f64::from(u8::from(jsz.disabled))),
        ("max_memory", "JetStream Max Memory", jsz.config.max_memory),
        ("max_storage", "JetStream Max Storage", jsz.config.max_storage),
        ("total_streams", "Total number of streams in JetStream", jsz.streams),
        ("total_consumers", "Total number of consumers in JetStream", jsz.consumers),
        ("total_messages", "Total number of stored messages in JetStream", jsz.messages),
        ("total_message_bytes", "Total number of bytes stored in JetStream", jsz.bytes),
    ] {
        out.gauge(&format!("jetstream_server_{name}"), help, &server, value);
    }
    let now = Timestamp::parse(&jsz.now).ok();
    let mut room = max;
    let mut left_out = 0;
    for account in &jsz.account_details {
        let labels: Vec<_> = server
            .into_iter()
            .chain([
                ("account", account.name.as_str()),
                ("account_name", account.name.as_str()),
                ("account_id", account.id.as_str()),
            ])
            .collect();
        account_figures(&labels, account, out);
        for stream in &account.stream_detail {
            let wanted = 1 + stream.consumer_detail.len();
            let taken = wanted.min(room);
            room -= taken;
            left_out += wanted - taken;
            if taken > 0 {
                stream_figures(&labels, server_name, stream, taken - 1, now, out);
            }
        }
    }
    left_out
}

fn is_leader(leader: Option<&str>, server_name: &str) -> &'static str {
    match leader {
        Some(leader) if leader != server_name => "false",
        Some(_) | None => "true",
    }
}

fn account_figures(labels: &[(&str, &str)], account: &Account, out: &mut Families) {
    for (name, help, value) in [
        ("memory_used", "Bytes of memory that the account uses", account.memory),
        ("storage_used", "Bytes of storage that the account uses", account.storage),
        ("max_memory", "Bytes of memory that are reserved for the account", reserved(account.reserved_memory)),
        ("max_storage", "Bytes of storage that are reserved for the account", reserved(account.reserved_storage)),
    ] {
        out.gauge(&format!("jetstream_account_{name}"), help, labels, value);
    }
    for (tier, limits) in account.tiers.iter().take(TIERS_MAX) {
        let labels = [labels, &[("tier", tier.as_str())][..]].concat();
        for (name, help, value) in [
            ("max_memory", "Bytes of memory that the account may use in streams of a tier", limits.mem_storage),
            ("max_storage", "Bytes of storage that the account may use in streams of a tier", limits.disk_storage),
            ("max_streams", "Streams of a tier that the account may have", limits.streams),
            ("max_consumers", "Consumers that the account may have in streams of a tier", limits.consumer),
        ] {
            out.gauge(&format!("jetstream_account_tier_{name}"), help, &labels, value);
        }
    }
}

/// NATS writes "no limit" as -1 without a sign.
fn reserved(bytes: f64) -> f64 {
    if bytes >= 2_f64.powi(63) { -1.0 } else { bytes }
}

fn stream_figures(
    account: &[(&str, &str)],
    server: &str,
    stream: &Stream,
    consumers_max: usize,
    now: Option<Timestamp>,
    out: &mut Families,
) {
    let leader = stream.cluster.as_ref().map(|cluster| cluster.leader.as_str());
    let labels = [
        account,
        &[
            ("stream_name", stream.name.as_str()),
            ("stream_leader", leader.unwrap_or("")),
            ("is_stream_leader", is_leader(leader, server)),
            ("stream_raft_group", stream.stream_raft_group.as_str()),
        ],
    ]
    .concat();
    for (name, help, value) in [
        ("total_messages", "Total number of messages from a stream", stream.state.messages),
        ("total_bytes", "Total stored bytes from a stream", stream.state.bytes),
        ("limit_bytes", "The maximum configured storage limit (in bytes) for a stream", stream.config.max_bytes),
        ("limit_messages", "The maximum number of messages for a stream", stream.config.max_msgs),
        ("first_seq", "First sequence from a stream", stream.state.first_seq),
        ("last_seq", "Last sequence from a stream", stream.state.last_seq),
        ("consumer_count", "Total number of consumers from a stream", stream.state.consumer_count),
        ("subject_count", "Total number of subjects in a stream", stream.state.num_subjects),
    ] {
        out.gauge(&format!("jetstream_stream_{name}"), help, &labels, value);
    }
    if let Some(mirror) = &stream.mirror {
        out.gauge("jetstream_stream_mirror_lag", "Number of messages a stream mirror is behind", &labels, mirror.lag);
    }
    for source in &stream.sources {
        let labels = [&labels, &[("source_name", source.name.as_str())][..]].concat();
        out.gauge("jetstream_stream_source_lag", "Number of messages a stream source is behind", &labels, source.lag);
    }
    let plain = [("account", label(&labels, "account")), ("stream_name", stream.name.as_str())];
    out.gauge("nats_jetstream_stream_messages", "Messages in a stream.", &plain, stream.state.messages);
    for consumer in stream.consumer_detail.iter().take(consumers_max) {
        consumer_figures(&labels, &plain, server, consumer, now, out);
    }
}

fn label<'a>(labels: &[(&str, &'a str)], wanted: &str) -> &'a str {
    labels.iter().find(|(name, _)| *name == wanted).map_or("", |(_, value)| value)
}

fn consumer_figures(
    stream: &[(&str, &str)],
    plain: &[(&str, &str)],
    server: &str,
    consumer: &Consumer,
    now: Option<Timestamp>,
    out: &mut Families,
) {
    let leader = consumer.cluster.as_ref().map(|cluster| cluster.leader.as_str());
    let labels = [
        stream,
        &[
            ("consumer_name", consumer.name.as_str()),
            ("consumer_leader", leader.unwrap_or("")),
            ("is_consumer_leader", is_leader(leader, server)),
            ("consumer_desc", consumer.config.description.as_str()),
        ],
    ]
    .concat();
    for (name, help, value) in [
        ("delivered_consumer_seq", "Latest sequence number of a stream consumer", consumer.delivered.consumer_seq),
        ("delivered_stream_seq", "Latest sequence number of a stream", consumer.delivered.stream_seq),
        ("num_ack_pending", "Number of pending acks from a consumer", consumer.num_ack_pending),
        ("num_redelivered", "Number of redelivered messages from a consumer", consumer.num_redelivered),
        ("num_waiting", "Number of inflight fetch requests from a pull consumer", consumer.num_waiting),
        ("num_pending", "Number of pending messages from a consumer", consumer.num_pending),
        ("ack_floor_stream_seq", "Number of ack floor stream seq from a consumer", consumer.ack_floor.stream_seq),
        ("ack_floor_consumer_seq", "Number of ack floor consumer seq from a consumer", consumer.ack_floor.consumer_seq),
    ] {
        out.gauge(&format!("jetstream_consumer_{name}"), help, &labels, value);
    }
    for (name, help, sequences) in [
        ("last_delivery_seconds", "Time in seconds since last delivery", &consumer.delivered),
        ("last_ack_seconds", "Time in seconds since last ack", &consumer.ack_floor),
    ] {
        if let (Some(now), Ok(at)) = (now, Timestamp::parse(&sequences.last_active))
            && at.as_millis() > 0
        {
            #[expect(clippy::cast_precision_loss, reason = "a span is below 2^53 ms")]
            let seconds = now.as_millis().saturating_sub(at.as_millis()).max(0) as f64 / 1000.0;
            out.gauge(&format!("jetstream_consumer_{name}"), help, &labels, seconds);
        }
    }
    if consumer.folded > 0 {
        #[expect(clippy::cast_precision_loss, reason = "a count is below 2^53")]
        let count = consumer.folded as f64;
        out.gauge("jetstream_consumer_folded", "Consumers that one series stands for.", &labels, count);
    }
    let plain = [plain, &[("consumer_name", consumer.name.as_str())]].concat();
    for (name, help, value) in [
        ("pending", "Messages that wait for a consumer.", consumer.num_pending),
        ("num_pending", "Messages that wait for a consumer.", consumer.num_pending),
        ("ack_pending", "Messages delivered and not acknowledged.", consumer.num_ack_pending),
    ] {
        out.gauge(&format!("nats_jetstream_consumer_{name}"), help, &plain, value);
    }
}
