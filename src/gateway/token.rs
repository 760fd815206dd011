//! Device tokens: 256 random bits, shown once, kept as a hash.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// Begins a token, so that people and scanners for leaked secrets know it.
const PREFIX: &str = "andon_device_";
/// Shortest token that a device may bring along from another system.
pub(super) const BROUGHT_CHARS_MIN: usize = 16;
/// Longest token that is looked at.
pub(super) const CHARS_MAX: usize = 512;

/// The SHA-256 of a token. A token has 256 random bits, so that neither salt nor a slow hash is needed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TokenHash([u8; 32]);

impl TokenHash {
    /// Returns the hash of a token.
    pub(super) fn of(token: &str) -> Self {
        TokenHash(Sha256::digest(token.as_bytes()).into())
    }

    /// Reads 64 hexadecimal digits.
    pub(super) fn parse(hex: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if hex.len() != 64 || !hex.is_ascii() {
            return None;
        }
        for (byte, digits) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(TokenHash(bytes))
    }

    /// Compares in a time that does not depend on where the difference is.
    pub(super) fn is_same(&self, other: &TokenHash) -> bool {
        self.0.iter().zip(&other.0).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(***)")
    }
}

/// Returns a new token.
pub(super) fn generate() -> String {
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_read_back() {
        let hash = TokenHash::of("abc");
        assert_eq!(hash.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(TokenHash::parse(&hash.to_string()).unwrap().is_same(&hash));
        assert!(!hash.is_same(&TokenHash::of("abd")));
        assert_eq!(TokenHash::parse("zz"), None);
        assert_eq!(TokenHash::parse(&"g".repeat(64)), None);
    }

    #[test]
    fn tokens_differ_and_fit() {
        let (one, two) = (generate(), generate());
        assert_ne!(one, two);
        assert!(one.len() >= PREFIX.len() + 43 && one.len() <= CHARS_MAX);
    }
}
