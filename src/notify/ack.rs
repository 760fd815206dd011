//! Links in notices by which somebody takes note of alarms without logging in: the link is the right.
//!
//! `https://box/alarms/ack?alarm=FINGERPRINT-RAISED,...&by=RECEIVER&until=SECONDS&sig=...`: which alarms, each as it was
//! raised then (milliseconds, hexadecimal), for whom the link was made, until when it is good, and an HMAC-SHA256 of these
//! with a key of this box alone. A link to an earlier occurrence of an alarm does not mean a later one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngExt;
use ring::hmac;

use crate::model::{Timestamp, encode_query};
use crate::storage::state::State;

/// The fact that holds the key.
const FACT: &str = "acknowledge-key";

/// Alarms that one link may mean; a notice of more has none for all of them.
pub(super) const ALARMS_MAX: usize = 25;

/// The longest name of a receiver in a link, in bytes.
const RECEIVER_BYTES_MAX: usize = 300;

/// What the signature is of, beside the link's own text.
const PURPOSE: &str = "andon acknowledge 1\n";

/// What a link allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AckClaim {
    /// Fingerprints of alarms, each with when it was raised.
    pub alarms: Vec<(u64, Timestamp)>,
    /// For whom the link was made.
    pub receiver: String,
    /// Until when it is good, in whole seconds.
    pub until: Timestamp,
}

