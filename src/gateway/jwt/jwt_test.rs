//! Tokens that another implementation signed (Python's `cryptography`), and what may be wrong with one.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Value, json};

use super::{Config, Key, Moment, Origin, Source, is_alike};
use crate::model::{Secret, Timestamp};

const SECRET: &str = include_str!("../../../tests/jwt/hs256.secret");
const KEYS: &str = include_str!("../../../tests/jwt/keys.json");
const SIGNED: [(&str, &str, &str); 3] = [
    ("press-rsa", include_str!("../../../tests/jwt/rs256.jwt"), include_str!("../../../tests/jwt/rs256.pem")),
    ("press-ec", include_str!("../../../tests/jwt/es256.jwt"), include_str!("../../../tests/jwt/es256.pem")),
    ("press-ed", include_str!("../../../tests/jwt/eddsa.jwt"), include_str!("../../../tests/jwt/eddsa.pem")),
];

fn secret() -> Key {
    Key::from_secret(&Secret::new(SECRET.trim())).unwrap()
}

fn config(keys: Vec<Key>) -> Config {
    let keys = keys.into_iter().map(Arc::new).collect();
    Config {
        sources: vec![Source { origin: Origin::Set("keys.json".into()), keys }],
        issuer: Some("nats-websocket-bridge".to_owned()),
        audience: Some("nats-devices".to_owned()),
        clock_skew: Duration::from_secs(30),
    }
}

fn at(seconds: f64) -> Moment {
    Moment { now: Timestamp::from_seconds(seconds), is_trusted: true }
}

fn sign(header: &Value, payload: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(payload));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.trim().as_bytes()), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

fn payload() -> Value {
    json!({ "iss": "nats-websocket-bridge", "aud": "nats-devices", "sub": "d", "exp": 2000 })
}

#[test]
fn what_others_signed_is_taken_by_set_and_by_file() {
    let (set, moment) = (config(Key::from_jwks(KEYS).unwrap()), at(1.8e9));
    assert_eq!(set.keys().count(), 3, "keys that cannot be used are left out");
    for (device, token, pem) in SIGNED {
        let file = config(vec![secret(), Key::from_pem(pem).unwrap()]);
        for config in [&set, &file] {
            let claims = config.check(token.trim(), moment).unwrap();
            assert_eq!((claims.device_id.as_str(), claims.role.as_str()), (device, "sensor"));
            assert_eq!(claims.publish.unwrap(), ["telemetry.{clientId}.>", "factory.>"]);
            assert_eq!(claims.subscribe.unwrap(), ["commands.{clientId}.>", "config.{clientId}"]);
            assert_eq!(claims.expires_at, Timestamp::from_seconds(4_102_444_830.0));
        }
    }
    let claims = config(vec![secret()]).check(include_str!("../../../tests/jwt/hs256.jwt").trim(), moment).unwrap();
    assert_eq!(claims.device_id, "press-hs");
}

#[test]
fn one_changed_character_is_a_wrong_token() {
    let set = config(Key::from_jwks(KEYS).unwrap());
    for (_, token, _) in SIGNED {
        let token = token.trim();
        for at_byte in [10, token.len() / 2, token.len() - 20] {
            let mut bytes = token.as_bytes().to_vec();
            bytes[at_byte] = if bytes[at_byte] == b'A' { b'B' } else { b'A' };
            assert!(set.check(std::str::from_utf8(&bytes).unwrap(), at(1.8e9)).is_err());
        }
    }
}

/// Checks the outcome for a token with these changes of payload or header at a second.
#[track_caller]
fn check(header: &Value, change: &Value, second: f64, expected: Result<&str, &str>) {
    let mut payload = payload();
    for (name, value) in change.as_object().unwrap() {
        payload[name] = value.clone();
    }
    let found = config(vec![secret()]).check(&sign(header, &payload), at(second));
    assert_eq!(found.as_ref().map(|claims| claims.device_id.as_str()), expected.as_ref().map(|id| *id), "{change}");
}

#[test]
fn each_claim_is_looked_at() {
    let head = json!({ "alg": "HS256" });
    let check = |change: Value, second: f64, expected| check(&head, &change, second, expected);
    check(json!({}), 1000.0, Ok("d"));
    check(json!({}), 2029.9, Ok("d"));
    check(json!({}), 2030.0, Err("Token expired"));
    check(json!({ "exp": 1999.5 }), 2029.6, Err("Token expired"));
    for bad in [json!(null), json!("2000"), json!(-1), json!(1e300)] {
        check(json!({ "exp": bad }), 1000.0, Err("Missing required claims"));
    }
    check(json!({ "sub": "" }), 1000.0, Err("Missing required claims"));
    check(json!({ "sub": 7 }), 1000.0, Err("Missing required claims"));
    check(json!({ "nbf": 1030 }), 1000.0, Ok("d"));
    check(json!({ "nbf": 1031 }), 1000.0, Err("Token validation failed: not valid yet"));
    check(json!({ "iss": "other" }), 1000.0, Err("Token validation failed: wrong issuer"));
    check(json!({ "iss": null }), 1000.0, Err("Token validation failed: wrong issuer"));
    check(json!({ "aud": "other" }), 1000.0, Err("Token validation failed: wrong audience"));
    check(json!({ "aud": ["other", "nats-devices"] }), 1000.0, Ok("d"));
    check(json!({ "pub": 7 }), 1000.0, Err("Missing required claims"));
    check(json!({ "pub": [7] }), 1000.0, Err("Missing required claims"));
}

