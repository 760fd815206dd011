//! Doors for fuzzers to what decodes bytes from outside: `tests/fuzz` is the program, this is its list.
//!
//! Compiled only with `--cfg fuzzing`. Checksums are all zero then, so that what is behind them is reached.

use std::path::Path;
use std::sync::Arc;

use crate::storage::disk::{Disk, FaultyDisk, Segments, SegmentsOptions};
use crate::{alarms, bus, config, gateway, notify, query, storage, wire};

/// One decoder.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// What it is called by.
    pub name: &'static str,
    /// Decodes bytes and does with the answer what the store would do.
    pub run: fn(&[u8]),
    /// Returns bytes that decode, to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

const fn target(name: &'static str, run: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>) -> Target {
    Target { name, run, seeds }
}

/// Every decoder there is.
pub const TARGETS: &[Target] = &[
    target("segments", segments, segment_seeds),
    target("tsdb_record", storage::tsdb::fuzzing::record, storage::tsdb::fuzzing::wal_seeds),
    target("tsdb_wal", storage::tsdb::fuzzing::wal, storage::tsdb::fuzzing::wal_seeds),
    target("tsdb_checkpoint", storage::tsdb::fuzzing::checkpoint, storage::tsdb::fuzzing::checkpoint_seeds),
    target("tsdb_block", storage::tsdb::fuzzing::block, storage::tsdb::fuzzing::block_seeds),
    target("tsdb_index", storage::tsdb::fuzzing::index, storage::tsdb::fuzzing::index_seeds),
    target("tsdb_meta", storage::tsdb::fuzzing::meta, storage::tsdb::fuzzing::meta_seeds),
    target("tsdb_columns", storage::tsdb::fuzzing::columns, storage::tsdb::fuzzing::column_seeds),
    target("tsdb_round_trip", storage::tsdb::fuzzing::round_trip, storage::tsdb::fuzzing::column_seeds),
    target("logs_record", storage::logs::fuzzing::record, storage::logs::fuzzing::record_seeds),
    target("logs_part", storage::logs::fuzzing::part, storage::logs::fuzzing::part_seeds),
    target("logs_block", storage::logs::fuzzing::block, Vec::new),
    target("last_known", storage::last::fuzz, last_seeds),
    target("alarm_journal", alarms::fuzz, Vec::new),
    target("outbox", notify::fuzz, Vec::new),
    target("remote_write", remote_write, remote_write_seeds),
    target("remote_write_2", remote_write_2, remote_write_2_seeds),
    target("remote_read", |data| drop(wire::remote_read::decode(data)), remote_read_seeds),
    target("loki_push", loki_push, Vec::new),
    target("exposition", exposition, exposition_seeds),
    target("promql", promql, promql_seeds),
    target("promql_answer", promql_answer, promql_seeds),
    target("logql", logql, logql_seeds),
    target("settings", settings, settings_seeds),
    target("bus_spool", bus::fuzz_spool, bus::spool_seeds),
    target("bus_stream", bus::fuzz_stream, bus::stream_seeds),
    target("device_frame", gateway::fuzz, frame_seeds),
    target("device_jwt", gateway::fuzz_jwt, jwt_seeds),
];

/// Hands `payload` to whoever opens a log of segments in `/log` of the disk.
pub(crate) fn as_record(kind: u8, payload: &[u8]) -> Arc<dyn Disk> {
    let disk = FaultyDisk::new(0);
    let options = SegmentsOptions { segment_bytes_max: 1 << 30, is_synced: false, has_parity: false };
    let opened = Segments::open(disk.shared(), Path::new("/log"), options, &mut |_| Ok(()));
    let (log, _) = opened.unwrap_or_else(|e| panic!("bug: {e}"));
    // The log keeps one kind for itself.
    log.append(kind.min(u8::MAX - 1), payload).unwrap_or_else(|e| panic!("bug: {e}"));
    disk.shared()
}

/// Puts a file on a disk.
pub(crate) fn put(disk: &FaultyDisk, path: &str, bytes: &[u8]) {
    let path = Path::new(path);
    let put = || {
        disk.create_folder(path.parent().unwrap_or(Path::new("/")))?;
        disk.create(path)?.write_at(0, bytes)
    };
    put().unwrap_or_else(|e| panic!("bug: {e}"));
}

/// Returns what all files below a folder hold.
pub(crate) fn take(disk: &FaultyDisk, folder: &str) -> Vec<Vec<u8>> {
    let read = |path: &Path, bytes: u64| {
        disk.open(path).and_then(|f| f.read_exact_at(0, usize::try_from(bytes).unwrap_or(0))).unwrap_or_default()
    };
    disk.files(Path::new(folder)).iter().map(|(path, bytes)| read(path, *bytes)).collect()
}

