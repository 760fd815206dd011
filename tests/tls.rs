//! TLS at the listener and devices that show certificates, over real sockets on loopback.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use andon::app::App;
use andon::clock::Clock;
use andon::config::{self, Source};
use andon::device::{self, DeviceClient};
use andon::gateway::{Edit, NewDevice};
use andon::task::Tasks;
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};

use crate::pages::client as http;

const SOON: Duration = Duration::from_secs(15);

type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// Returns a file of the tests' certificates.
pub(crate) fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name)
}

/// A box that speaks TLS.
pub(crate) struct Secure {
    pub(crate) app: App,
    folder: tempfile::TempDir,
}

impl Secure {
    /// Starts one with the certificate of `server.pem` and more lines for `tls_server_config`.
    pub(crate) async fn start(tls: &[&str]) -> Secure {
        let folder = tempfile::tempdir().unwrap();
        put_server(folder.path(), "server");
        for name in ["ca.pem", "revoked.crl"] {
            std::fs::copy(file(name), folder.path().join(name)).unwrap();
        }
        let source = Source {
            file: Some(write_settings(folder.path(), tls)),
            data: Some(folder.path().join("data")),
            listen: Some("127.0.0.1:0".to_owned()),
        };
        let app = App::start(config::load(&source).unwrap(), source, None).await.unwrap();
        Secure { app, folder }
    }

    /// Takes other lines for `tls_server_config`, by a reload.
    async fn reload(&mut self, tls: &[&str]) {
        write_settings(self.folder.path(), tls);
        let url = format!("http://{}/-/reload", self.app.plain_addr().unwrap());
        let asked = tokio::spawn(async move { http().post(url).send().await.unwrap().status() });
        tokio::select! {
            _ = self.app.live() => panic!("the box ended"),
            status = asked => assert_eq!(status.unwrap(), 200),
        }
    }

    /// Lets a device in; with a certificate, or a token, or both.
    async fn let_in(&self, certificate: Option<&str>, token: Option<&str>) -> Socket {
        let mut socket = self.upgrade(certificate, token).await.unwrap().unwrap();
        assert_eq!(hear(&mut socket).await.unwrap()["payload"]["success"], true);
        socket
    }

    /// Registers a device; returns its token.
    pub(crate) async fn add(&self, id: &str) -> String {
        let lists = |text: &str| Some(vec![text.to_owned()]);
        let (publish, subscribe) = (lists("lab.>"), lists("lab.>"));
        let new = NewDevice { id: id.to_owned(), publish, subscribe, ..NewDevice::default() };
        self.app.state().gateway.add_device(new).await.unwrap().token
    }

    async fn edit(&self, id: &str, edit: Edit) {
        self.app.state().gateway.edit_device(id, edit).await.unwrap();
    }

    /// Lets a device in with the certificate in this file.
    pub(crate) async fn pin(&self, id: &str, name: &str) {
        self.edit(id, Edit::AddCertificate(std::fs::read_to_string(file(name)).unwrap())).await;
    }

