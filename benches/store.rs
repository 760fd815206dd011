//! What the store and the ways into it cost, part by part.
//!
//!     cargo bench --bench store [-- NAME]
//!
//! Throughput is in samples; `append` includes what the store's own threads do beside it. `waits` is no rate: it
//! prints how long appends took while blocks were cut and merged.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a bench prints and measures time")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use andon::clock::Clock;
use andon::instrument::Registry;
use andon::model::{Labels, MatchOp, Matcher, Timestamp};
use andon::storage::disk::OsDisk;
use andon::storage::tsdb::bench::{open_values, seal_times, seal_values};
use andon::storage::tsdb::{Batch, Config, Db, SeriesRef, WalSync};
use andon::wire::exposition::{Format, Parser};
use andon::wire::remote_write::{Encoder, Entry, Reader, unpack};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// 2026-01-01T00:00:00Z.
const START_MS: i64 = 1_767_225_600_000;
const TICK_MS: i64 = 15_000;
/// Samples of a chunk in the head, and in two hours.
const CHUNKS: [usize; 2] = [120, 480];
/// The classes of series that a factory has.
const CLASSES: [&str; 7] = ["constant", "state", "walk", "noise", "counter", "decimal counter", "float"];

criterion_group!(
    benches,
    append,
    replay,
    late,
    waits,
    seal,
    decode,
    select,
    compact,
    read_remote_write,
    read_exposition
);
criterion_main!(benches);

/// A source of values that is the same in every run.
struct Plant(u64);

impl Plant {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    /// Returns the value after `last` of a series of a class.
    fn next(&mut self, class: &str, last: f64) -> f64 {
        let noise = self.below(120) as f64;
        match class {
            "state" => f64::from(u8::from(self.below(100) == 0) ^ u8::from(last != 0.0)),
            "walk" if self.below(4) == 0 => ((last * 10.0).round() + noise / 20.0 - 3.0).round() / 10.0,
            "walk" => last,
            "noise" => (180.0 + noise) / 100.0,
            "counter" => last.round() + 100.0 + noise,
            "decimal counter" => ((last * 1000.0).round() + noise).round() / 1000.0,
            "float" => 0.9 * last + 0.1 / (1.0 + noise),
            _ => 64.5,
        }
    }

    fn column(&mut self, class: &str, samples: usize) -> Vec<f64> {
        let mut last = 20.0;
        let mut next = || {
            last = self.next(class, last);
            last
        };
        (0..samples).map(|_| next()).collect()
    }
}

fn labels(series: usize) -> Labels {
    let (device, line, sensor) = (series / 40, series / 800, series % 40);
    Labels::from_pairs([
        ("__name__", format!("plant_{}", CLASSES[series % CLASSES.len()].replace(' ', "_"))),
        ("device_id", format!("temp-sensor-{device:05}")),
        ("device_type", "sensor".to_owned()),
        ("line_id", format!("line-{line:03}")),
        ("sensor", format!("s{sensor}")),
        ("site", "plant-1".to_owned()),
    ])
}

fn open(folder: &Path, clock: &Clock) -> Db {
    let config = Config {
        retention: Duration::from_secs(15 * 24 * 3600),
        wal_sync: WalSync::Interval(Duration::from_secs(1)),
        series_max: 1_000_000,
        ahead_max: Duration::from_secs(600),
    };
    Db::open(config, Arc::new(OsDisk), folder, clock.clone(), &Registry::default()).expect("the store opens")
}

/// Series with their last values, appended scrape by scrape.
struct Load {
    plant: Plant,
    series: Vec<(SeriesRef, f64)>,
    batch: Batch,
}

impl Load {
    fn new(db: &Db, series: usize) -> Load {
        let series = (0..series).map(|i| (db.series_ref(&labels(i)).expect("no limit is reached"), 20.0)).collect();
        Load { plant: Plant(1), series, batch: Batch::default() }
    }

    /// Makes a load of each so many series.
    fn split(self, series: usize) -> Vec<Load> {
        let load =
            |series: &[(SeriesRef, f64)]| Load { plant: Plant(1), series: series.to_vec(), batch: Batch::default() };
        self.series.chunks(series).map(load).collect()
    }

    fn append(&mut self, db: &Db, at: Timestamp) {
        self.fill(at);
        self.send(db);
    }

    fn fill(&mut self, at: Timestamp) {
        self.batch.clear();
        for (i, (series, value)) in self.series.iter_mut().enumerate() {
            *value = self.plant.next(CLASSES[i % CLASSES.len()], *value);
            self.batch.push_ref(*series, at, *value);
        }
    }

    fn send(&self, db: &Db) {
        let outcome = db.append(&self.batch).expect("the store takes samples");
        assert_eq!(outcome.appended, self.series.len() as u64);
    }

