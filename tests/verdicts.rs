//! Rule files and their unit tests as promtool judges them: where it is installed, it is asked too.
//!
//! `Same` is what both say; the others are where we differ on purpose.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::program::{Program, say};

/// What is to be said of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    Bad,
    /// Good here; promtool 2 refuses what Prometheus 3 takes: names in UTF-8.
    GoodSince3,
    /// Bad here: promtool passes over what stands in a second document.
    BadHere,
}

use Verdict::{Bad, BadHere, Good, GoodSince3};

/// Returns what promtool says of a file; nothing if it is not installed.
fn promtool(what: &str, file: &Path) -> Option<bool> {
    let mut command = Command::new("promtool");
    let status = command.args([what, "rules"]).arg(file).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.ok().map(|status| status.success())
}

#[track_caller]
fn judge(what: &str, name: &str, file: &Path, verdict: Verdict) {
    let said = say(&[what, "rules", file.to_str().unwrap()]);
    let is_good = matches!(verdict, Good | GoodSince3);
    assert_eq!(said.code == Some(0), is_good, "{name}: {} {}", said.out, said.err);
    let upstream = promtool(what, file);
    let expected = is_good ^ matches!(verdict, GoodSince3 | BadHere);
    assert!(upstream.is_none_or(|is_good| is_good == expected), "{name}: promtool says {upstream:?}");
}

/// A group around the lines of one rule.
fn rule(lines: &str) -> String {
    let indented: Vec<String> = lines.lines().map(|line| format!("    {line}")).collect();
    format!("groups:\n- name: g\n  rules:\n  -\n{}\n", indented.join("\n"))
}

/// A group with more keys.
fn group(line: &str) -> String {
    format!("groups:\n- name: a\n  {line}\n")
}

/// An alert with a text as an annotation.
fn annotation(text: &str) -> String {
    rule(&format!("alert: A\nexpr: up\nannotations: {{a: '{text}'}}"))
}

