//! The engine's bounds, and that no query ends the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::*;
use crate::headroom::Headroom;
use crate::model::{Labels, Timestamp};
use crate::storage::tsdb::{Batch, Db};

fn engine(samples_max: usize) -> Engine {
    engine_over(&Db::in_memory(), samples_max)
}

fn engine_over(db: &Db, samples_max: usize) -> Engine {
    let mut batch = Batch::default();
    for series in 0..10 {
        let labels = Labels::from_pairs([("__name__", "x".to_owned()), ("i", series.to_string())]);
        for step in 0..100 {
            batch.push(&labels, Timestamp::from_millis(step * 1000), step as f64);
        }
    }
    db.append(&batch).unwrap();
    let limits = Limits {
        lookback: Duration::from_secs(300),
        timeout: Duration::from_secs(30),
        samples_max,
        default_step: Duration::from_secs(60),
    };
    Engine::new(db.clone(), limits)
}

fn at(engine: &Engine, query: &str) -> Result<QueryResult> {
    engine.instant(query, Timestamp::from_millis(99_000), &Options::default())
}

#[test]
fn samples_are_bounded_on_both_sides_of_the_limit() {
    // What is only passed through may be fifty times as much; one series of it is held at a time.
    let times = |n: usize| format!("sum(count_over_time(x[100s])){}", " + sum(count_over_time(x[100s]))".repeat(n - 1));
    assert_eq!(at(&engine(160), &times(8)).unwrap().samples, 8000);
    assert!(matches!(at(&engine(159), &times(8)), Err(Error::Limit(_))));
    assert!(matches!(at(&engine(99), &times(1)), Err(Error::Limit(_))));
    // What is held counts too: 10 rows of 100 steps.
    let over = |max: usize| {
        let (start, end) = (Timestamp::from_millis(0), Timestamp::from_millis(99_000));
        engine(max).range("sort(x)", start, end, Duration::from_secs(1), &Options::default())
    };
    assert!(over(10_000).is_ok());
    assert!(matches!(over(1000), Err(Error::Limit(_))));
}

#[test]
fn while_memory_is_short_big_queries_end_with_that_word_and_samples_are_still_taken() {
    let db = Db::in_memory();
    let engine = engine_over(&db, 50_000_000);
    let used = Arc::new(AtomicU64::new(0));
    let reading = used.clone();
    // A query may hold 8 192 samples of this, and 512 while it is short.
    db.watch_memory(Headroom::new(512 << 10, move || Some(reading.load(Ordering::Relaxed))));
    let by_percent = |percent: u64| {
        used.store((512 << 10) * percent / 100, Ordering::Relaxed);
        db.headroom().look();
        at(&engine, "count_over_time(x[100s])").map_err(|e| e.to_string())
    };
    let big = |end_ms: i64| {
        let (start, end) = (Timestamp::from_millis(0), Timestamp::from_millis(end_ms));
        engine.range("sort(x)", start, end, Duration::from_secs(1), &Options::default()).map_err(|e| e.to_string())
    };
    assert!(by_percent(50).is_ok() && big(99_000).is_ok());
    for percent in [95, 105, 150] {
        assert!(by_percent(percent).is_ok(), "a small one is answered at {percent} %");
        let refused = big(99_000).unwrap_err();
        assert!(refused.contains("too many samples") && refused.contains("because memory is short"), "{refused}");
        let mut batch = Batch::default();
        let known = Labels::from_pairs([("__name__", "x"), ("i", "0")]);
        batch.push(&known, Timestamp::from_millis(100_000 + percent.cast_signed()), 1.0);
        assert_eq!(db.append(&batch).unwrap().appended, 1);
    }
    assert!(by_percent(70).is_ok() && big(99_000).is_ok(), "and then as before");
}

#[test]
fn steps_are_bounded() {
    let engine = engine(1_000_000);
    let range = |ms: i64| {
        let end = Timestamp::from_millis(ms);
        engine.range("1", Timestamp::from_millis(0), end, Duration::from_millis(1), &Options::default())
    };
    assert!(range(11_000).is_ok());
    assert!(matches!(range(11_001), Err(Error::Limit(_))));
}

