//! JSON web tokens: who signed one, for whom, until when.
//!
//! Only what devices need: compact serialisation, HS256, RS256, ES256 and EdDSA with Ed25519. A key has one
//! algorithm, so a token cannot choose how it is checked, and `none` is no algorithm. Signatures are checked by
//! `ring`, which TLS uses already. Pure: the caller hands in the time.
//! Sources: RFC 7515, 7517, 7518, 7519, 8037.

#![deny(clippy::indexing_slicing)]

mod claims;
mod der;
#[cfg(test)]
mod jwt_test;
mod key;
mod source;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

pub use key::Key;
pub use source::{Origin, Source};

pub(super) use claims::Claims;

use crate::model::Timestamp;

/// Longest token that is looked at: one in a header of a request has to fit there.
pub(super) const CHARS_MAX: usize = 12 << 10;

/// Whose tokens are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Whose keys sign; at least one.
    pub sources: Vec<Source>,
    /// What `iss` must be; nothing: it is not looked at.
    pub issuer: Option<String>,
    /// What `aud` must be or hold; nothing: it is not looked at.
    pub audience: Option<String>,
    /// How far the clock of who signs may be off. Default 30 s.
    pub clock_skew: Duration,
}

/// The moment at which a token is shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: Timestamp,
    /// Whether the box believes its clock; if not, a token that seems to begin later is taken.
    pub(super) is_trusted: bool,
}

/// What a device is told whose token is not taken; the texts of nats-websocket-bridge, as far as it has them.
pub(super) mod refusals {
    pub(in crate::gateway) const EXPIRED: &str = "Token expired";
    pub(in crate::gateway) const CLAIMS: &str = "Missing required claims";
    pub(super) const FORM: &str = "Token validation failed: not a JSON web token";
    pub(super) const ALGORITHM: &str = "Token validation failed: no key for its algorithm";
    pub(super) const KEY: &str = "Token validation failed: no key of its name";
    pub(super) const SIGNATURE: &str = "Token validation failed: wrong signature";
    pub(super) const ISSUER: &str = "Token validation failed: wrong issuer";
    pub(super) const AUDIENCE: &str = "Token validation failed: wrong audience";
    pub(super) const EARLY: &str = "Token validation failed: not valid yet";
}

/// Tells whether a text has the form of a JSON web token.
pub(super) fn is_alike(token: &str) -> bool {
    token.starts_with("eyJ") && token.bytes().filter(|b| *b == b'.').count() == 2
}

impl Config {
    /// Checks a token and returns what it says of its bearer, or the reason why it is not taken.
    pub(super) fn check(&self, token: &str, moment: Moment) -> Result<Claims, &'static str> {
        let (signed, signature) = token.rsplit_once('.').ok_or(refusals::FORM)?;
        let (header, payload) = signed.split_once('.').ok_or(refusals::FORM)?;
        if token.len() > CHARS_MAX {
            return Err(refusals::FORM);
        }
        let header = object(header)?;
        // An extension that must be understood is not.
        if header.contains_key("crit") {
            return Err(refusals::FORM);
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| refusals::FORM)?;
        let key = self.check_signature(&header, signed.as_bytes(), &signature)?;
        let payload = object(payload)?;
        if self.issuer.as_deref().is_some_and(|issuer| payload.get("iss").and_then(Value::as_str) != Some(issuer)) {
            return Err(refusals::ISSUER);
        }
        if self.audience.as_deref().is_some_and(|audience| !names(payload.get("aud"), audience)) {
            return Err(refusals::AUDIENCE);
        }
        claims::read(&payload, key, self.clock_skew, moment)
    }

    /// Tells whether a token may be signed with a key.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.keys().any(|known| **known == *key)
    }

    fn keys(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.sources.iter().flat_map(|source| &source.keys)
    }

    /// Returns the key that signed.
    fn check_signature(
        &self,
        header: &Map<String, Value>,
        signed: &[u8],
        bytes: &[u8],
    ) -> Result<&Arc<Key>, &'static str> {
        let algorithm = header.get("alg").and_then(Value::as_str).unwrap_or("");
        let name = header.get("kid").and_then(Value::as_str);
        let of_algorithm = || self.keys().filter(|key| key.algorithm() == algorithm);
        if of_algorithm().next().is_none() {
            return Err(refusals::ALGORITHM);
        }
        // A key without a name may be meant by any.
        let is_meant = |key: &&Arc<Key>| key.name().zip(name).is_none_or(|(own, asked)| own == asked);
        let mut meant = of_algorithm().filter(is_meant).peekable();
        if meant.peek().is_none() {
            return Err(refusals::KEY);
        }
        meant.find(|key| key.verifies(signed, bytes)).ok_or(refusals::SIGNATURE)
    }
}

/// Reads a part of a token as a JSON object.
fn object(part: &str) -> Result<Map<String, Value>, &'static str> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| refusals::FORM)?;
    serde_json::from_slice(&bytes).map_err(|_| refusals::FORM)
}

/// Tells whether `aud`, a text or a list of texts, names somebody.
fn names(audience: Option<&Value>, wanted: &str) -> bool {
    match audience {
        Some(Value::String(text)) => text == wanted,
        Some(Value::Array(list)) => list.iter().any(|one| one.as_str() == Some(wanted)),
        _ => false,
    }
}

/// Door for fuzzers: a token, checked without its signature counting.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(text: &str) {
    let moment = Moment { now: Timestamp::from_millis(1_700_000_000_000), is_trusted: true };
    let keys: Vec<_> = Key::from_jwks(text).unwrap_or_default().into_iter().map(Arc::new).collect();
    let key = keys.first().cloned();
    let sources = vec![Source { origin: Origin::Set("fuzz".into()), keys }];
    let config = Config { sources, issuer: None, audience: Some("a".to_owned()), clock_skew: Duration::from_secs(30) };
    let _ = config.check(text, moment);
    let _ = Key::from_pem(text);
    if let (Ok(payload), Some(key)) = (serde_json::from_str(text), key) {
        let _ = claims::read(&payload, &key, Duration::ZERO, moment);
    }
}
