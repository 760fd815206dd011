//! # Format
//!
//! What stands in the payloads of the WAL's and the checkpoint's records (`storage/disk/record.rs`). Version 2,
//! little-endian.
//!
//! The record's kind says what the payload is. That of a batch is told in `batch.rs`; all others begin with a
//! byte that says how the body is packed: 0 as it is; 1 a varint with the body's length (at most 64 MiB), then
//! a zstd frame. Texts are a varint length and UTF-8.
//!
//! | kind | body                                                                                              |
//! |------|---------------------------------------------------------------------------------------------------|
//! | 5    | batch                                                                                             |
//! | 2    | chunks: new series; then a varint count of chunks: reference, and two columns, each a varint length and its bytes |
//! | 3    | late: sequence (8 bytes), newest time (signed varint), count, then minute (signed varint difference) and sequence (varint) each; a count of 0 or 1 joined stretches: first and last minute (signed varints), sequence |
//! | 4    | metadata: count, then name, kind (1 byte), help and unit each                                     |
//! | 6    | accounts: count, then each: name, a varint count of runs of references, and for each run the first (varint, difference to the end of the run before) and how many (varint) |
//! | 7    | gap: nothing; how long it is does not matter                                                     |
//! | 8    | ended: of the series before these have ended: runs of references, as those of an account        |
//!
//! New series are a varint count, then for each its reference (signed varint, difference to the one before),
//! the number of labels (varint), and name and value of each label. Each of these texts begins with a varint:
//! how many of its bytes are those of the text at the same place of the series before; then follow the varint
//! length and the bytes of its rest.
//!
//! Records other than batches stand for themselves: nothing in them refers to another but references of
//! series.
//! Damage: found by the record's checksum; a body that does not decode all the same costs that record.
//! Growth: other kinds and packings are refused, which costs the record. Kind 1 was the batch of version 1.

use std::borrow::Cow;

use super::batch::BatchReader;
use crate::model::{Labels, Metadata, MetricKind};
use crate::storage::disk::{ByteReader, ByteWriter, Malformed};
use crate::storage::tsdb::head::LoggedAccount;

pub(crate) const KIND_BATCH: u8 = 5;
pub(crate) const KIND_CHUNKS: u8 = 2;
pub(crate) const KIND_LATE: u8 = 3;
pub(crate) const KIND_METADATA: u8 = 4;
pub(crate) const KIND_ACCOUNTS: u8 = 6;
pub(crate) const KIND_GAP: u8 = 7;
pub(crate) const KIND_ENDED: u8 = 8;

const PACKING_NONE: u8 = 0;
const PACKING_ZSTD: u8 = 1;

/// A body smaller than this is not worth packing.
const PACKED_FROM_BYTES: usize = 192;

/// Upper bound of a body: what a damaged length may ask for.
const BODY_BYTES_MAX: usize = 64 << 20;

/// A series and the reference that later records name it by.
pub(crate) type NewSeries = (u32, Labels);

/// Samples as the WAL has them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LoggedSample {
    pub(crate) series: u32,
    pub(crate) time: i64,
    pub(crate) value: f64,
}

/// A chunk of a checkpoint, still packed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LoggedChunk {
    pub(crate) series: u32,
    pub(crate) times: Vec<u8>,
    pub(crate) values: Vec<u8>,
}

/// What was late, see `head/late.rs`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LoggedLate {
    pub(crate) sequence: u64,
    pub(crate) newest: i64,
    pub(crate) minutes: Vec<(i64, u64)>,
    pub(crate) joined: Option<(i64, i64, u64)>,
}

/// What a record holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Logged {
    Batch {
        new: Vec<NewSeries>,
        samples: Vec<LoggedSample>,
    },
    Chunks {
        new: Vec<NewSeries>,
        chunks: Vec<LoggedChunk>,
    },
    Late(LoggedLate),
    Metadata(Vec<(String, Metadata)>),
    /// Who began series that other records name.
    Accounts(Vec<LoggedAccount>),
    /// Nothing: keeps what stands before it apart from what stands behind it.
    Gap,
    /// Runs of series that were named before and have ended: first reference and how many.
    Ended(Vec<(u32, u32)>),
}

