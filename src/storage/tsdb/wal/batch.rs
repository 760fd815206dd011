//! # Format
//!
//! The body of a batch: new series and samples as columns. Part of version 2 of the WAL's records
//! (`record.rs`).
//!
//! Batches make a *chain*: within it values are differences to what came before (`values.rs`), across it
//! nothing is. A chain begins when the log is opened, after each rotation, and after a write that failed; so
//! mostly it is a segment.
//!
//! | field      | bytes    | meaning                                                                        |
//! |------------|----------|--------------------------------------------------------------------------------|
//! | place      | varint   | sequence of the record less that of the chain's first: 0 begins a chain        |
//! | group      | varint   | groups that had begun since the chain has, at most 65 535                      |
//! | uncovered  | varint   | how many of them, from the last on, may not be predicted from (`values.rs`)    |
//! | checksum   | 4        | of what the samples decode to, see [`Checksum`]                                |
//! | new        | varint, n | length of the new series, 0 if there are none; then these, packed             |
//! | count      | varint   | how many samples                                                               |
//! | references | column   | of each sample                                                                 |
//! | times      | column   | of each sample, milliseconds                                                   |
//! | values     | varint, n | length of the first stream, the first stream; the second is the rest          |
//!
//! A column is differences to the number before (the first: to 0). It begins with a varint: 0, and each
//! difference follows as zigzag varint; or the number of runs of equal differences, and for each run but
//! the last follow difference and length less 1, for the last the difference. Without samples nothing
//! follows the count.
//!
//! Damage: a record that was lost makes those unreadable that build on it. The checksum tells; such a record
//! costs its samples (never its new series), and those of its series up to the end of the chain.

use super::record::{LoggedSample, NewSeries, Packer, decode_series, encode_series, unpack};
use super::values::{Group, Memory, ValueReader, ValueWriter};
use crate::storage::disk::{ByteReader, ByteWriter, Malformed};

/// Where a batch stands in its chain.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    /// Records since the chain's first.
    pub(super) number: u64,
    pub(super) group: Group,
}

/// Writes batches.
#[derive(Debug, Default)]
pub(super) struct BatchWriter {
    memory: Memory,
    values: ValueWriter,
}

impl BatchWriter {
    /// Begins a chain.
    pub(super) fn clear(&mut self) {
        self.memory.clear();
    }

    /// Writes the body of a batch. What is remembered is as if the record were logged; if that fails a new
    /// chain must begin.
    pub(super) fn write(&mut self, place: Place, new: &[NewSeries], samples: &[LoggedSample], out: &mut ByteWriter) {
        out.varint(place.number);
        out.varint(u64::from(place.group.current));
        out.varint(u64::from(place.group.current - place.group.covered));
        let mut checksum = Checksum::default();
        samples.iter().for_each(|s| checksum.add(s));
        out.u32(checksum.finish());
        write_new(new, out);
        out.varint(samples.len() as u64);
        if samples.is_empty() {
            return;
        }
        write_column(samples.iter().map(|s| i64::from(s.series)), out);
        write_column(samples.iter().map(|s| s.time), out);
        self.memory.reserve(samples.iter().map(|s| s.series).max().unwrap_or(0));
        self.values.begin();
        let mut before = None;
        for sample in samples {
            let follows = before == Some(sample.series);
            self.values.push(&mut self.memory, sample.series, place.group, follows, sample.value);
            before = Some(sample.series);
        }
        let (quiet, rest) = self.values.finish();
        out.varint(quiet.len() as u64);
        out.raw(quiet);
        out.raw(rest);
    }
}

/// A batch as read.
#[derive(Debug)]
pub(super) struct ReadBatch {
    pub(super) new: Vec<NewSeries>,
    pub(super) samples: Vec<LoggedSample>,
    /// Samples that cannot be read because they build on a record that was lost; `samples` is empty then.
    pub(super) left_out: u64,
}

/// Reads batches, in the order of their sequences.
#[derive(Debug, Default)]
pub(super) struct BatchReader {
    memory: Memory,
    /// Sequence of the chain's first record.
    first: Option<u64>,
}

impl BatchReader {
    /// Reads the body of the record with this sequence.
    ///
    /// # Errors
    /// When it is not a batch at all.
    pub(super) fn read(&mut self, sequence: u64, body: &[u8]) -> Result<ReadBatch, Malformed> {
        let mut r = ByteReader::new(body);
        let first = sequence.checked_sub(r.varint()?).ok_or_else(|| r.malformed("place before the log"))?;
        let group = read_group(&mut r)?;
        if self.first != Some(first) {
            self.first = Some(first);
            self.memory.clear();
        }
        let checksum = r.u32()?;
        let new = read_new(&mut r)?;
        // A quiet sample takes no byte at all, but its column is bounded by the record's length.
        let count = r.count(0)?;
        if count == 0 {
            r.end()?;
            return Ok(ReadBatch { new, samples: Vec::new(), left_out: 0 });
        }
        if count > SAMPLES_MAX {
            return Err(r.malformed("more samples than a batch may have"));
        }
        let mut samples = Vec::with_capacity(count.min(1 << 16));
        read_column(&mut r, count, |number| {
            let series =
                u32::try_from(number).map_err(|_| Malformed { offset: 0, reason: "reference out of range" })?;
            samples.push(LoggedSample { series, time: 0, value: 0.0 });
            Ok(())
        })?;
        let mut each = samples.iter_mut();
        read_column(&mut r, count, |number| {
            each.by_ref().take(1).for_each(|s| s.time = number);
            Ok(())
        })?;
        let length = r.count(1)?;
        let (quiet, rest) = (r.raw(length)?, r.rest());
        if self.read_values(quiet, rest, group, &mut samples, checksum) {
            return Ok(ReadBatch { new, samples, left_out: 0 });
        }
        samples.iter().for_each(|s| self.memory.lose(s.series));
        Ok(ReadBatch { new, samples: Vec::new(), left_out: count as u64 })
    }

