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
    assert!(graph.head.to_lowercase().contains("location: /explore?q=up+%3d%3d+0"), "{}", graph.head);
    program.stop();
}

fn json(answer: &crate::support::program::Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_else(|e| panic!("{e}: {answer:?}"))
}

#[test]
fn programs_made_for_alertmanager_hear_silence_and_tell() {
    let folder = tempfile::tempdir().unwrap();
    let settings =
        "host: {enabled: false}\nrule_packs: []\nnotifications: {route: {receiver: team}, receivers: [{name: team}]}\n";
    let program = Program::start(folder.path(), settings);
    let alerts = |query: &str| json(&program.get(&format!("/api/v2/alerts?{query}")).unwrap());
    let posted = br#"[{"labels": {"alertname": "Hot", "line": "7"}, "annotations": {"summary": "s"},
        "generatorURL": "http://p:9090/graph?g0.expr=up+%3D%3D+0"}, {"labels": {}}]"#;
    let answer = program.request("POST", "/api/v2/alerts", "application/json", posted).unwrap();
    assert_eq!((answer.status, answer.body.trim()), (400, "\"at least one label pair required\""));
    let end = Instant::now() + Duration::from_secs(30);
    while alerts("")[0]["receivers"] != serde_json::json!([{"name": "team"}]) {
        assert!(Instant::now() < end, "{}", alerts(""));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(alerts("")[0]["status"]["state"], "active");
    assert_eq!(alerts("receiver=other"), serde_json::json!([]));
    assert_eq!(alerts("filter=line%3D8"), serde_json::json!([]));
    let groups = json(&program.get("/api/v2/alerts/groups").unwrap());
    assert_eq!(groups[0]["alerts"][0]["labels"]["line"], "7");

    let silence =
        br#"{"matchers": [{"name": "line", "value": "7|8", "isRegex": true}], "createdBy": "eva", "comment": "jam",
        "startsAt": "2020-01-01T00:00:00Z", "endsAt": "2100-01-01T00:00:00Z"}"#;
    let answer = program.request("POST", "/api/v2/silences", "application/json", silence).unwrap();
    let id = json(&answer)["silenceID"].as_str().unwrap().to_owned();
    assert_eq!(alerts("")[0]["status"]["silencedBy"], serde_json::json!([id]));
    assert_eq!(alerts("silenced=false"), serde_json::json!([]));
    let page = program.get("/silences").unwrap().body;
    assert!(page.contains("line=~&#34;7|8&#34;") && page.contains("jam"), "{page}");

    let program = Program::start(&program.kill(), settings);
    let found = json(&program.get(&format!("/api/v2/silence/{id}")).unwrap());
    assert_eq!((&found["status"]["state"], &found["comment"]), (&"active".into(), &"jam".into()));
    assert_eq!(json(&program.get("/api/v2/alerts").unwrap())[0]["status"]["state"], "suppressed");
    let path = format!("/api/v2/silence/{id}");
    assert_eq!(program.request("DELETE", &path, "", b"").unwrap().status, 200);
    assert_eq!(program.request("DELETE", &path, "", b"").unwrap().status, 400);
    assert_eq!(json(&program.get("/api/v2/silences").unwrap())[0]["status"]["state"], "expired");
    assert_eq!(json(&program.get("/api/v2/alerts").unwrap())[0]["status"]["state"], "active");
    let original = json(&program.get("/api/v2/status").unwrap())["config"]["original"].as_str().unwrap().to_owned();
    assert!(original.contains("receiver: \"team\""), "{original}");
    program.stop();
}