/// Writes the body of a record other than a batch.
///
/// # Panics
/// For a batch, which a `BatchWriter` writes.
pub(super) fn encode(logged: &Logged, out: &mut ByteWriter) -> u8 {
    match logged {
        Logged::Batch { .. } => unreachable!("bug: a batch has its own writer"),
        Logged::Chunks { new, chunks } => {
            encode_series(new, out);
            out.varint(chunks.len() as u64);
            for chunk in chunks {
                out.varint(u64::from(chunk.series));
                for column in [&chunk.times, &chunk.values] {
                    out.varint(column.len() as u64);
                    out.raw(column);
                }
            }
            KIND_CHUNKS
        }
        Logged::Late(late) => {
            out.u64(late.sequence);
            out.signed_varint(late.newest);
            out.varint(late.minutes.len() as u64);
            let mut last = 0_i64;
            for (minute, sequence) in &late.minutes {
                out.signed_varint(minute.wrapping_sub(last));
                out.varint(*sequence);
                last = *minute;
            }
            out.varint(u64::from(late.joined.is_some()));
            if let Some((first, last, sequence)) = late.joined {
                out.signed_varint(first);
                out.signed_varint(last);
                out.varint(sequence);
            }
            KIND_LATE
        }
        Logged::Gap => KIND_GAP,
        Logged::Metadata(metadata) => {
            out.varint(metadata.len() as u64);
            for (name, about) in metadata {
                out.text(name);
                out.u8(kind_byte(about.kind));
                out.text(&about.help);
                out.text(&about.unit);
            }
            KIND_METADATA
        }
        Logged::Accounts(accounts) => {
            out.varint(accounts.len() as u64);
            for (name, runs) in accounts {
                out.text(name);
                encode_runs(runs, out);
            }
            KIND_ACCOUNTS
        }
        Logged::Ended(runs) => {
            encode_runs(runs, out);
            KIND_ENDED
        }
    }
}

/// Returns references, which rise, as runs: the first and how many.
pub(crate) fn runs(references: &[u32]) -> Vec<(u32, u32)> {
    let runs = references.chunk_by(|a, b| a.checked_add(1) == Some(*b));
    runs.filter_map(|run| Some((*run.first()?, u32::try_from(run.len()).ok()?))).collect()
}

fn encode_runs(runs: &[(u32, u32)], out: &mut ByteWriter) {
    out.varint(runs.len() as u64);
    let mut end = 0;
    for (first, count) in runs {
        out.varint(u64::from(first.saturating_sub(end)));
        out.varint(u64::from(*count));
        end = first.saturating_add(*count);
    }
}

/// Writes series, each as what it has new beside the one before.
pub(super) fn encode_series(new: &[NewSeries], out: &mut ByteWriter) {
    out.varint(new.len() as u64);
    let none = Labels::empty();
    let (mut reference, mut before) = (0, &none);
    for (next, labels) in new {
        out.signed_varint(i64::from(*next) - reference);
        out.varint(labels.len() as u64);
        let known = texts(before).chain(std::iter::repeat(""));
        for (text, known) in texts(labels).zip(known) {
            let same = common(known, text);
            out.varint(same as u64);
            out.text(text.get(same..).unwrap_or(""));
        }
        (reference, before) = (i64::from(*next), labels);
    }
}

/// Returns all names and values of a series, one after the other.
fn texts(labels: &Labels) -> impl Iterator<Item = &str> {
    labels.iter().flat_map(|(name, value)| [name, value])
}

/// Returns how many bytes two texts begin with in common, in whole characters.
fn common(a: &str, b: &str) -> usize {
    let same = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    (0..=same).rev().find(|at| b.is_char_boundary(*at)).unwrap_or(0)
}

