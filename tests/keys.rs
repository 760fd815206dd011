//! Keys of JSON web tokens that change on disk while devices are connected, on a whole box.

use std::path::Path;
use std::time::Duration;

use andon::app::App;
use andon::config::{self, Source};
use andon::gateway::NewDevice;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::{SinkExt, StreamExt};
use ring::hmac;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

const SOON: Duration = Duration::from_secs(15);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Returns the secret of a key.
fn secret(name: &str) -> String {
    format!("the secret of {name}, which is long enough")
}

/// Writes a set of keys.
fn write_keys(folder: &Path, names: &[&str]) {
    let key = |name: &&str| json!({ "kty": "oct", "kid": name, "k": URL_SAFE_NO_PAD.encode(secret(name)) });
    let set = json!({ "keys": names.iter().map(key).collect::<Vec<_>>() });
    std::fs::write(folder.join("keys.json"), set.to_string()).unwrap();
}

/// Returns a device's token, signed with a key.
fn token(device: &str, key: &str) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({ "sub": device, "exp": 4_000_000_000_u64, "pub": ["lab.>"] });
    let text = format!("{}.{}", part(json!({ "alg": "HS256", "kid": key })), part(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret(key).as_bytes()), text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag))
}

async fn say(socket: &mut Socket, frame: Value) {
    socket.send(Message::text(frame.to_string())).await.unwrap();
}

/// Returns the next frame, or what a close frame says.
async fn hear(socket: &mut Socket) -> Value {
    loop {
        match tokio::time::timeout(SOON, socket.next()).await.unwrap().unwrap().unwrap() {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Close(Some(frame)) => return json!([u16::from(frame.code), frame.reason.to_string()]),
            _ => {}
        }
    }
}

async fn goes_on(socket: &mut Socket) {
    say(socket, json!({ "type": 9 })).await;
    assert_eq!(hear(socket).await["type"], 10);
}

/// A box that takes the tokens of a set of keys.
struct Keyed {
    app: App,
    folder: tempfile::TempDir,
}

impl Keyed {
    async fn start(names: &[&str]) -> Keyed {
        let folder = tempfile::tempdir().unwrap();
        write_keys(folder.path(), names);
        let settings = folder.path().join("andon.yml");
        std::fs::write(&settings, "host: {enabled: false}\ngateway: {jwt: {jwks_file: keys.json}}\n").unwrap();
        let source = Source {
            file: Some(settings),
            data: Some(folder.path().join("data")),
            listen: Some("127.0.0.1:0".to_owned()),
        };
        let app = App::start(config::load(&source).unwrap(), source, None).await.unwrap();
        Keyed { app, folder }
    }

    /// Connects with a token; returns the answer too.
    async fn join(&self, device: &str, key: &str) -> (Socket, Value) {
        let url = format!("ws://{}/ws", self.app.local_addr());
        let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        say(&mut socket, json!({ "type": 8, "payload": { "token": token(device, key) } })).await;
        let answer = hear(&mut socket).await;
        (socket, answer["payload"].clone())
    }

    async fn let_in(&self, device: &str, key: &str) -> Socket {
        let (socket, answer) = self.join(device, key).await;
        assert_eq!(answer["success"], true, "{answer}");
        socket
    }

    fn metric(&self, name: &str, value: &str) -> Option<f64> {
        let families = self.app.state().registry.gather();
        let samples = families.into_iter().filter(|f| f.name == name).flat_map(|f| f.samples);
        let found = samples.filter(|s| value.is_empty() || s.labels.iter().any(|(_, v)| v == value));
        found.map(|sample| sample.value).reduce(|a, b| a + b)
    }

    async fn wait_for(&self, name: &str, value: &str, expected: f64) {
        let wait = async {
            while self.metric(name, value) != Some(expected) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        assert!(tokio::time::timeout(SOON, wait).await.is_ok(), "{name} is {:?}", self.metric(name, value));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_change_on_disk_count_at_once_and_a_broken_file_changes_nothing() {
    let keyed = Keyed::start(&["old"]).await;
    // One is registered and one is known from its token alone.
    let new = NewDevice { id: "press-1".to_owned(), ..NewDevice::default() };
    let registered = keyed.app.state().gateway.add_device(new).await.unwrap().token;
    let mut press = keyed.let_in("press-1", "old").await;
    let mut guest = keyed.let_in("guest-1", "old").await;
    let (_, refused) = keyed.join("guest-2", "new").await;
    assert_eq!(refused["message"], "Token validation failed: no key of its name", "{refused}");

    // A second key comes, as at a rotation.
    write_keys(keyed.folder.path(), &["old", "new"]);
    let coming = async {
        loop {
            let (socket, answer) = keyed.join("guest-2", "new").await;
            if answer["success"] == true {
                return socket;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let mut newer = tokio::time::timeout(SOON, coming).await.unwrap();
    goes_on(&mut press).await;

    // A broken file keeps what was there, and is told.
    let stale = "andon_gateway_jwt_keys_stale";
    keyed.wait_for(stale, "", 0.0).await;
    std::fs::write(keyed.folder.path().join("keys.json"), "{").unwrap();
    keyed.wait_for(stale, "", 1.0).await;
    goes_on(&mut press).await;
    drop(keyed.let_in("guest-3", "old").await);

    // The first key goes: so do its sessions, and nobody comes in by it.
    write_keys(keyed.folder.path(), &["new"]);
    for socket in [&mut press, &mut guest] {
        assert_eq!(hear(socket).await, json!([1008, "Key of the token no longer accepted"]));
    }
    keyed.wait_for(stale, "", 0.0).await;
    keyed.wait_for("gateway_websocket_disconnections_total", "key", 2.0).await;
    let (_, refused) = keyed.join("guest-1", "old").await;
    assert_eq!(refused["message"], "Token validation failed: no key of its name", "{refused}");
    goes_on(&mut newer).await;
    let url = format!("ws://{}/ws", keyed.app.local_addr());
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    say(&mut socket, json!({ "type": 8, "payload": { "deviceId": "press-1", "token": registered } })).await;
    assert_eq!(hear(&mut socket).await["payload"]["success"], true, "its own token is another matter");
    keyed.app.stop().await;
}
