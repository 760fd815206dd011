//! Bits one after the other, the lowest first; codes of Rice's kind for small numbers.

use crate::storage::disk::Malformed;

/// A number with so many leading zeros in its code is not coded that way, see [`BitWriter::rice`].
pub(super) const UNARY_MAX: u32 = 16;

/// Appends bits to bytes.
#[derive(Debug, Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    pending: u64,
    /// How many bits of `pending` count, below 32.
    count: u32,
}

impl BitWriter {
    /// Forgets everything, keeps the memory.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        (self.pending, self.count) = (0, 0);
    }

    /// Appends up to 32 bits; those of `value` above must be zero.
    #[inline]
    pub(super) fn put(&mut self, value: u64, bits: u32) {
        self.pending |= value << self.count;
        self.count += bits;
        if self.count >= 32 {
            #[expect(clippy::cast_possible_truncation, reason = "the lowest 32 bits are what is wanted")]
            self.bytes.extend_from_slice(&(self.pending as u32).to_le_bytes());
            self.pending >>= 32;
            self.count -= 32;
        }
    }

    /// Appends up to 64 bits.
    #[inline]
    pub(super) fn put_wide(&mut self, value: u64, bits: u32) {
        if bits <= 32 {
            return self.put(value, bits);
        }
        self.put(value & 0xffff_ffff, 32);
        self.put(value >> 32, bits - 32);
    }

    /// Appends `value` in the code with parameter `k` (at most 62): its part above `k` bits as so many zeros
    /// and a one, then the lowest `k` bits. Returns `false`, and appends nothing, if that were
    /// [`UNARY_MAX`] zeros or more.
    #[inline]
    pub(super) fn rice(&mut self, value: u64, k: u32) -> bool {
        let zeros = value >> k;
        if zeros >= u64::from(UNARY_MAX) {
            return false;
        }
        #[expect(clippy::cast_possible_truncation, reason = "below UNARY_MAX")]
        let zeros = zeros as u32;
        let low = value & ((1 << k) - 1);
        if zeros + 1 + k <= 32 {
            self.put((1 << zeros) | (low << (zeros + 1)), zeros + 1 + k);
        } else {
            self.put(1 << zeros, zeros + 1);
            self.put_wide(low, k);
        }
        true
    }

    /// Appends what [`BitReader::rice`] returns as `None`.
    pub(super) fn escape(&mut self) {
        self.put(0, UNARY_MAX);
    }

    /// Ends with zeros up to a whole byte; returns the bytes.
    pub(super) fn finish(&mut self) -> &[u8] {
        while self.count > 0 {
            self.bytes.push(crate::storage::disk::low_byte(self.pending));
            self.pending >>= 8;
            self.count = self.count.saturating_sub(8);
        }
        self.pending = 0;
        &self.bytes
    }
}

/// Reads bits off the front of bytes.
#[derive(Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
    pending: u64,
    count: u32,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        BitReader { bytes, at: 0, pending: 0, count: 0 }
    }

    /// Makes at least 56 bits pending, or all there are.
    #[inline]
    fn fill(&mut self) {
        if let Some(word) = self.bytes.get(self.at..self.at + 8).and_then(|w| <[u8; 8]>::try_from(w).ok()) {
            self.pending |= u64::from_le_bytes(word) << self.count;
            let taken = (63 - self.count) / 8;
            self.at += taken as usize;
            self.count += taken * 8;
            return;
        }
        while self.count <= 56 {
            let Some(byte) = self.bytes.get(self.at) else { return };
            self.pending |= u64::from(*byte) << self.count;
            self.at += 1;
            self.count += 8;
        }
    }

    /// Takes up to 32 bits.
    #[inline]
    pub(super) fn take(&mut self, bits: u32) -> Result<u64, Malformed> {
        if self.count < bits {
            self.fill();
            if self.count < bits {
                return Err(Malformed { offset: self.at, reason: "too few bits" });
            }
        }
        let value = self.pending & ((1 << bits) - 1);
        self.pending >>= bits;
        self.count -= bits;
        Ok(value)
    }

    /// Takes up to 64 bits.
    #[inline]
    pub(super) fn take_wide(&mut self, bits: u32) -> Result<u64, Malformed> {
        if bits <= 32 {
            return self.take(bits);
        }
        let low = self.take(32)?;
        Ok(low | (self.take(bits - 32)? << 32))
    }

    /// Takes a number in the code with parameter `k`; `None` for an escape.
    #[inline]
    pub(super) fn rice(&mut self, k: u32) -> Result<Option<u64>, Malformed> {
        if self.count < 32 {
            self.fill();
        }
        let zeros = self.pending.trailing_zeros().min(UNARY_MAX);
        if zeros == UNARY_MAX {
            self.take(UNARY_MAX)?;
            return Ok(None);
        }
        self.take(zeros + 1)?;
        Ok(Some((u64::from(zeros) << k) | self.take_wide(k)?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(codes in prop::collection::vec((any::<u64>(), 0..63_u32, any::<bool>()), 0..100)) {
            let mut writer = BitWriter::default();
            let cut = |value: u64, k: u32| value & ((1 << k) - 1);
            for (value, k, is_rice) in &codes {
                match is_rice {
                    true if writer.rice(*value >> (60 - k.min(&60)), *k) => {}
                    true => writer.escape(),
                    false => writer.put_wide(cut(*value, *k), *k),
                }
            }
            let bytes = writer.finish().to_vec();
            let mut reader = BitReader::new(&bytes);
            for (value, k, is_rice) in &codes {
                if *is_rice {
                    let value = *value >> (60 - k.min(&60));
                    let expected = (value >> k < u64::from(UNARY_MAX)).then_some(value);
                    prop_assert_eq!(reader.rice(*k).unwrap(), expected);
                } else {
                    prop_assert_eq!(reader.take_wide(*k).unwrap(), cut(*value, *k));
                }
            }
            prop_assert!(reader.take(8).is_err());
        }
    }
}
