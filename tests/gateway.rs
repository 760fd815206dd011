//! Devices at the gateway's door, over real sockets on loopback.

use std::net::SocketAddr;
use std::time::Duration;

use andon::bus::{self, Bus};
use andon::clock::Clock;
use andon::device::{self, Connection, DeviceClient};
use andon::gateway::{Config, Deps, Gateway, NewDevice};
use andon::instrument::Registry;
use andon::model::DeviceMessage;
use andon::storage::disk::FaultyDisk;
use andon::storage::last::LastKnown;
use andon::storage::state::State;
use andon::task::{Phase, Tasks};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

const SOON: Duration = Duration::from_secs(10);

/// A gateway behind a listener of its own, with an embedded bus.
pub(crate) struct Door {
    gateway: Gateway,
    pub(crate) bus: Bus,
    pub(crate) tasks: Tasks,
    pub(crate) recorded: mpsc::Receiver<DeviceMessage>,
    registry: Registry,
    address: SocketAddr,
}

pub(crate) fn bus_config() -> bus::Config {
    bus::Config::embedded("box")
}

pub(crate) fn config() -> Config {
    Config {
        messages_per_second: 1000,
        default_publish: vec!["factory.>".to_owned(), "devices.{device}.>".to_owned()],
        default_subscribe: vec!["factory.>".to_owned()],
        ..Config::default()
    }
}

impl Door {
    pub(crate) async fn open(config: Config, bus_config: bus::Config) -> Door {
        let (tasks, registry, clock) = (Tasks::new(2), Registry::default(), Clock::system());
        let disk = FaultyDisk::new(1).shared();
        let deps = bus::Deps { tasks: tasks.clone(), registry: registry.clone(), clock: clock.clone(), disk };
        let bus = Bus::start(bus_config, deps);
        let (messages, recorded) = mpsc::channel(4096);
        let deps = Deps {
            state: State::in_memory(),
            last: LastKnown::in_memory(),
            bus: bus.clone(),
            clock,
            tasks: tasks.clone(),
            registry: registry.clone(),
            messages,
        };
        let gateway = Gateway::start(config, deps);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let door = gateway.clone();
        tasks.spawn("listener", andon::task::OnPanic::EndTask, async move {
            while let Ok((stream, peer)) = listener.accept().await {
                let Ok(admission) = door.admit(peer.ip(), None, None).await else { continue };
                let upgrade = async move { tokio_tungstenite::accept_async(stream).await.map(|ws| ws.into_inner()) };
                door.serve(admission, None, upgrade);
            }
        });
        Door { gateway, bus, tasks, recorded, registry, address }
    }

    fn url(&self) -> String {
        format!("ws://{}/ws", self.address)
    }

    /// Registers a device; returns its token.
    pub(crate) async fn add(&self, id: &str) -> String {
        let new = NewDevice { id: id.to_owned(), device_type: "sensor".to_owned(), ..NewDevice::default() };
        self.gateway.add_device(new).await.unwrap().token
    }

    /// Registers a device and connects a client for it.
    pub(crate) async fn client(&self, id: &str) -> DeviceClient {
        let token = self.add(id).await;
        let config = device::Config {
            stats_interval: None,
            backoff_min: Duration::from_millis(20),
            ..device::Config::new(self.url(), id, token)
        };
        let client = DeviceClient::start(config, &self.tasks, Clock::system());
        assert!(client.connected(SOON).await);
        client
    }

    /// Connects a bare socket and shows a token; returns the answer too.
    pub(crate) async fn socket(&self, id: &str, token: &str) -> (Socket, Value) {
        let (mut socket, _) = tokio_tungstenite::connect_async(self.url()).await.unwrap();
        say(&mut socket, &json!({ "type": 8, "payload": { "deviceId": id, "token": token } })).await;
        let answer = hear(&mut socket).await.unwrap();
        (socket, answer)
    }

    /// Returns the sum of a metric's samples that have this label value.
    pub(crate) fn metric(&self, name: &str, value: &str) -> f64 {
        let families = self.registry.gather();
        let samples = families.iter().filter(|f| f.name == name).flat_map(|f| &f.samples);
        samples.filter(|s| s.labels.iter().any(|(_, v)| v == value)).map(|s| s.value).sum()
    }
}

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub(crate) async fn say(socket: &mut Socket, frame: &Value) {
    socket.send(Message::text(frame.to_string())).await.unwrap();
}

