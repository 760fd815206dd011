use std::time::Duration;

use super::file::{Kind, read};

#[track_caller]
fn mistakes(text: &str, expected: &[&str]) {
    let found: Vec<String> = read("r.yml", text).mistakes.iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\nshould begin with\n{expected}");
    }
}

#[test]
fn a_file_of_prometheus_is_read_whole() {
    let text = r#"
groups:
  - name: line
    interval: 15s
    limit: 10
    query_offset: 5s
    labels: {area: north, severity: info}
    rules:
      - record: job:up:sum
        expr: sum by (job) (up)
      - alert: Down
        expr: |
          up == 0
        for: 1m
        keep_firing_for: 30s
        labels: {severity: critical}
        annotations:
          summary: '{{ $labels.instance }} is down'
  - name: empty
"#;
    let file = read("r.yml", text);
    assert_eq!(file.mistakes, []);
    let [group, empty] = file.groups.as_slice() else { panic!("two groups") };
    assert_eq!((group.interval, group.limit), (Some(Duration::from_secs(15)), 10));
    assert_eq!(group.query_offset, Some(Duration::from_secs(5)));
    assert_eq!(group.rules[0].labels.to_string(), "{area=\"north\", severity=\"info\"}");
    assert_eq!(group.rules[1].labels.to_string(), "{area=\"north\", severity=\"critical\"}");
    assert_eq!((group.rules[1].expression.as_str(), group.rules[1].line), ("up == 0", 11));
    let Kind::Alerting(alerting) = &group.rules[1].kind else { panic!("alerting") };
    assert_eq!((alerting.hold, alerting.keep_firing), (Duration::from_secs(60), Duration::from_secs(30)));
    assert_eq!(alerting.labels.len(), 2);
    assert_eq!(empty.rules.len(), 0);
}

#[test]
fn every_mistake_is_named_with_its_line_and_the_rest_is_kept() {
    let text = r#"
groups:
  - name: a
    rules:
      - alert: Good
        expr: up == 0
      - alert: BadVariable
        expr: up == 0
        annotations:
          summary: "for {{ $for }}"
      - alert: BadExpression
        expr: max_over_time(up == 1 [5m])
      - alert: BadKey
        expr: up
        fro: 5m
      - record: job:x
        expr: up
        for: 5m
      - expr: up
      - alert: NoExpression
      - alert: BadDuration
        expr: up
        for: 5 minutes
  - name: a
    rules: []
"#;
    mistakes(
        text,
        &[
            "r.yml:10:28: group \"a\", rule \"BadVariable\": annotations.summary: undefined variable \"$for\"",
            "r.yml:12:37: group \"a\", rule \"BadExpression\": expr: parse error: ranges only",
            "r.yml:15:9: group \"a\", rule \"BadKey\": fro: unknown key",
            "r.yml:18:14: group \"a\", rule \"job:x\": for: only alerting rules",
            "r.yml:19:9: group \"a\": one of record and alert must be there",
            "r.yml:20:9: group \"a\", rule \"NoExpression\": expr is missing",
            "r.yml:23:14: group \"a\", rule \"BadDuration\": for: not a duration",
            "r.yml:24:5: group \"a\": a group of this name stands above",
        ],
    );
    let file = read("r.yml", text);
    let names: Vec<&str> = file.groups[0].rules.iter().map(|r| r.name.as_str()).collect();
    assert_eq!((file.groups.len(), names), (1, vec!["Good"]));
}

#[test]
fn a_mistake_in_a_text_of_several_lines_is_placed_at_its_line() {
    let text = r#"
groups:
  - name: a
    labels: {team: "{{ $nope }}"}
    rules:
      - alert: A
        expr: |
          up
            == (
        annotations:
          block: |
            one
            two {{ $for }}
          folded: >
            one
            two {{ $for }}
          escaped: "one\ntwo {{ $for }}"
"#;
    mistakes(
        text,
        &[
            "r.yml:4:24: group \"a\": labels.team: undefined variable \"$nope\"",
            "r.yml:9:",
            "r.yml:13:20: group \"a\", rule \"A\": annotations.block: undefined",
            "r.yml:15:13: group \"a\", rule \"A\": annotations.folded: 1:12 of the text: undefined",
            "r.yml:17:20: group \"a\", rule \"A\": annotations.escaped: 2:8 of the text: undefined",
        ],
    );
}

#[test]
fn what_is_not_yaml_or_not_a_rule_file_is_one_mistake() {
    mistakes("groups: [", &["r.yml:"]);
    mistakes("- a\n- b\n", &["r.yml:1:1: "]);
    mistakes("", &[]);
}

#[test]
fn the_packs_that_come_along_are_good() {
    for source in super::RuleSource::builtin() {
        let file = read(&source.path, source.text.as_deref().unwrap());
        assert_eq!(file.mistakes, [], "{}", source.path);
        assert!(file.groups.iter().any(|g| !g.rules.is_empty()), "{} has no rule", source.path);
    }
}
