//! What the pages and the API see of the gateway.

use std::net::IpAddr;
use std::sync::Arc;

use super::identity::Identity;
use super::permissions::Permissions;
use crate::bus::SubjectPattern;
use crate::model::Timestamp;
use crate::storage::state::Device;

/// The gateway at one moment, at most a second old.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// All known devices, by id.
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

/// One known device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceView {
    /// What changes seldom; shared between snapshots.
    pub profile: Arc<DeviceProfile>,
    /// Its open connection, if there is one.
    pub connection: Option<ConnectionView>,
    /// When it was last connected, if it is not now and was since this box started.
    pub disconnected_at: Option<Timestamp>,
    /// When it last sent anything since this box started.
    pub last_seen: Option<Timestamp>,
}

impl std::ops::Deref for DeviceView {
    type Target = DeviceProfile;

    fn deref(&self) -> &DeviceProfile {
        &self.profile
    }
}

/// What is registered of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceProfile {
    /// Its id.
    pub id: String,
    /// The type as registered (`sensor`, `actuator`, ...); may be empty.
    pub device_type: String,
    /// The role as registered; may be empty.
    pub role: String,
    /// What it belongs to; may be empty.
    pub group: String,
    /// Patterns it may publish on, its role's among them, `{device}` replaced.
    pub publish: Vec<String>,
    /// Patterns it may subscribe to, its role's among them, `{device}` replaced.
    pub subscribe: Vec<String>,
    /// Patterns it may publish on as registered, without its role's.
    pub own_publish: Vec<String>,
    /// Patterns it may subscribe to as registered, without its role's.
    pub own_subscribe: Vec<String>,
    /// Its tokens, oldest first: when each was made and when it ends.
    pub tokens: Vec<(Timestamp, Option<Timestamp>)>,
    /// By what its certificates are known, oldest first: a fingerprint or a name, and since when.
    pub certificates: Vec<(String, Timestamp)>,
    /// Whether it may connect.
    pub is_enabled: bool,
    /// Whether it is in the registry; otherwise only a JSON web token told of it.
    pub is_registered: bool,
    /// When it was registered, or first seen.
    pub created_at: Timestamp,
}

impl DeviceProfile {
    /// Returns the profile of a registered device.
    pub(super) fn of(device: Device, permissions: &Permissions) -> Self {
        DeviceProfile {
            publish: texts(&permissions.publish),
            subscribe: texts(&permissions.subscribe),
            tokens: device.tokens.iter().map(|token| (token.created_at, token.expires_at)).collect(),
            certificates: device.certificates.into_iter().map(|c| (c.mark, c.created_at)).collect(),
            id: device.id,
            device_type: device.device_type,
            role: device.role,
            group: device.group,
            own_publish: device.publish,
            own_subscribe: device.subscribe,
            is_enabled: device.is_enabled,
            is_registered: true,
            created_at: device.created_at,
        }
    }

    /// Returns the profile of a device of which a JSON web token told.
    pub(super) fn of_guest(identity: &Identity, now: Timestamp) -> Self {
        DeviceProfile {
            id: identity.device_id.to_string(),
            device_type: identity.device_type.to_string(),
            role: identity.role.to_string(),
            group: String::new(),
            publish: texts(&identity.permissions.publish),
            subscribe: texts(&identity.permissions.subscribe),
            own_publish: Vec::new(),
            own_subscribe: Vec::new(),
            tokens: Vec::new(),
            certificates: Vec::new(),
            is_enabled: true,
            is_registered: false,
            created_at: now,
        }
    }
}

fn texts(list: &[SubjectPattern]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// One open connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionView {
    /// Where it comes from.
    pub address: IpAddr,
    /// Since when.
    pub connected_at: Timestamp,
    /// The patterns it is subscribed to, in the order they were asked for.
    pub subscriptions: Arc<Vec<String>>,
    /// Frames taken from it.
    pub received: u64,
    /// Frames written to it.
    pub sent: u64,
    /// Frames refused (not allowed, too many, not understood).
    pub refused: u64,
}
