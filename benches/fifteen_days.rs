//! Days of a factory's load at an accelerated clock: what the store costs when it is full.
//!
//!     cargo bench --bench fifteen_days -- [--series 50000] [--days 15] [--folder DIR] [--keep]
//!
//! Series of the classes that factories have are appended every 15 s of a hand-set clock, as fast as the store
//! takes them, through the same door and with the same threads as in a box. Each day prints what it added to the
//! disk, the memory, what was written and the share of CPU that upkeep took; at the end the queries of a dashboard over the
//! full store, and how long it takes to open with cold files. The folder, which must be new, is removed at the end
//! unless it is to be kept. Not a test: fifteen days of 50 000 series are 4.3 thousand million samples.
#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a bench prints, measures time and writes")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use andon::clock::Clock;
use andon::instrument::Registry;
use andon::model::{Labels, Timestamp};
use andon::query::promql::{Engine, Limits, Options};
use andon::storage::disk::OsDisk;
use andon::storage::tsdb::{Batch, Config, Db, SeriesRef, WalSync};

/// As in the program, so that memory is what it takes there.
#[global_allocator]
static HEAP: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const TICK: Duration = Duration::from_secs(15);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Series that come in one batch, with one time.
const TARGET_SERIES: usize = 1000;
/// 2026-01-01T00:00:00Z.
const START_MS: i64 = 1_767_225_600_000;

struct Arguments {
    series: usize,
    days: u32,
    folder: PathBuf,
    is_kept: bool,
}

