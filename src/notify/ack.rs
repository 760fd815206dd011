//! Links in notices by which somebody takes note of alarms without logging in: the link is the right.
//!
//! `https://box/a/CODE`, short enough for a text message. The code is base64url without padding of 37 bytes, little-endian:
//!
//! | field     | bytes | meaning                                                                           |
//! |-----------|-------|-----------------------------------------------------------------------------------|
//! | what      | 1     | 1: one alarm, 2: alarms of a group                                                |
//! | name      | 8     | the alarm's fingerprint, or the beginning of the SHA-256 of the group's key       |
//! | raised    | 8     | when the alarm was raised (ms); of a group, when the newest that it told of was   |
//! | receiver  | 4     | the beginning of the SHA-256 of the name of whom it was made for                  |
//! | until     | 4     | until when it is good (seconds since 1970)                                        |
//! | signature | 12    | the beginning of an HMAC-SHA256 of all that, with a key of this box alone         |
//!
//! What was raised later is not meant, so a link ends with the alarms that it told of. It ends before when its receiver
//! leaves the settings.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngExt;
use ring::hmac;
use sha2::{Digest, Sha256};

use crate::model::Timestamp;
use crate::storage::disk::{ByteReader, ByteWriter};
use crate::storage::state::State;

/// The fact that holds the key.
const FACT: &str = "acknowledge-key";

/// What the signature is of, beside the link's own bytes.
const PURPOSE: &[u8] = b"andon acknowledge 2\n";

/// Bytes of the signature: nobody tries 2^96 links.
const SIGNATURE_BYTES: usize = 12;

const ONE: u8 = 1;
const GROUP: u8 = 2;

/// What a link allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AckClaim {
    /// Which alarms.
    pub meant: AckMeant,
    /// For whom the link was made.
    pub receiver: String,
    /// Until when it is good, in whole seconds.
    pub until: Timestamp,
}

/// Which alarms a link means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AckMeant {
    /// One, as it was raised then.
    One(u64, Timestamp),
    /// Those of a group that were raised by then: the fingerprints of all that are in it now.
    Group(Vec<u64>, Timestamp),
}

/// Why a link is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AckRefusal {
    /// Something is missing: mail programs cut long addresses.
    #[error("the link is not whole; copy it from the message once more")]
    Damaged,
    /// The signature is not ours, or not of this text.
    #[error("the link was not made by this box, or was changed on its way")]
    Forged,
    /// It was good until then.
    #[error("the link is too old")]
    Expired(Timestamp),
    /// The settings have no links any more, or not the receiver that it was made for.
    #[error("such links were called back in the settings")]
    CalledBack,
    /// The key cannot be read or kept.
    #[error("this box has no key for such links at the moment; its log says why")]
    NoKey,
}

/// What a link says: names are hashes, which the notifier knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) target: Target,
    /// [`receiver_hash`].
    pub(super) receiver: u32,
    /// In whole seconds.
    pub(super) until: Timestamp,
}

/// What a link is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// Fingerprint, and when it was raised.
    Alarm(u64, Timestamp),
    /// [`group_hash`], and when the newest was raised.
    Group(u64, Timestamp),
}

/// Makes links and knows its own again.
#[derive(Debug)]
pub(super) struct AckKey(hmac::Key);

impl AckKey {
    /// Reads this box's key, or makes it.
    pub(super) fn open(state: &State) -> Result<AckKey, String> {
        let fresh = || rand::rng().random::<[u8; 32]>().to_vec();
        let key = state.meta().get_or_set(FACT, fresh).map_err(|e| e.to_string())?;
        Ok(AckKey::new(&key))
    }

