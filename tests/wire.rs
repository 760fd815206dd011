//! The protocol of nats-websocket-bridge, frame by frame, against the real program over real sockets: for each way in
//! that its documents and its code know, the same table; and its flaws, each as a test that holds.
//!
//! `cargo test --test andon wire:: -- --nocapture` prints the table: sent, expected, got.

use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::{SinkExt, StreamExt};
use ring::hmac;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::support::program::{Program, say as run};

const SOON: Duration = Duration::from_secs(20);
const SECRET: &str = include_str!("jwt/hs256.secret");
/// Stands in a row for the device that speaks.
const DEVICE: &str = "{device}";

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A box with a registered device, and what its settings allow.
struct Plant {
    program: Program,
    _folder: tempfile::TempDir,
    token: String,
}

impl Plant {
    fn start(more: &str) -> Plant {
        let folder = tempfile::tempdir().unwrap();
        let jwt = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/jwt");
        let settings = format!(
            "gateway:\n  request_timeout: 300ms\n  roles:\n    watcher: {{publish: ['factory.>'], subscribe: ['>']}}\n  \
             jwt:\n    secret_file: {jwt}/hs256.secret\n    public_key_files: [{jwt}/rs256.pem]\n    \
             jwks_file: {jwt}/keys.json\n    issuer: nats-websocket-bridge\n    audience: nats-devices\n    \
             clock_skew: 0s\n{more}"
        );
        let program = Program::start(folder.path(), &settings);
        let mut plant = Plant { program, _folder: folder, token: String::new() };
        let lists =
            ["--publish", "telemetry.{deviceId}.>", "--publish", "factory.>", "--subscribe", "commands.{clientId}.>"];
        plant.token = plant.device(&[&["add", "sensor-001", "--type", "sensor"], lists.as_slice()].concat());
        plant
    }

    fn url(&self) -> String {
        format!("http://{}", self.program.address)
    }

    /// Runs `andon device`; returns the token that it prints, if any.
    fn device(&self, words: &[&str]) -> String {
        let said = run(&[&["device"], words, &["--url", &self.url()]].concat());
        assert_eq!(said.code, Some(0), "{words:?}: {}", said.err);
        said.out.lines().find(|line| line.starts_with("andon_device_")).unwrap_or_default().to_owned()
    }

    /// Connects without showing anything, or with this `Authorization`.
    async fn open(&self, authorization: Option<&str>) -> Result<Socket, Error> {
        let mut request = format!("ws://{}/ws", self.program.address).into_client_request().unwrap();
        if let Some(value) = authorization {
            request.headers_mut().insert("authorization", value.parse().unwrap());
        }
        tokio_tungstenite::connect_async(request).await.map(|(socket, _)| socket)
    }

    /// Connects and shows a claim in a frame; returns the answer too.
    async fn join(&self, claim: Value) -> (Socket, Value) {
        let mut socket = self.open(None).await.unwrap();
        say(&mut socket, &json!({ "type": 8, "payload": claim })).await;
        let answer = hear(&mut socket).await.unwrap();
        (socket, answer)
    }

    /// Returns somebody who hears everything.
    async fn watcher(&self) -> Socket {
        let token = signed(&json!({ "sub": "watcher", "role": "watcher" }), 600);
        let (mut socket, welcome) = self.join(json!({ "token": token })).await;
        assert_eq!(welcome["payload"]["success"], true, "{welcome}");
        say(&mut socket, &json!({ "type": 1, "subject": ">" })).await;
        assert_eq!(hear(&mut socket).await.unwrap()["type"], 6);
        socket
    }

    fn metrics(&self) -> String {
        self.program.get("/metrics").unwrap().body
    }

    /// Returns the value of a series of the box itself; 0 if there is none.
    fn metric(&self, series: &str) -> f64 {
        let metrics = self.metrics();
        let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Waits until a series has a value.
    async fn until(&self, series: &str, value: f64) {
        let wait = async {
            while self.metric(series) != value {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = tokio::time::timeout(SOON, wait).await;
        waited.unwrap_or_else(|_| panic!("{series} is {}, not {value}", self.metric(series)));
    }
}

/// Signs claims with the secret of the settings, to hold for some seconds.
fn signed(claims: &Value, seconds: i64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
    let mut payload = json!({ "iss": "nats-websocket-bridge", "aud": "nats-devices", "exp": now + seconds as f64 });
    for (name, value) in claims.as_object().unwrap() {
        payload[name] = value.clone();
    }
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(&json!({ "alg": "HS256", "typ": "JWT" })), part(&payload));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.trim().as_bytes()), text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag))
}

async fn say(socket: &mut Socket, frame: &Value) {
    socket.send(Message::text(frame.to_string())).await.unwrap();
}

