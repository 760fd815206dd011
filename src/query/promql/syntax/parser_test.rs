//! Expressions in, and what is written of them; mistakes, and what is said of them.

use super::*;
use crate::query::promql::Error;

/// Reads an expression and writes it again.
#[track_caller]
fn check(text: &str, expected: &str) {
    match parse(text) {
        Ok(expr) => assert_eq!(print::text(&expr), expected, "{text}"),
        Err(error) => panic!("{text}: {error}"),
    }
}

#[track_caller]
fn same(text: &str) {
    check(text, text);
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    match parse(text) {
        Ok(expr) => panic!("{text} is {expr:?}"),
        Err(error) => assert_eq!(error.to_string(), expected, "{text}"),
    }
}

/// Writes an expression with all its operations in parentheses.
fn grouped(expr: &Expr) -> String {
    match &expr.node {
        Node::Binary(b) => format!("({} {} {})", grouped(&b.left), b.operation.text(), grouped(&b.right)),
        Node::Unary { inner, .. } => format!("(-{})", grouped(inner)),
        _ => print::text(expr),
    }
}

#[test]
fn operators_bind_as_upstream_has_it() {
    for (text, expected) in [
        ("a + b * c ^ d ^ e", "(a + (b * (c ^ (d ^ e))))"),
        ("a - b - c", "((a - b) - c)"),
        ("a or b and c unless d", "(a or ((b and c) unless d))"),
        ("a == b + c", "(a == (b + c))"),
        ("-a ^ 2", "(-(a ^ 2))"),
        ("-a * b", "((-a) * b)"),
        ("2 ^ -a * 3", "((2 ^ (-a)) * 3)"),
        ("a atan2 b / c", "((a atan2 b) / c)"),
        ("a </ 1 + 2", "(a </ (1 + 2))"),
        ("a OR b aNd c", "(a or (b and c))"),
    ] {
        assert_eq!(grouped(&parse(text).unwrap()), expected, "{text}");
    }
}

#[test]
fn selectors_are_read() {
    same("up");
    same("up{job=\"a\",instance!~\"b.*\"}");
    check("{__name__=\"up\", job='a',}", "up{job=\"a\"}");
    check("{\"up\"}", "up");
    check("{\"with.dots\", \"label.name\"=\"v\"}", "{\"with.dots\",\"label.name\"=\"v\"}");
    check("up offset 5m @ 100", "up @ 100.000 offset 5m");
    check("up @ -1 offset -1h30m", "up @ -1.000 offset -1h30m");
    check("up[300]", "up[5m]");
    same("up[5m] @ start()");
    same("up[5m:1m] @ end() offset 1d");
    same("rate(up[5m])[1h:]");
    same("job:up:sum5m");
    check("up[5m] anchored offset 1m", "up[5m] anchored offset 1m");
    same("up smoothed");
    for keyword in ["sum", "offset", "by", "anchored", "step", "fill", "start", "AND"] {
        same(&format!("{keyword}{{by=\"on\",group_left=\"\"}}"));
    }
    same("sum by (smoothed, by, on) (sum)");
}

#[test]
fn durations_keep_their_arithmetic() {
    same("x[5m * 2]");
    same("x[2m * (10 + 5):step() * 2]");
    same("x[-5m + 35m]");
    same("x[max_of(min_of(step(), 1h), 1ms)]");
    check("x offset (1h / 2)", "x offset (1h / 2)");
    same("x offset -step()");
    check("x offset 1m * 2", "x offset 1m * 2");
    same("5m + 1");
}

#[test]
fn operations_and_calls_are_read() {
    same("a * on (b, \"c.d\") group_left (e) c");
    check("a / ignoring(b) group_right c", "a / ignoring (b) group_right () c");
    same("a > bool 1");
    same("a + on (x) fill (0) b");
    check("a + fill_left(1) fill_right(-2) b", "a + fill_left (1) fill_right (-2) b");
    check("sum(x) by (a)", "sum by (a) (x)");
    same("topk without () (5, x)");
    same("label_join(x, \"a\", \",\")");
    same("info(x, {data=~\".*\"})");
    same("time()");
    check("-1", "-1");
    check("+x", "+x");
}

