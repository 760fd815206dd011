//! Publishes that devices want kept: acks after they are durable, repeats that do no harm.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use andon::bus::{self, NatsConfig, StreamConfig};
use serde_json::{Value, json};

use crate::gateway::{Door, Socket, bus_config, config, hear, say};

const SOON: Duration = Duration::from_secs(10);

/// A bus with one stream on a NATS server that is away.
fn with_stream() -> bus::Config {
    let nats = Some(NatsConfig::new(vec!["nats://127.0.0.1:1".to_owned()]));
    bus::Config { nats, ..with_own_stream() }
}

/// A bus with one stream that the box keeps itself.
fn with_own_stream() -> bus::Config {
    let streams = vec![StreamConfig::new("FACTORY", vec!["factory.>".parse().unwrap()])];
    bus::Config { streams, ..bus_config() }
}

/// Returns how many messages are kept, wherever.
fn kept(door: &Door) -> u64 {
    let own: u64 = door.bus.streams().iter().map(|stream| stream.messages).sum();
    own + door.bus.spool().map_or(0, |spool| spool.waiting)
}

async fn publish(socket: &mut Socket, members: &Value) -> Value {
    let mut frame = json!({ "type": 0, "subject": "factory.a", "payload": 1, "correlationId": "c" });
    frame.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    say(socket, &frame).await;
    hear(socket).await.unwrap()
}

#[tokio::test]
async fn an_ack_comes_when_the_message_is_kept_with_nats_away_and_without_any() {
    for bus in [with_stream(), with_own_stream()] {
        let door = Door::open(config(), bus).await;
        let token = door.add("press").await;
        let (mut socket, _) = door.socket("press", &token).await;
        let ack = publish(&mut socket, &json!({ "ack": true, "messageId": 7 })).await;
        let (subject, mark) = (json!("factory.a"), json!("c"));
        assert_eq!((&ack["type"], &ack["subject"], &ack["correlationId"]), (&json!(6), &subject, &mark));
        assert_eq!(ack["payload"], json!({ "success": true, "message": "Kept", "durable": true, "messageId": "7" }));
        assert_eq!(kept(&door), 1);
        let ack = publish(&mut socket, &json!({ "ack": true, "subject": "devices.press.x" })).await;
        assert_eq!(ack["payload"]["durable"], false, "no stream keeps it");
        let error = publish(&mut socket, &json!({ "ack": 1 })).await;
        assert_eq!((&error["type"], &error["payload"]["code"]), (&json!(7), &json!("INVALID_MESSAGE")));
    }
}

#[tokio::test]
async fn a_repeat_is_acknowledged_and_neither_recorded_nor_handed_out_again() {
    for bus in [with_stream(), with_own_stream()] {
        let mut door = Door::open(config(), bus).await;
        let token = door.add("press").await;
        let heard = door.bus.subscribe(&"factory.>".parse().unwrap());
        for _ in 0..2 {
            let (mut socket, _) = door.socket("press", &token).await;
            for id in ["a", "b"] {
                let ack = publish(&mut socket, &json!({ "ack": true, "messageId": id })).await;
                assert_eq!((&ack["type"], &ack["payload"]["durable"]), (&json!(6), &json!(true)), "{ack}");
            }
        }
        assert_eq!(std::iter::from_fn(|| heard.try_recv()).count(), 2);
        assert_eq!(std::iter::from_fn(|| door.recorded.try_recv().ok()).count(), 2);
        assert_eq!(kept(&door), 2);
    }
}

#[tokio::test]
async fn a_frame_that_asks_for_nothing_gets_nothing() {
    let door = Door::open(config(), with_stream()).await;
    let token = door.add("press").await;
    let (mut socket, _) = door.socket("press", &token).await;
    say(&mut socket, &json!({ "type": 0, "subject": "factory.a", "payload": 1 })).await;
    say(&mut socket, &json!({ "type": 0, "subject": "factory.a", "payload": 1, "messageId": "x" })).await;
    let pong = publish(&mut socket, &json!({ "type": 9 })).await;
    assert_eq!(pong["type"], 10);
}

/// A server that ends with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_client_sends_again_what_it_does_not_know_to_be_kept() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("nats-server");
    command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd", folder.path().to_str().unwrap()]);
    let _server = Server(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let nats = Some(NatsConfig::new(vec![format!("nats://127.0.0.1:{port}")]));
    let door = Door::open(config(), bus::Config { nats, ..with_stream() }).await;
    let client = door.client("press").await;
    let publishing = async {
        for n in 0..200 {
            assert_eq!(client.publish_kept("factory.a", &json!(n)).await, Ok(true));
        }
    };
    let pulling = async {
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(30)).await;
            client.hang_up(Duration::from_millis(1)).await.unwrap();
        }
    };
    tokio::time::timeout(6 * SOON, async { tokio::join!(publishing, pulling) }).await.expect("no acks");
    assert_eq!(client.publish_kept("devices.press.x", &json!(1)).await, Ok(false));
    let wait = async {
        while door.bus.spool().unwrap().waiting > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, wait).await.expect("they do not reach the stream");
    // The disk may have kept all before there was a connection, and so a stream.
    let context = async_nats::jetstream::new(async_nats::connect(format!("127.0.0.1:{port}")).await.unwrap());
    let stream = context.get_stream("FACTORY").await.unwrap();
    let mut bodies = Vec::new();
    for sequence in 1..=context.get_stream("FACTORY").await.unwrap().cached_info().state.last_sequence {
        bodies.push(String::from_utf8(stream.get_raw_message(sequence).await.unwrap().payload.to_vec()).unwrap());
    }
    assert_eq!(bodies, (0..200).map(|n| n.to_string()).collect::<Vec<_>>());
}

