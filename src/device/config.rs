//! What a device's client needs to know.

use std::fmt;
use std::time::Duration;

use super::{Listener, Tls};

/// Settings of a client.
#[derive(Clone)]
pub struct Config {
    /// Where the gateway is: `ws://HOST:PORT/ws`, or `wss://` in TLS.
    pub url: String,
    /// The id that the device is registered under.
    pub device_id: String,
    /// Its token; empty where a certificate says who it is.
    pub token: String,
    /// Whom to believe for `wss://`, and the device's own certificate; nothing: the machine's authorities, and none.
    pub tls: Option<Tls>,
    /// What it is (`sensor`, `actuator`, ...); the registry's word counts.
    pub device_type: String,
    /// How long connecting and being let in may take.
    pub connect_timeout: Duration,
    /// How often the gateway is asked whether it is there; the answer's delay is the latency.
    pub ping_interval: Duration,
    /// After how long without anything from the gateway the connection counts as lost.
    pub dead_after: Duration,
    /// The first wait before connecting again; doubled each time.
    pub backoff_min: Duration,
    /// The longest wait before connecting again.
    pub backoff_max: Duration,
    /// Publishes that are kept while away; beyond it the oldest go and are counted.
    pub buffer_messages_max: usize,
    /// Their bytes.
    pub buffer_bytes_max: usize,
    /// Messages that may wait for the reader of one subscription; beyond it the newest go and are counted.
    pub incoming_max: usize,
    /// How often the client's own statistics are published on `devices.{id}.stats`; nothing for never.
    pub stats_interval: Option<Duration>,
    /// Who hears of what happens to the client.
    pub listener: Option<Listener>,
}

impl Config {
    /// Returns settings with everything else as it usually is.
    #[must_use]
    pub fn new(url: impl Into<String>, device_id: impl Into<String>, token: impl Into<String>) -> Self {
        Config {
            url: url.into(),
            device_id: device_id.into(),
            token: token.into(),
            tls: None,
            device_type: String::new(),
            connect_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(15),
            dead_after: Duration::from_secs(45),
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_secs(30),
            buffer_messages_max: 1000,
            buffer_bytes_max: 4 << 20,
            incoming_max: 1000,
            stats_interval: Some(Duration::from_secs(15)),
            listener: None,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("url", &self.url)
            .field("device_id", &self.device_id)
            .field("token", &"***")
            .finish_non_exhaustive()
    }
}
