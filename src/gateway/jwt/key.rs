//! A key that a token may be signed with.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::hmac;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde_json::{Map, Value};

use super::der;
use crate::model::Secret;

/// Shortest shared secret in bytes; nats-websocket-bridge asks for as many.
const SECRET_BYTES_MIN: usize = 32;
/// Most keys of one set.
const SET_KEYS_MAX: usize = 64;
const PEM_BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const PEM_END: &str = "-----END PUBLIC KEY-----";

/// One key with its one algorithm, and its name if it has one.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    name: Option<String>,
    material: Material,
}

#[derive(Clone, PartialEq, Eq)]
enum Material {
    /// HS256.
    Secret(Vec<u8>),
    /// RS256: modulus and exponent, big-endian.
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    /// RS256: an `RSAPublicKey` in DER.
    RsaDer(Vec<u8>),
    /// ES256: an uncompressed point.
    P256(Vec<u8>),
    /// `EdDSA`.
    Ed25519(Vec<u8>),
}

impl Key {
    /// Takes a shared secret, for HS256.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn from_secret(secret: &Secret) -> Result<Key, String> {
        let bytes = secret.expose().as_bytes();
        if bytes.len() < SECRET_BYTES_MIN {
            return Err(format!("a secret for HS256 needs at least {SECRET_BYTES_MIN} bytes"));
        }
        Ok(Key { name: None, material: Material::Secret(bytes.to_vec()) })
    }

    /// Reads a public key in PEM (`BEGIN PUBLIC KEY`): RSA for RS256, P-256 for ES256, Ed25519 for `EdDSA`.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn from_pem(text: &str) -> Result<Key, String> {
        let (_, text) = text.split_once(PEM_BEGIN).ok_or(format!("there is no {PEM_BEGIN}"))?;
        let (text, _) = text.split_once(PEM_END).ok_or(format!("there is no {PEM_END}"))?;
        let text: String = text.split_whitespace().collect();
        let bytes = STANDARD.decode(text).map_err(|_| "it is not base64".to_owned())?;
        let info = der::public_key_info(&bytes).ok_or("it is not a public key in DER")?;
        let key = info.key.to_vec();
        let material = match (info.algorithm, info.curve) {
            (der::RSA, _) => Material::RsaDer(key),
            (der::EC, Some(der::P256)) => Material::P256(key),
            (der::ED25519, _) => Material::Ed25519(key),
            _ => return Err("only keys of RSA, P-256 and Ed25519 are taken".to_owned()),
        };
        Key { name: None, material }.checked()
    }

    /// Reads a set of keys (`{"keys":[..]}`). Keys that are not for signing, or of kinds that are not taken, are left
    /// out.
    ///
    /// # Errors
    /// What is wrong with it, for people; also if no key is left.
    pub fn from_jwks(text: &str) -> Result<Vec<Key>, String> {
        let set: Map<String, Value> = serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
        let list = set.get("keys").and_then(Value::as_array).ok_or("it has no list `keys`")?;
        if list.len() > SET_KEYS_MAX {
            return Err(format!("it has more than {SET_KEYS_MAX} keys"));
        }
        let mut keys = Vec::new();
        for (number, key) in (1..).zip(list) {
            if let Some(key) = Key::from_jwk(key).map_err(|why| format!("key {number}: {why}"))? {
                keys.push(key);
            }
        }
        if keys.is_empty() { Err("it has no key for HS256, RS256, ES256 or EdDSA".to_owned()) } else { Ok(keys) }
    }

    fn from_jwk(key: &Value) -> Result<Option<Key>, String> {
        let text = |name: &str| key.get(name).and_then(Value::as_str);
        let bytes = |name: &str| -> Result<Vec<u8>, String> {
            let text = text(name).ok_or(format!("`{name}` is missing"))?;
            URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| format!("`{name}` is not base64url"))
        };
        if text("use").is_some_and(|purpose| purpose != "sig") {
            return Ok(None);
        }
        let material = match (text("kty"), text("crv")) {
            (Some("oct"), _) => Material::Secret(bytes("k")?),
            (Some("RSA"), _) => Material::Rsa { modulus: bytes("n")?, exponent: bytes("e")? },
            (Some("EC"), Some("P-256")) => Material::P256([vec![4], bytes("x")?, bytes("y")?].concat()),
            (Some("OKP"), Some("Ed25519")) => Material::Ed25519(bytes("x")?),
            _ => return Ok(None),
        };
        let key = Key { name: text("kid").map(str::to_owned), material };
        if text("alg").is_some_and(|algorithm| algorithm != key.algorithm()) {
            return Ok(None);
        }
        key.checked().map(Some)
    }

    /// Looks whether the sizes are right; whether it is a point on the curve shows when it is used.
    fn checked(self) -> Result<Key, String> {
        let (size, is_right) = match &self.material {
            Material::Secret(bytes) => (bytes.len(), bytes.len() >= SECRET_BYTES_MIN),
            Material::Rsa { modulus, exponent } => {
                (modulus.len(), (256..=1025).contains(&modulus.len()) && (1..=8).contains(&exponent.len()))
            }
            Material::RsaDer(bytes) => (bytes.len(), (256..=1100).contains(&bytes.len())),
            Material::P256(point) => (point.len(), point.len() == 65 && point.first() == Some(&4)),
            Material::Ed25519(bytes) => (bytes.len(), bytes.len() == 32),
        };
        if is_right { Ok(self) } else { Err(format!("a key for {} is not of {size} bytes", self.algorithm())) }
    }

    /// Returns the algorithm, as `alg` names it.
    pub(super) fn algorithm(&self) -> &'static str {
        match self.material {
            Material::Secret(_) => "HS256",
            Material::Rsa { .. } | Material::RsaDer(_) => "RS256",
            Material::P256(_) => "ES256",
            Material::Ed25519(_) => "EdDSA",
        }
    }

    /// Returns the key's name, `kid`.
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Tells whether a signature is this key's. Cost: up to 100 µs of CPU for ES256.
    pub(super) fn verifies(&self, signed: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Secret(secret) => {
                hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed, signature).is_ok()
            }
            Material::Rsa { modulus, exponent } => {
                // Leading zeros are legal base64url and refused by ring.
                let n = modulus.iter().position(|byte| *byte != 0).and_then(|at| modulus.get(at..)).unwrap_or(&[]);
                let key = RsaPublicKeyComponents { n, e: exponent.as_slice() };
                key.verify(&RSA_PKCS1_2048_8192_SHA256, signed, signature).is_ok()
            }
            Material::RsaDer(der) => {
                UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der).verify(signed, signature).is_ok()
            }
            Material::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed, signature).is_ok()
            }
            Material::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(signed, signature).is_ok(),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, {})", self.algorithm(), self.name().unwrap_or("no name"))
    }
}
