//! # Format
//!
//! What stands in the payloads of the WAL's and the checkpoint's records (`storage/disk/record.rs`). Version 1
//! (of the segment), little-endian.
//!
//! Every payload begins with a byte that says how the body is packed: 0 as it is; 1 a varint with the body's
//! length (at most 64 MiB), then a zstd frame. Texts are a varint length and UTF-8. The record's kind says
//! what the body is:
//!
//! | kind | body                                                                                              |
//! |------|---------------------------------------------------------------------------------------------------|
//! | 1    | batch: new series; samples                                                                        |
//! | 2    | chunks: new series; then a varint count of chunks: reference, and two columns, each a varint length and its bytes |
//! | 3    | late: sequence (8 bytes), newest time (signed varint), count, then minute (signed varint difference) and sequence (varint) each; a count of 0 or 1 joined stretches: first and last minute (signed varints), sequence |
//! | 4    | metadata: count, then name, kind (1 byte), help and unit each                                     |
//!
//! New series are a varint count, then for each its reference (varint), the number of labels (varint), and
//! name and value of each label. Samples are columns: a varint count; the references, each as difference to
//! the one before; the times, likewise; a byte for each value: 0 to 15 for a decimal with so many
//! places, 16 for a double; then the values, decimals as zigzag varints, doubles as 8 bytes.
//!
//! A record stands for itself: nothing in it refers to another but the references of series.
//! Damage: found by the record's checksum; a body that does not decode all the same costs that record.
//! Growth: other kinds and packings are refused, which costs the record.

use crate::model::{Labels, Metadata, MetricKind};
use crate::storage::disk::{ByteReader, ByteWriter, Malformed};
use crate::storage::tsdb::column::{decimal_exponent, scale, unscale};

pub(crate) const KIND_BATCH: u8 = 1;
pub(crate) const KIND_CHUNKS: u8 = 2;
pub(crate) const KIND_LATE: u8 = 3;
pub(crate) const KIND_METADATA: u8 = 4;

const PACKING_NONE: u8 = 0;
const PACKING_ZSTD: u8 = 1;

/// A body smaller than this is not worth packing.
const PACKED_FROM_BYTES: usize = 192;

/// Upper bound of a body: what a damaged length may ask for.
const BODY_BYTES_MAX: usize = 64 << 20;

const VALUE_DOUBLE: u8 = 16;

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
    Batch { new: Vec<NewSeries>, samples: Vec<LoggedSample> },
    Chunks { new: Vec<NewSeries>, chunks: Vec<LoggedChunk> },
    Late(LoggedLate),
    Metadata(Vec<(String, Metadata)>),
}

/// Writes the body of a record.
pub(crate) fn encode(logged: &Logged, out: &mut ByteWriter) -> u8 {
    match logged {
        Logged::Batch { new, samples } => encode_batch(new, samples, out),
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
    }
}

/// Writes the body of a batch.
pub(crate) fn encode_batch(new: &[NewSeries], samples: &[LoggedSample], out: &mut ByteWriter) -> u8 {
    encode_series(new, out);
    out.varint(samples.len() as u64);
    let mut last = 0;
    for sample in samples {
        out.signed_varint(i64::from(sample.series) - last);
        last = i64::from(sample.series);
    }
    let mut last = 0_i64;
    for sample in samples {
        out.signed_varint(sample.time.wrapping_sub(last));
        last = sample.time;
    }
    let places: Vec<u8> = samples.iter().map(|s| decimal_exponent(s.value, 0).unwrap_or(VALUE_DOUBLE)).collect();
    out.raw(&places);
    for (sample, places) in samples.iter().zip(places) {
        match scale(sample.value, places) {
            Some(integer) => out.signed_varint(integer),
            None => out.u64(sample.value.to_bits()),
        }
    }
    KIND_BATCH
}