#[test]
fn alarms_are_acknowledged_together_shelved_and_told_as_csv() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.yml");
    let text = "groups: [{name: g, interval: 200ms, rules: [{alert: A, expr: vector(1)}, {alert: B, expr: vector(2) > 1}, \
                {alert: C, expr: vector(3)}]}]";
    std::fs::write(&rules, text).unwrap();
    let settings = format!("host: {{enabled: false}}\nrule_packs: []\nrule_files: [{}]\n", rules.display());
    let program = Program::start(folder.path(), &settings);
    let end = Instant::now() + Duration::from_secs(30);
    while alarms(&program).len() < 3 {
        assert!(Instant::now() < end, "the rules did not fire");
        std::thread::sleep(Duration::from_millis(20));
    }
    let named = |name: &str| {
        let all = alarms(&program);
        let found = all.iter().find(|a| a["name"] == name).unwrap();
        (found["fingerprint"].as_str().unwrap().to_owned(), found["acknowledgement"]["by"].clone())
    };
    let form = "application/x-www-form-urlencoded\r\naccept: text/html";
    let (a, b, c) = (named("A").0, named("B").0, named("C").0);
    let post = |path: &str, body: &str| program.request("POST", path, form, body.as_bytes()).unwrap();
    assert_eq!(post("/alarms/acknowledge", "by=Eva&which=ticked").status, 400, "nothing was ticked");
    assert_eq!(post("/alarms/acknowledge", &format!("by=Eva&f={a}&f={b}&which=ticked&shown={c}")).status, 303);
    assert_eq!((named("A").1, named("B").1, named("C").1), ("Eva".into(), "Eva".into(), Value::Null));
    assert_eq!(post("/alarms/acknowledge", &format!("by=Jo&f={a}&which=shown&shown={c}")).status, 303);
    assert_eq!((named("A").1, named("C").1), ("Eva".into(), "Jo".into()));

    let shelved = post(&format!("/alarms/{c}/shelve"), "by=Jo&note=known&lasts=2h&back=//elsewhere");
    assert_eq!(shelved.status, 303);
    assert!(shelved.head.to_lowercase().contains("location: /alarms\r"), "{}", shelved.head);
    let page = program.get(&format!("/alarms/{c}")).unwrap().body;
    assert!(page.contains("shelved by Jo until") && page.contains("vector(3)"), "{page}");
    assert_eq!(post(&format!("/alarms/{c}/unshelve"), "").status, 303);
    let until_back = Instant::now() + Duration::from_secs(10);
    let mut csv = String::new();
    while !csv.contains(",back,C,") {
        assert!(Instant::now() < until_back, "{csv}");
        csv = program.get("/api/v1/alarms/history.csv").unwrap().body;
    }
    let lines: Vec<&str> = csv.lines().collect();
    assert!(lines[0].starts_with("time,event,alarm,"), "{}", lines[0]);
    let shelving = lines.iter().find(|l| l.contains(",shelved,C,")).unwrap();
    assert!(shelving.contains(",3,Jo,known,"), "{shelving}");
    let some = program.get("/api/v1/alarms/history.csv?event=raised&text=B").unwrap().body;
    assert_eq!(some.lines().count(), 2, "{some}");
    assert_eq!(program.get("/api/v1/alarms/history.csv?event=other").unwrap().status, 400);
    program.stop();
}

#[test]
fn what_an_alarm_carries_is_in_the_history_with_the_alarm_that_carries_it() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.yml");
    let text = |line_is_down: u8| {
        format!(
            "groups: [{{name: g, interval: 200ms, rules: [\
             {{alert: LineDown, expr: 'vector({line_is_down}) > 0', labels: {{line_id: '7', carries: line_id}}}}, \
             {{alert: Hot, expr: vector(2), labels: {{line_id: '7', device_id: a}}}}]}}]"
        )
    };
    std::fs::write(&rules, text(1)).unwrap();
    let settings = format!("host: {{enabled: false}}\nrule_packs: []\nrule_files: [{}]\n", rules.display());
    let program = Program::start(folder.path(), &settings);
    let told = |program: &Program| -> Vec<(String, String)> {
        let value = json(&program.get("/api/v1/alarms/history?match[]=%7Balertname%3D%22Hot%22%7D").unwrap());
        let transitions = value["data"]["transitions"].as_array().unwrap().iter();
        let text = |t: &Value, key: &str| t[key].as_str().unwrap().to_owned();
        transitions.map(|t| (text(t, "event"), text(t, "by"))).collect()
    };
    let wait_for = |program: &Program, expected: &[(&str, &str)]| {
        let expected: Vec<_> = expected.iter().map(|(e, by)| ((*e).to_owned(), (*by).to_owned())).collect();
        let end = Instant::now() + Duration::from_secs(30);
        while told(program) != expected {
            assert!(Instant::now() < end, "{:?}", told(program));
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    wait_for(&program, &[("inhibited", "LineDown"), ("raised", "")]);
    // A restart is no news.
    program.kill();
    let program = Program::start(folder.path(), &settings);
    std::fs::write(&rules, text(0)).unwrap();
    assert_eq!(program.request("POST", "/-/reload", "", b"").unwrap().status, 200);
    wait_for(&program, &[("back", ""), ("inhibited", "LineDown"), ("raised", "")]);
    program.stop();
}

#[test]
fn a_rule_is_tried_on_history_over_the_api() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::start(folder.path(), "host: {enabled: false}\nrule_packs: []\n");
    let asked = |query: &str| program.get(&format!("/api/v1/rules/replay?{query}")).unwrap();
    let found = json(&asked("expr=vector(1)&start=1700000000&end=1700000600&interval=10s&for=1m"));
    let data = &found["data"];
    assert_eq!((&data["count"], &data["atOnce"], &data["evaluations"]), (&1.into(), &1.into(), &60.into()));
    assert_eq!(data["firings"][0]["firedAt"], "2023-11-14T22:14:30.000Z");
    assert_eq!(asked("expr=vector(").status, 400);
    assert_eq!(asked("expr=up&start=5&end=1").status, 400);
    assert_eq!(asked("expr=up&for=soon").status, 400);
    program.stop();
}
