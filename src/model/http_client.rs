//! How this box presents itself to another program over HTTP: the common part of scraping, forwarding and
//! webhooks, field by field as Prometheus documents `http_config`.

use std::path::PathBuf;

use super::Secret;

/// How requests to one other program are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpClient {
    /// Who we are.
    pub authorization: Authorization,
    /// How the other side is believed.
    pub tls: Tls,
    /// `follow_redirects`; default yes, at most 10.
    pub follow_redirects: bool,
    /// `enable_compression` of scrapes: ask for gzip; default yes.
    pub compression: bool,
}

impl HttpClient {
    /// Returns what holds where the settings say nothing.
    #[must_use]
    pub fn plain() -> Self {
        HttpClient {
            authorization: Authorization::None,
            tls: Tls::default(),
            follow_redirects: true,
            compression: true,
        }
    }
}

/// Who we are to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authorization {
    /// Nobody.
    None,
    /// `basic_auth`.
    Basic {
        /// User name.
        username: String,
        /// Password.
        password: Secret,
    },
    /// `basic_auth` with `password_file`: read at each request, so that a new one counts at once.
    BasicFile {
        /// User name.
        username: String,
        /// Where the password is.
        password_file: PathBuf,
    },
    /// `authorization` or `bearer_token`: type and credentials.
    Token {
        /// `Bearer` by default.
        kind: String,
        /// The credentials.
        credentials: Secret,
    },
    /// `authorization` with `credentials_file` or `bearer_token_file`: read at each request.
    TokenFile {
        /// `Bearer` by default.
        kind: String,
        /// Where the credentials are.
        credentials_file: PathBuf,
    },
}

/// `tls_config`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// Certificates to believe instead of the machine's, PEM.
    pub ca_file: Option<PathBuf>,
    /// Own certificate, PEM; with `key_file`.
    pub cert_file: Option<PathBuf>,
    /// Own key, PEM.
    pub key_file: Option<PathBuf>,
    /// Believe any certificate.
    pub insecure_skip_verify: bool,
}