/// Returns the next frame, or the close code as an error.
pub(crate) async fn hear(socket: &mut Socket) -> Result<Value, u16> {
    loop {
        match tokio::time::timeout(SOON, socket.next()).await.expect("nothing came") {
            Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
            Some(Ok(Message::Close(frame))) => return Err(frame.map_or(0, |f| f.code.into())),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Err(1006),
        }
    }
}

/// Waits until a condition holds.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test]
async fn a_publish_reaches_the_collectors_and_another_device() {
    let mut door = Door::open(config(), bus_config()).await;
    let (press, panel) = (door.client("press").await, door.client("panel").await);
    let mut heard = panel.subscribe("factory.*.temp").await.unwrap();
    eventually("subscribed", || door.metric("gateway_messages_sent_total", "ack") == 1.0).await;
    press.publish("factory.line1.temp", &json!({ "value": 21.5 }));
    let message = tokio::time::timeout(SOON, heard.recv()).await.unwrap().unwrap();
    assert_eq!((message.subject.as_str(), message.device_id.as_deref()), ("factory.line1.temp", Some("press")));
    assert_eq!(message.payload, json!({ "value": 21.5 }));
    let recorded = door.recorded.recv().await.unwrap();
    assert_eq!((recorded.device_id.as_str(), recorded.device_type.as_str()), ("press", "sensor"));
    assert_eq!(recorded.payload, r#"{"value":21.5}"#);
    assert_eq!(door.metric("gateway_websocket_connections_active", "sensor"), 2.0);
}

#[tokio::test]
async fn a_wrong_token_and_an_unknown_device_are_answered_alike() {
    let door = Door::open(config(), bus_config()).await;
    door.add("press").await;
    let (mut one, mut first) = door.socket("press", "wrong").await;
    let (_, mut second) = door.socket("nobody", "wrong").await;
    for answer in [&mut first, &mut second] {
        answer.as_object_mut().unwrap().remove("timestamp");
    }
    assert_eq!(first, second);
    assert_eq!((&first["type"], &first["payload"]["success"]), (&json!(8), &json!(false)));
    assert_eq!(hear(&mut one).await.unwrap()["payload"]["code"], "AUTH_FAILED");
    assert_eq!(hear(&mut one).await, Err(1008));
}

#[tokio::test]
async fn a_newer_connection_takes_the_place_of_the_older() {
    let door = Door::open(config(), bus_config()).await;
    let token = door.add("press").await;
    let (mut older, _) = door.socket("press", &token).await;
    let (mut newer, _) = door.socket("press", &token).await;
    say(&mut newer, &json!({ "type": 1, "subject": "factory.a" })).await;
    assert_eq!(hear(&mut newer).await.unwrap()["type"], 6);
    assert_eq!(hear(&mut older).await, Err(1008));
    drop(older);
    let pattern: bus::Subject = "factory.a".parse().unwrap();
    door.bus.publish(bus::Message::new(pattern, "1")).await.unwrap();
    assert_eq!(hear(&mut newer).await.unwrap()["payload"], 1);
    let is_connected = || door.gateway.snapshot().device("press").is_some_and(|device| device.connection.is_some());
    eventually("the newer is shown", is_connected).await;
}

#[tokio::test]
async fn removing_a_device_ends_its_connection_at_once() {
    let door = Door::open(config(), bus_config()).await;
    let token = door.add("press").await;
    let (mut socket, _) = door.socket("press", &token).await;
    door.gateway.remove_device("press").await.unwrap();
    let end = tokio::time::timeout(Duration::from_secs(1), hear(&mut socket)).await.unwrap();
    assert_eq!(end, Err(1008));
    assert_eq!(door.socket("press", &token).await.1["payload"]["success"], false);
    assert_eq!(door.metric("gateway_websocket_connections_active", "sensor"), 0.0);
}

#[tokio::test]
async fn a_message_over_the_limit_is_answered_and_ends_the_connection() {
    let door = Door::open(config(), bus_config()).await;
    let token = door.add("press").await;
    let (mut socket, _) = door.socket("press", &token).await;
    let frame = json!({ "type": 0, "subject": "factory.a", "payload": "x".repeat(2 << 20) });
    let _ = socket.send(Message::text(frame.to_string())).await;
    assert_eq!(hear(&mut socket).await.unwrap()["payload"]["code"], "PAYLOAD_TOO_LARGE");
    assert_eq!(hear(&mut socket).await, Err(1009));
}

#[tokio::test]
async fn a_large_auth_frame_in_pieces_is_taken() {
    let door = Door::open(config(), bus_config()).await;
    let token = door.add("press").await;
    let auth = json!({ "type": 8, "filler": "x".repeat(20_000), "payload": { "deviceId": "press", "token": token } });
    let (mut socket, _) = tokio_tungstenite::connect_async(door.url()).await.unwrap();
    use tokio_tungstenite::tungstenite::protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    };
    let text = auth.to_string();
    let (head, tail) = text.split_at(9000);
    let pieces = [(head, OpCode::Data(Data::Text), false), (tail, OpCode::Data(Data::Continue), true)];
    for (piece, code, is_last) in pieces {
        socket.send(Message::Frame(Frame::message(piece.to_owned(), code, is_last))).await.unwrap();
    }
    assert_eq!(hear(&mut socket).await.unwrap()["payload"]["success"], true);
}

