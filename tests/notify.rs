//! From a rule to a webhook through the real program, across kills.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::program::Program;

/// How long something may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A receiver on loopback that takes everything and keeps it.
struct Sink {
    url: String,
    bodies: Arc<Mutex<Vec<Value>>>,
}

impl Sink {
    fn start() -> Sink {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let bodies: Arc<Mutex<Vec<Value>>> = Arc::default();
        let kept = bodies.clone();
        std::thread::Builder::new()
            .spawn(move || {
                for stream in listener.incoming() {
                    let Ok(mut stream) = stream else { return };
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    let mut length = 0;
                    loop {
                        let mut line = String::new();
                        if reader.read_line(&mut line).unwrap_or(0) <= 2 {
                            break;
                        }
                        if let Some(text) = line.to_lowercase().strip_prefix("content-length:") {
                            length = text.trim().parse().unwrap();
                        }
                    }
                    let mut body = vec![0; length];
                    if length == 0 || reader.read_exact(&mut body).is_err() {
                        continue;
                    }
                    kept.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                }
            })
            .unwrap();
        Sink { url, bodies }
    }

    /// Returns `status name` of each notice so far, sorted within itself by alarm.
    fn told(&self) -> Vec<String> {
        let text = |v: &Value| v.as_str().unwrap_or("?").to_owned();
        let one = |body: &Value| {
            let alerts = body["alerts"].as_array().unwrap().iter();
            let mut names: Vec<String> = alerts.map(|a| text(&a["labels"]["alertname"])).collect();
            names.sort();
            format!("{} {}", text(&body["status"]), names.join(" "))
        };
        self.bodies.lock().unwrap().iter().map(one).collect()
    }

    #[track_caller]
    fn expect(&self, expected: &[&str]) {
        let end = Instant::now() + PATIENCE;
        while self.told().len() < expected.len() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(self.told(), expected);
    }
}

fn settings(folder: &std::path::Path, url: &str) -> String {
    let rules = folder.join("rules.yml");
    format!(
        "host: {{enabled: false}}
rule_packs: []
global: {{evaluation_interval: 200ms, external_labels: {{site: north}}}}
rule_files: [{}]
notifications:
  route: {{receiver: hook, group_by: [site], group_wait: 300ms, group_interval: 500ms, repeat_interval: 1h}}
  receivers: [{{name: hook, webhook_configs: [{{url: '{url}'}}]}}]
",
        rules.display()
    )
}

const RULES: &str = r#"
groups:
  - name: g
    rules:
      - alert: A
        expr: vector(1)
        labels: {severity: critical}
        annotations: {summary: 'A is {{ $value }} at {{ $externalLabels.site }}'}
      - alert: B
        expr: vector(2) > 1
"#;

/// Asks for JSON data of the API.
fn data(program: &Program, path: &str) -> Value {
    let answer = program.get(path).unwrap();
    let mut value: Value = serde_json::from_str(&answer.body).unwrap();
    value["data"].take()
}

#[test]
fn what_fires_is_told_once_across_kills_and_its_end_too() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    std::fs::write(folder.path().join("rules.yml"), RULES).unwrap();
    let settings = settings(folder.path(), &sink.url);
    let program = Program::start(folder.path(), &settings);
    sink.expect(&["firing A B"]);
    {
        let bodies = sink.bodies.lock().unwrap();
        assert_eq!(bodies[0]["version"], "4");
        assert_eq!(bodies[0]["receiver"], "hook");
        assert_eq!(bodies[0]["alerts"][0]["annotations"]["summary"], "A is 1 at north");
    }
    let alarms = data(&program, "/api/v1/alarms");
    let fingerprint = alarms["alarms"][0]["fingerprint"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/alarms/{fingerprint}/acknowledge");
    let note = br#"{"by": "Eva", "note": "on it"}"#;
    let answer = program.request("POST", &path, "application/json", note).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let refused = program.request("POST", &path, "application/json", br#"{"by": ""}"#).unwrap();
    assert_eq!(refused.status, 400, "{refused:?}");
    let unknown = program.request("POST", "/api/v1/alarms/77/acknowledge", "application/json", note).unwrap();
    assert_eq!(unknown.status, 404, "{unknown:?}");

    // Killed twice while it fires: nobody hears of it, and the note is still there.
    let mut program = program;
    for _ in 0..2 {
        program.kill();
        program = Program::start(folder.path(), &settings);
        std::thread::sleep(Duration::from_secs(1));
    }
    sink.expect(&["firing A B"]);
    let alarms = data(&program, "/api/v1/alarms");
    let noted = alarms["alarms"].as_array().unwrap().iter().find(|a| a["fingerprint"] == fingerprint.as_str()).unwrap();
    assert_eq!(noted["acknowledgement"]["by"], "Eva");
    assert_eq!(data(&program, "/api/v1/alerts")["alerts"].as_array().unwrap().len(), 2);

    // The rules go away: what they raised is over.
    std::fs::write(folder.path().join("rules.yml"), "groups: []\n").unwrap();
    assert_eq!(program.request("POST", "/-/reload", "", b"").unwrap().status, 200);
    sink.expect(&["firing A B", "resolved A B"]);
    let history = data(&program, "/api/v1/alarms/history?limit=2");
    assert_eq!(history["transitions"][0]["event"], "cleared");
    program.stop();
}
