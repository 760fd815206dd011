//! The known devices and who of them is connected, without tasks or stores.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::error::{Error, Result};
use super::permissions::{self, PATTERNS_MAX, Permissions};
use super::protocol::Claim;
use super::session::{End, Identity};
use super::token::{self, TokenHash};
use super::traffic::Traffic;
use super::validate;
use super::{ConnectionView, DeviceView, Snapshot};
use crate::model::{DevicePresence, Timestamp};
use crate::storage::state;

/// Longest device id; it is one token of a subject.
const ID_CHARS_MAX: usize = 64;
/// Longest device type; it is a label value.
const TYPE_CHARS_MAX: usize = 32;

/// What a device is told that is not let in; the same whether the id or the token is wrong.
pub(super) const WRONG: &str = "Invalid device ID or token";
const JWT: &str = "JSON web tokens are not supported by this version: use a device token";

/// A device as somebody wants it added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewDevice {
    /// Its name: letters, digits, `-` and `_`, at most 64.
    pub id: String,
    /// What it is (`sensor`, `actuator`, ...); may be empty.
    pub device_type: String,
    /// Patterns it may publish on; nothing for the default list.
    pub publish: Option<Vec<String>>,
    /// Patterns it may subscribe to; nothing for the default list.
    pub subscribe: Option<Vec<String>>,
    /// A token that the device brings along, at least 16 characters; nothing to have one made.
    pub token: Option<String>,
}

/// A device that was added, with the only sight of its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedDevice {
    /// Its name.
    pub id: String,
    /// What it is.
    pub device_type: String,
    /// The token; it cannot be read again.
    pub token: String,
    /// Patterns it may publish on, as stored.
    pub publish: Vec<String>,
    /// Patterns it may subscribe to, as stored.
    pub subscribe: Vec<String>,
}

/// Checks a new device and writes it into the store of the box; for `andon device add` beside a box that is
/// not running, too. Blocks on a file sync.
///
/// # Errors
/// [`Error::Invalid`], [`Error::Exists`], [`Error::State`].
pub fn register(
    state: &state::State,
    new: NewDevice,
    default_publish: &[String],
    default_subscribe: &[String],
) -> Result<AddedDevice> {
    let added = prepare(new, default_publish, default_subscribe)?;
    let row = state::NewDevice {
        id: added.id.clone(),
        device_type: added.device_type.clone(),
        token_hash: TokenHash::of(&added.token).to_string(),
        publish: added.publish.clone(),
        subscribe: added.subscribe.clone(),
    };
    if state.devices().add(&row)? { Ok(added) } else { Err(Error::Exists(added.id)) }
}

fn prepare(new: NewDevice, default_publish: &[String], default_subscribe: &[String]) -> Result<AddedDevice> {
    let invalid = |field, reason: String| Err(Error::Invalid { field, reason });
    if !validate::is_token(&new.id) || new.id.len() > ID_CHARS_MAX {
        return invalid("id", format!("needs 1 to {ID_CHARS_MAX} letters, digits, '-' or '_'"));
    }
    let is_plain = new.device_type.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if !is_plain || new.device_type.len() > TYPE_CHARS_MAX {
        return invalid("type", format!("takes up to {TYPE_CHARS_MAX} letters, digits, '-', '_' or '.'"));
    }
    let token = new.token.unwrap_or_else(token::generate);
    if !(token::BROUGHT_CHARS_MIN..=token::CHARS_MAX).contains(&token.len())
        || !token.bytes().all(|b| b.is_ascii_graphic())
    {
        let (min, max) = (token::BROUGHT_CHARS_MIN, token::CHARS_MAX);
        return invalid("token", format!("needs {min} to {max} printable ASCII characters without spaces"));
    }
    let publish = new.publish.unwrap_or_else(|| default_publish.to_vec());
    let subscribe = new.subscribe.unwrap_or_else(|| default_subscribe.to_vec());
    for (field, list) in [("publish", &publish), ("subscribe", &subscribe)] {
        if list.len() > PATTERNS_MAX {
            return invalid(field, format!("no more than {PATTERNS_MAX} patterns"));
        }
        for text in list {
            if let Err(refusal) = permissions::resolve(text, &new.id) {
                return invalid(field, format!("{text:?}: {}", refusal.message));
            }
        }
    }
    Ok(AddedDevice { id: new.id, device_type: new.device_type, token, publish, subscribe })
}