fn encode_series(new: &[NewSeries], out: &mut ByteWriter) {
    out.varint(new.len() as u64);
    for (reference, labels) in new {
        out.varint(u64::from(*reference));
        out.varint(labels.len() as u64);
        for (name, value) in labels.iter() {
            out.text(name);
            out.text(value);
        }
    }
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

/// Reads a record.
pub(crate) fn decode(kind: u8, payload: &[u8]) -> Result<Logged, Malformed> {
    let mut r = ByteReader::new(payload);
    match r.u8()? {
        PACKING_NONE => decode_body(kind, r.rest()),
        PACKING_ZSTD => {
            let length = usize::try_from(r.varint()?).ok().filter(|n| *n <= BODY_BYTES_MAX);
            let length = length.ok_or_else(|| r.malformed("body too long"))?;
            let body = zstd::bulk::decompress(r.rest(), length).map_err(|_| r.malformed("not a zstd frame"))?;
            decode_body(kind, &body)
        }
        _ => Err(r.malformed("unknown packing")),
    }
}

fn decode_body(kind: u8, body: &[u8]) -> Result<Logged, Malformed> {
    let mut r = ByteReader::new(body);
    let logged = match kind {
        KIND_BATCH => Logged::Batch { new: decode_series(&mut r)?, samples: decode_samples(&mut r)? },
        KIND_CHUNKS => Logged::Chunks { new: decode_series(&mut r)?, chunks: decode_chunks(&mut r)? },
        KIND_LATE => Logged::Late(decode_late(&mut r)?),
        KIND_METADATA => Logged::Metadata(decode_metadata(&mut r)?),
        _ => return Err(r.malformed("unknown kind of record")),
    };
    r.end()?;
    Ok(logged)
}

fn decode_series(r: &mut ByteReader<'_>) -> Result<Vec<NewSeries>, Malformed> {
    let count = r.count(2)?;
    let mut new = Vec::with_capacity(count);
    for _ in 0..count {
        let reference = decode_reference(r)?;
        let pairs = r.count(2)?;
        let pairs = (0..pairs).map(|_| Ok((r.text()?, r.text()?))).collect::<Result<Vec<_>, Malformed>>()?;
        new.push((reference, pairs.into_iter().collect()));
    }
    Ok(new)
}

fn decode_reference(r: &mut ByteReader<'_>) -> Result<u32, Malformed> {
    u32::try_from(r.varint()?).map_err(|_| r.malformed("reference out of range"))
}

fn decode_samples(r: &mut ByteReader<'_>) -> Result<Vec<LoggedSample>, Malformed> {
    // A sample takes at least a byte in each of the four columns.
    let count = r.count(4)?;
    let mut samples = Vec::with_capacity(count);
    let mut last = 0_i64;
    for _ in 0..count {
        last = last.wrapping_add(r.signed_varint()?);
        let series = u32::try_from(last).map_err(|_| r.malformed("reference out of range"))?;
        samples.push(LoggedSample { series, time: 0, value: 0.0 });
    }
    let mut last = 0_i64;
    for sample in &mut samples {
        last = last.wrapping_add(r.signed_varint()?);
        sample.time = last;
    }
    let places = r.raw(count)?;
    for (sample, places) in samples.iter_mut().zip(places) {
        sample.value = match *places {
            VALUE_DOUBLE => f64::from_bits(r.u64()?),
            places if places < VALUE_DOUBLE => unscale(r.signed_varint()?, places),
            _ => return Err(r.malformed("unknown kind of value")),
        };
    }
    Ok(samples)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::stale_nan;

    #[track_caller]
    fn check(logged: &Logged) {
        let mut body = ByteWriter::default();
        let kind = encode(logged, &mut body);
        let mut packer = Packer::new();
        let payload = packer.pack(body.as_slice()).to_vec();
        let back = decode(kind, &payload).unwrap();
        // Through text, because NaN is not equal to itself.
        assert_eq!(format!("{back:?}"), format!("{logged:?}"));
        for length in 0..payload.len().min(300) {
            let _ = decode(kind, &payload[..length]);
        }
    }

    fn sample(series: u32, time: i64, value: f64) -> LoggedSample {
        LoggedSample { series, time, value }
    }

    #[test]
    fn records_come_back_as_they_were() {
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "a")]);
        let values = [1.0, -0.0, 21.5, f64::INFINITY, stale_nan(), 0.1 + 0.2, -3e300];
        let samples: Vec<_> = values.iter().zip(0..).map(|(v, i)| sample(7 + i, 1_000 - i64::from(i), *v)).collect();
        check(&Logged::Batch { new: vec![(7, labels.clone())], samples });
        check(&Logged::Batch { new: vec![], samples: (0..500).map(|i| sample(i, 5, f64::from(i) / 10.0)).collect() });
        let chunk = LoggedChunk { series: 7, times: vec![1, 2], values: vec![3] };
        check(&Logged::Chunks { new: vec![(7, labels)], chunks: vec![chunk] });
        for joined in [None, Some((-9, -7, 3))] {
            check(&Logged::Late(LoggedLate { sequence: 9, newest: -5, minutes: vec![(-3, 4), (8, 2)], joined }));
        }
        let about = Metadata { kind: MetricKind::Counter, help: "Help.".to_owned(), unit: "s".to_owned() };
        check(&Logged::Metadata(vec![("up".to_owned(), about)]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(kind in 0..6_u8, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(kind, &bytes);
        }

        #[test]
        fn any_batch_comes_back(samples in prop::collection::vec((any::<u32>(), any::<i64>(), any::<u64>()), 0..50)) {
            check(&Logged::Batch {
                new: vec![],
                samples: samples.into_iter().map(|(s, t, v)| sample(s, t, f64::from_bits(v))).collect(),
            });
        }
    }
}