fn main() {
    let Some(arguments) = arguments() else { return };
    std::fs::create_dir_all(&arguments.folder).expect("the folder can be made");
    assert_eq!(bytes_of(&arguments.folder), 0, "{} is not empty", arguments.folder.display());
    let began = Instant::now();
    let clock = Clock::hand_set(Timestamp::from_millis(START_MS));
    let db = open(&arguments.folder, &clock);
    let mut plant = Plant::new(&db, arguments.series);
    println!(
        "{} series, {} days, a sample each 15 s, in {}",
        plant.series(),
        arguments.days,
        arguments.folder.display()
    );
    println!(
        "| day | M samples | bytes a sample of the day | on disk, MB | written a sample | RSS, MiB | \
         k samples per CPU s | upkeep, % of CPU | s |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let first = Usage::now(&arguments.folder);
    let (mut before, mut total) = (first, 0);
    for day in 1..=arguments.days {
        let samples = run_day(&db, &clock, &mut plant);
        let after = Usage::now(&arguments.folder);
        print_day(&day.to_string(), samples, &before, &after);
        (before, total) = (after, total + samples);
    }
    // What is cut already is merged; what is not yet cut stays in head and WAL, as on a box.
    db.maintain();
    print_day("all", total, &first, &Usage::now(&arguments.folder));
    println!("highest RSS: {:.1} MiB; blocks: {}", status_kib("VmHWM:") / 1024.0, db.stats().blocks);
    query(&db, &clock, plant.series());
    db.close();
    drop(db);
    evict(&arguments.folder);
    let started = Instant::now();
    let db = open(&arguments.folder, &clock);
    let opened = started.elapsed();
    let answer =
        Engine::new(db.clone(), limits()).instant("count(plant_temperature)", clock.now(), &Options::default());
    let answer = answer.expect("the store answers");
    println!("cold start: open {opened:.2?}, first answer {:.2?} ({:?})", started.elapsed(), answer.value);
    println!("all of it: {:.0} s", began.elapsed().as_secs_f64());
    if !arguments.is_kept {
        db.close();
        std::fs::remove_dir_all(&arguments.folder).expect("the folder can be removed");
    }
}

fn arguments() -> Option<Arguments> {
    let folder = std::env::temp_dir().join("andon-fifteen-days");
    let mut arguments = Arguments { series: 50_000, days: 15, folder, is_kept: false };
    let mut given = std::env::args().skip(1).filter(|a| a != "--bench");
    while let Some(name) = given.next() {
        if name == "--keep" {
            arguments.is_kept = true;
            continue;
        }
        let value = given.next().unwrap_or_default();
        let number = value.parse();
        match (name.as_str(), number) {
            ("--series", Ok(n)) => arguments.series = n,
            ("--days", Ok(n)) => arguments.days = u32::try_from(n).unwrap_or(15),
            ("--folder", _) if !value.is_empty() => arguments.folder = value.into(),
            _ => {
                println!("usage: cargo bench --bench fifteen_days -- [--series N] [--days N] [--folder DIR] [--keep]");
                return None;
            }
        }
    }
    Some(arguments)
}

fn open(folder: &Path, clock: &Clock) -> Db {
    let config = Config {
        retention: 15 * DAY,
        wal_sync: WalSync::Interval(Duration::from_secs(1)),
        series_max: 1_000_000,
        ahead_max: Duration::from_secs(600),
    };
    Db::open(config, Arc::new(OsDisk), folder, clock.clone(), &Registry::default()).expect("the store opens")
}

fn limits() -> Limits {
    let minute = Duration::from_secs(60);
    Limits { lookback: 5 * minute, timeout: 10 * minute, samples_max: 1 << 30, default_step: minute }
}

/// Appends a day; returns how many samples that were.
fn run_day(db: &Db, clock: &Clock, plant: &mut Plant) -> u64 {
    let ticks = DAY.as_secs() / TICK.as_secs();
    let mut samples = 0;
    for _ in 0..ticks {
        clock.advance(TICK);
        samples += plant.tick(db, clock.now());
    }
    samples
}

fn print_day(day: &str, samples: u64, before: &Usage, after: &Usage) {
    let cpu = after.cpu_s - before.cpu_s;
    let added = after.disk_bytes.saturating_sub(before.disk_bytes) as f64 / samples as f64;
    println!(
        "| {day} | {:.1} | {added:.3} | {:.0} | {:.2} | {:.1} | {:.0} | {:.0} | {:.0} |",
        samples as f64 / 1e6,
        after.disk_bytes as f64 / 1e6,
        (after.written_bytes - before.written_bytes) as f64 / samples as f64,
        status_kib("VmRSS:") / 1024.0,
        samples as f64 / cpu / 1e3,
        (after.upkeep_s - before.upkeep_s) / cpu * 100.0,
        after.at.duration_since(before.at).as_secs_f64(),
    );
}

/// The questions of a dashboard, over the whole store.
fn query(db: &Db, clock: &Clock, series: usize) {
    let engine = Engine::new(db.clone(), limits());
    let now = clock.now();
    println!("| query | first, ms | again, ms |");
    println!("|---|---|---|");
    for (range, step, expression) in [
        (Duration::ZERO, 0, "count({__name__=~\".+\"})"),
        (Duration::ZERO, 0, "sum by (line) (rate(plant_messages_total[5m]))"),
        (Duration::from_secs(3600), 15, "plant_temperature{device=\"7\"}"),
        (Duration::from_secs(6 * 3600), 60, "avg by (line) (plant_temperature)"),
        (DAY, 300, "histogram_quantile(0.99, sum by (le) (rate(plant_duration_seconds_bucket[5m])))"),
        (7 * DAY, 3600, "max by (line) (max_over_time(plant_temperature[1h]))"),
        (15 * DAY, 7200, "plant_temperature{device=\"7\"}"),
    ] {
        let ask = || {
            let began = Instant::now();
            let options = Options::default();
            let result = if range.is_zero() {
                engine.instant(expression, now, &options)
            } else {
                let start = Timestamp::from_millis(now.as_millis() - i64::try_from(range.as_millis()).unwrap_or(0));
                engine.range(expression, start, now, Duration::from_secs(step), &options)
            };
            result.map(|_| began.elapsed().as_secs_f64() * 1e3)
        };
        match (ask(), ask()) {
            (Ok(first), Ok(again)) => println!("| {expression} over {range:?} | {first:.1} | {again:.1} |"),
            (Err(error), _) | (_, Err(error)) => {
                println!("| {expression} over {range:?} | {error} ({series} series) | |")
            }
        }
    }
}

/// What the process and its folder have taken so far.
#[derive(Debug, Clone, Copy)]
struct Usage {
    at: Instant,
    cpu_s: f64,
    /// Of that, the store's own threads, which cut and merge.
    upkeep_s: f64,
    disk_bytes: u64,
    /// Handed to the file system so far.
    written_bytes: u64,
}

impl Usage {
    fn now(folder: &Path) -> Usage {
        let (mut cpu_s, mut upkeep_s) = (0.0, 0.0);
        for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            let Some((name, rest)) = stat.rsplit_once(')') else { continue };
            let fields: Vec<&str> = rest.split_whitespace().collect();
            let ticks: f64 = fields.iter().skip(11).take(2).filter_map(|f| f.parse::<f64>().ok()).sum();
            cpu_s += ticks / 100.0;
            if name.contains("(andon-tsdb") {
                upkeep_s += ticks / 100.0;
            }
        }
        let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
        let written = io.lines().find_map(|l| l.strip_prefix("wchar: ")).and_then(|n| n.parse().ok());
        let (disk_bytes, written_bytes) = (bytes_of(folder), written.unwrap_or(0));
        Usage { at: Instant::now(), cpu_s, upkeep_s, disk_bytes, written_bytes }
    }
}

fn bytes_of(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| {
        let metadata = entry.metadata().ok()?;
        Some(if metadata.is_dir() { bytes_of(&entry.path()) } else { metadata.len() })
    });
    sizes.sum()
}

fn status_kib(field: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix(field)).unwrap_or("0");
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0.0)
}

/// Drops the files of a folder from the page cache.
fn evict(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            evict(&entry.path());
        } else if let Ok(file) = std::fs::File::open(entry.path()) {
            let _ = file.sync_all();
            let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        }
    }
}

/// How a series moves.
#[derive(Debug, Clone, Copy)]
enum Class {
    Constant,
    State,
    SlowCounter,
    Counter { base: u64 },
    DecimalCounter,
    Bucket { share: u64 },
    Walk { decimals: f64 },
    Noise,
    Ratio,
    Sum,
}