/// All registered devices.
#[derive(Debug, Default)]
pub(super) struct Registry {
    by_id: BTreeMap<String, Known>,
    by_hash: HashMap<TokenHash, String>,
    connected: usize,
    next_number: u64,
}

#[derive(Debug)]
struct Known {
    identity: Arc<Identity>,
    hash: TokenHash,
    is_enabled: bool,
    created_at: Timestamp,
    open: Option<Open>,
    disconnected_at: Option<Timestamp>,
    last_seen: Option<Timestamp>,
}

/// An open connection as the registry sees it.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) address: IpAddr,
    pub(super) traffic: Arc<Traffic>,
    /// Ends the connection; holds one.
    pub(super) end: mpsc::Sender<End>,
    pub(super) connected_at: Timestamp,
}

/// A device that was let in.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) identity: Arc<Identity>,
    /// Tells this connection from others of the same device.
    pub(super) number: u64,
}

/// The connection that ended, as far as it was the device's current one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    pub(super) connected_at: Timestamp,
}

impl Registry {
    /// Takes a device from the store. A pattern that cannot be read is left out; its text is returned.
    pub(super) fn insert(&mut self, device: state::Device) -> Vec<String> {
        let mut bad = Vec::new();
        let mut read = |list: &[String]| {
            let mut patterns = Vec::new();
            for text in list {
                match permissions::resolve(text, &device.id) {
                    Ok(pattern) => patterns.push(pattern),
                    Err(_) => bad.push(text.clone()),
                }
            }
            patterns
        };
        let permissions = Permissions { publish: read(&device.publish), subscribe: read(&device.subscribe) };
        let Some(hash) = TokenHash::parse(&device.token_hash) else {
            bad.push("token_hash".to_owned());
            return bad;
        };
        let identity = Arc::new(Identity {
            device_id: device.id.as_str().into(),
            device_type: device.device_type.as_str().into(),
            permissions,
        });
        self.by_hash.insert(hash, device.id.clone());
        let known = Known {
            identity,
            hash,
            is_enabled: device.is_enabled,
            created_at: device.created_at,
            open: None,
            disconnected_at: None,
            last_seen: None,
        };
        self.by_id.insert(device.id, known);
        bad
    }

    /// Notes when a device was last seen before this start.
    pub(super) fn note_seen(&mut self, id: &str, at: Timestamp) {
        if let Some(known) = self.by_id.get_mut(id) {
            known.last_seen = known.last_seen.max(Some(at));
        }
    }

    /// Forgets a device and ends its connection. Returns whether it was known.
    pub(super) fn remove(&mut self, id: &str) -> bool {
        let Some(known) = self.by_id.remove(id) else { return false };
        self.by_hash.remove(&known.hash);
        if let Some(open) = known.open {
            self.connected -= 1;
            // Full means that the connection is being ended already.
            let _ = open.end.try_send(End::REVOKED);
        }
        true
    }

