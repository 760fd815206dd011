//! Doors for fuzzers: bytes as a record, a log, a checkpoint, a block.

use std::path::Path;
use std::time::Duration;

use super::block::{BlockMeta, Contents, Page};
use super::column::{Effort, decode_times, decode_values, encode_times, encode_values};
use super::postings::Postings;
use super::wal::LogReader;
use super::{Batch, Config, Db, WalSync};
use crate::clock::Clock;
use crate::fuzzing::{put, take};
use crate::instrument::Registry;
use crate::model::{Labels, Matcher, Timestamp};
use crate::storage::disk::{ByteWriter, FaultyDisk};

const NOW_MS: i64 = 1_790_000_000_000;
const BLOCK: &str = "/data/tsdb/blocks/00000001-2026-09-21T00h";

fn open(disk: &FaultyDisk) -> Db {
    let config = Config {
        retention: Duration::from_secs(36_500 * 24 * 3600),
        wal_sync: WalSync::Interval(Duration::from_secs(1)),
        series_max: 1000,
        ahead_max: Duration::from_secs(600),
    };
    let clock = Clock::hand_set(Timestamp::from_millis(NOW_MS));
    let opened = Db::open_without_threads(config, disk.shared(), Path::new("/data/tsdb"), clock, &Registry::default());
    opened.unwrap_or_else(|e| panic!("bug: a start always succeeds: {e}"))
}

/// Reads, appends, cuts and starts again, whatever was there.
fn live(disk: &FaultyDisk) {
    let db = open(disk);
    let read = |db: &Db, matchers: &[Matcher]| {
        let querier = db.querier();
        let set = querier.select(matchers, Timestamp::MIN, Timestamp::MAX, 1_000_000);
        let set = set.unwrap_or_else(|e| panic!("bug: {e}"));
        for series in set.take(1000).map_while(Result::ok) {
            assert!(series.timestamps.is_sorted_by(|a, b| a < b), "bug: times are not rising");
            assert_eq!(series.timestamps.len(), series.values.len(), "bug: a value for each time");
        }
    };
    read(&db, &[]);
    read(&db, &[Matcher::equal("__name__", "up")]);
    let mut batch = Batch::default();
    batch.push(&Labels::from_pairs([("__name__", "up")]), Timestamp::from_millis(NOW_MS), 1.0);
    let taken = db.append(&batch).unwrap_or_else(|e| panic!("bug: {e}"));
    assert_eq!(taken.too_new + taken.too_old + taken.unknown_ref, 0, "bug: {taken:?}");
    db.flush().unwrap_or_else(|e| panic!("bug: {e}"));
    drop(db);
    disk.kill();
    read(&open(disk), &[]);
}

pub(crate) fn wal(data: &[u8]) {
    let disk = FaultyDisk::new(0);
    put(&disk, "/data/tsdb/wal/00000001", data);
    live(&disk);
}

pub(crate) fn checkpoint(data: &[u8]) {
    let disk = FaultyDisk::new(0);
    put(&disk, "/data/tsdb/checkpoint.00000002/00000001", data);
    live(&disk);
}

/// The first four bytes say how long `meta.json` and `index` are; the rest is the columns.
pub(crate) fn block(data: &[u8]) {
    let Some((lengths, rest)) = data.split_first_chunk::<4>() else { return };
    let [a, b, c, d] = *lengths;
    let meta = usize::from(u16::from_le_bytes([a, b])).min(rest.len());
    let (meta, rest) = rest.split_at(meta);
    let (index, chunks) = rest.split_at(usize::from(u16::from_le_bytes([c, d])).min(rest.len()));
    let disk = FaultyDisk::new(0);
    put(&disk, &format!("{BLOCK}/meta.json"), meta);
    put(&disk, &format!("{BLOCK}/index"), index);
    put(&disk, &format!("{BLOCK}/chunks"), chunks);
    live(&disk);
}

/// Records one behind the other, each with two bytes of length and one of kind.
pub(crate) fn record(mut data: &[u8]) {
    let mut reader = LogReader::default();
    for sequence in 1.. {
        let Some(([a, b, kind], rest)) = data.split_first_chunk::<3>() else { return };
        let (payload, rest) = rest.split_at(usize::from(u16::from_le_bytes([*a, *b])).min(rest.len()));
        let _ = reader.read(sequence, *kind, payload);
        data = rest;
    }
}

/// A page of an index, and what says where the pages are.
pub(crate) fn index(data: &[u8]) {
    if let Ok(contents) = Contents::parse(data) {
        for page in contents.pages.iter().take(100) {
            let _ = (page.overlaps(0, i64::MAX), contents.copy_of(page.offset));
        }
    }
    let Ok(page) = Page::parse(data) else { return };
    for name in page.names().take(50) {
        for value in page.values(name).take(50) {
            assert!(page.equal(name, value).is_sorted(), "bug: postings are sorted");
        }
    }
    let (chunks, mut text) = (page.chunks(), String::new());
    for id in page.all().into_iter().take(200) {
        let _ = (page.labels(id, &mut text), page.label(id, "__name__").len());
        if let Ok(chunks) = &chunks {
            chunks.of(id).take(1000).for_each(|c| {
                let _ = c.values.end();
            });
        }
    }
}

