//! A tree as JSON, in the shape of upstream's `parse_query`, for tools that show expressions.
//!
//! Source: Prometheus 3, `web/api/v1/translate_ast.go`. A duration with `step()` or `range()` in it is worked out as if
//! both were 0, because they are known only when a query runs.

use serde_json::{Value, json};

use super::ast::{
    Aggregate, At, Binary, Call, Expr, Extent, LabelMatcher, Length, Node, Operation, Place, Selector, Type,
};
use super::lengths::Spans;
use super::signatures::{Last, signature};
use crate::model::LABEL_NAME;
use crate::query::promql::format_value;

/// Returns an expression as JSON text.
pub(crate) fn json(expr: &Expr, text: &str) -> String {
    let mut out = String::new();
    Writer { text }.expr(expr, &mut out);
    out
}

struct Writer<'t> {
    text: &'t str,
}

impl Writer<'_> {
    fn expr(&self, expr: &Expr, out: &mut String) {
        match &expr.node {
            Node::Number(number) | Node::Duration(number) => {
                object(out, &[("type", json!("numberLiteral")), ("val", json!(format_value(*number)))]);
            }
            Node::Text(text) => object(out, &[("type", json!("stringLiteral")), ("val", json!(text))]),
            Node::Paren(inner) => {
                object(out, &[("type", json!("parenExpr"))]);
                self.last("expr", Some(inner), out);
            }
            Node::Unary { is_minus, inner } => match inner.node {
                // Upstream's parser makes one number of both.
                Node::Number(number) | Node::Duration(number) => {
                    let number = if *is_minus { -number } else { number };
                    object(out, &[("type", json!("numberLiteral")), ("val", json!(format_value(number)))]);
                }
                _ => {
                    object(out, &[("type", json!("unaryExpr")), ("op", json!(if *is_minus { "-" } else { "+" }))]);
                    self.last("expr", Some(inner), out);
                }
            },
            Node::Selector(selector) => {
                let mut members = vec![("type", json!("vectorSelector"))];
                members.extend(self.selector(selector));
                object(out, &members);
            }
            Node::Range(selector, range) => {
                let mut members = vec![("type", json!("matrixSelector")), ("range", self.milliseconds(range))];
                members.extend(self.selector(selector));
                object(out, &members);
            }
            Node::Subquery(subquery) => {
                let step = subquery.step.as_ref().map_or(json!(0), |step| self.milliseconds(step));
                let range = self.milliseconds(&subquery.range);
                let mut members = vec![("type", json!("subquery")), ("range", range), ("step", step)];
                members.extend(self.place(&subquery.place));
                object(out, &members);
                self.last("expr", Some(&subquery.input), out);
            }
            Node::Binary(binary) => self.chain(binary, out),
            Node::Aggregate(aggregate) => self.aggregate(aggregate, out),
            Node::Call(call) => self.call(call, out),
        }
    }

    /// Writes operations from the outermost in, without calling itself for each: a chain may be long.
    fn chain(&self, outermost: &Binary, out: &mut String) {
        let mut chain = vec![outermost];
        while let Some(Node::Binary(before)) = chain.last().map(|b| &b.left.node) {
            chain.push(before);
        }
        for binary in &chain {
            let op = binary.operation.text();
            let members = [("type", json!("binaryExpr")), ("op", json!(op)), ("bool", json!(binary.is_bool))];
            object(out, &members);
            open(out, "matching", &matching(binary).to_string());
            out.push_str(",\"lhs\":");
        }
        if let Some(first) = chain.last() {
            self.expr(&first.left, out);
        }
        for binary in chain.into_iter().rev() {
            out.push_str(",\"rhs\":");
            self.expr(&binary.right, out);
            out.push('}');
        }
    }

    fn aggregate(&self, aggregate: &Aggregate, out: &mut String) {
        let (is_without, names) = aggregate.grouping.clone().unwrap_or_default();
        let members = [
            ("type", json!("aggregation")),
            ("op", json!(aggregate.name)),
            ("grouping", json!(names)),
            ("without", json!(is_without)),
        ];
        object(out, &members);
        self.last("param", aggregate.parameter.as_ref(), out);
        self.last("expr", Some(&aggregate.input), out);
    }

    fn call(&self, call: &Call, out: &mut String) {
        let (types, variadic, returns) = signature(&call.name).map_or((&[][..], 0, Type::Vector), |s| {
            let variadic = match s.last {
                Last::Once => 0,
                Last::UpTo(times) => i64::try_from(times).unwrap_or(0),
                Last::Any => -1,
            };
            (s.arguments, variadic, s.returns)
        });
        let function = json!({
            "name": call.name,
            "argTypes": types.iter().map(|t| type_name(*t)).collect::<Vec<_>>(),
            "variadic": variadic,
            "returnType": type_name(returns),
        });
        object(out, &[("type", json!("call")), ("func", function)]);
        open(out, "args", "[");
        for (i, argument) in call.arguments.iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            self.expr(argument, out);
        }
        out.push_str("]}");
    }

    /// Adds a member that is an expression to the object written last.
    fn last(&self, name: &str, expr: Option<&Expr>, out: &mut String) {
        open(out, name, "");
        match expr {
            Some(expr) => self.expr(expr, out),
            None => out.push_str("null"),
        }
        out.push('}');
    }

    fn selector<'s>(&self, selector: &'s Selector) -> impl Iterator<Item = (&'static str, Value)> + use<'s> {
        let matcher = |LabelMatcher { name, op, value, .. }: &LabelMatcher| json!({ "name": name, "type": op.as_str(), "value": value });
        // The name before the braces comes last.
        let name = selector.name.iter().map(|name| json!({ "name": LABEL_NAME, "type": "=", "value": name }));
        let matchers: Vec<Value> = selector.matchers.iter().map(matcher).chain(name).collect();
        let members = [
            ("name", json!(selector.name.as_deref().unwrap_or(""))),
            ("matchers", json!(matchers)),
            ("anchored", json!(selector.extent == Extent::Anchored)),
            ("smoothed", json!(selector.extent == Extent::Smoothed)),
        ];
        members.into_iter().chain(self.place(&selector.place))
    }

    fn place(&self, place: &Place) -> [(&'static str, Value); 3] {
        let (timestamp, side) = match place.at {
            None => (Value::Null, Value::Null),
            Some(At::Time(seconds)) => (whole(seconds * 1000.0), Value::Null),
            Some(At::Start) => (Value::Null, json!("start")),
            Some(At::End) => (Value::Null, json!("end")),
        };
        let offset = place.offset.as_ref().map_or(json!(0), |offset| self.milliseconds(offset));
        [("offset", offset), ("timestamp", timestamp), ("startOrEnd", side)]
    }

    fn milliseconds(&self, length: &Length) -> Value {
        let seconds = length.seconds(Spans { step: 0.0, range: 0.0 }, self.text).unwrap_or(0.0);
        whole(seconds * 1000.0)
    }
}

fn matching(binary: &Binary) -> Value {
    // Numbers have nothing to match.
    if is_scalar(&binary.left) || is_scalar(&binary.right) {
        return Value::Null;
    }
    let (is_on, labels) = binary.matching.clone().unwrap_or_default();
    let (card, include) = match &binary.group {
        Some(group) if group.is_left => ("many-to-one", group.labels.clone()),
        Some(group) => ("one-to-many", group.labels.clone()),
        None if matches!(binary.operation, Operation::Set(_)) => ("many-to-many", Vec::new()),
        None => ("one-to-one", Vec::new()),
    };
    json!({
        "card": card,
        "labels": labels,
        "on": is_on,
        "include": include,
        "fillValues": { "lhs": binary.fill_left, "rhs": binary.fill_right },
    })
}

/// Tells whether an expression is a number at each step. Its types are known to fit.
fn is_scalar(expr: &Expr) -> bool {
    match &expr.node {
        Node::Number(_) | Node::Duration(_) => true,
        Node::Paren(inner) | Node::Unary { inner, .. } => is_scalar(inner),
        Node::Call(call) => signature(&call.name).is_some_and(|s| s.returns == Type::Scalar),
        Node::Binary(binary) => {
            let mut outermost = &**binary;
            while let Node::Binary(before) = &outermost.left.node {
                if !is_scalar(&outermost.right) {
                    return false;
                }
                outermost = before;
            }
            is_scalar(&outermost.left) && is_scalar(&outermost.right)
        }
        Node::Text(_) | Node::Selector(_) | Node::Range(..) | Node::Subquery(_) | Node::Aggregate(_) => false,
    }
}

fn type_name(of: Type) -> &'static str {
    match of {
        Type::Scalar => "scalar",
        Type::Vector => "vector",
        Type::Matrix => "matrix",
        Type::Text => "string",
    }
}

