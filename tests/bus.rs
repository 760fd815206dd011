//! The bus against a real NATS server, with a client of its own as everybody else.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use andon::bus::{self, Bus, Config, Error, Link, Message, NatsConfig, Scope, StreamConfig, SubjectPattern};
use andon::clock::Clock;
use andon::instrument::Registry;
use andon::storage::disk::{Disk, FaultyDisk};
use andon::task::{Phase, Tasks};
use futures_util::StreamExt;

const SOON: Duration = Duration::from_secs(10);

/// A NATS server of the system on a port of its own; ends with the test.
pub(crate) struct Server {
    pub(crate) process: Child,
    pub(crate) port: u16,
}

impl Server {
    fn start(port: u16) -> Server {
        Server::start_with(port, &[])
    }

    /// Starts one that keeps streams in a folder.
    pub(crate) fn with_streams(port: u16, folder: &Path) -> Server {
        Server::start_with(port, &["-js", "-sd", folder.to_str().unwrap()])
    }

    pub(crate) fn start_with(port: u16, arguments: &[&str]) -> Server {
        let process = Command::new("nats-server")
            .args(["-a", "127.0.0.1", "-p", &port.to_string()])
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server is not installed: apt-get install nats-server");
        Server { process, port }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn bus(port: u16, box_id: &str) -> (Bus, Tasks) {
    bus_with(port, box_id, Vec::new(), FaultyDisk::new(1).shared())
}

fn bus_with(port: u16, box_id: &str, streams: Vec<StreamConfig>, disk: Arc<dyn Disk>) -> (Bus, Tasks) {
    let nats = NatsConfig::new(vec![format!("nats://127.0.0.1:{port}")]);
    let config = Config { nats: Some(nats), streams, queue_bytes_max: 1 << 20, ..Config::embedded(box_id) };
    let tasks = Tasks::new(1);
    let deps = bus::Deps { tasks: tasks.clone(), registry: Registry::default(), clock: Clock::system(), disk };
    (Bus::start(config, deps), tasks)
}

pub(crate) async fn connected(bus: &Bus) {
    let mut state = bus.state();
    let wait = state.wait_for(|state| state.link == Link::Connected);
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("never connected").unwrap();
}

async fn client(port: u16) -> async_nats::Client {
    let connect = async {
        loop {
            match async_nats::connect(format!("nats://127.0.0.1:{port}")).await {
                Ok(client) => return client,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    tokio::time::timeout(SOON, connect).await.expect("nats-server does not answer")
}

/// Waits until the server has taken what the client sent before: it answers in order.
async fn settled(client: &async_nats::Client) {
    let inbox = client.new_inbox();
    let mut echo = client.subscribe(inbox.clone()).await.unwrap();
    client.publish(inbox, "".into()).await.unwrap();
    tokio::time::timeout(SOON, echo.next()).await.expect("the server does not answer").unwrap();
}

pub(crate) fn pattern(text: &str) -> SubjectPattern {
    text.parse().unwrap()
}

pub(crate) fn message(subject: &str, body: &str) -> Message {
    Message::new(subject.parse().unwrap(), body.to_owned())
}

/// Publishes from outside until a subscription hears it: NATS has it only once our subscribe has arrived.
async fn heard_from(client: &async_nats::Client, subject: &str, subscription: &mut bus::Subscription) -> Message {
    let hear = async {
        loop {
            client.publish(subject.to_owned(), "from outside".into()).await.unwrap();
            client.flush().await.unwrap();
            tokio::select! {
                heard = subscription.recv() => return heard.unwrap(),
                () = tokio::time::sleep(Duration::from_millis(50)) => {}
            }
        }
    };
    tokio::time::timeout(SOON, hear).await.expect("nothing came over NATS")
}

#[tokio::test]
async fn publishes_go_out_with_their_sender_and_come_back_to_nobody() {
    let server = Server::start(free_port());
    let (bus, _tasks) = bus(server.port, "box-1");
    connected(&bus).await;
    let client = client(server.port).await;
    let mut outside = client.subscribe("factory.>").await.unwrap();
    settled(&client).await;
    let here = bus.subscribe(&pattern("factory.>"));
    let mut remote = bus.subscriber(Scope::Remote);
    remote.add(&pattern("factory.*.temp"));
    let first = heard_from(&client, "factory.line2.temp", &mut remote).await;
    assert!(!first.is_local);
    while here.try_recv().is_some() {}
    let ours = Message { device_id: Some("press".into()), ..message("factory.line1.temp", "21") };
    bus.publish(ours).await.unwrap();
    let got = loop {
        let got = tokio::time::timeout(SOON, outside.next()).await.unwrap().unwrap();
        if got.subject.as_str() == "factory.line1.temp" {
            break got;
        }
    };
    assert_eq!(got.payload, "21");
    let headers = got.headers.unwrap();
    assert_eq!(headers.get("Andon-Device").unwrap().as_str(), "press");
    assert_eq!(headers.get("Andon-Origin").unwrap().as_str(), "box-1");
    // What follows from outside marks the place up to which nothing else came.
    client.publish("factory.end.temp", "".into()).await.unwrap();
    let rest = |s: bus::Subscription| async move {
        let mut subjects = Vec::new();
        while subjects.last().map(String::as_str) != Some("factory.end.temp") {
            subjects.push(tokio::time::timeout(SOON, s.recv()).await.unwrap().unwrap().subject.to_string());
        }
        subjects.retain(|subject| subject != "factory.line2.temp");
        subjects
    };
    assert_eq!(rest(here).await, ["factory.line1.temp", "factory.end.temp"]);
    assert_eq!(rest(remote).await, ["factory.end.temp"]);
}

#[tokio::test]
async fn requests_are_answered_here_and_there() {
    let server = Server::start(free_port());
    let (bus, _tasks) = bus(server.port, "box-1");
    connected(&bus).await;
    let client = client(server.port).await;
    let nobody = bus.request(message("ask.nobody", ""), SOON).await;
    assert_eq!(nobody, Err(Error::NoResponders), "NATS knows at once that nobody listens");

    let mut asked_outside = client.subscribe("ask.outside").await.unwrap();
    settled(&client).await;
    let answering = async {
        let question = tokio::time::timeout(SOON, asked_outside.next()).await.expect("outside").unwrap();
        client.publish(question.reply.unwrap(), "yes".into()).await.unwrap();
    };
    let (answer, ()) = tokio::join!(bus.request(message("ask.outside", "?"), SOON), answering);
    assert_eq!(answer.unwrap().payload, "yes");

    let mut asked_here = bus.subscribe(&pattern("ask.here"));
    heard_from(&client, "ask.here", &mut asked_here).await;
    while asked_here.try_recv().is_some() {}
    let answering = async {
        loop {
            let question = tokio::time::timeout(SOON, asked_here.recv()).await.expect("here").unwrap();
            if let Some(reply) = question.reply {
                return bus.publish(Message::new(reply, "yes")).await.unwrap();
            }
        }
    };
    let (answer, ()) = tokio::join!(client.request("ask.here", "?".into()), answering);
    assert_eq!(answer.unwrap().payload, "yes");

    // Somebody here answers although NATS knows nobody.
    let only_here = bus.subscribe(&pattern("ask.local"));
    let answering = async {
        let question = tokio::time::timeout(SOON, only_here.recv()).await.expect("local").unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        bus.publish(Message::new(question.reply.unwrap(), "yes")).await.unwrap();
    };
    let (answer, ()) = tokio::join!(bus.request(message("ask.local", "?"), SOON), answering);
    assert_eq!(answer.unwrap().payload, "yes");
}

#[tokio::test]
async fn a_server_may_come_late_and_go_and_come_back() {
    let port = free_port();
    let (bus, tasks) = bus(port, "box-1");
    let mut here = bus.subscribe(&pattern("a.>"));
    assert_eq!(bus.publish(message("a.b", "1")).await, Err(Error::Disconnected));
    assert_eq!(here.recv().await.unwrap().payload, "1", "this box has it all the same");
    let first = Server::start(port);
    connected(&bus).await;
    let outside = client(port).await;
    assert_eq!(heard_from(&outside, "a.c", &mut here).await.payload, "from outside");
    drop((outside, first));
    let mut state = bus.state();
    tokio::time::timeout(SOON, state.wait_for(|s| s.link != Link::Connected)).await.unwrap().unwrap();
    assert_eq!(bus.publish(message("a.d", "2")).await, Err(Error::Disconnected));
    let _second = Server::start(port);
    connected(&bus).await;
    while here.try_recv().is_some() {}
    let outside = client(port).await;
    assert_eq!(heard_from(&outside, "a.e", &mut here).await.payload, "from outside");
    tasks.token(Phase::Work).cancel();
    let left = tasks.ended(SOON, |_| true).await;
    assert!(left.is_empty(), "{left:?}");
}

/// Returns the names of all metrics of a bus, with NATS and without.
fn metric_names() -> Vec<String> {
    let servers = Some(NatsConfig::new(vec!["nats://127.0.0.1:1".to_owned()]));
    let names = [servers, None].map(|nats| {
        let (tasks, registry, clock) = (Tasks::new(1), Registry::default(), Clock::system());
        let deps = bus::Deps { tasks, registry: registry.clone(), clock, disk: FaultyDisk::new(1).shared() };
        let _bus = Bus::start(Config { nats, streams: events(), ..Config::embedded("box") }, deps);
        registry.gather().into_iter().map(|family| family.name).collect::<Vec<_>>()
    });
    names.concat()
}

#[tokio::test]
async fn a_dashboard_asks_for_what_there_is() {
    let text = include_str!("../packaging/dashboards/nats.json");
    let board: serde_json::Value = serde_json::from_str(text).unwrap();
    let names = metric_names();
    let panels = board["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let asked: Vec<&str> = targets.map(|target| target["expr"].as_str().unwrap()).collect();
    assert!(asked.len() > 30);
    for expression in &asked {
        andon::query::promql::check(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
        let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let metrics = words.filter(|word| word.starts_with("router_") || word.starts_with("andon_"));
        for metric in metrics {
            assert!(names.iter().any(|name| name == metric.trim_end_matches("_bucket")), "there is no {metric}");
        }
    }
    for name in names.iter().filter(|name| name.starts_with("router_nats_") && !name.contains("exhausted")) {
        assert!(asked.iter().any(|expression| expression.contains(name.as_str())), "nobody asks for {name}");
    }
}

fn events() -> Vec<StreamConfig> {
    vec![StreamConfig::new("EVENTS", vec![pattern("events.>")])]
}

/// Reads a whole stream as another client sees it: subject, body, id.
pub(crate) async fn stored(port: u16, stream: &str) -> Vec<(String, String, String)> {
    let context = async_nats::jetstream::new(client(port).await);
    let stream = context.get_stream(stream).await.unwrap();
    let state = stream.cached_info().state.clone();
    let mut all = Vec::new();
    for sequence in state.first_sequence..=state.last_sequence {
        let message = stream.get_raw_message(sequence).await.unwrap();
        let id = message.headers.get("Nats-Msg-Id").unwrap().to_string();
        all.push((message.subject.to_string(), String::from_utf8(message.payload.to_vec()).unwrap(), id));
    }
    all
}

pub(crate) async fn empty_spool(bus: &Bus) {
    let wait = async {
        while bus.spool().unwrap().waiting > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, wait).await.unwrap_or_else(|_| panic!("{:?}", bus.spool()));
}

#[tokio::test]
async fn a_stream_that_is_declared_is_made_and_brought_up_to_date_and_never_emptied() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::with_streams(free_port(), folder.path());
    let disk = FaultyDisk::new(1);
    let (first, tasks) = bus_with(server.port, "box-1", events(), disk.shared());
    let receipt = first.publish_kept(message("events.a", "1"), None).await.unwrap().expect("a stream keeps it");
    receipt.kept().await.unwrap();
    tasks.token(Phase::Work).cancel();
    tasks.ended(SOON, |_| true).await;

    let declared = StreamConfig {
        messages_max: Some(100),
        ..StreamConfig::new("EVENTS", vec![pattern("events.>"), pattern("x.*")])
    };
    let (second, _tasks) = bus_with(server.port, "box-1", vec![declared], disk.shared());
    second.publish_kept(message("x.a", "2"), Some("press 17")).await.unwrap().unwrap().kept().await.unwrap();
    second.publish_again(&message("x.a", "2"), "press 17").unwrap().unwrap().kept().await.unwrap();
    connected(&second).await;
    assert!(second.publish_kept(message("other.a", "3"), None).await.unwrap().is_none(), "no stream keeps it");
    let line_break = Message { correlation_id: Some("a\r\nNats-Rollup: all".into()), ..message("x.b", "3") };
    second.publish(Message { subject: "other.b".parse().unwrap(), ..line_break.clone() }).await.unwrap();
    second.publish_kept(line_break, None).await.unwrap().unwrap().kept().await.unwrap();
    empty_spool(&second).await;
    let context = async_nats::jetstream::new(client(server.port).await);
    let info = context.get_stream("EVENTS").await.unwrap().cached_info().clone();
    assert_eq!((info.config.max_messages, info.config.subjects.len()), (100, 2));
    let all = stored(server.port, "EVENTS").await;
    let bodies: Vec<&str> = all.iter().map(|(_, body, _)| body.as_str()).collect();
    assert_eq!(bodies, ["1", "2", "3"], "the second is stored once");
    assert_eq!(all[1].2, "press 17");
}

#[tokio::test]
async fn what_was_published_while_nats_was_away_is_there_in_order_and_once() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let disk = FaultyDisk::new(1);
    let (first, tasks) = bus_with(port, "box-1", events(), disk.shared());
    let mut receipts = Vec::new();
    for n in 0..100 {
        receipts.push(first.publish_kept(message("events.a", &n.to_string()), None).await.unwrap().unwrap());
    }
    for receipt in receipts {
        tokio::time::timeout(SOON, receipt.kept()).await.expect("the disk keeps it").unwrap();
    }
    assert_eq!(first.spool().unwrap().waiting, 100);
    // The process dies: nothing is said to anybody.
    disk.kill();
    drop((first, tasks));

    let (second, tasks) = bus_with(port, "box-1", events(), disk.shared());
    assert_eq!(second.spool().unwrap().waiting, 100);
    second.publish(message("events.a", "100")).await.unwrap();
    let mut server = Server::with_streams(port, folder.path());
    empty_spool(&second).await;
    // The server dies too, with what it has acknowledged.
    for round in 0..3 {
        server.process.kill().unwrap();
        server.process.wait().unwrap();
        for n in 0..50 {
            second.publish(message("events.a", &(101 + round * 50 + n).to_string())).await.unwrap();
        }
        server = Server::with_streams(port, folder.path());
        empty_spool(&second).await;
    }
    let bodies: Vec<String> = stored(port, "EVENTS").await.into_iter().map(|(_, body, _)| body).collect();
    assert_eq!(bodies, (0..251).map(|n| n.to_string()).collect::<Vec<_>>());
    tasks.token(Phase::Work).cancel();
    let left = tasks.ended(SOON, |_| true).await;
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn what_a_stream_forgets_is_sent_again_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let old = tempfile::tempdir().unwrap();
    let port = free_port();
    let disk = FaultyDisk::new(1);
    let server = Server::with_streams(port, folder.path());
    let (bus, _tasks) = bus_with(port, "box-1", events(), disk.shared());
    connected(&bus).await;
    for n in 0..20 {
        bus.publish_kept(message("events.a", &n.to_string()), None).await.unwrap().unwrap().kept().await.unwrap();
    }
    empty_spool(&bus).await;
    // A later step, so that there is more than one to choose from.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    bus.publish_kept(message("events.a", "20"), None).await.unwrap().unwrap().kept().await.unwrap();
    drop(server);
    // What the machine of NATS has on disk after a power cut: less than it had acknowledged.
    let copied = Command::new("cp").arg("-r").arg(folder.path().join("jetstream")).arg(old.path()).status().unwrap();
    assert!(copied.success());
    let server = Server::with_streams(port, folder.path());
    connected(&bus).await;
    for n in 21..60 {
        bus.publish_kept(message("events.a", &n.to_string()), None).await.unwrap().unwrap().kept().await.unwrap();
    }
    drop(server);
    let _server = Server::with_streams(port, old.path());
    let wait = async {
        while stored(port, "EVENTS").await.len() < 60 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(SOON, wait).await.expect("they never came back");
    empty_spool(&bus).await;
    let bodies: Vec<String> = stored(port, "EVENTS").await.into_iter().map(|(_, body, _)| body).collect();
    assert_eq!(bodies, (0..60).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_probe_tells_whether_messages_flow_through_a_leaf() {
    let folder = tempfile::tempdir().unwrap();
    let (hub_port, leaf_port, between) = (free_port(), free_port(), free_port());
    let settings = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let hub = settings("hub", format!("leafnodes {{ listen: 127.0.0.1:{between} }}"));
    let leaf = settings("leaf", format!("leafnodes {{ remotes [ {{ url: nats-leaf://127.0.0.1:{between} }} ] }}"));
    let _hub = Server::start_with(hub_port, &["-c", &hub]);
    let mut leaf_server = Server::start_with(leaf_port, &["-c", &leaf]);
    let nats = NatsConfig {
        probe_leaves: vec![format!("nats://127.0.0.1:{leaf_port}")],
        ..NatsConfig::new(vec![format!("nats://127.0.0.1:{hub_port}")])
    };
    let (tasks, registry) = (Tasks::new(1), Registry::default());
    let disk = FaultyDisk::new(1).shared();
    let deps = bus::Deps { tasks: tasks.clone(), registry: registry.clone(), clock: Clock::system(), disk };
    let _bus = Bus::start(Config { nats: Some(nats), ..Config::embedded("box") }, deps);
    let ends = |registry: &Registry| -> Vec<f64> {
        let families = registry.gather();
        let success = families.iter().filter(|family| family.name == "andon_bus_probe_success");
        success.flat_map(|family| family.samples.iter().map(|sample| sample.value)).collect()
    };
    let wait_for = async |expected: [f64; 2]| {
        let wait = async {
            while {
                let mut found = ends(&registry);
                found.sort_by(f64::total_cmp);
                found != expected
            } {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(6 * SOON, wait).await.unwrap_or_else(|_| panic!("{:?}", ends(&registry)));
    };
    wait_for([1.0, 1.0]).await;
    leaf_server.process.kill().unwrap();
    leaf_server.process.wait().unwrap();
    wait_for([0.0, 1.0]).await;
}
