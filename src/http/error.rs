//! What can go wrong at the listener.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Result of setting up the listener.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the box cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not an address.
    #[error("not a listen address: {text:?} (expected HOST:PORT, for example 127.0.0.1:26366)")]
    Address {
        /// The text.
        text: String,
    },
    /// Without accounts everybody who reaches the port may do everything.
    #[error(
        "refusing to listen on {address}: this version has no accounts, so whoever reaches the port may read and \
         acknowledge everything; listen on 127.0.0.1, or set http.unprotected: true if the network is trusted"
    )]
    Unprotected {
        /// The address asked for.
        address: SocketAddr,
    },
    /// Somebody else has the port.
    #[error("cannot listen on {address}: the port is taken by another program")]
    PortTaken {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The system refuses otherwise.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file of `tls_server_config` cannot be used.
    #[error("{}: {reason}", path.display())]
    TlsFile {
        /// Which.
        path: PathBuf,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// The library refuses the settings.
    #[error("TLS cannot be set up: {0}")]
    Tls(rustls::Error),
}