    pub(super) fn new(key: &[u8]) -> AckKey {
        AckKey(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// Returns a link's address; `external_url` has no slash at the end.
    pub(super) fn address(&self, external_url: &str, link: Link) -> String {
        let mut bytes = encode(link);
        let signature = self.sign(&bytes);
        bytes.extend(signature.as_ref().iter().take(SIGNATURE_BYTES));
        format!("{external_url}/a/{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Reads what stands behind `/a/`.
    pub(super) fn read(&self, code: &str, now: Timestamp) -> Result<Link, AckRefusal> {
        let bytes = URL_SAFE_NO_PAD.decode(code).map_err(|_| AckRefusal::Damaged)?;
        let at = bytes.len().checked_sub(SIGNATURE_BYTES).ok_or(AckRefusal::Damaged)?;
        let (said, signature) = bytes.split_at(at);
        let link = decode(said).ok_or(AckRefusal::Damaged)?;
        let ours = self.sign(said);
        let ours = ours.as_ref().get(..SIGNATURE_BYTES).ok_or(AckRefusal::Forged)?;
        // Each byte is looked at, however many are right: how long it takes tells nothing.
        let differences = ours.iter().zip(signature).fold(0, |all, (a, b)| all | (a ^ b));
        if differences != 0 {
            return Err(AckRefusal::Forged);
        }
        if now >= link.until { Err(AckRefusal::Expired(link.until)) } else { Ok(link) }
    }

    fn sign(&self, bytes: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(PURPOSE);
        context.update(bytes);
        context.sign()
    }
}

/// Names a group by its key.
pub(super) fn group_hash(key: &str) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(Sha256::digest(key.as_bytes()));
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// Names a receiver.
pub(super) fn receiver_hash(name: &str) -> u32 {
    let [a, b, c, d, ..] = <[u8; 32]>::from(Sha256::digest(name.as_bytes()));
    u32::from_le_bytes([a, b, c, d])
}

fn encode(link: Link) -> Vec<u8> {
    let mut writer = ByteWriter::default();
    let (what, name, raised) = match link.target {
        Target::Alarm(fingerprint, raised_at) => (ONE, fingerprint, raised_at),
        Target::Group(hash, raised_until) => (GROUP, hash, raised_until),
    };
    writer.u8(what);
    writer.u64(name);
    writer.i64(raised.as_millis());
    writer.u32(link.receiver);
    writer.u32(u32::try_from(link.until.as_millis() / 1000).unwrap_or(u32::MAX));
    writer.into_bytes()
}

fn decode(bytes: &[u8]) -> Option<Link> {
    let mut reader = ByteReader::new(bytes);
    let (what, name, raised) = (reader.u8().ok()?, reader.u64().ok()?, Timestamp::from_millis(reader.i64().ok()?));
    let (receiver, until) = (reader.u32().ok()?, Timestamp::from_millis(i64::from(reader.u32().ok()?) * 1000));
    reader.end().ok()?;
    let target = match what {
        ONE => Target::Alarm(name, raised),
        GROUP => Target::Group(name, raised),
        _ => return None,
    };
    Some(Link { target, receiver, until })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn made() -> Link {
        Link {
            target: Target::Group(group_hash("{}:{alertname=\"Hot\"}"), Timestamp::from_millis(-1)),
            receiver: receiver_hash("shift & Söhne"),
            until: Timestamp::from_millis(1_700_000_600_000),
        }
    }

    fn code(key: &AckKey, link: Link) -> String {
        key.address("http://box", link).strip_prefix("http://box/a/").unwrap().to_owned()
    }

    #[test]
    fn a_link_is_short_and_known_again_by_the_box_that_made_it_until_it_is_too_old() {
        let key = AckKey::new(b"k");
        for link in [made(), Link { target: Target::Alarm(u64::MAX, NOW), ..made() }] {
            let code = code(&key, link);
            assert_eq!(code.len(), 50);
            assert_eq!(key.read(&code, NOW), Ok(link));
            assert_eq!(AckKey::new(b"j").read(&code, NOW), Err(AckRefusal::Forged));
            assert_eq!(key.read(&code, link.until), Err(AckRefusal::Expired(link.until)));
        }
    }

    #[test]
    fn nothing_of_a_link_can_be_changed() {
        let key = AckKey::new(b"k");
        let code = code(&key, made());
        let bytes = URL_SAFE_NO_PAD.decode(&code).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let refused = key.read(&URL_SAFE_NO_PAD.encode(&changed), NOW);
            let is_refused = matches!(refused, Err(AckRefusal::Forged | AckRefusal::Damaged));
            assert!(is_refused, "byte {at}: {refused:?}");
        }
        for length in 0..code.len() {
            assert_eq!(key.read(&code[..length], NOW), Err(AckRefusal::Damaged), "{length}");
        }
        assert_eq!(key.read(&format!("{code}AA"), NOW), Err(AckRefusal::Damaged));
        assert_eq!(key.read("ä/?", NOW), Err(AckRefusal::Damaged));
    }

    #[test]
    fn the_key_stays_over_a_restart() {
        let state = State::in_memory();
        let code = code(&AckKey::open(&state).unwrap(), made());
        assert_eq!(AckKey::open(&state).unwrap().read(&code, NOW), Ok(made()));
    }
}