fn segments(data: &[u8]) {
    let disk = FaultyDisk::new(0);
    // Two files, so that a damaged one is not always the last.
    let (first, second) = data.split_at(data.len() / 2);
    put(&disk, "/log/00000001", first);
    put(&disk, "/log/00000002", second);
    let options = SegmentsOptions { segment_bytes_max: 1 << 20, is_synced: true, has_parity: true };
    let mut sequences = Vec::new();
    let opened = Segments::open(disk.shared(), Path::new("/log"), options, &mut |record| {
        sequences.push(record.sequence);
        Ok(())
    });
    let (log, found) = opened.unwrap_or_else(|e| panic!("bug: {e}"));
    assert!(sequences.is_sorted_by(|a, b| a < b), "bug: each record once, in order");
    assert_eq!(found.records, sequences.len() as u64, "bug: each record is counted");
    let next = log.append(1, b"next").unwrap_or_else(|e| panic!("bug: {e}"));
    assert!(sequences.last().is_none_or(|last| next > *last), "bug: sequences rise");
}

fn segment_seeds() -> Vec<Vec<u8>> {
    let disk = FaultyDisk::new(0);
    let options = SegmentsOptions { segment_bytes_max: 100, is_synced: true, has_parity: true };
    if let Ok((log, _)) = Segments::open(disk.shared(), Path::new("/log"), options, &mut |_| Ok(())) {
        for payload in [&b"one"[..], b"", b"three and more"] {
            let _ = log.append(7, payload);
        }
    }
    let files = take(&disk, "/log");
    vec![files.concat(), files.first().cloned().unwrap_or_default()]
}

fn last_seeds() -> Vec<Vec<u8>> {
    vec![b"\x01\0\0\0\0\0\0\0\0{}".to_vec(), b"device\0subject".to_vec()]
}

fn remote_write(data: &[u8]) {
    let mut buffer = Vec::new();
    let bytes = match wire::remote_write::unpack(data, &mut buffer) {
        Ok(()) => buffer.as_slice(),
        Err(_) => data,
    };
    for entry in wire::remote_write::Reader::new(bytes) {
        match entry {
            Ok(wire::remote_write::Entry::Series(series)) => {
                let _ = series.check_labels();
                assert!(series.label_bytes().len() <= bytes.len());
                series.labels().for_each(drop);
                if series.parts().any(|part| part.is_err()) {
                    break;
                }
            }
            Ok(wire::remote_write::Entry::Description(description)) => drop(description.read()),
            Err(_) => break,
        }
    }
}

fn remote_write_seeds() -> Vec<Vec<u8>> {
    let mut writer = wire::remote_write::Encoder::new();
    let labels = crate::model::Labels::from_pairs([("__name__", "up"), ("instance", "a")]);
    writer.push(&labels, [(1_790_000_000_000, 1.0), (1_790_000_015_000, -0.5)]);
    writer.finish().into_iter().collect()
}

fn remote_write_2(data: &[u8]) {
    use wire::remote_write::{Entry, Reader};
    let mut rewritten = Vec::new();
    if wire::remote_write_2::rewrite(data, &mut rewritten).is_err() {
        return;
    }
    for entry in Reader::new(&rewritten) {
        match entry.unwrap_or_else(|e| panic!("bug: what was rewritten does not read: {e}")) {
            Entry::Series(series) => {
                series.check_labels().unwrap_or_else(|e| panic!("bug: {e}"));
                let parts = series.parts().try_for_each(|part| part.map(drop));
                parts.unwrap_or_else(|e| panic!("bug: {e}"));
            }
            Entry::Description(description) => drop(description.read()),
        }
    }
}

fn remote_write_2_seeds() -> Vec<Vec<u8>> {
    let symbols = b"\x22\0\x22\x08__name__\x22\x02up\x22\x03job\x22\x01a";
    let series =
        b"\x2a\x1b\x0a\x04\x01\x02\x03\x04\x12\x0b\x09\0\0\0\0\0\0\xf0\x3f\x10\x07\x1a\0\x2a\x04\x08\x02\x18\x03";
    vec![[&symbols[..], series].concat()]
}

fn remote_read_seeds() -> Vec<Vec<u8>> {
    vec![b"\x0a\x11\x08\x01\x10\x7f\x1a\x0b\x08\x02\x12\x01a\x1a\x04b.*c\x12\x02\x01\0".to_vec()]
}

fn loki_push(data: &[u8]) {
    let _ = wire::loki_push::decode(data);
}

