//! What stands in a closed segment of a stream, noted beside it, so that a start need not read the segment.
//!
//! A closed segment does not change any more. Its contents are written once, some time after a sync has covered it; they
//! are made of what the segment itself says, and count only for a segment of the same number and length. A segment
//! without them is read, and they are made anew.
//!
//! # Format
//!
//! A file `<number>.contents` in `bus/streams/<name>`, beside the segment of that number. Version 1, little-endian; text
//! is a length as varint and UTF-8; a block is as in `format.rs`.
//!
//! | field       | bytes  | meaning                                                                              |
//! |-------------|--------|--------------------------------------------------------------------------------------|
//! | magic       | 8      | `ANDONSTC`                                                                           |
//! | version     | 4      | 1                                                                                    |
//! | checksum    | 4      | CRC-32C of all that follows                                                          |
//! | segment     | varint | its number                                                                           |
//! | bytes       | varint | its length                                                                           |
//! | records     | varint | sequence of its first record (`storage/disk/segments.rs`)                            |
//! | count       | varint | how many records                                                                     |
//! | per subject | varint | so many of the newest messages of each subject are told below, from 1                |
//! | span        | 1      | 1 if it holds messages of its own, else 0, and the next three are missing            |
//! | newest      | 8      | newest stamp (i64, ms)                                                               |
//! | first       | varint | sequence of the first message                                                        |
//! | length      | varint | sequence of the last less that of the first                                          |
//! | own         | block  | messages of its own: sequence less that of the one before (varint), subject (text)   |
//! | weight      | varint | bytes in memory of all messages that were carried into it                            |
//! | carried     | block  | those, as own                                                                        |
//!
//! Sequences rise in each list. Damage: the file counts for nothing. Growth: a new version; another one counts for nothing.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::format::{self, SEQUENCE_MAX};
use super::index::Span;
use crate::bus::Subject;
use crate::model::Timestamp;
use crate::storage::disk::{ByteReader, ByteWriter, Disk, Malformed, Record, crc32c};

/// Ends the name of such a file.
pub(super) const SUFFIX: &str = ".contents";

const MAGIC: &[u8; 8] = b"ANDONSTC";
const VERSION: u32 = 1;
/// Longer files were not written by us.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// What stands in a segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Contents {
    /// Nothing if it holds no messages of its own.
    pub(super) span: Option<Span>,
    /// The newest messages of each subject, by sequence.
    pub(super) own: Vec<(u64, Subject)>,
    /// Messages that stood in a segment that is gone, by sequence.
    pub(super) carried: Vec<(u64, Subject)>,
    /// What those take in memory.
    pub(super) carried_bytes: u64,
}

/// The segment that contents belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) bytes: u64,
    /// Sequences of its records.
    pub(super) records: Range<u64>,
    /// How many of the newest messages of each subject its contents tell.
    pub(super) per_subject: u64,
}

/// Gathers what stands in a segment from its records, which come in their order.
#[derive(Debug)]
pub(super) struct Gathering {
    contents: Contents,
    per_subject: usize,
    newest: HashMap<Subject, VecDeque<u64>>,
}

impl Gathering {
    /// Returns one that tells so many messages of each subject.
    pub(super) fn new(per_subject: usize) -> Self {
        Gathering { contents: Contents::default(), per_subject: per_subject.max(1), newest: HashMap::new() }
    }

