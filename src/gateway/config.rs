//! The gateway's caps and timeouts.

use std::time::Duration;

use super::{BlackBoxConfig, Roles, jwt};

/// Settings of the gateway, resolved. A reload is enough; open connections keep the old ones but for
/// roles, rates and keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Largest message of a device in bytes, all members together. Default 1 MiB, 1 KiB to 16 MiB.
    pub message_bytes_max: usize,
    /// Frames a device may send per second, and at once. Default 100, 1 to 100 000.
    pub messages_per_second: u32,
    /// Bytes a device may send per second; at once as many, or one message. Default 10 MiB, 1 KiB to 1 GiB.
    pub bytes_per_second: u64,
    /// Frames all devices together may send per second, and at once. Default 20 000, 1 to 10 million.
    pub total_messages_per_second: u32,
    /// Bytes all devices together may send per second, and at once. Default 100 MiB, 1 KiB to 100 GiB.
    pub total_bytes_per_second: u64,
    /// How long a connection may stay without showing who it is. Default 10 s.
    pub auth_timeout: Duration,
    /// How often a silent device is sent a WebSocket ping. Default 15 s.
    pub ping_interval: Duration,
    /// After how long without any sign of life a device counts as gone. Default 45 s, above `ping_interval`.
    pub dead_after: Duration,
    /// After how long without a frame in either direction a device is sent away; nothing (the default): never.
    pub idle_timeout: Option<Duration>,
    /// How long a device's request (type 4) waits for an answer. Default 5 s.
    pub request_timeout: Duration,
    /// Subject patterns that one device may be subscribed to. Default 64.
    pub subscriptions_max: usize,
    /// Open connections in all. Default 10 000.
    pub connections_max: usize,
    /// Open connections from one address. Default 10 000.
    pub connections_per_address_max: usize,
    /// Connections in all that have not shown who they are. Default 1024.
    pub unauthenticated_max: usize,
    /// Connections from one address that have not shown who they are. Default 64.
    pub unauthenticated_per_address_max: usize,
    /// Failed attempts to authenticate that one address may make at once; refilled at a tenth of this per
    /// second. Default 50.
    pub auth_failures_max: u32,
    /// What becomes of a device's second connection. Default [`SecondSession::Replace`].
    pub second_session: SecondSession,
    /// Whose JSON web tokens are taken; nothing (the default): nobody's.
    pub jwt: Option<jwt::Config>,
    /// Lists that devices have in common, by name. Default none.
    pub roles: Roles,
    /// What subscribers get as `payload`. Default [`PayloadShape::Plain`].
    pub payload_shape: PayloadShape,
    /// What is kept of each device's last frames.
    pub black_box: BlackBoxConfig,
    /// What a device added without own lists may publish on. Patterns with `{device}`.
    pub default_publish: Vec<String>,
    /// What a device added without own lists may subscribe to. Patterns with `{device}`.
    pub default_subscribe: Vec<String>,
}

/// What becomes of a device's second connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecondSession {
    /// It takes the place of the first, which is told.
    Replace,
    /// It is not let in while the first is open.
    Refuse,
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

impl Default for Config {
    fn default() -> Self {
        Config {
            message_bytes_max: 1 << 20,
            messages_per_second: 100,
            bytes_per_second: 10 << 20,
            total_messages_per_second: 20_000,
            total_bytes_per_second: 100 << 20,
            auth_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(15),
            dead_after: Duration::from_secs(45),
            idle_timeout: None,
            request_timeout: Duration::from_secs(5),
            subscriptions_max: 64,
            connections_max: 10_000,
            connections_per_address_max: 10_000,
            unauthenticated_max: 1024,
            unauthenticated_per_address_max: 64,
            auth_failures_max: 50,
            second_session: SecondSession::Replace,
            jwt: None,
            roles: Roles::new(),
            payload_shape: PayloadShape::Plain,
            black_box: BlackBoxConfig::default(),
            default_publish: DEFAULT_PUBLISH.map(str::to_owned).to_vec(),
            default_subscribe: DEFAULT_SUBSCRIBE.map(str::to_owned).to_vec(),
        }
    }
}
