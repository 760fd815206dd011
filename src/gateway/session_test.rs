//! The session as a table: what comes in, what goes out.

use std::sync::Arc;
use std::time::Duration;

use super::identity::Identity;
use super::instruments::Instruments;
use super::permissions::{self, Permissions};
use super::session::{Effect, Now, Session};
use super::throttle::Meter;
use super::traffic::Traffic;
use super::{Config, PayloadShape};
use crate::bus::Message;
use crate::instrument::Registry;
use crate::model::Timestamp;

fn at(seconds: f64) -> Now {
    Now { elapsed: Duration::from_secs_f64(seconds), wall: Timestamp::from_seconds(seconds), moved_ms: 0 }
}

fn session(config: Config) -> (Session, Registry) {
    let registry = Registry::default();
    let instruments = Arc::new(Instruments::new(&registry));
    let total = Arc::new(Meter::new(config.total_rate(), Duration::ZERO));
    (Session::new(Arc::new(config), instruments, Arc::new(Traffic::default()), total, at(0.0)), registry)
}

/// Returns a session of the device `press-1` that is let in.
fn active(config: Config) -> Session {
    let meter = Arc::new(Meter::new(config.device_rate(), Duration::ZERO));
    let (mut session, _) = session(config);
    let effects = session.on_authenticated(Ok((Arc::new(press(&["devices.{device}.>", "factory.*"])), meter)), at(0.0));
    assert_eq!(effects.len(), 1);
    session
}

/// Returns who `press-1` is if it may subscribe to these.
fn press(subscribe: &[&str]) -> Identity {
    let patterns = |list: &[&str]| list.iter().map(|text| permissions::resolve(text, "press-1", "").unwrap()).collect();
    let permissions =
        Permissions { publish: patterns(&["devices.{device}.>", "factory.line1.*"]), subscribe: patterns(subscribe) };
    let (device_id, device_type, role) = ("press-1".into(), "press".into(), "".into());
    Identity { device_id, device_type, role, permissions, expires_at: None, is_certified: false }
}

/// Writes effects in short: what is to be done, with the JSON of frames without their time.
fn shown(effects: Vec<Effect>) -> Vec<String> {
    let one = |effect: Effect| match effect {
        Effect::Send { json, .. } => {
            let mut frame: serde_json::Value = serde_json::from_str(&json).unwrap();
            frame.as_object_mut().unwrap().remove("timestamp").expect("a frame has a time");
            assert!(!json.contains(":null"), "no null members: {json}");
            format!("send {frame}")
        }
        Effect::Authenticate(claim) => format!("authenticate {:?} {}", claim.device_id, claim.token),
        Effect::Publish { message, recorded } => {
            assert_eq!((recorded.device_id.as_str(), recorded.device_type.as_str()), ("press-1", "press"));
            format!("publish {} {}", message.subject, String::from_utf8_lossy(&message.payload))
        }
        Effect::Reply(message) => format!("reply {} {}", message.subject, String::from_utf8_lossy(&message.payload)),
        Effect::Request { message, correlation_id } => format!("request {} {correlation_id:?}", message.subject),
        Effect::Subscribe(pattern) => format!("subscribe {pattern}"),
        Effect::Replay(wanted) => format!("replay {} {:?}", wanted.pattern, wanted.start),
        Effect::Unsubscribe(pattern) => format!("unsubscribe {pattern}"),
        Effect::Ping => "ping".to_owned(),
        Effect::PublishAsked { message, asked, .. } => {
            let id = asked.id.as_deref().unwrap_or("none");
            format!("publish {} id {id} ack {}", message.subject, asked.wants_ack)
        }
        Effect::Close(end) => format!("close {} {} {}", end.code, end.text, end.reason),
    };
    effects.into_iter().map(one).collect()
}

