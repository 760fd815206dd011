//! Doors for fuzzers: bytes as a record, a part, a block of lines.

use std::path::Path;

use super::lines::Lines;
use super::part::{Part, encode};
use super::wal::{Batch, decode};
use crate::fuzzing::put;
use crate::model::{Labels, LogEntry};
use crate::storage::disk::{Disk, FaultyDisk, Record};

pub(crate) fn record(data: &[u8]) {
    let _ = decode(&Record { segment: 1, sequence: 1, kind: 1, payload: data }, &mut |_| ());
}

pub(crate) fn record_seeds() -> Vec<Vec<u8>> {
    let stream = Labels::from_pairs([("device", "a")]);
    let entry =
        |n: i64| LogEntry { stream: stream.clone(), timestamp_ns: 1_790_000_000 + n, line: format!("line {n}") };
    let entries: Vec<LogEntry> = (0..5).map(entry).collect();
    let mut batch = Batch::default();
    batch.define(7, &stream);
    entries.iter().for_each(|e| batch.add(7, e));
    vec![batch.encode().1]
}

pub(crate) fn part(data: &[u8]) {
    let disk = FaultyDisk::new(0);
    put(&disk, "/part", data);
    let path = Path::new("/part");
    let (Ok(Some(part)), Ok(file)) = (Part::open(&disk, path), disk.open(path)) else { return };
    let streams = part.index(&*file).unwrap_or_default();
    for place in streams.iter().flat_map(|s| s.blocks.iter()).take(100) {
        let filter = part.filter(&*file, place);
        let _ = super::filter::may_hold(&filter, "needle");
        if let Ok(lines) = part.block(&*file, place) {
            lines.iter().for_each(|(_, text)| {
                let _ = text.len();
            });
        }
    }
}

pub(crate) fn part_seeds() -> Vec<Vec<u8>> {
    let mut lines = Lines::with_capacity(10, 100);
    (0..10).for_each(|n| lines.push(n * 1000, &format!("line {n} of the seed")));
    vec![encode(&[(Labels::from_pairs([("device", "a")]), vec![lines])])]
}

pub(crate) fn block(data: &[u8]) {
    let Some((length, frame)) = data.split_first_chunk::<2>() else { return };
    if let Ok(lines) = super::block::decode(frame, usize::from(u16::from_le_bytes(*length))) {
        lines.iter().for_each(|(_, text)| {
            let _ = text.len();
        });
    }
}
