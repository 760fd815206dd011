//! Devices on paper: what makes a good entry, and its way into the store. Blocks; also for `andon device` beside a
//! box that is not running.

use std::time::Duration;

use super::certificate::{CERTIFICATES_MAX, certificate_mark};
use super::error::{Error, Result};
use super::permissions::{self, PATTERNS_MAX};
use super::token::{self, TokenHash};
use super::validate;
use crate::model::Timestamp;
use crate::storage::state;

/// How long older tokens hold after a rotation, unless somebody says otherwise.
pub const DEFAULT_OVERLAP: Duration = Duration::from_secs(24 * 3600);

/// Longest device id; it is one token of a subject.
pub(super) const ID_CHARS_MAX: usize = 64;
/// Longest device type, role and group; they are label values or tokens of subjects.
const WORD_CHARS_MAX: usize = 32;

/// A device as somebody wants it added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewDevice {
    /// Its name: letters, digits, `-` and `_`, at most 64.
    pub id: String,
    /// What it is (`sensor`, `actuator`, ...); may be empty.
    pub device_type: String,
    /// A role of the settings, whose lists it has beside its own; may be empty.
    pub role: String,
    /// What it belongs to, for `{group}` in patterns; may be empty.
    pub group: String,
    /// Patterns it may publish on; nothing for the default list, or for none of its own if it has a role.
    pub publish: Option<Vec<String>>,
    /// Patterns it may subscribe to; nothing for the default list, or for none of its own if it has a role.
    pub subscribe: Option<Vec<String>>,
    /// A token that the device brings along, at least 16 characters; nothing to have one made.
    pub token: Option<String>,
    /// How long the token holds; nothing: for ever.
    pub expires_in: Option<Duration>,
    /// Takes a brought token however short it is, for devices that cannot be given another.
    pub takes_short_token: bool,
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

/// What is to be done with a registered device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Give it other properties.
    Change(state::Change),
    /// Give it one more token; the ones it has hold for `overlap` at most.
    Rotate {
        /// How long the ones it has still hold.
        overlap: Duration,
        /// How long the new one holds; nothing: for ever.
        expires_in: Option<Duration>,
    },
    /// Let it show who it is by a certificate: a fingerprint, a name, or the certificate in PEM.
    AddCertificate(String),
    /// Take a certificate from it.
    RemoveCertificate(String),
    /// Take its tokens and certificates and keep it out, without forgetting it.
    Revoke,
    /// Forget it.
    Remove,
}

/// Checks a new device and writes it into the store of the box. Blocks on a file sync.
///
/// # Errors
/// [`Error::Invalid`], [`Error::Exists`], [`Error::State`].
pub fn register(
    state: &state::State,
    new: NewDevice,
    default_publish: &[String],
    default_subscribe: &[String],
    now: Timestamp,
) -> Result<AddedDevice> {
    let token_expires_at = new.expires_in.map(|lasts| now + lasts);
    let (role, group) = (new.role.clone(), new.group.clone());
    let added = prepare(new, default_publish, default_subscribe)?;
    let row = state::NewDevice {
        id: added.id.clone(),
        device_type: added.device_type.clone(),
        role,
        group,
        token_hash: Some(TokenHash::of(&added.token).to_string()),
        token_expires_at,
        publish: added.publish.clone(),
        subscribe: added.subscribe.clone(),
        is_enabled: true,
    };
    if state.devices().add(&row)? {
        Ok(added)
    } else if state.devices().get(&added.id)?.is_some() {
        Err(Error::Exists(added.id))
    } else {
        Err(Error::Invalid { field: "token", reason: "another device has it".to_owned() })
    }
}

/// Enters a device of which only tokens of others have told, kept out.
pub(super) fn register_revoked(state: &state::State, id: &str) -> Result<()> {
    let row = state::NewDevice {
        id: id.to_owned(),
        device_type: String::new(),
        role: String::new(),
        group: String::new(),
        token_hash: None,
        token_expires_at: None,
        publish: Vec::new(),
        subscribe: Vec::new(),
        is_enabled: false,
    };
    state.devices().add(&row)?;
    Ok(())
}

