//! TLS at the listener: the box's certificate, what it asks of clients, and both kept up to date.
//!
//! [`Material::read`] reads and checks the files that the settings name; [`Tls`] is what handshakes use. `keeper.rs`
//! reads the files again when they change: new connections see the new certificate, open ones whose client would not
//! get in any more end (`standing.rs`), the others go on, and a file that is wrong changes nothing. `clients.rs` says
//! which certificates of clients are taken. Cryptography is `ring`'s, as everywhere in this process; nothing is resumed, so that each handshake is checked whole.

mod clients;
mod keeper;
mod standing;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use rustls::server::{NoServerSessionStorage, ServerConfig, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::{RootCertStore, SupportedProtocolVersion};

use self::clients::Clients;
use super::{Error, Result};
use crate::clock::Clock;
use crate::gateway::ClientCertificate;
use crate::wire::Certificate;

pub(super) use keeper::{Keeper, load};
pub(super) use standing::Standing;

/// Largest file with certificates or a key.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Settings of TLS: `tls_server_config` as Prometheus has it. A reload is enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// The box's certificate and those between it and the authority, PEM.
    pub cert_file: PathBuf,
    /// Its key, PEM.
    pub key_file: PathBuf,
    /// Authorities whose certificates clients may show, PEM.
    pub client_ca_file: Option<PathBuf>,
    /// Certificates of theirs that do not count any more, PEM.
    pub client_crl_file: Option<PathBuf>,
    /// What is asked of clients.
    pub client_auth: ClientAuth,
    /// Names of which a client's certificate must have one; empty: any will do.
    pub client_allowed_sans: Vec<String>,
    /// Versions that are spoken.
    pub versions: Versions,
}

/// What is asked of clients: `client_auth_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// `NoClientCert`, the default: nothing.
    None,
    /// `RequestClientCert`: a certificate, whoever signed it; it may be missing.
    Request,
    /// `RequireAnyClientCert`: a certificate, whoever signed it.
    RequireAny,
    /// `VerifyClientCertIfGiven`: a certificate of `client_ca_file`; it may be missing.
    VerifyIfGiven,
    /// `RequireAndVerifyClientCert`: a certificate of `client_ca_file`.
    RequireAndVerify,
}

/// Versions of TLS that are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    /// 1.2 and 1.3.
    Both,
    /// 1.2.
    Only12,
    /// 1.3.
    Only13,
}

impl ClientAuth {
    /// All types by the names they have in settings.
    pub const ALL: [(&'static str, ClientAuth); 6] = [
        ("NoClientCert", ClientAuth::None),
        ("RequestClientCert", ClientAuth::Request),
        ("RequireAnyClientCert", ClientAuth::RequireAny),
        // Upstream's older name.
        ("RequireClientCert", ClientAuth::RequireAny),
        ("VerifyClientCertIfGiven", ClientAuth::VerifyIfGiven),
        ("RequireAndVerifyClientCert", ClientAuth::RequireAndVerify),
    ];

    /// Tells whether a certificate must be of `client_ca_file`.
    #[must_use]
    pub fn verifies(self) -> bool {
        matches!(self, ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify)
    }

    fn requires(self) -> bool {
        matches!(self, ClientAuth::RequireAny | ClientAuth::RequireAndVerify)
    }
}

/// What handshakes use; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Tls {
    pub(super) server: Arc<ServerConfig>,
    clients: Option<Arc<Clients>>,
    pub(super) own: Certificate,
}

/// Certificates and key as read from the files, checked as far as that goes without the time.
#[derive(Debug)]
pub struct Material {
    own: Certificate,
    key: CertifiedKey,
    clients: Option<Clients>,
    versions: Versions,
}

