//! What a template works on.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::tz::TimeZone;

use super::format::{format_float, format_time};
use crate::model::{Labels, Timestamp};

/// A value in a template; cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing; printed as `<no value>`.
    Nil,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number; a sample's value.
    Float(f64),
    /// A text.
    Text(Arc<str>),
    /// A time, in UTC.
    Time(Timestamp),
    /// A time as the clocks of a zone show it.
    LocalTime(Timestamp, TimeZone),
    /// A list, such as the answer of a query.
    List(Arc<Vec<Value>>),
    /// A label set: a label that is missing is an empty text.
    Labels(Labels),
    /// Label set of a notice: as [`Value::Labels`], with the methods that Alertmanager gives it.
    Pairs(Labels),
    /// Values by key: a key that is missing is nothing.
    Map(Arc<BTreeMap<String, Value>>),
    /// Named fields: one that is missing is an error.
    Record(Arc<Vec<(&'static str, Value)>>),
}

impl Value {
    /// Wraps a text.
    pub fn text(text: impl AsRef<str>) -> Value {
        Value::Text(Arc::from(text.as_ref()))
    }

    /// Returns a record with these fields.
    #[must_use]
    pub fn record(fields: Vec<(&'static str, Value)>) -> Value {
        Value::Record(Arc::new(fields))
    }

    /// Returns a sample as `query` gives it: fields `Labels` and `Value`.
    #[must_use]
    pub fn sample(labels: Labels, value: f64) -> Value {
        Value::record(vec![("Labels", Value::Labels(labels)), ("Value", Value::Float(value))])
    }

    /// Tells whether the value counts as true: not false, zero, empty or nothing.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Value::Nil => false,
            Value::Bool(b) => *b,
            Value::Int(i) => *i != 0,
            Value::Float(f) => *f != 0.0,
            Value::Text(t) => !t.is_empty(),
            Value::List(l) => !l.is_empty(),
            Value::Labels(l) | Value::Pairs(l) => !l.is_empty(),
            Value::Map(m) => !m.is_empty(),
            Value::Time(_) | Value::LocalTime(..) | Value::Record(_) => true,
        }
    }

    /// Returns the name of the value's type as Go calls it, for messages and `printf`.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Value::Nil => "<nil>",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float64",
            Value::Text(_) => "string",
            Value::Time(_) | Value::LocalTime(..) => "time",
            Value::List(_) => "list",
            Value::Labels(_) | Value::Pairs(_) => "labels",
            Value::Map(_) => "map",
            Value::Record(_) => "record",
        }
    }

    /// Returns a field, a label or a key of the value.
    pub(super) fn field(&self, name: &str) -> std::result::Result<Value, String> {
        if let Some(answer) = super::methods::call(self, name, &[]) {
            return answer;
        }
        match self {
            Value::Labels(labels) | Value::Pairs(labels) => Ok(Value::text(labels.get(name).unwrap_or(""))),
            Value::Map(map) => Ok(map.get(name).cloned().unwrap_or(Value::Nil)),
            Value::Record(fields) => fields.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone()).ok_or_else(|| {
                let known: Vec<String> = fields.iter().map(|(n, _)| format!(".{n}")).collect();
                format!("can't find field {name}; there are {}", known.join(", "))
            }),
            Value::Nil => Err(format!("nil data; no entry for key {name:?}")),
            Value::Bool(_)
            | Value::Int(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::Time(_)
            | Value::LocalTime(..)
            | Value::List(_) => Err(format!("can't take field {name} of a {}", self.type_name())),
        }
    }

    /// Writes the value as Go's `%v` does.
    pub(super) fn print(&self, out: &mut String) {
        match self {
            Value::Nil => out.push_str("<no value>"),
            Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
            Value::Int(i) => out.push_str(&i.to_string()),
            Value::Float(f) => out.push_str(&format_float(*f, 'g', None)),
            Value::Text(t) => out.push_str(t),
            Value::Time(t) => out.push_str(&format_time(*t, &TimeZone::UTC)),
            Value::LocalTime(t, zone) => out.push_str(&format_time(*t, zone)),
            Value::List(list) => print_all(out, "[", list.iter().map(|v| ("", v.clone())), "]"),
            Value::Labels(labels) | Value::Pairs(labels) => {
                print_all(out, "map[", labels.iter().map(|(n, v)| (n, Value::text(v))), "]");
            }
            Value::Map(map) => print_all(out, "map[", map.iter().map(|(n, v)| (n.as_str(), v.clone())), "]"),
            Value::Record(fields) => print_all(out, "{", fields.iter().map(|(_, v)| ("", v.clone())), "}"),
        }
    }

    /// Returns the value as printed.
    pub(super) fn to_text(&self) -> String {
        let mut text = String::new();
        self.print(&mut text);
        text
    }
}

fn print_all<'a>(out: &mut String, open: &str, values: impl Iterator<Item = (&'a str, Value)>, close: &str) {
    out.push_str(open);
    for (i, (name, value)) in values.enumerate() {
        if i > 0 {
            out.push(' ');
        }
        if !name.is_empty() {
            out.push_str(name);
            out.push(':');
        }
        value.print(out);
    }
    out.push_str(close);
}
