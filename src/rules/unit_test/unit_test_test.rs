//! Files of tests and their verdicts.

use super::*;

const RULES: &str = "groups: [{name: g, rules: [{record: 'job:up', expr: 'sum by (job) (up)'}, \
    {alert: Down, expr: 'job:up < 1', for: 2m, labels: {severity: page}, annotations: {summary: '{{ $labels.job }} is at {{ $value }}'}}]}]";

fn verdict(tests: &str) -> Vec<String> {
    let text = format!(
        "rule_files: [r.yml]\nevaluation_interval: 1m\ntests: [{{interval: 1m, input_series: [{{series: 'up{{job=\"a\"}}', values: '1 0x9'}}], {tests}}}]"
    );
    let read = read("t.yml", &text).unwrap();
    read.run(&[("r.yml".to_owned(), RULES.to_owned())])
}

#[track_caller]
fn check(tests: &str, failure: &str) {
    let failures = verdict(tests);
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert!(failures[0].contains(failure), "{failures:?}");
}

#[test]
fn alerts_are_compared_as_they_fire() {
    let alert = |time: &str, expected: &str| {
        format!("alert_rule_test: [{{eval_time: {time}, alertname: Down, exp_alerts: [{expected}]}}]")
    };
    let right = "{exp_labels: {job: a, severity: page}, exp_annotations: {summary: a is at 0}}";
    assert_eq!(verdict(&alert("3m", right)), Vec::<String>::new());
    // Between two evaluations the one before counts.
    assert_eq!(verdict(&alert("3m30s", right)), Vec::<String>::new());
    assert_eq!(verdict(&alert("2m", "")), Vec::<String>::new());
    check(&alert("2m", right), "alertname: Down, time: 2m");
    check(&alert("3m", ""), "got: [");
    check(&alert("3m", "{exp_labels: {job: a}}"), "exp: [");
}

#[test]
fn expressions_are_compared_by_labels_and_value() {
    let expression = |expr: &str, expected: &str| {
        format!("promql_expr_test: [{{expr: '{expr}', eval_time: 4m, exp_samples: [{expected}]}}]")
    };
    assert_eq!(verdict(&expression("job:up", "{labels: 'job:up{job=\"a\"}', value: 0}")), Vec::<String>::new());
    assert_eq!(verdict(&expression("1 / 0", "{value: .inf}")), Vec::<String>::new());
    check(&expression("job:up", "{labels: 'job:up{job=\"b\"}', value: 0}"), "time: 4m");
    check(&expression("job:up", "{labels: 'job:up{job=\"a\"}', value: 1}"), "exp: [");
    check(&expression("job:up", ""), "got: [");
    check(&expression("sum(", ""), "parse error");
}

#[test]
fn values_are_written_short() {
    let check = |text: &str, expected: &[f64]| {
        let found: Vec<f64> = series::values(text).unwrap().into_iter().map(|v| v.unwrap_or(-99.0)).collect();
        assert_eq!(found, expected, "{text}");
    };
    check("1 -2 1e3", &[1.0, -2.0, 1000.0]);
    check("1x2 0+10x2", &[1.0, 1.0, 1.0, 0.0, 10.0, 20.0]);
    check("-1-2x1 1e-1+1x1 5+-1x1", &[-1.0, -3.0, 0.1, 1.1, 5.0, 4.0]);
    check("_ _x2 1", &[-99.0, -99.0, -99.0, 1.0]);
    for bad in ["x", "1x", "1x-1", "a", "{{schema:1}}", "1x1000000"] {
        assert!(series::values(bad).is_err(), "{bad}");
    }
}

#[test]
fn mistakes_of_both_files_are_told() {
    let mistakes = read("t.yml", "tests: [{intervall: 1m}]").unwrap_err();
    assert!(mistakes[0].contains("intervall"), "{mistakes:?}");
    let tests = read("t.yml", "tests: []").unwrap();
    let failures = tests.run(&[("r.yml".to_owned(), "groups: [{name: g, rules: [{record: a}]}]".to_owned())]);
    assert!(failures[0].contains("expr"), "{failures:?}");
}