fn refusal(subject: &str, correlation_id: Option<&str>, code: &str, text: &str) -> String {
    let mut payload = serde_json::json!({ "error": text, "message": text, "code": code });
    let mut frame = serde_json::json!({ "type": 7, "subject": subject });
    if !subject.is_empty() {
        payload["subject"] = subject.into();
    }
    if let Some(id) = correlation_id {
        payload["correlationId"] = id.into();
        frame["correlationId"] = id.into();
    }
    frame["payload"] = payload;
    format!("send {frame}")
}

/// Checks what a device that is let in gets for a text.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let (_, effects) = active(Config::default()).on_text(text, at(1.0));
    assert_eq!(shown(effects), expected, "{text}");
}

/// Checks the refusal of a text of a device that is let in.
#[track_caller]
fn check_refused(text: &str, subject: &str, correlation_id: Option<&str>, code: &str, message: &str) {
    check(text, &[&refusal(subject, correlation_id, code, message)]);
}

#[test]
fn what_is_allowed_is_done() {
    check(
        r#"{"type":0,"subject":"factory.line1.temp","payload":{"a": 1},"deviceId":"other"}"#,
        &[r#"publish factory.line1.temp {"a": 1}"#],
    );
    check(r#"{"type":0,"subject":"devices.press-1.a.b"}"#, &["publish devices.press-1.a.b "]);
    check(
        r#"{"type":1,"subject":"factory.*","correlationId":"c1"}"#,
        &[
            "subscribe factory.*",
            r#"send {"correlationId":"c1","payload":{"message":"Subscribed","success":true},"subject":"factory.*","type":6}"#,
        ],
    );
    check(
        r#"{"type":4,"subject":"factory.line1.ask","correlationId":"q"}"#,
        &[r#"request factory.line1.ask Some("q")"#],
    );
    check(r#"{"type":9,"correlationId":"p"}"#, &[r#"send {"correlationId":"p","subject":"","type":10}"#]);
    check(r#"{"type":10}"#, &[]);
}

#[test]
fn what_is_refused_is_answered_with_the_reason() {
    let denied = |what: &str| format!("Not authorized to {what}");
    check_refused(
        r#"{"type":0,"subject":"factory.line2.temp","correlationId":"c"}"#,
        "factory.line2.temp",
        Some("c"),
        "NOT_AUTHORIZED",
        &denied("publish to factory.line2.temp"),
    );
    check_refused(r#"{"type":4,"subject":"other"}"#, "other", None, "NOT_AUTHORIZED", &denied("publish to other"));
    check_refused(
        r#"{"type":1,"subject":"factory.>"}"#,
        "factory.>",
        None,
        "NOT_AUTHORIZED",
        &denied("subscribe to factory.>"),
    );
    check_refused(r#"{"type":0,"subject":""}"#, "", None, "INVALID_SUBJECT", "Subject is required");
    check_refused(r#"{"type":0,"subject":"a b"}"#, "a b", None, "INVALID_SUBJECT", "Invalid subject format: a b");
    check_refused(
        r#"{"type":2,"subject":"factory.x"}"#,
        "factory.x",
        None,
        "INVALID_SUBJECT",
        "Not subscribed to factory.x",
    );
    check_refused(
        r#"{"type":3,"subject":"factory.x"}"#,
        "factory.x",
        None,
        "INVALID_MESSAGE",
        "A device does not send type 3",
    );
    check_refused(r#"{"type":8}"#, "", None, "INVALID_MESSAGE", "Already authenticated");
    check_refused(
        r#"{"type":5,"correlationId":"request-1"}"#,
        "",
        Some("request-1"),
        "NOT_AUTHORIZED",
        "No request with this correlationId waits for a reply",
    );
    check_refused(r#"{"type":42,"correlationId":"c"}"#, "", Some("c"), "INVALID_MESSAGE", "Invalid message type: 42");
    let deep = format!(r#"{{"type":0,"subject":"factory.line1.a","payload":{}{}}}"#, "[".repeat(65), "]".repeat(65));
    check_refused(&deep, "factory.line1.a", None, "INVALID_MESSAGE", "Payload is nested deeper than 64 levels");
}

#[test]
fn a_stranger_may_only_authenticate() {
    let (mut s, _) = session(Config::default());
    let (_, effects) = s.on_text(r#"{"type":8,"payload":{"deviceId":"d","token":"t","deviceType":"x"}}"#, at(1.0));
    assert_eq!(shown(effects), [r#"authenticate Some("d") t"#]);
    let failed = refusal("", None, "AUTH_FAILED", "Authentication failed");
    let closed = "close 1008 Authentication failed auth_failed".to_owned();
    for text in [r#"{"type":9}"#, r#"{"type":0,"subject":"a"}"#, "hello", ""] {
        let (_, effects) = session(Config::default()).0.on_text(text, at(1.0));
        assert_eq!(shown(effects), [failed.clone(), closed.clone()], "{text}");
    }
    let effects = shown(session(Config::default()).0.on_authenticated(Err("Wrong"), at(1.0)));
    let no = r#"send {"payload":{"code":"AUTH_FAILED","error":"Wrong","message":"Wrong","success":false},"subject":"","type":8}"#;
    assert_eq!(effects, [no.to_owned(), failed, closed]);
}

#[test]
fn a_silent_stranger_is_turned_away_in_time() {
    let (mut s, registry) = session(Config::default());
    assert_eq!(s.deadline(), Duration::from_secs(10));
    assert!(s.on_time(at(9.9)).is_empty());
    let expected = [
        refusal("", None, "AUTH_TIMEOUT", "Authentication timeout"),
        "close 1008 Authentication timeout auth_timeout".to_owned(),
    ];
    assert_eq!(shown(s.on_time(at(10.0))), expected);
    let attempts = Instruments::new(&registry).auth_attempts.with(&["timeout"]);
    assert_eq!(attempts.get(), 1);
}

#[test]
fn a_silent_device_is_pinged_and_then_given_up() {
    let mut s = active(Config::default());
    let _ = s.on_text(r#"{"type":9}"#, at(100.0));
    assert_eq!(s.deadline(), Duration::from_secs(115));
    assert!(s.on_time(at(114.0)).is_empty());
    assert_eq!(shown(s.on_time(at(115.0))), ["ping"]);
    assert_eq!(shown(s.on_time(at(130.0))), ["ping"]);
    assert_eq!(s.deadline(), Duration::from_secs(145));
    assert_eq!(shown(s.on_time(at(145.0))), ["close 1001 No sign of life timeout"]);
    // A pong is a sign of life.
    let mut s = active(Config::default());
    assert_eq!(shown(s.on_time(at(15.0))), ["ping"]);
    assert!(s.on_control(at(16.0)).is_empty());
    assert!(s.on_time(at(30.0)).is_empty());
    assert_eq!(shown(s.on_time(at(31.0))), ["ping"]);
}

#[test]
fn over_the_rate_frames_are_refused_and_a_flood_is_cut_off() {
    let mut s = active(Config { messages_per_second: 2, ..Config::default() });
    let mut send = || shown(s.on_text(r#"{"type":0,"subject":"factory.line1.a","correlationId":"c"}"#, at(0.0)).1);
    let published = "publish factory.line1.a ";
    assert_eq!([send(), send()].concat(), [published, published]);
    let refused = refusal("factory.line1.a", Some("c"), "RATE_LIMIT", "Rate limit exceeded");
    for _ in 0..20 {
        assert_eq!(send(), std::slice::from_ref(&refused));
    }
    assert_eq!(send(), [refused, "close 1008 Rate limit exceeded rate_limit".to_owned()]);
    assert!(send().is_empty(), "nothing more after the end");
}

#[test]
fn subscribing_twice_is_one_subscription_and_there_is_a_limit() {
    let mut s = active(Config { subscriptions_max: 1, ..Config::default() });
    let mut send = |text: &str| shown(s.on_text(text, at(0.0)).1).len();
    assert_eq!(send(r#"{"type":1,"subject":"factory.a"}"#), 2);
    assert_eq!(send(r#"{"type":1,"subject":"factory.a"}"#), 1, "only the acknowledgement");
    let refused = shown(s.on_text(r#"{"type":1,"subject":"factory.b"}"#, at(0.0)).1);
    assert_eq!(refused, [refusal("factory.b", None, "TOO_MANY_SUBSCRIPTIONS", "No more than 1 subscriptions")]);
    let gone = shown(s.on_text(r#"{"type":2,"subject":"factory.a"}"#, at(0.0)).1);
    assert_eq!(gone[0], "unsubscribe factory.a");
    assert_eq!(shown(s.on_text(r#"{"type":1,"subject":"factory.b"}"#, at(0.0)).1).len(), 2);
}

#[test]
fn a_message_brings_its_sender_and_mark_beside_the_payload() {
    let mut s = active(Config::default());
    let message = Message {
        device_id: Some("hmi".into()),
        correlation_id: Some("c9".into()),
        ..Message::new("factory.a".parse().unwrap(), r#"{"on":true}"#)
    };
    let expected =
        r#"send {"correlationId":"c9","deviceId":"hmi","payload":{"on":true},"subject":"factory.a","type":3}"#;
    assert_eq!(shown(s.on_message(&message, at(1.0))), [expected]);
}

#[test]
fn a_request_is_answered_once_and_to_its_own_address() {
    let mut s = active(Config::default());
    let reply = Some("_INBOX.x.1".parse().unwrap());
    let request = Message { reply, ..Message::new("factory.a".parse().unwrap(), "7") };
    let asked = shown(s.on_message(&request, at(1.0)));
    assert_eq!(asked, [r#"send {"correlationId":"request-1","payload":7,"subject":"factory.a","type":3}"#]);
    let answer = r#"{"type":5,"subject":"$SYS.evil","correlationId":"request-1","payload":{"ok":1}}"#;
    assert_eq!(shown(s.on_text(answer, at(1.0)).1), [r#"reply _INBOX.x.1 {"ok":1}"#]);
    assert_eq!(shown(s.on_text(answer, at(1.0)).1).len(), 1, "the second is refused");
    assert!(shown(s.on_text(answer, at(1.0)).1)[0].contains("NOT_AUTHORIZED"));
}

#[test]
fn an_envelope_holds_the_frame_with_the_true_sender() {
    let mut s = active(Config { payload_shape: PayloadShape::Envelope, ..Config::default() });
    let text = r#"{"type":0,"subject":"factory.line1.a","payload":[1],"deviceId":"forged"}"#;
    let (_, effects) = s.on_text(text, at(1.0));
    let Some(Effect::Publish { message, recorded }) = effects.into_iter().next() else { panic!("no publish") };
    let envelope: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
    assert_eq!((&envelope["deviceId"], &envelope["payload"]), (&"press-1".into(), &serde_json::json!([1])));
    assert_eq!(recorded.payload, "[1]", "the collectors get the payload itself");
}

#[test]
fn too_big_is_said_before_the_end() {
    let mut s = active(Config::default());
    let text = "Payload exceeds maximum size of 1048576 bytes";
    let expected = [refusal("", None, "PAYLOAD_TOO_LARGE", text), "close 1009 Message too big too_big".to_owned()];
    assert_eq!(shown(s.on_too_big(at(1.0))), expected);
}

#[test]
fn bytes_and_what_all_send_have_rates_of_their_own() {
    let code = |s: &mut Session, text: &str| {
        let effects = shown(s.on_text(text, at(0.0)).1);
        effects
            .first()
            .and_then(|effect| effect.split("\"message\":\"").nth(1))
            .and_then(|rest| rest.split('"').next())
            .unwrap_or("")
            .to_owned()
    };
    let text = format!(r#"{{"type":0,"subject":"factory.line1.a","payload":"{}"}}"#, "x".repeat(1000));
    let mut s = active(Config { bytes_per_second: 2500, message_bytes_max: 2500, ..Config::default() });
    assert_eq!([code(&mut s, &text), code(&mut s, &text)], ["", ""]);
    assert_eq!(code(&mut s, &text), "Byte rate limit exceeded");
    assert_eq!(code(&mut s, r#"{"type":10}"#), "", "a small one still fits");
    let mut s = active(Config { total_messages_per_second: 1, ..Config::default() });
    assert_eq!(code(&mut s, &text), "");
    assert!(code(&mut s, &text).contains("rate limit of all"));
}

#[test]
fn other_permissions_hold_at_once_and_end_what_they_do_not_cover() {
    let mut s = active(Config::default());
    for subject in ["factory.a", "devices.press-1.>"] {
        let _ = s.on_text(&format!(r#"{{"type":1,"subject":"{subject}"}}"#), at(0.0));
    }
    let effects = shown(s.on_identity(Arc::new(press(&["devices.{device}.>"])), at(1.0)));
    let text = "No longer authorized to subscribe to factory.a";
    assert_eq!(effects, [refusal("factory.a", None, "NOT_AUTHORIZED", text), "unsubscribe factory.a".to_owned()]);
    let again = shown(s.on_text(r#"{"type":1,"subject":"factory.a"}"#, at(1.0)).1);
    assert!(again[0].contains("Not authorized to subscribe"), "{again:?}");
    let kept = shown(s.on_text(r#"{"type":2,"subject":"devices.press-1.>"}"#, at(1.0)).1);
    assert_eq!(kept[0], "unsubscribe devices.press-1.>");
}

#[test]
fn a_token_that_is_over_ends_the_session_also_of_a_silent_device() {
    let expiring = |second: f64| {
        let mut s = active(Config::default());
        let expires_at = Some(Timestamp::from_seconds(second));
        assert!(s.on_identity(Arc::new(Identity { expires_at, ..press(&[]) }), at(1.0)).is_empty());
        s
    };
    let over = [refusal("", None, "AUTH_FAILED", "Token expired"), "close 1008 Token expired expired".to_owned()];
    let mut silent = expiring(9.0);
    assert_eq!(silent.deadline(), Duration::from_secs(9));
    assert!(silent.on_time(at(8.9)).is_empty());
    assert_eq!(shown(silent.on_time(at(9.0))), over);
    let mut busy = expiring(9.0);
    assert_eq!(shown(busy.on_text(r#"{"type":9}"#, at(8.9)).1).len(), 1);
    assert_eq!(shown(busy.on_text(r#"{"type":9}"#, at(9.0)).1), over);
    // The wall clock is set: what counts is wall time.
    let mut set = expiring(9.0);
    let now = Now { elapsed: Duration::from_secs(2), wall: Timestamp::from_seconds(100.0), moved_ms: 0 };
    assert_eq!(shown(set.on_text(r#"{"type":9}"#, now).1), over);
}

#[test]
fn a_device_that_says_nothing_and_hears_nothing_is_idle() {
    let config = Config { idle_timeout: Some(Duration::from_secs(40)), ..Config::default() };
    let mut s = active(config);
    let _ = s.on_message(&Message::new("factory.a".parse().unwrap(), "1"), at(10.0));
    for second in [15.0, 30.0, 45.0] {
        let _ = s.on_time(at(second));
        assert!(s.on_control(at(second)).is_empty(), "pongs keep it alive, not busy");
    }
    assert_eq!(s.deadline(), Duration::from_secs(50));
    assert_eq!(shown(s.on_time(at(50.0))), ["close 1001 Idle idle"]);
}

#[test]
fn what_belongs_to_nats_does_not_reach_a_device_that_listens_to_everything() {
    let mut s = active(Config::default());
    for subject in ["_INBOX.abc", "$JS.ACK.x", "_R_.x"] {
        assert!(s.on_message(&Message::new(subject.parse().unwrap(), "1"), at(1.0)).is_empty(), "{subject}");
    }
}
