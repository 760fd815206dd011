//! As much of DER as keys and certificates are wrapped in.

/// Tags of elements.
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const IDENTIFIER: u8 = 0x06;

/// Reads one element of this tag; returns its content and what follows.
pub(crate) fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = any(bytes)?;
    (found == tag).then_some((content, rest))
}

/// Reads one element; returns its tag, its content and what follows.
pub(crate) fn any(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, bytes) = bytes.split_first()?;
    let (first, bytes) = bytes.split_first()?;
    let (length, bytes) = match usize::from(*first) {
        length @ 0..=0x7f => (length, bytes),
        // Longer than 16 MiB is nothing that we read.
        more @ (0x81..=0x83) => {
            let (digits, bytes) = bytes.split_at_checked(more - 0x80)?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), bytes)
        }
        _ => return None,
    };
    let (content, rest) = bytes.split_at_checked(length)?;
    Some((*tag, content, rest))
}

/// Returns the elements that stand one after the other, up to the first that cannot be read.
pub(crate) fn each(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (tag, content, rest) = any(bytes)?;
        bytes = rest;
        Some((tag, content))
    })
}
