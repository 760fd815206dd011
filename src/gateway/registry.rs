//! The known devices and who of them is connected, without tasks or stores.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::certificate::ClientCertificate;
use super::config::SecondSession;
use super::end::End;
use super::enrol;
use super::identity::{Admitted, Identity, Proof, Shown};
use super::jwt::{self, Claims, Moment, refusals};
use super::orders::{Order, Orders};
use super::permissions::{Permissions, Roles, resolve_all};
use super::protocol::Claim;
use super::throttle::{Meter, Rate};
use super::token::{self, TokenHash};
use super::traffic::Traffic;
use super::{Config, ConnectionView, DeviceProfile, DeviceView, Snapshot};
use crate::model::{DevicePresence, Timestamp};
use crate::storage::state;

/// What a device is told that is not let in; the same whether the id or the token is wrong.
pub(super) const WRONG: &str = "Invalid device ID or token";
/// What the second session of a device is told where the first stays.
pub(super) const CONNECTED: &str = "Device is already connected";
const JWT: &str = "JSON web tokens are not set up on this box: use a device token";
const REVOKED: &str = "Device revoked";
const AMBIGUOUS: &str = "The certificate has names of several devices";
const OVER: &str = "Certificate expired";
const OTHER: &str = "Token and certificate are not the same device's";
const CROWDED: &str = "Too many devices";

/// Devices of which only tokens tell that are remembered; beyond it those longest away are forgotten.
const GUESTS_MAX: usize = 10_000;
/// Types that tokens may bring along: they are label values.
const GUEST_TYPES_MAX: usize = 32;
/// The type of a guest whose role is one too many.
const GUEST_TYPE: &str = "device";

/// All known devices.
#[derive(Debug, Default)]
pub(super) struct Registry {
    by_id: BTreeMap<String, Known>,
    by_hash: HashMap<TokenHash, String>,
    /// Devices by what their certificates are known by.
    by_mark: HashMap<String, String>,
    connected: usize,
    guests: usize,
    guest_types: BTreeSet<Arc<str>>,
    next_number: u64,
}

#[derive(Debug)]
struct Known {
    /// As registered, without an end.
    identity: Arc<Identity>,
    tokens: Vec<(TokenHash, Option<Timestamp>)>,
    /// Known from a JSON web token alone.
    is_guest: bool,
    is_enabled: bool,
    profile: Arc<DeviceProfile>,
    meter: Arc<Meter>,
    open: Option<Open>,
    disconnected_at: Option<Timestamp>,
    last_seen: Option<Timestamp>,
}

/// An open connection as the registry sees it.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) address: IpAddr,
    pub(super) traffic: Arc<Traffic>,
    /// Tells the connection what is to change.
    pub(super) orders: Arc<Orders>,
    pub(super) connected_at: Timestamp,
    pub(super) proof: Proof,
    /// What it is counted as, also if the registered type changes meanwhile.
    pub(super) device_type: Arc<str>,
}

/// A device that was let in.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) identity: Arc<Identity>,
    /// What it may send, whatever connection it uses.
    pub(super) meter: Arc<Meter>,
    /// Tells this connection from others of the same device.
    pub(super) number: u64,
}

/// The connection that ended, as far as it was the device's current one.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    pub(super) connected_at: Timestamp,
    pub(super) device_type: Arc<str>,
}

/// What decides who may come in and what they may do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules<'a> {
    pub(super) config: &'a Config,
    pub(super) moment: Moment,
    /// Since the process began.
    pub(super) elapsed: Duration,
}

