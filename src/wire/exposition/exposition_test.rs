use proptest::prelude::*;

use super::*;
use crate::model::{FamilySample, Labels, Metadata, MetricFamily, MetricKind, Sample, Timestamp};

/// Reads a body; each sample as `labels value [time]`, each error as its text.
fn read(body: &str, format: Format) -> Vec<String> {
    let parser = match Parser::new(body.as_bytes(), format) {
        Ok(parser) => parser,
        Err(error) => return vec![error.to_string()],
    };
    parser
        .map(|entry| match entry {
            Ok(Entry::Sample(sample)) => match sample.labels() {
                Ok(labels) => {
                    let time = sample.timestamp_ms.map_or(String::new(), |t| format!(" @{t}"));
                    format!("{labels} {}{time}", sample.value)
                }
                Err(error) => error.to_string(),
            },
            Ok(Entry::Help(name, text)) => format!("help {name} {text}"),
            Ok(Entry::Type(name, kind)) => format!("type {name} {}", kind.as_str()),
            Ok(Entry::Unit(name, unit)) => format!("unit {name} {unit}"),
            Err(error) => error.to_string(),
        })
        .collect()
}

#[track_caller]
fn check(body: &str, expected: &[&str]) {
    assert_eq!(read(body, Format::Text), expected, "{body}");
}

