//! What stands in the segments of a stream that this box keeps.
//!
//! # Format
//!
//! Records in segments (`storage/disk/segments.rs`) in `bus/streams/<name>`. Version 1, little-endian; text is a length
//! as varint and UTF-8.
//!
//! | kind | record   | payload                                                                                |
//! |------|----------|----------------------------------------------------------------------------------------|
//! | 1    | messages | newest stamp (i64 ms), first sequence (varint), last less first (varint), count (varint), subjects (block), messages (block) |
//! | 2    | carried  | the same: messages that stood in a segment that is gone, each the last of its subject  |
//! | 3    | places   | next sequence (varint), 1 if these are all places, else 0 (u8), places (block)         |
//!
//! A block is: its length unpacked (varint, at most 32 MiB), its length packed with zstd (varint; 0 if it is not
//! packed), bytes. A subject is: text, sequence of its last message less the first (varint). A message is: sequence
//! less the one before, of the first less the first sequence (varint), subject (varint, counted from 0), newest stamp less its
//! stamp (signed varint), id, device, mark (texts; empty for none), body (length as varint, bytes). Sequences rise; those
//! of kind 1 by one, through all records. A place is: reader (text), 1 or 0 if it is forgotten (u8) and nothing more,
//! all up to this sequence are through (varint), up to this one only the last of each subject counts (varint), when it
//! was used last (signed varint, ms).
//!
//! A segment holds all places once; later records of places count. Damage: costs that record, which is told; lost places
//! mean that readers hear again what came since they were last written. Growth: a new kind; kinds that are not known are
//! passed over.

use std::sync::Arc;

use bytes::Bytes;

use super::Stored;
use super::places::Place;
use crate::bus::{Message, Subject};
use crate::model::Timestamp;
use crate::storage::disk::{ByteReader, ByteWriter, Malformed};

pub(super) const MESSAGES: u8 = 1;
pub(super) const CARRIED: u8 = 2;
pub(super) const PLACES: u8 = 3;

/// Upper bound of a block, unpacked.
const BLOCK_BYTES_MAX: usize = 32 << 20;
/// A sequence beyond was not written by us.
pub(super) const SEQUENCE_MAX: u64 = 1 << 62;
/// Blocks below are not worth packing.
const WORTH_PACKING_BYTES: usize = 128;
/// Quick, and half as large as packed not at all or better: messages of a second are much alike.
const PACK_LEVEL: i32 = 1;

/// What can be read of messages without unpacking all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) newest: Timestamp,
    pub(super) first: u64,
    pub(super) last: u64,
    /// Each with the sequence of its last message.
    pub(super) subjects: Vec<(Subject, u64)>,
    count: usize,
}

/// Places as a record tells them: what is forgotten has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PlacesRecord {
    pub(super) next_sequence: u64,
    pub(super) is_whole: bool,
    pub(super) places: Vec<(Arc<str>, Option<Place>)>,
}

/// Returns the payload of messages, oldest first.
pub(super) fn encode_messages(messages: &[Arc<Stored>]) -> std::io::Result<Vec<u8>> {
    let newest = messages.iter().map(|stored| stored.at).max().unwrap_or(Timestamp::MIN);
    let first = messages.first().map_or(1, |stored| stored.sequence);
    let last = messages.last().map_or(1, |stored| stored.sequence);
    let mut subjects: Vec<(&Subject, u64)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    let (mut body, mut before) = (ByteWriter::default(), first);
    for stored in messages {
        let subject = &stored.message.subject;
        let at = *places.entry(subject).or_insert_with(|| {
            subjects.push((subject, first));
            subjects.len() - 1
        });
        if let Some((_, last)) = subjects.get_mut(at) {
            *last = stored.sequence;
        }
        body.varint(stored.sequence - before);
        before = stored.sequence;
        body.varint(at as u64);
        body.signed_varint(newest.as_millis().wrapping_sub(stored.at.as_millis()));
        body.text(stored.id.as_deref().unwrap_or_default());
        body.text(stored.message.device_id.as_deref().unwrap_or_default());
        body.text(stored.message.correlation_id.as_deref().unwrap_or_default());
        body.varint(stored.message.payload.len() as u64);
        body.raw(&stored.message.payload);
    }
    let mut names = ByteWriter::default();
    for (subject, last) in subjects {
        names.text(subject.as_str());
        names.varint(last - first);
    }
    let mut writer = ByteWriter::default();
    writer.i64(newest.as_millis());
    writer.varint(first);
    writer.varint(last - first);
    writer.varint(messages.len() as u64);
    block(&mut writer, names.as_slice())?;
    block(&mut writer, body.as_slice())?;
    Ok(writer.into_bytes())
}

/// Reads what can be read without unpacking the messages; the reader stands before them then.
pub(super) fn decode_head(reader: &mut ByteReader<'_>) -> Result<Head, Malformed> {
    let newest = Timestamp::from_millis(reader.i64()?);
    let (first, length) = (reader.varint()?, reader.varint()?);
    let last = first.checked_add(length).filter(|last| first > 0 && *last <= SEQUENCE_MAX);
    let last = last.ok_or_else(|| reader.malformed("sequences that are out of range"))?;
    let count = usize::try_from(reader.varint()?).ok().filter(|count| *count > 0 && (*count - 1) as u64 <= length);
    let count = count.ok_or_else(|| reader.malformed("more messages than sequences"))?;
    let names = unblock(reader)?;
    let mut inner = ByteReader::new(&names);
    let mut subjects = Vec::new();
    while !inner.is_empty() {
        let subject = inner.text()?.parse().map_err(|_| inner.malformed("no subject"))?;
        let offset = inner.varint()?;
        if offset > length {
            return Err(inner.malformed("a subject behind the last message"));
        }
        subjects.push((subject, first + offset));
    }
    Ok(Head { newest, first, last, subjects, count })
}

