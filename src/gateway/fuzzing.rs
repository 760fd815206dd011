//! Doors for fuzzers: what a device says, and the tokens it shows.

use std::sync::Arc;
use std::time::Duration;

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
                let frame: serde_json::Map<String, serde_json::Value> =
                    serde_json::from_str(json).unwrap_or_else(|e| panic!("bug: {json:?} is no frame: {e}"));
                let is_null = frame.iter().any(|(name, value)| name != "payload" && value.is_null());
                assert!(!is_null, "bug: a null member in {json:?}");
            }
            Effect::Publish { message, .. } | Effect::Request { message, .. } => {
                assert!(permissions.may_publish(&message.subject), "bug: {} is not allowed", message.subject);
            }
            Effect::Subscribe(pattern) => {
                assert!(permissions.may_subscribe(pattern), "bug: {pattern} is not allowed");
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