    /// Appends a stretch of time, tick by tick.
    fn run(&mut self, db: &Db, clock: &Clock, time: Duration) {
        for _ in 0..time.as_millis() / TICK_MS.unsigned_abs() as u128 {
            clock.advance(Duration::from_millis(TICK_MS.unsigned_abs()));
            self.append(db, clock.now());
        }
    }
}

/// A scrape of 1000 series of a store with 10 000.
fn append(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let clock = Clock::hand_set(Timestamp::from_millis(START_MS));
    let db = open(folder.path(), &clock);
    let mut targets = Load::new(&db, 10_000).split(1000);
    let mut turn = 0;
    let mut group = c.benchmark_group("append");
    group.throughput(Throughput::Elements(1000));
    group.bench_function("1000 of 10000 series", |b| {
        b.iter(|| {
            if turn % targets.len() == 0 {
                clock.advance(Duration::from_millis(TICK_MS.unsigned_abs()));
            }
            let target = turn % targets.len();
            targets[target].append(&db, clock.now());
            turn += 1;
        });
    });
    group.finish();
    db.close();
}

/// A start with half an hour of 50 000 series in the WAL, sent target by target.
fn replay(c: &mut Criterion) {
    const SERIES: usize = 50_000;
    const TICKS: u64 = 115;
    let folder = tempfile::tempdir().expect("a folder can be made");
    let clock = Clock::hand_set(Timestamp::from_millis(START_MS));
    let db = open(folder.path(), &clock);
    let mut targets = Load::new(&db, SERIES).split(2000);
    for _ in 0..TICKS {
        clock.advance(Duration::from_millis(TICK_MS.unsigned_abs()));
        targets.iter_mut().for_each(|target| target.append(&db, clock.now()));
    }
    db.close();
    let mut group = c.benchmark_group("replay");
    group.sample_size(10).throughput(Throughput::Elements(SERIES as u64 * TICKS));
    group.bench_function("115 samples of 50000 series", |b| {
        b.iter(|| {
            let db = open(folder.path(), &clock);
            assert_eq!(db.stats().head_samples, SERIES as u64 * TICKS);
        });
    });
    group.finish();
}

/// One late sample after the other, in no order, into a series that came every 60 ms for two hours.
fn late(c: &mut Criterion) {
    const STEP_MS: i64 = 60;
    const SAMPLES: i64 = 120_000;
    let folder = tempfile::tempdir().expect("a folder can be made");
    let clock = Clock::hand_set(Timestamp::from_millis(START_MS + SAMPLES * STEP_MS));
    let db = open(folder.path(), &clock);
    let series = db.series_ref(&labels(0)).expect("no limit is reached");
    let mut batch = Batch::default();
    (0..SAMPLES).for_each(|i| batch.push_ref(series, Timestamp::from_millis(START_MS + i * STEP_MS), i as f64));
    assert_eq!(db.append(&batch).expect("the store takes samples").appended, SAMPLES.unsigned_abs());
    let mut turn = 0;
    let mut group = c.benchmark_group("late");
    group.throughput(Throughput::Elements(1));
    group.bench_function("into 1000 chunks", |b| {
        b.iter(|| {
            let (at, round) = (turn * 7919 % SAMPLES, turn / SAMPLES % (STEP_MS - 1));
            batch.clear();
            batch.push_ref(series, Timestamp::from_millis(START_MS + at * STEP_MS + 1 + round), 1.0);
            turn += 1;
            db.append(&batch).expect("the store takes samples").appended
        });
    });
    group.finish();
    println!("{turn} late samples");
    db.close();
}

/// How long a batch of 1000 samples takes with 50 000 series at full speed, while the store's threads cut and merge.
fn waits(_: &mut Criterion) {
    let mut names = std::env::args().skip(1).filter(|a| !a.starts_with('-'));
    if names.next().is_some_and(|name| !"waits".contains(&name)) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder can be made");
    let clock = Clock::hand_set(Timestamp::from_millis(START_MS));
    let db = open(folder.path(), &clock);
    let mut targets = Load::new(&db, 50_000).split(1000);
    let mut took = Vec::new();
    for _ in 0..5 * 240 {
        clock.advance(Duration::from_millis(TICK_MS.unsigned_abs()));
        for target in &mut targets {
            target.fill(clock.now());
            let started = Instant::now();
            target.send(&db);
            took.push((started.elapsed(), clock.now().as_millis() - START_MS));
        }
    }
    println!("{} blocks", db.stats().blocks);
    took.sort_unstable();
    for per_million in [500_000, 990_000, 999_000, 999_900, 1_000_000] {
        let at = (took.len() - 1) * per_million / 1_000_000;
        println!("waits: {:.2} % within {:.2?}", per_million as f64 / 1e4, took[at].0);
    }
    let worst = took.iter().rev().take(12).map(|(took, at_ms)| format!("{took:.1?} at {} s", at_ms / 1000));
    println!("longest: {}", worst.collect::<Vec<_>>().join(", "));
    db.close();
}

