//! The clients in Python and JavaScript against a whole box: publish, subscribe, request, reconnect, statistics.

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use andon::app::App;
use andon::clock::Clock;
use andon::config::{self, Source};
use andon::device::{self, Connection, DeviceClient, Event, Listener};
use andon::gateway::NewDevice;
use andon::task::Tasks;
use serde_json::{Value, json};

use crate::pages::client as http;
use crate::support::browser::Browser;

/// A box with two devices that may talk to each other.
struct Box {
    app: App,
    /// Id and token of each.
    devices: [(String, String); 2],
    _folder: tempfile::TempDir,
}

impl Box {
    async fn open() -> Box {
        let folder = tempfile::tempdir().unwrap();
        let settings = folder.path().join("andon.yml");
        let text = "host: {enabled: false}\nown_metrics: {interval: 1s}\n";
        std::fs::write(&settings, text).unwrap();
        let source = Source {
            file: Some(settings),
            data: Some(folder.path().join("data")),
            listen: Some("127.0.0.1:0".to_owned()),
        };
        let app = App::start(config::load(&source).unwrap(), source, None).await.unwrap();
        let mut devices = Vec::new();
        for id in ["press-1", "peer-1"] {
            let lists = |list: &[&str]| Some(list.iter().map(|s| (*s).to_owned()).collect());
            let new = NewDevice {
                id: id.to_owned(),
                publish: lists(&["lab.>", "telemetry.{device}.>", "devices.{device}.>", "heartbeat.{device}"]),
                subscribe: lists(&["lab.>"]),
                ..NewDevice::default()
            };
            devices.push((id.to_owned(), app.state().gateway.add_device(new).await.unwrap().token));
        }
        Box { app, devices: devices.try_into().unwrap(), _folder: folder }
    }

    fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://{}{path}", self.app.local_addr())
    }

    /// Waits until a query gives this value.
    async fn wait_for(&self, expression: &str, wanted: &str) {
        let url = self.url("http", "/api/v1/query");
        let url = reqwest::Url::parse_with_params(&url, [("query", expression)]).unwrap();
        let mut body = String::new();
        for _ in 0..100 {
            body = http().get(url.clone()).send().await.unwrap().text().await.unwrap();
            let answer: Value = serde_json::from_str(&body).unwrap();
            if answer["data"]["result"][0]["value"][1] == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{expression} never was {wanted}: {body}");
    }

    /// What the client published and what it says of itself has become series.
    async fn has_its_series(&self) {
        self.wait_for("telemetry_temp{device_id=\"press-1\"}", "21.5").await;
        self.wait_for("device_reconnect_attempts_total{device_id=\"press-1\"} > bool 1", "1").await;
        self.wait_for("device_connections_total{device_id=\"press-1\"} > bool 2", "1").await;
        self.wait_for("device_connection_state{device_id=\"press-1\"}", "0").await;
    }
}

/// The steps of the other clients' exercise, as events of the one in Rust.
#[tokio::test(flavor = "multi_thread")]
async fn the_rust_client_tells_what_happens_to_it() {
    let the_box = Box::open().await;
    let (id, token) = &the_box.devices[0];
    let events: Arc<Mutex<Vec<Event>>> = Arc::default();
    let heard = events.clone();
    let config = device::Config {
        backoff_min: Duration::from_millis(20),
        stats_interval: Some(Duration::from_millis(200)),
        listener: Some(Listener::new(move |event| heard.lock().unwrap().push(event.clone()))),
        ..device::Config::new(the_box.url("ws", "/ws"), id, token)
    };
    let tasks = Tasks::new(1);
    let client = DeviceClient::start(config, &tasks, Clock::system());
    assert!(client.connected(Duration::from_secs(10)).await);
    let mut messages = client.subscribe("lab.>").await.unwrap();
    client.publish("elsewhere.x", &json!(1));
    let _nothing = client.replay("lab.replayed", device::Start::Sequence(1)).await.unwrap();
    client.publish_kept("lab.kept", &json!(2)).await.unwrap();
    client.hang_up(Duration::from_millis(100)).await.unwrap();
    client.connection().wait_for(|c| *c != Connection::Connected).await.unwrap();
    client.publish("lab.away", &json!(3));
    assert!(client.connected(Duration::from_secs(10)).await);
    while messages.recv().await.unwrap().subject != "lab.away" {}
    client.publish(&format!("telemetry.{id}.temp"), &json!({ "value": 21.5 }));
    the_box.wait_for("telemetry_temp{device_id=\"press-1\"}", "21.5").await;
    the_box.wait_for("device_connections_total{device_id=\"press-1\"}", "2").await;
    client.publish(&format!("heartbeat.{id}"), &json!({ "status": "degraded" }));
    the_box.wait_for("device_health{device_id=\"press-1\"}", "0.5").await;
    let page = http().get(the_box.url("http", "/devices/press-1")).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("degraded") && page.contains("Reconnects"), "{page}");
    client.close().await;
    let events = events.lock().unwrap().clone();
    let has = |wanted: fn(&Event) -> bool| assert!(events.iter().any(wanted), "{events:?}");
    has(|e| matches!(e, Event::Connected { .. }));
    has(|e| matches!(e, Event::Disconnected { .. }));
    has(|e| matches!(e, Event::Reconnecting { attempt: 1, .. }));
    has(|e| matches!(e, Event::Subscribed { pattern } if pattern == "lab.>"));
    has(|e| matches!(e, Event::Published { subject, .. } if subject == "lab.away"));
    has(|e| matches!(e, Event::Received { subject, .. } if subject == "lab.away"));
    has(|e| matches!(e, Event::Refused { code, .. } if code == "NOT_AUTHORIZED"));
    has(|e| matches!(e, Event::Refused { code, .. } if code == "INVALID_SUBJECT"));
    has(|e| matches!(e, Event::Buffered { size: 1 }));
    has(|e| matches!(e, Event::Ping));
    has(|e| matches!(e, Event::Pong { .. }));
}

