//! The gateway's caps and timeouts.

use std::time::Duration;

/// Settings of the gateway, resolved. A reload is enough; open connections keep the old ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Largest message of a device in bytes, all members together. Default 1 MiB, 1 KiB to 16 MiB.
    pub message_bytes_max: usize,
    /// Frames a device may send per second, and at once. Default 100, 1 to 100 000.
    pub messages_per_second: u32,
    /// How long a connection may stay without showing who it is. Default 10 s.
    pub auth_timeout: Duration,
    /// How often a silent device is sent a WebSocket ping. Default 15 s.
    pub ping_interval: Duration,
    /// After how long without any sign of life a device counts as gone. Default 45 s, above `ping_interval`.
    pub dead_after: Duration,
    /// How long a device's request (type 4) waits for an answer. Default 5 s.
    pub request_timeout: Duration,
    /// Subject patterns that one device may be subscribed to. Default 64.
    pub subscriptions_max: usize,
    /// Open connections in all. Default 10 000.
    pub connections_max: usize,
    /// Connections from one address that have not shown who they are. Default 64.
    pub unauthenticated_per_address_max: usize,
    /// Failed attempts to authenticate that one address may make at once; refilled at a tenth of this per
    /// second. Default 50.
    pub auth_failures_max: u32,
    /// What subscribers get as `payload`. Default [`PayloadShape::Plain`].
    pub payload_shape: PayloadShape,
    /// What a device added without own lists may publish on. Patterns with `{device}`.
    pub default_publish: Vec<String>,
    /// What a device added without own lists may subscribe to. Patterns with `{device}`.
    pub default_subscribe: Vec<String>,
}

/// What subscribers get of a device's publish, on the bus and as `payload` of a message frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadShape {
    /// The payload as published, as the documents of nats-websocket-bridge say.
    Plain,
    /// The whole frame with sender and time, as its code did.
    Envelope,
}

/// What a new device may publish on unless told otherwise; `{device}` is its id.
pub const DEFAULT_PUBLISH: [&str; 6] = [
    "devices.{device}.>",
    "telemetry.{device}.>",
    "status.{device}",
    "heartbeat.{device}",
    "logs.{device}",
    "logs.{device}.>",
];
/// What a new device may subscribe to unless told otherwise; `{device}` is its id.
pub const DEFAULT_SUBSCRIBE: [&str; 3] = ["devices.{device}.>", "commands.{device}.>", "config.{device}"];

/// Returns the settings with their defaults, for tests.
#[cfg(test)]
pub(super) fn test_config() -> Config {
    Config {
        message_bytes_max: 1 << 20,
        messages_per_second: 100,
        auth_timeout: Duration::from_secs(10),
        ping_interval: Duration::from_secs(15),
        dead_after: Duration::from_secs(45),
        request_timeout: Duration::from_secs(5),
        subscriptions_max: 64,
        connections_max: 10_000,
        unauthenticated_per_address_max: 64,
        auth_failures_max: 50,
        payload_shape: PayloadShape::Plain,
        default_publish: DEFAULT_PUBLISH.map(str::to_owned).to_vec(),
        default_subscribe: DEFAULT_SUBSCRIBE.map(str::to_owned).to_vec(),
    }
}
