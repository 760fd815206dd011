//! The formats of version 1, byte for byte: `tests/formats/logs_*_1.hex` must read, and write the same again.

use super::lines::Lines;
use super::{block, filter, part, wal};
use crate::model::{Labels, LogEntry};
use crate::storage::disk::dump::{bytes, check_same};
use crate::storage::disk::{FaultyDisk, Record, replace};

/// 2026-08-21 12:00:00 UTC.
const NOON_NS: i64 = 1_787_313_600_000_000_000;

fn press() -> Labels {
    Labels::from_pairs([("device", "press-1"), ("level", "warn")])
}

fn belt() -> Labels {
    Labels::from_pairs([("device", "belt")])
}

fn lines() -> Lines {
    let mut lines = Lines::default();
    lines.push(NOON_NS, "jam in zone 3");
    lines.push(NOON_NS + 5_000_000, "jam in zone 3");
    lines.push(NOON_NS + 250_000_000, "Überdruck");
    lines
}

#[test]
fn a_wal_record_of_version_1() {
    let dump = include_str!("../../../tests/formats/logs_wal_1.hex");
    let entry = |stream: Labels, timestamp_ns, line: &str| LogEntry { stream, timestamp_ns, line: line.to_owned() };
    let entries = [
        entry(press(), NOON_NS, "jam in zone 3"),
        entry(belt(), NOON_NS + 1, ""),
        entry(press(), NOON_NS - 1_000_000, "Überdruck"),
    ];
    let mut batch = wal::Batch::default();
    for labels in [&entries[0].stream, &entries[1].stream] {
        batch.define(labels.stable_hash(), labels);
    }
    for entry in &entries {
        batch.add(entry.stream.stable_hash(), entry);
    }
    let (kind, payload) = batch.encode();
    assert_eq!(kind, 1);
    check_same(&payload, dump);

    let payload = bytes(dump);
    let record = Record { segment: 1, sequence: 1, kind: 1, payload: &payload };
    let mut items = Vec::new();
    wal::decode(&record, &mut |item| items.push(format!("{item:?}"))).unwrap();
    let line = |entry: &LogEntry| {
        format!("{:?}", wal::Item::Line(entry.stream.stable_hash(), entry.timestamp_ns, &entry.line))
    };
    assert_eq!(items[2..], [line(&entries[0]), line(&entries[2]), line(&entries[1])]);
}

#[test]
fn a_block_of_version_1() {
    let dump = include_str!("../../../tests/formats/logs_block_1.hex");
    let (frame, unpacked) = block::encode(&lines());
    check_same(&frame, dump);
    assert_eq!(block::decode(&bytes(dump), unpacked), Ok(lines()));
}

#[test]
fn a_filter_of_version_1() {
    let dump = include_str!("../../../tests/formats/logs_filter_1.hex");
    let mut builder = filter::FilterBuilder::new();
    lines().iter().for_each(|(_, line)| builder.add(line));
    check_same(&builder.finish(), dump);
    assert!(filter::may_hold(&bytes(dump), "zone 3"));
    assert!(!filter::may_hold(&bytes(dump), "zone 4"));
}

#[test]
fn a_part_of_version_1() {
    let dump = include_str!("../../../tests/formats/logs_part_1.hex");
    let mut early = Lines::default();
    early.push(NOON_NS - 7, "start");
    let streams = vec![(belt(), vec![early]), (press(), vec![lines()])];
    check_same(&part::encode(&streams), dump);

    let disk = FaultyDisk::new(1);
    let path = std::path::Path::new("/1.part");
    replace(&disk, path, &bytes(dump)).unwrap();
    let opened = part::Part::open(&disk, path).unwrap().unwrap();
    let file = crate::storage::disk::Disk::open(&disk, path).unwrap();
    let index = opened.index(&*file).unwrap();
    let read = index.iter().map(|s| {
        let blocks = s.blocks.iter().map(|place| opened.block(&*file, place).unwrap());
        (s.labels.clone(), blocks.collect::<Vec<_>>())
    });
    assert_eq!(read.collect::<Vec<_>>(), streams);
}