/// Packs bodies into payloads; keeps its memory from one to the next.
pub(crate) struct Packer {
    zstd: Option<zstd::bulk::Compressor<'static>>,
    payload: Vec<u8>,
}

impl Packer {
    pub(crate) fn new() -> Self {
        // Without memory for a compressor bodies go in as they are.
        Packer { zstd: zstd::bulk::Compressor::new(1).ok(), payload: Vec::new() }
    }

    /// Returns the payload of a body.
    pub(crate) fn pack(&mut self, body: &[u8]) -> &[u8] {
        let packed = match &mut self.zstd {
            Some(zstd) if body.len() >= PACKED_FROM_BYTES => zstd.compress(body).ok().filter(|p| p.len() < body.len()),
            _ => None,
        };
        let mut out = ByteWriter::new(std::mem::take(&mut self.payload));
        out.clear();
        match packed {
            Some(packed) => {
                out.u8(PACKING_ZSTD);
                out.varint(body.len() as u64);
                out.raw(&packed);
            }
            None => {
                out.u8(PACKING_NONE);
                out.raw(body);
            }
        }
        self.payload = out.into_bytes();
        &self.payload
    }
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Packer")
    }
}

/// Reads records, in the order of their sequences.
#[derive(Debug, Default)]
pub(crate) struct LogReader {
    batches: BatchReader,
    /// Samples that could not be read because they build on a record that was lost.
    pub(crate) left_out: u64,
}

impl LogReader {
    /// Reads a record.
    ///
    /// # Errors
    /// When the payload is not of its kind.
    pub(crate) fn read(&mut self, sequence: u64, kind: u8, payload: &[u8]) -> Result<Logged, Malformed> {
        if kind == KIND_BATCH {
            let batch = self.batches.read(sequence, payload)?;
            self.left_out += batch.left_out;
            return Ok(Logged::Batch { new: batch.new, samples: batch.samples });
        }
        if kind == KIND_GAP {
            return Ok(Logged::Gap);
        }
        let body = unpack(payload)?;
        let mut r = ByteReader::new(&body);
        let logged = match kind {
            KIND_CHUNKS => Logged::Chunks { new: decode_series(&mut r)?, chunks: decode_chunks(&mut r)? },
            KIND_LATE => Logged::Late(decode_late(&mut r)?),
            KIND_METADATA => Logged::Metadata(decode_metadata(&mut r)?),
            KIND_ACCOUNTS => Logged::Accounts(decode_accounts(&mut r)?),
            KIND_ENDED => Logged::Ended(decode_runs(&mut r)?),
            _ => return Err(r.malformed("unknown kind of record")),
        };
        r.end()?;
        Ok(logged)
    }
}

/// Undoes [`Packer::pack`].
pub(super) fn unpack(payload: &[u8]) -> Result<Cow<'_, [u8]>, Malformed> {
    let mut r = ByteReader::new(payload);
    match r.u8()? {
        PACKING_NONE => Ok(Cow::Borrowed(r.rest())),
        PACKING_ZSTD => {
            let length = usize::try_from(r.varint()?).ok().filter(|n| *n <= BODY_BYTES_MAX);
            let length = length.ok_or_else(|| r.malformed("body too long"))?;
            zstd::bulk::decompress(r.rest(), length).map(Cow::Owned).map_err(|_| r.malformed("not a zstd frame"))
        }
        _ => Err(r.malformed("unknown packing")),
    }
}

