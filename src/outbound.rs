//! Requests to other programs over HTTP: a client made from settings, with the identity they name.
//!
//! Scraping, forwarding and webhooks present themselves alike. Secrets that are kept in files are read at
//! each request, so that a new one counts at once.

use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Certificate, Client, Identity, Method, RequestBuilder, redirect};

use crate::model::{Authorization, HttpClient};

/// Redirects that are followed, at most; as Go's client, and so Prometheus, has it.
const REDIRECTS_MAX: usize = 10;

/// Largest file with a secret, a certificate or a key.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Result of making a client or a request.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a client or a request could not be made; nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file with a secret, a certificate or a key cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is there but does not hold what it should.
    #[error("{path} does not hold {expected}")]
    Content {
        /// Which.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// The library refuses the settings.
    #[error("cannot make a client: {0}")]
    Client(#[from] reqwest::Error),
}

/// A client with its identity; cheap to clone, keeps connections open.
#[derive(Debug, Clone)]
pub struct Outbound {
    client: Client,
    authorization: Authorization,
}

impl Outbound {
    /// Makes a client. `timeout` covers a whole request, from connecting to the last byte of the answer.
    ///
    /// # Errors
    /// When a file of `tls_config` cannot be read or does not hold PEM.
    pub fn new(settings: &HttpClient, timeout: Duration) -> Result<Self> {
        install_provider();
        let redirects =
            if settings.follow_redirects { redirect::Policy::limited(REDIRECTS_MAX) } else { redirect::Policy::none() };
        let mut builder = Client::builder()
            .user_agent(concat!("andon/", env!("CARGO_PKG_VERSION")))
            .timeout(timeout)
            .redirect(redirects)
            .gzip(settings.compression)
            .pool_max_idle_per_host(2);
        let tls = &settings.tls;
        if let Some(path) = &tls.ca_file {
            let certificates = Certificate::from_pem_bundle(&read(path)?).unwrap_or_default();
            if certificates.is_empty() {
                return Err(Error::Content { path: path.clone(), expected: "certificates in PEM" });
            }
            builder = builder.tls_certs_only(certificates);
        }
        if let (Some(certificate), Some(key)) = (&tls.cert_file, &tls.key_file) {
            let mut pem = read(certificate)?;
            pem.push(b'\n');
            pem.extend(read(key)?);
            let expected = "a certificate and, in its key file, the key for it in PEM";
            let identity =
                Identity::from_pem(&pem).map_err(|_| Error::Content { path: certificate.clone(), expected })?;
            builder = builder.identity(identity);
        }
        if tls.insecure_skip_verify {
            builder = builder.tls_danger_accept_invalid_certs(true);
        }
        Ok(Outbound { client: builder.build()?, authorization: settings.authorization.clone() })
    }

    /// Begins a request, with the header that says who we are.
    ///
    /// # Errors
    /// When the file of a secret cannot be read.
    pub fn request(&self, method: Method, url: &str) -> Result<RequestBuilder> {
        let request = self.client.request(method, url);
        Ok(match &self.authorization {
            Authorization::None => request,
            Authorization::Basic { username, password } => request.basic_auth(username, Some(password.expose())),
            Authorization::BasicFile { username, password_file } => {
                request.basic_auth(username, Some(read_secret(password_file)?))
            }
            Authorization::Token { kind, credentials } => with_token(request, kind, credentials.expose()),
            Authorization::TokenFile { kind, credentials_file } => {
                with_token(request, kind, &read_secret(credentials_file)?)
            }
        })
    }
}

fn with_token(request: RequestBuilder, kind: &str, credentials: &str) -> RequestBuilder {
    match HeaderValue::from_str(&format!("{kind} {credentials}")) {
        Ok(mut value) => {
            value.set_sensitive(true);
            request.header(AUTHORIZATION, value)
        }
        // The credentials do not fit into a header. This does not either, so that the request fails without showing them.
        Err(_) => request.header(AUTHORIZATION, "\n"),
    }
}

/// Reads a secret's file; spaces and line ends around it are not part of it.
fn read_secret(path: &Path) -> Result<String> {
    let text = String::from_utf8(read(path)?);
    let text = text.map_err(|_| Error::Content { path: path.to_owned(), expected: "text" })?;
    Ok(text.trim().to_owned())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    use std::io::Read;

    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes))
        .map_err(|source| Error::File { path: path.to_owned(), source })?;
    Ok(bytes)
}

/// Names the cryptography that TLS uses in this process, once.
fn install_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Fails only if somebody named one before; then that one is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Secret, Tls};

    #[track_caller]
    fn header(authorization: Authorization) -> String {
        let outbound =
            Outbound::new(&HttpClient { authorization, ..HttpClient::plain() }, Duration::from_secs(1)).unwrap();
        let request = outbound.request(Method::GET, "http://127.0.0.1:1/").unwrap().build().unwrap();
        request.headers().get(AUTHORIZATION).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default()
    }

    #[test]
    fn the_identity_goes_into_the_header() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        std::fs::write(&file, "  s3cret\n").unwrap();
        let secret = Secret::new("s3cret");
        assert_eq!(header(Authorization::None), "");
        let basic = header(Authorization::Basic { username: "box".into(), password: secret.clone() });
        assert_eq!(basic, "Basic Ym94OnMzY3JldA==");
        let from_file = Authorization::BasicFile { username: "box".into(), password_file: file.clone() };
        assert_eq!(header(from_file), basic);
        let token = header(Authorization::Token { kind: "Bearer".into(), credentials: secret });
        assert_eq!(token, "Bearer s3cret");
        let from_file = Authorization::TokenFile { kind: "Bearer".into(), credentials_file: file };
        assert_eq!(header(from_file), token);
    }

    #[test]
    fn a_file_that_is_missing_or_wrong_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let with_ca = |path: PathBuf| {
            let tls = Tls { ca_file: Some(path), ..Tls::default() };
            Outbound::new(&HttpClient { tls, ..HttpClient::plain() }, Duration::from_secs(1)).unwrap_err().to_string()
        };
        assert!(with_ca(dir.path().join("none")).starts_with("cannot read "));
        let wrong = dir.path().join("wrong.pem");
        std::fs::write(&wrong, "not PEM").unwrap();
        assert!(with_ca(wrong).ends_with("wrong.pem does not hold certificates in PEM"));
    }
}
