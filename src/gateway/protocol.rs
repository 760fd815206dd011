//! Frames and their JSON, wire-compatible with nats-websocket-bridge.
//!
//! A frame is one JSON object in one text message; `docs/device-protocol.md` tells the members and types.
//! On the way in, member names are taken in any case and unknown members are ignored. On the way out there
//! are no null members, because the C++ SDK cannot read them. `payload` is never re-encoded.

#![deny(clippy::indexing_slicing)]

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::model::Timestamp;

/// Longest `messageId` in bytes.
const MESSAGE_ID_BYTES_MAX: usize = 64;

/// So much of a subject is given back with a refusal.
const SUBJECT_CHARS_SHOWN: usize = 80;

/// Longest `correlationId` in bytes.
pub(super) const CORRELATION_BYTES_MAX: usize = 256;

/// What a frame is for; the number is its `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameType {
    Publish = 0,
    Subscribe = 1,
    Unsubscribe = 2,
    Message = 3,
    Request = 4,
    Reply = 5,
    Ack = 6,
    Error = 7,
    Auth = 8,
    Ping = 9,
    Pong = 10,
}

impl FrameType {
    /// All types by number.
    pub(super) const ALL: [FrameType; 11] = [
        FrameType::Publish,
        FrameType::Subscribe,
        FrameType::Unsubscribe,
        FrameType::Message,
        FrameType::Request,
        FrameType::Reply,
        FrameType::Ack,
        FrameType::Error,
        FrameType::Auth,
        FrameType::Ping,
        FrameType::Pong,
    ];

    /// Returns the type's name, as metrics have it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            FrameType::Publish => "publish",
            FrameType::Subscribe => "subscribe",
            FrameType::Unsubscribe => "unsubscribe",
            FrameType::Message => "message",
            FrameType::Request => "request",
            FrameType::Reply => "reply",
            FrameType::Ack => "ack",
            FrameType::Error => "error",
            FrameType::Auth => "auth",
            FrameType::Ping => "ping",
            FrameType::Pong => "pong",
        }
    }
}

/// Why a frame was refused, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    AuthFailed,
    AuthTimeout,
    NotAuthorized,
    InvalidSubject,
    InvalidMessage,
    PayloadTooLarge,
    RateLimit,
    TooManySubscriptions,
    NoResponders,
    RequestTimeout,
    NotKept,
    Internal,
}

impl Code {
    /// Returns the code as it stands in `payload.code`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Code::AuthFailed => "AUTH_FAILED",
            Code::AuthTimeout => "AUTH_TIMEOUT",
            Code::NotAuthorized => "NOT_AUTHORIZED",
            Code::InvalidSubject => "INVALID_SUBJECT",
            Code::InvalidMessage => "INVALID_MESSAGE",
            Code::PayloadTooLarge => "PAYLOAD_TOO_LARGE",
            Code::RateLimit => "RATE_LIMIT",
            Code::TooManySubscriptions => "TOO_MANY_SUBSCRIPTIONS",
            Code::NoResponders => "NO_RESPONDERS",
            Code::RequestTimeout => "REQUEST_TIMEOUT",
            Code::NotKept => "NOT_KEPT",
            Code::Internal => "INTERNAL_ERROR",
        }
    }
}

/// A refusal: what a type 7 frame says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: Code,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Refusal { code, message: message.into() }
    }
}

/// A frame of a device, borrowed from its text.
#[derive(Debug, Clone)]
pub(super) struct ClientFrame<'a> {
    pub(super) kind: FrameType,
    /// Empty if there is none.
    pub(super) subject: Cow<'a, str>,
    pub(super) payload: Option<&'a RawValue>,
    pub(super) correlation_id: Option<Cow<'a, str>>,
    /// By which a repeat of a publish is known.
    pub(super) message_id: Option<Cow<'a, str>>,
    /// Whether a publish is to be acknowledged when it is kept.
    pub(super) wants_ack: bool,
    /// From where on a subscription reads a stream; `replay.rs` reads it.
    pub(super) replay: Option<&'a RawValue>,
}

/// A text that is no frame, with what could be read of it for the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Malformed {
    pub(super) refusal: Refusal,
    pub(super) subject: String,
    pub(super) correlation_id: Option<String>,
}