#[expect(clippy::cast_possible_truncation, reason = "saturates, which is meant")]
fn whole(number: f64) -> Value {
    json!(number.round() as i64)
}

/// Writes an object with these members.
fn object(out: &mut String, members: &[(&str, Value)]) {
    out.push('{');
    for (i, (name, value)) in members.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        out.push_str(&format!("\"{name}\":{value}"));
    }
    out.push('}');
}

/// Opens the object written last for one more member, which begins with `value`.
fn open(out: &mut String, name: &str, value: &str) {
    out.pop();
    out.push_str(&format!(",\"{name}\":{value}"));
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Value) {
        let found: Value = serde_json::from_str(&json(&parse(text).unwrap(), text)).unwrap();
        assert_eq!(found, expected, "{text}\n{found:#}");
    }

    fn metric(name: &str) -> Value {
        json!({
            "type": "vectorSelector", "name": name, "offset": 0, "timestamp": null, "startOrEnd": null,
            "matchers": [{ "name": "__name__", "type": "=", "value": name }], "anchored": false, "smoothed": false,
        })
    }

    #[test]
    fn literals_and_signs_are_told() {
        check("1_000", json!({ "type": "numberLiteral", "val": "1000" }));
        check("-5m", json!({ "type": "numberLiteral", "val": "-300" }));
        check("(\"a\")", json!({ "type": "parenExpr", "expr": { "type": "stringLiteral", "val": "a" } }));
        check("-a", json!({ "type": "unaryExpr", "op": "-", "expr": metric("a") }));
    }

    #[test]
    fn selectors_are_told_with_all_that_modifies_them() {
        check(
            "rate(a{b!~\"c\"}[5m] anchored @ 1.5 offset -1m)",
            json!({
                "type": "call",
                "func": { "name": "rate", "argTypes": ["matrix"], "variadic": 0, "returnType": "vector" },
                "args": [{
                    "type": "matrixSelector", "name": "a", "range": 300_000, "offset": -60_000, "timestamp": 1500,
                    "startOrEnd": null, "anchored": true, "smoothed": false,
                    "matchers": [
                        { "name": "b", "type": "!~", "value": "c" }, { "name": "__name__", "type": "=", "value": "a" },
                    ],
                }],
            }),
        );
        check(
            "(a)[1h * 2:] @ end()",
            json!({
                "type": "subquery", "expr": { "type": "parenExpr", "expr": metric("a") }, "range": 7_200_000, "step": 0,
                "offset": 0, "timestamp": null, "startOrEnd": "end",
            }),
        );
    }

    #[test]
    fn operations_say_how_they_match() {
        let none = json!({ "lhs": null, "rhs": null });
        let card = |card: &str, labels: &[&str], is_on: bool, include: &[&str]| json!({ "card": card, "labels": labels, "on": is_on, "include": include, "fillValues": none });
        let binary = |op: &str, matching: Value, lhs: Value, rhs: Value| json!({ "type": "binaryExpr", "op": op, "bool": false, "matching": matching, "lhs": lhs, "rhs": rhs });
        check(
            "a * on (x) group_left (y) b and a",
            binary(
                "and",
                card("many-to-many", &[], false, &[]),
                binary("*", card("many-to-one", &["x"], true, &["y"]), metric("a"), metric("b")),
                metric("a"),
            ),
        );
        let one = json!({ "type": "numberLiteral", "val": "1" });
        check("a + 1", binary("+", Value::Null, metric("a"), one));
    }

    #[test]
    fn aggregations_have_a_parameter_or_null() {
        let aggregation = |op: &str, param: Value, grouping: &[&str], without: bool| json!({ "type": "aggregation", "op": op, "param": param, "expr": metric("a"), "grouping": grouping, "without": without });
        check("sum(a)", aggregation("sum", Value::Null, &[], false));
        let two = json!({ "type": "numberLiteral", "val": "2" });
        check("topk without (b) (2, a)", aggregation("topk", two, &["b"], true));
    }
}