    /// Makes a TLS connection, with a certificate if one is named.
    async fn connect(&self, certificate: Option<&str>) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.app.local_addr()).await?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(client(certificate)).connect(name, stream).await
    }

    /// Asks for a WebSocket; nothing if the handshake of TLS fails.
    async fn upgrade(&self, certificate: Option<&str>, token: Option<&str>) -> Option<Result<Socket, u16>> {
        let stream = self.connect(certificate).await.ok()?;
        let mut request = "wss://localhost/ws".into_client_request().unwrap();
        if let Some(token) = token {
            request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        match tokio_tungstenite::client_async(request, stream).await {
            Ok((socket, _)) => Some(Ok(socket)),
            Err(SocketError::Http(answer)) => Some(Err(answer.status().as_u16())),
            // In TLS 1.3 a client hears only afterwards that its certificate is not taken.
            Err(_) => None,
        }
    }

    /// Says how a certificate is received: let in as whom, `stranger`, `401`, or `no handshake`.
    async fn received(&self, certificate: &str) -> String {
        match self.upgrade(Some(certificate), None).await {
            None => "no handshake".to_owned(),
            Some(Err(status)) => status.to_string(),
            Some(Ok(mut socket)) => {
                let ping = json!({ "type": 9 }).to_string();
                socket.send(Message::text(ping)).await.unwrap();
                let answer = hear(&mut socket).await.unwrap();
                match (answer["type"].as_u64(), answer["payload"]["clientId"].as_str()) {
                    (Some(8), Some(id)) => id.to_owned(),
                    _ => "stranger".to_owned(),
                }
            }
        }
    }

    /// Returns one sample of the box's own metrics.
    fn metric(&self, name: &str, value: &str) -> Option<f64> {
        let families = self.app.state().registry.gather();
        let samples = families.into_iter().filter(|f| f.name == name).flat_map(|f| f.samples);
        let mut found = samples.filter(|s| value.is_empty() || s.labels.iter().any(|(_, v)| v == value));
        found.next().map(|sample| sample.value)
    }

    /// Waits until there is one at least.
    async fn wait_for_more(&self, name: &str, value: &str) {
        let wait = async {
            while self.metric(name, value).is_none_or(|count| count < 1.0) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        assert!(tokio::time::timeout(SOON, wait).await.is_ok(), "no {name} {value}");
    }

    async fn wait_for(&self, name: &str, value: &str, expected: f64) {
        let wait = async {
            while self.metric(name, value) != Some(expected) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let waited = tokio::time::timeout(SOON, wait).await;
        assert!(waited.is_ok(), "{name} {value} is {:?}", self.metric(name, value));
    }
}

/// Writes settings with the certificate of the box and these lines for `tls_server_config`.
fn write_settings(folder: &Path, tls: &[&str]) -> PathBuf {
    let settings = folder.join("andon.yml");
    let lines = [&["cert_file: box.pem", "key_file: box.key"], tls].concat();
    let text = format!(
        "host: {{enabled: false}}\nhttp:\n  plain_listen: 127.0.0.1:0\n  tls_server_config:\n    {}\n",
        lines.join("\n    ")
    );
    std::fs::write(&settings, text).unwrap();
    settings
}

/// Fails unless a session is there and answers.
async fn goes_on(socket: &mut Socket) {
    socket.send(Message::text(json!({ "type": 9 }).to_string())).await.unwrap();
    assert_eq!(hear(socket).await.unwrap()["type"], 10);
}

/// Fails unless a session ends within a second because of its certificate.
async fn is_cut_off(socket: &mut Socket) {
    let end = tokio::time::timeout(Duration::from_secs(1), hear(socket)).await.unwrap().unwrap();
    assert_eq!((&end["close"], &end["reason"]), (&json!(1008), &json!("Certificate no longer accepted")));
}

fn put_server(folder: &Path, name: &str) {
    for kind in ["pem", "key"] {
        std::fs::copy(file(&format!("{name}.{kind}")), folder.join(format!("box.{kind}"))).unwrap();
    }
}

fn client(certificate: Option<&str>) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file("ca.pem")).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    Arc::new(match certificate {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let chain = vec![CertificateDer::from_pem_file(file(&format!("{name}.pem"))).unwrap()];
            let key = PrivateKeyDer::from_pem_file(file(&format!("{name}.key"))).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    })
}

/// Returns the next frame, or the code of a close frame as `close`.
async fn hear(socket: &mut Socket) -> Option<Value> {
    loop {
        match tokio::time::timeout(SOON, socket.next()).await.unwrap()? {
            Ok(Message::Text(text)) => return Some(serde_json::from_str(&text).unwrap()),
            Ok(Message::Close(Some(frame))) => {
                return Some(json!({ "close": u16::from(frame.code), "reason": frame.reason.to_string() }));
            }
            Ok(_) => {}
            Err(_) => return None,
        }
    }
}

/// Asks for a path on a connection that stays open; returns the whole answer as text.
async fn ask(stream: &mut TlsStream<TcpStream>, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"healthy.\n") {
        let mut part = [0; 4096];
        let read = tokio::time::timeout(SOON, stream.read(&mut part)).await.unwrap().unwrap();
        assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
        answer.extend(&part[..read]);
    }
    String::from_utf8(answer).unwrap()
}