pub(super) fn decode_series(r: &mut ByteReader<'_>) -> Result<Vec<NewSeries>, Malformed> {
    let count = r.count(2)?;
    let mut new: Vec<NewSeries> = Vec::with_capacity(count);
    let (mut reference, mut before, mut bytes) = (0_i64, Labels::empty(), 0);
    for _ in 0..count {
        reference = reference.wrapping_add(r.signed_varint()?);
        let series = u32::try_from(reference).map_err(|_| r.malformed("reference out of range"))?;
        let mut known = texts(&before);
        let mut text = |r: &mut ByteReader<'_>| -> Result<String, Malformed> {
            let same = usize::try_from(r.varint()?).unwrap_or(usize::MAX);
            bytes += same.min(BODY_BYTES_MAX);
            let same = known.next().unwrap_or("").get(..same).filter(|_| bytes <= BODY_BYTES_MAX);
            Ok([same.ok_or_else(|| r.malformed("more in common than there may be"))?, r.text()?].concat())
        };
        let pairs = r.count(4)?;
        let labels = (0..pairs).map(|_| Ok((text(r)?, text(r)?))).collect::<Result<Vec<_>, Malformed>>()?;
        drop(known);
        let labels: Labels = labels.into_iter().collect();
        before = labels.clone();
        new.push((series, labels));
    }
    Ok(new)
}

fn decode_reference(r: &mut ByteReader<'_>) -> Result<u32, Malformed> {
    u32::try_from(r.varint()?).map_err(|_| r.malformed("reference out of range"))
}

fn decode_chunks(r: &mut ByteReader<'_>) -> Result<Vec<LoggedChunk>, Malformed> {
    let count = r.count(3)?;
    let column = |r: &mut ByteReader<'_>| -> Result<Vec<u8>, Malformed> {
        let length = r.count(1)?;
        r.raw(length).map(<[u8]>::to_vec)
    };
    (0..count)
        .map(|_| Ok(LoggedChunk { series: decode_reference(r)?, times: column(r)?, values: column(r)? }))
        .collect()
}

fn decode_late(r: &mut ByteReader<'_>) -> Result<LoggedLate, Malformed> {
    let (sequence, newest) = (r.u64()?, r.signed_varint()?);
    let count = r.count(2)?;
    let mut minutes = Vec::with_capacity(count);
    let mut last = 0_i64;
    for _ in 0..count {
        last = last.wrapping_add(r.signed_varint()?);
        minutes.push((last, r.varint()?));
    }
    let joined = match r.count(3)? {
        0 => None,
        1 => Some((r.signed_varint()?, r.signed_varint()?, r.varint()?)),
        _ => return Err(r.malformed("more than one joined stretch")),
    };
    Ok(LoggedLate { sequence, newest, minutes, joined })
}

fn decode_metadata(r: &mut ByteReader<'_>) -> Result<Vec<(String, Metadata)>, Malformed> {
    let count = r.count(4)?;
    (0..count)
        .map(|_| {
            let name = r.text()?.to_owned();
            let kind = byte_kind(r.u8()?);
            Ok((name, Metadata { kind, help: r.text()?.to_owned(), unit: r.text()?.to_owned() }))
        })
        .collect()
}

fn decode_accounts(r: &mut ByteReader<'_>) -> Result<Vec<LoggedAccount>, Malformed> {
    let count = r.count(2)?;
    (0..count).map(|_| Ok((r.text()?.to_owned(), decode_runs(r)?))).collect()
}

fn decode_runs(r: &mut ByteReader<'_>) -> Result<Vec<(u32, u32)>, Malformed> {
    let count = r.count(2)?;
    let mut end = 0_u32;
    let mut run = || {
        let (first, count) = (end.checked_add(decode_reference(r)?), decode_reference(r)?);
        let ends = first.and_then(|first| first.checked_add(count).map(|next| (first, next)));
        let (first, next) = ends.ok_or_else(|| r.malformed("reference out of range"))?;
        end = next;
        Ok((first, count))
    };
    (0..count).map(|_| run()).collect()
}

fn kind_byte(kind: MetricKind) -> u8 {
    match kind {
        MetricKind::Unknown => 0,
        MetricKind::Counter => 1,
        MetricKind::Gauge => 2,
        MetricKind::Histogram => 3,
        MetricKind::Summary => 4,
    }
}

fn byte_kind(byte: u8) -> MetricKind {
    match byte {
        1 => MetricKind::Counter,
        2 => MetricKind::Gauge,
        3 => MetricKind::Histogram,
        4 => MetricKind::Summary,
        _ => MetricKind::Unknown,
    }
}
