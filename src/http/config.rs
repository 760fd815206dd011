//! What the listener is set to.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use super::{Error, Result, TlsConfig};

/// Settings of the listener. A change of any of them but TLS needs a restart.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen; 127.0.0.1:26366 by default. Port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Another port, without TLS; none by default. Programs of this machine reach everything there, others only what
    /// devices need.
    pub plain_listen: Option<SocketAddr>,
    /// TLS at [`Config::listen`]; none by default.
    pub tls: Option<TlsConfig>,
    /// Allows an address other than loopback although there are no accounts yet; false by default.
    pub unprotected: bool,
    /// Open connections, at most; 1024 by default. One more is answered 503 and closed.
    pub connections_max: usize,
    /// Bytes of a request's body, at most; 10 MiB by default.
    pub body_bytes_max: usize,
    /// How long a client may take to send the head of a request, idle time before it included; 10 s by default.
    pub header_timeout: Duration,
    /// Whether `/api/v1/admin/tsdb/` deletes series and makes snapshots; false by default.
    pub admin_api: bool,
}

impl Config {
    /// Returns how addresses of pages begin: `http` or `https`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}

/// Reads a listen address: `HOST:PORT`, where the host may be a name such as `localhost`, or empty for all
/// addresses.
///
/// # Errors
/// [`Error::Address`] if there is no port or the host is not known.
pub fn listen_address(text: &str) -> Result<SocketAddr> {
    let full = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    full.to_socket_addrs()
        .ok()
        .and_then(|mut addresses| addresses.next())
        .ok_or_else(|| Error::Address { text: text.to_owned() })
}