#[test]
fn a_subquery_of_countless_steps_is_refused() {
    for query in ["sum_over_time(vector(1)[100y:1ms])", "sum_over_time(x[100y:1ms])", "count_over_time(x[290y:1ms])"] {
        assert!(matches!(at(&engine(1_000_000), query), Err(Error::Limit(_))), "{query}");
    }
}

#[test]
fn a_query_ends_by_time_and_by_hand() {
    let engine = engine(1_000_000);
    let ask = |options: Options| engine.instant("x", Timestamp::from_millis(0), &options);
    let timeout = Options { timeout: Some(Duration::ZERO), ..Options::default() };
    assert!(matches!(ask(timeout), Err(Error::Timeout)));
    let cancelled = Options { cancelled: Some(Arc::new(AtomicBool::new(true))), ..Options::default() };
    assert!(matches!(ask(cancelled), Err(Error::Cancelled)));
}

#[test]
fn deep_queries_are_answered_or_refused_and_never_overflow() {
    let engine = engine(1_000_000);
    let nest = |open: &str, close: &str, n: usize| format!("{}x{}", open.repeat(n), close.repeat(n));
    for query in [
        nest("abs(", ")", 100),
        nest("-", "", 120),
        nest("sum by (i) (", ")", 100),
        nest("label_replace(", ",'a','b','c','d')", 100),
        format!("x{}", "+x".repeat(4000)),
        format!("x{}", " or x".repeat(4000)),
        format!("x{}", " + 1".repeat(4000)),
        nest("sum_over_time(", "[1m:1m])", 60),
    ] {
        assert!(at(&engine, &query).is_ok(), "{}", &query[..60]);
    }
    for query in [nest("-", "", 4000), format!("x{}", "+x".repeat(9000)), nest("(", ")", 60_000), nest("-", "", 60_000)]
    {
        assert!(matches!(at(&engine, &query), Err(Error::Limit(_))), "{}", &query[..60]);
    }
}

