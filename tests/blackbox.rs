//! The black box through the front door: frames of a device while it talks, frozen by an alarm, there after a restart.

use std::path::Path;
use std::time::Duration;

use andon::app::App;
use andon::clock::Clock;
use andon::config::{self, Source};
use andon::device::{self, DeviceClient};
use andon::gateway::NewDevice;
use andon::task::Tasks;
use serde_json::{Value, json};

use crate::pages::client as http;

const RULES: &str = "
groups:
  - name: press
    interval: 1s
    rules:
      - alert: Hot
        expr: telemetry_temp{device_id=\"press-1\"} > 80
        labels: {severity: critical}
";

async fn start(folder: &Path) -> App {
    let settings = folder.join("andon.yml");
    let text = "host: {enabled: false}\nrule_files: [rules.yml]\ngateway: {black_box: {payload_limit: 1KB}}\n";
    std::fs::write(&settings, text).unwrap();
    std::fs::write(folder.join("rules.yml"), RULES).unwrap();
    let source =
        Source { file: Some(settings), data: Some(folder.join("data")), listen: Some("127.0.0.1:0".to_owned()) };
    App::start(config::load(&source).unwrap(), source, None).await.unwrap()
}

async fn get(app: &App, path: &str) -> (u16, String) {
    let answer = http().get(format!("http://{}{path}", app.local_addr())).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn api(app: &App, path: &str) -> Value {
    serde_json::from_str(&get(app, path).await.1).unwrap()
}

/// Asks until the answer is as it should be.
async fn wait_for(app: &App, path: &str, is_there: impl Fn(&Value) -> bool) -> Value {
    let mut answer = Value::Null;
    for _ in 0..300 {
        answer = api(app, path).await;
        if is_there(&answer["data"]) {
            return answer["data"].clone();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{path}: {answer}");
}

fn client(app: &App, token: String) -> (DeviceClient, Tasks) {
    let tasks = Tasks::new(1);
    let url = format!("ws://{}/ws", app.local_addr());
    let config = device::Config { stats_interval: None, ..device::Config::new(url, "press-1", token) };
    (DeviceClient::start(config, &tasks, Clock::system()), tasks)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_freezes_what_its_device_said_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let app = start(folder.path()).await;
    let new = NewDevice { id: "press-1".to_owned(), ..NewDevice::default() };
    let token = app.state().gateway.add_device(new).await.unwrap().token;
    let secret = token.clone();
    let (client, _tasks) = client(&app, token);
    assert!(client.connected(Duration::from_secs(10)).await);
    client.publish("telemetry.press-1.temp", &json!(21.5));
    client.publish("elsewhere.secret", &json!("=cmd"));
    let at = "/api/v1/devices/press-1/frames";
    let seen = wait_for(&app, at, |data| data["frames"].as_array().is_some_and(|frames| frames.len() >= 4)).await;
    let kinds: Vec<&str> = seen["frames"].as_array().unwrap().iter().map(|f| f["type"].as_str().unwrap()).collect();
    assert_eq!(kinds[..2], ["begin", "auth"], "{kinds:?}");
    let (_, text) = get(&app, at).await;
    assert!(!text.contains(&secret), "a token is never kept");
    let refused = wait_for(&app, &format!("{at}?type=error"), |data| data["frames"][0].is_object()).await;
    assert_eq!(refused["frames"][0]["code"], "NOT_AUTHORIZED");
    assert_eq!(refused["frozen"], json!([]));

    client.publish("telemetry.press-1.temp", &json!(99.5));
    let data = wait_for(&app, at, |data| data["frozen"][0].is_object()).await;
    let copy = &data["frozen"][0];
    assert_eq!(copy["alarmName"], "Hot");
    let (number, alarm) = (copy["id"].as_i64().unwrap(), copy["alarm"].as_str().unwrap().to_owned());
    client.publish("telemetry.press-1.temp", &json!(100.5));
    wait_for(&app, &format!("{at}?find=100.5"), |data| data["frames"][0].is_object()).await;

    client.close().await;
    app.stop().await;
    let app = start(folder.path()).await;
    assert_eq!(api(&app, at).await["data"]["frames"], json!([]), "what lives in memory ends with the process");
    let frozen = format!("{at}?frozen={number}");
    let lines = get(&app, &format!("{frozen}&format=jsonl&find=99.5")).await.1;
    let line: Value = serde_json::from_str(lines.trim()).unwrap();
    assert_eq!((&line["subject"], &line["direction"]), (&json!("telemetry.press-1.temp"), &json!("in")));
    assert_eq!(get(&app, &format!("{frozen}&format=jsonl&find=100.5")).await.1, "", "it came afterwards");
    let csv = get(&app, &format!("{frozen}&format=csv&find=elsewhere&direction=in")).await.1;
    assert!(csv.contains(",in,publish,\"elsewhere.secret\","), "{csv}");
    let page = get(&app, &format!("/devices/press-1/frames?frozen={number}&find=99.5")).await.1;
    assert!(page.contains("Frozen when an alarm was raised") && page.contains("1 of "), "{page}");
    let page = get(&app, &format!("/alarms/{alarm}")).await.1;
    assert!(page.contains(&format!("/devices/press-1/frames?frozen={number}")), "{page}");
    assert_eq!(get(&app, "/devices/press-2/frames").await.0, 404);
    assert_eq!(get(&app, &format!("/api/v1/devices/press-2/frames?frozen={number}")).await.0, 404);
    assert_eq!(get(&app, &format!("{at}?format=xml")).await.0, 400);
    app.stop().await;
}
