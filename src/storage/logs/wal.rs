//! What stands in the records of the WAL (`storage/disk/segments.rs` has the records themselves).
//!
//! # Format
//!
//! One record for each piece of a batch, kind 1, version 1; little-endian, varints as LEB128; a text is its
//! length as varint and so many bytes of UTF-8.
//!
//! | field       | bytes  | meaning                                                                    |
//! |-------------|--------|----------------------------------------------------------------------------|
//! | definitions | varint | number of streams that are named for the first time since a part was written |
//! | per definition |     | id (8), number of labels (varint), per label its name and its value (texts) |
//! | groups      | varint | number of groups of lines of one stream                                    |
//! | per group   |        | id (8), number of lines (varint), then the lines                           |
//! | per line    |        | time (varint, zigzag, ns since the line before in the record; the first: since the epoch), line (text) |
//!
//! An id is the label set's stable hash, or the next free number where two sets have the same.
//! Damage: a record that does not decode is reported by the segments. Lines whose definition was lost get
//! their labels from a part that has a set with this hash, or else the one label `stream_id`.
//! Growth: unknown kinds are reported as damage; a new kind raises the version.

use std::collections::HashMap;

use crate::model::{Labels, LogEntry};
use crate::storage::disk::{ByteReader, ByteWriter, Malformed, Record};

/// The kind of all records.
const KIND_LINES: u8 = 1;

/// A record is closed with the line that takes it past this.
pub(super) const RECORD_BYTES: usize = 1 << 20;

/// What a record holds, in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item<'a> {
    /// A stream's id and labels.
    Stream(u64, Labels),
    /// A line: its stream, its time in ns, its text.
    Line(u64, i64, &'a str),
}