/// Publishes numbers until the stream has them.
async fn fill(door: &Door, numbers: std::ops::Range<u32>) {
    for n in numbers {
        let message = bus::Message::new("factory.a".parse().unwrap(), n.to_string());
        door.bus.publish_kept(message, None).await.unwrap().unwrap().kept().await.unwrap();
    }
    let wait = async {
        while door.bus.spool().is_some_and(|spool| spool.waiting > 0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, wait).await.expect("they do not reach the stream");
}

/// Hears so many messages; returns their bodies and the last sequence.
async fn hear_bodies(socket: &mut Socket, count: usize) -> (Vec<u64>, u64) {
    let (mut bodies, mut sequence) = (Vec::new(), 0);
    while bodies.len() < count {
        let frame = tokio::time::timeout(3 * SOON, hear(socket)).await.expect("nothing comes").unwrap();
        if frame["type"] == 3 {
            bodies.push(frame["payload"].as_u64().unwrap());
            sequence = frame["sequence"].as_u64().unwrap();
        }
    }
    (bodies, sequence)
}

#[tokio::test]
async fn a_device_hears_what_it_missed_in_order_and_once() {
    hears_what_it_missed(with_own_stream()).await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("nats-server");
    command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd", folder.path().to_str().unwrap()]);
    let _server = Server(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let nats = Some(NatsConfig::new(vec![format!("nats://127.0.0.1:{port}")]));
    hears_what_it_missed(bus::Config { nats, ..with_stream() }).await;
}

async fn hears_what_it_missed(bus: bus::Config) {
    let door = Door::open(config(), bus).await;
    fill(&door, 0..100).await;
    let token = door.add("press").await;
    let subscribe =
        |replay: Value| json!({ "type": 1, "subject": "factory.>", "correlationId": "s", "replay": replay });

    let (mut socket, _) = door.socket("press", &token).await;
    say(&mut socket, &subscribe(json!("all"))).await;
    let ack = hear(&mut socket).await.unwrap();
    assert_eq!((&ack["type"], &ack["correlationId"]), (&json!(6), &json!("s")));
    assert_eq!(hear_bodies(&mut socket, 100).await.0, (0..100).collect::<Vec<_>>());
    for round in 0..3 {
        // What is written to a socket counts as delivered, so the box has to know that it is closed.
        socket.close(None).await.unwrap();
        while hear(&mut socket).await.is_ok() {}
        let missed = 100 + round * 20..120 + round * 20;
        fill(&door, missed.clone()).await;
        // The place is the device's, wherever it says to begin now.
        (socket, _) = door.socket("press", &token).await;
        say(&mut socket, &subscribe(json!("new"))).await;
        let (bodies, sequence) = hear_bodies(&mut socket, 20).await;
        assert_eq!(bodies, missed.map(u64::from).collect::<Vec<_>>());
        assert_eq!(sequence, u64::from(120 + round * 20));
    }

    let (mut socket, _) = door.socket("press", &token).await;
    say(&mut socket, &json!({ "type": 1, "subject": "factory.a", "replay": { "sequence": 156 } })).await;
    assert_eq!(hear_bodies(&mut socket, 5).await.0, [155, 156, 157, 158, 159]);
    say(&mut socket, &json!({ "type": 2, "subject": "factory.a" })).await;
    assert_eq!(hear(&mut socket).await.unwrap()["type"], 6);
    say(&mut socket, &json!({ "type": 1, "subject": "factory.a", "replay": "last" })).await;
    assert_eq!(hear_bodies(&mut socket, 1).await.0, [159], "the place was forgotten");
    say(&mut socket, &json!({ "type": 1, "subject": "factory.b", "replay": "sometimes" })).await;
    assert_eq!(hear(&mut socket).await.unwrap()["payload"]["code"], "INVALID_MESSAGE");
}

#[tokio::test]
async fn what_no_stream_keeps_cannot_be_replayed() {
    let door = Door::open(config(), bus_config()).await;
    let token = door.add("press").await;
    let (mut socket, _) = door.socket("press", &token).await;
    for replay in [json!("all"), json!(null)] {
        say(&mut socket, &json!({ "type": 1, "subject": "factory.a", "replay": replay })).await;
        let answer = hear(&mut socket).await.unwrap();
        let expected = if replay.is_null() { 6 } else { 7 };
        assert_eq!(answer["type"], expected, "{answer}");
    }
}