/// Reads one frame.
pub(super) fn parse(text: &str) -> Result<ClientFrame<'_>, Malformed> {
    let malformed = |message: String, subject: &str, correlation_id: Option<Cow<'_, str>>| Malformed {
        refusal: Refusal::new(Code::InvalidMessage, message),
        subject: subject.chars().take(SUBJECT_CHARS_SHOWN).collect(),
        correlation_id: correlation_id.map(Cow::into_owned),
    };
    let members: Members<'_> =
        serde_json::from_str(text).map_err(|error| malformed(format!("Invalid message format: {error}"), "", None))?;
    let correlation_id = correlation_id(members.correlation_id).map_err(|message| malformed(message, "", None))?;
    let subject = given(members.subject).map_or(Some(Cow::Borrowed("")), text_of);
    let read = || Ok::<_, String>((flag(members.ack)?, message_id(members.message_id)?, frame_type(members.kind)?));
    match (read(), subject) {
        (Ok((wants_ack, message_id, kind)), Some(subject)) => {
            let (payload, replay) = (members.payload, given(members.replay));
            Ok(ClientFrame { kind, subject, payload, correlation_id, message_id, wants_ack, replay })
        }
        (read, subject) => {
            let message = read.err().unwrap_or("subject is not a text".to_owned());
            Err(malformed(message, &subject.unwrap_or_default(), correlation_id))
        }
    }
}

/// Returns a member that is there; null is as good as none.
fn given(member: Option<&RawValue>) -> Option<&RawValue> {
    member.filter(|raw| raw.get() != "null")
}

fn correlation_id(member: Option<&RawValue>) -> Result<Option<Cow<'_, str>>, String> {
    let Some(raw) = given(member) else { return Ok(None) };
    match text_of(raw) {
        Some(id) if id.len() <= CORRELATION_BYTES_MAX => Ok(Some(id)),
        Some(_) => Err(format!("correlationId is longer than {CORRELATION_BYTES_MAX} bytes")),
        None => Err("correlationId is not a text".to_owned()),
    }
}

fn message_id(member: Option<&RawValue>) -> Result<Option<Cow<'_, str>>, String> {
    let Some(raw) = given(member) else { return Ok(None) };
    let id = match raw.get().parse::<u64>() {
        Ok(_) => Some(Cow::Borrowed(raw.get())),
        Err(_) => text_of(raw),
    };
    let is_good = |id: &Cow<'_, str>| {
        (1..=MESSAGE_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match id.filter(is_good) {
        Some(id) => Ok(Some(id)),
        None => Err(format!("messageId is no number or text of up to {MESSAGE_ID_BYTES_MAX} visible characters")),
    }
}

fn flag(member: Option<&RawValue>) -> Result<bool, &'static str> {
    match given(member).map(RawValue::get) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err("ack is not true or false"),
    }
}

fn frame_type(member: Option<&RawValue>) -> Result<FrameType, String> {
    let raw = member.ok_or("type is missing")?;
    let number = raw.get().parse::<usize>().ok();
    number.and_then(|n| FrameType::ALL.get(n).copied()).ok_or_else(|| {
        let shown: String = raw.get().chars().take(40).collect();
        format!("Invalid message type: {shown}")
    })
}

/// Reads a JSON text without copying where it has no escapes.
fn text_of(raw: &RawValue) -> Option<Cow<'_, str>> {
    let json = raw.get();
    if !json.contains('\\') {
        return json.strip_prefix('"')?.strip_suffix('"').map(Cow::Borrowed);
    }
    serde_json::from_str(json).ok().map(Cow::Owned)
}

/// The members that mean something, by name in any case.
#[derive(Default)]
struct Members<'a> {
    kind: Option<&'a RawValue>,
    subject: Option<&'a RawValue>,
    payload: Option<&'a RawValue>,
    correlation_id: Option<&'a RawValue>,
    message_id: Option<&'a RawValue>,
    ack: Option<&'a RawValue>,
    replay: Option<&'a RawValue>,
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with an integer `type`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Members::default();
        while let Some(name) = map.next_key::<Name>()? {
            let slot = match name {
                Name::Type => &mut members.kind,
                Name::Subject => &mut members.subject,
                Name::Payload => &mut members.payload,
                Name::CorrelationId => &mut members.correlation_id,
                Name::MessageId => &mut members.message_id,
                Name::Ack => &mut members.ack,
                Name::Replay => &mut members.replay,
                Name::Other => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            if slot.replace(map.next_value()?).is_some() {
                return Err(serde::de::Error::custom("a member is given twice"));
            }
        }
        Ok(members)
    }
}