fn exposition(data: &[u8]) {
    use wire::exposition::{Entry, Format, Parser};
    for format in [Format::Text, Format::OpenMetrics] {
        let Ok(parser) = Parser::new(data, format) else { return };
        for entry in parser.take(100_000) {
            match entry {
                Ok(Entry::Sample(sample)) => drop(sample.labels()),
                Ok(_) => {}
                Err(_) => break,
            }
        }
    }
}

fn exposition_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "# HELP up Is up.\n# TYPE up gauge\nup{instance=\"a\\n\\\"b\",job=\"c\"} 1 1790000000000\nup 0x1p-2\n",
        "# TYPE h histogram\nh_bucket{le=\"0.5\"} 1\nh_bucket{le=\"+Inf\"} 2 # {trace=\"a\"} 0.3 1.5\nh_sum NaN\nh_count 2\n# EOF\n",
    ];
    texts.map(|t| t.as_bytes().to_vec()).to_vec()
}

fn promql(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = query::promql::parse_selector(text);
    if query::promql::check(text).is_ok()
        && let Ok(pretty) = query::promql::format(text)
    {
        assert!(query::promql::check(&pretty).is_ok(), "bug: {text:?} formats to {pretty:?}, which does not parse");
    }
}

/// Asks a small store: what is asked is answered or refused, and the same if somebody wants to know what it takes.
fn promql_answer(data: &[u8]) {
    use crate::query::promql::{Engine, Error, Limits, Options, QueryResult};
    static ENGINE: std::sync::OnceLock<Engine> = std::sync::OnceLock::new();
    let Ok(text) = std::str::from_utf8(data) else { return };
    let second = std::time::Duration::from_secs(1);
    let engine = ENGINE.get_or_init(|| {
        let limits =
            Limits { lookback: 300 * second, timeout: 2 * second, samples_max: 300_000, default_step: 60 * second };
        Engine::new(small_store(), limits)
    });
    let at = crate::model::Timestamp::from_millis;
    let ask = |is_traced: bool| {
        let options = Options { is_traced, counts_steps: is_traced, ..Options::default() };
        let instant = engine.instant(text, at(600_000), &options);
        [instant, engine.range(text, at(0), at(600_000), 50 * second, &options)]
    };
    let told = |answer: &Result<QueryResult, Error>| match answer {
        // Time and room are not the same twice.
        Err(Error::Timeout | Error::Limit(_)) => None,
        Err(error) => Some(error.to_string()),
        Ok(answer) => Some(format!("{:?} {:?} {:?}", answer.value, answer.warnings, answer.infos)),
    };
    for (plain, traced) in ask(false).iter().zip(&ask(true)) {
        if let (Some(plain), Some(traced)) = (told(plain), told(traced)) {
            assert_eq!(plain, traced, "bug: {text:?} has another answer with a trace");
        }
    }
}

/// Returns a store with counters, gauges with gaps and odd values, a histogram and an info metric.
fn small_store() -> storage::tsdb::Db {
    use crate::model::{Labels, Timestamp, stale_nan};
    let db = storage::tsdb::Db::in_memory();
    let mut batch = storage::tsdb::Batch::default();
    for step in 0..60_i64 {
        let mut push = |name: &str, pairs: &[(&str, &str)], value: f64| {
            let pairs = [("__name__", name), ("job", "j")].into_iter().chain(pairs.iter().copied());
            batch.push(&Labels::from_pairs(pairs), Timestamp::from_millis(step * 10_000), value);
        };
        let odd = [0.0, -1.5, f64::INFINITY, f64::NAN, stale_nan(), f64::MIN_POSITIVE, f64::MAX];
        let value = step as f64;
        push("a", &[("x", "1"), ("instance", "i")], value * 3.0);
        push("a", &[("x", "2"), ("y", "z")], (step % 17) as f64);
        push("b", &[("x", "1")], odd.get(usize::try_from(step % 7).unwrap_or(0)).copied().unwrap_or(0.0));
        push("up", &[("instance", "i")], (step % 2) as f64);
        push("target_info", &[("instance", "i"), ("data", "d")], 1.0);
        for (at, le) in ["0.1", "1", "+Inf"].iter().enumerate() {
            push("b_bucket", &[("le", le), ("instance", "i")], value * (at + 1) as f64);
        }
    }
    db.append(&batch).unwrap_or_else(|e| panic!("bug: {e}"));
    db
}

