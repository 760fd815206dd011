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

/// Names and values of labels that the configurations in `tests/alertmanager` tell apart, and some that they do not.
const LABEL_SETS: &str = "
severity=critical
severity=warning
severity=info
severity=none
severity=page
severity=critical service=router
severity=critical service=gateway
severity=warning team=router
severity=warning team=line
severity=critical service=router env=production
severity=critical env=production
severity=warning env=production
severity=critical env=staging
severity=warning env=staging
env=staging
env=staging team=router
env=production
alertname=SecurityBreach
alertname=SecurityBreach severity=critical
alertname=SecurityBreach severity=warning
alertname=BruteForce severity=info
alertname=SSLCertificateExpires severity=page
alertname=NotSSL
alertname=MongoDBDown
alertname=MongoDBDown severity=critical
alertname=RedisMemory severity=warning
alertname=RedisMemory severity=info
alertname=MyRedis
alertname=AIServiceSlow
alertname=AIServiceSlow severity=critical
alertname=AI severity=none
alertname=GatewayDown severity=critical service=gateway
alertname=NATSDown severity=critical service=nats
alertname=ServiceDown service=api
alertname=ServiceDown severity=critical service=api
alertname=Watchdog severity=none
severity=Critical
severity=
team=router severity=warning env=staging
cluster=a service=b alertname=c instance=d
";

#[test]
fn alertmanagers_configurations_load_and_route_as_amtool_says() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/alertmanager");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 4);
    let sets: Vec<Vec<&str>> =
        LABEL_SETS.lines().filter(|l| !l.is_empty()).map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(sets.len(), 40);
    let amtool = |arguments: &[&str]| std::process::Command::new("amtool").args(arguments).output().ok();
    let has_amtool = amtool(&["--version"]).is_some();
    for file in &files {
        let file = file.to_str().unwrap();
        let mut receivers = std::collections::BTreeSet::new();
        for set in &sets {
            let mut arguments = vec!["notify", "route", "--short", "--config", file];
            arguments.extend(set);
            let said = crate::support::program::say(&arguments);
            assert_eq!(said.code, Some(0), "{file} {set:?}: {said:?}");
            receivers.insert(said.out.trim().to_owned());
            if has_amtool {
                let config = format!("--config.file={file}");
                let mut arguments = vec!["config", "routes", "test", &config];
                arguments.extend(set);
                let judge = amtool(&arguments).unwrap();
                let judge = String::from_utf8_lossy(&judge.stdout).into_owned();
                assert_eq!(said.out.trim(), judge.trim(), "{file} {set:?}");
            }
        }
        assert!(receivers.len() > 2, "{file}: {receivers:?}");
    }
}

#[test]
fn a_reboot_with_five_firing_alarms_tells_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    let rule = |i: usize| format!("      - {{alert: A{i}, expr: vector({i}), labels: {{severity: s{i}}}}}\n");
    let rules = format!("groups:\n  - name: g\n    rules:\n{}", (1..=5).map(rule).collect::<String>());
    std::fs::write(folder.path().join("rules.yml"), rules).unwrap();
    let settings = settings(folder.path(), &sink.url).replace("group_by: [site]", "group_by: ['...']");
    let program = Program::start(folder.path(), &settings);
    let end = Instant::now() + PATIENCE;
    while sink.told().len() < 5 && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
    // All five are in the log: the box was not in the midst of it.
    while !data(&program, "/api/v1/receivers").to_string().contains("\"sent\":5") && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
    let (status, _) = program.stop();
    assert!(status.success());
    let program = Program::start(folder.path(), &settings);
    let end = Instant::now() + PATIENCE;
    while data(&program, "/api/v1/alerts")["alerts"].as_array().map_or(0, Vec::len) < 5 && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
    // Some rounds of groups and rules.
    std::thread::sleep(Duration::from_secs(3));
    let mut told = sink.told();
    told.sort();
    assert_eq!(told, ["firing A1", "firing A2", "firing A3", "firing A4", "firing A5"]);
    program.stop();
}