#[test]
fn a_clock_that_is_not_believed_does_not_shut_out_fresh_tokens() {
    let mut claims = payload();
    claims["nbf"] = 1900.into();
    let token = sign(&json!({ "alg": "HS256" }), &claims);
    let moment = Moment { is_trusted: false, ..at(5.0) };
    assert!(config(vec![secret()]).check(&token, moment).is_ok());
}

#[test]
fn a_token_does_not_choose_how_it_is_checked() {
    let none = json!({});
    check(&json!({ "alg": "none" }), &none, 1000.0, Err("Token validation failed: no key for its algorithm"));
    check(&json!({ "alg": "HS512" }), &none, 1000.0, Err("Token validation failed: no key for its algorithm"));
    check(&json!({ "alg": "RS256" }), &none, 1000.0, Err("Token validation failed: no key for its algorithm"));
    check(&json!({ "alg": "hs256" }), &none, 1000.0, Err("Token validation failed: no key for its algorithm"));
    check(&json!({}), &none, 1000.0, Err("Token validation failed: no key for its algorithm"));
    let extended = json!({ "alg": "HS256", "crit": ["b64"], "b64": false });
    check(&extended, &none, 1000.0, Err("Token validation failed: not a JSON web token"));
    // The old trick: a public key as the secret of HS256.
    let (_, _, pem) = SIGNED[0];
    let signed_with_pem = {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({ "alg": "HS256" })), part(&payload()));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, pem.as_bytes()), signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
    };
    assert!(config(vec![Key::from_pem(pem).unwrap()]).check(&signed_with_pem, at(1000.0)).is_err());
}

#[test]
fn a_name_chooses_among_keys() {
    let set = Key::from_jwks(
        r#"{"keys":[{"kty":"oct","kid":"old","k":"YS1zZWNyZXQtb2YtYXQtbGVhc3QtdGhpcnR5LXR3by1ieXRlcyE"},
            {"kty":"oct","kid":"new","k":"YW5vdGhlci1zZWNyZXQtb2YtdGhpcnR5LXR3by1ieXRlcyE"}]}"#,
    );
    let set = config(set.unwrap());
    let signed = |header: Value| set.check(&sign(&header, &payload()), at(1000.0)).map(|claims| claims.device_id);
    assert_eq!(signed(json!({ "alg": "HS256", "kid": "old" })), Ok("d".to_owned()));
    assert_eq!(signed(json!({ "alg": "HS256" })), Ok("d".to_owned()), "without a name each is tried");
    assert_eq!(signed(json!({ "alg": "HS256", "kid": "new" })), Err("Token validation failed: wrong signature"));
    assert_eq!(signed(json!({ "alg": "HS256", "kid": "x" })), Err("Token validation failed: no key of its name"));
}

#[test]
fn topics_come_in_three_forms() {
    let topics = |value: Value| {
        let mut claims = payload();
        claims["pub"] = value;
        config(vec![secret()]).check(&sign(&json!({ "alg": "HS256" }), &claims), at(1000.0)).unwrap().publish
    };
    let both = Some(vec!["a.>".to_owned(), "b".to_owned()]);
    assert_eq!(topics(json!(["a.>", "b"])), both);
    assert_eq!(topics(json!(r#"["a.>","b"]"#)), both);
    assert_eq!(topics(json!("a.>, b,")), both);
    assert_eq!(topics(json!("")), Some(Vec::new()));
    assert_eq!(topics(json!([])), Some(Vec::new()));
    assert_eq!(topics(json!(null)), None);
}

#[test]
fn what_is_no_key_is_refused_with_a_reason() {
    assert!(Key::from_secret(&Secret::new("short")).unwrap_err().contains("at least 32"));
    assert!(Key::from_pem("hello").unwrap_err().contains("BEGIN PUBLIC KEY"));
    let wrapped = |inside: &str| format!("-----BEGIN PUBLIC KEY-----\n{inside}\n-----END PUBLIC KEY-----\n");
    assert!(Key::from_pem(&wrapped("AAAA")).unwrap_err().contains("DER"));
    assert!(Key::from_pem(&wrapped("!")).unwrap_err().contains("base64"));
    assert!(Key::from_jwks("[]").is_err() && Key::from_jwks(r#"{"keys":[]}"#).is_err());
    assert!(Key::from_jwks(r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA"}]}"#).unwrap_err().contains("1 bytes"));
    assert!(!format!("{:?}", secret()).contains("thirty"), "a key is not printed");
}

#[test]
fn tokens_of_other_forms_are_told_apart() {
    assert!(is_alike(SIGNED[0].1.trim()));
    assert!(!is_alike("andon_device_x") && !is_alike("a.b.c") && !is_alike("eyJ.a"));
}
