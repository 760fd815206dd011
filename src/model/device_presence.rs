//! Whether a registered device is connected.

use super::Timestamp;

/// What the gateway knows of one registered device's connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevicePresence {
    /// The registered id.
    pub device_id: String,
    /// The type as registered (`sensor`, `actuator`, ...); may be empty.
    pub device_type: String,
    /// Whether a session of the device is open now.
    pub is_connected: bool,
    /// When that began; nothing if the device has not been seen since this box started.
    pub since: Option<Timestamp>,
    /// When the device last sent anything; nothing if it has not since this box started.
    pub last_seen: Option<Timestamp>,
}
