//! TLS of the device's end: whom the client believes, and by which certificate it shows who the device is.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio_tungstenite::Connector;

use super::{Error, Result};

/// Settings of TLS for `wss://`; cheap to clone.
#[derive(Clone)]
pub struct Tls(Arc<ClientConfig>);

impl Tls {
    /// Believes gateways that one of these authorities signed, or that show one of these certificates themselves.
    ///
    /// # Errors
    /// [`Error::Tls`] if the PEM holds no certificate.
    pub fn new(authorities_pem: &[u8]) -> Result<Tls> {
        let builder = believing(authorities_pem)?;
        Ok(Tls(Arc::new(builder.with_no_client_auth())))
    }

    /// Believes as [`Tls::new`] does, and shows this certificate: a gateway that knows it needs no token.
    ///
    /// # Errors
    /// [`Error::Tls`] if a PEM does not hold what it should, or key and certificate are not of each other.
    pub fn with_certificate(authorities_pem: &[u8], certificate_pem: &[u8], key_pem: &[u8]) -> Result<Tls> {
        let chain = certificates(certificate_pem)?;
        let key =
            PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| Error::Tls(format!("private key: {error}")))?;
        let config = believing(authorities_pem)?.with_client_auth_cert(chain, key);
        Ok(Tls(Arc::new(config.map_err(|error| Error::Tls(error.to_string()))?)))
    }

    pub(super) fn connector(&self) -> Connector {
        Connector::Rustls(self.0.clone())
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(***)")
    }
}

type Builder = rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

fn believing(authorities_pem: &[u8]) -> Result<Builder> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(authorities_pem)? {
        roots.add(certificate).map_err(|error| Error::Tls(format!("authority: {error}")))?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Tls(error.to_string()))?;
    Ok(builder.with_root_certificates(roots))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let read: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let read = read.map_err(|error| Error::Tls(format!("certificate: {error}")))?;
    if read.is_empty() { Err(Error::Tls("no certificate in PEM".to_owned())) } else { Ok(read) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_or_not_its_key_is_told() {
        let ca = include_bytes!("../../tests/tls/ca.pem");
        let pem = include_bytes!("../../tests/tls/pinned.pem");
        let key = include_bytes!("../../tests/tls/pinned.key");
        assert!(Tls::new(ca).is_ok() && Tls::with_certificate(ca, pem, key).is_ok());
        for bad in [
            Tls::new(b"nothing"),
            Tls::with_certificate(ca, b"", key),
            Tls::with_certificate(ca, pem, pem),
            Tls::with_certificate(ca, ca, key),
        ] {
            assert!(matches!(bad, Err(Error::Tls(_))), "{bad:?}");
        }
    }
}