    /// Checks a claim; the same answer, after the same work, whatever is wrong with it.
    pub(super) fn check(&self, claim: &Claim) -> std::result::Result<Arc<Identity>, &'static str> {
        if claim.token.len() > token::CHARS_MAX && claim.device_id.is_some() {
            return Err(WRONG);
        }
        if claim.device_id.is_none() && claim.token.matches('.').count() == 2 {
            return Err(JWT);
        }
        let shown = TokenHash::of(&claim.token);
        let id = claim.device_id.as_ref().or_else(|| self.by_hash.get(&shown));
        let known = id.and_then(|id| self.by_id.get(id));
        let is_right = known.map_or(TokenHash::of(""), |known| known.hash).is_same(&shown);
        match known {
            Some(known) if is_right && known.is_enabled => Ok(known.identity.clone()),
            _ => Err(WRONG),
        }
    }

    /// Lets a checked device in; an older connection of it is ended. Returns that one's age too.
    pub(super) fn connect(&mut self, identity: Arc<Identity>, open: Open) -> (Entry, Option<Ended>) {
        self.next_number += 1;
        let number = self.next_number;
        let mut replaced = None;
        if let Some(known) = self.by_id.get_mut(&*identity.device_id) {
            open.traffic.set_number(number);
            if let Some(older) = known.open.replace(open) {
                let _ = older.end.try_send(End::REPLACED);
                replaced = Some(Ended { connected_at: older.connected_at });
            } else {
                self.connected += 1;
            }
        }
        (Entry { identity, number }, replaced)
    }

    /// Notes that a connection ended; nothing if a newer one has taken its place.
    pub(super) fn disconnect(&mut self, device_id: &str, number: u64, now: Timestamp) -> Option<Ended> {
        let known = self.by_id.get_mut(device_id)?;
        let open = known.open.take_if(|open| open.traffic.number() == number)?;
        known.disconnected_at = Some(now);
        known.last_seen = open.traffic.last_received().or(known.last_seen);
        self.connected -= 1;
        Some(Ended { connected_at: open.connected_at })
    }

    /// Returns the type of a device and since when it is connected, if it is.
    pub(super) fn open_connection(&self, id: &str) -> Option<(Arc<str>, Timestamp)> {
        let known = self.by_id.get(id)?;
        Some((known.identity.device_type.clone(), known.open.as_ref()?.connected_at))
    }

    /// Returns how many devices are connected.
    pub(super) fn connected(&self) -> usize {
        self.connected
    }

    /// Returns how many devices are known.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Returns who is connected, by id.
    pub(super) fn presence(&self) -> Vec<DevicePresence> {
        self.by_id
            .values()
            .map(|known| DevicePresence {
                device_id: known.identity.device_id.to_string(),
                device_type: known.identity.device_type.to_string(),
                is_connected: known.open.is_some(),
                since: known.open.as_ref().map_or(known.disconnected_at, |open| Some(open.connected_at)),
                last_seen: known.last_seen(),
            })
            .collect()
    }

    /// Returns what the pages see.
    pub(super) fn snapshot(&self, unauthenticated: usize) -> Snapshot {
        let devices = self.by_id.values().map(Known::view).collect();
        Snapshot { devices, connected: self.connected, unauthenticated }
    }

    /// Calls with the id and the traffic of each connected device.
    pub(super) fn for_each_open(&self, mut visit: impl FnMut(&str, &Traffic)) {
        for known in self.by_id.values() {
            if let Some(open) = &known.open {
                visit(&known.identity.device_id, &open.traffic);
            }
        }
    }
}

impl Known {
    fn last_seen(&self) -> Option<Timestamp> {
        self.open.as_ref().and_then(|open| open.traffic.last_received()).or(self.last_seen)
    }

    fn view(&self) -> DeviceView {
        let texts = |list: &[crate::bus::SubjectPattern]| list.iter().map(ToString::to_string).collect();
        DeviceView {
            id: self.identity.device_id.to_string(),
            device_type: self.identity.device_type.to_string(),
            publish: texts(&self.identity.permissions.publish),
            subscribe: texts(&self.identity.permissions.subscribe),
            is_enabled: self.is_enabled,
            created_at: self.created_at,
            connection: self.open.as_ref().map(|open| ConnectionView {
                address: open.address,
                connected_at: open.connected_at,
                subscriptions: open.traffic.subscriptions(),
                received: open.traffic.received(),
                sent: open.traffic.sent(),
                refused: open.traffic.refused(),
            }),
            disconnected_at: self.disconnected_at,
            last_seen: self.last_seen(),
        }
    }
}
