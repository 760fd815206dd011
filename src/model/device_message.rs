//! What a device published.

use bytes::Bytes;

use super::Timestamp;

/// By which door a message came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Over a WebSocket of this box.
    Gateway,
    /// From the bus, published by somebody else.
    Bus,
}

/// One message of a device, as it goes to the collectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceMessage {
    /// The authenticated sender; empty if the bus did not name one.
    pub device_id: String,
    /// The sender's type as registered (`sensor`, `actuator`, ...); may be empty.
    pub device_type: String,
    /// The subject it was published on; no wildcards.
    pub subject: String,
    /// The body, JSON as a rule.
    pub payload: Bytes,
    /// When this box received it.
    pub received_at: Timestamp,
    /// By which door it came.
    pub origin: Origin,
}
