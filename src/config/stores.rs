//! `storage` and `query`: what is kept, and how much a question may read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::folder::Folder;
use super::upstream;
use crate::clock::Trust;
use crate::yaml::{Fields, Item};
use crate::{alarms, collect, headroom, query, storage};

/// Where samples, lines and state lie unless the settings or the command line say otherwise.
const DATA_FOLDER: &str = "/var/lib/andon";

const METRICS_KEYS: &[&str] = &[
    "retention",
    "wal_sync",
    "series_limit",
    "series_per_target_limit",
    "series_per_sender_limit",
    "label_limit",
    "label_name_length_limit",
    "label_value_length_limit",
    "ahead_limit",
];

/// What `storage` says for the stores and for the rooms that keep their own files in the data folder.
pub(super) struct Stores {
    pub(super) storage: storage::Config,
    pub(super) alarms: alarms::Config,
    pub(super) outbox: PathBuf,
    /// What others may have in the metric store.
    pub(super) limits: collect::Limits,
    /// Bytes that the maker of the flash promises can be written.
    pub(super) flash_endurance: Option<u64>,
}

/// What a series takes in memory, all in; from it follows how many there may be.
const SERIES_BYTES: u64 = 1200;

/// Reads `memory`: how many bytes the process may take.
pub(super) fn memory_limit(root: &Fields<'_>) -> u64 {
    let item = root.fields("memory", &["limit"]).and_then(|f| f.get("limit"));
    let limit = item.and_then(|item| match item.byte_size()? {
        bytes if bytes >= 64 << 20 => Some(bytes),
        _ => item.mistake("must be at least 64MB"),
    });
    limit.unwrap_or_else(headroom::limit_default)
}

/// Reads `storage.metrics`.
fn metrics(fields: &Fields<'_>, tsdb: &mut storage::tsdb::Config, limits: &mut collect::Limits) {
    tsdb.retention = fields.positive_duration("retention").unwrap_or(tsdb.retention);
    tsdb.wal_sync = fields.get("wal_sync").and_then(|i| wal_sync(&i)).unwrap_or(tsdb.wal_sync);
    tsdb.series_max = fields.count("series_limit", 1, 100_000_000).unwrap_or(tsdb.series_max);
    tsdb.ahead_max = fields.duration("ahead_limit").unwrap_or(tsdb.ahead_max);
    let half = tsdb.series_max.div_ceil(2);
    limits.series_per_target_max = fields.count("series_per_target_limit", 1, 100_000_000).unwrap_or(half);
    limits.series_per_sender_max = fields.count("series_per_sender_limit", 1, 100_000_000).unwrap_or(half);
    limits.labels_max = fields.count("label_limit", 4, 256).unwrap_or(limits.labels_max);
    let bytes = |key, default| fields.count(key, 16, 65_536).unwrap_or(default);
    limits.label_name_bytes_max = bytes("label_name_length_limit", limits.label_name_bytes_max);
    limits.label_value_bytes_max = bytes("label_value_length_limit", limits.label_value_bytes_max);
}

/// Reads `storage`; `data_flag` wins over `storage.path`. How many series there may be follows from the memory
/// limit, if nothing is said.
pub(super) fn storage(root: &Fields<'_>, folder: &Folder, data_flag: Option<&Path>, memory_limit: u64) -> Stores {
    const KEYS: &[&str] =
        &["path", "size_limit", "reserve", "flash_endurance", "metrics", "logs", "alarms", "tsdb", "exemplars"];
    let fields = root.fields("storage", KEYS);
    let mut tsdb = storage::tsdb::Config {
        retention: storage::tsdb::RETENTION_DEFAULT,
        wal_sync: storage::tsdb::WalSync::Interval(Duration::from_secs(1)),
        series_max: usize::try_from(memory_limit / SERIES_BYTES).unwrap_or(usize::MAX),
        ahead_max: storage::tsdb::AHEAD_MAX_DEFAULT,
    };
    let half = tsdb.series_max.div_ceil(2);
    let mut limits =
        collect::Limits { series_per_target_max: half, series_per_sender_max: half, ..collect::Limits::default() };
    let mut logs = storage::logs::Config::usual();
    let mut path = PathBuf::from(DATA_FOLDER);
    let (mut size_limit, mut flash_endurance) = (None, None);
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
        flash_endurance = fields.byte_size("flash_endurance").filter(|bytes| *bytes > 0);
        reserve_bytes = fields.byte_size("reserve").unwrap_or(reserve_bytes);
        if let Some(fields) = fields.fields("metrics", METRICS_KEYS) {
            metrics(&fields, &mut tsdb, &mut limits);
        }
        if let Some(lines) = fields.fields("logs", &["retention", "line_size_limit", "stream_limit"]) {
            logs.retention = lines.positive_duration("retention").unwrap_or(logs.retention);
            if let Some(item) = lines.get("line_size_limit") {
                match item.byte_size().map(usize::try_from) {
                    Some(Ok(bytes)) if (64..=1 << 20).contains(&bytes) => logs.line_bytes_max = bytes,
                    Some(_) => {
                        let _: Option<()> = item.mistake("must be from 64B to 1MB");
                    }
                    None => {}
                }
            }
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
            external_labels: crate::model::Labels::empty(),
            delays: Vec::new(),
            calendar: std::sync::Arc::default(),
            time_zone: jiff::tz::TimeZone::UTC,
        },
        outbox: path.join("notify"),
        limits,
        flash_endurance,
        storage: storage::Config {
            folder: path,
            size_limit,
            reserve_bytes,
            tsdb,
            clock_trust: clock_trust(root),
            logs,
        },
    }
}

/// Reads `clock`.
fn clock_trust(root: &Fields<'_>) -> Trust {
    let word = root.fields("clock", &["trust"]).and_then(|f| f.get("trust"));
    match word.and_then(|item| item.one_of(&["plausible", "synchronized", "always"])) {
        Some("always") => Trust::Always,
        Some("synchronized") => Trust::Synchronized,
        Some(_) | None => Trust::Plausible,
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
    let fields = root.fields("query", &["lookback", "timeout", "samples_limit"]);
    let duration = |key| fields.as_ref().and_then(|f| f.positive_duration(key));
    query::promql::Limits {
        lookback: duration("lookback").unwrap_or(Duration::from_secs(300)),
        timeout: duration("timeout").unwrap_or(Duration::from_secs(30)),
        samples_max: fields.and_then(|f| f.count("samples_limit", 1, 1_000_000_000)).unwrap_or(10_000_000),
        default_step,
    }
}