impl Registry {
    /// Takes a device from the store, also one that has changed; an open connection hears of it at once. A pattern
    /// that cannot be read is left out; its text is returned.
    pub(super) fn insert(&mut self, device: state::Device, rules: Rules<'_>) -> Vec<String> {
        let (permissions, mut bad) = registered_permissions(&device, &rules.config.roles);
        let mut tokens = Vec::new();
        for token in &device.tokens {
            match TokenHash::parse(&token.hash) {
                Some(hash) => tokens.push((hash, token.expires_at)),
                None => bad.push("token_hash".to_owned()),
            }
        }
        let role = if device.role.is_empty() { &device.device_type } else { &device.role };
        let identity = Arc::new(Identity {
            device_id: device.id.as_str().into(),
            device_type: device.device_type.as_str().into(),
            role: role.as_str().into(),
            permissions,
            expires_at: None,
            is_certified: false,
        });
        let id = device.id.clone();
        let profile = Arc::new(DeviceProfile::of(device, &identity.permissions));
        let older = self.forget(&id);
        self.by_hash.extend(tokens.iter().map(|(hash, _)| (*hash, id.clone())));
        self.by_mark.extend(profile.certificates.iter().map(|(mark, _)| (mark.clone(), id.clone())));
        let (is_enabled, is_guest) = (profile.is_enabled, false);
        let known = match older {
            Some(older) => Known { identity, tokens, is_guest, is_enabled, profile, ..older },
            None => Known {
                identity,
                tokens,
                is_guest,
                is_enabled,
                profile,
                meter: Arc::new(Meter::new(rules.config.device_rate(), rules.elapsed)),
                open: None,
                disconnected_at: None,
                last_seen: None,
            },
        };
        known.tell(rules);
        self.by_id.insert(id, known);
        bad
    }

    /// Takes a device out of the maps.
    fn forget(&mut self, id: &str) -> Option<Known> {
        let known = self.by_id.remove(id)?;
        for (hash, _) in &known.tokens {
            self.by_hash.remove(hash);
        }
        for (mark, _) in &known.profile.certificates {
            self.by_mark.remove(mark);
        }
        self.guests -= usize::from(known.is_guest);
        Some(known)
    }

    /// Notes when a device was last seen before this start.
    pub(super) fn note_seen(&mut self, id: &str, at: Timestamp) {
        if let Some(known) = self.by_id.get_mut(id) {
            known.last_seen = known.last_seen.max(Some(at));
        }
    }

    /// Tells whether a device is known from a JSON web token alone.
    pub(super) fn is_guest(&self, id: &str) -> bool {
        self.by_id.get(id).is_some_and(|known| known.is_guest)
    }

    /// Forgets a device and ends its connection, which is returned.
    pub(super) fn remove(&mut self, id: &str) -> Option<Ended> {
        let open = self.forget(id)?.open?;
        self.connected -= 1;
        open.orders.give(Order::End(End::REMOVED));
        Some(open.ended())
    }

    /// Takes new settings: roles and rates hold for open connections at once.
    pub(super) fn reconfigure(&mut self, devices: Vec<state::Device>, rules: Rules<'_>) -> Vec<String> {
        let rate = rules.config.device_rate();
        for known in self.by_id.values() {
            known.meter.set(rate, rules.elapsed);
            known.tell(rules);
        }
        devices.into_iter().flat_map(|device| self.insert(device, rules)).collect()
    }