/// A record in the making.
#[derive(Debug, Default)]
pub(super) struct Batch<'a> {
    definitions: Vec<(u64, &'a Labels)>,
    defined: HashMap<u64, &'a Labels>,
    groups: Vec<(u64, Vec<&'a LogEntry>)>,
    /// Where a stream's group is in `groups`.
    places: HashMap<u64, usize>,
    text_bytes: usize,
}

impl<'a> Batch<'a> {
    /// Names a stream.
    pub(super) fn define(&mut self, id: u64, labels: &'a Labels) {
        self.text_bytes += labels.memory_bytes() + 16;
        self.definitions.push((id, labels));
        self.defined.insert(id, labels);
    }

    /// Returns the labels that this record defines for an id.
    pub(super) fn definition(&self, id: u64) -> Option<&'a Labels> {
        self.defined.get(&id).copied()
    }

    /// Adds a line; those of a stream stay in the order they are added.
    pub(super) fn add(&mut self, id: u64, entry: &'a LogEntry) {
        self.text_bytes += entry.line.len() + 16;
        let place = *self.places.entry(id).or_insert_with(|| {
            self.groups.push((id, Vec::new()));
            self.groups.len() - 1
        });
        if let Some((_, group)) = self.groups.get_mut(place) {
            group.push(entry);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Tells whether the record should be closed.
    pub(super) fn is_full(&self) -> bool {
        self.text_bytes >= RECORD_BYTES
    }

    pub(super) fn definitions(&self) -> &[(u64, &'a Labels)] {
        &self.definitions
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = (u64, &'a LogEntry)> {
        self.groups.iter().flat_map(|(id, group)| group.iter().map(|entry| (*id, *entry)))
    }

    /// Returns the record's kind and payload.
    pub(super) fn encode(&self) -> (u8, Vec<u8>) {
        let mut w = ByteWriter::new(Vec::with_capacity(self.text_bytes + 64));
        w.varint(self.definitions.len() as u64);
        for (id, labels) in &self.definitions {
            w.u64(*id);
            encode_labels(&mut w, labels);
        }
        w.varint(self.groups.len() as u64);
        let mut previous = 0;
        for (id, group) in &self.groups {
            w.u64(*id);
            w.varint(group.len() as u64);
            for entry in group {
                w.signed_varint(entry.timestamp_ns.wrapping_sub(previous));
                w.text(&entry.line);
                previous = entry.timestamp_ns;
            }
        }
        (KIND_LINES, w.into_bytes())
    }
}

/// Reads a record and hands out what it holds. Nothing is handed out of one that does not decode.
pub(super) fn decode(record: &Record<'_>, visit: &mut dyn FnMut(Item<'_>)) -> Result<(), Malformed> {
    if record.kind != KIND_LINES {
        return Err(Malformed { offset: 0, reason: "unknown kind of log record" });
    }
    walk(record.payload, &mut |_| ())?;
    walk(record.payload, visit)
}

fn walk(payload: &[u8], visit: &mut dyn FnMut(Item<'_>)) -> Result<(), Malformed> {
    let mut r = ByteReader::new(payload);
    for _ in 0..r.count(9)? {
        let id = r.u64()?;
        visit(Item::Stream(id, decode_labels(&mut r)?));
    }
    let mut time = 0_i64;
    for _ in 0..r.count(9)? {
        let id = r.u64()?;
        for _ in 0..r.count(2)? {
            time = time.wrapping_add(r.signed_varint()?);
            visit(Item::Line(id, time, r.text()?));
        }
    }
    r.end()
}

/// Writes a label set: number of labels, then names and values as texts. Parts use it too.
pub(super) fn encode_labels(w: &mut ByteWriter, labels: &Labels) {
    w.varint(labels.len() as u64);
    for (name, value) in labels.iter() {
        w.text(name);
        w.text(value);
    }
}

/// Reads a label set.
pub(super) fn decode_labels(r: &mut ByteReader<'_>) -> Result<Labels, Malformed> {
    let count = r.count(2)?;
    let mut pairs = Vec::with_capacity(count);
    for _ in 0..count {
        pairs.push((r.text()?, r.text()?));
    }
    Ok(Labels::from_pairs(pairs))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(device: &str, timestamp_ns: i64, line: &str) -> LogEntry {
        LogEntry { stream: Labels::from_pairs([("device", device)]), timestamp_ns, line: line.to_owned() }
    }

    type Read = (Vec<(u64, Labels)>, Vec<(u64, i64, String)>);

    fn read(kind: u8, payload: &[u8]) -> Result<Read, Malformed> {
        let (mut streams, mut lines) = (Vec::new(), Vec::new());
        let record = Record { segment: 1, sequence: 1, kind, payload };
        decode(&record, &mut |item| match item {
            Item::Stream(id, labels) => streams.push((id, labels)),
            Item::Line(id, time, line) => lines.push((id, time, line.to_owned())),
        })?;
        Ok((streams, lines))
    }

    #[test]
    fn a_record_reads_as_written() {
        let entries = [entry("a", i64::MIN, "one"), entry("b", i64::MAX, ""), entry("a", 0, "zwei ü")];
        let mut batch = Batch::default();
        batch.define(1, &entries[0].stream);
        batch.define(u64::MAX, &entries[1].stream);
        for (id, entry) in [1, u64::MAX, 1].into_iter().zip(&entries) {
            batch.add(id, entry);
        }
        let (kind, payload) = batch.encode();
        let (streams, lines) = read(kind, &payload).unwrap();
        assert_eq!(streams, [(1, entries[0].stream.clone()), (u64::MAX, entries[1].stream.clone())]);
        let expected =
            [(1, i64::MIN, "one".to_owned()), (1, 0, "zwei ü".to_owned()), (u64::MAX, i64::MAX, String::new())];
        assert_eq!(lines, expected);
        for cut in 0..payload.len() {
            assert!(read(kind, &payload[..cut]).is_err(), "cut to {cut}");
        }
        assert!(read(2, &payload).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_record_or_an_error(bytes in proptest::collection::vec(0_u8..=255, 0..80)) {
            let _ = read(KIND_LINES, &bytes);
        }
    }
}
