//! Which lines pass which query, and where a query is wrong.

use super::*;
use crate::model::{Labels, LogEntry};

fn entry(line: &str) -> LogEntry {
    let stream = Labels::from_pairs([("job", "devices"), ("device", "press-1"), ("level", "warn")]);
    LogEntry { stream, timestamp_ns: 0, line: line.to_owned() }
}

#[track_caller]
fn check(query: &str, line: &str, expected: bool) {
    let filter = Filter::new(query).unwrap_or_else(|e| panic!("{query}: {e}"));
    assert_eq!(filter.matches(&entry(line)), expected, "{query} on {line}");
}

#[track_caller]
fn check_error(query: &str, expected: &str) {
    let error = Filter::new(query).expect_err(query).to_string();
    assert_eq!(error, expected, "{query}");
}

#[test]
fn a_selector_picks_streams() {
    check("{}", "x", true);
    check(r#"{job="devices"}"#, "x", true);
    check(r#" { job = "devices" , level=~"warn|error", } # all of it"#, "x", true);
    check(r#"{job!="devices"}"#, "x", false);
    check(r#"{level!~"w.*"}"#, "x", false);
    check(r#"{area=""}"#, "x", true);
    check("{device=`press-1`}", "x", true);
}

#[test]
fn line_filters_look_for_texts() {
    check(r#"{} |= "jam""#, "paper jam", true);
    check(r#"{} |= "Jam""#, "paper jam", false);
    check(r#"{} |~ "(?i)JAM$""#, "paper jam", true);
    check(r#"{} != "jam""#, "paper jam", false);
    check(r#"{} !~ "p.p""#, "paper jam", false);
    check(r#"{} |= "paper" |= "jam" != "test""#, "paper jam", true);
    check(r#"{} |= "wood" or "paper""#, "paper jam", true);
    check(r#"{} != "wood" or "paper""#, "paper jam", false);
    check(r#"{} |= "a\"b\u00fc""#, "a\"bü", true);
    check(r#"{} |= """#, "anything", true);
}

#[test]
fn fields_of_json_and_logfmt_are_compared() {
    let line = r#"{"level":"error","took":"250ms","size":"10KB","n":7,"at":{"zone":"b"}}"#;
    check(r#"{} | json | level_extracted="error""#, line, true);
    check(r#"{} | json | level="warn""#, line, true);
    check(r#"{} | json | at_zone=~"a|b""#, line, true);
    check("{} | json | n > 6", line, true);
    check("{} | json | n >= 7 and n <= 7", line, true);
    check("{} | json | n == 7", line, true);
    check("{} | json | n != 7", line, false);
    check("{} | json | n < -1.5e3", line, false);
    check("{} | json | took > 200ms", line, true);
    check("{} | json | took > 1s", line, false);
    check("{} | json | size >= 10KB", line, true);
    check("{} | json | (n > 9 or at_zone=\"b\") and level=\"warn\"", line, true);
    check("{} | json | n > 9 or at_zone=\"b\", level=\"info\"", line, false);
    check("{} | json | n = 7 at_zone != \"c\"", line, true);
    check("{} | logfmt | took < 1s | n=3", "took=20ms n=3", true);
    check("{} | json | missing > 1", line, false);
    check("{} | json | missing=\"\"", line, true);
}

#[test]
fn lines_that_do_not_parse_pass_with_an_error_label_as_in_loki() {
    check("{} | json | n > 6", "no json", true);
    check("{} | json | n > 6 | __error__=\"\"", "no json", false);
    check("{} | json | n=\"7\"", "no json", false);
    let found = Filter::new("{} | json | n > 6").unwrap().apply(entry(r#"{"n":"seven"}"#)).unwrap();
    assert_eq!(found.labels.get("__error__"), Some("LabelFilterErr"));
    assert_eq!(found.entry.stream.get("n"), None);
    assert_eq!(found.labels.get("n"), Some("seven"));
}

#[test]
fn only_texts_that_each_line_holds_are_needles() {
    let filter = Filter::new(r#"{} |= "a" |= "b" or "c" != "d" |~ "e" |= """#).unwrap();
    assert_eq!(filter.needles(), ["a"]);
}

#[test]
fn a_mistake_has_its_column() {
    check_error("", "1:1: parse error: expected a stream selector such as {job=\"devices\"}, found the end");
    check_error(
        "jam",
        "1:1: parse error: jam: queries over lines only for now; expected a stream selector such as {job=\"devices\"}",
    );
    check_error("{job}", "1:5: parse error: expected one of = != =~ !~, found \"}\"");
    check_error("{ü=\"\"}", "1:2: parse error: expected a label name, found \"ü=\\\"\\\"}\"");
    check_error("{job=\"ü\" x", "1:10: parse error: expected \",\" or \"}\", found \"x\"");
    check_error("{job=\"a}", "1:6: parse error: the string does not end");
    check_error(
        "{job=~\"(\"}",
        "1:7: parse error: invalid regular expression \"(\": missing closing ): unclosed group",
    );
    check_error("{} |~ \"(\"", "1:7: parse error: invalid regular expression \"(\": missing closing ): unclosed group");
    check_error("{} |= jam", "1:7: parse error: expected a string in double quotes or backquotes, found \"jam\"");
    check_error(
        "{} |= \"\\d\"",
        "1:8: parse error: unknown escape in a string; in backquotes a backslash is just that",
    );
    check_error("{} jam", "1:4: parse error: expected a filter such as |= \"text\" or | json, found \"jam\"");
    check_error("{} | line_format \"x\"", "1:6: parse error: line_format is not supported");
    check_error(
        "{} | json a=\"b\"",
        "1:11: parse error: parameters of json are not supported; it takes out all fields",
    );
    check_error(
        "{} | a > \"b\"",
        "1:10: parse error: expected a number, a duration such as 250ms or a size such as 10KB, found \"\\\"b\\\"\"",
    );
    check_error("{} | a > 5parsecs", "1:10: parse error: \"5parsecs\" is not a number, a duration or a size");
    check_error("{} | a =~ 5", "1:11: parse error: an expression stands in quotes");
    check_error("{} | (a=1", "1:10: parse error: expected \")\", found the end");
    check_error("{} | ", "1:6: parse error: expected json, logfmt or a label name, found the end");
}

#[test]
fn a_query_is_bounded() {
    let deep = format!("{{}} | {}a=1{}", "(".repeat(64), ")".repeat(64));
    check(&deep, "x", false);
    let deeper = format!("{{}} | {}a=1{}", "(".repeat(66), ")".repeat(66));
    assert!(Filter::new(&deeper).unwrap_err().to_string().contains("nest deeper"));
    assert!(
        Filter::new(&format!("{{}}{}", " |= \"a\"".repeat(129))).unwrap_err().to_string().contains("more than 128")
    );
    assert!(Filter::new(&"{".repeat(70_000)).unwrap_err().to_string().contains("longer than"));
    assert!(Filter::new("{} |~ \"(a{900}){900}\"").is_err());
}

proptest::proptest! {
    #[test]
    fn any_text_is_a_query_or_an_error(text in "[{}|=~!<>(),\"`a-z0-9_. \\\\ü#\n-]{0,60}") {
        let _ = Filter::new(&text);
        let _ = Filter::new(&format!("{{}} | json | {text}"));
    }
}
