//! The last frames of one device, in a ring of bytes.

use std::collections::VecDeque;
use std::time::Duration;

use super::entry::FrameView;
use crate::model::Timestamp;

/// What a ring takes at first.
const FIRST_BYTES: usize = 256;

/// Entries one after the other, the oldest first: a length (4) and the entry.
#[derive(Debug, Default)]
pub(super) struct Ring {
    bytes: VecDeque<u8>,
}

impl Ring {
    /// Adds an entry with its length before it. What is more than `bytes_max` goes at the other end; an entry larger
    /// than that is not kept. Returns how many bytes the ring took and takes.
    pub(super) fn push(&mut self, entry: &[u8], bytes_max: usize) -> (usize, usize) {
        let before = self.bytes.capacity();
        if entry.len() > bytes_max {
            return (before, before);
        }
        while self.bytes.len() + entry.len() > bytes_max && self.drop_oldest() {}
        let needed = self.bytes.len() + entry.len();
        if needed > self.bytes.capacity() {
            let grown = (self.bytes.capacity() * 2).max(FIRST_BYTES).max(needed).min(bytes_max.max(needed));
            self.bytes.reserve_exact(grown - self.bytes.len());
        }
        self.bytes.extend(entry);
        (before, self.bytes.capacity())
    }

    /// Drops what is older than `age`, and what is more than `bytes_max`, and gives memory back. Returns how many bytes
    /// the ring took and takes.
    pub(super) fn tidy(&mut self, now: Timestamp, age: Duration, bytes_max: usize) -> (usize, usize) {
        let before = self.bytes.capacity();
        while self.oldest().is_some_and(|oldest| now.since(oldest) > age) && self.drop_oldest() {}
        while self.bytes.len() > bytes_max && self.drop_oldest() {}
        if before > FIRST_BYTES.max(bytes_max) || self.bytes.len() * 4 < before {
            self.bytes.shrink_to(self.bytes.len());
        }
        (before, self.bytes.capacity())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Returns all entries, the oldest first.
    pub(super) fn entries(&self) -> Vec<FrameView> {
        let mut bytes: Vec<u8> = self.bytes.iter().copied().collect();
        let mut rest = bytes.as_mut_slice() as &[u8];
        let mut entries = Vec::new();
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
            let Some((entry, after)) = after.split_at_checked(length) else { break };
            entries.extend(FrameView::decode(entry));
            rest = after;
        }
        entries
    }

    /// Returns when the oldest entry was.
    fn oldest(&self) -> Option<Timestamp> {
        let mut time = [0; 8];
        for (at, byte) in (4..).zip(&mut time) {
            *byte = *self.bytes.get(at)?;
        }
        Some(Timestamp::from_millis(i64::from_le_bytes(time)))
    }

    fn drop_oldest(&mut self) -> bool {
        let mut length = [0; 4];
        for (at, byte) in length.iter_mut().enumerate() {
            match self.bytes.get(at) {
                Some(found) => *byte = *found,
                None => return false,
            }
        }
        let whole = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX).saturating_add(4);
        self.bytes.drain(..whole.min(self.bytes.len()));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::blackbox::entry::{Direction, Head};

    fn entry(second: i64) -> Vec<u8> {
        let text = format!(r#"{{"type":0,"subject":"lab.{second}"}}"#);
        let mut bytes = Vec::new();
        Head::of(&text, Direction::In, at(second), 0).encode(&mut bytes);
        bytes
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(second * 1000)
    }

    fn subjects(ring: &Ring) -> Vec<String> {
        ring.entries().into_iter().map(|entry| entry.subject).collect()
    }

    #[test]
    fn the_newest_stay_within_the_bytes() {
        let mut ring = Ring::default();
        let one = entry(100).len();
        let max = 10 * one + one / 2;
        for second in 100..200 {
            let (_, takes) = ring.push(&entry(second), max);
            assert!(takes <= max.max(FIRST_BYTES), "{takes} of {max}");
        }
        assert_eq!(subjects(&ring), (190..200).map(|s| format!("lab.{s}")).collect::<Vec<_>>());
        ring.push(&entry(200), 3 * one);
        assert_eq!(subjects(&ring), ["lab.198", "lab.199", "lab.200"]);
        ring.push(&entry(201), one - 1);
        assert_eq!(ring.entries().len(), 3, "what is too large for the ring is left out");
    }

    #[test]
    fn what_is_old_goes_and_gives_its_memory_back() {
        let mut ring = Ring::default();
        for second in 0..100 {
            ring.push(&entry(second), 1 << 20);
        }
        let (before, after) = ring.tidy(at(109), Duration::from_secs(10), 1 << 20);
        assert_eq!(subjects(&ring).len(), 1);
        assert!(after < before / 4, "{before} {after}");
        ring.tidy(at(120), Duration::from_secs(10), 1 << 20);
        assert!(ring.is_empty());
        assert_eq!(ring.tidy(at(120), Duration::from_secs(10), 1 << 20), (0, 0));
    }

    #[test]
    fn a_ring_whose_share_became_smaller_gives_the_rest_back() {
        let mut ring = Ring::default();
        for second in 0..100 {
            ring.push(&entry(second), 1 << 20);
        }
        let (_, after) = ring.tidy(at(100), Duration::from_secs(1000), 600);
        assert!(after <= 600 && !ring.is_empty(), "{after}");
    }
}
