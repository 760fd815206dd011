//! The bus against a real NATS server, with a client of its own as everybody else.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use andon::bus::{self, Bus, Config, Credentials, Error, Link, Message, NatsConfig, Scope, SubjectPattern};
use andon::clock::Clock;
use andon::instrument::Registry;
use andon::task::{Phase, Tasks};
use futures_util::StreamExt;

const SOON: Duration = Duration::from_secs(10);

/// A NATS server of the system on a port of its own; ends with the test.
struct Server {
    process: Child,
    port: u16,
}

impl Server {
    fn start(port: u16) -> Server {
        let process = Command::new("nats-server")
            .args(["-a", "127.0.0.1", "-p", &port.to_string()])
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

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn bus(port: u16, box_id: &str) -> (Bus, Tasks) {
    let nats = NatsConfig {
        servers: vec![format!("nats://127.0.0.1:{port}")],
        credentials: Credentials::None,
        client_name: "andon".to_owned(),
        connect_timeout: Duration::from_secs(5),
        publish_timeout: Duration::from_millis(250),
        ca_file: None,
    };
    let config =
        Config { box_id: box_id.to_owned(), nats: Some(nats), queue_messages_max: 256, queue_bytes_max: 1 << 20 };
    let tasks = Tasks::new(1);
    let deps = bus::Deps { tasks: tasks.clone(), registry: Registry::default(), clock: Clock::system() };
    (Bus::start(config, deps), tasks)
}

async fn connected(bus: &Bus) {
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

fn pattern(text: &str) -> SubjectPattern {
    text.parse().unwrap()
}

fn message(subject: &str, body: &str) -> Message {
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
    let mut here = bus.subscribe(&pattern("factory.>"));
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
    let rest = |mut s: bus::Subscription| async move {
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
    let mut only_here = bus.subscribe(&pattern("ask.local"));
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