impl Material {
    /// Reads the files. Blocks.
    ///
    /// # Errors
    /// [`Error::TlsFile`], which names the file, what is wrong with it and what would be right.
    pub fn read(config: &TlsConfig) -> Result<Material> {
        let provider = Arc::new(ring::default_provider());
        let chain = certificates(&config.cert_file)?;
        let path = &config.cert_file;
        let own = chain.first().and_then(|first| Certificate::read(first));
        let own = own.ok_or_else(|| wrong(path, "its first certificate cannot be read"))?;
        let bytes = read(&config.key_file)?;
        let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
            wrong(&config.key_file, "it holds no private key in PEM without a password (BEGIN PRIVATE KEY)")
        })?;
        let key = provider.key_provider.load_private_key(key).map_err(|_| {
            wrong(
                &config.key_file,
                "its key is of no kind that is spoken: RSA from 2048 bits, ECDSA P-256 or P-384, Ed25519",
            )
        })?;
        let key = CertifiedKey::new(chain, key);
        key.keys_match().map_err(|_| {
            let reason = format!("it is not the key of the first certificate in {}", config.cert_file.display());
            Error::TlsFile { path: config.key_file.clone(), reason }
        })?;
        let clients = match config.client_auth {
            ClientAuth::None => None,
            ClientAuth::Request | ClientAuth::RequireAny | ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify => {
                let chain =
                    config.client_ca_file.as_deref().map(|ca| authorities(ca, config, &provider)).transpose()?;
                Some(Clients::new(config.client_auth, chain, config.client_allowed_sans.clone(), &provider))
            }
        };
        Ok(Material { own, key, clients, versions: config.versions })
    }

    /// Returns what handshakes use.
    pub(super) fn serve(self, clock: &Clock) -> Result<Tls> {
        let versions: &[&SupportedProtocolVersion] = match self.versions {
            Versions::Both => &[&rustls::version::TLS13, &rustls::version::TLS12],
            Versions::Only12 => &[&rustls::version::TLS12],
            Versions::Only13 => &[&rustls::version::TLS13],
        };
        let clients = self.clients.map(|clients| Arc::new(clients.with(clock.clone())));
        let time = Arc::new(BoxTime(clock.clone()));
        let builder = ServerConfig::builder_with_details(Arc::new(ring::default_provider()), time)
            .with_protocol_versions(versions)
            .map_err(Error::Tls)?;
        let builder = match &clients {
            Some(clients) => builder.with_client_cert_verifier(clients.clone()),
            None => builder.with_no_client_auth(),
        };
        let mut server = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(self.key)));
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(Tls { server: Arc::new(server), clients, own: self.own })
    }
}

impl Tls {
    /// Returns what a client has shown; nothing if it showed no certificate, or none was asked for.
    pub(super) fn shown(&self, chain: &[CertificateDer<'_>]) -> Option<ClientCertificate> {
        self.clients.as_ref()?.shown(chain)
    }
}

/// The box's time, for rustls.
#[derive(Debug)]
struct BoxTime(Clock);

impl TimeProvider for BoxTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(self.0.now().as_millis()))
    }
}

/// Returns a time as rustls has it; the epoch for times before it.
fn unix_time(millis: i64) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_millis(u64::try_from(millis).unwrap_or(0)))
}

/// Reads the authorities of clients.
fn authorities(path: &Path, config: &TlsConfig, provider: &Arc<CryptoProvider>) -> Result<clients::Chain> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|_| wrong(path, "one of its certificates is no authority's"))?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    if let Some(path) = &config.client_crl_file {
        let bytes = read(path)?;
        let lists = CertificateRevocationListDer::pem_slice_iter(&bytes).collect::<std::result::Result<Vec<_>, _>>();
        let lists = lists.ok().filter(|lists| !lists.is_empty());
        let lists = lists.ok_or_else(|| wrong(path, "it holds no revocation list in PEM (BEGIN X509 CRL)"))?;
        builder = builder.with_crls(lists).allow_unknown_revocation_status();
    }
    let file = config.client_crl_file.as_deref().unwrap_or(path);
    builder.build().map_err(|error| Error::TlsFile { path: file.to_owned(), reason: error.to_string() })
}

/// Reads all certificates of a file; at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let bytes = read(path)?;
    let all = CertificateDer::pem_slice_iter(&bytes).collect::<std::result::Result<Vec<_>, _>>();
    let all = all.ok().filter(|all| !all.is_empty());
    all.ok_or_else(|| wrong(path, "it holds no certificate in PEM (BEGIN CERTIFICATE)"))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(bytes),
        Err(error) => {
            let reason = match error.kind() {
                std::io::ErrorKind::PermissionDenied => format!(
                    "{error}; let the user that Andon runs as read it: chgrp andon {0} && chmod 640 {0}",
                    path.display()
                ),
                _ => error.to_string(),
            };
            Err(Error::TlsFile { path: path.to_owned(), reason })
        }
    }
}

fn wrong(path: &Path, reason: &str) -> Error {
    Error::TlsFile { path: path.to_owned(), reason: reason.to_owned() }
}