#[test]
fn a_receiver_is_tested_from_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    std::fs::write(folder.path().join("rules.yml"), "groups: []\n").unwrap();
    let program = Program::start(folder.path(), &settings(folder.path(), &sink.url));
    let url = format!("http://{}", program.address);
    let said = crate::support::program::say(&["notify", "test", "hook", "--url", &url]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.starts_with("webhook[0]: taken in "), "{said:?}");
    assert_eq!(sink.told(), ["firing Test"]);
    let said = crate::support::program::say(&["notify", "test", "nobody", "--url", &url]);
    assert_eq!((said.code, said.err.contains("nobody")), (Some(1), true), "{said:?}");
    program.stop();
}

/// Returns the link of the newest notice that a Slack was told, without the box's address.
fn link_in(bodies: &[Value]) -> Option<String> {
    let text = bodies.last()?["attachments"][0]["text"].as_str()?;
    Some(text.strip_prefix("<https://box.example")?.split('|').next()?.to_owned())
}

#[test]
fn an_alarm_is_acknowledged_by_the_link_of_its_notification_and_not_by_fetching_it() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    std::fs::write(folder.path().join("rules.yml"), RULES).unwrap();
    let settings = settings(folder.path(), &sink.url)
        .replace("webhook_configs: [{url:", "slack_configs: [{api_url:")
        .replace("host:", "http: {external_url: 'https://box.example'}\nhost:");
    let program = Program::start(folder.path(), &settings);
    let end = Instant::now() + PATIENCE;
    while sink.bodies.lock().unwrap().is_empty() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
    let link = link_in(&sink.bodies.lock().unwrap()).expect("a link in the message");
    let noted = || -> Vec<Value> {
        let alarms = data(&program, "/api/v1/alarms");
        alarms["alarms"].as_array().unwrap().iter().map(|a| a["acknowledgement"].clone()).collect()
    };
    // What a mail scanner does: GET and HEAD, again and again.
    for method in ["GET", "HEAD", "GET"] {
        let answer = program.request(method, &link, "", b"").unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(noted(), [Value::Null, Value::Null]);
    let page = program.get(&link).unwrap().body;
    assert!(page.contains("Acknowledge these 2 alarms") && page.contains("taken by hook"), "{page}");

    // What the page's button sends.
    let form = "application/x-www-form-urlencoded\r\naccept: text/html";
    let last = if link.ends_with('A') { "B" } else { "A" };
    let changed = format!("{}{last}{}", &link[..link.len() - 2], &link[link.len() - 1..]);
    let refused = program.request("POST", &changed, form, b"").unwrap();
    assert_eq!(refused.status, 403, "{refused:?}");
    assert!(refused.body.contains("not made by this box, or was changed"), "{}", refused.body);
    let cut = &link[..link.len() / 2];
    assert_eq!(program.request("POST", cut, form, b"").unwrap().status, 400);
    assert_eq!(program.get(cut).unwrap().status, 400);
    assert_eq!(noted(), [Value::Null, Value::Null]);

    // The key outlives a restart.
    program.kill();
    let program = Program::start(folder.path(), &settings);
    let mut answer = program.request("POST", &link, form, b"note=Eva%2C+on+my+way").unwrap();
    // Groups form again as soon as the board is read.
    while data(&program, "/api/v1/alarms/history?event=acknowledged")["transitions"].as_array().unwrap().is_empty()
        && Instant::now() < end
    {
        answer = program.request("POST", &link, form, b"note=Eva%2C+on+my+way").unwrap();
    }
    assert_eq!(answer.status, 303, "{answer:?}");
    let history = data(&program, "/api/v1/alarms/history?event=acknowledged");
    let told: Vec<_> = history["transitions"].as_array().unwrap().iter().map(|t| (&t["by"], &t["note"])).collect();
    let note = Value::from("Eva, on my way (by the link of a notification)");
    assert_eq!(told, [(&"hook".into(), &note), (&"hook".into(), &note)]);
    let page = program.get(&link).unwrap().body;
    assert!(page.contains("Nothing is left to acknowledge") && !page.contains("<button class=\"go\">"), "{page}");
    let list = page.split("id=\"ack\"").nth(1).unwrap().split("</ul>").next().unwrap();
    assert!(list.contains("Taken by hook") && !list.contains("shape p"), "what is taken has no colour: {list}");

    // Another box's key does not fit.
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("rules.yml"), RULES).unwrap();
    let stranger = Program::start(
        other.path(),
        &settings.replace(&folder.path().display().to_string(), &other.path().display().to_string()),
    );
    assert_eq!(stranger.get(&link).unwrap().status, 403);
    stranger.stop();
    program.stop();
}
