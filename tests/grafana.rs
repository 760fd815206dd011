//! What Grafana's Prometheus data source sends, as a table: each request with what it must find in the answer.
//!
//! Taken from its source (`packages/grafana-prometheus`, `pkg/promlib`): the health check, the detection of what is
//! behind the address, panels, the metrics browser, variables, annotations and the pages of alerting.

use andon::model::Labels;
use andon::wire::remote_write::Encoder;
use serde_json::Value;

use crate::support::program::Program;

const FORM: &str = "application/x-www-form-urlencoded";

const SETTINGS: &str = "host: {enabled: false}\nrule_packs: []\nrule_files: [rules.yml]\n\
    scrape_configs: [{job_name: node, static_configs: [{targets: ['127.0.0.1:1']}]}]\n";

const RULES: &str = "groups:\n- name: g\n  interval: 1s\n  rules:\n  - {record: 'a:b', expr: 'vector(1)'}\n  \
    - {alert: Always, expr: 'vector(1)', labels: {severity: page}}\n- name: h\n  rules:\n  - {record: 'c:d', expr: 'vector(1)'}\n";

fn start(folder: &std::path::Path) -> Program {
    std::fs::write(folder.join("rules.yml"), RULES).unwrap();
    let program = Program::start(folder, SETTINGS);
    let now = andon::clock::Clock::system().now().as_millis();
    let mut encoder = Encoder::new();
    for (line, le) in [("1", "0.5"), ("1", "+Inf"), ("2", "+Inf")] {
        let name = "wait_seconds_bucket";
        let labels = Labels::from_pairs([("__name__", name), ("line", line), ("le", le), ("http.status", "200")]);
        encoder.push(&labels, (0..20).map(|i| (now - 20_000 + i * 1000, i as f64)));
    }
    let body = encoder.finish().unwrap();
    assert_eq!(program.request("POST", "/api/v1/write", "application/x-protobuf", &body).unwrap().status, 204);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    for path in ["/api/v1/targets", "/api/v1/rules"] {
        while !["node", "Always"].iter().any(|word| program.get(path).unwrap().body.contains(word)) {
            assert!(std::time::Instant::now() < end, "{path} has nothing");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
    program
}

/// Sends a request, as a form if it is a POST, and compares what stands at a place of the answer.
#[track_caller]
fn check(program: &Program, method: &str, path: &str, parameters: &str, place: &str, expected: &Value) {
    let answer = if method == "POST" {
        program.request(method, path, FORM, parameters.as_bytes()).unwrap()
    } else {
        program.get(&format!("{path}?{parameters}")).unwrap()
    };
    assert_eq!(answer.status, 200, "{method} {path} {parameters}: {}", answer.body);
    assert!(answer.head.to_lowercase().contains("content-type: application/json"), "{}", answer.head);
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(body["status"], "success");
    assert_eq!(body.pointer(place).unwrap_or(&Value::Null), expected, "{method} {path} {parameters}: {body}");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn the_data_source_finds_what_it_asks_for() {
    let folder = tempfile::tempdir().unwrap();
    let program = start(folder.path());
    let now = andon::clock::Clock::system().now().as_millis() / 1000;
    let range = format!("start={}&end={}", now - 60, now + 1);
    let (q, r) = ("/api/v1/query", "/api/v1/query_range");
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let table: &[(&str, &str, String, &str, Value)] = &[
        // Save & test.
        ("POST", q, "query=1%2B1&time=4".into(), "/data", json(r#"{"resultType":"scalar","result":[4,"2"]}"#)),
        ("GET", q, "query=1%2B1&time=4".into(), "/data/result/1", "2".into()),
        // What is behind the address: `features` here would mean Mimir.
        ("GET", "/api/v1/status/buildinfo", String::new(), "/data/features", Value::Null),
        // Panels: a range, an instant, a heatmap's buckets; with the step as a float.
        (
            "POST",
            r,
            format!("query=count%28wait_seconds_bucket%29&{range}&step=15.0"),
            "/data/resultType",
            "matrix".into(),
        ),
        (
            "POST",
            r,
            format!("query=sum+by+%28le%29+%28wait_seconds_bucket%29&{range}&step=30"),
            "/data/result/0/metric",
            json(r#"{"le":"+Inf"}"#),
        ),
        ("POST", q, format!("query=count%28wait_seconds_bucket%29&time={now}.5"), "/data/result/0/value/1", "3".into()),
        // Exemplars are asked for in milliseconds by some versions.
        (
            "POST",
            "/api/v1/query_exemplars",
            format!("query=wait_seconds_bucket&start={0}000&end={0}999", now),
            "/data",
            json("[]"),
        ),
        // Metrics browser and completion; `limit` is always sent.
        (
            "GET",
            "/api/v1/label/__name__/values",
            format!("limit=40000&{range}&match%5B%5D=%7Bline%3D%222%22%7D"),
            "/data",
            json(r#"["wait_seconds_bucket"]"#),
        ),
        ("GET", "/api/v1/label/line/values", format!("limit=40000&{range}"), "/data", json(r#"["1","2"]"#)),
        ("GET", "/api/v1/label/line/values", format!("limit=1&{range}"), "/data", json(r#"["1"]"#)),
        ("GET", "/api/v1/label/U__http_2e_status/values", format!("limit=0&{range}"), "/data", json(r#"["200"]"#)),
        ("GET", "/api/v1/label/http.status/values", range.clone(), "/data", json(r#"["200"]"#)),
        (
            "POST",
            "/api/v1/labels",
            format!("limit=40000&{range}&match%5B%5D=wait_seconds_bucket"),
            "/data",
            json(r#"["__name__","http.status","le","line"]"#),
        ),
        ("GET", "/api/v1/labels", format!("{range}&match%5B%5D=wait_seconds_bucket"), "/data/3", "line".into()),
        (
            "POST",
            "/api/v1/series",
            format!("{range}&match%5B%5D=wait_seconds_bucket%7Bline%3D%222%22%7D&limit=40000"),
            "/data/0/line",
            "2".into(),
        ),
        (
            "GET",
            "/api/v1/series",
            format!("{range}&match%5B%5D=%7B__name__%21%3D%22%22%2Cline%3D%222%22%7D"),
            "/data/0/le",
            "+Inf".into(),
        ),
        ("GET", "/api/v1/metadata", "limit=40000&metric=nosuch".into(), "/data", json("{}")),
        // The builder, the explainer.
        ("POST", "/api/v1/format_query", "query=sum%28up%29by%28job%29".into(), "/data", "sum by (job) (up)".into()),
        ("GET", "/api/v1/parse_query", "query=up".into(), "/data/type", "vectorSelector".into()),
        // Alerting.
        ("GET", "/api/v1/rules", "type=record".into(), "/data/groups/0/rules/0/name", "a:b".into()),
        ("GET", "/api/v1/rules", "limit_alerts=16&type=alert".into(), "/data/groups/0/rules/0/type", "alerting".into()),
        (
            "GET",
            "/api/v1/rules",
            "rule_group%5B%5D=h&exclude_alerts=true".into(),
            "/data/groups/0/rules/0/name",
            "c:d".into(),
        ),
        (
            "GET",
            "/api/v1/rules",
            "match%5B%5D=%7Bseverity%3D%22page%22%7D".into(),
            "/data/groups/0/rules/0/name",
            "Always".into(),
        ),
        ("GET", "/api/v1/alerts", String::new(), "/status", "success".into()),
        ("GET", "/api/v1/alertmanagers", String::new(), "/data/activeAlertmanagers", json("[]")),
        ("GET", "/api/v1/targets", "state=active".into(), "/data/activeTargets/0/labels/job", "node".into()),
        ("GET", "/api/v1/status/flags", String::new(), "/status", "success".into()),
        ("GET", "/api/v1/status/runtimeinfo", String::new(), "/data/reloadConfigSuccess", true.into()),
        ("GET", "/api/v1/status/tsdb/blocks", String::new(), "/data/blocks", json("[]")),
        ("GET", "/api/v1/notifications", String::new(), "/data", json("[]")),
    ];
    for (method, path, parameters, place, expected) in table {
        check(&program, method, path, parameters, place, expected);
    }
    let version = program.get("/api/v1/status/buildinfo").unwrap().body;
    let version: Value = serde_json::from_str(&version).unwrap();
    // Read by semver; what follows a plus does not count there.
    let numbers: Vec<u32> = version["data"]["version"]
        .as_str()
        .unwrap()
        .split('+')
        .next()
        .unwrap()
        .split('.')
        .map(|n| n.parse().unwrap())
        .collect();
    assert!(numbers.len() == 3 && numbers[0] == 3, "{version}");
}

#[test]
fn groups_of_rules_come_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let program = start(folder.path());
    let ask = |parameters: &str| {
        let answer = program.get(&format!("/api/v1/rules?{parameters}")).unwrap();
        (answer.status, serde_json::from_str::<Value>(&answer.body).unwrap())
    };
    let (_, first) = ask("group_limit=1");
    let token = first["data"]["groupNextToken"].as_str().unwrap();
    assert_eq!(
        (first["data"]["groups"].as_array().unwrap().len(), &first["data"]["groups"][0]["name"]),
        (1, &"g".into())
    );
    let (_, second) = ask(&format!("group_limit=1&group_next_token={token}"));
    assert_eq!(second["data"]["groups"][0]["name"], "h");
    assert_eq!(second["data"]["groupNextToken"], Value::Null);
    assert_eq!(ask("group_limit=2").1["data"]["groupNextToken"], Value::Null);
    for wrong in
        ["group_limit=0", "group_limit=x", "group_next_token=x", "group_limit=1&group_next_token=x", "match%5B%5D=%7B"]
    {
        let (status, error) = ask(wrong);
        assert_eq!((status, &error["errorType"]), (400, &"bad_data".into()), "{wrong}: {error}");
    }
}

#[test]
fn a_query_says_what_it_took() {
    let folder = tempfile::tempdir().unwrap();
    let program = start(folder.path());
    let now = andon::clock::Clock::system().now().as_millis() / 1000;
    let ask = |stats: &str| {
        let path =
            format!("/api/v1/query_range?query=wait_seconds_bucket&start={}&end={now}&step=1&stats={stats}", now - 2);
        serde_json::from_str::<Value>(&program.get(&path).unwrap().body).unwrap()["data"]["stats"].take()
    };
    let all = ask("all");
    assert_eq!(all["samples"]["totalQueryableSamples"], 9, "{all}");
    assert_eq!(all["samples"]["totalQueryableSamplesPerStep"][0], serde_json::json!([(now - 2) as f64, 3]), "{all}");
    assert!(all["samples"]["peakSamples"].as_u64().unwrap() > 0, "{all}");
    for name in
        ["evalTotalTime", "resultSortTime", "queryPreparationTime", "innerEvalTime", "execQueueTime", "execTotalTime"]
    {
        assert!(all["timings"][name].as_f64().unwrap() >= 0.0, "{all}");
    }
    assert_eq!(ask("1")["samples"]["totalQueryableSamplesPerStep"], Value::Null);
    assert_eq!(ask(""), Value::Null);
}