fn promql_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "sum by (job) (rate(http_requests_total{code=~\"5..\",job!=\"x\"}[5m] offset 1h))",
        "histogram_quantile(0.9, sum without (instance) (rate(b_bucket[1m:10s] @ end()))) > bool 1e3",
        "a * on (x) group_left (y) b or vector(1) unless absent(c{__name__=\"d\"})",
        "-1 ^ 2 % 3 == 0x1F and label_replace(up, \"a\", \"$1\", \"b\", \"(.*)\")",
        "topk by (x) (2, a) or bottomk(1, b) unless count_values(\"v\", a) or limitk(1, a) or limit_ratio(0.5, b)",
        "info(a, {data=\"d\"}) / ignoring(x) group_right() fill(1) b",
        "quantile_over_time(scalar(b{x=\"1\"}), a[5m:1m] offset -30s) + histogram_quantile(0.9, rate(b_bucket[1m]))",
        "holt_winters(a[5m], 0.5, 0.5) + predict_linear(b[2m] @ start(), 60) - deriv(a[1m])",
        "sort_by_label(a, \"x\") + on () time() + time() * minute() > bool 3",
        "increase(a[1m] anchored) + max_over_time(b[step() * 2] smoothed)",
        "histogram_quantiles(b_bucket, \"q\", 0.1, 0.9) or histogram_fraction(0, 1, b_bucket) or absent(c{d=\"e\"})",
        "mad_over_time(a[1m]) + ts_of_max_over_time(b[1m]) + stddev(a) - stdvar by (x) (a) + clamp(a, 1, time())",
        "label_join(up, \"n\", \"-\", \"job\", \"instance\") and on (job) absent_over_time(nothing[1m])",
    ];
    texts.map(|t| t.as_bytes().to_vec()).to_vec()
}

fn logql(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(filter) = query::logql::Filter::new(text) else { return };
    let stream = crate::model::Labels::from_pairs([("device", "a"), ("job", "b")]);
    for line in ["{\"level\":\"warn\",\"n\":1.5}", "level=warn n=15ms took=3", "plain text"] {
        let entry = crate::model::LogEntry { stream: stream.clone(), timestamp_ns: 1, line: line.to_owned() };
        let _ = filter.apply(entry);
    }
}

fn logql_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "{device=~\"a.*\",job=\"b\"} |= \"warn\" != `x` | json | n > 1",
        "{device=\"a\"} | logfmt | took >= 3 and level=\"warn\" |~ \"n=.*ms\"",
    ];
    texts.map(|t| t.as_bytes().to_vec()).to_vec()
}

fn settings(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // What would read other files is about those.
    if text.contains("file") || text.contains("_key") || text.contains("token") || text.contains('/') {
        return;
    }
    let _ = config::resolve(text, Path::new("/nowhere/andon.yml"), &config::Source::default());
}

fn settings_seeds() -> Vec<Vec<u8>> {
    let good = include_bytes!("../tests/config/everything.good.yml");
    let text = String::from_utf8_lossy(good);
    // Each section alone: the whole is long and names files.
    let mut sections = vec![String::new()];
    for line in text.lines() {
        if line.starts_with(|c: char| c.is_ascii_alphabetic()) {
            sections.push(String::new());
        }
        if let Some(section) = sections.last_mut() {
            section.push_str(line);
            section.push('\n');
        }
    }
    sections.into_iter().map(String::into_bytes).collect()
}

fn frame_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "{\"type\":0,\"subject\":\"devices.d.b\",\"payload\":{\"x\":1},\"correlationId\":\"c\"}",
        "{\"type\":8,\"payload\":{\"deviceId\":\"d\",\"token\":\"t\"}}",
        "{\"Type\":\"publish\",\"subject\":null,\"payload\":[1,2,{\"a\":\"\\u00e9\"}]}",
        "{\"type\":1,\"subject\":\"devices.d.>\"}\n{\"type\":2,\"subject\":\"devices.d.>\"}",
        "{\"type\":5,\"correlationId\":\"request-1\",\"payload\":true}\n{\"type\":9}\n{\"type\":4,\"subject\":\"status.d\"}",
    ];
    texts.map(|t| t.as_bytes().to_vec()).to_vec()
}

fn jwt_seeds() -> Vec<Vec<u8>> {
    let texts = [
        include_str!("../tests/jwt/rs256.jwt"),
        include_str!("../tests/jwt/es256.jwt"),
        include_str!("../tests/jwt/keys.json"),
        include_str!("../tests/jwt/rs256.pem"),
        include_str!("../tests/jwt/eddsa.pem"),
        "{\"sub\":\"d\",\"exp\":2e9,\"nbf\":1.5,\"pub\":\"[\\\"a\\\"]\",\"subscribe\":\"a,b\",\"role\":\"r\"}",
    ];
    texts.map(|t| t.as_bytes().to_vec()).to_vec()
}
