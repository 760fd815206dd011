//! Rule files through the program: what `andon check rules` says, and what a running box makes of a bad file.

use serde_json::Value;

use crate::support::program::{Program, say};

/// Mistakes of the kinds that were found in rule files people use.
const BAD: &str = r#"groups:
  - name: router
    interval: 30s
    rules:
      - alert: Redelivery
        expr: |
          rate(redelivery_total[5m])
            > 0.1
        for: 10m
        labels:
          severity: warning
        annotations:
          description: |
            Rate is {{ $value | humanizePercentage }}.
            Source: {{ $labels.source | default "unknown" }}
      - alert: ConnectionDown
        expr: connection_status == 0
        for: 2m
        annotations:
          description: "down for {{ $for }}"
      - alert: OpenTooLong
        expr: max_over_time(breaker_state == 1 [5m]) == 1
      - record: job:errors:rate5m
        expr: sum by (job) (rate(errors_total[5m]))
"#;

#[test]
fn check_refuses_a_bad_file_and_names_each_mistake_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.yml");
    std::fs::write(&file, BAD).unwrap();
    let said = say(&["check", "rules", file.to_str().unwrap()]);
    assert_ne!(said.code, Some(0));
    let text = format!("{}{}", said.out, said.err);
    for (place, part) in [
        (":15:41: ", "rule \"Redelivery\": annotations.description: function \"default\" not defined; write {{ or"),
        (":20:37: ", "rule \"ConnectionDown\": annotations.description: undefined variable \"$for\""),
        (":22:", "rule \"OpenTooLong\": expr: parse error: ranges only allowed for vector selectors"),
    ] {
        let found = text.lines().any(|l| l.contains(place) && l.contains(part));
        assert!(found, "{place}{part}\nis not in\n{text}");
    }
    let good = folder.path().join("good.yml");
    std::fs::write(&good, "groups: [{name: g, rules: [{record: a, expr: up}]}]").unwrap();
    assert_eq!(say(&["check", "rules", good.to_str().unwrap()]).code, Some(0));
}

#[test]
fn a_running_box_takes_what_is_good_and_shows_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.yml");
    std::fs::write(&file, BAD).unwrap();
    let settings = format!("host: {{enabled: false}}\nrule_packs: []\nrule_files: [{}]\n", file.display());
    let program = Program::start(folder.path(), &settings);
    let rules = |path: &str| -> Value {
        let answer = program.get(path).unwrap();
        let mut value: Value = serde_json::from_str(&answer.body).unwrap();
        value["data"].take()
    };
    let names = |value: &Value| -> Vec<String> {
        let groups = value["groups"].as_array().unwrap().iter();
        let rules = groups.flat_map(|g| g["rules"].as_array().unwrap());
        rules.map(|r| r["name"].as_str().unwrap().to_owned()).collect()
    };
    let all = rules("/api/v1/rules");
    assert_eq!(names(&all), ["job:errors:rate5m"]);
    let mistakes = all["mistakes"].as_array().unwrap();
    assert_eq!(
        mistakes.iter().map(|m| m["rule"].as_str().unwrap()).collect::<Vec<_>>(),
        ["Redelivery", "ConnectionDown", "OpenTooLong"]
    );

    std::fs::write(
        &file,
        BAD.replace(" | default \"unknown\"", "").replace("$for", "$value").replace(" == 1 [5m]", "[5m]"),
    )
    .unwrap();
    assert_eq!(program.request("POST", "/-/reload", "", b"").unwrap().status, 200);
    let all = rules("/api/v1/rules");
    assert_eq!(names(&all), ["Redelivery", "ConnectionDown", "OpenTooLong", "job:errors:rate5m"]);
    assert_eq!(all["mistakes"].as_array().unwrap().len(), 0);
    assert_eq!(names(&rules("/api/v1/rules?type=record")), ["job:errors:rate5m"]);
    assert_eq!(names(&rules("/api/v1/rules?rule_name[]=Redelivery")), ["Redelivery"]);
    assert_eq!(names(&rules("/api/v1/rules?rule_group[]=none")), Vec::<String>::new());
    assert_eq!(program.get("/api/v1/rules?type=x").unwrap().status, 400);

    // Bad again: what runs stays.
    std::fs::write(&file, BAD).unwrap();
    program.request("POST", "/-/reload", "", b"").unwrap();
    let all = rules("/api/v1/rules");
    assert_eq!((names(&all).len(), all["mistakes"].as_array().unwrap().len()), (4, 3));
    program.stop();
}

#[test]
fn the_packs_that_come_along_are_good_to_prometheus_too() {
    let packs = std::fs::read_dir("packaging/rules").unwrap().map(|entry| entry.unwrap().path());
    let checked = std::process::Command::new("promtool").args(["check", "rules"]).args(packs).output();
    // promtool comes with Debian's package prometheus, one of those that tests/run installs.
    let checked = checked.expect("promtool can be run");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