#[test]
fn samples_are_read_with_labels_and_times() {
    check("up 1", &["up 1"]);
    check("a{} 1\nb{x=\"y\"} 2 1700000000123\n", &["a 1", "b{x=\"y\"} 2 @1700000000123"]);
    check("a {x=\"1\", y = \"2\",}  3", &["a{x=\"1\", y=\"2\"} 3"]);
    check("a{x=\"}{\"} 1", &["a{x=\"}{\"} 1"]);
    check(r#"a{x="q\"b\\s\nn\d"} 1"#, &[r#"a{x="q\"b\\s\nn\\d"} 1"#]);
    check("a NaN\nb +Inf\nc -Inf\nd 1e3", &["a NaN", "b inf", "c -inf", "d 1000"]);
    check("a{x=\"\"} 1", &["a 1"]);
    check("a 1 -5\t\n", &["a 1 @-5"]);
    check("\t a 1\r\n\n", &["a 1"]);
}

#[test]
fn names_in_quotes_are_those_of_prometheus_3() {
    check(r#"{"my.metric","a.b"="c",d="e"} 1"#, &[r#"my.metric{a.b="c", d="e"} 1"#]);
    check("# HELP \"my.metric\" What.\n", &["help my.metric What."]);
}

#[test]
fn the_quirks_of_exporters_are_survived() {
    check(
        "# HELP a One.\n# TYPE a counter\na 1\n# HELP a One.\n# TYPE a counter\na{x=\"y\"} 2",
        &["help a One.", "type a counter", "a 1", "help a One.", "type a counter", "a{x=\"y\"} 2"],
    );
    check(
        "# a comment\n#HELP no\n# TYPE a untyped\n# HELP b back\\\\slash\\n\"q\"",
        &["type a unknown", "help b back\\slash\n\"q\""],
    );
    check("# HELP a\n# TYPE a what\n", &["help a ", "type a unknown"]);
}

#[test]
fn buckets_and_quantiles_are_normal() {
    check(
        "# TYPE h histogram\nh_bucket{le=\"1\"} 1\n# TYPE s summary\ns{quantile=\"1\"} 2\n# TYPE g gauge\ng{le=\"1\"} 3\n",
        &[
            "type h histogram",
            "h_bucket{le=\"1.0\"} 1",
            "type s summary",
            "s{quantile=\"1.0\"} 2",
            "type g gauge",
            "g{le=\"1\"} 3",
        ],
    );
}

#[test]
fn each_mistake_has_its_line() {
    check("a 1\nb\nc 3", &["a 1", "line 2: \"\" is no value", "c 3"]);
    check("a x", &["line 1: \"x\" is no value"]);
    check("a 1 2 3", &["line 1: \"3\" after the sample"]);
    check("a 1 x", &["line 1: \"x\" is no time"]);
    check("a{x=\"1 2", &["line 1: a label set is not closed"]);
    check("a{x=1} 1", &["line 1: expected a text in quotes at \"1}\""]);
    check("a{x=\"1\" y=\"2\"} 1", &["line 1: expected `,` or `}` at \"y=\\\"2\\\"}\""]);
    check("a{x=\"1\",x=\"2\"} 1", &["line 1: label \"x\" stands twice"]);
    check("{x=\"1\"} 1", &["line 1: no metric name"]);
    check("1a 1", &["line 1: no metric name"]);
    check("a-b 1", &["line 1: \"a-b\" is no metric name"]);
    check("a{1x=\"\"} 1", &["line 1: expected a label at \"1x=\\\"\\\"}\""]);
    check("# TYPE\n", &["line 1: no name after TYPE"]);
    let error = Parser::new(b"a 1\nb{x=\"\xff\"} 1", Format::Text).unwrap_err();
    assert_eq!(error.to_string(), "line 2: not UTF-8");
}

#[test]
fn open_metrics_has_seconds_exemplars_and_an_end() {
    let body = "# TYPE a counter\n# UNIT a seconds\na_total 1 1.5 # {trace=\"x\"} 0.5\nb 2 # {} 1\nc 3 1700000000\n# EOF\nd 4\n";
    assert_eq!(
        read(body, Format::OpenMetrics),
        ["type a counter", "unit a seconds", "a_total 1 @1500", "b 2", "c 3 @1700000000000"]
    );
    assert_eq!(Format::of_content_type("application/openmetrics-text; version=1.0.0"), Format::OpenMetrics);
    assert_eq!(Format::of_content_type("text/plain"), Format::Text);
}

#[test]
fn what_is_rendered_is_read_again() {
    let sample = |suffix, labels: &[(&str, &str)], value| FamilySample {
        suffix,
        labels: Labels::from_pairs(labels.iter().copied()),
        value,
    };
    let family = |name: &str, kind, samples| MetricFamily {
        name: name.to_owned(),
        metadata: Metadata { kind, help: "With \\ and\nline.".to_owned(), unit: String::new() },
        samples,
    };
    let families = [
        family("a_total", MetricKind::Counter, vec![sample("", &[], 3.0), sample("", &[("x", "\"\n\\")], 0.1)]),
        family("h", MetricKind::Histogram, vec![sample("_bucket", &[("le", "+Inf")], 1.0)]),
        family("none", MetricKind::Gauge, vec![]),
    ];
    let text = render(&families);
    assert_eq!(
        text,
        "# HELP a_total With \\\\ and\\nline.\n# TYPE a_total counter\na_total 3\na_total{x=\"\\\"\\n\\\\\"} 0.1\n\
         # HELP h With \\\\ and\\nline.\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\n"
    );
    check(
        &text,
        &[
            "help a_total With \\ and\nline.",
            "type a_total counter",
            "a_total 3",
            "a_total{x=\"\\\"\\n\\\\\"} 0.1",
            "help h With \\ and\nline.",
            "type h histogram",
            "h_bucket{le=\"+Inf\"} 1",
        ],
    );
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(body in "[a-c#{}\"=,\\\\ \n0-9.eHELPTY]{0,80}") {
        read(&body, Format::Text);
        read(&body, Format::OpenMetrics);
    }

    #[test]
    fn any_label_value_survives(value in ".{1,20}") {
        let labels = Labels::from_pairs([("x", value.as_str())]);
        let family = MetricFamily {
            name: "a".to_owned(),
            metadata: Metadata::default(),
            samples: vec![FamilySample { suffix: "", labels: labels.clone(), value: 1.0 }],
        };
        let text = render(&[family]);
        let entries: Vec<_> = Parser::new(text.as_bytes(), Format::Text).unwrap().map(Result::unwrap).collect();
        let Entry::Sample(sample) = &entries[1] else { panic!("{entries:?}") };
        let got = sample.labels().unwrap();
        prop_assert_eq!(got.get("x"), labels.get("x"));
    }
}

#[test]
fn single_samples_are_written_with_their_times() {
    let labels = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied());
    let (a, b) = (labels(&[("__name__", "b_total"), ("le", "a\"b")]), labels(&[("__name__", "a.dot"), ("x.y", "z")]));
    let at = |ms, value| Sample::new(Timestamp::from_millis(ms), value);
    let text = render_untyped([(&a, at(1500, 2.5)), (&b, at(2000, f64::INFINITY))].into_iter());
    let expected = "# TYPE \"a.dot\" untyped\n{\"a.dot\",\"x.y\"=\"z\",instance=\"\"} +Inf 2000\n\
                    # TYPE b_total untyped\nb_total{le=\"a\\\"b\",instance=\"\"} 2.5 1500\n";
    assert_eq!(text, expected);
}
