use std::collections::BTreeMap;
use std::time::Duration;

use super::lint::{Facts, Subject, lint, lint_file};
use crate::model::{Labels, MetricKind};

fn facts() -> Facts {
    let metrics = [
        "up",
        "http_requests_total",
        "gateway_auth_attempts_total",
        "voice_session_latency_seconds_bucket",
        "voice_session_latency_seconds_sum",
        "router_nats_publish_latency_seconds",
        "nats_jetstream_consumer_num_pending",
        "container_last_seen",
        "router_nats_connection_status",
        "gateway_websocket_connections_active",
        "router_grpc_requests_total",
        "temperature",
    ];
    Facts {
        metrics: Some(metrics.into_iter().map(str::to_owned).collect()),
        kinds: BTreeMap::from([("temperature".to_owned(), MetricKind::Gauge)]),
        retention: Some(Duration::from_secs(15 * 86_400)),
        ..Facts::default()
    }
}

/// Checks that there is just one remark, with these words in problem and remedy; or none.
#[track_caller]
fn check_named(name: &str, expression: &str, summary: &str, expected: Option<(&str, &str)>) {
    let annotations = Labels::from_pairs([("summary", summary)]);
    let subject = Subject { name, expression, is_alerting: true, annotations: &annotations };
    let found = lint(&subject, &facts());
    match expected {
        None => assert_eq!(found, [], "{expression}"),
        Some((problem, remedy)) => {
            assert_eq!(found.len(), 1, "{expression}: {found:#?}");
            assert!(found[0].problem.contains(problem), "{}", found[0].problem);
            assert!(found[0].remedy.contains(remedy), "{}", found[0].remedy);
        }
    }
}

#[track_caller]
fn check(expression: &str, expected: Option<(&str, &str)>) {
    check_named("A", expression, "", expected);
}

#[test]
fn a_ratio_that_is_always_1_is_found() {
    check(
        r#"rate(gateway_auth_attempts_total{status="failure"}[5m]) / rate(gateway_auth_attempts_total[5m]) > 0.1"#,
        Some(("status too: that is itself, so the ratio is always 1", "sum(...) / sum(...)")),
    );
    check(
        r#"rate(gateway_auth_attempts_total{status="a"}[5m]) / rate(gateway_auth_attempts_total{status="b"}[5m]) > 1"#,
        Some(("no series of one has a partner", "aggregate")),
    );
    let good = r#"sum(rate(gateway_auth_attempts_total{status="failure"}[5m])) / sum(rate(gateway_auth_attempts_total[5m])) > 0.1"#;
    check(good, None);
    check(r#"rate(http_requests_total{a="1"}[5m]) / ignoring(a) rate(http_requests_total[5m]) > 1"#, None);
}

#[test]
fn a_metric_that_nobody_exports_is_found_with_a_near_one() {
    check(
        "nats_jetstream_consumer_pending > 10000",
        Some(("no metric nats_jetstream_consumer_pending", "perhaps nats_jetstream_consumer_num_pending")),
    );
    check("device_connection_state == 0", Some(("no metric", "check the name")));
    check("ALERTS > 0", None);
}

#[test]
fn histograms_are_not_values() {
    check("voice_session_latency_seconds > 0.5", Some(("is a histogram", "histogram_quantile(0.95")));
    check("voice_session_latency_seconds_bucket > 5", Some(("a bucket counts", "histogram_quantile")));
    check(
        "histogram_quantile(0.99, rate(router_nats_publish_latency_seconds_bucket[5m])) > 1",
        Some(("is no histogram", "compare router_nats_publish_latency_seconds itself")),
    );
    check("histogram_quantile(0.95, rate(voice_session_latency_seconds_bucket[5m])) > 1", None);
}

#[test]
fn a_rate_is_no_percentage() {
    let expression = r#"rate(http_requests_total{status=~"5.."}[5m]) > 0.05"#;
    check_named("HighErrorRate", expression, "", Some(("a number per second", "sum(rate(bad[5m]))")));
    check_named("Errors", expression, "{{ $value | humanizePercentage }}", Some(("a number per second", "divide")));
    check_named("Errors", expression, "above 5%", Some(("a number per second", "divide")));
    check_named("Errors", expression, "{{ $value }} a second", None);
    check_named("HighErrorRate", "rate(http_requests_total[5m]) > 10", "", None);
}

#[test]
fn a_range_beyond_what_is_kept_is_found() {
    check(
        "sum(increase(router_grpc_requests_total[30d])) > 5",
        Some(("longer than samples are kept (15d)", "retention")),
    );
    check("sum(increase(router_grpc_requests_total[15d])) > 5", None);
    check("max_over_time(temperature[20d:1h]) > 5", Some(("longer than", "15d")));
}

#[test]
fn what_fires_for_ever_is_found() {
    check("time() - container_last_seen > 60", Some(("ever seen", "should be there")));
    check(
        r#"router_nats_connection_status{state="disconnected"} == 0"#,
        Some(("goes on with its last value", "without the label state")),
    );
    check(
        r#"increase(gateway_auth_attempts_total{status="success"}[1h]) > 0"#,
        Some((r#"fires on any status="success""#, "offset 1h")),
    );
    check("http_requests_total > 100", Some(("a counter only rises", "increase")));
    check("rate(http_requests_total[5m])", Some(("nothing is compared", "> 0")));
    check("up == bool 0", Some(("bool gives 0", "leave bool out")));
    check("up == 0", None);
    check("absent(up)", None);
}

#[test]
fn functions_fit_the_kind_of_metric() {
    check("rate(temperature[5m]) > 1", Some(("is a gauge", "deriv()")));
    check("delta(http_requests_total[5m]) > 1", Some(("is a counter", "increase()")));
    check("delta(gateway_websocket_connections_active[5m]) < -50", None);
}

#[test]
fn what_a_file_records_is_known_and_remarks_have_their_line() {
    let text = "groups:\n- name: g\n  rules:\n  - record: a:b\n    expr: up\n  - alert: A\n    expr: a:b > 1\n  - alert: B\n    \
                expr: a:c > 1\n";
    let found = lint_file("r.yml", text, &facts());
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!((found[0].line, found[0].rule.as_str()), (8, "B"));
    assert!(found[0].to_string().starts_with("r.yml:8: rule \"B\": there is no metric a:c"), "{}", found[0]);
}

#[test]
fn the_packs_that_come_along_have_nothing_odd() {
    for source in super::RuleSource::builtin() {
        let found = lint_file(&source.path, &source.text.unwrap(), &Facts::default());
        assert_eq!(found, [], "{}", source.path);
    }
}