fn seal(c: &mut Criterion) {
    let mut group = c.benchmark_group("seal");
    for samples in CHUNKS {
        group.throughput(Throughput::Elements(samples as u64));
        let times: Vec<i64> =
            (0..samples as i64).map(|i| START_MS + i * TICK_MS + i64::from(i % 10 == 7) * 13).collect();
        group.bench_function(BenchmarkId::new("times", samples), |b| b.iter(|| seal_times(black_box(&times))));
        for class in CLASSES {
            let values = Plant(1).column(class, samples);
            let stay = samples > CHUNKS[0];
            group
                .bench_function(BenchmarkId::new(class, samples), |b| b.iter(|| seal_values(black_box(&values), stay)));
        }
    }
    group.finish();
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements(480));
    for class in CLASSES {
        let packed = seal_values(&Plant(1).column(class, 480), true);
        group.bench_function(class, |b| b.iter(|| open_values(black_box(&packed)).expect("it checks out")));
    }
    group.finish();
}

/// Selectors over 50 000 series of the head.
fn select(c: &mut Criterion) {
    let clock = Clock::hand_set(Timestamp::from_millis(START_MS));
    let folder = tempfile::tempdir().expect("a folder can be made");
    let db = open(folder.path(), &clock);
    let mut load = Load::new(&db, 50_000);
    load.run(&db, &clock, Duration::from_secs(300));
    let (end, start) = (clock.now(), Timestamp::from_millis(clock.now().as_millis() - 300_000));
    let mut group = c.benchmark_group("select");
    for (name, matcher) in [
        ("all 50000", Matcher::new("__name__", MatchOp::Regex, "plant_.*").expect("a regex")),
        ("one name", Matcher::equal("__name__", "plant_walk")),
        ("one device", Matcher::equal("device_id", "temp-sensor-00077")),
        ("not one line", Matcher::new("line_id", MatchOp::NotRegex, "line-0[0-5].").expect("a regex")),
    ] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let set = db.querier().select(std::slice::from_ref(&matcher), start, end, 1 << 30).expect("it reads");
                set.map(|series| series.expect("it reads").values.len()).sum::<usize>()
            });
        });
    }
    group.finish();
    db.close();
}

/// A day of 200 series: cut into windows and merged.
fn compact(c: &mut Criterion) {
    let mut group = c.benchmark_group("compact");
    let day = Duration::from_secs(24 * 3600);
    group.sample_size(10).throughput(Throughput::Elements(200 * 24 * 240));
    group.bench_function("a day of 200 series", |b| {
        b.iter_batched(
            || {
                let folder = tempfile::tempdir().expect("a folder can be made");
                let clock = Clock::hand_set(Timestamp::from_millis(START_MS));
                let db = open(folder.path(), &clock);
                Load::new(&db, 200).run(&db, &clock, day);
                clock.advance(day / 4);
                (folder, db)
            },
            |(folder, db)| {
                db.maintain();
                db.flush().expect("the disk takes blocks");
                (folder, db)
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// From the bytes of a request to its series, without the look-up.
fn read_remote_write(c: &mut Criterion) {
    let mut encoder = Encoder::new();
    (0..2000).for_each(|i| encoder.push(&labels(i), [(START_MS, i as f64 / 10.0)]));
    let body = encoder.finish().expect("it is small");
    let mut group = c.benchmark_group("remote write");
    group.throughput(Throughput::Elements(2000));
    let mut bytes = Vec::new();
    group.bench_function("unpack", |b| b.iter(|| unpack(black_box(&body), &mut bytes).expect("it is sound")));
    unpack(&body, &mut bytes).expect("it is sound");
    group.bench_function("walk", |b| {
        b.iter(|| {
            let entries = Reader::new(black_box(&bytes)).map(|entry| match entry.expect("it is sound") {
                Entry::Series(series) => series.label_bytes().len() + series.parts().count(),
                Entry::Description(_) => 0,
            });
            entries.sum::<usize>()
        });
    });
    group.finish();
}

fn read_exposition(c: &mut Criterion) {
    let mut plant = Plant(1);
    let mut body = String::new();
    for i in 0..1000 {
        body.push_str(&format!("{} {}\n", labels(i).to_string().replace(", ", ","), plant.next(CLASSES[i % 7], 20.0)));
    }
    let mut group = c.benchmark_group("exposition");
    group.throughput(Throughput::Elements(1000));
    group.bench_function("parse", |b| {
        b.iter(|| {
            Parser::new(black_box(body.as_bytes()), Format::Text).expect("it is text").filter(Result::is_ok).count()
        });
    });
    group.finish();
}
