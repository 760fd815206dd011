//! CRC-32C, the one checksum of all formats.

/// What a reading of stored bytes, for their checksums' sake, came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checked {
    /// Bytes read.
    pub bytes: u64,
    /// Places that did not check out and were not known before; they have been reported.
    pub findings: u64,
}

/// Returns the checksum of some bytes.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc32c_of(&[bytes])
}

/// Returns the checksum of several pieces as if they were one.
#[must_use]
pub fn crc32c_of(pieces: &[&[u8]]) -> u32 {
    if cfg!(fuzzing) {
        // What does not check out is never decoded: a fuzzer would not come past this.
        return 0;
    }
    pieces.iter().fold(0, |sum, piece| ::crc32c::crc32c_append(sum, piece))
}

/// Returns the checksum of what `checksum` is of, followed by some bytes; it is 0 of nothing.
#[must_use]
pub fn crc32c_append(checksum: u32, bytes: &[u8]) -> u32 {
    ::crc32c::crc32c_append(checksum, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_polynomial_is_castagnolis() {
        // Source: RFC 3720, B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c_of(&[b"1234", b"", b"56789"]), 0xe306_9283);
        assert_eq!(crc32c_append(crc32c_append(0, b"1234"), b"56789"), 0xe306_9283);
    }
}
