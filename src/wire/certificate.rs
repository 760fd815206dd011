//! What we read of an X.509 certificate: its fingerprint, its names, from when until when it holds.
//!
//! Nothing here says whether a certificate is to be believed; rustls does that. Source: RFC 5280, section 4.

use std::fmt;

use sha2::{Digest, Sha256};

use super::der::{self, IDENTIFIER, INTEGER, OCTET_STRING, SEQUENCE, SET, element};
use crate::model::Timestamp;

/// Names of one certificate that are looked at.
const NAMES_MAX: usize = 64;

/// `subjectAltName` and `commonName`.
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// Tags of the version, of the extensions, and of two kinds of names.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const DNS_NAME: u8 = 0x82;
const URI_NAME: u8 = 0x86;

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Tells it from all others.
    pub fingerprint: Fingerprint,
    /// Its DNS names and URIs; of one that has neither, its common name. May be empty.
    pub names: Vec<String>,
    /// From when it holds.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
}

/// The SHA-256 of a certificate as DER.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Returns the fingerprint of a certificate as DER.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        Fingerprint(Sha256::digest(der).into())
    }

    /// Reads 64 hexadecimal digits, with colons between them or not, after `sha256:` or what `openssl x509
    /// -fingerprint -sha256` writes before them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        let digits = text.strip_prefix("sha256 fingerprint=").or_else(|| text.strip_prefix("sha256:")).unwrap_or(&text);
        let digits: Vec<u8> = digits.bytes().filter(|b| *b != b':').collect();
        let mut bytes = [0; 32];
        if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Fingerprint(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Certificate {
    /// Reads a certificate as DER; nothing if it is none.
    #[must_use]
    pub fn read(der: &[u8]) -> Option<Certificate> {
        let (whole, rest) = element(der, SEQUENCE)?;
        let (signed, _) = element(whole, SEQUENCE)?;
        if !rest.is_empty() {
            return None;
        }
        let after_version = element(signed, VERSION).map_or(signed, |(_, after)| after);
        let (_serial, after) = element(after_version, INTEGER)?;
        let (_algorithm, after) = element(after, SEQUENCE)?;
        let (_issuer, after) = element(after, SEQUENCE)?;
        let (validity, after) = element(after, SEQUENCE)?;
        let (subject, after) = element(after, SEQUENCE)?;
        let (_key, after) = element(after, SEQUENCE)?;
        let mut times = der::each(validity).map(|(tag, text)| time(tag, text));
        let (not_before, not_after) = (times.next()??, times.next()??);
        let mut names = der::each(after).find(|(tag, _)| *tag == EXTENSIONS).map_or_else(Vec::new, alternative_names);
        if names.is_empty() {
            names.extend(common_name(subject));
        }
        Some(Certificate { fingerprint: Fingerprint::of(der), names, not_before, not_after })
    }
}

/// Reads the DNS names and URIs among a certificate's extensions.
fn alternative_names((_, extensions): (u8, &[u8])) -> Vec<String> {
    let Some((list, _)) = element(extensions, SEQUENCE) else { return Vec::new() };
    let is_names = |extension: &[u8]| element(extension, IDENTIFIER).is_some_and(|(id, _)| id == ALTERNATIVE_NAMES);
    let extension = der::each(list).map(|(_, extension)| extension).find(|extension| is_names(extension));
    let content = extension.and_then(|extension| der::each(extension).find(|(tag, _)| *tag == OCTET_STRING));
    let names = content.and_then(|(_, content)| element(content, SEQUENCE)).map(|(names, _)| names);
    let wanted = der::each(names.unwrap_or_default()).filter(|(tag, _)| matches!(*tag, DNS_NAME | URI_NAME));
    wanted.filter_map(|(_, name)| text(name)).take(NAMES_MAX).collect()
}

/// Reads the common name of a subject; the last one, which is the most specific.
fn common_name(subject: &[u8]) -> Option<String> {
    let sets = der::each(subject).filter(|(tag, _)| *tag == SET);
    let parts = sets.flat_map(|(_, set)| der::each(set)).filter(|(tag, _)| *tag == SEQUENCE);
    let names = parts.filter_map(|(_, part)| {
        let (id, value) = element(part, IDENTIFIER)?;
        let (kind, name, _) = der::any(value)?;
        // UTF8String, PrintableString, IA5String.
        (id == COMMON_NAME && matches!(kind, 0x0c | 0x13 | 0x16)).then(|| text(name)).flatten()
    });
    names.last()
}

fn text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    (!text.is_empty() && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

/// Reads `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ`.
fn time(tag: u8, text: &[u8]) -> Option<Timestamp> {
    let digits = text.strip_suffix(b"Z")?;
    let number = |at: usize, length: usize| -> Option<i16> {
        std::str::from_utf8(digits.get(at..at + length)?)
            .ok()
            .filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?
            .parse()
            .ok()
    };
    let (year, at) = match (tag, digits.len()) {
        (0x17, 12) => (number(0, 2).map(|year| if year < 50 { 2000 + year } else { 1900 + year })?, 2),
        (0x18, 14) => (number(0, 4)?, 4),
        _ => return None,
    };
    let part = |n: usize| number(at + 2 * n, 2).and_then(|part| i8::try_from(part).ok());
    let civil = jiff::civil::DateTime::new(year, part(0)?, part(1)?, part(2)?, part(3)?, part(4)?, 0).ok()?;
    let at = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Timestamp::from_millis(at.timestamp().as_millisecond()))
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;

    fn der(pem: &str) -> Vec<u8> {
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
    }

    const PRESS: &str = include_str!("../../tests/tls/press-1.pem");
    const GATE: &str = include_str!("../../tests/tls/gate.pem");
    const PLAIN: &str = include_str!("../../tests/tls/plain.pem");
    const PINNED_OLD: &str = include_str!("../../tests/tls/pinned-old.pem");

    #[track_caller]
    fn check(pem: &str, names: &[&str], not_before: &str, not_after: &str) {
        let read = Certificate::read(&der(pem)).unwrap();
        assert_eq!(read.names, names);
        assert_eq!((read.not_before.to_rfc3339(), read.not_after.to_rfc3339()), (not_before.into(), not_after.into()));
    }

    #[test]
    fn names_are_alternative_names_or_else_the_common_name() {
        let (from, to) = ("2020-01-01T00:00:00.000Z", "2120-01-01T00:00:00.000Z");
        check(PRESS, &["press-1"], from, to);
        check(GATE, &["urn:plant:gate-7", "gate.plant.example"], from, to);
        check(PLAIN, &["press-2"], from, to);
        check(PINNED_OLD, &[], "2000-01-01T00:00:00.000Z", "2001-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_fingerprint_is_read_as_programs_write_it() {
        let fingerprint = Fingerprint::of(b"abc");
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(fingerprint.to_string(), format!("sha256:{hex}"));
        let colons: Vec<String> =
            hex.to_uppercase().as_bytes().chunks(2).map(|p| String::from_utf8_lossy(p).into()).collect();
        for text in [hex.to_owned(), format!("sha256:{hex}"), format!("sha256 Fingerprint={}", colons.join(":"))] {
            assert_eq!(Fingerprint::parse(&text), Some(fingerprint), "{text}");
        }
        for bad in ["", "press-1", &hex[1..], &format!("{hex}0"), &hex.replace('b', "g")] {
            assert_eq!(Fingerprint::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_no_certificate_is_nothing() {
        let whole = der(GATE);
        for end in 0..whole.len() {
            assert_eq!(Certificate::read(&whole[..end]), None, "{end}");
        }
        assert_eq!(Certificate::read(&[whole.as_slice(), &[0]].concat()), None);
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0xff;
            // Whatever it says then: it ends.
            let _ = Certificate::read(&changed);
        }
    }
}
