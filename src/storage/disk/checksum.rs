//! CRC-32C, the one checksum of all formats.

/// Returns the checksum of some bytes.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    ::crc32c::crc32c(bytes)
}

/// Returns the checksum of several pieces as if they were one.
#[must_use]
pub fn crc32c_of(pieces: &[&[u8]]) -> u32 {
    pieces.iter().fold(0, |sum, piece| ::crc32c::crc32c_append(sum, piece))
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
    }
}
