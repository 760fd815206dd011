//! The board through the API: a form of a browser acknowledges and goes back to the page.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::program::Program;

const RULES: &str = "groups: [{name: g, interval: 200ms, rules: [{alert: A, expr: vector(1), labels: {line: '7'}}]}]";

fn settings(folder: &std::path::Path) -> String {
    let rules = folder.join("rules.yml");
    std::fs::write(&rules, RULES).unwrap();
    format!("host: {{enabled: false}}\nrule_packs: []\nrule_files: [{}]\n", rules.display())
}

fn alarms(program: &Program) -> Vec<Value> {
    let answer = program.get("/api/v1/alarms").unwrap();
    let mut value: Value = serde_json::from_str(&answer.body).unwrap();
    value["data"]["alarms"].as_array_mut().unwrap().drain(..).collect()
}

#[test]
fn a_form_acknowledges_and_the_history_is_found_by_label() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::start(folder.path(), &settings(folder.path()));
    let end = Instant::now() + Duration::from_secs(30);
    while alarms(&program).is_empty() {
        assert!(Instant::now() < end, "the rule did not fire");
        std::thread::sleep(Duration::from_millis(20));
    }
    let fingerprint = alarms(&program)[0]["fingerprint"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/alarms/{fingerprint}/acknowledge");
    let form = "application/x-www-form-urlencoded\r\naccept: text/html";
    let answer = program.request("POST", &path, form, b"by=Eva+Lang&note=gr%C3%B6%C3%9Fer").unwrap();
    assert_eq!(answer.status, 303, "{answer:?}");
    assert!(answer.head.to_lowercase().contains("location: /alarms"), "{}", answer.head);
    let alarm = alarms(&program).remove(0);
    assert_eq!(
        (&alarm["acknowledgement"]["by"], &alarm["acknowledgement"]["note"]),
        (&"Eva Lang".into(), &"größer".into())
    );

    let events = |query: &str| -> Vec<String> {
        let answer = program.get(&format!("/api/v1/alarms/history?{query}")).unwrap();
        let value: Value = serde_json::from_str(&answer.body).unwrap();
        let transitions = value["data"]["transitions"].as_array().unwrap().iter();
        transitions.map(|t| t["event"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(events("match[]=%7Bline%3D%227%22%7D"), ["acknowledged", "raised"]);
    assert_eq!(events("match[]=%7Bline%3D%228%22%7D"), Vec::<String>::new());
    assert_eq!(program.get("/api/v1/alarms/history?start=nonsense").unwrap().status, 400);
    // Where the links of notices lead.
    let graph = program.get("/graph?g0.expr=up+%3D%3D+0&g0.tab=1").unwrap();
    assert!(graph.head.to_lowercase().contains("location: /explore?q=up%20%3d%3d%200"), "{}", graph.head);
    program.stop();
}