/// Of a hundred series, so many of each class, with metric names.
const MIX: [(usize, &str, Class); 12] = [
    (5, "plant_info", Class::Constant),
    (4, "plant_state", Class::State),
    (10, "plant_faults_total", Class::SlowCounter),
    (14, "plant_messages_total", Class::Counter { base: 15 }),
    (4, "plant_energy_kilowatthours_total", Class::DecimalCounter),
    (13, "plant_duration_seconds_bucket", Class::Bucket { share: 3 }),
    (13, "plant_size_bytes_bucket", Class::Bucket { share: 40 }),
    (12, "plant_temperature", Class::Walk { decimals: 10.0 }),
    (9, "plant_pressure", Class::Walk { decimals: 100.0 }),
    (12, "plant_vibration", Class::Noise),
    (2, "plant_ratio", Class::Ratio),
    (2, "plant_duration_seconds_sum", Class::Sum),
];

/// One series: where it stands, and how it goes on.
struct One {
    reference: SeriesRef,
    class: Class,
    at: i64,
    sum: f64,
}

/// All series, in targets that are scraped together.
struct Plant {
    targets: Vec<Vec<One>>,
    random: Random,
    batch: Batch,
}

impl Plant {
    fn new(db: &Db, series: usize) -> Plant {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let classes: Vec<(&str, Class)> =
            MIX.iter().flat_map(|(count, name, class)| std::iter::repeat_n((*name, *class), *count)).collect();
        let targets = series.div_ceil(TARGET_SERIES);
        let target = |target: usize, random: &mut Random| -> Vec<One> {
            let one = |i: usize| {
                let (name, class) = classes[i % classes.len()];
                let labels = labels(name, target, i);
                let reference = db.series_ref(&labels).expect("the limit on series is far");
                let at = i64::try_from(random.below(5_000)).unwrap_or(0) + 200;
                One { reference, class, at, sum: 0.0 }
            };
            (0..TARGET_SERIES.min(series - target * TARGET_SERIES)).map(one).collect()
        };
        let targets = (0..targets).map(|t| target(t, &mut random)).collect();
        Plant { targets, random, batch: Batch::default() }
    }

    fn series(&self) -> usize {
        self.targets.iter().map(Vec::len).sum()
    }

    /// Appends one sample of each series; returns how many were taken.
    fn tick(&mut self, db: &Db, now: Timestamp) -> u64 {
        let mut taken = 0;
        for target in &mut self.targets {
            // A scraper aligns its times; one of ten is late by some milliseconds.
            let late_ms = if self.random.below(10) == 0 { self.random.below(37) + 3 } else { 0 };
            let at = Timestamp::from_millis(now.as_millis() - 15_000 + i64::try_from(late_ms).unwrap_or(0));
            self.batch.clear();
            for one in target {
                let value = one.next(&mut self.random);
                self.batch.push_ref(one.reference, at, value);
            }
            taken += db.append(&self.batch).expect("the store takes samples").appended;
        }
        taken
    }
}

impl One {
    fn next(&mut self, random: &mut Random) -> f64 {
        let mut add = |n: u64| self.at = self.at.wrapping_add(i64::try_from(n).unwrap_or(0));
        match self.class {
            Class::Constant => return 1.0,
            Class::State => {
                if random.below(120) == 0 {
                    self.at = i64::try_from(random.below(3)).unwrap_or(0);
                }
                return (self.at % 3) as f64;
            }
            Class::SlowCounter => add(u64::from(random.below(900) == 0)),
            Class::Counter { base } => add(base + random.below(3)),
            Class::DecimalCounter => {
                add(9 + random.below(3));
                return self.at as f64 / 1000.0;
            }
            Class::Bucket { share } => add(random.below(share)),
            Class::Walk { decimals } => {
                if random.below(2) == 0 {
                    self.at += i64::try_from(random.below(7)).unwrap_or(0) - 3;
                }
                return self.at as f64 / decimals;
            }
            Class::Noise => return (180 + i64::try_from(random.below(120)).unwrap_or(0)) as f64 / 100.0,
            Class::Ratio => return random.unit(),
            Class::Sum => {
                self.sum += random.unit() * 0.07;
                return self.sum;
            }
        }
        self.at as f64
    }
}

fn labels(name: &str, target: usize, series: usize) -> Labels {
    let number = |n: usize| n.to_string();
    let mut pairs = vec![
        ("__name__", name.to_owned()),
        ("device", number(target * 20 + series % 20)),
        ("instance", format!("10.20.{}.{}:9100", target / 250, target % 250 + 1)),
        ("job", "edge-gateway".to_owned()),
        ("line", format!("line-{:03}", target * 2 + series % 2)),
        ("site", format!("plant-{}", target / 20 + 1)),
        ("part", number(series / 20)),
    ];
    if name.ends_with("_bucket") {
        pairs.push(("le", number(series / 100)));
    }
    Labels::from_pairs(pairs)
}

/// Numbers that look random and are the same each time (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 16) % end
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