/// Reads messages whole.
pub(super) fn decode_messages(payload: &[u8]) -> Result<Vec<Stored>, Malformed> {
    let mut reader = ByteReader::new(payload);
    let head = decode_head(&mut reader)?;
    let bytes = Bytes::from(unblock(&mut reader)?);
    reader.end()?;
    let mut reader = ByteReader::new(&bytes);
    let (mut messages, mut sequence) = (Vec::new(), head.first);
    while !reader.is_empty() {
        let step = reader.varint()?;
        let is_first = messages.is_empty();
        let next = sequence.checked_add(step).filter(|next| *next <= head.last && (step == 0) == is_first);
        sequence = next.ok_or_else(|| reader.malformed("a sequence out of order"))?;
        let subject = usize::try_from(reader.varint()?).ok().and_then(|at| head.subjects.get(at));
        let (subject, _) = subject.ok_or_else(|| reader.malformed("a subject that is not there"))?;
        let at = Timestamp::from_millis(head.newest.as_millis().wrapping_sub(reader.signed_varint()?));
        let some = |text: &str| (!text.is_empty()).then(|| Arc::from(text));
        let (id, device_id, correlation_id) = (some(reader.text()?), some(reader.text()?), some(reader.text()?));
        let length = reader.count(1)?;
        let payload = bytes.slice_ref(reader.raw(length)?);
        let message = Message { device_id, correlation_id, ..Message::new(subject.clone(), payload) };
        messages.push(Stored { sequence, at, id, message });
    }
    if messages.len() != head.count || sequence != head.last {
        return Err(reader.malformed("fewer messages than told"));
    }
    Ok(messages)
}

/// Returns the payload of places.
pub(super) fn encode_places(record: &PlacesRecord) -> std::io::Result<Vec<u8>> {
    let mut places = ByteWriter::default();
    for (name, place) in &record.places {
        places.text(name);
        places.u8(u8::from(place.is_some()));
        if let Some(place) = place {
            places.varint(place.through);
            places.varint(place.lasts_until);
            places.signed_varint(place.used.as_millis());
        }
    }
    let mut writer = ByteWriter::default();
    writer.varint(record.next_sequence);
    writer.u8(u8::from(record.is_whole));
    block(&mut writer, places.as_slice())?;
    Ok(writer.into_bytes())
}

/// Reads places.
pub(super) fn decode_places(payload: &[u8]) -> Result<PlacesRecord, Malformed> {
    let mut reader = ByteReader::new(payload);
    let next_sequence = sequence(&mut reader)?;
    let is_whole = flag(&mut reader)?;
    let bytes = unblock(&mut reader)?;
    reader.end()?;
    let mut reader = ByteReader::new(&bytes);
    let mut places = Vec::new();
    while !reader.is_empty() {
        let name = reader.text()?.into();
        let place = match flag(&mut reader)? {
            true => Some(Place {
                through: sequence(&mut reader)?,
                lasts_until: sequence(&mut reader)?,
                used: Timestamp::from_millis(reader.signed_varint()?),
            }),
            false => None,
        };
        places.push((name, place));
    }
    Ok(PlacesRecord { next_sequence, is_whole, places })
}

fn sequence(reader: &mut ByteReader<'_>) -> Result<u64, Malformed> {
    let sequence = reader.varint()?;
    if sequence <= SEQUENCE_MAX { Ok(sequence) } else { Err(reader.malformed("a sequence that is out of range")) }
}

pub(super) fn flag(reader: &mut ByteReader<'_>) -> Result<bool, Malformed> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(reader.malformed("neither yes nor no")),
    }
}

/// Writes a block: packed, if that makes it smaller.
pub(super) fn block(writer: &mut ByteWriter, bytes: &[u8]) -> std::io::Result<()> {
    writer.varint(bytes.len() as u64);
    let packed = match bytes.len() {
        0..WORTH_PACKING_BYTES => None,
        _ => Some(zstd::bulk::compress(bytes, PACK_LEVEL)?).filter(|packed| packed.len() < bytes.len()),
    };
    writer.varint(packed.as_ref().map_or(0, Vec::len) as u64);
    writer.raw(packed.as_deref().unwrap_or(bytes));
    Ok(())
}

/// Reads a block.
pub(super) fn unblock(reader: &mut ByteReader<'_>) -> Result<Vec<u8>, Malformed> {
    let length = usize::try_from(reader.varint()?).ok().filter(|length| *length <= BLOCK_BYTES_MAX);
    let length = length.ok_or_else(|| reader.malformed("a block over 32 MiB"))?;
    match reader.count(1)? {
        0 => Ok(reader.raw(length)?.to_vec()),
        packed => {
            let unpacked = zstd::bulk::decompress(reader.raw(packed)?, length).ok();
            let whole = unpacked.filter(|unpacked| unpacked.len() == length);
            whole.ok_or_else(|| reader.malformed("a block that cannot be unpacked"))
        }
    }
}
