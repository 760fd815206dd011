//! Certificates of devices: by what one is known, and whose it is.
//!
//! A fingerprint is that of one certificate, whoever signed it. A name counts only in a certificate that an authority
//! of the settings signed; without an entry it is the device's own id.

use std::pin::Pin;

use futures_util::Stream;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::error::{Error, Result};
use crate::wire::{Certificate, Fingerprint};

/// Longest name of a certificate that is kept.
const NAME_CHARS_MAX: usize = 255;
/// Certificates that one device may have.
pub(super) const CERTIFICATES_MAX: usize = 8;

/// A certificate that somebody showed in a TLS handshake, with the key for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// What it says.
    pub certificate: Certificate,
    /// Whether an authority of the settings signed it; otherwise whoever made it could put any name into it.
    pub is_verified: bool,
}

/// What a TLS handshake would come to now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// It would fail.
    Refused,
    /// It would succeed and show this; nothing: no certificate.
    Taken(Option<ClientCertificate>),
}

/// How the handshake of an open connection is judged, each time when the rules for certificates have changed; it has no
/// end.
pub type Judgements = Pin<Box<dyn Stream<Item = Judgement> + Send>>;

impl ClientCertificate {
    /// Returns by what it may be known in the registry, the fingerprint first.
    pub(super) fn marks(&self) -> impl Iterator<Item = String> + '_ {
        let names = self.certificate.names.iter().filter(|_| self.is_verified);
        std::iter::once(self.certificate.fingerprint.to_string()).chain(names.map(|name| name.to_ascii_lowercase()))
    }

    /// Returns the names that may be a device's id.
    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        self.certificate.names.iter().filter(|_| self.is_verified).map(String::as_str)
    }
}

/// Reads by what a certificate is to be known, as the registry keeps it: a fingerprint, a name, or a whole certificate
/// in PEM, of which the fingerprint is taken.
///
/// # Errors
/// [`Error::Invalid`].
pub fn certificate_mark(text: &str) -> Result<String> {
    let text = text.trim();
    let invalid = |reason: &str| Err(Error::Invalid { field: "certificate", reason: reason.to_owned() });
    if text.contains("-----BEGIN") {
        let der = CertificateDer::from_pem_slice(text.as_bytes()).ok();
        return match der.filter(|der| Certificate::read(der).is_some()) {
            Some(der) => Ok(Fingerprint::of(&der).to_string()),
            None => invalid("holds no certificate in PEM (BEGIN CERTIFICATE)"),
        };
    }
    if let Some(fingerprint) = Fingerprint::parse(text) {
        return Ok(fingerprint.to_string());
    }
    let is_name = (1..=NAME_CHARS_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    if !is_name || text.to_ascii_lowercase().starts_with("sha256") {
        return invalid("needs a SHA-256 fingerprint (64 hexadecimal digits), a name of up to 255 characters, or PEM");
    }
    Ok(text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_known_by_fingerprint_name_or_itself() {
        let pem = include_str!("../../tests/tls/pinned.pem");
        let mark = certificate_mark(pem).unwrap();
        assert_eq!(certificate_mark(&mark).unwrap(), mark);
        assert_eq!(certificate_mark(&mark.trim_start_matches("sha256:").to_uppercase()).unwrap(), mark);
        assert_eq!(certificate_mark(" Gate.plant.example ").unwrap(), "gate.plant.example");
        assert_eq!(certificate_mark("urn:plant:gate-7").unwrap(), "urn:plant:gate-7");
        for bad in
            ["", "two words", "sha256:12", "SHA256 Fingerprint=AB", "-----BEGIN CERTIFICATE-----", &"x".repeat(256)]
        {
            assert!(certificate_mark(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_count_only_in_what_an_authority_signed() {
        let pem = include_str!("../../tests/tls/gate.pem");
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let certificate = Certificate::read(&der).unwrap();
        let shown = ClientCertificate { certificate, is_verified: false };
        assert_eq!((shown.marks().count(), shown.ids().count()), (1, 0));
        let shown = ClientCertificate { is_verified: true, ..shown };
        assert_eq!((shown.marks().count(), shown.ids().count()), (3, 2));
    }
}
