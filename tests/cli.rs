//! The commands as their user types them, wrong arguments included.

use crate::support::program::{Program, say};

#[test]
fn help_names_every_command() {
    let said = say(&["--help"]);
    assert_eq!(said.code, Some(0));
    for command in ["run", "demo", "check", "test", "query", "device", "backup", "restore", "inspect"] {
        assert!(said.out.contains(&format!("\n  {command}")), "{command} is not in:\n{}", said.out);
    }
}

#[test]
fn wrong_arguments_exit_with_2() {
    assert_eq!(say(&["rum"]).code, Some(2));
    assert!(say(&["rum"]).err.contains("run"), "a near name is suggested");
    assert_eq!(say(&["run", "--frobnicate"]).code, Some(2));
    assert_eq!(say(&[]).code, Some(2));
}

#[test]
fn a_bad_configuration_stops_the_start_and_names_all_mistakes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("andon.yml");
    std::fs::write(&file, "global:\n  scrape_intervall: 15s\nstorage:\n  size_limit: big\n").unwrap();
    let said = say(&["run", "--config", file.to_str().unwrap(), "--data", dir.path().to_str().unwrap()]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("scrape_intervall") && said.err.contains("scrape_interval"), "{}", said.err);
    assert!(said.err.contains("size_limit"), "{}", said.err);
    assert!(said.err.contains(":2:") && said.err.contains(":4:"), "lines are named: {}", said.err);
}

#[test]
fn what_a_message_becomes_is_checked_without_a_box() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("andon.yml");
    let rules = "telemetry:\n  rules:\n    - subject: plant.{hall}.tanks\n      samples:\n        - metric: tank_level\n          \
                 unit: meters\n          value: levels.{n}\n          labels: {hall: '{hall}', tank: '{n}', site: north}\n";
    std::fs::write(&file, rules).unwrap();
    let file = file.to_str().unwrap();
    let said = say(&["check", "message", file, "plant.h1.tanks", r#"{"levels":[1.5,"low"]}"#, "--device", "plc-1"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(
        said.out.trim_end(),
        "gauge tank_level_meters{hall=\"h1\", job=\"devices\", site=\"north\", tank=\"0\"} 1.5\n\
         rule plant.{hall}.tanks, metric tank_level: what is there is no number and none of the rule's words"
    );
    let said = say(&["check", "message", file, "somewhere.else", "1"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("no rule is for this subject"), "{}", said.err);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = say(&["run", "--data", dir.path().to_str().unwrap(), "--listen", &address]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains(&address) && said.err.contains("taken"), "{}", said.err);
}

#[test]
fn a_data_folder_has_one_owner() {
    let dir = tempfile::tempdir().unwrap();
    let first = Program::start(dir.path(), "{}");
    let data = dir.path().join("data");
    let said = say(&["run", "--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("in use") && said.err.contains(data.to_str().unwrap()), "{}", said.err);
    let (status, took) = first.stop();
    assert!(status.success(), "{status}");
    assert!(took.as_secs() < 5, "{took:?}");
}

#[test]
fn an_open_listener_without_accounts_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let said = say(&["run", "--data", dir.path().to_str().unwrap(), "--listen", "0.0.0.0:0"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("http.unprotected"), "{}", said.err);
}
