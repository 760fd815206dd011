//! The wrapping of public keys.

use crate::wire::der::{BIT_STRING, IDENTIFIER, SEQUENCE, element};

/// Object identifiers of the kinds of keys, without their head.
pub(super) const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
pub(super) const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
pub(super) const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
pub(super) const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// A `SubjectPublicKeyInfo` (RFC 5280, section 4.1) in its parts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PublicKeyInfo<'a> {
    /// Which algorithm.
    pub(super) algorithm: &'a [u8],
    /// Which curve, if that is told by a name.
    pub(super) curve: Option<&'a [u8]>,
    /// The key, in its algorithm's own form.
    pub(super) key: &'a [u8],
}

/// Reads a public key's wrapping; nothing if it is none, or something follows it.
pub(super) fn public_key_info(bytes: &[u8]) -> Option<PublicKeyInfo<'_>> {
    let (whole, rest) = element(bytes, SEQUENCE)?;
    let (kind, after) = element(whole, SEQUENCE)?;
    let (algorithm, parameters) = element(kind, IDENTIFIER)?;
    let (bits, end) = element(after, BIT_STRING)?;
    // The first byte counts the bits that are not used.
    let (0, key) = bits.split_first().map(|(unused, key)| (*unused, key))? else { return None };
    let curve = element(parameters, IDENTIFIER).map(|(curve, _)| curve);
    (rest.is_empty() && end.is_empty()).then_some(PublicKeyInfo { algorithm, curve, key })
}
