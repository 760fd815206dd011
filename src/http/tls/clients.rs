//! Which certificates of clients are taken.
//!
//! That the client holds the key is always checked, and that the certificate holds now. Whether an authority of ours
//! signed it is asked where the settings say so; without that only its fingerprint tells who it is.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::{ClientAuth, unix_time};
use crate::clock::Clock;
use crate::gateway::{ClientCertificate, Judgement};
use crate::wire::Certificate;

/// Checks whether an authority of ours signed a certificate.
pub(super) type Chain = Arc<dyn ClientCertVerifier>;

/// Decides about the certificates of clients.
#[derive(Debug)]
pub(super) struct Clients {
    auth: ClientAuth,
    chain: Option<Chain>,
    allowed_names: Vec<String>,
    algorithms: WebPkiSupportedAlgorithms,
    /// Nothing until it is served with.
    clock: Option<Clock>,
}

impl Clients {
    pub(super) fn new(
        auth: ClientAuth,
        chain: Option<Chain>,
        allowed_names: Vec<String>,
        provider: &CryptoProvider,
    ) -> Self {
        let algorithms = provider.signature_verification_algorithms;
        Clients { auth, chain, allowed_names, algorithms, clock: None }
    }

    pub(super) fn with(self, clock: Clock) -> Self {
        Clients { clock: Some(clock), ..self }
    }

    /// Returns what a chain says that a handshake took; nothing if it is empty.
    pub(super) fn shown(&self, chain: &[CertificateDer<'_>]) -> Option<ClientCertificate> {
        let (first, rest) = chain.split_first()?;
        let certificate = Certificate::read(first)?;
        // Where it is demanded, the handshake would have failed.
        let is_verified = self.auth.verifies() || self.is_signed(first, rest, self.now(&certificate)).is_ok();
        Some(ClientCertificate { certificate, is_verified })
    }

    /// Tells what a handshake with this chain would come to now. Cost: a signature for each of its certificates.
    pub(super) fn judge(&self, chain: &[CertificateDer<'_>]) -> Judgement {
        let is_taken = match chain.split_first() {
            Some((first, rest)) => self.verify_client_cert(first, rest, UnixTime::now()).is_ok(),
            None => !self.client_auth_mandatory(),
        };
        if is_taken { Judgement::Taken(self.shown(chain)) } else { Judgement::Refused }
    }

    fn is_signed(&self, first: &CertificateDer<'_>, rest: &[CertificateDer<'_>], now_ms: i64) -> Result<(), Error> {
        let chain = self.chain.as_ref().ok_or(CertificateError::UnknownIssuer)?;
        chain.verify_client_cert(first, rest, unix_time(now_ms)).map(|_| ())
    }

    /// Returns the time by which a certificate is judged. While the box does not believe its clock, one that seems to
    /// begin later is taken.
    fn now(&self, certificate: &Certificate) -> i64 {
        let begins = certificate.not_before.as_millis();
        match &self.clock {
            Some(clock) if clock.is_trusted() => clock.now().as_millis(),
            Some(clock) => clock.now().as_millis().max(begins),
            None => begins,
        }
    }
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        self.auth.requires()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // A client that is told of authorities keeps back a certificate that none of them signed.
        match &self.chain {
            Some(chain) if self.auth.verifies() => chain.root_hint_subjects(),
            _ => &[],
        }
    }

    fn verify_client_cert(
        &self,
        first: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let certificate = Certificate::read(first).ok_or(CertificateError::BadEncoding)?;
        let now = self.now(&certificate);
        if now > certificate.not_after.as_millis() {
            return Err(CertificateError::Expired.into());
        }
        if now < certificate.not_before.as_millis() {
            return Err(CertificateError::NotValidYet.into());
        }
        if self.auth.verifies() {
            self.is_signed(first, rest, now)?;
        }
        let is_allowed = |name: &String| self.allowed_names.iter().any(|allowed| allowed.eq_ignore_ascii_case(name));
        if !self.allowed_names.is_empty() && !certificate.names.iter().any(is_allowed) {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