/// Returns the next frame; the end as an error: close code and reason.
async fn hear(socket: &mut Socket) -> Result<Value, (u16, String)> {
    loop {
        match tokio::time::timeout(SOON, socket.next()).await.expect("nothing came") {
            Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
            Some(Ok(Message::Close(frame))) => {
                return Err(frame.map_or((1005, String::new()), |f| (f.code.into(), f.reason.to_string())));
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err((1006, error.to_string())),
            None => return Err((1006, String::new())),
        }
    }
}

/// Takes the time out of a frame, which has to be there, and looks for nulls, which have to be nowhere outside of
/// payloads.
fn settled(mut frame: Value) -> Value {
    let members = frame.as_object_mut().unwrap();
    let time = members.remove("timestamp").expect("a frame has a time");
    assert!(time.as_str().unwrap().ends_with('Z'), "{time}");
    assert!(members.iter().all(|(name, value)| name == "payload" || !value.is_null()), "a null member");
    frame
}

// --- The table ---------------------------------------------------------------------------------------------

/// What is sent.
enum Sent {
    Text(String),
    Binary(&'static [u8]),
    /// One message in pieces of so many bytes.
    Pieces(String, usize),
}

/// One row: what the device sends, what it gets, what others get. Nothing more may come.
struct Row {
    what: &'static str,
    sent: Sent,
    answer: Option<Value>,
    others: Option<Value>,
}

fn row(what: &'static str, sent: Value, answer: impl Into<Option<Value>>, others: impl Into<Option<Value>>) -> Row {
    Row { what, sent: Sent::Text(sent.to_string()), answer: answer.into(), others: others.into() }
}

fn refused(what: &'static str, sent: &str, subject: &str, id: Option<&str>, code: &str, text: &str) -> Row {
    let mut answer = json!({ "type": 7, "subject": subject });
    answer["payload"] = json!({ "error": text, "message": text, "code": code });
    if !subject.is_empty() {
        answer["payload"]["subject"] = subject.into();
    }
    if let Some(id) = id {
        answer["payload"]["correlationId"] = id.into();
        answer["correlationId"] = id.into();
    }
    Row { what, sent: Sent::Text(sent.to_owned()), answer: Some(answer), others: None }
}

fn heard(subject: &str, payload: Value) -> Value {
    json!({ "type": 3, "subject": subject, "payload": payload, "deviceId": DEVICE })
}

fn publishing() -> Vec<Row> {
    let temp = "telemetry.{device}.temperature";
    let body = || json!({ "value": 25.5, "unit": "celsius" });
    let marked = |mut frame: Value| {
        frame["correlationId"] = "c-1".into();
        frame
    };
    let plain = [json!(7), json!("text"), json!(true), json!(null), json!([1, { "a": [] }])];
    let mut rows = vec![
        row("publish", json!({ "type": 0, "subject": temp, "payload": body() }), None, heard(temp, body())),
        row(
            "publish with a mark",
            json!({ "type": 0, "subject": temp, "payload": 1, "correlationId": "c-1" }),
            None,
            marked(heard(temp, json!(1))),
        ),
        row(
            "what a device says of sender and time is not believed",
            json!({ "type": 0, "subject": temp, "payload": 1, "deviceId": "hmi-001", "timestamp": "1999-01-01T00:00:00Z" }),
            None,
            heard(temp, json!(1)),
        ),
        Row {
            what: "member names in any case, unknown ones ignored",
            sent: Sent::Text(r#"{"TYPE":0,"Subject":"factory.a","PayLoad":1,"protocolVersion":"1.0"}"#.to_owned()),
            answer: None,
            others: Some(heard("factory.a", json!(1))),
        },
        Row {
            what: "in pieces of 7 bytes",
            sent: Sent::Pieces(json!({ "type": 0, "subject": "factory.a", "payload": body() }).to_string(), 7),
            answer: None,
            others: Some(heard("factory.a", body())),
        },
        row(
            "900 kB",
            json!({ "type": 0, "subject": "factory.a", "payload": "x".repeat(900_000) }),
            None,
            heard("factory.a", json!("x".repeat(900_000))),
        ),
    ];
    rows.extend(plain.map(|payload| {
        let sent = json!({ "type": 0, "subject": "factory.a", "payload": payload });
        row("any payload", sent, None, heard("factory.a", payload))
    }));
    rows
}

fn subscribing() -> Vec<Row> {
    let pattern = "commands.{device}.>";
    let done = |text: &str| json!({ "type": 6, "subject": pattern, "payload": { "success": true, "message": text } });
    let marked = |mut frame: Value| {
        frame["correlationId"] = "s-1".into();
        frame
    };
    let denied = "Not authorized to subscribe to commands.>";
    vec![
        row("subscribe", json!({ "type": 1, "subject": pattern }), done("Subscribed"), None),
        row(
            "subscribe again, with a mark",
            json!({ "type": 1, "subject": pattern, "correlationId": "s-1" }),
            marked(done("Subscribed")),
            None,
        ),
        row(
            "unsubscribe",
            json!({ "type": 2, "subject": pattern, "correlationId": "s-1" }),
            marked(done("Unsubscribed")),
            None,
        ),
        refused(
            "unsubscribe what is not subscribed",
            r#"{"type":2,"subject":"commands.{device}.>"}"#,
            pattern,
            None,
            "INVALID_SUBJECT",
            "Not subscribed to commands.{device}.>",
        ),
        refused(
            "subscribe to more",
            r#"{"type":1,"subject":"commands.>"}"#,
            "commands.>",
            None,
            "NOT_AUTHORIZED",
            denied,
        ),
    ]
}

fn asking() -> Vec<Row> {
    vec![
        row("ping", json!({ "type": 9 }), json!({ "type": 10, "subject": "" }), None),
        row(
            "ping with a mark",
            json!({ "type": 9, "correlationId": "p" }),
            json!({ "type": 10, "subject": "", "correlationId": "p" }),
            None,
        ),
        row("pong", json!({ "type": 10 }), None, None),
        // The watcher hears it and does not answer.
        Row {
            others: Some(json!({ "type": 3, "subject": "factory.q", "payload": 1, "deviceId": DEVICE,
                "correlationId": "request-…" })),
            ..refused(
                "request that nobody answers in time",
                r#"{"type":4,"subject":"factory.q","payload":1,"correlationId":"q"}"#,
                "factory.q",
                Some("q"),
                "REQUEST_TIMEOUT",
                "no answer within 300ms",
            )
        },
        refused(
            "request on a subject that is not allowed",
            r#"{"type":4,"subject":"other","correlationId":"q"}"#,
            "other",
            Some("q"),
            "NOT_AUTHORIZED",
            "Not authorized to publish to other",
        ),
        refused(
            "reply that nobody waits for",
            r#"{"type":5,"subject":"a","correlationId":"request-9"}"#,
            "a",
            Some("request-9"),
            "NOT_AUTHORIZED",
            "No request with this correlationId waits for a reply",
        ),
    ]
}

fn misusing() -> Vec<Row> {
    let bad = "INVALID_MESSAGE";
    let long = format!("factory.{}", "a".repeat(250));
    let publish = |subject: &str| json!({ "type": 0, "subject": subject }).to_string();
    let mut rows = vec![
        refused(
            "publish what is not allowed",
            r#"{"type":0,"subject":"alerts.a","correlationId":"c"}"#,
            "alerts.a",
            Some("c"),
            "NOT_AUTHORIZED",
            "Not authorized to publish to alerts.a",
        ),
        refused("no subject", r#"{"type":0,"payload":1}"#, "", None, "INVALID_SUBJECT", "Subject is required"),
        refused("odd subject", &publish("a b"), "a b", None, "INVALID_SUBJECT", "Invalid subject format: a b"),
        refused(
            "long subject",
            &publish(&long),
            long.get(..256).unwrap(),
            None,
            "INVALID_SUBJECT",
            "Subject exceeds maximum length of 256 characters",
        ),
        refused("unknown type", r#"{"type":42,"correlationId":"c"}"#, "", Some("c"), bad, "Invalid message type: 42"),
        refused("type as a text", r#"{"type":"Publish"}"#, "", None, bad, r#"Invalid message type: "Publish""#),
        refused("no type", r#"{"subject":"a"}"#, "a", None, bad, "type is missing"),
        refused("authenticate again", r#"{"type":8}"#, "", None, bad, "Already authenticated"),
        Row {
            sent: Sent::Binary(b"{\"type\":9}"),
            ..refused("binary", "", "", None, bad, "Binary messages are not understood, send text")
        },
    ];
    for (number, text) in
        [(3, r#"{"type":3,"subject":"a"}"#), (6, r#"{"type":6,"subject":"a"}"#), (7, r#"{"type":7,"subject":"a"}"#)]
    {
        rows.push(refused("a type of the box", text, "a", None, bad, &format!("A device does not send type {number}")));
    }
    rows
}

/// Compares a frame with what is expected; a text that ends in `…` stands for all that begin so.
fn is_as(got: &Value, expected: &Value) -> bool {
    match (got, expected) {
        (Value::Object(got), Value::Object(expected)) => {
            got.len() == expected.len()
                && expected.iter().all(|(name, value)| got.get(name).is_some_and(|got| is_as(got, value)))
        }
        (Value::String(got), Value::String(expected)) => match expected.strip_suffix('…') {
            Some(start) => got.starts_with(start),
            None => got == expected,
        },
        _ => got == expected,
    }
}

fn short(text: &str) -> String {
    let shown: String = text.chars().take(150).collect();
    if shown.len() < text.len() { format!("{shown}… ({} bytes)", text.len()) } else { shown }
}

/// Sends each row and compares; writes what was sent, expected and got.
async fn walk(device: &str, way: &str, socket: &mut Socket, watcher: &mut Socket, table: &mut String) -> usize {
    let mut wrong = 0;
    let named = |value: Value| -> Value { serde_json::from_str(&value.to_string().replace(DEVICE, device)).unwrap() };
    for (number, row) in [publishing(), subscribing(), asking(), misusing()].into_iter().flatten().enumerate() {
        let sent = match row.sent {
            Sent::Text(text) => {
                let text = text.replace(DEVICE, device);
                socket.send(Message::text(text.clone())).await.unwrap();
                text
            }
            Sent::Binary(bytes) => {
                socket.send(Message::binary(bytes)).await.unwrap();
                format!("binary: {}", String::from_utf8_lossy(bytes))
            }
            Sent::Pieces(text, size) => {
                let text = text.replace(DEVICE, device);
                let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
                for (at, piece) in pieces.iter().enumerate() {
                    let code = if at == 0 { OpCode::Data(Data::Text) } else { OpCode::Data(Data::Continue) };
                    let frame = Frame::message(piece.to_vec(), code, at + 1 == pieces.len());
                    socket.send(Message::Frame(frame)).await.unwrap();
                }
                text
            }
        };
        let expected = (row.answer.map(named), row.others.map(named));
        // A mark of our own at the end tells that nothing else came.
        let got = (
            until_mark(socket, expected.0.is_some(), number).await,
            until_mark(watcher, expected.1.is_some(), number).await,
        );
        let fits = |got: &[Value], expected: &Option<Value>| match expected {
            Some(expected) => got.len() == 1 && got.iter().all(|got| is_as(got, expected)),
            None => got.is_empty(),
        };
        let is_right = fits(&got.0, &expected.0) && fits(&got.1, &expected.1);
        wrong += usize::from(!is_right);
        let said = |list: &[Value]| short(&list.iter().map(Value::to_string).collect::<Vec<_>>().join(" "));
        let _ = write!(
            table,
            "{} {way}: {}\n    sent      {}\n    expected  {}\n    got       {}\n",
            if is_right { "ok   " } else { "WRONG" },
            row.what,
            short(&sent),
            short(&expected.0.map_or("nothing".to_owned(), |frame| frame.to_string())),
            if got.0.is_empty() { "nothing".to_owned() } else { said(&got.0) },
        );
        if expected.1.is_some() || !got.1.is_empty() {
            let wanted = short(&expected.1.map_or("nothing".to_owned(), |frame| frame.to_string()));
            let _ = write!(table, "    others    expected {wanted}\n              got      {}\n", said(&got.1));
        }
    }
    wrong
}

/// Waits for an answer if there is to be one, then for the answer to a ping; returns what came before that.
async fn until_mark(socket: &mut Socket, has_answer: bool, number: usize) -> Vec<Value> {
    let mut got = Vec::new();
    if has_answer {
        got.push(settled(hear(socket).await.unwrap()));
    }
    let mark = format!("mark-{number}");
    say(socket, &json!({ "type": 9, "correlationId": mark })).await;
    loop {
        let frame = settled(hear(socket).await.unwrap());
        if frame["correlationId"] == mark.as_str() {
            return got;
        }
        got.push(frame);
    }
}

/// What a device is told that is let in: both branches of the bridge at once.
fn welcome(device: &str, device_type: &str, role: &str) -> Value {
    json!({ "type": 8, "subject": "", "payload": {
        "success": true,
        "clientId": device,
        "role": role,
        "device": {
            "deviceId": device, "deviceType": device_type, "isConnected": true,
            "connectedAt": "2…", "lastActivityAt": "2…",
            "allowedPublishTopics": [format!("telemetry.{device}.>"), "factory.>"],
            "allowedSubscribeTopics": [format!("commands.{device}.>")],
        },
    }})
}

#[tokio::test]
async fn the_documented_protocol_holds_frame_by_frame_for_each_way_in() {
    let plant = Plant::start("");
    let mut watcher = plant.watcher().await;
    let lists = json!({ "role": "sensor", "pub": ["telemetry.{clientId}.>", "factory.>"],
        "subscribe": "commands.{clientId}.>" });
    let jwt = |device: &str| {
        let mut claims = lists.clone();
        claims["sub"] = device.into();
        signed(&claims, 600)
    };
    let bearer = |token: &str| format!("Bearer {token}");
    let static_token = plant.token.clone();
    let in_frame = json!({ "deviceId": "sensor-001", "token": static_token, "deviceType": "hmi" });
    let ways: [(&str, &str, Option<String>, Option<Value>); 6] = [
        ("token in a frame", "sensor-001", None, Some(in_frame)),
        ("token in the header", "sensor-001", Some(bearer(&static_token)), None),
        ("token in the header, bare", "sensor-001", Some(static_token.clone()), None),
        ("JWT in a frame", "jwt-1", None, Some(json!({ "token": jwt("jwt-1") }))),
        ("JWT in the header", "jwt-2", Some(bearer(&jwt("jwt-2"))), None),
        ("JWT in the header, bare", "jwt-3", Some(jwt("jwt-3")), None),
    ];
    let (mut table, mut wrong) = (String::new(), 0);
    for (way, device, header, claim) in ways {
        let mut socket = plant.open(header.as_deref()).await.unwrap();
        let sent = match claim {
            Some(payload) => {
                let frame = json!({ "type": 8, "payload": payload });
                say(&mut socket, &frame).await;
                frame.to_string()
            }
            None => format!("authorization: {}", header.unwrap_or_default()),
        };
        let (got, expected) = (settled(hear(&mut socket).await.unwrap()), welcome(device, "sensor", "sensor"));
        let is_right = is_as(&got, &expected);
        wrong += usize::from(!is_right);
        let mark = if is_right { "ok   " } else { "WRONG" };
        let _ = write!(
            table,
            "{mark} {way}: let in\n    sent      {}\n    expected  {expected}\n    got       {got}\n",
            short(&sent)
        );
        wrong += walk(device, way, &mut socket, &mut watcher, &mut table).await;
        socket.close(None).await.unwrap();
    }
    println!("{table}");
    assert_eq!(wrong, 0, "{table}");
}

/// Checks what becomes of a claim in a frame: the type 8 frame with this reason (or none), type 7, close 1008.
async fn check_shut_out(plant: &Plant, first: &str, reason: Option<&str>) {
    let mut socket = plant.open(None).await.unwrap();
    socket.send(Message::text(first)).await.unwrap();
    let failed = |text: &str| json!({ "error": text, "message": text, "code": "AUTH_FAILED" });
    if let Some(reason) = reason {
        let mut expected = json!({ "type": 8, "subject": "", "payload": failed(reason) });
        expected["payload"]["success"] = false.into();
        assert_eq!(settled(hear(&mut socket).await.unwrap()), expected, "{first}");
    }
    let expected = json!({ "type": 7, "subject": "", "payload": failed("Authentication failed") });
    assert_eq!(settled(hear(&mut socket).await.unwrap()), expected, "{first}");
    assert_eq!(hear(&mut socket).await, Err((1008, "Authentication failed".to_owned())), "{first}");
}

#[tokio::test]
async fn who_is_not_let_in_is_told_why_in_both_forms() {
    let plant = Plant::start("");
    let claim = |payload: Value| json!({ "type": 8, "payload": payload }).to_string();
    let wrong = Some("Invalid device ID or token");
    let missing = Some("Device ID and token are required");
    check_shut_out(&plant, &claim(json!({ "deviceId": "sensor-001", "token": "wrong" })), wrong).await;
    check_shut_out(&plant, &claim(json!({ "deviceId": "nobody", "token": plant.token })), wrong).await;
    check_shut_out(&plant, &claim(json!({ "deviceId": "sensor-001" })), missing).await;
    check_shut_out(&plant, r#"{"type":8}"#, missing).await;
    check_shut_out(&plant, r#"{"type":9}"#, None).await;
    check_shut_out(&plant, "hello", None).await;
    let jwt = |claims: Value, seconds| claim(json!({ "token": signed(&claims, seconds) }));
    check_shut_out(&plant, &jwt(json!({ "sub": "d" }), -1), Some("Token expired")).await;
    check_shut_out(&plant, &jwt(json!({}), 60), Some("Missing required claims")).await;
    let issuer = Some("Token validation failed: wrong issuer");
    check_shut_out(&plant, &jwt(json!({ "sub": "d", "iss": "x" }), 60), issuer).await;
    let forged = format!("{}A", signed(&json!({ "sub": "d" }), 60));
    check_shut_out(&plant, &claim(json!({ "token": forged })), Some("Token validation failed: wrong signature")).await;
    // The same in the header: 401 with the reason.
    for (token, reason) in [
        ("wrong".to_owned(), "Authentication failed: Invalid device ID or token"),
        (signed(&json!({ "sub": "d" }), -1), "Authentication failed: Token expired"),
    ] {
        match plant.open(Some(&format!("Bearer {token}"))).await.unwrap_err() {
            Error::Http(response) => {
                assert_eq!(response.status(), 401);
                let body = String::from_utf8_lossy(response.body().as_deref().unwrap_or_default()).into_owned();
                assert_eq!(body.trim(), reason);
            }
            other => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn tokens_of_each_algorithm_are_taken_from_files_and_sets_of_keys() {
    let plant = Plant::start("");
    let tokens = [
        ("press-rsa", include_str!("jwt/rs256.jwt")),
        ("press-ec", include_str!("jwt/es256.jwt")),
        ("press-ed", include_str!("jwt/eddsa.jwt")),
        ("press-hs", include_str!("jwt/hs256.jwt")),
    ];
    for (device, token) in tokens {
        let (_socket, answer) = plant.join(json!({ "token": token.trim() })).await;
        assert_eq!(answer["payload"]["clientId"], device, "{answer}");
        let topics = &answer["payload"]["device"]["allowedSubscribeTopics"];
        assert_eq!(topics, &json!([format!("commands.{device}.>"), format!("config.{device}")]));
    }
}

// --- Its flaws, as tests that hold ------------------------------------------------------------------------

#[tokio::test]
async fn flaw_a_second_connection_is_not_hurt_by_the_end_of_the_first() {
    let plant = Plant::start("");
    let claim = json!({ "deviceId": "sensor-001", "token": plant.token });
    let (mut first, _) = plant.join(claim.clone()).await;
    say(&mut first, &json!({ "type": 1, "subject": "commands.sensor-001.>" })).await;
    assert_eq!(hear(&mut first).await.unwrap()["type"], 6);
    let (mut second, _) = plant.join(claim).await;
    assert_eq!(hear(&mut first).await, Err((1008, "Replaced by a newer connection".to_owned())));
    drop(first);
    plant.until(r#"gateway_websocket_disconnections_total{device_type="sensor",reason="replaced"}"#, 1.0).await;
    say(&mut second, &json!({ "type": 1, "subject": "commands.sensor-001.>" })).await;
    assert_eq!(hear(&mut second).await.unwrap()["type"], 6);
    let boss = signed(&json!({ "sub": "boss", "pub": "commands.>", "subscribe": "" }), 60);
    let (mut boss, _) = plant.join(json!({ "token": boss })).await;
    say(&mut boss, &json!({ "type": 0, "subject": "commands.sensor-001.go", "payload": 1 })).await;
    assert_eq!(hear(&mut second).await.unwrap()["subject"], "commands.sensor-001.go");
    assert_eq!(plant.metric(r#"gateway_websocket_connections_active{device_type="sensor"}"#), 1.0);
}

#[tokio::test]
async fn where_the_settings_say_so_the_first_connection_stays() {
    let plant = Plant::start("  second_session: refuse\n");
    let claim = json!({ "deviceId": "sensor-001", "token": plant.token });
    let (mut first, _) = plant.join(claim.clone()).await;
    let (mut second, answer) = plant.join(claim).await;
    assert_eq!(answer["payload"]["error"], "Device is already connected");
    assert_eq!(hear(&mut second).await.unwrap()["type"], 7);
    assert_eq!(hear(&mut second).await.unwrap_err().0, 1008);
    say(&mut first, &json!({ "type": 9 })).await;
    assert_eq!(hear(&mut first).await.unwrap()["type"], 10);
}

#[tokio::test]
async fn flaw_a_failed_authentication_is_counted_and_an_unknown_device_gets_no_label() {
    let plant = Plant::start("");
    let (mut socket, _) = plant.join(json!({ "deviceId": "stranger-77", "token": "wrong" })).await;
    while hear(&mut socket).await.is_ok() {}
    plant.until(r#"gateway_websocket_disconnections_total{device_type="unknown",reason="auth_failed"}"#, 1.0).await;
    assert_eq!(plant.metric(r#"gateway_auth_attempts_total{status="failure"}"#), 1.0);
    assert!(!plant.metrics().contains("stranger-77"));
}

#[tokio::test]
async fn flaw_types_that_do_not_exist_make_no_series_and_labels_are_bounded() {
    let plant = Plant::start("");
    let (mut socket, _) = plant.join(json!({ "deviceId": "sensor-001", "token": plant.token })).await;
    for number in 11..61 {
        say(&mut socket, &json!({ "type": number })).await;
        assert_eq!(hear(&mut socket).await.unwrap()["payload"]["code"], "INVALID_MESSAGE");
    }
    let metrics = plant.metrics();
    let names =
        ["publish", "subscribe", "unsubscribe", "message", "request", "reply", "ack", "error", "auth", "ping", "pong"];
    for line in metrics.lines().filter(|line| line.starts_with("gateway_messages_received_total{")) {
        assert!(names.iter().any(|name| line.contains(&format!("type=\"{name}\""))), "{line}");
    }
    assert!(metrics.contains("\nandon_"), "one page has all metrics");
    // The series of a device go with it.
    let series = r#"gateway_rate_limit_tokens_remaining{device_id="sensor-001"}"#;
    let wait = async {
        while !plant.metrics().contains(series) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(SOON, wait).await.unwrap();
    plant.device(&["remove", "sensor-001"]);
    assert!(!plant.metrics().contains("device_id=\"sensor-001\"") || !plant.metrics().contains(series));
}

#[tokio::test]
async fn flaw_sent_is_what_was_written_and_answers_to_auth_count() {
    let plant = Plant::start("");
    let (mut socket, _) = plant.join(json!({ "deviceId": "sensor-001", "token": plant.token })).await;
    say(&mut socket, &json!({ "type": 9 })).await;
    hear(&mut socket).await.unwrap();
    assert_eq!(plant.metric(r#"gateway_messages_sent_total{type="auth"}"#), 1.0);
    assert_eq!(plant.metric(r#"gateway_messages_sent_total{type="pong"}"#), 1.0);
    assert_eq!(plant.metric(r#"gateway_message_size_bytes_count{direction="sent"}"#), 2.0);
}

#[tokio::test]
async fn flaw_subscribing_twice_is_one_subscription_and_leaves_nothing() {
    let plant = Plant::start("");
    let (mut socket, _) = plant.join(json!({ "deviceId": "sensor-001", "token": plant.token })).await;
    let subject = "commands.sensor-001.a";
    for _ in 0..2 {
        say(&mut socket, &json!({ "type": 1, "subject": subject })).await;
        assert_eq!(hear(&mut socket).await.unwrap()["type"], 6);
    }
    let boss = signed(&json!({ "sub": "boss", "pub": ["commands.>"] }), 60);
    let (mut boss, _) = plant.join(json!({ "token": boss })).await;
    for number in 0..2 {
        say(&mut boss, &json!({ "type": 0, "subject": subject, "payload": number })).await;
        assert_eq!(hear(&mut socket).await.unwrap()["payload"], number, "each comes once");
    }
    say(&mut socket, &json!({ "type": 2, "subject": subject })).await;
    assert_eq!(hear(&mut socket).await.unwrap()["type"], 6);
    say(&mut boss, &json!({ "type": 0, "subject": subject, "payload": 2 })).await;
    say(&mut boss, &json!({ "type": 9 })).await;
    assert_eq!(hear(&mut boss).await.unwrap()["type"], 10);
    say(&mut socket, &json!({ "type": 9 })).await;
    assert_eq!(hear(&mut socket).await.unwrap()["type"], 10, "nothing after the end");
}

#[tokio::test]
async fn flaw_a_wildcard_does_not_slip_through_a_narrower_one() {
    let plant = Plant::start("");
    let token = signed(&json!({ "sub": "narrow", "pub": ["a.*"], "subscribe": ["a.*", "b.>.c"] }), 60);
    let (mut socket, answer) = plant.join(json!({ "token": token })).await;
    assert_eq!(answer["payload"]["device"]["allowedSubscribeTopics"], json!(["a.*"]), "'>' only at the end");
    for wider in ["a.>", "a.*.>", ">", "*", "*.*", "*.>", "a.b.c", "b.x.c", "$SYS.>", "_INBOX.>", "$JS.>"] {
        say(&mut socket, &json!({ "type": 1, "subject": wider })).await;
        let code = hear(&mut socket).await.unwrap()["payload"]["code"].clone();
        assert!(code == "NOT_AUTHORIZED" || code == "INVALID_SUBJECT", "{wider}: {code}");
        say(&mut socket, &json!({ "type": 0, "subject": wider })).await;
        assert_eq!(hear(&mut socket).await.unwrap()["type"], 7, "{wider}");
    }
    for inside in ["a.*", "a.b"] {
        say(&mut socket, &json!({ "type": 1, "subject": inside })).await;
        assert_eq!(hear(&mut socket).await.unwrap()["type"], 6, "{inside}");
    }
}

#[tokio::test]
async fn flaw_the_rate_is_held_and_a_new_connection_does_not_fill_the_bucket() {
    let plant = Plant::start("  messages_per_second: 5\n");
    let claim = json!({ "deviceId": "sensor-001", "token": plant.token });
    let (mut passed, mut refused) = (0, 0);
    let start = std::time::Instant::now();
    for _ in 0..3 {
        let (mut socket, _) = plant.join(claim.clone()).await;
        for _ in 0..10 {
            say(&mut socket, &json!({ "type": 9, "correlationId": "c" })).await;
            let frame = hear(&mut socket).await.unwrap();
            if frame["type"] == 10 {
                passed += 1;
            } else {
                assert_eq!((&frame["payload"]["code"], &frame["correlationId"]), (&json!("RATE_LIMIT"), &json!("c")));
                refused += 1;
            }
        }
    }
    let allowed = 5.0 + 5.0 * start.elapsed().as_secs_f64();
    assert!(refused > 0 && f64::from(passed) <= allowed + 1.0, "{passed} of 30 passed, {allowed} allowed");
    let counted = plant.metric(r#"gateway_rate_limit_rejections_total{device_id="sensor-001"}"#);
    assert_eq!(counted, f64::from(refused));
    assert_eq!(plant.metric(r#"andon_gateway_rate_limited_total{limit="frames"}"#), f64::from(refused));
}

#[tokio::test]
async fn flaw_an_expired_token_ends_the_session_of_a_silent_subscriber() {
    let plant = Plant::start("");
    let token = signed(&json!({ "sub": "short", "subscribe": ["factory.>"] }), 2);
    let (mut socket, answer) = plant.join(json!({ "token": token })).await;
    assert_eq!(answer["payload"]["success"], true, "{answer}");
    say(&mut socket, &json!({ "type": 1, "subject": "factory.>" })).await;
    assert_eq!(hear(&mut socket).await.unwrap()["type"], 6);
    let frame = hear(&mut socket).await.unwrap();
    assert_eq!(
        (&frame["payload"]["error"], &frame["payload"]["code"]),
        (&json!("Token expired"), &json!("AUTH_FAILED"))
    );
    assert_eq!(hear(&mut socket).await, Err((1008, "Token expired".to_owned())));
    plant.until(r#"gateway_websocket_disconnections_total{device_type="device",reason="expired"}"#, 1.0).await;
}

#[tokio::test]
async fn flaw_a_silent_stranger_is_told_and_hundred_ms_are_not_hundred_minutes() {
    let plant = Plant::start("  auth_timeout: 100ms\n");
    let mut socket = plant.open(None).await.unwrap();
    let frame = hear(&mut socket).await.unwrap();
    assert_eq!(frame["payload"]["code"], "AUTH_TIMEOUT");
    assert_eq!(frame["payload"]["error"], "Authentication timeout");
    assert_eq!(hear(&mut socket).await, Err((1008, "Authentication timeout".to_owned())));
}

#[tokio::test]
async fn flaw_without_nats_the_box_starts_and_devices_are_served() {
    let plant = Plant::start("bus:\n  nats: {servers: ['nats://127.0.0.1:1']}\n");
    let mut watcher = plant.watcher().await;
    let (mut socket, _) = plant.join(json!({ "deviceId": "sensor-001", "token": plant.token })).await;
    say(&mut socket, &json!({ "type": 0, "subject": "factory.a", "payload": "not JSON-like: [" })).await;
    assert_eq!(hear(&mut watcher).await.unwrap()["payload"], "not JSON-like: [");
}

// --- The registry -----------------------------------------------------------------------------------------

#[tokio::test]
async fn tokens_rotate_with_an_overlap_and_a_revoked_device_is_out_at_once() {
    let plant = Plant::start("");
    let old = json!({ "deviceId": "sensor-001", "token": plant.token });
    let (mut socket, _) = plant.join(old.clone()).await;
    let token = plant.device(&["rotate", "sensor-001", "--overlap", "1h"]);
    say(&mut socket, &json!({ "type": 9 })).await;
    assert_eq!(hear(&mut socket).await.unwrap()["type"], 10, "the open session goes on");
    assert_eq!(plant.join(old.clone()).await.1["payload"]["success"], true, "the old token holds for an hour");
    let new = json!({ "deviceId": "sensor-001", "token": token });
    let (mut socket, answer) = plant.join(new.clone()).await;
    assert_eq!(answer["payload"]["success"], true);
    // Without an overlap the session on the older token ends at once.
    let newest = plant.device(&["rotate", "sensor-001", "--overlap", "0s"]);
    assert_eq!(hear(&mut socket).await, Err((1008, "Device revoked".to_owned())));
    for gone in [old, new] {
        assert_eq!(plant.join(gone).await.1["payload"]["success"], false);
    }
    let (mut socket, _) = plant.join(json!({ "deviceId": "sensor-001", "token": newest })).await;
    let asked = std::time::Instant::now();
    plant.device(&["revoke", "sensor-001"]);
    assert_eq!(hear(&mut socket).await, Err((1008, "Device revoked".to_owned())));
    assert!(asked.elapsed() < Duration::from_secs(5), "at once: {:?}", asked.elapsed());
    let token = plant.device(&["rotate", "sensor-001"]);
    let claim = json!({ "deviceId": "sensor-001", "token": token });
    assert_eq!(plant.join(claim.clone()).await.1["payload"]["success"], false, "still kept out");
    plant.device(&["change", "sensor-001", "--enable"]);
    assert_eq!(plant.join(claim).await.1["payload"]["success"], true);
}

#[tokio::test]
async fn a_token_that_holds_for_a_second_ends_with_it() {
    let plant = Plant::start("");
    let token = plant.device(&["rotate", "sensor-001", "--overlap", "0s", "--expires", "1s"]);
    let claim = json!({ "deviceId": "sensor-001", "token": token });
    let (mut socket, answer) = plant.join(claim.clone()).await;
    assert_eq!(answer["payload"]["success"], true);
    assert_eq!(hear(&mut socket).await.unwrap()["payload"]["error"], "Token expired");
    assert_eq!(hear(&mut socket).await.unwrap_err().0, 1008);
    assert_eq!(plant.join(claim).await.1["payload"]["error"], "Token expired");
}

#[tokio::test]
async fn changed_permissions_reach_the_open_session_at_once() {
    let plant = Plant::start("");
    let (mut socket, _) = plant.join(json!({ "deviceId": "sensor-001", "token": plant.token })).await;
    for subject in ["commands.sensor-001.>", "commands.sensor-001.a"] {
        say(&mut socket, &json!({ "type": 1, "subject": subject })).await;
        assert_eq!(hear(&mut socket).await.unwrap()["type"], 6);
    }
    plant.device(&[
        "change",
        "sensor-001",
        "--publish",
        "factory.{group}.>",
        "--group",
        "line1",
        "--subscribe",
        "commands.{device}.*",
    ]);
    let told = hear(&mut socket).await.unwrap();
    assert_eq!(
        (&told["subject"], &told["payload"]["code"]),
        (&json!("commands.sensor-001.>"), &json!("NOT_AUTHORIZED"))
    );
    for (subject, is_allowed) in
        [("factory.line1.a", true), ("factory.line2.a", false), ("telemetry.sensor-001.a", false)]
    {
        say(&mut socket, &json!({ "type": 0, "subject": subject })).await;
        say(&mut socket, &json!({ "type": 9 })).await;
        assert_eq!(hear(&mut socket).await.unwrap()["type"], if is_allowed { 10 } else { 7 }, "{subject}");
        if !is_allowed {
            assert_eq!(hear(&mut socket).await.unwrap()["type"], 10);
        }
    }
    // A role of the settings adds its lists; one that is not there is refused.
    plant.device(&["change", "sensor-001", "--role", "watcher"]);
    say(&mut socket, &json!({ "type": 1, "subject": ">" })).await;
    assert_eq!(hear(&mut socket).await.unwrap()["type"], 6);
    let said = run(&["device", "change", "sensor-001", "--role", "boss", "--url", &plant.url()]);
    assert!(said.code == Some(1) && said.err.contains("no role \"boss\""), "{}", said.err);
}

#[tokio::test]
async fn a_device_known_from_a_token_alone_is_listed_and_can_be_revoked() {
    let plant = Plant::start("");
    let token = signed(&json!({ "sub": "guest-1", "role": "sensor", "pub": ["factory.a"] }), 600);
    let (mut socket, _) = plant.join(json!({ "token": token })).await;
    let listed = async {
        while !run(&["device", "list", "--url", &plant.url()]).out.contains("guest-1") {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(SOON, listed).await.unwrap();
    plant.device(&["revoke", "guest-1"]);
    assert_eq!(hear(&mut socket).await, Err((1008, "Device revoked".to_owned())));
    assert_eq!(plant.join(json!({ "token": token })).await.1["payload"]["error"], "Device revoked");
}