#[tokio::test]
async fn a_deaf_subscriber_is_cut_off_and_the_others_hear_everything() {
    let small = bus::Config { queue_messages_max: 16, ..bus_config() };
    let door = Door::open(config(), small).await;
    let token = door.add("deaf").await;
    let (mut deaf, _) = door.socket("deaf", &token).await;
    say(&mut deaf, &json!({ "type": 1, "subject": "factory.>" })).await;
    assert_eq!(hear(&mut deaf).await.unwrap()["type"], 6);
    let panel = door.client("panel").await;
    let mut heard = panel.subscribe("factory.>").await.unwrap();
    eventually("subscribed", || door.metric("gateway_messages_sent_total", "ack") == 2.0).await;
    let subject: bus::Subject = "factory.a".parse().unwrap();
    let body = json!("x".repeat(100_000)).to_string();
    let mut sent = 0;
    while door.metric("gateway_websocket_disconnections_total", "slow_consumer") == 0.0 {
        assert!(sent < 1000, "100 MB and nobody noticed");
        door.bus.publish(bus::Message::new(subject.clone(), body.clone())).await.unwrap();
        sent += 1;
        assert!(tokio::time::timeout(SOON, heard.recv()).await.unwrap().is_some());
    }
    assert_eq!(panel.stats().disconnections, 0);
}

#[tokio::test]
async fn devices_ask_and_answer_each_other() {
    let door = Door::open(config(), bus_config()).await;
    let (press, panel) = (door.client("press").await, door.client("panel").await);
    let nobody = panel.request("factory.press.state", json!({}), SOON).await;
    assert!(matches!(nobody, Err(device::Error::Refused { code, .. }) if code == "NO_RESPONDERS"));
    let mut questions = press.subscribe("factory.press.state").await.unwrap();
    eventually("subscribed", || door.metric("gateway_messages_sent_total", "ack") == 1.0).await;
    let answering = async {
        let question = questions.recv().await.unwrap();
        press.reply(&question.correlation_id.unwrap(), &json!({ "running": true }));
    };
    let asking = panel.request("factory.press.state", json!({}), SOON);
    let (answer, ()) = tokio::join!(asking, answering);
    assert_eq!(answer.unwrap(), json!({ "running": true }));
}

#[tokio::test]
async fn a_client_keeps_publishes_while_away_and_subscribes_again() {
    let mut door = Door::open(config(), bus_config()).await;
    let (press, panel) = (door.client("press").await, door.client("panel").await);
    let mut heard = press.subscribe("factory.cmd").await.unwrap();
    press.hang_up(Duration::from_millis(200)).await.unwrap();
    press.connection().wait_for(|c| *c == Connection::Away).await.unwrap();
    for n in 0..50 {
        press.publish("factory.count", &json!(n));
    }
    assert_eq!(press.stats().buffer_size, 50);
    for n in 0..50 {
        let recorded = tokio::time::timeout(SOON, door.recorded.recv()).await.unwrap().unwrap();
        assert_eq!(recorded.payload, n.to_string());
    }
    assert!(press.connected(SOON).await);
    assert_eq!((press.stats().connections, press.stats().reconnect_attempts), (2, 1));
    eventually("subscribed again", || door.metric("gateway_messages_sent_total", "ack") == 2.0).await;
    panel.publish("factory.cmd", &json!("go"));
    assert_eq!(tokio::time::timeout(SOON, heard.recv()).await.unwrap().unwrap().payload, "go");
}