    /// Takes a record; one that does not read leaves nothing.
    pub(super) fn take(&mut self, record: &Record<'_>) -> Result<(), Malformed> {
        match record.kind {
            format::MESSAGES => {
                let head = format::decode_head(&mut ByteReader::new(record.payload))?;
                let subjects = match self.per_subject {
                    1 => head.subjects,
                    _ => {
                        let messages = format::decode_messages(record.payload)?;
                        messages.into_iter().map(|stored| (stored.message.subject, stored.sequence)).collect()
                    }
                };
                let span = Span { first: head.first, last: head.last, newest: head.newest };
                self.contents.span = Some(self.contents.span.map_or(span, |known| known.and(span)));
                for (subject, sequence) in subjects {
                    let sequences = self.newest.entry(subject).or_default();
                    if sequences.back().is_none_or(|last| *last < sequence) {
                        sequences.push_back(sequence);
                    }
                    if sequences.len() > self.per_subject {
                        sequences.pop_front();
                    }
                }
            }
            format::CARRIED => {
                for stored in format::decode_messages(record.payload)? {
                    self.contents.carried_bytes += stored.size_bytes() as u64;
                    self.contents.carried.push((stored.sequence, stored.message.subject));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Returns what was gathered.
    pub(super) fn finish(mut self) -> Contents {
        let all = self
            .newest
            .into_iter()
            .flat_map(|(subject, sequences)| sequences.into_iter().map(move |sequence| (sequence, subject.clone())));
        self.contents.own = all.collect();
        for list in [&mut self.contents.own, &mut self.contents.carried] {
            list.sort_by_key(|(sequence, _)| *sequence);
            list.dedup_by_key(|(sequence, _)| *sequence);
        }
        self.contents
    }
}

/// Returns where the contents of a segment are.
pub(super) fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:08}{SUFFIX}"))
}

/// Reads the contents of a segment of a length; nothing if they are not there, do not check out, or tell too few
/// messages of a subject.
pub(super) fn read(
    disk: &dyn Disk,
    folder: &Path,
    (number, bytes): (u64, u64),
    per_subject: usize,
) -> Option<(Contents, Range<u64>)> {
    let file = disk.open(&path(folder, number)).ok()?;
    let size = file.size().ok().filter(|size| *size <= FILE_BYTES_MAX)?;
    let read = file.read_exact_at(0, usize::try_from(size).ok()?).ok()?;
    let (segment, contents) = decode(&read).ok()?;
    let fits = segment.number == number && segment.bytes == bytes && segment.per_subject >= per_subject as u64;
    fits.then_some((contents, segment.records))
}

/// Returns the bytes of a file.
pub(super) fn encode(segment: &Segment, contents: &Contents) -> std::io::Result<Vec<u8>> {
    let mut body = ByteWriter::default();
    body.varint(segment.number);
    body.varint(segment.bytes);
    body.varint(segment.records.start);
    body.varint(segment.records.end.saturating_sub(segment.records.start));
    body.varint(segment.per_subject);
    body.u8(u8::from(contents.span.is_some()));
    if let Some(span) = contents.span {
        body.i64(span.newest.as_millis());
        body.varint(span.first);
        body.varint(span.last - span.first);
    }
    list(&mut body, &contents.own)?;
    body.varint(contents.carried_bytes);
    list(&mut body, &contents.carried)?;
    let mut writer = ByteWriter::default();
    writer.raw(MAGIC);
    writer.u32(VERSION);
    writer.u32(crc32c(body.as_slice()));
    writer.raw(body.as_slice());
    Ok(writer.into_bytes())
}

/// Reads a file.
pub(super) fn decode(bytes: &[u8]) -> Result<(Segment, Contents), Malformed> {
    let mut reader = ByteReader::new(bytes);
    let (magic, version, checksum) = (reader.raw(MAGIC.len())?, reader.u32()?, reader.u32()?);
    if magic != MAGIC || version != VERSION || checksum != crc32c(reader.rest()) {
        return Err(reader.malformed("no contents of a segment"));
    }
    let (number, bytes, start, count) = (reader.varint()?, reader.varint()?, reader.varint()?, reader.varint()?);
    let end = start.checked_add(count).filter(|end| *end <= SEQUENCE_MAX);
    let end = end.ok_or_else(|| reader.malformed("records that are out of range"))?;
    let segment = Segment { number, bytes, records: start..end, per_subject: reader.varint()? };
    let span = match format::flag(&mut reader)? {
        true => {
            let newest = Timestamp::from_millis(reader.i64()?);
            let (first, length) = (reader.varint()?, reader.varint()?);
            let last = first.checked_add(length).filter(|last| first > 0 && *last <= SEQUENCE_MAX);
            let last = last.ok_or_else(|| reader.malformed("sequences that are out of range"))?;
            Some(Span { first, last, newest })
        }
        false => None,
    };
    let own = sequences(&mut reader)?;
    let (carried_bytes, carried) = (reader.varint()?, sequences(&mut reader)?);
    reader.end()?;
    let lies = |(sequence, _): &(u64, Subject)| span.is_some_and(|s| (s.first..=s.last).contains(sequence));
    if !own.iter().all(lies) {
        return Err(reader.malformed("a message outside of its segment"));
    }
    Ok((segment, Contents { span, own, carried, carried_bytes }))
}

fn list(writer: &mut ByteWriter, messages: &[(u64, Subject)]) -> std::io::Result<()> {
    let (mut inner, mut before) = (ByteWriter::default(), 0);
    for (sequence, subject) in messages {
        inner.varint(sequence - before);
        inner.text(subject.as_str());
        before = *sequence;
    }
    format::block(writer, inner.as_slice())
}

fn sequences(reader: &mut ByteReader<'_>) -> Result<Vec<(u64, Subject)>, Malformed> {
    let block = format::unblock(reader)?;
    let mut inner = ByteReader::new(&block);
    let (mut messages, mut before) = (Vec::new(), 0_u64);
    while !inner.is_empty() {
        let step = inner.varint()?;
        let next = before.checked_add(step).filter(|next| step > 0 && *next <= SEQUENCE_MAX);
        before = next.ok_or_else(|| inner.malformed("a sequence out of order"))?;
        messages.push((before, inner.text()?.parse().map_err(|_| inner.malformed("no subject"))?));
    }
    Ok(messages)
}
