//! Doors for fuzzers: what a device says, and the tokens it shows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;

use super::config::{Config, PayloadShape};
use super::identity::Identity;
use super::instruments::Instruments;
use super::permissions::{Permissions, resolve_all};
use super::session::{Effect, Now, Session};
use super::throttle::Meter;
use super::{jwt, protocol};
use crate::instrument::Registry;
use crate::model::Timestamp;

/// Lines as text frames of a device that is let in, in order: each is answered or done, what is sent is a frame
/// without nulls, and what is done is allowed.
pub(crate) fn fuzz(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(frame) = protocol::parse(text) {
        let _ = protocol::Claim::parse(frame.payload);
    }
    let config = Config { payload_shape: PayloadShape::Envelope, subscriptions_max: 8, ..Config::default() };
    let config = Arc::new(config);
    let instruments = Arc::new(Instruments::new(&Registry::default()));
    let meter = Arc::new(Meter::new(config.total_rate(), Duration::ZERO));
    let now = Now { elapsed: Duration::ZERO, wall: Timestamp::from_millis(1), moved_ms: 0 };
    let mut session = Session::new(config.clone(), instruments, Arc::default(), meter.clone(), now);
    let read = |list: &[String]| resolve_all([list], "d", "g").0;
    let permissions =
        Permissions { publish: read(&config.default_publish), subscribe: read(&config.default_subscribe) };
    let identity = Identity {
        device_id: "d".into(),
        device_type: "t".into(),
        role: "".into(),
        permissions: permissions.clone(),
        expires_at: None,
        is_certified: false,
    };
    check(&session.on_authenticated(Ok((Arc::new(identity), meter)), now), &permissions);
    let question = crate::bus::Message {
        reply: "_INBOX.x".parse().ok(),
        ..crate::bus::Message::new("devices.d.q".parse().unwrap_or_else(|e| panic!("bug: {e}")), data.to_vec())
    };
    check(&session.on_message(&question, now), &permissions);
    for line in text.split('\n').take(256) {
        let (_, effects) = session.on_text(line, now);
        check(&effects, &permissions);
    }
}

fn check(effects: &[Effect], permissions: &Permissions) {
    for effect in effects {
        match effect {
            Effect::Send { json, .. } => {
                // Payloads go through as they are: 4e441 is JSON, though no float.
                let frame: BTreeMap<String, Box<RawValue>> =
                    serde_json::from_str(json).unwrap_or_else(|e| panic!("bug: {json:?} is no frame: {e}"));
                let is_null = frame.iter().any(|(name, value)| name != "payload" && value.get() == "null");
                assert!(!is_null, "bug: a null member in {json:?}");
            }
            Effect::Publish { message, .. }
            | Effect::PublishAsked { message, .. }
            | Effect::Request { message, .. } => {
                assert!(permissions.may_publish(&message.subject), "bug: {} is not allowed", message.subject);
            }
            Effect::Subscribe(pattern) => {
                assert!(permissions.may_subscribe(pattern), "bug: {pattern} is not allowed");
            }
            Effect::Replay(wanted) => {
                assert!(permissions.may_subscribe(&wanted.pattern), "bug: {} is not allowed", wanted.pattern);
            }
            Effect::Reply(message) => assert_eq!(message.subject.as_str(), "_INBOX.x", "bug: a reply goes astray"),
            Effect::Authenticate(_) | Effect::Unsubscribe(_) | Effect::Ping | Effect::Close(_) => {}
        }
    }
}

/// Texts as tokens, keys and sets of keys.
pub(crate) fn fuzz_jwt(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        jwt::fuzz(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAMES: [&str; 6] = [
        r#"{"type":0,"subject":"devices.d.b","payload":{"x":[1,2]},"correlationId":"c","messageId":"m","ack":true}"#,
        r#"{"Type":1,"subject":"devices.d.>"}"#,
        r#"{"type":2,"subject":"devices.d.>","correlationId":"\u00e9"}"#,
        r#"{"type":4,"subject":"status.d","payload":null}"#,
        r#"{"type":5,"correlationId":"request-1","payload":true}"#,
        r#"{"type":9}"#,
    ];

    /// Hands over a text as it is, cut at each place, and with each byte replaced by others.
    fn mangle(text: &str, take: impl Fn(&[u8])) {
        take(text.as_bytes());
        for at in 0..text.len() {
            take(&text.as_bytes()[..at]);
            for other in *b"\"{}[]\\:,\n.>*0a\xff" {
                let mut bytes = text.as_bytes().to_vec();
                bytes[at] = other;
                take(&bytes);
            }
        }
    }

    #[test]
    fn mangled_frames_are_answered_and_nothing_is_done_that_is_not_allowed() {
        FRAMES.iter().for_each(|text| mangle(text, fuzz));
        fuzz(FRAMES.join("\n").as_bytes());
    }

    #[test]
    fn mangled_tokens_and_keys_are_refused_or_taken_but_nothing_breaks() {
        mangle(r#"{"sub":"d","exp":2e9,"nbf":1.5,"pub":"[\"a\"]","subscribe":"a,b","role":"r"}"#, fuzz_jwt);
        mangle(r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"o","x":"AAAA"}]}"#, fuzz_jwt);
        mangle(include_str!("../../tests/jwt/eddsa.pem"), fuzz_jwt);
        mangle(include_str!("../../tests/jwt/es256.jwt").trim(), fuzz_jwt);
    }
}
