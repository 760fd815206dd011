//! # Format
//!
//! A record is the unit that is written, checked and replayed whole. Version 1, little-endian.
//!
//! | field    | bytes    | meaning                                                                   |
//! |----------|----------|---------------------------------------------------------------------------|
//! | marker   | 4        | `f5 a7 ff c1`: where a record may begin; never stands in UTF-8 text       |
//! | length   | 4        | length of `payload`, 0 to 16 MiB                                          |
//! | kind     | 1        | what `payload` holds; its owner defines it                                |
//! | sequence | 8        | one more than the record before; from 1 to 2^62                           |
//! | checksum | 4        | CRC-32C of length, kind, sequence and payload                             |
//! | payload  | `length` |                                                                           |
//!
//! Damage: where no record checks out, the reader looks for the next marker at which one does. So damage
//! costs the records it lies in and no other. What it means depends on the place, see `segments.rs`.
//! Growth: kinds are the owner's; the frame changes only with the version of the segment.

use super::ByteReader;
use super::checksum::crc32c_of;

/// Upper bound of a record's payload.
pub const RECORD_PAYLOAD_BYTES_MAX: usize = 16 << 20;

/// A sequence or first sequence beyond this was not written by us.
pub(super) const SEQUENCE_MAX: u64 = 1 << 62;

/// Where a record may begin. None of these bytes stands in UTF-8, so text inside a record is never taken for one.
const MARKER: [u8; 4] = [0xf5, 0xa7, 0xff, 0xc1];

const LENGTH_OFFSET: usize = MARKER.len();
const CHECKSUM_OFFSET: usize = LENGTH_OFFSET + 4 + 1 + 8;

/// Bytes of a record before its payload.
pub(super) const RECORD_HEAD_BYTES: usize = CHECKSUM_OFFSET + 4;

/// One record as read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Number of the segment it stands in.
    pub segment: u64,
    /// Its number, rising through all segments.
    pub sequence: u64,
    /// What the payload holds; the owner defines it.
    pub kind: u8,
    /// What was written.
    pub payload: &'a [u8],
}

/// Appends a record to `bytes`.
///
/// # Panics
/// When the payload is longer than [`RECORD_PAYLOAD_BYTES_MAX`].
pub(super) fn encode(bytes: &mut Vec<u8>, sequence: u64, kind: u8, payload: &[u8]) {
    assert!(payload.len() <= RECORD_PAYLOAD_BYTES_MAX, "bug: record of {} bytes", payload.len());
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
    let sequence = sequence.to_le_bytes();
    let checksum = crc32c_of(&[&length, &[kind], &sequence, payload]).to_le_bytes();
    for piece in [&MARKER, &length, &[kind][..], &sequence, &checksum, payload] {
        bytes.extend_from_slice(piece);
    }
}

/// Returns the record that begins with the first byte, and its length in all; `None` if none checks out there.
pub(super) fn decode(bytes: &[u8], segment: u64) -> Option<(Record<'_>, usize)> {
    let mut r = ByteReader::new(bytes);
    if r.raw(MARKER.len()).ok()? != MARKER {
        return None;
    }
    let length = usize::try_from(r.u32().ok()?).ok()?;
    let (kind, sequence, checksum) = (r.u8().ok()?, r.u64().ok()?, r.u32().ok()?);
    if length > RECORD_PAYLOAD_BYTES_MAX || sequence > SEQUENCE_MAX {
        return None;
    }
    let payload = r.raw(length).ok()?;
    let covered = bytes.get(LENGTH_OFFSET..CHECKSUM_OFFSET)?;
    (crc32c_of(&[covered, payload]) == checksum)
        .then_some((Record { segment, sequence, kind, payload }, RECORD_HEAD_BYTES + length))
}

/// Returns where the next record that checks out begins, at or behind `from`.
pub(super) fn find(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    rest.windows(MARKER.len())
        .enumerate()
        .filter(|(_, window)| *window == MARKER)
        .map(|(at, _)| from + at)
        .find(|at| bytes.get(*at..).is_some_and(|b| decode(b, 0).is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_as_written() {
        let mut bytes = Vec::new();
        encode(&mut bytes, 7, 2, b"hello");
        let expected = Record { segment: 3, sequence: 7, kind: 2, payload: b"hello" };
        assert_eq!(decode(&bytes, 3), Some((expected, bytes.len())));
    }

    #[test]
    fn a_sequence_that_leaves_no_room_for_more_is_no_record() {
        for (sequence, is_record) in [(SEQUENCE_MAX, true), (SEQUENCE_MAX + 1, false), (u64::MAX, false)] {
            let mut bytes = Vec::new();
            encode(&mut bytes, sequence, 2, b"hello");
            assert_eq!(decode(&bytes, 3).is_some(), is_record);
        }
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let mut bytes = Vec::new();
        encode(&mut bytes, 7, 2, b"hello");
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&damaged, 0), None, "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length], 0), None, "cut to {length}");
        }
    }

    #[test]
    fn the_next_good_record_is_found() {
        let mut bytes = vec![9; 13];
        bytes.extend_from_slice(&MARKER);
        let start = bytes.len();
        encode(&mut bytes, 7, 2, b"hello");
        assert_eq!(find(&bytes, 0), Some(start));
        assert_eq!(find(&bytes, start + 1), None);
    }
}
