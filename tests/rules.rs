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

/// Rule files that other projects ship, how many rules each holds, and the rules that a judge refuses, with why.
type Brought = (&'static str, usize, &'static [(&'static str, &'static str)]);

const BROUGHT: [Brought; 4] = [
    ("gateway-alerts.yml", 13, &[]),
    ("prometheus_circuit_breaker_alerts.yml", 16, &[]),
    ("r10_alerts.yaml", 4, &[("R10CircuitOpenTooLong", "expr: parse error: ranges only allowed for vector selectors")]),
    (
        "router-alert-rules.yaml",
        18,
        &[
            ("RouterJetStreamHighRedeliveryRate", "function \"default\" not defined"),
            ("RouterJetStreamHighRedeliveryFromSource", "function \"default\" not defined"),
            ("RouterJetStreamMaxDeliverExhausted", "function \"default\" not defined"),
            ("RouterNatsConnectionDown", "undefined variable \"$for\""),
        ],
    ),
];

/// Returns the names of a rule file's rules as they stand in it.
fn names_in(text: &str) -> Vec<String> {
    let named = |line: &str| {
        let line = line.trim_start().trim_start_matches("- ");
        let name = line.strip_prefix("alert:").or_else(|| line.strip_prefix("record:"))?;
        Some(name.trim().trim_matches(['"', '\'']).to_owned())
    };
    text.lines().filter_map(named).collect()
}

#[test]
fn rule_files_that_people_bring_along_load_each_by_its_name() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules");
    let paths: Vec<String> = BROUGHT.iter().map(|(name, ..)| folder.join(name).display().to_string()).collect();
    let settings = format!("host: {{enabled: false}}\nrule_packs: []\nrule_files: [{}]\n", paths.join(", "));
    let own = tempfile::tempdir().unwrap();
    let program = Program::start(own.path(), &settings);
    let answer: Value = serde_json::from_str(&program.get("/api/v1/rules").unwrap().body).unwrap();
    let (groups, mistakes) = (&answer["data"]["groups"], &answer["data"]["mistakes"]);
    let of_file = |list: &Value, path: &str| -> Vec<Value> {
        list.as_array().unwrap().iter().filter(|one| one["file"] == path).cloned().collect()
    };
    let texts = |list: &[Value], key: &str| -> Vec<String> {
        list.iter().map(|one| one[key].as_str().unwrap().to_owned()).collect()
    };
    for ((name, count, refused), path) in BROUGHT.iter().zip(&paths) {
        let loaded = of_file(groups, path);
        let loaded: Vec<String> = loaded.iter().flat_map(|g| texts(g["rules"].as_array().unwrap(), "name")).collect();
        let mut wrong = texts(&of_file(mistakes, path), "rule");
        wrong.dedup();
        let expected: Vec<&str> = refused.iter().map(|(rule, _)| *rule).collect();
        assert_eq!(wrong, expected, "{name}");
        let written = names_in(&std::fs::read_to_string(path).unwrap());
        assert_eq!(written.len(), *count, "{name}");
        let good: Vec<&String> = written.iter().filter(|rule| !wrong.contains(rule)).collect();
        assert_eq!(loaded.iter().collect::<Vec<_>>(), good, "{name}");

        // What the running box says of it is what the check says, and what Prometheus's own tool does.
        let said = say(&["check", "rules", path]);
        assert_eq!(said.code == Some(0), refused.is_empty(), "{name}: {said:?}");
        for (rule, why) in *refused {
            let told = format!("{}{}", said.out, said.err);
            let found = told.lines().any(|l| l.contains(&format!("rule {rule:?}")) && l.contains(why));
            assert!(found, "{name}: {rule}: {why} is not in\n{told}");
        }
        let judge = std::process::Command::new("promtool").args(["check", "rules", path]).output();
        assert!(judge.is_ok_and(|j| j.status.success() == refused.is_empty()), "promtool of {name}");
    }
    program.stop();
}

#[test]
fn rule_files_beside_the_project_are_those_that_are_tested() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    // The folder of references is not part of a clone.
    for project in std::fs::read_dir(root.join("../shared/fixtures")).into_iter().flatten() {
        for file in std::fs::read_dir(project.unwrap().path()).into_iter().flatten() {
            let path = file.unwrap().path();
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            if text.lines().any(|line| line == "groups:") {
                let copy = root.join("tests/rules").join(path.file_name().unwrap());
                assert_eq!(std::fs::read_to_string(&copy).ok(), Some(text), "{}", copy.display());
            }
        }
    }
}

#[test]
fn devices_that_leave_at_once_are_told_as_one_alarm_as_long_as_they_are_away() {
    let file = "tests/rules/mass-disconnection.test.yml";
    let said = say(&["test", "rules", file]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let judge = std::process::Command::new("promtool").args(["test", "rules", file]).output().unwrap();
    assert!(judge.status.success(), "{}", String::from_utf8_lossy(&judge.stdout));
}

#[test]
fn the_packs_that_come_along_are_good_to_prometheus_too() {
    let packs = std::fs::read_dir("packaging/rules").unwrap().map(|entry| entry.unwrap().path());
    let checked = std::process::Command::new("promtool").args(["check", "rules"]).args(packs).output();
    // promtool comes with Debian's package prometheus, one of those that tests/run installs.
    let checked = checked.expect("promtool can be run");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