    /// Fills in the values; returns whether they are what was written.
    fn read_values(
        &mut self,
        quiet: &[u8],
        rest: &[u8],
        group: Group,
        samples: &mut [LoggedSample],
        checksum: u32,
    ) -> bool {
        self.memory.reserve(samples.iter().map(|s| s.series).max().unwrap_or(0));
        if samples.iter().any(|s| self.memory.is_lost(s.series)) {
            return false;
        }
        let mut values = ValueReader::new(quiet, rest);
        let mut found = Checksum::default();
        let mut before = None;
        for sample in samples {
            let follows = before == Some(sample.series);
            let Ok(value) = values.next(&mut self.memory, sample.series, group, follows) else { return false };
            sample.value = value;
            before = Some(sample.series);
            found.add(sample);
        }
        found.finish() == checksum
    }
}

/// More samples are not logged in one record; what a damaged count may ask for.
const SAMPLES_MAX: usize = 4 << 20;

/// Over what samples decode to. Each sample makes one number: the bits of its value, its time times `A` and
/// its reference times `B`, all by exclusive or; the sum is exclusive-ored with it, times `A`, and
/// exclusive-ored with itself shifted right by 32. The checksum is the lower half of the sum.
#[derive(Debug, Default)]
struct Checksum(u64);

impl Checksum {
    const A: u64 = 0x9e37_79b9_7f4a_7c15;
    const B: u64 = 0xd6e8_feb8_6659_fd93;

    #[inline]
    fn add(&mut self, sample: &LoggedSample) {
        let time = sample.time.cast_unsigned().wrapping_mul(Self::A);
        let one = sample.value.to_bits() ^ time ^ u64::from(sample.series).wrapping_mul(Self::B);
        let sum = (self.0 ^ one).wrapping_mul(Self::A);
        self.0 = sum ^ (sum >> 32);
    }

    #[expect(clippy::cast_possible_truncation, reason = "half is enough")]
    fn finish(&self) -> u32 {
        self.0 as u32
    }
}

fn read_group(r: &mut ByteReader<'_>) -> Result<Group, Malformed> {
    let (current, uncovered) = (u16::try_from(r.varint()?), u16::try_from(r.varint()?));
    let group = current
        .ok()
        .zip(uncovered.ok())
        .and_then(|(current, uncovered)| Some(Group { current, covered: current.checked_sub(uncovered)? }));
    group.ok_or_else(|| r.malformed("group out of range"))
}

fn write_new(new: &[NewSeries], out: &mut ByteWriter) {
    if new.is_empty() {
        return out.varint(0);
    }
    let mut body = ByteWriter::default();
    encode_series(new, &mut body);
    // New series are rare: the packer's memory is not kept for them.
    let mut packer = Packer::new();
    let packed = packer.pack(body.as_slice());
    out.varint(packed.len() as u64);
    out.raw(packed);
}

fn read_new(r: &mut ByteReader<'_>) -> Result<Vec<NewSeries>, Malformed> {
    let length = r.count(1)?;
    if length == 0 {
        return Ok(Vec::new());
    }
    let body = unpack(r.raw(length)?)?;
    let mut body = ByteReader::new(&body);
    let new = decode_series(&mut body)?;
    body.end()?;
    Ok(new)
}

fn write_column(numbers: impl Iterator<Item = i64> + Clone, out: &mut ByteWriter) {
    let differences = || {
        let mut before = 0_i64;
        numbers.clone().map(move |n| {
            let difference = n.wrapping_sub(before);
            before = n;
            difference
        })
    };
    let (mut runs, mut count, mut run) = (0_u64, 0_u64, None);
    for difference in differences() {
        runs += u64::from(run != Some(difference));
        count += 1;
        run = Some(difference);
    }
    if runs * 2 > count + 1 {
        out.varint(0);
        return differences().for_each(|d| out.signed_varint(d));
    }
    out.varint(runs);
    let mut run: Option<(i64, u64)> = None;
    for difference in differences() {
        match &mut run {
            Some((same, more)) if *same == difference => *more += 1,
            _ => {
                if let Some((_, more)) = run {
                    out.varint(more);
                }
                out.signed_varint(difference);
                run = Some((difference, 0));
            }
        }
    }
}

fn read_column(
    r: &mut ByteReader<'_>,
    count: usize,
    mut visit: impl FnMut(i64) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let mut number = 0_i64;
    let runs = r.varint()?;
    if runs == 0 {
        for _ in 0..count {
            number = number.wrapping_add(r.signed_varint()?);
            visit(number)?;
        }
        return Ok(());
    }
    let mut left = count;
    for run in 1..=runs {
        let difference = r.signed_varint()?;
        let length = if run == runs { left } else { r.count(0)?.saturating_add(1) };
        left = left.checked_sub(length).ok_or_else(|| r.malformed("runs longer than the column"))?;
        for _ in 0..length {
            number = number.wrapping_add(difference);
            visit(number)?;
        }
    }
    Ok(())
}
