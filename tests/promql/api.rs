//! The query API of the real program: shapes, statuses and parameters.

use andon::model::Labels;
use andon::wire::remote_write::Encoder;
use serde_json::{Value, json};

use crate::support::program::Program;

const FORM: &str = "application/x-www-form-urlencoded";

/// A box that collects nothing by itself, with three series of four samples, one a minute.
fn program(folder: &std::path::Path) -> (Program, i64) {
    let program = Program::start(folder, "host: {enabled: false}\nrule_packs: []\n");
    let end = andon::clock::Clock::system().now().as_millis() / 60_000 * 60;
    let mut encoder = Encoder::new();
    for line in 1..=3 {
        let line = line.to_string();
        let labels = Labels::from_pairs([("__name__", "speed"), ("line", &line), ("höhe.über", "x")]);
        let value: f64 = line.parse().unwrap();
        encoder.push(&labels, (0..4).map(|i| ((end - 180 + i * 60) * 1000, value * (i + 1) as f64)));
    }
    let body = encoder.finish().unwrap();
    let answer = program.request("POST", "/api/v1/write", "application/x-protobuf", &body).unwrap();
    assert_eq!(answer.status, 204, "{answer:?}");
    (program, end)
}

fn ask(program: &Program, path: &str) -> (u16, Value) {
    let answer = program.get(&format!("/api/v1/{path}")).unwrap();
    let body = serde_json::from_str(&answer.body).unwrap_or_else(|e| panic!("{path}: {e}: {}", answer.body));
    (answer.status, body)
}

#[test]
fn queries_answer_as_upstream_does() {
    let folder = tempfile::tempdir().unwrap();
    let (program, end) = program(folder.path());
    let metric = |line: &str| json!({"__name__": "speed", "höhe.über": "x", "line": line});

    let (status, body) = ask(&program, &format!("query?query=speed%7Bline=%222%22%7D&time={end}.25"));
    let time = end as f64 + 0.25;
    let expected = json!({"resultType": "vector", "result": [{"metric": metric("2"), "value": [time, "8"]}]});
    assert_eq!((status, &body["data"]), (200, &expected));

    let form = format!("query=sum(speed)&start={}&end={end}&step=60", end - 60);
    let answer = program.request("POST", "/api/v1/query_range", FORM, form.as_bytes()).unwrap();
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    let values = json!([[end - 60, "18"], [end, "24"]]);
    let expected = json!({"resultType": "matrix", "result": [{"metric": {}, "values": values}]});
    assert_eq!((answer.status, &body["data"]), (200, &expected));

    let (_, body) = ask(&program, &format!("query?query=speed&time={end}&limit=1&stats=all"));
    assert_eq!(body["data"]["result"].as_array().unwrap().len(), 1);
    assert_eq!(body["warnings"], json!(["results truncated due to limit"]));
    assert_eq!(body["data"]["stats"]["samples"]["totalQueryableSamples"], 3);

    let (_, body) = ask(&program, &format!("query?query=speed&time={}&lookback_delta=30s", end + 45));
    assert_eq!(body["data"]["result"], json!([]));
    let (_, body) = ask(&program, &format!("query?query=rate(speed%5B5m%5D)&time={end}"));
    assert!(body["infos"][0].as_str().unwrap().contains("might not be a counter"), "{body}");
    let (_, body) = ask(&program, "format_query?query=sum(rate(up%5B5m%5D))by(job)");
    assert_eq!(body["data"], "sum by (job) (rate(up[5m]))");
}

