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
    /// By how much the box's clock had been moved until then, in milliseconds; see `Clock::moved_ms`.
    pub moved_ms: i64,
    /// By which door it came.
    pub origin: Origin,
}

impl DeviceMessage {
    /// Corrects the time of receipt to a clock that has been moved by so much.
    pub fn correct(&mut self, moved_ms: i64) {
        let by_ms = moved_ms.saturating_sub(self.moved_ms);
        self.received_at = Timestamp::from_millis(self.received_at.as_millis().saturating_add(by_ms));
        self.moved_ms = moved_ms;
    }
}
