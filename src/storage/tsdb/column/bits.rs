//! Integers of few bits behind each other, lowest bits first.

use crate::storage::disk::ByteWriter;

/// Bits on their way into bytes.
#[derive(Debug)]
pub(super) struct BitWriter<'a> {
    out: &'a mut ByteWriter,
    pending: u64,
    bits: u32,
}

impl<'a> BitWriter<'a> {
    pub(super) fn new(out: &'a mut ByteWriter) -> Self {
        BitWriter { out, pending: 0, bits: 0 }
    }

    /// Appends the lowest `width` bits, at most 64; those above must be zero.
    pub(super) fn put(&mut self, value: u64, width: u32) {
        self.pending |= value << self.bits;
        let bits = self.bits + width;
        if bits < 64 {
            self.bits = bits;
            return;
        }
        self.out.u64(self.pending);
        self.pending = value.checked_shr(64 - self.bits).unwrap_or(0);
        self.bits = bits - 64;
    }

    /// Fills the last byte with zeros.
    pub(super) fn end(self) {
        let rest = self.pending.to_le_bytes();
        self.out.raw(rest.get(..self.bits.div_ceil(8) as usize).unwrap_or_default());
    }
}

/// Returns the eight bytes from `at` on as a little-endian integer; behind the end are zeros.
#[inline]
pub(super) fn word(bytes: &[u8], at: usize) -> u64 {
    let rest = bytes.get(at..).unwrap_or_default();
    if let Some(whole) = rest.first_chunk::<8>() {
        return u64::from_le_bytes(*whole);
    }
    let mut part = [0; 8];
    part.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    u64::from_le_bytes(part)
}

/// Returns how many bytes `count` integers of this width take.
pub(super) fn packed_bytes(count: usize, width: u32) -> usize {
    (count * width as usize).div_ceil(8)
}

/// Calls `visit` with each of the integers in the order they were put, all of the same width.
#[inline]
pub(super) fn unpack<T>(packed: &[u8], width: u32, into: &mut [T], mut visit: impl FnMut(&mut T, u64)) {
    let Some(mask) = u64::MAX.checked_shr(64 - width) else {
        into.iter_mut().for_each(|t| visit(t, 0));
        return;
    };
    let mut at = 0;
    for target in into {
        let (byte, shift) = (at / 8, at % 8);
        let mut value = word(packed, byte) >> shift;
        if shift + width as usize > 64 {
            value |= u64::from(packed.get(byte + 8).copied().unwrap_or(0)) << (64 - shift);
        }
        visit(target, value & mask);
        at += width as usize;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn integers_of_any_width_come_back(width in 0..=64_u32, integers in prop::collection::vec(any::<u64>(), 0..50)) {
            let mask = u64::MAX.checked_shr(64 - width).unwrap_or(0);
            let mut out = ByteWriter::default();
            let mut bits = BitWriter::new(&mut out);
            integers.iter().for_each(|i| bits.put(i & mask, width));
            bits.end();
            prop_assert_eq!(out.len(), packed_bytes(integers.len(), width));
            let mut back = vec![0; integers.len()];
            unpack(out.as_slice(), width, &mut back, |to, value| *to = value);
            prop_assert_eq!(back, integers.iter().map(|i| i & mask).collect::<Vec<_>>());
        }
    }
}
