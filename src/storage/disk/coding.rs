//! Fixed-width little-endian integers and LEB128 varints; a reader that never runs past its bytes.

use super::Malformed;

/// Appends values to bytes.
#[derive(Debug, Default, Clone)]
pub struct ByteWriter {
    bytes: Vec<u8>,
}

impl ByteWriter {
    /// Goes on behind the bytes that are there.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        ByteWriter { bytes }
    }

    /// Returns the bytes so far.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the bytes.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Returns how many bytes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Tells whether there is no byte yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Forgets the bytes, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Appends bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends one byte.
    pub fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    /// Appends 4 bytes, little-endian.
    pub fn u32(&mut self, value: u32) {
        self.raw(&value.to_le_bytes());
    }

    /// Appends 8 bytes, little-endian.
    pub fn u64(&mut self, value: u64) {
        self.raw(&value.to_le_bytes());
    }

    /// Appends 8 bytes, little-endian, two's complement.
    pub fn i64(&mut self, value: i64) {
        self.raw(&value.to_le_bytes());
    }

    /// Appends a LEB128 varint, 1 to 10 bytes.
    pub fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(low_byte(value) | 0x80);
            value >>= 7;
        }
        self.bytes.push(low_byte(value));
    }

    /// Appends a signed varint, small for small magnitudes (zigzag).
    pub fn signed_varint(&mut self, value: i64) {
        self.varint(zigzag(value));
    }

    /// Appends a length as varint, then the bytes.
    pub fn text(&mut self, text: &str) {
        self.varint(text.len() as u64);
        self.raw(text.as_bytes());
    }
}

/// Returns the lowest eight bits.
#[expect(clippy::cast_possible_truncation, reason = "the lowest byte is what is wanted")]
pub(crate) const fn low_byte(value: u64) -> u8 {
    value as u8
}

/// Maps signed to unsigned so that small magnitudes stay small: 0, -1, 1, -2 become 0, 1, 2, 3.
#[expect(clippy::cast_sign_loss, reason = "bits are reordered, none is lost")]
pub(crate) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Undoes [`zigzag`].
pub(crate) const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// Reads values off the front of bytes; each answer is checked against what is left.
#[derive(Debug, Clone)]
pub struct ByteReader<'a> {
    rest: &'a [u8],
    total: usize,
}

impl<'a> ByteReader<'a> {
    /// Starts at the first of these bytes.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        ByteReader { rest: bytes, total: bytes.len() }
    }

    /// Returns how many bytes have been read.
    #[must_use]
    pub fn position(&self) -> usize {
        self.total - self.rest.len()
    }

    /// Returns what is left to read.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Tells whether all has been read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Returns an error at the current position.
    #[must_use]
    pub fn malformed(&self, reason: &'static str) -> Malformed {
        Malformed { offset: self.position(), reason }
    }

    /// Reads so many bytes.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn raw(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or_else(|| self.malformed("too few bytes"))?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.rest.split_first_chunk().ok_or_else(|| self.malformed("too few bytes"))?;
        self.rest = rest;
        Ok(*head)
    }

    /// Reads one byte.
    ///
    /// # Errors
    /// When none is left.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Reads 4 bytes, little-endian.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    /// Reads 8 bytes, little-endian.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    /// Reads 8 bytes, little-endian, two's complement.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn i64(&mut self) -> Result<i64, Malformed> {
        self.array().map(i64::from_le_bytes)
    }

    /// Reads a LEB128 varint.
    ///
    /// # Errors
    /// When it does not end or does not fit 64 bits.
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(self.malformed("varint over 64 bits"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.malformed("varint over 64 bits"))
    }

    /// Reads a signed varint.
    ///
    /// # Errors
    /// As [`ByteReader::varint`].
    pub fn signed_varint(&mut self) -> Result<i64, Malformed> {
        self.varint().map(unzigzag)
    }

    /// Reads a varint that counts or measures what still follows, at least `each_bytes` bytes a piece: so a
    /// damaged count cannot ask for more memory than the input justifies. `each_bytes` of zero checks nothing.
    ///
    /// # Errors
    /// When so much is not left.
    pub fn count(&mut self, each_bytes: usize) -> Result<usize, Malformed> {
        let count = usize::try_from(self.varint()?).map_err(|_| self.malformed("count out of range"))?;
        if count.checked_mul(each_bytes).is_none_or(|bytes| bytes > self.rest.len()) {
            return Err(self.malformed("count larger than what follows"));
        }
        Ok(count)
    }

    /// Reads a length and so many bytes of UTF-8.
    ///
    /// # Errors
    /// When fewer are left or they are not UTF-8.
    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        let length = self.count(1)?;
        std::str::from_utf8(self.raw(length)?).map_err(|_| self.malformed("text is not utf-8"))
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// When something is.
    pub fn end(&self) -> Result<(), Malformed> {
        if self.is_empty() { Ok(()) } else { Err(self.malformed("bytes behind the end")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for value in [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, u64::from(u32::MAX), u64::MAX] {
            let mut w = ByteWriter::default();
            w.varint(value);
            w.signed_varint(value.cast_signed());
            w.u64(value);
            w.text("a");
            let mut r = ByteReader::new(w.as_slice());
            assert_eq!(r.varint(), Ok(value));
            assert_eq!(r.signed_varint(), Ok(value.cast_signed()));
            assert_eq!(r.u64(), Ok(value));
            assert_eq!(r.text(), Ok("a"));
            assert_eq!(r.end(), Ok(()));
        }
    }

    #[test]
    fn small_magnitudes_take_one_byte() {
        for value in [0, -1, 63, -64] {
            let mut w = ByteWriter::default();
            w.signed_varint(value);
            assert_eq!(w.len(), 1, "{value}");
        }
    }

    #[test]
    fn bad_bytes_are_an_error() {
        assert!(ByteReader::new(&[0x80]).varint().is_err());
        assert!(ByteReader::new(&[0xff; 10]).varint().is_err());
        assert!(ByteReader::new(&[0xff; 11]).varint().is_err());
        assert!(ByteReader::new(&[1, 2, 3]).u32().is_err());
        assert!(ByteReader::new(&[5, b'a']).text().is_err());
        assert!(ByteReader::new(&[1, 0xff]).text().is_err());
        assert!(ByteReader::new(&[0xff, 0xff, 0xff, 0x7f]).count(8).is_err());
    }
}