#[test]
fn rule_files_are_judged_as_by_promtool() {
    let cases = [
        ("nothing", String::new(), Good),
        ("no groups", "groups:\n".to_owned(), Good),
        ("a key that nobody knows", "groups: []\nfoo: 1\n".to_owned(), Bad),
        ("a group without a name", "groups:\n- name: ''\n".to_owned(), Bad),
        ("a group twice", "groups:\n- name: a\n- name: a\n".to_owned(), Bad),
        ("a key twice", "groups:\n- name: a\n  name: b\n".to_owned(), Bad),
        ("groups as a map", "groups: {a: b}\n".to_owned(), Bad),
        ("JSON", r#"{"groups":[{"name":"a","rules":[{"record":"A","expr":"up"}]}]}"#.to_owned(), Good),
        ("a byte order mark", format!("\u{feff}{}", rule("record: A\nexpr: up")), Good),
        ("two documents", "groups: []\n---\ngroups: []\n".to_owned(), BadHere),
        ("a tab", "groups:\n\t- name: a\n".to_owned(), Bad),
        ("an interval", group("interval: 1m30s"), Good),
        ("an interval of zero", group("interval: 0s"), Good),
        ("an interval with a space", group("interval: 30 s"), Bad),
        ("an interval without a unit", group("interval: 30"), Bad),
        ("an interval below zero", group("interval: -30s"), Bad),
        ("a limit", group("limit: 10"), Good),
        ("a limit in words", group("limit: ten"), Bad),
        ("a key of another make", group("partial_response_strategy: warn"), Bad),
        ("a recording rule", rule("record: a:b\nexpr: sum(up)\nlabels: {a: b}"), Good),
        ("a recording rule without expr", rule("record: a"), Bad),
        ("a recording rule with for", rule("record: a\nexpr: up\nfor: 5m"), Bad),
        ("a recording rule with annotations", rule("record: a\nexpr: up\nannotations: {a: b}"), Bad),
        ("a recording rule with a name in UTF-8", rule("record: a-b\nexpr: up"), GoodSince3),
        ("a recording rule that sets the name", rule("record: a\nexpr: up\nlabels: {__name__: b}"), Bad),
        ("both kinds in one", rule("record: a\nalert: b\nexpr: up"), Bad),
        ("neither kind", rule("expr: up"), Bad),
        ("an alert", rule("alert: A b c\nexpr: up == 0\nfor: 5m\nlabels: {severity: page, alertname: x}"), Good),
        ("an alert without a name", rule("alert: ''\nexpr: up"), Bad),
        ("an alert that sets the name", rule("alert: A\nexpr: up\nlabels: {__name__: b}"), Bad),
        ("a label with a space", rule("alert: A\nexpr: up\nlabels: {'a b': c}"), GoodSince3),
        ("a label of nothing", rule("alert: A\nexpr: up\nlabels: {a: }"), Good),
        ("a label that is a number", rule("alert: A\nexpr: up\nlabels: {a: 1, b: true}"), Good),
        ("a label that is a list", rule("alert: A\nexpr: up\nlabels: {a: [b]}"), Bad),
        ("for in words", rule("alert: A\nexpr: up\nfor: 5 minutes"), Bad),
        ("a parenthesis open", rule("alert: A\nexpr: sum(up"), Bad),
        ("a range", rule("record: A\nexpr: up[5m]"), Good),
        ("an unknown function", rule("record: A\nexpr: foo(up)"), Bad),
        ("a regex that is none", rule("record: A\nexpr: 'up{a=~\"(\"}'"), Bad),
        ("all series", rule("record: A\nexpr: '{a=\"\"}'"), Bad),
        ("offset and @", rule("record: A\nexpr: up offset 5m + up @ 10 - up @ start()"), Good),
        ("variables", annotation("{{ $labels.a }} {{ $value }} {{ $externalLabels.a }} {{ $externalURL }}"), Good),
        ("fields", annotation("{{ .Labels.a }} {{ .Value }} {{ .ExternalURL }} {{ .ExternalLabels.x }}"), Good),
        ("a field that is not there", annotation("{{ .Foo }}"), Good),
        ("a variable that is not there", annotation("{{ $foo }}"), Bad),
        ("a function that is not there", annotation("{{ foo }}"), Bad),
        ("braces open", annotation("{{ $value"), Bad),
        ("an end of nothing", annotation("{{ end }}"), Bad),
        ("an if without end", annotation("{{ if true }}x"), Bad),
        ("a function without its argument", annotation("{{ humanize }}"), Good),
        ("functions of numbers", annotation(r#"{{ $value | humanize }} {{ printf "%.2f" $value }}"#), Good),
        (
            "functions of texts",
            annotation(r#"{{ title "a" }} {{ reReplaceAll "a" "b" "c" }} {{ stripPort "a:1" }}"#),
            Good,
        ),
        ("a query", annotation(r#"{{ range query "up" | sortByLabel "a" }}{{ .Labels.x }}{{ end }}"#), Good),
        ("a query that is none", annotation(r#"{{ query "sum(" }}"#), Good),
        ("a template in a template", annotation(r#"{{ define "x" }}y{{ end }}{{ template "x" }}"#), Good),
    ];
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rules.yml");
    for (name, text, verdict) in cases {
        std::fs::write(&file, text).unwrap();
        judge("check", name, &file, verdict);
    }
}

const RULES: &str = r#"groups:
- name: g
  rules:
  - record: job:up:sum
    expr: sum by (job) (up)
  - alert: Down
    expr: up == 0
    for: 5m
    labels: {severity: page}
    annotations: {summary: "{{ $labels.instance }} of {{ $labels.job }} is {{ $value }}"}
"#;

const INPUT: &str = r#"rule_files: [rules.yml]
evaluation_interval: 1m
tests:
- interval: 1m
  input_series:
  - {series: 'up{job="a",instance="1"}', values: '1 1 0 0 0 0 0 0 0 0 0'}
  - {series: 'up{job="a",instance="2"}', values: '1x10'}
"#;

/// A test of what fires at a time.
fn alert(time: &str, name: &str, expected: &str) -> String {
    format!("{INPUT}  alert_rule_test: [{{eval_time: {time}, alertname: {name}, exp_alerts: [{expected}]}}]\n")
}

/// A test of an expression at a time.
fn expression(text: &str, time: &str, expected: &str) -> String {
    format!("{INPUT}  promql_expr_test: [{{expr: '{text}', eval_time: {time}, exp_samples: [{expected}]}}]\n")
}

/// A test of how a line of values is read: what the series `a` is after three minutes.
fn values(text: &str, expected: &str) -> String {
    let expected = if expected.is_empty() { String::new() } else { format!("{{labels: a, value: {expected}}}") };
    format!(
        "tests:\n- interval: 1m\n  input_series: [{{series: a, values: '{text}'}}]\n  \
         promql_expr_test: [{{expr: a, eval_time: 3m, exp_samples: [{expected}]}}]\n"
    )
}

#[test]
fn tests_of_rules_end_as_with_promtool() {
    const DOWN: &str = "{exp_labels: {severity: page, instance: '1', job: a}, exp_annotations: {summary: 1 of a is 0}}";
    const SUM: &str = "{labels: 'job:up:sum{job=\"a\"}', value: 1}";
    let other = |from: &str, to: &str| alert("8m", "Down", &DOWN.replace(from, to));
    let cases = [
        ("an alert that fires", alert("8m", "Down", DOWN), Good),
        ("its first moment", alert("7m", "Down", DOWN), Good),
        ("the moment before", alert("6m", "Down", DOWN), Bad),
        ("one that does not fire yet", alert("6m", "Down", ""), Good),
        ("another label", other("page", "pager"), Bad),
        ("another annotation", other("is 0", "is 1"), Bad),
        ("a label less", other("severity: page, ", ""), Bad),
        ("an alert that is in no file", alert("8m", "Nope", "{exp_labels: {}}"), Bad),
        ("none of an alert that is in no file", alert("8m", "Nope", ""), Good),
        ("what a rule records", expression("job:up:sum", "4m", SUM), Good),
        ("another value", expression("job:up:sum", "1m", SUM), Bad),
        ("nothing", expression("up > 5", "4m", ""), Good),
        ("a scalar", expression("1 + 1", "4m", "{value: 2}"), Good),
        ("an expression that is none", expression("sum(", "4m", ""), Bad),
        (
            "between two evaluations",
            expression("job:up:sum", "90s", "{labels: 'job:up:sum{job=\"a\"}', value: 2}"),
            Good,
        ),
        ("steps up", values("0+10x5", "30"), Good),
        ("steps down", values("-5-1x5", "-8"), Good),
        ("a value again", values("7x5", "7"), Good),
        ("gaps", values("1 _ _ 4", "4"), Good),
        ("staleness", values("1 2 stale", ""), Good),
        ("exponents", values("1e3+1e3x3", "4000"), Good),
        ("a repeat without a count", values("7x", "7"), Bad),
        ("values that are none", values("1 2 x", "1"), Bad),
        ("a series that is none", INPUT.replace("up{job=\"a\",instance=\"2\"}", "up{"), Bad),
        ("a key that nobody knows", format!("{INPUT}  foo: 1\n"), Bad),
        ("a file that is not there", INPUT.replace("rules.yml", "none.yml"), Good),
        ("files by a pattern", expression("job:up:sum", "4m", SUM).replace("rules.yml", "\"rul*.yml\""), Good),
        ("a file with a mistake", INPUT.replace("rules.yml", "bad.yml"), Bad),
        ("an order of groups", INPUT.replace("tests:", "group_eval_order: [g]\ntests:"), Good),
        ("a group twice in the order", INPUT.replace("tests:", "group_eval_order: [g, g]\ntests:"), Bad),
        ("no tests", "tests: []\n".to_owned(), Good),
        ("not YAML", "tests: [\n".to_owned(), Bad),
    ];
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("rules.yml"), RULES).unwrap();
    std::fs::write(dir.path().join("bad.yml"), rule("record: a\nexpr: sum(")).unwrap();
    let file = dir.path().join("test.yml");
    for (name, text, verdict) in cases {
        std::fs::write(&file, text).unwrap();
        judge("test", name, &file, verdict);
    }
}

#[test]
fn questions_end_as_with_promtool() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(dir.path(), "host: {enabled: false}\n");
    let url = format!("http://{}", program.address);
    let ours = |arguments: &[&str]| say(&[&["query"], arguments, &["--url", &url]].concat()).code == Some(0);
    let theirs = |arguments: &[&str]| {
        let mut command = Command::new("promtool");
        command.arg("query").args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().ok().map(|status| status.success())
    };
    for (expression, is_good) in [
        ("up", true),
        ("1 + 1", true),
        ("rate(up[5m])", true),
        ("nothing_of_this_name", true),
        ("up[5m]", true),
        ("sum(", false),
        ("foo(up)", false),
        ("up{a=~\"(\"}", false),
        ("up * on(a) group_left up offset", false),
    ] {
        assert_eq!(ours(&[expression]), is_good, "{expression}");
        let upstream = theirs(&["instant", &url, expression]);
        assert!(upstream.is_none_or(|said| said == is_good), "{expression}: {upstream:?}");
        let is_good = is_good && !expression.ends_with("[5m]");
        assert_eq!(ours(&[expression, "--start", "1h"]), is_good, "{expression} over an hour");
        let upstream = theirs(&["range", "--step=1m", &url, expression]);
        assert!(upstream.is_none_or(|said| said == is_good), "{expression} over an hour: {upstream:?}");
    }
    for (selector, is_good) in [("up", true), ("{job=\"a\"}", true), ("rate(up[5m])", false), ("{}", false)] {
        assert_eq!(ours(&["series", selector]), is_good, "{selector}");
        let upstream = theirs(&["series", &format!("--match={selector}"), &url]);
        assert!(upstream.is_none_or(|said| said == is_good), "series {selector}: {upstream:?}");
    }
}