enum Name {
    Type,
    Subject,
    Payload,
    CorrelationId,
    MessageId,
    Ack,
    Replay,
    Other,
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl Visitor<'_> for NameVisitor {
            type Value = Name;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member name")
            }
            fn visit_str<E>(self, name: &str) -> Result<Name, E> {
                Ok(match name {
                    n if n.eq_ignore_ascii_case("type") => Name::Type,
                    n if n.eq_ignore_ascii_case("subject") => Name::Subject,
                    n if n.eq_ignore_ascii_case("payload") => Name::Payload,
                    n if n.eq_ignore_ascii_case("correlationId") => Name::CorrelationId,
                    n if n.eq_ignore_ascii_case("messageId") => Name::MessageId,
                    n if n.eq_ignore_ascii_case("ack") => Name::Ack,
                    n if n.eq_ignore_ascii_case("replay") => Name::Replay,
                    _ => Name::Other,
                })
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

/// What a device shows to be let in.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Claim {
    /// Nothing if it shows only a token.
    pub(super) device_id: Option<String>,
    pub(super) token: String,
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").field("device_id", &self.device_id).finish_non_exhaustive()
    }
}

impl Claim {
    /// Reads the payload of an auth frame; nothing if it has no text `token`, or a `deviceId` that is no text.
    pub(super) fn parse(payload: Option<&RawValue>) -> Option<Claim> {
        let members: serde_json::Map<String, serde_json::Value> = serde_json::from_str(payload?.get()).ok()?;
        let mut claim = Claim { device_id: None, token: String::new() };
        for (name, value) in members {
            if name.eq_ignore_ascii_case("deviceId") && !value.is_null() {
                claim.device_id = Some(value.as_str()?.to_owned());
            } else if name.eq_ignore_ascii_case("token") {
                claim.token = value.as_str()?.to_owned();
            }
        }
        (!claim.token.is_empty()).then_some(claim)
    }
}

/// A frame to a device.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServerFrame<'a> {
    #[serde(rename = "type", serialize_with = "number")]
    pub(super) kind: FrameType,
    pub(super) subject: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) payload: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) correlation_id: Option<&'a str>,
    #[serde(serialize_with = "rfc3339")]
    pub(super) timestamp: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) device_id: Option<&'a str>,
    /// Of a message that came out of a stream: its place there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sequence: Option<u64>,
}