#[test]
fn mistakes_are_told_with_their_place() {
    refused("", "1:1: parse error: no expression found in input");
    refused("sum(up", "1:4: parse error: unclosed left parenthesis");
    refused("up)", "1:3: parse error: unexpected \")\"");
    refused("up{job=\"a}", "1:8: parse error: unterminated quoted string");
    refused("up up", "1:4: parse error: unexpected identifier \"up\"");
    refused("1 +", "1:4: parse error: unexpected end of input");
    refused("up +\n nosuch(up)", "2:2: parse error: unknown function with name \"nosuch\"");
    refused("raet(up[5m])", "1:1: parse error: unknown function with name \"raet\", did you mean \"rate\"?");
    refused(
        "rate(up)",
        "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector",
    );
    refused("rate()", "1:1: parse error: expected 1 argument(s) in call to \"rate\", got 0");
    refused("round(up, 1, 2)", "1:1: parse error: expected at most 2 argument(s) in call to \"round\", got 3");
    refused("label_join(up)", "1:1: parse error: expected at least 3 argument(s) in call to \"label_join\", got 1");
    refused("sum()", "1:4: parse error: no arguments for aggregate expression provided");
    refused(
        "topk(up)",
        "1:5: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1",
    );
    refused("topk(\"a\", up)", "1:6: parse error: expected type scalar in aggregation parameter, got string");
    refused("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher");
    refused("{a=~\".*\"}", "1:1: parse error: vector selector must contain at least one non-empty matcher");
    refused("a{__name__=\"b\"}", "1:3: parse error: metric name must not be set twice: \"a\" or \"b\"");
    refused(
        "{a=\"b\" or c=\"d\"}",
        "1:8: parse error: unexpected identifier \"or\" in label matching, expected \",\" or \"}\"",
    );
    refused("1 == 2", "1:3: parse error: comparisons between scalars must use BOOL modifier");
    refused("a + bool b", "1:3: parse error: bool modifier can only be used on comparison operators");
    refused("1 and a", "1:1: parse error: set operator \"and\" not allowed in binary scalar expression");
    refused(
        "a[5m] anchored smoothed",
        "1:16: parse error: anchored and smoothed modifiers may be set only once and not together",
    );
    refused("a and on (x) group_left b", "1:3: parse error: no grouping allowed for \"and\" operation");
    refused("a + on (x) 1", "1:3: parse error: vector matching only allowed between instant vectors");
    refused("a + fill(0) 1", "1:3: parse error: filling in missing series only allowed between instant vectors");
    refused("a and fill(0) b", "1:3: parse error: filling in missing series is not allowed for set operators");
    refused(
        "a * on (x) group_left (x) b",
        "1:3: parse error: label \"x\" must not occur in ON and GROUP clause at once",
    );
    refused("a + \"b\"", "1:5: parse error: binary expression must contain only scalar and instant vector types");
    refused(
        "+\"a\"",
        "1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got \"string\"",
    );
    refused("a[5m:1m][5m]", "1:9: parse error: ranges only allowed for vector selectors");
    refused("a offset 1m[5m]", "1:12: parse error: no offset modifiers allowed before range");
    refused("a offset 1m offset 1m", "1:13: parse error: offset may not be set multiple times");
    refused(
        "sum(a) @ 1",
        "1:8: parse error: @ modifier must be preceded by an instant vector selector or range vector selector or a subquery",
    );
    refused("a @ Inf", "1:5: parse error: timestamp out of bounds for @ modifier: inf");
    refused(
        "a[b]",
        "1:3: parse error: unexpected identifier \"b\" in duration expression, expected number, duration, step(), or range()",
    );
    refused("sum(a)[5m]", "1:7: parse error: ranges only allowed for vector selectors");
    refused("time()[5m:1m]", "1:1: parse error: subquery is only allowed on instant vector, got scalar instead");
    refused(
        "info(m, target_info{a=\"b\"})",
        "1:9: parse error: expected label selectors only, got vector selector instead",
    );
    refused(
        "sum(a) smoothed",
        "1:8: parse error: smoothed modifier must be preceded by an instant vector selector or range vector selector",
    );
    refused("rate(a[5m],)", "1:12: parse error: trailing commas not allowed in function call args");
    refused("on", "1:1: parse error: unexpected identifier \"on\"");
}