/// What a link says, not checked yet.
#[derive(Debug, Clone, Copy)]
pub struct AckLink<'a> {
    /// `alarm`
    pub alarm: &'a str,
    /// `by`
    pub by: &'a str,
    /// `until`
    pub until: &'a str,
    /// `sig`
    pub sig: &'a str,
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
    /// The key cannot be read or kept.
    #[error("this box has no key for such links at the moment; its log says why")]
    NoKey,
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

    /// Returns a link; `external_url` has no slash at the end.
    pub(super) fn link(&self, external_url: &str, claim: &AckClaim) -> String {
        let text = text(claim);
        let signature = hmac::sign(&self.0, format!("{PURPOSE}{text}").as_bytes());
        format!("{external_url}/alarms/ack?{text}&sig={}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// Returns what a link allows.
    pub(super) fn read(&self, link: AckLink<'_>, now: Timestamp) -> Result<AckClaim, AckRefusal> {
        let claim = claim(link).ok_or(AckRefusal::Damaged)?;
        let signature = URL_SAFE_NO_PAD.decode(link.sig).map_err(|_| AckRefusal::Damaged)?;
        let signed = format!("{PURPOSE}{}", text(&claim));
        hmac::verify(&self.0, signed.as_bytes(), &signature).map_err(|_| AckRefusal::Forged)?;
        if now >= claim.until { Err(AckRefusal::Expired(claim.until)) } else { Ok(claim) }
    }
}

/// Writes a claim as the parameters of a link: the same text for the same claim.
fn text(claim: &AckClaim) -> String {
    let one = |(fingerprint, raised_at): &(u64, Timestamp)| {
        format!("{fingerprint:016x}-{:x}", raised_at.as_millis().cast_unsigned())
    };
    let alarms: Vec<String> = claim.alarms.iter().map(one).collect();
    let seconds = claim.until.as_millis().div_euclid(1000);
    format!("alarm={}&by={}&until={seconds}", alarms.join(","), encode_query(&claim.receiver))
}

fn claim(link: AckLink<'_>) -> Option<AckClaim> {
    let one = |text: &str| {
        let (fingerprint, raised_at) = text.split_once('-')?;
        let raised_at = u64::from_str_radix(raised_at, 16).ok()?.cast_signed();
        Some((u64::from_str_radix(fingerprint, 16).ok()?, Timestamp::from_millis(raised_at)))
    };
    let alarms: Option<Vec<(u64, Timestamp)>> = link.alarm.split(',').take(ALARMS_MAX + 1).map(one).collect();
    let seconds: i64 = link.until.parse().ok()?;
    Some(AckClaim {
        alarms: alarms.filter(|all| all.len() <= ALARMS_MAX)?,
        receiver: Some(link.by).filter(|by| !by.is_empty() && by.len() <= RECEIVER_BYTES_MAX)?.to_owned(),
        until: Timestamp::from_millis(seconds.checked_mul(1000)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn made() -> AckClaim {
        AckClaim {
            alarms: vec![(0xab, NOW), (u64::MAX, Timestamp::from_millis(-1))],
            receiver: "shift & Söhne".to_owned(),
            until: Timestamp::from_millis(1_700_000_600_000),
        }
    }

    /// Takes a link apart as a server does.
    fn parameters(link: &str) -> Vec<(String, String)> {
        let decode = |text: &str| {
            let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
            while let [first, others @ ..] = rest {
                rest = others;
                match first {
                    b'%' => {
                        bytes.push(u8::from_str_radix(std::str::from_utf8(&rest[..2]).unwrap(), 16).unwrap());
                        rest = &rest[2..];
                    }
                    b'+' => bytes.push(b' '),
                    other => bytes.push(*other),
                }
            }
            String::from_utf8(bytes).unwrap()
        };
        let pairs = link.split_once('?').unwrap().1.split('&').map(|pair| pair.split_once('=').unwrap());
        pairs.map(|(name, value)| (name.to_owned(), decode(value))).collect()
    }

    fn read(key: &AckKey, parameters: &[(String, String)], now: Timestamp) -> Result<AckClaim, AckRefusal> {
        let text = |name: &str| parameters.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value.as_str());
        key.read(AckLink { alarm: text("alarm"), by: text("by"), until: text("until"), sig: text("sig") }, now)
    }

    #[test]
    fn a_link_is_known_again_by_the_box_that_made_it_until_it_is_too_old() {
        let key = AckKey::new(b"k");
        let link = key.link("http://box", &made());
        assert!(link.starts_with("http://box/alarms/ack?alarm=00000000000000ab-18bcfe56800,ffff"), "{link}");
        let all = parameters(&link);
        assert_eq!(read(&key, &all, NOW), Ok(made()));
        assert_eq!(read(&AckKey::new(b"j"), &all, NOW), Err(AckRefusal::Forged));
        assert_eq!(read(&key, &all, made().until), Err(AckRefusal::Expired(made().until)));
    }

    #[test]
    fn nothing_of_a_link_can_be_changed() {
        let key = AckKey::new(b"k");
        let all = parameters(&key.link("http://box", &made()));
        for (name, value) in [("alarm", "00000000000000ac-18bcfe56800"), ("by", "boss"), ("until", "1800000000")] {
            let changed: Vec<_> =
                all.iter().map(|(n, v)| (n.clone(), if n == name { value.to_owned() } else { v.clone() })).collect();
            assert_eq!(read(&key, &changed, NOW), Err(AckRefusal::Forged), "{name}");
            let missing: Vec<_> = all.iter().filter(|(n, _)| n != name).cloned().collect();
            assert_eq!(read(&key, &missing, NOW), Err(AckRefusal::Damaged), "{name}");
        }
        let unsigned: Vec<_> = all.iter().filter(|(n, _)| n != "sig").cloned().collect();
        assert_eq!(read(&key, &unsigned, NOW), Err(AckRefusal::Forged));
        let many: Vec<String> = (0..26).map(|i| format!("{i:x}-0")).collect();
        let link = AckLink { alarm: &many.join(","), by: "a", until: "1", sig: "" };
        assert_eq!(key.read(link, NOW), Err(AckRefusal::Damaged));
    }

    #[test]
    fn the_key_stays_over_a_restart() {
        let state = State::in_memory();
        let link = AckKey::open(&state).unwrap().link("http://box", &made());
        assert_eq!(read(&AckKey::open(&state).unwrap(), &parameters(&link), NOW), Ok(made()));
    }
}
