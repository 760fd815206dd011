//! What a token says of its bearer.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::{Key, Moment, refusals};
use crate::model::Timestamp;

/// Latest expiry in seconds: the year 9999.
const LATEST_S: f64 = 253_402_300_799.0;

/// A token that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::gateway) struct Claims {
    /// The device: `sub`.
    pub(in crate::gateway) device_id: String,
    /// `role`; `device` if the token has none.
    pub(in crate::gateway) role: String,
    /// Patterns it may publish on: `pub`; nothing if the token does not say.
    pub(in crate::gateway) publish: Option<Vec<String>>,
    /// Patterns it may subscribe to: `subscribe`; nothing if the token does not say.
    pub(in crate::gateway) subscribe: Option<Vec<String>>,
    /// When it ends, with the skew that clocks may have.
    pub(in crate::gateway) expires_at: Timestamp,
    /// Which key signed it.
    pub(in crate::gateway) key: Arc<Key>,
}

/// Reads the claims of a token whose signature is right.
pub(super) fn read(
    payload: &Map<String, Value>,
    key: &Arc<Key>,
    skew: Duration,
    moment: Moment,
) -> Result<Claims, &'static str> {
    let text = |name: &str| payload.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let (device_id, expiry) = (text("sub").ok_or(refusals::CLAIMS)?, seconds(payload.get("exp")));
    let expires_at = expiry.ok_or(refusals::CLAIMS)? + skew;
    if moment.now >= expires_at {
        return Err(refusals::EXPIRED);
    }
    let begins = match payload.get("nbf") {
        None | Some(Value::Null) => None,
        begins => Some(seconds(begins).ok_or(refusals::CLAIMS)?),
    };
    // A clock that is not believed is behind as a rule: it says nothing about a beginning.
    if moment.is_trusted && begins.is_some_and(|begins| begins > moment.now + skew) {
        return Err(refusals::EARLY);
    }
    Ok(Claims {
        device_id: device_id.to_owned(),
        role: text("role").unwrap_or("device").to_owned(),
        publish: topics(payload.get("pub"))?,
        subscribe: topics(payload.get("subscribe"))?,
        expires_at,
        key: key.clone(),
    })
}

/// Reads a NumericDate.
fn seconds(value: Option<&Value>) -> Option<Timestamp> {
    let seconds = value?.as_f64().filter(|seconds| (0.0..=LATEST_S).contains(seconds))?;
    Some(Timestamp::from_seconds(seconds))
}

/// Reads a list of patterns: an array, a text that holds one as JSON, or a text with commas, as the tools around
/// nats-websocket-bridge write them.
fn topics(value: Option<&Value>) -> Result<Option<Vec<String>>, &'static str> {
    let of_array = |list: &[Value]| -> Result<Vec<String>, &'static str> {
        list.iter().map(|one| one.as_str().map(str::to_owned).ok_or(refusals::CLAIMS)).collect()
    };
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(list)) => of_array(list).map(Some),
        Some(Value::String(text)) if text.trim_start().starts_with('[') => {
            let list: Vec<Value> = serde_json::from_str(text).map_err(|_| refusals::CLAIMS)?;
            of_array(&list).map(Some)
        }
        Some(Value::String(text)) => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Ok(Some(parts.map(str::to_owned).collect()))
        }
        Some(_) => Err(refusals::CLAIMS),
    }
}