#[test]
fn long_expressions_are_split() {
    let name = "a".repeat(60);
    let text =
        format!("sum by (job) (rate({name}{{job=\"x\"}}[5m])) / on (job) group_left () max({name}[1m:] offset 1m)");
    assert!(matches!(parse(&text), Err(Error::Parse { .. })));
    let text = format!("sum by (job) (rate({name}{{job=\"x\"}}[5m])) / topk(5, -{name})");
    let expected = format!("  sum by (job) (rate({name}{{job=\"x\"}}[5m]))\n/\n  topk(5, -{name})");
    assert_eq!(pretty(&parse(&text).unwrap()), expected);
    let text = format!("label_replace(({name} + {name}), \"a\", \"b\", \"c\", \"d\")");
    let expected = format!(
        "label_replace(\n  (\n      {name}\n    +\n      {name}\n  ),\n  \"a\",\n  \"b\",\n  \"c\",\n  \"d\"\n)"
    );
    assert_eq!(pretty(&parse(&text).unwrap()), expected);
}

#[test]
fn bounds_are_kept() {
    let nested = |n: usize| format!("{}1{}", "(".repeat(n), ")".repeat(n));
    assert!(parse(&nested(parser::NESTING_MAX)).is_ok());
    assert!(matches!(parse(&nested(parser::NESTING_MAX + 1)), Err(Error::Limit(_))));
    let chain = |n: usize| format!("1{}", "+1".repeat(n));
    assert!(pretty(&parse(&chain(parser::CHAIN_MAX)).unwrap()).ends_with(" 1"));
    assert!(matches!(parse(&chain(parser::CHAIN_MAX + 1)), Err(Error::Limit(_))));
    assert!(matches!(parse(&"a ".repeat(20_000)), Err(Error::Limit(_))));
    assert!(matches!(parse(&" ".repeat((64 << 10) + 1)), Err(Error::Limit(_))));
    for signs in ["-", "+-"] {
        assert!(matches!(parse(&format!("{}1", signs.repeat(4000))), Err(Error::Limit(_))));
    }
    assert!(matches!(parse(&format!("x[{}1]", "-".repeat(4000))), Err(Error::Limit(_))));
    assert!(matches!(parse(&format!("2{}", "^2".repeat(900))), Err(Error::Limit(_))));
}

/// The words that a query may be made of.
const PIECES: [&str; 40] = [
    "x",
    "y{a=\"b\"}",
    "(",
    ")",
    "[",
    "]",
    "5m",
    ":",
    "1",
    "+",
    "-",
    "*",
    "^",
    "==",
    "bool",
    "and",
    "or",
    "on",
    "(a)",
    "group_left",
    "by",
    "sum",
    "topk",
    "rate",
    "offset",
    "@",
    "start",
    "()",
    "{",
    "}",
    "=",
    "=~",
    "\"t\"",
    ",",
    "anchored",
    "fill",
    "step()",
    "info",
    "</",
    "inf",
];

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,60}") {
        let _ = parse(&text);
    }

    #[test]
    fn what_is_written_reads_the_same(pieces in proptest::collection::vec(0..PIECES.len(), 0..14)) {
        let text: Vec<&str> = pieces.iter().map(|p| PIECES[*p]).collect();
        if let Ok(expr) = parse(&text.join(" ")) {
            let written = print::text(&expr);
            let again = parse(&written).map(|e| print::text(&e));
            proptest::prop_assert_eq!(again.unwrap(), written);
            proptest::prop_assert!(parse(&pretty(&expr)).is_ok());
        }
    }
}