/// Carries an edit out in the store; returns the new token of a rotation. Blocks on a file sync.
///
/// # Errors
/// [`Error::Invalid`], [`Error::Unknown`], [`Error::State`].
pub fn edit(state: &state::State, id: &str, edit: &Edit, now: Timestamp) -> Result<Option<String>> {
    let devices = state.devices();
    let (is_known, token) = match edit {
        Edit::Change(change) => {
            check_change(id, change)?;
            (devices.change(id, change)?, None)
        }
        Edit::Rotate { overlap, expires_in } => {
            let token = token::generate();
            let (hash, expires_at) = (TokenHash::of(&token).to_string(), expires_in.map(|lasts| now + lasts));
            (devices.rotate(id, &hash, now + *overlap, expires_at)?, Some(token))
        }
        Edit::AddCertificate(text) => (add_certificate(state, id, text)?, None),
        Edit::RemoveCertificate(text) => {
            let mark = certificate_mark(text)?;
            let is_gone = devices.remove_certificate(id, &mark)?;
            if !is_gone && devices.get(id)?.is_some() {
                let reason = format!("it has none that is known by {mark}");
                return Err(Error::Invalid { field: "certificate", reason });
            }
            (is_gone, None)
        }
        Edit::Revoke => (devices.revoke(id)?, None),
        Edit::Remove => (devices.remove(id)?, None),
    };
    if is_known { Ok(token) } else { Err(Error::Unknown(id.to_owned())) }
}

/// Enters a certificate; one that the device has already stays. Returns whether the device is known.
fn add_certificate(state: &state::State, id: &str, text: &str) -> Result<bool> {
    let mark = certificate_mark(text)?;
    let Some(device) = state.devices().get(id)? else { return Ok(false) };
    let invalid = |reason: String| Err(Error::Invalid { field: "certificate", reason });
    if device.certificates.iter().any(|certificate| certificate.mark == mark) {
        return Ok(true);
    }
    if device.certificates.len() >= CERTIFICATES_MAX {
        return invalid(format!("a device has no more than {CERTIFICATES_MAX}"));
    }
    if state.devices().add_certificate(id, &mark)? { Ok(true) } else { invalid("another device has it".to_owned()) }
}

fn prepare(new: NewDevice, default_publish: &[String], default_subscribe: &[String]) -> Result<AddedDevice> {
    check_id(&new.id)?;
    check_words(&new.device_type, &new.role, &new.group)?;
    let token = new.token.unwrap_or_else(token::generate);
    let min = if new.takes_short_token { 1 } else { token::BROUGHT_CHARS_MIN };
    if !(min..=token::CHARS_MAX).contains(&token.len()) || !token.bytes().all(|b| b.is_ascii_graphic()) {
        let reason = format!("needs {min} to {} printable ASCII characters without spaces", token::CHARS_MAX);
        return Err(Error::Invalid { field: "token", reason });
    }
    let own = |given: Option<Vec<String>>, default: &[String]| match given {
        Some(list) => list,
        None if new.role.is_empty() => default.to_vec(),
        None => Vec::new(),
    };
    let (publish, subscribe) = (own(new.publish, default_publish), own(new.subscribe, default_subscribe));
    check_list("publish", &publish, &new.id)?;
    check_list("subscribe", &subscribe, &new.id)?;
    Ok(AddedDevice { id: new.id, device_type: new.device_type, token, publish, subscribe })
}

fn check_change(id: &str, change: &state::Change) -> Result<()> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    check_words(&text(&change.device_type), &text(&change.role), &text(&change.group))?;
    check_list("publish", change.publish.as_deref().unwrap_or_default(), id)?;
    check_list("subscribe", change.subscribe.as_deref().unwrap_or_default(), id)
}

fn check_id(id: &str) -> Result<()> {
    if is_id(id) {
        return Ok(());
    }
    Err(Error::Invalid { field: "id", reason: format!("needs 1 to {ID_CHARS_MAX} letters, digits, '-' or '_'") })
}

/// Tells whether a text may be a device's name.
pub(super) fn is_id(text: &str) -> bool {
    validate::is_token(text) && text.len() <= ID_CHARS_MAX
}

/// Tells whether a text may be a type or a role.
pub(super) fn is_word(text: &str) -> bool {
    let is_plain = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    is_plain && text.len() <= WORD_CHARS_MAX
}

fn check_words(device_type: &str, role: &str, group: &str) -> Result<()> {
    for (field, text) in [("type", device_type), ("role", role)] {
        if !is_word(text) {
            let reason = format!("takes up to {WORD_CHARS_MAX} letters, digits, '-', '_' or '.'");
            return Err(Error::Invalid { field, reason });
        }
    }
    if group.is_empty() || (validate::is_token(group) && group.len() <= WORD_CHARS_MAX) {
        return Ok(());
    }
    let reason = format!("takes up to {WORD_CHARS_MAX} letters, digits, '-' or '_'");
    Err(Error::Invalid { field: "group", reason })
}

fn check_list(field: &'static str, list: &[String], id: &str) -> Result<()> {
    if list.len() > PATTERNS_MAX {
        return Err(Error::Invalid { field, reason: format!("no more than {PATTERNS_MAX} patterns") });
    }
    for text in list {
        // Any group will do: whether the device has one may change.
        if let Err(refusal) = permissions::resolve(text, id, "group") {
            return Err(Error::Invalid { field, reason: format!("{text:?}: {}", refusal.message) });
        }
    }
    Ok(())
}
