//! A parser of another make as judge: what both take has the same structure.

use proptest::prelude::*;

use super::*;

/// Writes with the judge what the judge reads; `None` if it refuses.
fn judged(text: &str) -> Option<String> {
    promql_parser::parser::parse(text).ok().map(|tree| tree.prettify())
}

/// Reads `text`, and lets the judge compare it with what is written of it.
#[track_caller]
fn check(text: &str) {
    let expr = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let written = print::text(&expr);
    let original = judged(text).unwrap_or_else(|| panic!("the judge refuses {text}"));
    assert_eq!(judged(&written).as_ref(), Some(&original), "{text} was written {written}");
}

#[test]
fn what_people_ask_is_read_as_the_judge_reads_it() {
    for text in [
        "sum by (line) (rate(device_messages_published_total[5m]))",
        "histogram_quantile(0.95, sum by (le) (rate(device_message_duration_seconds_bucket[5m])))",
        "avg by (line_id) (avg_over_time(device_power_watts[1h]))",
        "100 - 100 * avg by (host) (rate(node_cpu_seconds_total{mode=\"idle\"}[5m]))",
        "(1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes) * 100 > 90",
        "avg by (firmware) (a{sensor=\"motor\"} * on (device_id) group_left (firmware) device_info)",
        "max_over_time(deriv(rate(x[5m])[30m:1m])[1h:] offset 1d)",
        "up == 0 or absent(up{job=\"a\"}) unless on (instance) maintenance == 1",
        "sum without (instance, job) (a) / ignoring (b) count(c)",
        "topk(10, x{a=~\"b|c\",d!=\"e\",f!~\"g.*\"}) > bool 5",
        "label_replace(up, \"a\", \"$1\", \"b\", \"(.*):.*\")",
        "x @ 1609746000 offset -5m",
        "rate(x[5m] @ end())",
        "-a ^ b ^ -c * d % e atan2 f",
        "predict_linear(node_filesystem_avail_bytes[6h], 4 * 3600) < 0",
        "count_values(\"version\", build_info)",
        "a + on (x) group_right (y) b - c",
    ] {
        check(text);
    }
}

const OPERATORS: [&str; 16] =
    ["+", "-", "*", "/", "%", "^", "==", "!=", "<", "<=", ">", ">=", "and", "or", "unless", "atan2"];

/// Expressions whose sides are all vectors, so that every operator fits.
fn expressions() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("x".to_owned()),
        Just("y{a=\"b\",c!~\"d\"} offset 5m".to_owned()),
        Just("rate(z[5m])".to_owned()),
        Just("sum by (a) (x)".to_owned()),
    ];
    leaf.prop_recursive(5, 40, 3, |inner| {
        prop_oneof![
            (inner.clone(), 0..OPERATORS.len(), inner.clone())
                .prop_map(|(left, op, right)| format!("{left} {} {right}", OPERATORS[op])),
            inner.clone().prop_map(|inner| format!("({inner})")),
            inner.clone().prop_map(|inner| format!("-{inner}")),
            inner.prop_map(|inner| format!("max_over_time(({inner})[5m:])")),
        ]
    })
}

proptest! {
    #[test]
    fn any_expression_is_read_as_the_judge_reads_it(text in expressions()) {
        check(&text);
    }
}
