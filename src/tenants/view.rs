//! What the API sees of one tenant.

use std::time::Duration;

use super::client::Health;
use crate::model::Timestamp;

/// One tenant at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct TenantView {
    /// When.
    pub at: Timestamp,
    /// Since when it has been counted.
    pub since: Timestamp,
    /// Messages and bytes of the last hour.
    pub hour: (u64, u64),
    /// Messages and bytes of the last minute.
    pub minute: (u64, u64),
    /// Its clients by name, those heard of in the last day.
    pub clients: Vec<ClientView>,
    /// Channels with traffic in the last day.
    pub channels: usize,
    /// Messages since this box started by kind of subject, the most first.
    pub subjects: Vec<(String, u64)>,
    /// How long messages and heartbeats of the last check took from their own time to this box; nothing if none had one.
    pub latency: Option<Duration>,
    /// Errors for each message at the last check; nothing if there were no messages.
    pub error_ratio: Option<f64>,
    /// Messages a second as learnt; nothing before enough was learnt.
    pub normal_per_second: Option<f64>,
    /// Anomalies that stand.
    pub anomalies: usize,
    /// Messages of all tenants that this box was too slow to count.
    pub lost: u64,
}

/// One client.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientView {
    /// Its name.
    pub id: String,
    /// Whether it was heard of lately or has an open connection.
    pub is_online: bool,
    /// How it says it is.
    pub health: Health,
    /// When it was last heard of.
    pub last_seen: Timestamp,
    /// When its last heartbeat came.
    pub last_heartbeat: Option<Timestamp>,
    /// What it says it runs; may be empty.
    pub version: String,
    /// Messages that came from it.
    pub messages: u64,
    /// Messages sent and received and errors, as it says.
    pub reported: Option<(u64, u64, u64)>,
    /// How long it runs, as it says.
    pub uptime_s: Option<f64>,
    /// What it calls itself; may be empty.
    pub name: String,
    /// What it says it is; may be empty.
    pub kind: String,
    /// What it says it can.
    pub capabilities: Vec<String>,
    /// Its own connection to a NATS server.
    pub connection: Option<ConnectionView>,
}

/// A connection to a NATS server, as the server tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionView {
    /// Where it comes from.
    pub address: String,
    /// Who it showed itself as: NKey, user name or account.
    pub identity: String,
    /// Round trip, as the server writes it; may be empty.
    pub rtt: String,
    /// Messages from the client.
    pub in_messages: u64,
    /// Messages to the client.
    pub out_messages: u64,
    /// Bytes from the client.
    pub in_bytes: u64,
    /// Bytes to the client.
    pub out_bytes: u64,
    /// Bytes that wait for the client.
    pub pending_bytes: u64,
}
