//! Text of a file of tests to what is tested.

use std::time::Duration;

use super::{AlertTest, ExpressionTest, Test, UnitTests, series};
use crate::model::Labels;
use crate::yaml::{self, Fields, Item, Report};

/// As upstream has it.
const INTERVAL_DEFAULT: Duration = Duration::from_secs(60);

const FILE_KEYS: &[&str] = &["rule_files", "evaluation_interval", "group_eval_order", "fuzzy_compare", "tests"];
const TEST_KEYS: &[&str] =
    &["name", "interval", "input_series", "alert_rule_test", "promql_expr_test", "external_labels", "external_url"];

/// Reads a file of tests.
///
/// # Errors
/// All mistakes, each with its place.
pub fn read(path: &str, text: &str) -> Result<UnitTests, Vec<String>> {
    let report = Report::new(path);
    let tree = yaml::parse(text, &report);
    let tests = Item::root(&tree, &report).fields(FILE_KEYS).map(|fields| file(&fields));
    match (report.finish(), tests) {
        (Ok(_), Some(tests)) => Ok(tests),
        (Ok(_), None) => Err(vec![format!("{path}: holds no tests")]),
        (Err(mistakes), _) => Err(mistakes.to_string().lines().map(str::to_owned).collect()),
    }
}

fn file(fields: &Fields<'_>) -> UnitTests {
    let evaluation_interval = fields.positive_duration("evaluation_interval").unwrap_or(INTERVAL_DEFAULT);
    UnitTests {
        rule_files: fields.strings("rule_files"),
        evaluation_interval,
        group_order: group_order(fields),
        is_fuzzy: fields.bool("fuzzy_compare").unwrap_or(false),
        tests: fields.items("tests").iter().filter_map(|item| test(item, evaluation_interval)).collect(),
    }
}

/// Reads the order of groups; none may stand there twice.
fn group_order(fields: &Fields<'_>) -> Vec<String> {
    let mut order = Vec::new();
    for item in fields.items("group_eval_order") {
        let Some(name) = item.string() else { continue };
        if order.contains(&name) {
            let _: Option<()> = item.mistake("a group of this name stands before; each is named once");
        }
        order.push(name);
    }
    order
}

fn test(item: &Item<'_>, evaluation_interval: Duration) -> Option<Test> {
    let fields = item.fields(TEST_KEYS)?;
    Some(Test {
        name: fields.string("name").unwrap_or_default(),
        interval: fields.positive_duration("interval").unwrap_or(evaluation_interval),
        input: fields.items("input_series").iter().filter_map(input).collect(),
        alerts: fields.items("alert_rule_test").iter().filter_map(alert).collect(),
        expressions: fields.items("promql_expr_test").iter().filter_map(expression).collect(),
        external_labels: Labels::from_pairs(fields.string_map("external_labels")),
        external_url: fields.string("external_url").unwrap_or_default(),
    })
}

fn input(item: &Item<'_>) -> Option<(Labels, Vec<Option<f64>>)> {
    let fields = item.fields(&["series", "values"])?;
    let (name, values) = (fields.required("series")?, fields.required("values")?);
    let labels = series::labels(&name.string()?);
    let values_read = series::values(&values.string()?);
    Some((
        labels.or_else(|e| name.mistake(e).ok_or(())).ok()?,
        values_read.or_else(|e| values.mistake(e).ok_or(())).ok()?,
    ))
}

fn alert(item: &Item<'_>) -> Option<AlertTest> {
    let fields = item.fields(&["eval_time", "alertname", "exp_alerts"])?;
    let alertname = fields.required_string("alertname")?;
    let expected = fields.items("exp_alerts").into_iter().filter_map(|item| {
        let fields = item.fields(&["exp_labels", "exp_annotations"])?;
        let mut labels = fields.string_map("exp_labels");
        labels.insert("alertname".to_owned(), alertname.clone());
        Some((Labels::from_pairs(labels), Labels::from_pairs(fields.string_map("exp_annotations"))))
    });
    let expected = expected.collect();
    Some(AlertTest { eval_time: fields.duration("eval_time").unwrap_or_default(), alertname, expected })
}

fn expression(item: &Item<'_>) -> Option<ExpressionTest> {
    let fields = item.fields(&["expr", "eval_time", "exp_samples"])?;
    let expected = fields.items("exp_samples").into_iter().filter_map(|item| {
        let fields = item.fields(&["labels", "value", "histogram"])?;
        if let Some(histogram) = fields.get("histogram") {
            return histogram.mistake("native histograms are not kept");
        }
        let labels = match fields.get("labels") {
            Some(labels) => series::labels(&labels.string()?).or_else(|e| labels.mistake(e).ok_or(())).ok()?,
            None => Labels::empty(),
        };
        let value = fields.get("value").map_or(Some(0.0), |value| number(&value));
        Some((labels, value?))
    });
    let expected = expected.collect();
    let expression = fields.required_string("expr")?;
    Some(ExpressionTest { eval_time: fields.duration("eval_time").unwrap_or_default(), expression, expected })
}

/// Reads a number as YAML or Prometheus writes it: `.inf` and `+Inf` are the same.
fn number(item: &Item<'_>) -> Option<f64> {
    let yaml::Kind::Scalar { text, .. } = &item.node().kind else { return item.mistake("expected a number") };
    let plain = text.trim_start_matches(['+', '-']).trim_start_matches('.');
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    if plain.eq_ignore_ascii_case("inf") {
        return Some(sign * f64::INFINITY);
    }
    if plain.eq_ignore_ascii_case("nan") {
        return Some(f64::NAN);
    }
    text.parse().ok().or_else(|| item.mistake(format!("not a number: {text:?}")))
}
