//! What the bus needs to know.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of the bus, resolved. A change needs a restart.
#[derive(Debug, Clone)]
pub struct Config {
    /// The name under which this box marks what it publishes; unique among the boxes of one NATS system.
    /// Default: the host name.
    pub box_id: String,
    /// The NATS system to join; nothing means that the bus stays inside the process.
    pub nats: Option<NatsConfig>,
    /// Messages that may wait for one subscriber. Default 256, at least 1.
    pub queue_messages_max: usize,
    /// Bytes that may wait for one subscriber. Default 10 MiB; should be above the gateway's message size.
    pub queue_bytes_max: usize,
}

/// How to reach NATS.
#[derive(Debug, Clone)]
pub struct NatsConfig {
    /// URLs, tried in turn: `nats://host:4222`, `tls://host:4222`; at least one.
    pub servers: Vec<String>,
    /// How this box shows who it is. Default: not at all.
    pub credentials: Credentials,
    /// The name that NATS shows for this connection. Default `andon`.
    pub client_name: String,
    /// How long one attempt to connect may take. Default 10 s.
    pub connect_timeout: Duration,
    /// How long a publish may wait for room in the connection's queue. Default 250 ms.
    pub publish_timeout: Duration,
    /// Certificates (PEM) to trust besides the system's.
    pub ca_file: Option<PathBuf>,
}

/// How a box shows NATS who it is.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Not at all.
    None,
    /// By name and password.
    UserPassword {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
    /// By a shared token.
    Token(String),
    /// By a `.creds` file (JWT and key).
    File(PathBuf),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credentials::None => f.write_str("None"),
            Credentials::UserPassword { user, .. } => write!(f, "UserPassword({user}, ***)"),
            Credentials::Token(_) => f.write_str("Token(***)"),
            Credentials::File(path) => write!(f, "File({})", path.display()),
        }
    }
}