fn sources() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// Runs a program with a box's address, devices and tokens; returns what it printed.
async fn run(the_box: &Box, mut program: Command) -> Value {
    let [(own, token), (other, other_token)] = &the_box.devices;
    program.arg(the_box.url("ws", "/ws")).args([own, token, other, other_token]);
    let done = tokio::task::spawn_blocking(move || program.output()).await.unwrap().unwrap();
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{errors}");
    serde_json::from_slice(&done.stdout).unwrap_or_else(|e| panic!("{e}: {errors}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_client_does_what_a_device_does() {
    let the_box = Box::open().await;
    // As it is downloaded from the box.
    let folder = tempfile::tempdir().unwrap();
    let text = http().get(the_box.url("http", "/sdk/andon_device.py")).send().await.unwrap().text().await.unwrap();
    std::fs::write(folder.path().join("andon_device.py"), text).unwrap();
    let mut python = Command::new("python3");
    python.arg(sources().join("tests/sdk/exercise.py")).arg(folder.path());
    let stats = run(&the_box, python).await;
    assert!(stats["reconnectAttempts"].as_u64() >= Some(2), "{stats}");
    the_box.has_its_series().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_javascript_client_does_what_a_device_does() {
    let the_box = Box::open().await;
    let mut browser = Browser::start().await;
    browser.open(&the_box.url("http", "/about")).await;
    let [(own, token), (other, other_token)] = &the_box.devices;
    // The page may load scripts of its own box only: the exercise goes in as an expression.
    let exercise = std::fs::read_to_string(sources().join("tests/sdk/exercise.js")).unwrap();
    let (exercise, _) = exercise.split_once("if (globalThis.process").unwrap();
    let exercise = exercise.replace("export async function exercise", "globalThis.exercise = async function exercise");
    browser.ask(&format!("{exercise}; 0")).await;
    let url = the_box.url("ws", "/ws");
    let start = format!(
        "import('/sdk/andon-device.js').then((client) => exercise(client, {url:?}, {own:?}, {token:?}, {other:?}, \
         {other_token:?})).then((stats) => {{ globalThis.done = JSON.stringify(stats); }}, \
         (error) => {{ globalThis.done = String(error); }}); 0"
    );
    browser.ask(&start).await;
    browser.wait_for("globalThis.done !== undefined").await;
    let done = browser.ask("globalThis.done").await;
    let stats: Value = serde_json::from_str(done.as_str().unwrap()).unwrap_or_else(|_| panic!("{done}"));
    assert!(stats["reconnectAttempts"].as_u64() >= Some(2), "{stats}");
    the_box.has_its_series().await;
}

/// Where a Node is installed that has a WebSocket, the same file runs there.
#[tokio::test(flavor = "multi_thread")]
async fn the_javascript_client_does_the_same_in_node() {
    let mut node = Command::new("node");
    node.args(["--experimental-websocket", "-e", "process.exit(typeof WebSocket === 'function' ? 0 : 1)"]);
    if !node.output().is_ok_and(|done| done.status.success()) {
        return;
    }
    let the_box = Box::open().await;
    let mut node = Command::new("node");
    node.arg("--experimental-websocket").arg(sources().join("tests/sdk/exercise.js"));
    let stats = run(&the_box, node).await;
    assert!(stats["reconnectAttempts"].as_u64() >= Some(2), "{stats}");
    the_box.has_its_series().await;
}