    /// Checks what somebody shows; nothing if that is only a certificate that is no device's.
    pub(super) fn check(&self, shown: &Shown, rules: Rules<'_>) -> Result<Option<Admitted>, &'static str> {
        let certified = shown.certificate.as_ref().map(|shown| self.check_certificate(shown, rules)).transpose()?;
        match (&shown.claim, certified.flatten()) {
            (None, certified) => Ok(certified),
            (Some(claim), None) => self.check_claim(claim, rules).map(Some),
            (Some(claim), Some(certified)) => {
                let claimed = self.check_claim(claim, rules)?;
                let is_same = claimed.identity.device_id == certified.identity.device_id;
                if is_same { Ok(Some(claimed)) } else { Err(OTHER) }
            }
        }
    }

    /// Finds the device of a certificate: by its fingerprint, else by the one device that its names stand for.
    fn check_certificate(&self, shown: &ClientCertificate, rules: Rules<'_>) -> Result<Option<Admitted>, &'static str> {
        let mut found: Option<(&Known, Option<String>)> = None;
        let entered = shown.marks().filter_map(|mark| Some((self.by_id.get(self.by_mark.get(&mark)?)?, Some(mark))));
        let named = shown.ids().filter_map(|id| Some((self.by_id.get(id).filter(|known| !known.is_guest)?, None)));
        for (known, mark) in entered.chain(named) {
            match &found {
                None => found = Some((known, mark)),
                // One certificate is one device's, whatever else it is named.
                Some((_, Some(mark))) if *mark == shown.certificate.fingerprint.to_string() => break,
                Some((first, _)) if first.identity.device_id != known.identity.device_id => return Err(AMBIGUOUS),
                Some(_) => {}
            }
        }
        let Some((known, mark)) = found else { return Ok(None) };
        let not_after = shown.certificate.not_after;
        if !known.is_enabled {
            return Err(REVOKED);
        }
        if rules.moment.now >= not_after {
            return Err(OVER);
        }
        let proof = Proof::Certificate { mark, not_after };
        Ok(Some(Admitted { identity: known.certified(not_after), proof }))
    }

    /// Checks a claim; the same answer, after the same work, whatever is wrong with it.
    fn check_claim(&self, claim: &Claim, rules: Rules<'_>) -> Result<Admitted, &'static str> {
        let is_jwt = jwt::is_alike(&claim.token);
        match &rules.config.jwt {
            Some(jwt) if is_jwt => {
                let claims = jwt.check(&claim.token, rules.moment)?;
                if claim.device_id.as_ref().is_some_and(|id| *id != claims.device_id) {
                    return Err(WRONG);
                }
                self.check_claims(claims, rules)
            }
            _ => self.check_token(claim, rules).map_err(|why| match claim.device_id {
                None if is_jwt => JWT,
                _ => why,
            }),
        }
    }

    fn check_token(&self, claim: &Claim, rules: Rules<'_>) -> Result<Admitted, &'static str> {
        if claim.token.len() > token::CHARS_MAX {
            return Err(WRONG);
        }
        let shown = TokenHash::of(&claim.token);
        let id = claim.device_id.as_ref().or_else(|| self.by_hash.get(&shown));
        let known = id.and_then(|id| self.by_id.get(id));
        let mut found = None;
        // Each is compared, so that time says nothing about which is right.
        for (hash, expires_at) in known.map(|known| known.tokens.as_slice()).unwrap_or_default() {
            if hash.is_same(&shown) {
                found = Some(*expires_at);
            }
        }
        match (known, found) {
            (Some(_), Some(Some(end))) if rules.moment.now >= end => Err(refusals::EXPIRED),
            (Some(known), Some(expires_at)) if known.is_enabled => {
                let identity = known.until(expires_at);
                Ok(Admitted { identity, proof: Proof::Token(shown) })
            }
            _ => Err(WRONG),
        }
    }

    fn check_claims(&self, claims: Claims, rules: Rules<'_>) -> Result<Admitted, &'static str> {
        if !enrol::is_id(&claims.device_id) || !enrol::is_word(&claims.role) {
            return Err(refusals::CLAIMS);
        }
        let known = self.by_id.get(&claims.device_id);
        if known.is_some_and(|known| !known.is_enabled) {
            return Err(REVOKED);
        }
        let role: Arc<str> = claims.role.as_str().into();
        let has_room = self.guest_types.len() < GUEST_TYPES_MAX || self.guest_types.contains(&role);
        let device_type = match known {
            Some(known) => known.identity.device_type.clone(),
            None if has_room => role.clone(),
            None => GUEST_TYPE.into(),
        };
        let base = known.filter(|known| !known.is_guest).map(|known| &known.identity.permissions);
        let permissions = claimed_permissions(&claims, base, &rules.config.roles);
        let identity = Arc::new(Identity {
            device_id: claims.device_id.as_str().into(),
            device_type,
            role,
            permissions,
            expires_at: Some(claims.expires_at),
            is_certified: false,
        });
        Ok(Admitted { identity, proof: Proof::Claims(Arc::new(claims)) })
    }

    /// Lets a checked device in; an older connection of it is ended, or stays and this one is not let in. Returns
    /// the ended one's age too.
    pub(super) fn connect(
        &mut self,
        identity: Arc<Identity>,
        open: Open,
        rules: Rules<'_>,
    ) -> Result<(Entry, Option<Ended>), &'static str> {
        if !self.by_id.contains_key(&*identity.device_id) {
            self.add_guest(&identity, open.connected_at, rules)?;
        }
        let known = self.by_id.get_mut(&*identity.device_id).ok_or(WRONG)?;
        if known.open.is_some() && rules.config.second_session == SecondSession::Refuse {
            return Err(CONNECTED);
        }
        if known.is_guest {
            // Its newest token says what it is.
            let profile = DeviceProfile::of_guest(&identity, known.profile.created_at);
            (known.identity, known.profile) = (identity.clone(), Arc::new(profile));
        }
        self.next_number += 1;
        let number = self.next_number;
        open.traffic.set_number(number);
        let older = known.open.replace(open);
        match &older {
            Some(older) => older.orders.give(Order::End(End::REPLACED)),
            None => self.connected += 1,
        }
        let replaced = older.map(Open::ended);
        Ok((Entry { identity, meter: known.meter.clone(), number }, replaced))
    }

    fn add_guest(&mut self, identity: &Arc<Identity>, now: Timestamp, rules: Rules<'_>) -> Result<(), &'static str> {
        if self.guests >= GUESTS_MAX {
            let away = self.by_id.iter().filter(|(_, known)| known.is_guest && known.open.is_none());
            let longest = away.min_by_key(|(_, known)| known.disconnected_at).map(|(id, _)| id.clone());
            self.forget(&longest.ok_or(CROWDED)?);
        }
        self.guest_types.insert(identity.device_type.clone());
        self.guests += 1;
        let known = Known {
            tokens: Vec::new(),
            is_guest: true,
            is_enabled: true,
            profile: Arc::new(DeviceProfile::of_guest(identity, now)),
            identity: identity.clone(),
            meter: Arc::new(Meter::new(rules.config.device_rate(), rules.elapsed)),
            open: None,
            disconnected_at: None,
            last_seen: None,
        };
        self.by_id.insert(identity.device_id.to_string(), known);
        Ok(())
    }

    /// Notes that a connection ended; nothing if a newer one has taken its place.
    pub(super) fn disconnect(&mut self, device_id: &str, number: u64, now: Timestamp) -> Option<Ended> {
        let known = self.by_id.get_mut(device_id)?;
        let open = known.open.take_if(|open| open.traffic.number() == number)?;
        known.disconnected_at = Some(now);
        known.last_seen = open.traffic.last_received().or(known.last_seen);
        self.connected -= 1;
        Some(open.ended())
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

    /// Calls with the id and the meter of each connected device.
    pub(super) fn for_each_open(&self, mut visit: impl FnMut(&str, &Meter)) {
        for known in self.by_id.values().filter(|known| known.open.is_some()) {
            visit(&known.identity.device_id, &known.meter);
        }
    }
}

impl Open {
    fn ended(self) -> Ended {
        Ended { connected_at: self.connected_at, device_type: self.device_type }
    }
}

impl Known {
    /// Returns the registered identity with an end.
    fn until(&self, expires_at: Option<Timestamp>) -> Arc<Identity> {
        match expires_at {
            None => self.identity.clone(),
            Some(_) => Arc::new(Identity { expires_at, ..(*self.identity).clone() }),
        }
    }

    /// Returns the registered identity as a certificate shows it.
    fn certified(&self, not_after: Timestamp) -> Arc<Identity> {
        Arc::new(Identity { expires_at: Some(not_after), is_certified: true, ..(*self.identity).clone() })
    }

    /// Tells the open connection, if there is one, what it has to know after a change.
    fn tell(&self, rules: Rules<'_>) {
        if let Some(open) = &self.open {
            open.orders.give(self.order(&open.proof, rules));
        }
    }

    /// Returns what a connection with this proof has to know.
    fn order(&self, proof: &Proof, rules: Rules<'_>) -> Order {
        if !self.is_enabled {
            return Order::End(End::REVOKED);
        }
        let identity = match proof {
            Proof::Token(shown) => match self.tokens.iter().find(|(hash, _)| hash == shown) {
                Some((_, expires_at)) => self.until(*expires_at),
                None => return Order::End(End::REVOKED),
            },
            Proof::Certificate { mark: Some(mark), .. } if self.profile.certificates.iter().all(|(m, _)| m != mark) => {
                return Order::End(End::REVOKED);
            }
            Proof::Certificate { not_after, .. } => self.certified(*not_after),
            Proof::Claims(claims) if !rules.config.jwt.as_ref().is_some_and(|jwt| jwt.has(&claims.key)) => {
                return Order::End(End::KEY);
            }
            Proof::Claims(claims) => {
                let base = (!self.is_guest).then_some(&self.identity.permissions);
                Arc::new(Identity {
                    role: claims.role.as_str().into(),
                    permissions: claimed_permissions(claims, base, &rules.config.roles),
                    expires_at: Some(claims.expires_at),
                    ..(*self.identity).clone()
                })
            }
        };
        Order::Be(identity)
    }

    fn last_seen(&self) -> Option<Timestamp> {
        self.open.as_ref().and_then(|open| open.traffic.last_received()).or(self.last_seen)
    }

    fn view(&self) -> DeviceView {
        DeviceView {
            profile: self.profile.clone(),
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

/// Returns what a registered device may do: its own lists and its role's; and what cannot be read of them.
fn registered_permissions(device: &state::Device, roles: &Roles) -> (Permissions, Vec<String>) {
    let role = roles.get(&device.role);
    let read = |own: &[String], of_role: Option<&[String]>| {
        resolve_all([own, of_role.unwrap_or_default()], &device.id, &device.group)
    };
    let (publish, mut bad) = read(&device.publish, role.map(|role| role.publish.as_slice()));
    let (subscribe, more) = read(&device.subscribe, role.map(|role| role.subscribe.as_slice()));
    bad.extend(more);
    (Permissions { publish, subscribe }, bad)
}

/// Returns what a token's bearer may do: what the token says; where it says nothing, what the device may do as
/// registered; if it is not, what its role may.
fn claimed_permissions(claims: &Claims, registered: Option<&Permissions>, roles: &Roles) -> Permissions {
    let read = |list: &[String]| {
        let list = list.get(..list.len().min(super::permissions::PATTERNS_MAX)).unwrap_or_default();
        // What cannot be read is not allowed.
        resolve_all([list], &claims.device_id, "").0
    };
    let role = roles.get(&claims.role).cloned().unwrap_or_default();
    Permissions {
        publish: match (&claims.publish, registered) {
            (Some(list), _) => read(list),
            (None, Some(registered)) => registered.publish.clone(),
            (None, None) => read(&role.publish),
        },
        subscribe: match (&claims.subscribe, registered) {
            (Some(list), _) => read(list),
            (None, Some(registered)) => registered.subscribe.clone(),
            (None, None) => read(&role.subscribe),
        },
    }
}

impl Config {
    /// Returns what one device may send.
    #[expect(clippy::cast_precision_loss, reason = "a rate is far below 2^53")]
    pub(super) fn device_rate(&self) -> Rate {
        let bytes = self.bytes_per_second as f64;
        Rate {
            frames: f64::from(self.messages_per_second),
            bytes,
            bytes_burst: bytes.max(self.message_bytes_max as f64),
        }
    }

    /// Returns what all devices together may send.
    #[expect(clippy::cast_precision_loss, reason = "a rate is far below 2^53")]
    pub(super) fn total_rate(&self) -> Rate {
        let bytes = self.total_bytes_per_second as f64;
        Rate {
            frames: f64::from(self.total_messages_per_second),
            bytes,
            bytes_burst: bytes.max(self.message_bytes_max as f64),
        }
    }
}