pub(crate) fn meta(data: &[u8]) {
    if let Ok(meta) = BlockMeta::from_json(data) {
        let _ = (meta.range(), meta.overlaps(0, i64::MAX));
        assert!(BlockMeta::from_json(&meta.to_json()).is_ok(), "bug: what was read can be written");
    }
}

pub(crate) fn columns(data: &[u8]) {
    let _ = decode_values(data);
    let _ = decode_times(data);
}

/// What is encoded comes back bit for bit.
pub(crate) fn round_trip(data: &[u8]) {
    let words: Vec<i64> = data.chunks_exact(8).map(|c| i64::from_le_bytes(c.try_into().unwrap_or_default())).collect();
    // A step, a decimal or any bits, by the first byte.
    let values: Vec<f64> = match data.first().map(|b| b % 3) {
        Some(0) => words.iter().map(|w| f64::from_bits(w.cast_unsigned())).collect(),
        Some(1) => data.iter().map(|b| f64::from(*b) / 10.0).collect(),
        _ => words.iter().map(|w| (w % 1_000_000) as f64 / 100.0).collect(),
    };
    // Those of a column rise.
    let mut times = words.clone();
    times.sort_unstable();
    times.dedup();
    for effort in [Effort::Fast, Effort::Small] {
        if !values.is_empty() && values.len() < 4096 {
            let mut out = ByteWriter::default();
            encode_values(&values, effort, &mut out);
            let back = decode_values(out.as_slice()).unwrap_or_else(|e| panic!("bug: {e}"));
            assert!(values.iter().map(|v| v.to_bits()).eq(back.iter().map(|v| v.to_bits())), "bug: {values:?}");
        }
        if !times.is_empty() && times.len() < 4096 {
            let mut out = ByteWriter::default();
            encode_times(&times, effort, &mut out);
            assert_eq!(decode_times(out.as_slice()).ok().as_ref(), Some(&times), "bug: times");
        }
    }
}

fn filled(disk: &FaultyDisk) -> Db {
    let db = open(disk);
    for step in 0..40_i64 {
        let mut batch = Batch::default();
        for n in 0..4_i64 {
            let labels = Labels::from_pairs([("__name__", "up"), ("instance", ["a", "b", "c", "d"][n as usize % 4])]);
            let value = if n == 0 { step as f64 / 7.0 } else { (step * n) as f64 / 10.0 };
            batch.push(&labels, Timestamp::from_millis(NOW_MS - 600_000 + step * 15_000 + n / 3), value);
        }
        let _ = db.append(&batch);
    }
    db
}

pub(crate) fn wal_seeds() -> Vec<Vec<u8>> {
    let disk = FaultyDisk::new(0);
    let _db = filled(&disk);
    take(&disk, "/data/tsdb/wal")
}

pub(crate) fn checkpoint_seeds() -> Vec<Vec<u8>> {
    let disk = FaultyDisk::new(0);
    let db = filled(&disk);
    let _ = db.flush();
    let mut seeds = take(&disk, "/data/tsdb");
    seeds.extend(wal_seeds());
    seeds
}

fn block_files() -> Vec<Vec<u8>> {
    let disk = FaultyDisk::new(0);
    let db = filled(&disk);
    let _ = db.flush();
    // chunks, index, meta.json, by name.
    take(&disk, "/data/tsdb/blocks")
}

pub(crate) fn block_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for files in block_files().chunks_exact(3) {
        let [chunks, index, meta] = files else { continue };
        let length = |b: &Vec<u8>| u16::try_from(b.len()).unwrap_or(u16::MAX).to_le_bytes();
        seeds.push([&length(meta)[..], &length(index), meta, index, chunks].concat());
    }
    seeds
}

pub(crate) fn index_seeds() -> Vec<Vec<u8>> {
    // Behind the magic stands the first page.
    let files = block_files().into_iter().skip(1).step_by(3);
    files.map(|file| file.get(8..).unwrap_or_default().to_vec()).collect()
}

pub(crate) fn meta_seeds() -> Vec<Vec<u8>> {
    block_files().into_iter().skip(2).step_by(3).collect()
}

pub(crate) fn column_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let shapes: [fn(i64) -> f64; 4] = [
        |i| i as f64 / 10.0,
        |i| (i * i) as f64,
        |_| 5.0,
        |i| f64::from_bits(i.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.cast_signed()).cast_unsigned()),
    ];
    for shape in shapes {
        for effort in [Effort::Fast, Effort::Small] {
            let values: Vec<f64> = (1..200_i64).map(|i| shape(i.wrapping_mul(3) % 97)).collect();
            let mut out = ByteWriter::default();
            encode_values(&values, effort, &mut out);
            seeds.push(out.as_slice().to_vec());
            let times: Vec<i64> = (0..100).map(|i| NOW_MS + i * 15_000 + i % 3).collect();
            let mut out = ByteWriter::default();
            encode_times(&times, effort, &mut out);
            seeds.push(out.as_slice().to_vec());
        }
    }
    seeds
}
