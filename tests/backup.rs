//! A running box into a file, and another box out of it, with the commands as their user types them.

use std::path::Path;
use std::time::Duration;

use andon::model::{Labels, Timestamp};
use andon::wire::remote_write::Encoder;

use crate::support::program::{Program, say};

const SETTINGS: &str = "box_name: line-7\nhost: {enabled: false}\nrule_files: [own.yml]\n";
const RULES: &str = "groups: [{name: own, rules: [{record: parts:sum, expr: sum(parts)}]}]\n";

fn write(program: &Program, at: Timestamp, value: f64) {
    let mut encoder = Encoder::new();
    for machine in ["press", "oven"] {
        encoder.push(&Labels::from_pairs([("__name__", "parts"), ("machine", machine)]), [(at.as_millis(), value)]);
    }
    let message = encoder.finish().unwrap();
    let answer = program.request("POST", "/api/v1/write", "application/x-protobuf", &message).unwrap();
    assert!(matches!(answer.status, 200 | 204), "{}", answer.body);
}

/// What questions find: samples, lines, devices.
fn all(program: &Program, at: Timestamp) -> [String; 3] {
    let samples = format!("/api/v1/query?query=parts%5B7d%5D&time={}", at.as_seconds());
    let (start, end) = (at - Duration::from_secs(7 * 86_400), at + Duration::from_secs(60));
    let lines = format!(
        "/loki/api/v1/query_range?query=%7Bdevice%3D%22press%22%7D&start={}&end={}",
        start.as_millis() * 1_000_000,
        end.as_millis() * 1_000_000
    );
    let found = [samples.as_str(), &lines, "/api/v1/devices"].map(|path| {
        let answer = program.get(path).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        let json = answer.body.find('{').unwrap()..=answer.body.rfind('}').unwrap();
        let json: serde_json::Value = serde_json::from_str(&answer.body[json]).unwrap();
        if path == lines { json["data"]["result"].to_string() } else { json["data"].to_string() }
    });
    assert!(found[0].contains("press") && found[1].contains("a line") && found[2].contains("press-1"), "{found:?}");
    found
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_running_box_is_backed_up_and_restored_equal() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(dir.path().join("own.yml"), RULES).unwrap();
    let program = Program::start(dir.path(), SETTINGS);
    let url = format!("http://{}", program.address);
    let now = andon::clock::Clock::system().now();
    for hours in [100, 30, 5, 0] {
        write(&program, now - Duration::from_secs(hours * 3600), 0.5);
    }
    let push = format!(
        r#"{{"streams": [{{"stream": {{"device": "press"}}, "values": [["{}", "a line"]]}}]}}"#,
        now.as_millis() * 1_000_000
    );
    let pushed = program.request("POST", "/loki/api/v1/push", "application/json", push.as_bytes()).unwrap();
    assert_eq!(pushed.status, 204, "{}", pushed.body);
    assert_eq!(say(&["device", "--url", &url, "add", "press-1"]).code, Some(0));
    let before = all(&program, now);

    let archive = dir.path().join("backup.tar");
    let said = say(&["backup", text(&archive), "--url", &url]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.contains("of line-7") && said.out.contains("checked"), "{}", said.out);
    // The folder is in use, so the box is asked.
    let folder = dir.path().join("data");
    let said = say(&["backup", text(other.path()), "--data", text(&folder), "--url", &url]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let (status, _) = program.stop();
    assert!(status.success());

    let said = say(&["restore", text(&archive), "--check"]);
    assert!(said.code == Some(0) && said.out.contains("good: "), "{}{}", said.out, said.err);
    let target = other.path().join("data");
    let said = say(&["restore", text(&archive), "--data", text(&target)]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    for file in ["andon.yml", "own.yml"] {
        let kept = target.join("settings").join(dir.path().strip_prefix("/").unwrap()).join(file);
        assert!(kept.is_file(), "{} is in the backup", kept.display());
    }
    std::fs::write(other.path().join("own.yml"), RULES).unwrap();
    let copy = Program::start(other.path(), SETTINGS);
    assert_eq!(all(&copy, now), before);
    // A box runs there now.
    let said = say(&["restore", text(&archive), "--data", text(&target), "--force"]);
    assert!(said.code == Some(1) && said.err.contains("in use by a running box"), "{}", said.err);
    copy.stop();

    // The stopped box, from its folder alone.
    let direct = other.path().join("direct.tar");
    let said = say(&["backup", text(&direct), "--data", text(&target)]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let said = say(&["restore", text(&direct), "--data", text(&folder)]);
    assert!(said.code == Some(1) && said.err.contains("not empty") && said.err.contains("--force"), "{}", said.err);
    let said = say(&["restore", text(&direct), "--data", text(&folder), "--force"]);
    assert!(said.code == Some(0) && said.out.contains("before-restore-"), "{}{}", said.out, said.err);
    let program = Program::start(dir.path(), SETTINGS);
    assert_eq!(all(&program, now), before);
    program.stop();
}

#[test]
fn what_is_no_backup_is_refused_in_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.tar");
    let said = say(&["restore", text(&file), "--check"]);
    assert!(said.code == Some(1) && said.err.contains("x.tar"), "{}", said.err);
    std::fs::write(&file, "not an archive").unwrap();
    let target = dir.path().join("data");
    let said = say(&["restore", text(&file), "--data", text(&target)]);
    assert!(said.code == Some(1) && said.err.contains("cannot be used"), "{}", said.err);
    assert!(!target.exists(), "nothing is made before the backup has been checked");
    assert_eq!(say(&["restore", text(&file)]).code, Some(2), "a target or --check is needed");
    let said = say(&["backup", text(&file), "--data", text(&target)]);
    assert!(said.code == Some(1) && said.err.contains("no data folder"), "{}", said.err);
    let said = say(&["backup", text(&dir.path().join("out.tar")), "--url", "http://127.0.0.1:1"]);
    assert!(said.code == Some(1) && said.err.contains("no box answers"), "{}", said.err);
    assert!(!dir.path().join("out.tar.tmp").exists() && !dir.path().join("out.tar").exists());
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let said = say(&["backup", text(&dir.path().join("out.tar")), "--data", text(&empty)]);
    assert!(said.code == Some(1) && said.err.contains("holds nothing of a box"), "{}", said.err);
}