#[test]
fn what_there_is_can_be_asked() {
    let folder = tempfile::tempdir().unwrap();
    let (program, end) = program(folder.path());
    let span = format!("start={}&end={end}", end - 3600);
    let (_, body) = ask(&program, &format!("series?match[]=speed%7Bline=~%221|2%22%7D&{span}"));
    let lines: Vec<&str> = body["data"].as_array().unwrap().iter().map(|s| s["line"].as_str().unwrap()).collect();
    assert_eq!(lines, ["1", "2"]);
    let labels = ask(&program, &format!("labels?match[]=speed&{span}")).1;
    assert_eq!(labels["data"], json!(["__name__", "höhe.über", "line"]));
    assert_eq!(ask(&program, &format!("label/line/values?limit=2&{span}")).1["data"], json!(["1", "2"]));
    let escaped = "label/U__h_f6_he_2e__fc_ber/values";
    assert_eq!(ask(&program, &format!("{escaped}?{span}")).1["data"], json!(["x"]));
    assert_eq!(ask(&program, "label/nosuch/values").1["data"], json!([]));
    for path in ["labels", "label/line/values", "series?match[]=speed"] {
        let join = if path.contains('?') { '&' } else { '?' };
        assert_eq!(
            ask(&program, &format!("{path}{join}start=1&end=2")).1["data"],
            json!([]),
            "before the first sample"
        );
    }
    assert_eq!(ask(&program, "metadata?metric=nosuch").1["data"], json!({}));
}

#[test]
fn refusals_have_upstreams_status_and_kind() {
    let folder = tempfile::tempdir().unwrap();
    let (program, end) = program(folder.path());
    let check = |path: &str, status: u16, kind: &str, text: &str| {
        let (got, body) = ask(&program, path);
        assert_eq!((got, body["status"].as_str(), body["errorType"].as_str()), (status, Some("error"), Some(kind)));
        let error = body["error"].as_str().unwrap_or("");
        assert!(error.contains(text), "{path}: {error}");
    };
    check("query?query=sum(speed", 400, "bad_data", "1:4: parse error: unclosed left parenthesis");
    check("query?query=nosuch(speed)", 400, "bad_data", "unknown function");
    check("query?query=speed&time=noon", 400, "bad_data", "invalid parameter \"time\"");
    check("query?query=speed&limit=-1", 400, "bad_data", "limit");
    check("query?query=speed&timeout=x", 400, "bad_data", "invalid parameter \"timeout\"");
    check("query?query=", 400, "bad_data", "no expression");
    check(&format!("query?query=topk(NaN,speed)&time={end}"), 422, "execution", "NaN");
    check(&format!("query?query=speed%2Bon()speed&time={end}"), 422, "execution", "found duplicate series");
    check("query_range?query=1&start=0&end=11001&step=1", 400, "bad_data", "exceeded maximum resolution");
    check("query_range?query=1&start=1&end=0&step=1", 400, "bad_data", "end timestamp must not be before start time");
    check("query_range?query=1&start=0&end=1&step=0", 400, "bad_data", "zero or negative");
    check("query_range?query=1&start=0&end=1", 400, "bad_data", "invalid parameter \"step\"");
    check("query_range?query=speed%5B5m%5D&start=0&end=1&step=1", 400, "bad_data", "range vector");
    check("series", 400, "bad_data", "no match[]");
    check("series?match[]=%7Ba=~%22.*%22%7D", 400, "bad_data", "match[]");
    assert_eq!(ask(&program, "labels?start=2&end=1").1["data"], json!([]), "as upstream, no mistake");
}

#[test]
fn another_prometheus_can_federate() {
    let folder = tempfile::tempdir().unwrap();
    let (program, end) = program(folder.path());
    let answer = program.get("/federate?match[]=speed%7Bline%3D~%221%7C2%22%7D&match[]=%7Bline%3D%221%22%7D").unwrap();
    let speed = |line: &str, value: &str| {
        format!("speed{{\"höhe.über\"=\"x\",line=\"{line}\",instance=\"\"}} {value} {}\n", end * 1000)
    };
    assert_eq!(answer.body, format!("# TYPE speed untyped\n{}{}", speed("1", "4"), speed("2", "8")));
    assert_eq!(program.get("/federate?match[]=speed%7B").unwrap().status, 400);
    let (status, body) = ask(&program, "query_exemplars?query=speed&start=0&end=1");
    assert_eq!((status, &body["data"]), (200, &json!([])));
    assert_eq!(ask(&program, "query_exemplars?query=speed%7B&start=0&end=1").0, 400);
    assert_eq!(ask(&program, "alertmanagers").1["data"]["activeAlertmanagers"], json!([]));
    assert_eq!(ask(&program, "status/walreplay").1["data"], json!({ "min": 0, "max": 0, "current": 0 }));
}
