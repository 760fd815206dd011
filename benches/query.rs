//! What a query costs as it grows: over more time and over more series; and what one costs over a folder of data.
//!
//!     cargo bench --bench query                                            two tables of growth
//!     cargo bench --bench query -- ask FOLDER [RANGE_S STEP_S [TIMES [CORES]]] QUERY
//!
//! A row of a table is the best of three runs: samples read, CPU of the whole process, nanoseconds a sample, how many
//! samples were held at most, and by how much the process grew: not at all where the heap had room. What grows in step with its input has the same nanoseconds in each row. `ask` opens a data
//! folder of a box (a copy: the store looks after it), asks at its newest sample, and tells what the query and its parts
//! took.
#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a bench prints, measures time and writes")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use andon::clock::Clock;
use andon::instrument::Registry;
use andon::model::{Labels, Timestamp};
use andon::query::promql::{Engine, Limits, Options, QueryResult, Trace, Value};
use andon::storage::disk::OsDisk;
use andon::storage::tsdb::{Batch, Config, Db, SeriesRef, WalSync};
use rustix::time::{ClockId, clock_gettime};

#[global_allocator]
static HEAP: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// 2026-01-01T00:00:00Z.
const START_MS: i64 = 1_767_225_600_000;
const TICK: Duration = Duration::from_secs(15);
const HOUR: Duration = Duration::from_secs(3600);
/// How many series the rows of the second table have. A series tells in a label in which of them it is for the first time.
const SIZES: [usize; 4] = [100, 1_000, 10_000, 50_000];
const SPANS: [(&str, u32); 4] = [("1 h", 1), ("6 h", 6), ("24 h", 24), ("7 d", 168)];
/// Series whose time grows.
const LONG_SERIES: usize = 200;

fn main() {
    let given: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let given: Vec<&str> = given.iter().map(String::as_str).collect();
    match given.as_slice() {
        [] => growth(),
        ["ask", folder, numbers @ .., query] if numbers.len() <= 4 => {
            let number = |at: usize, default: u64| numbers.get(at).and_then(|n| n.parse().ok()).unwrap_or(default);
            ask(folder, [number(0, 0), number(1, 60), number(2, 1), number(3, u64::MAX)], query);
        }
        _ => println!("usage: cargo bench --bench query [-- ask FOLDER [RANGE_S STEP_S [TIMES [CORES]]] QUERY]"),
    }
}

fn growth() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let clock = Clock::hand_set(Timestamp::from_millis(START_MS));
    let db = open(folder.path(), &clock);
    run(&db, &clock, LONG_SERIES, 168 * HOUR);
    db.maintain();
    println!("{LONG_SERIES} series, a sample each 15 s, step 60 s, {} blocks", db.stats().blocks);
    table("time", SPANS.iter().map(|(name, _)| *name), |query, row| {
        let range = SPANS[row].1 * HOUR;
        measure(&db, clock.now(), range, 60, &query.replace("SELECTED", ""))
    });
    db.close();
    drop(db);

    let folder = tempfile::tempdir().expect("a folder can be made");
    let clock = Clock::hand_set(Timestamp::from_millis(START_MS));
    let db = open(folder.path(), &clock);
    run(&db, &clock, SIZES[SIZES.len() - 1], HOUR);
    println!("\n1 h, a sample each 15 s, step 60 s, all in the head");
    let names = SIZES.map(|size| size.to_string());
    table("series", names.iter().map(String::as_str), |query, row| {
        let selected = format!("{{size=~\"{}\"}}", names[..=row].join("|"));
        measure(&db, clock.now(), HOUR, 60, &query.replace("SELECTED", &selected))
    });
}

const QUERIES: [&str; 5] = [
    "sum by (line) (rate(plant_messages_totalSELECTED[5m]))",
    "max by (line) (max_over_time(plant_messages_totalSELECTED[1h]))",
    "topk(5, plant_messages_totalSELECTED)",
    "plant_messages_totalSELECTED / (plant_messages_totalSELECTED + 1)",
    "count(plant_messages_totalSELECTED @ end())",
];

fn table<'n>(of: &str, rows: impl Iterator<Item = &'n str> + Clone, measure: impl Fn(&str, usize) -> Cost) {
    for query in QUERIES {
        println!("\n`{}`\n", query.replace("SELECTED", ""));
        println!(
            "| {of} | k samples read | CPU ms | ns a sample | wall ms | k samples held | memory, MiB |\n|---|---|---|---|---|---|---|"
        );
        for (row, name) in rows.clone().enumerate() {
            let cost = (0..3).map(|_| measure(query, row)).min_by(|a, b| a.cpu.cmp(&b.cpu)).expect("three runs");
            println!(
                "| {name} | {:.0} | {:.2} | {:.1} | {:.2} | {:.1} | {:.1} |",
                cost.samples as f64 / 1e3,
                cost.cpu.as_secs_f64() * 1e3,
                cost.cpu.as_nanos() as f64 / cost.samples.max(1) as f64,
                cost.wall.as_secs_f64() * 1e3,
                cost.held as f64 / 1e3,
                cost.memory_mib
            );
        }
    }
}

