//! What the pages and the API see of the gateway.

use std::net::IpAddr;

use crate::model::Timestamp;

/// The gateway at one moment, at most a second old.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// All registered devices, by id.
    pub devices: Vec<DeviceView>,
    /// Open connections of devices that have shown who they are.
    pub connected: usize,
    /// Open connections that have not.
    pub unauthenticated: usize,
}

impl Snapshot {
    /// Returns one device.
    #[must_use]
    pub fn device(&self, id: &str) -> Option<&DeviceView> {
        self.devices.binary_search_by(|d| d.id.as_str().cmp(id)).ok().and_then(|at| self.devices.get(at))
    }
}

/// One registered device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceView {
    /// The registered id.
    pub id: String,
    /// The type as registered (`sensor`, `actuator`, ...); may be empty.
    pub device_type: String,
    /// Patterns it may publish on, `{device}` replaced.
    pub publish: Vec<String>,
    /// Patterns it may subscribe to, `{device}` replaced.
    pub subscribe: Vec<String>,
    /// Whether it may connect.
    pub is_enabled: bool,
    /// When it was registered.
    pub created_at: Timestamp,
    /// Its open connection, if there is one.
    pub connection: Option<ConnectionView>,
    /// When it was last connected, if it is not now and was since this box started.
    pub disconnected_at: Option<Timestamp>,
    /// When it last sent anything since this box started.
    pub last_seen: Option<Timestamp>,
}

/// One open connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionView {
    /// Where it comes from.
    pub address: IpAddr,
    /// Since when.
    pub connected_at: Timestamp,
    /// The patterns it is subscribed to, in the order they were asked for.
    pub subscriptions: Vec<String>,
    /// Frames taken from it.
    pub received: u64,
    /// Frames written to it.
    pub sent: u64,
    /// Frames refused (not allowed, too many, not understood).
    pub refused: u64,
}