#[tokio::test]
async fn presence_tells_who_comes_and_goes() {
    let door = Door::open(config(), bus_config()).await;
    let mut presence = door.gateway.presence();
    let press = door.client("press").await;
    let is_connected = |expected: bool| {
        move |list: &std::sync::Arc<Vec<andon::model::DevicePresence>>| {
            list.first().is_some_and(|device| device.is_connected == expected && device.since.is_some())
        }
    };
    tokio::time::timeout(SOON, presence.wait_for(is_connected(true))).await.unwrap().unwrap();
    press.close().await;
    tokio::time::timeout(SOON, presence.wait_for(is_connected(false))).await.unwrap().unwrap();
}

#[tokio::test]
async fn at_the_end_devices_are_told_and_no_task_is_left() {
    let door = Door::open(config(), bus_config()).await;
    let token = door.add("press").await;
    let (mut socket, _) = door.socket("press", &token).await;
    door.tasks.token(Phase::Intake).cancel();
    assert_eq!(hear(&mut socket).await, Err(1001));
    door.tasks.token(Phase::Work).cancel();
    let left = door.tasks.ended(SOON, |name| name != "listener").await;
    assert!(left.is_empty(), "{left:?}");
}

/// Through the program's own front doors: the command line, the listener, the API, the metrics.
#[tokio::test]
async fn a_device_added_on_the_command_line_connects_publishes_and_is_removed() {
    use crate::support::program::{Program, say as run};
    let folder = tempfile::tempdir().unwrap();
    let program = Program::start(folder.path(), "{}");
    let url = format!("http://{}", program.address);
    let added = run(&["device", "add", "press-1", "--type", "press", "--url", &url]);
    assert_eq!(added.code, Some(0), "{}", added.err);
    let token = added.out.lines().find(|line| line.starts_with("andon_device_")).unwrap();
    assert_eq!(run(&["device", "add", "press-1", "--url", &url]).code, Some(1), "a name is taken once");
    let bad = run(&["device", "add", "press 2", "--url", &url]);
    assert!(bad.err.contains("id: needs"), "{}", bad.err);

    let request = |value: &str| {
        use tokio_tungstenite::tungstenite::client::IntoClientRequest;
        let mut request = format!("ws://{}/ws", program.address).into_client_request().unwrap();
        request.headers_mut().insert("authorization", value.parse().unwrap());
        request
    };
    let refused = tokio_tungstenite::connect_async(request("Bearer wrong")).await.unwrap_err();
    assert!(refused.to_string().contains("401"), "{refused}");
    let bearer = format!("Bearer {token}");
    let (mut socket, _) = tokio_tungstenite::connect_async(request(&bearer)).await.unwrap();
    let welcome = hear(&mut socket).await.unwrap();
    assert_eq!(welcome["payload"]["clientId"], "press-1");
    let subject = "telemetry.press-1.oil.temp";
    say(&mut socket, &json!({ "type": 0, "subject": subject, "payload": { "value": 71.5, "unit": "celsius" } })).await;
    eventually("the sample is in the store", || {
        let answer = program.get("/api/v1/query?query=telemetry_oil_temp").unwrap();
        answer.body.contains("\"71.5\"")
    })
    .await;
    assert!(run(&["device", "list", "--url", &url]).out.contains("press-1"));
    let metrics = program.get("/metrics").unwrap().body;
    assert!(metrics.contains(r#"gateway_auth_attempts_total{status="success_header"} 1"#));

    assert_eq!(run(&["device", "remove", "press-1", "--url", &url]).code, Some(0));
    assert_eq!(hear(&mut socket).await, Err(1008));
    let data = folder.path().join("data");
    program.stop();
    let added = run(&["device", "add", "press-1", "--data", data.to_str().unwrap()]);
    assert_eq!(added.code, Some(0), "the folder of a stopped box: {}", added.err);
    assert!(run(&["device", "list", "--url", &url]).err.contains("no box answers"));
}