/// What a query took.
struct Cost {
    samples: usize,
    cpu: Duration,
    wall: Duration,
    /// The most that was held at one time, in samples of 8 to 16 bytes.
    held: usize,
    memory_mib: f64,
}

fn measure(db: &Db, now: Timestamp, range: Duration, step: u64, query: &str) -> Cost {
    // From here on the highest is that of the query.
    std::fs::write("/proc/self/clear_refs", "5").expect("the highest can be set back");
    let before = status_kib("VmRSS:");
    let (cpu, began) = (cpu_time(), Instant::now());
    let result = asked(&engine(db, None), now, range, step, query, &Options::default());
    let (cpu, wall) = (cpu_time() - cpu, began.elapsed());
    let held = result.stats.peak;
    Cost { samples: result.samples, cpu, wall, held, memory_mib: (status_kib("VmHWM:") - before) / 1024.0 }
}

/// Returns an engine, on the machine's cores or on so many if there are fewer.
fn engine(db: &Db, cores: Option<usize>) -> Engine {
    let minute = Duration::from_secs(60);
    let limits = Limits { lookback: 5 * minute, timeout: 10 * minute, samples_max: 1 << 30, default_step: minute };
    let of_machine = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Engine::new(db.clone(), limits).on_cores(cores.unwrap_or(of_machine).min(of_machine))
}

fn asked(engine: &Engine, now: Timestamp, range: Duration, step: u64, query: &str, options: &Options) -> QueryResult {
    let result = if range.is_zero() {
        engine.instant(query, now, options)
    } else {
        let start = Timestamp::from_millis(now.as_millis() - i64::try_from(range.as_millis()).unwrap_or(0));
        engine.range(query, start, now, Duration::from_secs(step), options)
    };
    result.unwrap_or_else(|error| panic!("{query}: {error}"))
}

/// Asks a folder of data.
fn ask(folder: &str, [range, step, times, cores]: [u64; 4], query: &str) {
    let db = open(Path::new(folder), &Clock::system());
    let stats = db.stats();
    let now = stats.head_max_time.expect("the head has samples");
    let engine = engine(&db, usize::try_from(cores).ok());
    let ask = |options: &Options| asked(&engine, now, Duration::from_secs(range), step, query, options);
    let mut took: Vec<(Duration, Duration)> = Vec::new();
    for _ in 0..times.max(1) {
        let (cpu, began) = (cpu_time(), Instant::now());
        ask(&Options::default());
        took.push((cpu_time() - cpu, began.elapsed()));
    }
    took.sort();
    let result = ask(&Options { is_traced: true, ..Options::default() });
    let series = match &result.value {
        Value::Vector(series) => series.len(),
        Value::Matrix(series) => series.len(),
        Value::Scalar(_) | Value::String(..) => 1,
    };
    let (cpu, wall) = took[took.len() / 2];
    println!("{query}: {} samples to {series} series, CPU {cpu:.2?}, wall {wall:.2?}", result.samples);
    if let Some(trace) = result.trace {
        print(&trace, 1);
    }
    db.close();
}

fn print(trace: &Trace, depth: usize) {
    let (indent, Trace { text, series, samples, took, .. }) = ("  ".repeat(depth), trace);
    println!("{indent}{text}: {series} series, {samples} samples, {took:.2?}");
    trace.parts.iter().for_each(|part| print(part, depth + 1));
}

fn open(folder: &Path, clock: &Clock) -> Db {
    let config = Config {
        retention: 400 * 24 * HOUR,
        wal_sync: WalSync::Interval(Duration::from_secs(1)),
        series_max: 1_000_000,
        ahead_max: Duration::from_secs(600),
    };
    Db::open(config, Arc::new(OsDisk), folder, clock.clone(), &Registry::default()).expect("the store opens")
}

/// Appends a while of so many series.
fn run(db: &Db, clock: &Clock, series: usize, time: Duration) {
    let mut all: Vec<(SeriesRef, u64)> = (0..series).map(|i| (reference(db, i), i as u64 * 1000)).collect();
    let mut batch = Batch::default();
    for tick in 0..time.as_secs() / TICK.as_secs() + 20 {
        clock.advance(TICK);
        for target in all.chunks_mut(1000) {
            batch.clear();
            for (reference, value) in target {
                // Each counts up at its own pace, and not quite evenly.
                *value += (*value).wrapping_mul(tick | 1) % 7 + 3;
                batch.push_ref(*reference, clock.now(), *value as f64);
            }
            db.append(&batch).expect("the store takes samples");
        }
    }
}

fn reference(db: &Db, series: usize) -> SeriesRef {
    let size = SIZES.iter().find(|size| series < **size).expect("one of the sizes");
    let labels = Labels::from_pairs([
        ("__name__", "plant_messages_total".to_owned()),
        ("device", format!("plc-{series:05}")),
        ("instance", format!("10.20.{}.{}:9100", series / 5000, series / 20 % 250 + 1)),
        ("line", format!("line-{:03}", series % 20)),
        ("size", size.to_string()),
    ]);
    db.series_ref(&labels).expect("the limit on series is far")
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn status_kib(field: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix(field)).unwrap_or("0");
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0.0)
}
