//! Log lines through the real program: pushed, asked for, followed, killed.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::program::{Answer, Program};

const SETTINGS: &str = "host: {enabled: false}\n";
const JSON: &str = "application/json";

/// Nanoseconds since the epoch, a minute ago: what is pushed lies between then and now.
fn minute_ago_ns() -> i64 {
    andon::clock::Clock::system().now_ns() - 60_000_000_000
}

fn push(program: &Program, device: &str, lines: &[(i64, String)]) -> Answer {
    let values: Vec<Value> = lines.iter().map(|(at, line)| json!([at.to_string(), line])).collect();
    let body = json!({ "streams": [{ "stream": { "job": "test", "device": device }, "values": values }] });
    program.request("POST", "/loki/api/v1/push", JSON, body.to_string().as_bytes()).unwrap()
}

/// Percent-encodes everything but letters and digits.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

fn json_of(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.body);
    let body = &answer.body[answer.body.find('{').unwrap()..=answer.body.rfind('}').unwrap()];
    serde_json::from_str(body).unwrap()
}

/// Returns the lines of an answer in the order of their streams.
fn lines(program: &Program, query: &str, more: &str) -> Vec<String> {
    let path = format!("/loki/api/v1/query_range?query={}&limit=5000{more}", encoded(query));
    let answer = json_of(&program.get(&path).unwrap());
    let streams = answer["data"]["result"].as_array().unwrap().iter();
    streams.flat_map(|s| s["values"].as_array().unwrap()).map(|v| v[1].as_str().unwrap().to_owned()).collect()
}

