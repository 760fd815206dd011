//! # Format
//!
//! What makes damage in a segment good again: the payload of a record of kind 255, which stands for no entry
//! of the log and has the sequence of the record before it. Version 2 (of the segment), little-endian.
//!
//! | field  | bytes           | meaning                                                                    |
//! |--------|-----------------|----------------------------------------------------------------------------|
//! | start  | 4               | where in the file the group begins that this covers                        |
//! | length | 4               | bytes of the group, at least 1                                             |
//! | sums   | at most 4608    | byte `i`: all bytes of the group at `i`, `i + 4608`, ... by exclusive or   |
//!
//! A group is a stretch of the file whatever stands in it: the segment's head, records, the parity of the
//! group before. Groups follow each other without a gap from the start of the file, each mostly 16 times 4608
//! bytes. The parity of a group stands at least 4608 bytes behind its end (nearer only at the end of a
//! segment), so no hole of 4096 bytes takes a group and its parity. So a flipped byte, and a hole of up to
//! 4096 bytes, cost nothing; two in one group cost what lies in them.
//!
//! Damage: found by the record's checksum; a group without parity is not made good.
//! Growth: with the version of the segment.

use std::ops::Range;

use super::{ByteReader, ByteWriter};

/// Kind of the records that hold parity.
pub(super) const KIND_PARITY: u8 = 255;

/// Bytes that are so far apart go into one sum.
const STRIDE: usize = 9 * STEP;

/// A hole is looked for at each multiple of this, so the largest that is made good is this much smaller than
/// the stride: 4 KiB, what a page of flash or of the file cache has.
const STEP: usize = 512;

/// A group ends with the record that reaches this.
const GROUP_BYTES: usize = 16 * STRIDE;

/// A hole is looked for at so many places in one stretch of damage.
const PLACES_MAX: usize = 4096;

/// The parity of what is written to a segment.
#[derive(Debug)]
pub(super) struct Parity {
    start: usize,
    length: usize,
    sums: Vec<u8>,
    /// The parity of the group that ended last, until it may be written.
    waiting: Option<Vec<u8>>,
}

impl Parity {
    /// Begins at the start of a file.
    pub(super) fn new() -> Self {
        Parity { start: 0, length: 0, sums: Vec::new(), waiting: None }
    }

    /// Takes in what was written behind all before.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let at = self.length % STRIDE;
            let (now, later) = rest.split_at(rest.len().min(STRIDE - at));
            if self.sums.len() < at + now.len() {
                self.sums.resize(at + now.len(), 0);
            }
            self.sums.iter_mut().skip(at).zip(now).for_each(|(sum, byte)| *sum ^= byte);
            self.length += now.len();
            rest = later;
        }
    }

    /// Ends the group if it is large enough; returns whether it has ended.
    pub(super) fn end_if_full(&mut self) -> bool {
        let is_full = self.length >= GROUP_BYTES && self.waiting.is_none();
        if is_full {
            self.end();
        }
        is_full
    }

    /// Ends the group.
    pub(super) fn end(&mut self) {
        let mut w = ByteWriter::default();
        for number in [self.start, self.length] {
            w.u32(u32::try_from(number).unwrap_or(u32::MAX));
        }
        w.raw(&self.sums);
        self.waiting = Some(w.into_bytes());
        self.start += self.length;
        self.length = 0;
        self.sums.clear();
    }

    /// Returns the payload that is to be written now.
    pub(super) fn due(&self) -> Option<&[u8]> {
        self.waiting.as_deref().filter(|_| self.length >= STRIDE)
    }

    /// Returns the payload that waits, whether or not it is due.
    pub(super) fn waiting(&self) -> Option<&[u8]> {
        self.waiting.as_deref()
    }

    /// Notes that the waiting payload stands in the file.
    pub(super) fn written(&mut self) {
        self.waiting = None;
    }
}

/// The parity of a group as read.
#[derive(Debug)]
pub(super) struct Cover {
    group: Range<usize>,
    sums: Vec<u8>,
}

impl Cover {
    /// Reads a payload; `None` if it is none of ours.
    pub(super) fn decode(payload: &[u8]) -> Option<Cover> {
        let mut r = ByteReader::new(payload);
        let start = usize::try_from(r.u32().ok()?).ok()?;
        let length = usize::try_from(r.u32().ok()?).ok()?;
        let sums = r.rest().to_vec();
        (length > 0 && sums.len() == length.min(STRIDE)).then(|| Cover { group: start..start + length, sums })
    }

    /// Turns the sums into what has changed since: byte `i` is the exclusive or of all changes at `i`,
    /// `i + STRIDE`, ... of the group.
    fn changes(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut changes = self.sums.clone();
        for row in bytes.get(self.group.clone())?.chunks(STRIDE) {
            changes.iter_mut().zip(row).for_each(|(change, byte)| *change ^= byte);
        }
        changes.iter().any(|c| *c != 0).then_some(changes)
    }
}

/// Tries to make a damaged stretch of a file good; returns whether `is_good` says so now. If not, the bytes are
/// as they were. Cost: `is_good` is asked for each half a kilobyte of the stretch, up to 4096 times.
pub(super) fn mend(
    bytes: &mut [u8],
    damaged: &Range<usize>,
    covers: &[Cover],
    is_good: impl Fn(&[u8]) -> bool,
) -> bool {
    let overlaps = |c: &&Cover| c.group.start < damaged.end && damaged.start < c.group.end;
    let changes: Vec<(Range<usize>, Vec<u8>)> =
        covers.iter().filter(overlaps).filter_map(|c| Some((c.group.clone(), c.changes(bytes)?))).collect();
    if changes.is_empty() {
        return false;
    }
    for hole in damaged.clone().step_by(STEP).take(PLACES_MAX) {
        let hole = hole..damaged.end.min(hole + STRIDE);
        change(bytes, &hole, &changes);
        if is_good(bytes) {
            return true;
        }
        change(bytes, &hole, &changes);
    }
    false
}

/// Applies changes to what of their groups lies in the hole; twice changes nothing.
fn change(bytes: &mut [u8], hole: &Range<usize>, changes: &[(Range<usize>, Vec<u8>)]) {
    for (group, sums) in changes {
        let (start, end) = (hole.start.max(group.start), hole.end.min(group.end));
        let Some(place) = bytes.get_mut(start..end.max(start)) else { continue };
        let sums = sums.iter().cycle().skip((start - group.start) % STRIDE);
        place.iter_mut().zip(sums).for_each(|(byte, sum)| *byte ^= sum);
    }
}
