//! The methods that values have in Alertmanager's templates: `.Alerts.Firing`, `.CommonLabels.SortedPairs`,
//! `.StartsAt.Format "15:04"`.
//!
//! Source: Alertmanager, `template/template.go`; Go, `time.Time.Format`.

use std::sync::Arc;

use jiff::tz::TimeZone;

use super::format::format_layout;
use super::value::Value;
use crate::model::Labels;

type Answer = Result<Value, String>;

/// Calls a method; `None` if the value has none of that name.
pub(super) fn call(value: &Value, name: &str, arguments: &[Value]) -> Option<Answer> {
    let answer = match value {
        Value::Pairs(labels) => of_pairs(labels, name, arguments)?,
        Value::List(list) => of_list(list, name)?,
        Value::Time(time) => match (name, arguments) {
            ("Format", [Value::Text(layout)]) => Ok(Value::text(format_layout(*time, &TimeZone::UTC, layout))),
            ("Format", _) => return Some(Err("Format wants one text: the layout".to_owned())),
            ("Unix", []) => Ok(Value::Int(time.as_millis().div_euclid(1000))),
            ("UTC" | "Local", []) => Ok(value.clone()),
            _ => return None,
        },
        Value::LocalTime(time, zone) => match (name, arguments) {
            ("Format", [Value::Text(layout)]) => Ok(Value::text(format_layout(*time, zone, layout))),
            ("Local", []) => Ok(value.clone()),
            _ => return call(&Value::Time(*time), name, arguments),
        },
        _ => return None,
    };
    Some(if arguments.is_empty() || takes_arguments(name) {
        answer
    } else {
        Err(format!("{name} takes no arguments, got {}", arguments.len()))
    })
}

fn takes_arguments(name: &str) -> bool {
    matches!(name, "Format" | "Remove")
}

fn of_pairs(labels: &Labels, name: &str, arguments: &[Value]) -> Option<Answer> {
    Some(match name {
        "SortedPairs" => Ok(Value::List(Arc::new(sorted(labels)))),
        "Names" | "Values" => return of_list(&sorted(labels), name),
        "Remove" => match arguments {
            [Value::List(names)] => {
                let names: Vec<String> = names.iter().map(Value::to_text).collect();
                Ok(Value::Pairs(labels.drop(&names)))
            }
            _ => Err("Remove wants one list of names".to_owned()),
        },
        _ => return None,
    })
}

/// Returns the pairs by name, but `alertname` first.
fn sorted(labels: &Labels) -> Vec<Value> {
    let mut pairs: Vec<(&str, &str)> = labels.iter().collect();
    pairs.sort_by_key(|(name, _)| (*name != "alertname", *name));
    let pair = |(name, value)| Value::record(vec![("Name", Value::text(name)), ("Value", Value::text(value))]);
    pairs.into_iter().map(pair).collect()
}

fn of_list(list: &[Value], name: &str) -> Option<Answer> {
    let field = |item: &Value, name: &str| match item {
        Value::Record(fields) => fields.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone()),
        _ => None,
    };
    let list: Vec<Value> = match name {
        "Firing" | "Resolved" => {
            let wanted = name.to_lowercase();
            let is_wanted = |item: &&Value| field(item, "Status").is_some_and(|status| status.to_text() == wanted);
            list.iter().filter(is_wanted).cloned().collect()
        }
        "Names" => list.iter().filter_map(|item| field(item, "Name")).collect(),
        "Values" => list.iter().filter_map(|item| field(item, "Value")).collect(),
        _ => return None,
    };
    Some(Ok(Value::List(Arc::new(list))))
}