#[test]
fn lines_are_pushed_found_and_survive_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(dir.path(), SETTINGS);
    let start = minute_ago_ns();
    let at = |n: i64| start + n * 1_000_000;
    let numbered = |range: std::ops::Range<i64>| -> Vec<(i64, String)> {
        range
            .map(|n| (at(n), format!(r#"{{"n":{n},"level":"{}"}}"#, if n % 10 == 0 { "error" } else { "info" })))
            .collect()
    };
    assert_eq!(push(&program, "press-1", &numbered(0..50)).status, 204);
    assert_eq!(push(&program, "press-2", &numbered(50..60)).status, 204);

    let check = |program: &Program| {
        assert_eq!(lines(program, r#"{job="test"}"#, "").len(), 60);
        assert_eq!(lines(program, r#"{job="test"} | json | level="error""#, "").len(), 6);
        assert_eq!(lines(program, r#"{device="press-2"} |= "\"n\":55""#, ""), [r#"{"n":55,"level":"info"}"#]);
        assert_eq!(lines(program, r#"{device="press-1"} | json | n >= 48"#, "&direction=forward").len(), 2);
        let newest = format!("&start={}&end={}&direction=backward", at(10), at(12));
        assert_eq!(
            lines(program, r#"{device="press-1"}"#, &newest),
            [r#"{"n":11,"level":"info"}"#, r#"{"n":10,"level":"error"}"#]
        );
        let values = json_of(&program.get("/loki/api/v1/label/device/values?query=%7Bjob%3D%22test%22%7D").unwrap());
        assert_eq!(values["data"], json!(["press-1", "press-2"]));
    };
    check(&program);
    program.kill();
    let program = Program::start(dir.path(), SETTINGS);
    check(&program);
    // The same lines again are the same lines.
    assert_eq!(push(&program, "press-2", &numbered(50..60)).status, 204);
    check(&program);
}

#[test]
fn mistakes_are_told_with_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(dir.path(), SETTINGS);
    let ask = |path: &str| {
        let answer = program.get(path).unwrap();
        (answer.status, answer.body)
    };
    let (status, body) = ask("/loki/api/v1/query_range?query=%7Bjob%7D");
    assert_eq!((status, body.contains("1:5: parse error")), (400, true), "{body}");
    let (status, body) = ask("/loki/api/v1/query_range?query=rate(%7B%7D%5B5m%5D)");
    assert_eq!((status, body.contains("lines only")), (400, true), "{body}");
    assert_eq!(ask("/loki/api/v1/query_range?query=%7B%7D&limit=5001").0, 400);
    assert_eq!(ask("/loki/api/v1/query_range?query=%7B%7D&direction=up").0, 400);
    assert_eq!(ask("/loki/api/v1/query_range?query=%7B%7D&start=2&end=1").0, 400);
    let post = |content: &str, body: &str| {
        program.request("POST", "/loki/api/v1/push", content, body.as_bytes()).unwrap().status
    };
    assert_eq!(post(JSON, "not json"), 400);
    assert_eq!(post(JSON, r#"{"streams":[{"stream":{},"values":[["1","x"]]}]}"#), 400);
    assert_eq!(post(JSON, r#"{"streams":[{"stream":{"a-b":"c"},"values":[["1","x"]]}]}"#), 400);
    assert_eq!(post(JSON, r#"{"streams":[{"stream":{"a":"b"},"values":[["soon","x"]]}]}"#), 400);
    assert_eq!(post("text/plain", "x"), 415);
    assert_eq!(post("application/x-protobuf", "x"), 400);
    // Promtail's form: two lines of 2023 in {job="a"}; the bytes are those of `wire/loki_push.rs`.
    let message = b"\x0a\x29\x0a\x09{job=\"a\"}\x12\x0f\x0a\x08\x08\x80\xe2\xcf\xaa\x06\x10\x05\x12\x03one\
        \x12\x0b\x0a\x06\x08\x81\xe2\xcf\xaa\x06\x12\x01b";
    let packed = snap::raw::Encoder::new().compress_vec(message).unwrap();
    let answer = program.request("POST", "/loki/api/v1/push", "application/x-protobuf", &packed).unwrap();
    assert!(answer.body.contains("0 lines taken; refused: 2 older than retention"), "{}", answer.body);
    // Older than retention: refused alone.
    let now = minute_ago_ns();
    let answer = push(&program, "a", &[(1, "old".to_owned()), (now, "new".to_owned())]);
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("1 lines taken; refused: 1 older than retention"), "{}", answer.body);
    assert_eq!(lines(&program, r#"{device="a"}"#, ""), ["new"]);
}

#[test]
fn the_tail_follows_what_passes() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(dir.path(), SETTINGS);
    let mut stream = TcpStream::connect(program.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let query = encoded(r#"{device="press-1"} |= "jam" | json"#);
    let head = format!("GET /api/v1/logs/tail?query={query} HTTP/1.1\r\nhost: {}\r\n\r\n", program.address);
    stream.write_all(head.as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    let mut next = |prefix: &str| loop {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).unwrap() > 0, "the tail ended");
        if let Some(rest) = line.trim_end().strip_prefix(prefix) {
            return rest.to_owned();
        }
    };
    assert_eq!(next("content-type: "), "text/event-stream");
    let at = minute_ago_ns();
    push(&program, "press-2", &[(at, r#"{"msg":"jam"}"#.to_owned())]);
    push(&program, "press-1", &[(at, r#"{"msg":"ok"}"#.to_owned()), (at + 1, r#"{"msg":"jam","zone":3}"#.to_owned())]);
    let event: Value = serde_json::from_str(&next("data: ")).unwrap();
    assert_eq!(event["line"], r#"{"msg":"jam","zone":3}"#);
    assert_eq!(event["timestamp_ns"], (at + 1).to_string());
    assert_eq!(event["labels"], json!({ "job": "test", "device": "press-1", "msg": "jam", "zone": "3" }));
}

#[test]
fn acknowledged_lines_survive_kill_9_under_load() {
    const ROUNDS: usize = 4;
    let dir = tempfile::tempdir().unwrap();
    let start = minute_ago_ns();
    let mut acknowledged = std::collections::BTreeSet::new();
    let mut next = 0;
    for round in 0..ROUNDS {
        let program = Program::start(dir.path(), SETTINGS);
        let address = program.address;
        // Killed while somebody is pushing, so that the last write may be torn.
        let pusher = std::thread::Builder::new().spawn(move || {
            let mut taken = Vec::new();
            for n in next.. {
                let values: Vec<Value> = (0..20)
                    .map(|i| json!([(start + n * 1000 + i).to_string(), format!("line {n}.{i} {}", "x".repeat(200))]))
                    .collect();
                let body = json!({ "streams": [{ "stream": { "device": format!("d{}", n % 7) }, "values": values }] });
                match Program::request_to(address, "POST", "/loki/api/v1/push", JSON, body.to_string().as_bytes()) {
                    Some(answer) if answer.status == 204 => taken.push(n),
                    _ => return (taken, n + 1),
                }
            }
            unreachable!("the numbers do not end");
        });
        std::thread::sleep(Duration::from_millis(300 + 170 * u64::try_from(round).unwrap()));
        program.kill();
        let (taken, then) = pusher.unwrap().join().unwrap();
        acknowledged.extend(taken);
        next = then;
    }
    assert!(acknowledged.len() > 50, "the load was taken: {}", acknowledged.len());
    let program = Program::start(dir.path(), SETTINGS);
    let mut found = std::collections::BTreeSet::new();
    for device in 0..7 {
        // By pages of 5000 lines, newest first.
        let mut end = i64::MAX;
        loop {
            let query = encoded(&format!("{{device=\"d{device}\"}}"));
            let path = format!("/loki/api/v1/query_range?query={query}&limit=5000&start={start}&end={end}");
            let answer = json_of(&program.get(&path).unwrap());
            let values: Vec<Value> = answer["data"]["result"]
                .as_array()
                .unwrap()
                .iter()
                .flat_map(|s| s["values"].as_array().unwrap().clone())
                .collect();
            let Some(last) = values.last() else { break };
            end = last[0].as_str().unwrap().parse().unwrap();
            found.extend(values.iter().map(|v| v[1].as_str().unwrap().split(' ').nth(1).unwrap().to_owned()));
        }
    }
    let missing: Vec<String> = acknowledged
        .iter()
        .flat_map(|n| (0..20).map(move |i| format!("{n}.{i}")))
        .filter(|line| !found.contains(line))
        .collect();
    assert!(
        missing.is_empty(),
        "{} of {} lines are missing: {:?}",
        missing.len(),
        acknowledged.len() * 20,
        &missing[..missing.len().min(5)]
    );
}