impl ServerFrame<'_> {
    /// Returns a frame with nothing but type and time.
    pub(super) fn new(kind: FrameType, timestamp: Timestamp) -> Self {
        ServerFrame {
            kind,
            subject: "",
            payload: None,
            correlation_id: None,
            timestamp,
            device_id: None,
            sequence: None,
        }
    }

    /// Returns the frame's JSON.
    pub(super) fn to_json(&self) -> String {
        // Members are texts, a number and JSON that has been checked: there is nothing that can fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Returns a value as the JSON of a payload.
pub(super) fn payload(value: &impl Serialize) -> Option<Box<RawValue>> {
    serde_json::value::to_raw_value(value).ok()
}

/// Returns a body from the bus as the JSON of a payload: JSON as it is, other text as a text, bytes as
/// base64 in an object.
pub(super) fn payload_of(body: &[u8]) -> Option<Box<RawValue>> {
    if let Ok(raw) = serde_json::from_slice::<Box<RawValue>>(body) {
        return Some(raw);
    }
    match std::str::from_utf8(body) {
        Ok("") => None,
        Ok(text) => payload(&text),
        Err(_) => payload(&serde_json::json!({ "base64": STANDARD.encode(body) })),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this signature")]
fn number<S: serde::Serializer>(kind: &FrameType, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u8(*kind as u8)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this signature")]
fn rfc3339<S: serde::Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn member_names_come_in_any_case_and_unknown_ones_are_ignored() {
        let frame =
            parse(r#" {"TYPE":0,"Subject":"a.b","extra":{"type":9},"PayLoad":[1, 2],"correlationid":"x\n"} "#).unwrap();
        assert_eq!((frame.kind, &*frame.subject), (FrameType::Publish, "a.b"));
        assert_eq!(frame.payload.unwrap().get(), "[1, 2]");
        assert_eq!(frame.correlation_id.as_deref(), Some("x\n"));
    }

    #[track_caller]
    fn check_malformed(text: &str, message: &str) {
        let malformed = parse(text).unwrap_err();
        assert!(malformed.refusal.message.contains(message), "{text}: {}", malformed.refusal.message);
    }

    #[test]
    fn what_is_no_frame_is_refused_with_a_reason() {
        check_malformed("", "Invalid message format");
        check_malformed("[]", "an object");
        check_malformed("null", "an object");
        check_malformed("{}{}", "trailing");
        check_malformed("{}", "type is missing");
        check_malformed(r#"{"type":"Publish"}"#, "Invalid message type: \"Publish\"");
        check_malformed(r#"{"type":11}"#, "Invalid message type: 11");
        check_malformed(r#"{"type":0.5}"#, "Invalid message type: 0.5");
        check_malformed(r#"{"type":18446744073709551616}"#, "Invalid message type");
        check_malformed(r#"{"type":0,"subject":5}"#, "subject is not a text");
        check_malformed(r#"{"type":0,"type":1}"#, "twice");
        check_malformed(r#"{"type":0,"subject":"\ud800"}"#, "");
        check_malformed(&format!(r#"{{"type":9,"correlationId":"{}"}}"#, "x".repeat(257)), "longer than 256");
    }

    #[test]
    fn a_publish_may_bear_an_id_and_ask_for_an_ack() {
        let frame = |members: &str| parse(&format!(r#"{{"type":0,"subject":"a",{members}}}"#)).map(|_| ());
        let read = parse(r#"{"type":0,"messageId":17,"ack":true}"#).unwrap();
        assert_eq!((read.message_id.as_deref(), read.wants_ack), (Some("17"), true));
        let read = parse(r#"{"type":0,"messageid":"boot-1","ACK":null}"#).unwrap();
        assert_eq!((read.message_id.as_deref(), read.wants_ack), (Some("boot-1"), false));
        for bad in
            [r#""messageId":"""#, r#""messageId":"a b""#, r#""messageId":-1"#, r#""messageId":1.5"#, r#""ack":1"#]
        {
            assert!(frame(bad).is_err(), "{bad}");
        }
        let long = |n: usize| frame(&format!(r#""messageId":"{}""#, "x".repeat(n)));
        assert!(long(64).is_ok() && long(65).is_err());
    }

    #[test]
    fn a_refusal_knows_what_it_answers() {
        let malformed = parse(r#"{"correlationId":"c","subject":"a","type":77}"#).unwrap_err();
        assert_eq!((malformed.subject.as_str(), malformed.correlation_id.as_deref()), ("a", Some("c")));
    }

    #[test]
    fn a_null_member_is_none() {
        let frame = parse(r#"{"type":9,"subject":null,"correlationId":null}"#).unwrap();
        assert_eq!((&*frame.subject, frame.correlation_id), ("", None));
    }

    #[test]
    fn a_frame_out_has_no_null_members() {
        let frame = ServerFrame::new(FrameType::Pong, Timestamp::from_millis(0));
        assert_eq!(frame.to_json(), r#"{"type":10,"subject":"","timestamp":"1970-01-01T00:00:00.000Z"}"#);
    }

    #[test]
    fn any_body_becomes_json() {
        let json = |body: &[u8]| payload_of(body).map(|raw| raw.get().to_owned());
        assert_eq!(json(br#"{"a": 1}"#).as_deref(), Some(r#"{"a": 1}"#));
        assert_eq!(json(b"hello").as_deref(), Some(r#""hello""#));
        assert_eq!(json(b"\xff").as_deref(), Some(r#"{"base64":"/w=="}"#));
        assert_eq!(json(b""), None);
    }

    #[test]
    fn a_claim_needs_texts() {
        let claim = |json: &str| Claim::parse(Some(&RawValue::from_string(json.to_owned()).unwrap()));
        let whole = claim(r#"{"DeviceId":"d","token":"t","deviceType":"sensor"}"#).unwrap();
        assert_eq!((whole.device_id.as_deref(), whole.token.as_str()), (Some("d"), "t"));
        assert_eq!(claim(r#"{"token":"t"}"#).unwrap().device_id, None);
        for bad in [
            r#"{"deviceId":"d"}"#,
            r#"{"deviceId":{"$gt":""},"token":"t"}"#,
            r#"{"deviceId":"d","token":0}"#,
            "[]",
            "7",
        ] {
            assert!(claim(bad).is_none(), "{bad}");
        }
    }
}