#[test]
fn a_selector_is_read_and_nothing_else() {
    let names = |text: &str| parse_selector(text).map(|m| m.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(names("up{job=~\"a|b\"}").unwrap(), ["__name__=\"up\"", "job=~\"a|b\""]);
    for text in ["up[5m]", "up offset 5m", "sum(up)", "1", "{}", "up{"] {
        assert!(parse_selector(text).is_err(), "{text}");
    }
}

#[test]
fn a_check_needs_no_data_and_says_where() {
    assert!(check("sum by (job) (rate(http_requests_total[step() * 4])) > 5m").is_ok());
    assert_eq!(check("rate(up)").unwrap_err().to_string().split(": ").nth(1), Some("parse error"));
    assert_eq!(check("a +\n  b{c=\"d}").unwrap_err().to_string(), "2:7: parse error: unterminated quoted string");
}

#[test]
fn long_windows_at_many_steps_end_in_time() {
    let db = Db::in_memory();
    let mut batch = Batch::default();
    let labels = Labels::from_pairs([("__name__", "x")]);
    for step in 0..200_000 {
        batch.push(&labels, Timestamp::from_millis(step * 10), step as f64);
    }
    db.append(&batch).unwrap();
    let second = Duration::from_secs(1);
    let limits = Limits { lookback: second, timeout: second / 5, samples_max: 1_000_000, default_step: second };
    let (start, end) = (Timestamp::from_millis(2_000_000), Timestamp::from_millis(2_011_000));
    let clock = crate::clock::Clock::system();
    let query = "quantile_over_time(0.5, x[30m])";
    let result = Engine::new(db, limits).range(query, start, end, second / 1000, &Options::default());
    assert!(matches!(result, Err(Error::Timeout)), "{result:?}");
    assert!(clock.elapsed() < 10 * second);
}

proptest::proptest! {
    #[test]
    fn any_text_is_a_query_or_an_error(text in "[ -~]{0,40}") {
        let _ = check(&text);
    }

    #[test]
    fn any_words_are_a_query_or_an_error(words in proptest::collection::vec(0_usize..WORDS.len(), 0..12)) {
        let text: Vec<&str> = words.iter().map(|w| WORDS[*w]).collect();
        let _ = at(&engine(100_000), &text.join(" "));
    }
}

const WORDS: [&str; 44] = [
    "x",
    "y",
    "(",
    ")",
    "[5m]",
    "[1m:10s]",
    "[",
    "]",
    "{",
    "}",
    ",",
    "1",
    "1e300",
    "0x1F",
    "5m",
    "Inf",
    "NaN",
    "-",
    "+",
    "*",
    "/",
    "^",
    "%",
    "==",
    "bool",
    "and",
    "or",
    "on(i)",
    "group_left",
    "ignoring()",
    "sum",
    "by (i)",
    "topk(2,",
    "rate(",
    "offset",
    "@",
    "start()",
    "step()",
    "\"a\"",
    "i=~\".*\"",
    "histogram_quantile(",
    "label_replace(",
    "info(",
    "fill(1)",
];

#[test]
fn a_long_chain_of_vectors_is_worked_out() {
    let engine = engine(1_000_000);
    let value = |query: &str| match at(&engine, query).unwrap().value {
        Value::Vector(found) => found.iter().map(|s| s.sample.value).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let one = "x{i=\"1\"}";
    assert_eq!(value(&format!("{one}{}", format!(" + {one}").repeat(1000))), [1001.0 * 99.0]);
    assert_eq!(value(&format!("x{}", " + 1".repeat(8000))), [8099.0; 10]);
    assert_eq!(value(&format!("x{}", " or x".repeat(1000))), [99.0; 10]);
    assert_eq!(value(&format!("x{}", " - x + 2 + time() - 99 or x".repeat(500))).len(), 10);
    let scalars = format!("x{}", " + time()".repeat(1000));
    let (start, end) = (Timestamp::from_millis(0), Timestamp::from_millis(10_000_000));
    let range = engine.range(&scalars, start, end, Duration::from_secs(1), &Options::default());
    assert!(matches!(range, Err(Error::Limit(_))), "{range:?}");
}

#[test]
fn a_name_falls_where_the_first_operation_changes_values() {
    let engine = engine(1_000_000);
    let named = |query: &str| match at(&engine, query).unwrap().value {
        Value::Vector(found) => found.iter().map(|s| s.labels.metric_name().to_owned()).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(named("x{i=\"1\"} > 5 < 100 != 7"), ["x"]);
    assert_eq!(named("x{i=\"1\"} > 5 + 1"), ["x"]);
    assert_eq!(named("(x{i=\"1\"} + 1) > 5"), [""]);
    assert_eq!(named("x{i=\"1\"} > bool 5"), [""]);
    assert_eq!(named("x{i=\"1\"} > 1000 + 1"), Vec::<String>::new());
}

#[test]
fn remarks_say_where() {
    let engine = engine(1_000_000);
    let infos = at(&engine, "1 +\n  sum(rate(x[1m]))").unwrap().infos;
    let name = "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"x\"";
    assert_eq!(infos, [format!("{name} (2:12)")]);
    let warnings = |query: &str| at(&engine, query).unwrap().warnings;
    let quantile = "PromQL warning: quantile value should be between 0 and 1, got";
    assert_eq!(
        warnings("quantile(2, x) or quantile_over_time(-1, x[1m])"),
        [format!("{quantile} -1 (1:38)"), format!("{quantile} 2 (1:10)"),]
    );
    let ratio = "PromQL warning: ratio value should be between -1 and 1, got 1.1, capping to 1 (1:13)";
    assert_eq!(warnings("limit_ratio(1.1, x)"), [ratio]);
    let bucket =
        "PromQL warning: bucket label \"le\" is missing or has a malformed value of \"\" for metric name \"x\"";
    assert_eq!(warnings("histogram_quantile(0.5, x)"), [format!("{bucket} (1:25)")]);
}

#[test]
fn a_long_chain_of_numbers_is_worked_out() {
    let engine = engine(1_000_000);
    let value = |query: &str| match at(&engine, query).unwrap().value {
        Value::Scalar(sample) => sample.value,
        other => panic!("{other:?}"),
    };
    assert_eq!(value(&format!("time(){}", " + time()".repeat(4000))), 99.0 * 4001.0);
    assert_eq!(value(&format!("1{} - time()", " + time() - 1".repeat(2000))), 2000.0 * 98.0 + 1.0 - 99.0);
    // Brackets nest, however long the chains within them are.
    let nested = |n: usize| format!("{}time(){}", "(".repeat(n), format!("{})", " + time()".repeat(50)).repeat(n));
    assert_eq!(value(&nested(60)), 99.0 * 3001.0);
    assert!(matches!(at(&engine, &nested(65)), Err(Error::Limit(_))));
}

#[test]
fn a_trace_tells_what_each_part_takes() {
    let engine = engine(1_000_000);
    let lookback = Some(Duration::from_secs(1));
    let options = Options { is_traced: true, lookback, ..Options::default() };
    let untraced = Options { lookback, ..Options::default() };
    let at = |engine: &Engine, query: &str| engine.instant(query, Timestamp::from_millis(99_000), &untraced);
    let asked = |query: &str| engine.instant(query, Timestamp::from_millis(99_000), &options).unwrap();
    fn told(trace: &Trace) -> String {
        let parts: Vec<String> = trace.parts.iter().map(told).collect();
        format!("{}: {} of {} [{}]", trace.text, trace.series, trace.samples, parts.join("; "))
    }
    let check = |query: &str, expected: &str| {
        let result = asked(query);
        let trace = result.trace.unwrap();
        assert_eq!(told(&trace), expected, "{query}");
        assert_eq!(result.value, at(&engine, query).unwrap().value, "{query}");
        assert!(trace.parts.iter().map(|p| p.took).sum::<Duration>() <= trace.took, "{query}");
        assert!(at(&engine, query).unwrap().trace.is_none());
    };
    check("x", "x: 10 of 10 []");
    check(
        "sum by (i) (rate(x[9s]))",
        "sum by (i) (rate(x[9s])): 10 of 90 [rate(x[9s]): 10 of 90 [x[9s]: 10 of 90 []]]",
    );
    check(
        "(x > 5) + on (i) x{i=~\"[12]\"} * 2",
        "(x > 5) + on (i) x{i=~\"[12]\"} * 2: 2 of 12 [x > 5: 10 of 10 [x: 10 of 10 []]; \
         x{i=~\"[12]\"} * 2: 2 of 2 [x{i=~\"[12]\"}: 2 of 2 []]]",
    );
    check(
        "x - 1 > 1000 or vector(scalar(x))",
        // The second one is what the first one read.
        "x - 1 > 1000 or vector(scalar(x)): 1 of 10 [x - 1 > 1000: 0 of 10 [x - 1: 10 of 10 [x: 10 of 10 []]]; \
         vector(scalar(x)): 1 of 0 [scalar(x): 0 of 0 [x: 10 of 0 []]]]",
    );
    check(
        "max_over_time(timestamp(x)[20s:10s])",
        "max_over_time(timestamp(x)[20s:10s]): 10 of 110 [timestamp(x)[20s:10s]: 10 of 110 [timestamp(x): 10 of 110 []]]",
    );
    assert_eq!(asked("1 + 1").trace, None);
    // What goes deeper than a trace is answered all the same.
    for query in [format!("x{}", " + 1".repeat(8000)), format!("{}x{}", "abs(".repeat(100), ")".repeat(100))] {
        assert_eq!(asked(&query).value, at(&engine, &query).unwrap().value);
    }
    let nested = format!("{}x{}", "(".repeat(40), format!("{})", " + x".repeat(30)).repeat(40));
    assert_eq!(asked(&nested).value, at(&engine, &nested).unwrap().value);
}

#[test]
fn samples_are_counted_as_steps_look_at_them() {
    let engine = engine(1_000_000);
    let options = Options { counts_steps: true, ..Options::default() };
    let (start, end) = (Timestamp::from_millis(0), Timestamp::from_millis(20_000));
    let check = |query: &str, expected: [u64; 3]| {
        let stats = engine.range(query, start, end, Duration::from_secs(10), &options).unwrap().stats;
        let at: Vec<u64> = stats.queryable_at.iter().map(|(_, count)| *count).collect();
        assert_eq!((at, stats.queryable), (expected.to_vec(), expected.iter().sum()), "{query}");
    };
    check("x", [10, 10, 10]);
    check("sum(x{i=\"1\"} offset 10s)", [0, 1, 1]);
    check("rate(x[5s])", [10, 50, 50]);
    check("rate(x[1m])", [10, 110, 210]);
    check("max_over_time(x{i=\"1\"}[20s:10s])", [1, 2, 2]);
    check("sum_over_time(sum(rate(x[5s]))[20s:10s])", [0, 1, 2]);
    assert_eq!(at(&engine, "x[5s]").unwrap().stats.queryable, 50);
    assert_eq!(at(&engine, "x").unwrap().stats.queryable_at, []);
    assert!(at(&engine, "sort(x)").unwrap().stats.peak >= 10);
}

#[test]
fn an_answer_is_the_same_on_one_core_and_on_several() {
    let db = Db::in_memory();
    let mut batch = Batch::default();
    for i in 0..2500 {
        let pairs = [("__name__", "wide_total".to_owned()), ("group", (i % 7).to_string()), ("i", i.to_string())];
        let labels = Labels::from_pairs(pairs);
        for step in (0..60).filter(|step| (step + i) % 11 != 0) {
            batch.push(&labels, Timestamp::from_millis(step * 5000), (step * (i % 13 + 1)) as f64 * 0.1);
        }
    }
    db.append(&batch).unwrap();
    let minute = Duration::from_secs(60);
    let limits = Limits { lookback: minute, timeout: minute, samples_max: 1_000_000, default_step: minute };
    let one = Engine::new(db.clone(), limits).on_cores(1);
    let several = one.on_cores(4);
    let (start, end) = (Timestamp::from_millis(0), Timestamp::from_millis(300_000));
    let options = Options { counts_steps: true, ..Options::default() };
    let close = |a: f64, b: f64| a.to_bits() == b.to_bits() || (a - b).abs() <= b.abs() * 1e-13;
    for query in [
        "wide_total",
        "{__name__=~\"wide.*\"}",
        "rate({__name__=~\"wide.*\"}[1m])",
        "rate(wide_total[1m])",
        "-wide_total * 2 > time()",
        "timestamp(wide_total)",
        "round(wide_total, 2)",
        "clamp(wide_total, scalar(wide_total{i=\"5\"}), 30)",
        "sum(wide_total)",
        "avg by (group) (rate(wide_total[1m]))",
        "min by (group) (wide_total) + max by (group) (wide_total)",
        "count without (i) (wide_total) * group without (i) (wide_total)",
        "stddev(wide_total) / stdvar by (group) (wide_total)",
        "topk(3, wide_total)",
        "quantile by (group) (0.9, wide_total offset 1m)",
        "max_over_time(sum by (group) (rate(wide_total[30s]))[2m:10s])",
        "wide_total / on (i, group) wide_total",
        "absent(wide_total)",
    ] {
        for is_instant in [true, false] {
            let ask = |engine: &Engine| {
                if is_instant {
                    engine.instant(query, end, &options)
                } else {
                    engine.range(query, start, end, Duration::from_secs(7), &options)
                }
            };
            let (a, b) = (ask(&one).unwrap(), ask(&several).unwrap());
            assert_eq!((a.samples, a.infos, a.warnings), (b.samples, b.infos, b.warnings), "{query}");
            assert_eq!((a.stats.queryable, a.stats.queryable_at), (b.stats.queryable, b.stats.queryable_at), "{query}");
            match (a.value, b.value) {
                (Value::Vector(a), Value::Vector(b)) => {
                    assert_eq!(a.len(), b.len(), "{query}");
                    assert!(a.iter().zip(&b).all(|(a, b)| a.labels == b.labels), "{query}");
                    assert!(a.iter().zip(&b).all(|(a, b)| close(a.sample.value, b.sample.value)), "{query}");
                }
                (Value::Matrix(a), Value::Matrix(b)) => {
                    assert_eq!(a.len(), b.len(), "{query}");
                    for (a, b) in a.iter().zip(&b) {
                        assert_eq!((&a.labels, a.points.len()), (&b.labels, b.points.len()), "{query}");
                        assert!(a.points.iter().zip(&b.points).all(|(a, b)| a.timestamp == b.timestamp), "{query}");
                        assert!(a.points.iter().zip(&b.points).all(|(a, b)| close(a.value, b.value)), "{query}");
                    }
                }
                (a, b) => panic!("{query}: {a:?} {b:?}"),
            }
        }
    }
    // What stops one part stops the query.
    let cancelled = Options { cancelled: Some(Arc::new(AtomicBool::new(true))), ..Options::default() };
    assert!(matches!(several.instant("sum(wide_total)", end, &cancelled), Err(Error::Cancelled)));
    let limits = Limits { lookback: minute, timeout: minute, samples_max: 150, default_step: minute };
    let narrow = Engine::new(db, limits).on_cores(4);
    assert!(matches!(narrow.instant("count(wide_total)", end, &options), Err(Error::Limit(_))));
}

#[test]
fn a_selector_that_stands_twice_is_read_once() {
    let engine = engine(1_000_000);
    let samples = |query: &str| at(&engine, query).unwrap().samples;
    assert_eq!(samples("max_over_time(x[20s]) - min_over_time(x[20s])"), 200);
    assert_eq!(samples("rate(x[20s]) / rate(x[10s])"), 200);
    assert_eq!(samples("x / (x + x)"), 1000);
    // What looks further is read for itself, and so is what is not the same.
    assert_eq!(samples("rate(x[10s]) / rate(x[20s])"), 300);
    assert_eq!(samples("rate(x[10s]) / rate(x[10s] offset 20s)"), 200);
    assert_eq!(samples("sum(rate(x[10s])) / sum(rate(x{i!=\"\"}[10s]))"), 200);
    let value = |query: &str| format!("{:?}", at(&engine, query).unwrap().value);
    for (twice, once) in [
        ("max_over_time(x[20s]) - min_over_time(x[20s])", "delta(x[20s]) * 0 + 19"),
        ("x - x offset 10s", "x * 0 + 10"),
        ("count_over_time(x[20s]) - count_over_time(x[10s])", "x * 0 + 10"),
        ("sum_over_time(x[20s:1s]) - sum_over_time(x[20s])", "x * 0"),
        ("max_over_time(x[5s] offset 90s) - x", "x * 0 - 90"),
    ] {
        let (twice, once) = (at(&engine, twice).map(|r| r.value), at(&engine, once).map(|r| r.value));
        assert_eq!(format!("{twice:?}"), format!("{once:?}"));
    }
    assert!(!value("x / x").is_empty());
    // What is kept counts as held, and is given up before it costs the query.
    assert!(at(&engine, "x - x").unwrap().stats.peak > 2000);
    let peak = |engine: &Engine| at(engine, "count_over_time(x[100s]) - count_over_time(x[100s])").unwrap();
    let small = self::engine(10_000);
    assert_eq!((peak(&small).samples, peak(&engine).samples), (2000, 1000));
    assert!(peak(&small).stats.peak < 2000);
}
