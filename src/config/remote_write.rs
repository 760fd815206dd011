//! `remote_write`, as Prometheus has it.

use std::collections::HashSet;
use std::sync::LazyLock;
use std::time::Duration;

use super::folder::Folder;
use super::global::Global;
use super::{http_client, relabel, upstream};
use crate::forward::{Config, Destination, without_secrets};
use crate::storage::tsdb::LATE_AFTER;
use crate::yaml::{Fields, Item};

const OWN_KEYS: &[&str] = &[
    "url",
    "name",
    "remote_timeout",
    "headers",
    "write_relabel_configs",
    "queue_config",
    "settle",
    // Known and without effect.
    "protobuf_message",
    "send_exemplars",
    "send_native_histograms",
    "round_robin_dns",
    "metadata_config",
    // Known and refused.
    "sigv4",
    "azuread",
    "google_iam",
];

/// All keys: also those that all clients have.
static KEYS: LazyLock<Vec<&str>> = LazyLock::new(|| [OWN_KEYS, http_client::KEYS].concat());

const QUEUE_KEYS: &[&str] = &[
    "max_samples_per_send",
    "batch_send_deadline",
    "min_backoff",
    "max_backoff",
    "capacity",
    "max_shards",
    "min_shards",
    "retry_on_http_429",
    "sample_age_limit",
];

/// Headers of the protocol, which only the protocol may set. Folder: Prometheus, `reservedHeaders`.
const RESERVED_HEADERS: [&str; 8] = [
    "authorization",
    "host",
    "content-encoding",
    "content-length",
    "content-type",
    "user-agent",
    "connection",
    "x-prometheus-remote-write-version",
];

/// Reads all destinations.
pub(super) fn read(root: &Fields<'_>, global: &Global, folder: &Folder) -> Config {
    let mut names = HashSet::new();
    let mut destinations = Vec::new();
    for item in root.items("remote_write") {
        let Some(destination) = destination(&item, folder) else { continue };
        if names.insert(destination.name.clone()) {
            destinations.push(destination);
        } else {
            let _: Option<()> = item.mistake_with(
                format!("a second destination is named {:?}", destination.name),
                "give one of them another name",
            );
        }
    }
    Config { external_labels: global.external_labels.clone(), destinations }
}

fn destination(item: &Item<'_>, folder: &Folder) -> Option<Destination> {
    let fields = item.fields(&KEYS)?;
    upstream::note(
        &fields,
        &[
            ("protobuf_message", "remote write 1.0 is spoken"),
            ("send_exemplars", "exemplars are not stored"),
            ("send_native_histograms", "native histograms are not stored"),
            ("round_robin_dns", "the system's resolver chooses"),
            ("metadata_config", "metadata is not sent"),
        ],
    );
    upstream::refuse(
        &fields,
        &[
            ("sigv4", "use basic_auth or authorization"),
            ("azuread", "use basic_auth or authorization"),
            ("google_iam", "use basic_auth or authorization"),
        ],
    );
    let http = http_client::read(&fields, folder);
    let headers = headers(&fields);
    let write_relabel = relabel::read(&fields, "write_relabel_configs");
    let timeout = fields.positive_duration("remote_timeout").unwrap_or(Duration::from_secs(30));
    let settle = match fields.get("settle").and_then(|item| Some((item.duration()?, item))) {
        Some((settle, item)) if settle < LATE_AFTER => item.mistake("must be at least 5s"),
        Some((settle, _)) => Some(settle),
        None => None,
    };
    let queue = queue(&fields);
    let url = http_client::url(&fields, "url")?;
    let name = fields.string("name").filter(|n| !n.is_empty()).unwrap_or_else(|| without_secrets(&url));
    Some(Destination {
        name,
        url,
        headers,
        http,
        timeout,
        write_relabel,
        samples_per_request_max: queue.samples_per_request_max,
        send_interval: queue.send_interval,
        settle: settle.unwrap_or(Duration::from_secs(10)),
        backoff_min: queue.backoff_min,
        backoff_max: queue.backoff_max,
    })
}

struct Queue {
    samples_per_request_max: usize,
    send_interval: Duration,
    backoff_min: Duration,
    backoff_max: Duration,
}

fn queue(fields: &Fields<'_>) -> Queue {
    let mut queue = Queue {
        samples_per_request_max: 5_000,
        send_interval: Duration::from_secs(5),
        backoff_min: Duration::from_secs(1),
        backoff_max: Duration::from_secs(5),
    };
    let Some(fields) = fields.fields("queue_config", QUEUE_KEYS) else { return queue };
    upstream::note(
        &fields,
        &[
            ("capacity", "the store is the queue"),
            ("max_shards", "samples are sent in order, one request at a time"),
            ("min_shards", "samples are sent in order, one request at a time"),
            ("retry_on_http_429", "429 is always tried again"),
            ("sample_age_limit", "samples are sent as long as the store has them"),
        ],
    );
    if let Some(n) = fields.count("max_samples_per_send", 1, 100_000) {
        queue.samples_per_request_max = n;
    }
    if let Some(item) = fields.get("batch_send_deadline") {
        match item.duration() {
            Some(short) if short < Duration::from_millis(100) => {
                let _: Option<()> = item.mistake("must be at least 100ms");
            }
            Some(interval) => queue.send_interval = interval,
            None => {}
        }
    }
    if let Some(backoff) = fields.positive_duration("min_backoff") {
        queue.backoff_min = backoff;
        queue.backoff_max = queue.backoff_max.max(backoff);
    }
    if let Some(backoff) = fields.positive_duration("max_backoff") {
        queue.backoff_max = backoff;
    }
    if queue.backoff_max < queue.backoff_min {
        let _: Option<()> = fields.item().mistake("max_backoff must not be shorter than min_backoff");
    }
    queue
}

fn headers(fields: &Fields<'_>) -> Vec<(String, String)> {
    let Some(item) = fields.get("headers") else { return Vec::new() };
    let mut headers = Vec::new();
    for (name, value) in item.entries() {
        let Some(text) = value.string() else { continue };
        let is_legal = reqwest::header::HeaderName::try_from(name).is_ok()
            && reqwest::header::HeaderValue::try_from(&text).is_ok();
        if RESERVED_HEADERS.contains(&name.to_lowercase().as_str()) {
            let _: Option<()> = value.mistake("this header belongs to the protocol");
        } else if !is_legal {
            let _: Option<()> = value.mistake("not a legal header");
        } else {
            headers.push((name.to_owned(), text));
        }
    }
    headers
}
