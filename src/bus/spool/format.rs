//! What stands in the spool's segments.
//!
//! # Format
//!
//! Records in segments (`storage/disk/segments.rs`) in `bus/spool`. Version 1, little-endian; text is a length
//! as varint and UTF-8.
//!
//! | kind | record | payload                                                                          |
//! |------|--------|----------------------------------------------------------------------------------|
//! | 1    | batch  | newest stamp (i64 ms), count of streams (varint), spans, length of the messages unpacked (varint), messages, packed with zstd |
//! | 2    | marks  | count (varint), marks                                                            |
//!
//! A span is: stream (text), how many messages of it (varint), the first and the last of their numbers (varints).
//! A message is: number (varint), span (varint), stamp (signed varint, ms), id, subject, device, mark (texts; empty
//! for none), body (length as varint, bytes). Numbers rise by one, through all batches. A mark is: stream (text),
//! all messages up to this number are done with (varint), the stream's sequence of the last acknowledged (varint),
//! the last number that was handed to NATS (varint). Later marks count.
//!
//! A batch is unpacked to at most 16 MiB. Damage: costs that batch, which is told; a lost record of marks means that
//! messages are sent again under their ids. Growth: a new kind; kinds that are not known are passed over.

use std::sync::Arc;

use bytes::Bytes;

use super::Entry;
use crate::model::Timestamp;
use crate::storage::disk::{ByteReader, ByteWriter, Malformed};

pub(super) const BATCH: u8 = 1;
pub(super) const MARKS: u8 = 2;

/// Upper bound of a batch, unpacked.
const BATCH_BYTES_MAX: usize = 16 << 20;
/// Quick, and half as large as packed not at all or better: messages of a second are much alike.
const PACK_LEVEL: i32 = 1;
const NONE_FOLLOWS: &str = "a number that none can follow";

/// Messages of one stream in a batch or a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) stream: Arc<str>,
    pub(super) count: u64,
    pub(super) first: u64,
    pub(super) last: u64,
}

/// What can be read of a batch without unpacking it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BatchHead {
    pub(super) newest: Timestamp,
    pub(super) spans: Vec<Span>,
}

/// How far a stream has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) stream: Arc<str>,
    pub(super) done: u64,
    pub(super) sequence: u64,
    pub(super) sent: u64,
}

/// Returns the head and the bytes of a batch.
pub(super) fn encode_batch(entries: &[Arc<Entry>]) -> std::io::Result<(BatchHead, Vec<u8>)> {
    let mut head = BatchHead { newest: Timestamp::MIN, spans: Vec::new() };
    let mut messages = ByteWriter::default();
    for entry in entries {
        head.newest = head.newest.max(entry.at);
        let at = head.spans.iter().position(|span| span.stream == entry.stream).unwrap_or(head.spans.len());
        match head.spans.get_mut(at) {
            Some(span) => (span.count, span.last) = (span.count + 1, entry.number),
            None => head.spans.push(Span {
                stream: entry.stream.clone(),
                count: 1,
                first: entry.number,
                last: entry.number,
            }),
        }
        messages.varint(entry.number);
        messages.varint(at as u64);
        messages.signed_varint(entry.at.as_millis());
        messages.text(&entry.id);
        messages.text(entry.subject.as_str());
        messages.text(entry.device_id.as_deref().unwrap_or_default());
        messages.text(entry.correlation_id.as_deref().unwrap_or_default());
        messages.varint(entry.payload.len() as u64);
        messages.raw(&entry.payload);
    }
    let mut writer = ByteWriter::default();
    writer.i64(head.newest.as_millis());
    writer.varint(head.spans.len() as u64);
    for span in &head.spans {
        writer.text(&span.stream);
        writer.varint(span.count);
        writer.varint(span.first);
        writer.varint(span.last);
    }
    writer.varint(messages.len() as u64);
    writer.raw(&zstd::bulk::compress(messages.as_slice(), PACK_LEVEL)?);
    Ok((head, writer.into_bytes()))
}

/// Reads a batch's head; the reader stands before the messages then.
pub(super) fn decode_head(reader: &mut ByteReader<'_>) -> Result<BatchHead, Malformed> {
    let newest = Timestamp::from_millis(reader.i64()?);
    let mut spans = Vec::new();
    for _ in 0..reader.count(4)? {
        let stream = reader.text()?.into();
        let (count, first, last) = (reader.varint()?, reader.varint()?, reader.varint()?);
        if first > last || count.saturating_sub(1) > last - first {
            return Err(reader.malformed("a span that holds more than its numbers"));
        }
        if last == u64::MAX {
            return Err(reader.malformed(NONE_FOLLOWS));
        }
        spans.push(Span { stream, count, first, last });
    }
    Ok(BatchHead { newest, spans })
}

/// Reads a whole batch.
pub(super) fn decode_batch(payload: &[u8]) -> Result<Vec<Entry>, Malformed> {
    let mut reader = ByteReader::new(payload);
    let head = decode_head(&mut reader)?;
    let length = usize::try_from(reader.varint()?).ok().filter(|length| *length <= BATCH_BYTES_MAX);
    let length = length.ok_or_else(|| reader.malformed("a batch over 16 MiB"))?;
    let unpacked = zstd::bulk::decompress(reader.rest(), length).ok().filter(|unpacked| unpacked.len() == length);
    let unpacked = unpacked.ok_or_else(|| reader.malformed("messages that cannot be unpacked"))?;
    let bytes = Bytes::from(unpacked);
    let mut reader = ByteReader::new(&bytes);
    let mut entries = Vec::new();
    while !reader.is_empty() {
        let number = reader.varint()?;
        if entries.last().is_some_and(|before: &Entry| before.number >= number) {
            return Err(reader.malformed("numbers that do not rise"));
        }
        let span = usize::try_from(reader.varint()?).ok().and_then(|at| head.spans.get(at));
        let span = span.filter(|span| (span.first..=span.last).contains(&number));
        let stream = span.ok_or_else(|| reader.malformed("a message outside of its span"))?.stream.clone();
        let at = Timestamp::from_millis(reader.signed_varint()?);
        let id = reader.text()?.into();
        let subject = reader.text()?.parse().map_err(|_| reader.malformed("no subject"))?;
        let some = |text: &str| (!text.is_empty()).then(|| Arc::from(text));
        let (device_id, correlation_id) = (some(reader.text()?), some(reader.text()?));
        let length = reader.count(1)?;
        let payload = bytes.slice_ref(reader.raw(length)?);
        entries.push(Entry { number, stream, id, at, subject, device_id, correlation_id, payload });
    }
    Ok(entries)
}

pub(super) fn encode_marks(marks: &[Mark]) -> Vec<u8> {
    let mut writer = ByteWriter::default();
    writer.varint(marks.len() as u64);
    for mark in marks {
        writer.text(&mark.stream);
        writer.varint(mark.done);
        writer.varint(mark.sequence);
        writer.varint(mark.sent);
    }
    writer.into_bytes()
}

pub(super) fn decode_marks(payload: &[u8]) -> Result<Vec<Mark>, Malformed> {
    let mut reader = ByteReader::new(payload);
    let mut marks = Vec::new();
    for _ in 0..reader.count(4)? {
        let stream = reader.text()?.into();
        let mark = Mark { stream, done: reader.varint()?, sequence: reader.varint()?, sent: reader.varint()? };
        if mark.done.max(mark.sequence).max(mark.sent) == u64::MAX {
            return Err(reader.malformed(NONE_FOLLOWS));
        }
        marks.push(mark);
    }
    reader.end()?;
    Ok(marks)
}
