//! What the bus needs to know.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::StreamConfig;

/// Settings of the bus, resolved. A change needs a restart.
#[derive(Debug, Clone)]
pub struct Config {
    /// The name under which this box marks what it publishes; unique among the boxes of one NATS system.
    /// Default: the host name.
    pub box_id: String,
    /// The NATS system to join; nothing means that the bus stays inside the process.
    pub nats: Option<NatsConfig>,
    /// The streams that are to be there; what they cover is kept until they have it.
    pub streams: Vec<StreamConfig>,
    /// The bus's own folder on disk.
    pub folder: PathBuf,
    /// How messages for streams are kept.
    pub spool: SpoolConfig,
    /// How long a reader's place in a stream is kept while nobody reads there. Default 3 days.
    pub place_kept_for: Duration,
    /// Messages that may wait for one subscriber. Default 1024, at least 1.
    pub queue_messages_max: usize,
    /// Bytes that may wait for one subscriber. Default 10 MiB; should be above the gateway's message size.
    pub queue_bytes_max: usize,
}

impl Config {
    /// Returns settings of a bus inside the process, in the folder `bus`, with everything else as it usually is.
    #[must_use]
    pub fn embedded(box_id: &str) -> Self {
        Config {
            box_id: box_id.to_owned(),
            nats: None,
            streams: Vec::new(),
            folder: PathBuf::from("bus"),
            spool: SpoolConfig::default(),
            place_kept_for: Duration::from_secs(3 * 24 * 3600),
            queue_messages_max: 1024,
            queue_bytes_max: 10 << 20,
        }
    }
}

/// How messages for streams are kept until NATS is certain to have them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolConfig {
    /// Bytes on disk; beyond it the oldest go and are counted. Default 256 MiB.
    pub bytes_max: u64,
    /// How long a message may wait; what is older goes and is counted. Default 7 days.
    pub age_max: Duration,
    /// How long what JetStream has acknowledged stays. Default 150 s: JetStream syncs every 2 minutes.
    pub kept_after_ack: Duration,
    /// How long a message may wait for the disk, unless somebody waits for it while NATS is away. Default 1 s.
    pub write_interval: Duration,
}

impl Default for SpoolConfig {
    fn default() -> Self {
        SpoolConfig {
            bytes_max: 256 << 20,
            age_max: Duration::from_secs(7 * 24 * 3600),
            kept_after_ack: Duration::from_secs(150),
            write_interval: Duration::from_secs(1),
        }
    }
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
    /// The certificate (PEM) and its key that this box shows.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Servers (leaves of the system) at which a message of the box is awaited, to know that messages flow.
    pub probe_leaves: Vec<String>,
}

impl NatsConfig {
    /// Returns settings for these servers, with everything else as it usually is.
    #[must_use]
    pub fn new(servers: Vec<String>) -> Self {
        NatsConfig {
            servers,
            credentials: Credentials::None,
            client_name: "andon".to_owned(),
            connect_timeout: Duration::from_secs(10),
            publish_timeout: Duration::from_millis(250),
            ca_file: None,
            certificate: None,
            probe_leaves: Vec::new(),
        }
    }
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
    /// By an NKey: its seed.
    NKey(String),
    /// By a `.creds` file (JWT and key).
    File(PathBuf),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credentials::None => f.write_str("None"),
            Credentials::UserPassword { user, .. } => write!(f, "UserPassword({user}, ***)"),
            Credentials::NKey(_) => f.write_str("NKey(***)"),
            Credentials::Token(_) => f.write_str("Token(***)"),
            Credentials::File(path) => write!(f, "File({})", path.display()),
        }
    }
}
