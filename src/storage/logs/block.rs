//! Lines of one stream, packed.
//!
//! # Format
//!
//! A block is the unit that is read, checked and unpacked whole. Version 1 (that of the part it stands in): a
//! zstd frame of the following, little-endian, varints as LEB128.
//!
//! | field   | bytes     | meaning                                                                    |
//! |---------|-----------|----------------------------------------------------------------------------|
//! | count   | varint    | number of lines, 1 or more                                                 |
//! | unit    | 1         | times are in units of 10^unit ns: 0, 3, 6 or 9                             |
//! | first   | varint    | time of the first line, in units, zigzag                                   |
//! | times   | varint .. | of each further line, units since the line before; never less than it      |
//! | lengths | varint .. | of each line, bytes                                                        |
//! | text    | .. end    | the lines one behind the other, UTF-8                                      |
//!
//! Checksum, packed and unpacked length are in the part's index. Caps: 4 MiB unpacked.
//! Damage: the block is passed over, reported and counted; the others are read on.
//! Growth: a new version of the part.

use super::lines::Lines;
use crate::storage::disk::{ByteReader, ByteWriter, Malformed};

/// Larger blocks are not unpacked.
pub(super) const UNPACKED_BYTES_MAX: usize = 4 << 20;

/// How much zstd works; measured in `docs/decisions/0022`.
const LEVEL: i32 = 6;

/// Exponents of the units that times may have, largest first.
const UNITS: [u8; 4] = [9, 6, 3, 0];

/// Packs lines, which must be sorted and not be empty. Returns the frame and its unpacked length.
///
/// # Panics
/// When the lines are not sorted, or zstd fails in memory.
pub(super) fn encode(lines: &Lines) -> (Vec<u8>, usize) {
    assert!(lines.is_sorted() && !lines.is_empty(), "bug: a block of unsorted lines");
    let unit = unit_of(lines.times());
    let size_ns = 10_i64.pow(u32::from(unit));
    let mut w = ByteWriter::new(Vec::with_capacity(lines.bytes()));
    w.varint(lines.len() as u64);
    w.u8(unit);
    let mut previous = None;
    for time in lines.times().iter().map(|time| time / size_ns) {
        match previous {
            None => w.signed_varint(time),
            Some(previous) => w.varint(time.abs_diff(previous)),
        }
        previous = Some(time);
    }
    for (_, line) in lines.iter() {
        w.varint(line.len() as u64);
    }
    w.raw(lines.all_text().as_bytes());
    match zstd::bulk::compress(w.as_slice(), LEVEL) {
        Ok(frame) => (frame, w.len()),
        Err(error) => panic!("bug: zstd fails in memory: {error}"),
    }
}

/// Unpacks a frame of a known unpacked length.
pub(super) fn decode(frame: &[u8], unpacked_bytes: usize) -> Result<Lines, Malformed> {
    if unpacked_bytes > UNPACKED_BYTES_MAX {
        return Err(Malformed { offset: 0, reason: "block is larger than a block may be" });
    }
    let unpack = zstd::bulk::decompress(frame, unpacked_bytes);
    let bytes = unpack.map_err(|_| Malformed { offset: 0, reason: "block does not unpack" })?;
    if bytes.len() != unpacked_bytes {
        return Err(Malformed { offset: 0, reason: "block has another length than its index says" });
    }
    decode_unpacked(&bytes)
}

fn decode_unpacked(bytes: &[u8]) -> Result<Lines, Malformed> {
    let mut r = ByteReader::new(bytes);
    // Each line takes a byte of time and a byte of length at least.
    let count = r.count(2)?;
    let unit = r.u8()?;
    if count == 0 || !UNITS.contains(&unit) {
        return Err(r.malformed("block has no lines or an unknown unit of time"));
    }
    let size_ns = 10_i64.pow(u32::from(unit));
    let mut times = Vec::with_capacity(count);
    let mut time = r.signed_varint()?;
    for at in 0..count {
        if at > 0 {
            let step = r.varint()?;
            time = time.checked_add_unsigned(step).ok_or_else(|| r.malformed("time out of range"))?;
        }
        times.push(time.checked_mul(size_ns).ok_or_else(|| r.malformed("time out of range"))?);
    }
    let mut lengths = Vec::with_capacity(count);
    for _ in 0..count {
        lengths.push(r.count(1)?);
    }
    let mut text = std::str::from_utf8(r.rest()).map_err(|_| r.malformed("text is not utf-8"))?;
    let mut lines = Lines::with_capacity(count, text.len());
    for (time, length) in times.into_iter().zip(lengths) {
        let (line, rest) = text.split_at_checked(length).ok_or_else(|| r.malformed("line out of range"))?;
        lines.push(time, line);
        text = rest;
    }
    if text.is_empty() { Ok(lines) } else { Err(r.malformed("text behind the last line")) }
}

/// Returns the exponent of the largest unit in which all times are whole.
fn unit_of(times: &[i64]) -> u8 {
    let fits = |unit: &u8| times.iter().all(|time| time % 10_i64.pow(u32::from(*unit)) == 0);
    UNITS.into_iter().find(fits).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(times: &[i64]) -> Lines {
        let mut lines = Lines::default();
        for time in times {
            lines.push(*time, &format!("line at {time} ü"));
        }
        lines
    }

    #[test]
    fn a_block_reads_as_written() {
        for times in
            [&[0][..], &[i64::MIN, 0, i64::MAX], &[-5_000_000, 7_000_000, 7_000_000], &[1, 2_000], &[9_000_000_000]]
        {
            let lines = lines(times);
            let (frame, unpacked) = encode(&lines);
            assert_eq!(decode(&frame, unpacked), Ok(lines), "{times:?}");
        }
    }

    #[test]
    fn whole_milliseconds_are_kept_as_such() {
        assert_eq!(unit_of(&[5_000_000, -7_000_000]), 6);
        assert_eq!(unit_of(&[5_000_000, 7_000]), 3);
        assert_eq!(unit_of(&[0]), 9);
        assert_eq!(unit_of(&[1]), 0);
    }

    #[test]
    fn a_wrong_length_is_an_error() {
        let (frame, unpacked) = encode(&lines(&[1, 2]));
        assert!(decode(&frame, unpacked - 1).is_err());
        assert!(decode(&frame, unpacked + 1).is_err());
        assert!(decode(&frame, UNPACKED_BYTES_MAX + 1).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_block_or_an_error(bytes in proptest::collection::vec(0_u8..=255, 0..60)) {
            let _ = decode_unpacked(&bytes);
            let _ = decode(&bytes, 100);
        }

        #[test]
        fn a_cut_block_is_an_error(cut in 1_usize..40) {
            let mut w = ByteWriter::default();
            w.varint(2);
            w.u8(0);
            w.signed_varint(1);
            w.varint(1);
            w.varint(20);
            w.varint(20);
            w.raw(&[b'x'; 40]);
            let bytes = w.into_bytes();
            proptest::prop_assert!(decode_unpacked(&bytes).is_ok());
            proptest::prop_assert!(decode_unpacked(&bytes[..bytes.len() - cut]).is_err());
        }
    }
}