/// Returns the certificate that new handshakes see.
async fn seen(secure: &Secure) -> Vec<u8> {
    let stream = secure.connect(None).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

fn der(name: &str) -> Vec<u8> {
    CertificateDer::from_pem_file(file(name)).unwrap().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn new_files_are_used_without_dropping_a_connection_and_wrong_ones_change_nothing() {
    let secure = Secure::start(&["client_auth_type: RequestClientCert"]).await;
    secure.add("press-1").await;
    secure.pin("press-1", "pinned.pem").await;
    let mut page = secure.connect(None).await.unwrap();
    assert!(ask(&mut page, "/-/healthy").await.starts_with("HTTP/1.1 200"));
    let mut socket = secure.upgrade(Some("pinned"), None).await.unwrap().unwrap();
    assert_eq!(hear(&mut socket).await.unwrap()["payload"]["clientId"], "press-1");
    let expiry = "andon_http_tls_certificate_expiry_timestamp_seconds";
    assert_eq!(secure.metric(expiry, ""), Some(4_733_510_400.0));

    // As a renewal writes them, one after the other, and without a word to Andon.
    put_server(secure.folder.path(), "other-server");
    let wait = async {
        while seen(&secure).await != der("other-server.pem") {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(SOON, wait).await.unwrap();
    assert_eq!(secure.metric(expiry, ""), Some(4_417_977_600.0));

    std::fs::write(secure.folder.path().join("box.key"), "nothing").unwrap();
    secure.wait_for("andon_http_tls_certificate_stale", "", 1.0).await;
    assert_eq!(seen(&secure).await, der("other-server.pem"));

    let request = http();
    let reload = format!("http://{}/-/reload", secure.app.plain_addr().unwrap());
    let mut app = secure.app;
    let asked = tokio::spawn(async move { request.post(reload).send().await.unwrap().text().await.unwrap() });
    tokio::select! {
        _ = app.live() => panic!("the box ended"),
        told = asked => {
            let told = told.unwrap();
            assert!(told.contains("box.key") && told.contains("BEGIN PRIVATE KEY"), "{told}");
        }
    }
    assert!(ask(&mut page, "/-/healthy").await.starts_with("HTTP/1.1 200"), "the old connection is still there");
    socket.send(Message::text(json!({ "type": 9 }).to_string())).await.unwrap();
    assert_eq!(hear(&mut socket).await.unwrap()["type"], 10);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_plain_http_to_tls_is_told_and_the_plain_port_serves_this_machine() {
    let secure = Secure::start(&[]).await;
    let mut stream = TcpStream::connect(secure.app.local_addr()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut told = String::new();
    stream.read_to_string(&mut told).await.unwrap();
    assert!(told.starts_with("HTTP/1.1 400") && told.ends_with("use https:// here, or wss\n"), "{told}");
    drop(stream);
    secure.wait_for("andon_http_tls_handshake_failures_total", "plain_http", 1.0).await;
    assert!(secure.app.state().info.external_url.starts_with("https://127.0.0.1:"));

    let plain = secure.app.plain_addr().unwrap();
    let token = secure.add("old-1").await;
    let mut request = format!("ws://{plain}/ws").into_client_request().unwrap();
    request.headers_mut().insert("authorization", token.parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    let welcome = socket.next().await.unwrap().unwrap().into_text().unwrap();
    assert!(welcome.contains("\"clientId\":\"old-1\""), "{welcome}");
    let page = http().get(format!("http://{plain}/devices")).send().await.unwrap();
    assert_eq!(page.status(), 200);
    assert!(!page.text().await.unwrap().contains("href=\"/tenants\""), "there are no tenants");
    secure.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_shows_who_a_device_is() {
    let secure = Secure::start(&["client_auth_type: RequestClientCert", "client_ca_file: ca.pem"]).await;
    for id in ["press-1", "press-2", "gate-7", "old-1"] {
        secure.add(id).await;
    }
    let received = async |name: &str, expected: &str| assert_eq!(secure.received(name).await, expected, "{name}");
    received("press-1", "press-1").await;
    received("plain", "press-2").await;
    received("gate", "stranger").await;
    secure.edit("gate-7", Edit::AddCertificate("URN:plant:gate-7".to_owned())).await;
    received("gate", "gate-7").await;
    received("pinned", "stranger").await;
    secure.pin("old-1", "pinned.pem").await;
    received("pinned", "old-1").await;
    // Its name is right, but nobody knows who wrote it.
    received("stranger", "stranger").await;
    secure.pin("press-2", "stranger.pem").await;
    received("stranger", "press-2").await;
    secure.pin("old-1", "pinned-old.pem").await;
    received("pinned-old", "no handshake").await;
    received("expired", "no handshake").await;
    received("early", "no handshake").await;
    secure.wait_for("andon_http_tls_handshake_failures_total", "certificate", 3.0).await;
    // Names of two devices are nobody's.
    secure.edit("old-1", Edit::AddCertificate("gate.plant.example".to_owned())).await;
    received("gate", "401").await;
    secure.edit("press-1", Edit::Revoke).await;
    received("press-1", "401").await;
    secure.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_certificates_are_verified_others_do_not_get_through_the_handshake() {
    let secure = Secure::start(&[
        "client_auth_type: RequireAndVerifyClientCert",
        "client_ca_file: ca.pem",
        "client_crl_file: revoked.crl",
        "client_allowed_sans: [press-1, press-2]",
    ])
    .await;
    for id in ["press-1", "press-2"] {
        secure.add(id).await;
    }
    for (name, expected) in [
        ("press-1", "press-1"),
        ("plain", "press-2"),
        ("gate", "no handshake"),
        ("revoked", "no handshake"),
        ("stranger", "no handshake"),
        ("pinned", "no handshake"),
        ("expired", "no handshake"),
        ("early", "no handshake"),
    ] {
        assert_eq!(secure.received(name).await, expected, "{name}");
    }
    assert!(secure.upgrade(None, None).await.is_none(), "no certificate at all");
    secure.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_taken_away_ends_its_session_and_rights_are_those_of_a_token() {
    let secure = Secure::start(&["client_auth_type: RequestClientCert"]).await;
    let token = secure.add("press-1").await;
    let other = secure.add("press-2").await;
    secure.pin("press-1", "pinned.pem").await;
    let mut socket = secure.upgrade(Some("pinned"), None).await.unwrap().unwrap();
    let welcome = hear(&mut socket).await.unwrap();
    assert_eq!((&welcome["type"], &welcome["payload"]["success"]), (&json!(8), &json!(true)));
    let mut say = async |frame: Value| {
        socket.send(Message::text(frame.to_string())).await.unwrap();
        hear(&mut socket).await.unwrap()
    };
    // A device that says who it is all the same is welcome again; one that says something else is not.
    let again = say(json!({ "type": 8, "payload": { "deviceId": "press-1", "token": "x" } })).await;
    assert_eq!(again["payload"]["clientId"], "press-1");
    let wrong = say(json!({ "type": 8, "payload": { "deviceId": "press-2", "token": other } })).await;
    assert_eq!(wrong["payload"]["code"], "INVALID_MESSAGE");
    let acknowledged = say(json!({ "type": 0, "subject": "lab.a", "payload": 1, "ack": true })).await;
    assert_eq!(acknowledged["type"], 6);
    let refused = say(json!({ "type": 0, "subject": "office.a", "payload": 1 })).await;
    assert_eq!(refused["payload"]["code"], "NOT_AUTHORIZED");

    // Somebody else's token does not go with it; its own does.
    assert_eq!(secure.upgrade(Some("pinned"), Some(&other)).await.unwrap().unwrap_err(), 401);
    let mut newer = secure.upgrade(Some("pinned"), Some(&token)).await.unwrap().unwrap();
    assert_eq!(hear(&mut newer).await.unwrap()["payload"]["clientId"], "press-1");
    assert_eq!(hear(&mut socket).await.unwrap()["reason"], "Replaced by a newer connection");

    let mut socket = secure.upgrade(Some("pinned"), None).await.unwrap().unwrap();
    hear(&mut socket).await.unwrap();
    let mark = secure.app.state().gateway.snapshot().device("press-1").unwrap().certificates[0].0.clone();
    secure.edit("press-1", Edit::RemoveCertificate(mark)).await;
    let end = tokio::time::timeout(Duration::from_secs(1), hear(&mut socket)).await.unwrap().unwrap();
    assert_eq!((&end["close"], &end["reason"]), (&json!(1008), &json!("Device revoked")));
    assert_eq!(secure.received("pinned").await, "stranger");
    secure.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_whose_certificate_is_not_accepted_any_more_end_at_once_and_others_go_on() {
    let rules = ["client_auth_type: RequireAndVerifyClientCert", "client_ca_file: ca.pem"];
    let mut secure = Secure::start(&rules).await;
    secure.add("press-1").await;
    secure.add("press-2").await;
    let token = secure.add("old-1").await;
    let mut revoked = secure.let_in(Some("revoked"), None).await;
    let mut other = secure.let_in(Some("plain"), None).await;
    // Who it is its token says, but it came through the handshake with a certificate.
    let mut with_token = secure.let_in(Some("gate"), Some(&token)).await;
    let mut page = secure.connect(Some("revoked")).await.unwrap();
    let mut other_page = secure.connect(Some("plain")).await.unwrap();
    ask(&mut page, "/-/healthy").await;
    ask(&mut other_page, "/-/healthy").await;
    // One that has not said who it is.
    let mut stranger = secure.upgrade(Some("gate"), None).await.unwrap().unwrap();

    secure.reload(&[&rules[..], &["client_crl_file: revoked.crl"]].concat()).await;
    is_cut_off(&mut revoked).await;
    let read = tokio::time::timeout(SOON, page.read(&mut [0])).await.unwrap();
    assert!(!read.is_ok_and(|bytes| bytes > 0), "a page's connection ends too");
    goes_on(&mut other).await;
    goes_on(&mut with_token).await;
    ask(&mut other_page, "/-/healthy").await;
    let ends = "gateway_websocket_disconnections_total";
    secure.wait_for(ends, "certificate", 1.0).await;
    secure.wait_for("andon_http_tls_connections_cut_off_total", "", 1.0).await;

    secure.reload(&[&rules[..], &["client_allowed_sans: [press-2]"]].concat()).await;
    is_cut_off(&mut with_token).await;
    is_cut_off(&mut stranger).await;
    goes_on(&mut other).await;

    // Another authority, and not a word to Andon.
    std::fs::copy(file("stranger-ca.pem"), secure.folder.path().join("ca.pem")).unwrap();
    let end = hear(&mut other).await.unwrap();
    assert_eq!(end["reason"], "Certificate no longer accepted");
    assert_eq!(secure.received("plain").await, "no handshake");
    secure.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_by_name_ends_with_its_authority_and_one_by_fingerprint_or_token_does_not() {
    let mut secure = Secure::start(&["client_auth_type: RequestClientCert", "client_ca_file: ca.pem"]).await;
    secure.add("press-1").await;
    secure.add("press-2").await;
    secure.pin("press-2", "gate.pem").await;
    let token = secure.add("old-1").await;
    let mut named = secure.let_in(Some("press-1"), None).await;
    let mut pinned = secure.let_in(Some("gate"), None).await;
    let mut with_token = secure.let_in(Some("stranger"), Some(&token)).await;
    secure.reload(&["client_auth_type: RequestClientCert"]).await;
    is_cut_off(&mut named).await;
    goes_on(&mut pinned).await;
    goes_on(&mut with_token).await;
    // Nobody is asked for a certificate any more: a token is all that counts.
    secure.reload(&[]).await;
    is_cut_off(&mut pinned).await;
    goes_on(&mut with_token).await;
    // Somebody without one would not get through the handshake now.
    let mut without = secure.let_in(None, Some(&token)).await;
    secure.reload(&["client_auth_type: RequireAnyClientCert"]).await;
    is_cut_off(&mut without).await;
    secure.app.stop().await;
}

/// What a device's program does, with the client as it is downloaded.
const PYTHON: &str = r#"
import ssl, sys, time
sys.path.insert(0, sys.argv[1])
from andon_device import Device
tls = ssl.create_default_context(cafile=sys.argv[3] + "/ca.pem")
tls.load_cert_chain(sys.argv[3] + "/pinned.pem", sys.argv[3] + "/pinned.key")
with Device(sys.argv[2], "press-1", tls=tls, backoff_min=0.05, stats_interval=None) as device:
    assert device.connected(10), device.refused
    heard = []
    device.subscribe("lab.>", lambda message: heard.append(message.payload))
    def wait_for(count):
        for _ in range(200):
            if len(heard) < count:
                time.sleep(0.05)
        assert len(heard) == count, [str(h)[:20] for h in heard]
    big = "x" * 300_000
    assert device.publish("lab.a", big, ack=True).result(10)
    wait_for(1)
    device.hang_up(0.1)
    assert device.publish("lab.b", 2, ack=True).result(10)
    wait_for(2)
    assert heard == [big, 2]
    print(device.stats()["connections"])
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_python_client_shows_a_certificate() {
    let secure = Secure::start(&["client_auth_type: RequestClientCert"]).await;
    secure.add("press-1").await;
    secure.pin("press-1", "pinned.pem").await;
    let folder = tempfile::tempdir().unwrap();
    let plain = secure.app.plain_addr().unwrap();
    let text = http().get(format!("http://{plain}/sdk/andon_device.py")).send().await.unwrap().text().await.unwrap();
    std::fs::write(folder.path().join("andon_device.py"), text).unwrap();
    let mut python = std::process::Command::new("python3");
    python.args(["-c", PYTHON]).arg(folder.path());
    python.arg(format!("wss://localhost:{}/ws", secure.app.local_addr().port())).arg(file(""));
    let done = tokio::task::spawn_blocking(move || python.output()).await.unwrap().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(String::from_utf8_lossy(&done.stdout).trim(), "2");
    secure.app.stop().await;
}

/// The same in Node.
const JAVASCRIPT: &str = r#"
import fs from "node:fs";
import { Device } from "./andon-device.mjs";
const [url, files] = process.argv.slice(2);
const file = (name) => fs.readFileSync(`${files}/${name}`);
const tls = { ca: file("ca.pem"), cert: file("pinned.pem"), key: file("pinned.key") };
const until = async (condition) => {
  for (let n = 0; n < 200 && !condition(); n++) await new Promise((go) => setTimeout(go, 50));
  if (!condition()) throw new Error(String(condition));
};
const device = new Device(url, "press-1", "", { tls, backoffMin: 50, statsInterval: null });
if (!await device.connected(10000)) throw new Error(`not connected: ${device.refused}`);
const heard = [];
device.subscribe("lab.>", (message) => heard.push(message.payload));
const big = "x".repeat(300000);
if (typeof (await device.publish("lab.a", big, { ack: true })).durable !== "boolean") throw new Error("no ack");
await until(() => heard.length === 1 && heard[0] === big);
device.hangUp(100);
await device.publish("lab.b", 2, { ack: true });
await until(() => heard.length === 2 && heard[1] === 2);
// It does not believe a box of somebody else's.
const errors = [];
const onEvent = (name, details) => name === "error" && errors.push(details.code);
const other = new Device(url, "press-1", "", { tls: { ...tls, ca: file("stranger-ca.pem") }, backoffMin: 50, onEvent });
await until(() => errors.length > 1);
if (await other.connected()) throw new Error("connected to a stranger");
await other.close();
console.log(device.stats().connections);
await device.close();
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_javascript_client_shows_a_certificate_in_node() {
    let mut node = std::process::Command::new("node");
    node.args(["--experimental-websocket", "-e", "process.exit(typeof WebSocket === 'function' ? 0 : 1)"]);
    if !node.output().is_ok_and(|done| done.status.success()) {
        return;
    }
    let secure = Secure::start(&["client_auth_type: RequestClientCert"]).await;
    secure.add("press-1").await;
    secure.pin("press-1", "pinned.pem").await;
    let folder = tempfile::tempdir().unwrap();
    let plain = secure.app.plain_addr().unwrap();
    let text = http().get(format!("http://{plain}/sdk/andon-device.js")).send().await.unwrap().text().await.unwrap();
    std::fs::write(folder.path().join("andon-device.mjs"), text).unwrap();
    let program = folder.path().join("device.mjs");
    std::fs::write(&program, JAVASCRIPT).unwrap();
    let mut node = std::process::Command::new("node");
    node.args(["--experimental-websocket", "--no-warnings"]).arg(program);
    node.arg(format!("wss://localhost:{}/ws", secure.app.local_addr().port())).arg(file(""));
    let done = tokio::task::spawn_blocking(move || node.output()).await.unwrap().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(String::from_utf8_lossy(&done.stdout).trim(), "2");
    secure.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rust_client_shows_a_certificate() {
    let secure = Secure::start(&["client_auth_type: RequestClientCert"]).await;
    secure.add("press-1").await;
    secure.pin("press-1", "pinned.pem").await;
    let [ca, pem, key] = ["ca.pem", "pinned.pem", "pinned.key"].map(|name| std::fs::read(file(name)).unwrap());
    let url = format!("wss://localhost:{}/ws", secure.app.local_addr().port());
    let config = device::Config {
        tls: Some(device::Tls::with_certificate(&ca, &pem, &key).unwrap()),
        backoff_min: Duration::from_millis(20),
        stats_interval: None,
        ..device::Config::new(url.clone(), "press-1", "")
    };
    let tasks = Tasks::new(1);
    let client = DeviceClient::start(config.clone(), &tasks, Clock::system());
    assert!(client.connected(SOON).await);
    client.publish_kept("lab.a", &json!("x".repeat(300_000))).await.unwrap();
    client.hang_up(Duration::from_millis(50)).await.unwrap();
    client.publish_kept("lab.b", &json!(2)).await.unwrap();
    client.close().await;
    // It does not believe a box of somebody else's.
    let stranger = std::fs::read(file("stranger-ca.pem")).unwrap();
    let wrong = device::Config { tls: Some(device::Tls::new(&stranger).unwrap()), ..config };
    let client = DeviceClient::start(wrong, &tasks, Clock::system());
    secure.wait_for_more("andon_http_tls_handshake_failures_total", "protocol").await;
    assert!(!client.connected(Duration::from_millis(1)).await);
    client.close().await;
    secure.app.stop().await;
}
