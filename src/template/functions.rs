//! The functions of templates: Prometheus's and those that Go's templates bring along.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::tz::TimeZone;
use regex::{Regex, RegexBuilder};

use super::error::{Error, Result};
use super::format::{format_float, format_layout, quote, sprintf};
use super::humanize::{
    go_duration, humanize, humanize_1024, humanize_duration, humanize_percentage, humanize_timestamp,
};
use super::render::{Context, TEXT_BYTES_MAX};
use super::value::Value;
use crate::model::{Timestamp, encode_query, escape_html, parse_duration};

/// Upper bound of a compiled expression of `match` and `reReplaceAll`.
const REGEX_BYTES_MAX: usize = 1 << 20;

macro_rules! functions {
    ($($variant:ident $name:literal),+ $(,)?) => {
        /// A function that templates may call.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Function { $(#[doc = $name] $variant),+ }

        impl Function {
            /// Finds a function by its name in templates.
            pub(super) fn named(name: &str) -> Option<Function> {
                match name { $($name => Some(Function::$variant),)+ _ => None }
            }

            /// Returns the name in templates.
            pub(super) fn name(self) -> &'static str {
                match self { $(Function::$variant => $name),+ }
            }

            /// Returns all names, for suggestions.
            pub(super) fn names() -> Vec<&'static str> {
                vec![$($name),+]
            }
        }
    };
}

functions! {
    And "and", Or "or", Not "not", Eq "eq", Ne "ne", Lt "lt", Le "le", Gt "gt", Ge "ge",
    Len "len", Index "index", Slice "slice", Print "print", Printf "printf", Println "println",
    Html "html", Js "js", UrlQuery "urlquery",
    Query "query", First "first", Label "label", ValueOf "value", StrValue "strvalue", SortByLabel "sortByLabel",
    Args "args", Match "match", ReReplaceAll "reReplaceAll", SafeHtml "safeHtml", Title "title",
    ToUpper "toUpper", ToLower "toLower", StripPort "stripPort", StripDomain "stripDomain",
    Humanize "humanize", Humanize1024 "humanize1024", HumanizeDuration "humanizeDuration",
    HumanizePercentage "humanizePercentage", HumanizeTimestamp "humanizeTimestamp",
    ToTime "toTime", ToDuration "toDuration", Now "now", ParseDuration "parseDuration",
    GraphLink "graphLink", TableLink "tableLink", ExternalUrl "externalURL", PathPrefix "pathPrefix",
    UrlQueryEscape "urlQueryEscape",
    Join "join", StringSlice "stringSlice", TrimSpace "trimSpace", SafeUrl "safeUrl", UrlUnescape "urlUnescape",
    Date "date", Since "since", Tz "tz", ToJson "toJson",
}

impl Function {
    /// Calls the function. `and` and `or` get all values here; the renderer stops them early.
    pub(super) fn call(self, context: &Context<'_>, args: &[Value]) -> Result<Value> {
        let value = self.answer(context, args).map_err(|e| match e {
            Error::Value(message) => Error::Value(format!("error calling {}: {message}", self.name())),
            Error::Limit(_) => e,
        })?;
        match &value {
            Value::Text(text) if text.len() > TEXT_BYTES_MAX => Err(Error::Limit("makes a text of more than 16 KiB")),
            _ => Ok(value),
        }
    }

    fn answer(self, context: &Context<'_>, args: &[Value]) -> Result<Value> {
        use Function as F;
        match self {
            F::And | F::Or | F::Not | F::Eq | F::Ne | F::Lt | F::Le | F::Gt | F::Ge => logic(self, args),
            F::Len | F::Index | F::Slice | F::First | F::Label | F::ValueOf | F::StrValue | F::SortByLabel => {
                collection(self, args)
            }
            F::Print => Ok(Value::text(sprint(args))),
            F::Println => Ok(Value::text(args.iter().map(Value::to_text).collect::<Vec<_>>().join(" ") + "\n")),
            F::Printf => match args.split_first() {
                Some((format, values)) => Ok(Value::text(sprintf(&text(format)?, values))),
                None => fail("wrong number of args: want at least 1 got 0"),
            },
            F::Query => {
                let [expression] = exactly(args)?;
                let samples = (context.query)(&text(expression)?).map_err(Error::Value)?;
                let samples = samples.into_iter().map(|(labels, value)| Value::sample(labels, value));
                Ok(Value::List(Arc::new(samples.collect())))
            }
            F::Args => {
                let named = args.iter().enumerate().map(|(i, v)| (format!("arg{i}"), v.clone()));
                Ok(Value::Map(Arc::new(named.collect::<BTreeMap<_, _>>())))
            }
            F::ExternalUrl => Ok(Value::text(context.external_url)),
            F::PathPrefix => Ok(Value::text(path_of(context.external_url))),
            F::Now => Ok(Value::Float(context.now.as_seconds())),
            F::Humanize
            | F::Humanize1024
            | F::HumanizeDuration
            | F::HumanizePercentage
            | F::HumanizeTimestamp
            | F::ToTime
            | F::ToDuration => {
                let [value] = exactly(args)?;
                Ok(of_number(self, number(value)?))
            }
            F::Match | F::ReReplaceAll => by_regex(self, args),
            F::Join | F::StringSlice | F::Date | F::Since | F::Tz | F::ToJson => of_notice(self, context, args),
            F::Html
            | F::Js
            | F::UrlQuery
            | F::SafeHtml
            | F::Title
            | F::ToUpper
            | F::ToLower
            | F::StripPort
            | F::StripDomain
            | F::ParseDuration
            | F::GraphLink
            | F::TableLink
            | F::UrlQueryEscape
            | F::TrimSpace
            | F::SafeUrl
            | F::UrlUnescape => {
                let joined;
                let subject = match (self, args) {
                    // These three of Go's take any number of anything.
                    (F::Html | F::Js | F::UrlQuery, _) => {
                        joined = sprint(args);
                        joined
                    }
                    (_, [one]) => text(one)?,
                    _ => return fail(format!("wrong number of args: want 1 got {}", args.len())),
                };
                of_text(self, &subject)
            }
        }
    }
}

fn fail<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::Value(message.into()))
}

fn exactly<const N: usize>(args: &[Value]) -> Result<&[Value; N]> {
    args.try_into().map_err(|_| Error::Value(format!("wrong number of args: want {N} got {}", args.len())))
}

fn text(value: &Value) -> Result<String> {
    match value {
        Value::Text(text) => Ok(text.as_ref().to_owned()),
        other => fail(format!("expected a string, got {}", other.type_name())),
    }
}

/// Reads a number as Prometheus's functions do: a number, or a text that is one.
fn number(value: &Value) -> Result<f64> {
    match value {
        Value::Float(f) => Ok(*f),
        #[expect(clippy::cast_precision_loss, reason = "Go converts the same way")]
        Value::Int(i) => Ok(*i as f64),
        Value::Text(t) => t.parse().map_err(|_| Error::Value(format!("strconv.ParseFloat: parsing {}", quote(t)))),
        other => fail(format!("can't convert {} to float", other.type_name())),
    }
}

/// Joins values as Go's `Sprint`: a blank between two that are not texts.
fn sprint(args: &[Value]) -> String {
    let mut out = String::new();
    let is_text = |v: &Value| matches!(v, Value::Text(_));
    for (i, value) in args.iter().enumerate() {
        let previous = i.checked_sub(1).and_then(|i| args.get(i));
        if previous.is_some_and(|p| !is_text(p) && !is_text(value)) {
            out.push(' ');
        }
        value.print(&mut out);
    }
    out
}

fn logic(function: Function, args: &[Value]) -> Result<Value> {
    use Function as F;
    let first = args.first().ok_or_else(|| Error::Value("wrong number of args: want at least 1 got 0".to_owned()))?;
    let last = args.last().unwrap_or(first);
    let order = || {
        let [a, b] = exactly(args)?;
        compare(a, b)
    };
    Ok(match function {
        F::And => args.iter().find(|v| !v.is_true()).unwrap_or(last).clone(),
        F::Or => args.iter().find(|v| v.is_true()).unwrap_or(last).clone(),
        F::Not => {
            let [value] = exactly(args)?;
            Value::Bool(!value.is_true())
        }
        F::Ne => {
            let [a, b] = exactly(args)?;
            Value::Bool(!equal(a, b)?)
        }
        F::Lt => Value::Bool(order()? == Some(Ordering::Less)),
        F::Le => Value::Bool(matches!(order()?, Some(Ordering::Less | Ordering::Equal))),
        F::Gt => Value::Bool(order()? == Some(Ordering::Greater)),
        F::Ge => Value::Bool(matches!(order()?, Some(Ordering::Greater | Ordering::Equal))),
        // `eq`: the first equals any of the others.
        _ => {
            if args.len() < 2 {
                return fail("missing argument for comparison");
            }
            let mut found = false;
            for other in args.iter().skip(1) {
                found |= equal(first, other)?;
            }
            Value::Bool(found)
        }
    })
}

/// Compares as Go does, but lets whole numbers and fractions be compared, where Go refuses.
fn compare(a: &Value, b: &Value) -> Result<Option<Ordering>> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Ok(Some(a.cmp(b))),
        (Value::Int(_) | Value::Float(_), Value::Int(_) | Value::Float(_)) => Ok(number(a)?.partial_cmp(&number(b)?)),
        (Value::Text(a), Value::Text(b)) => Ok(Some(a.cmp(b))),
        (Value::Time(a) | Value::LocalTime(a, _), Value::Time(b) | Value::LocalTime(b, _)) => Ok(Some(a.cmp(b))),
        _ => fail(format!("incompatible types for comparison: {} and {}", a.type_name(), b.type_name())),
    }
}

fn equal(a: &Value, b: &Value) -> Result<bool> {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Nil, Value::Nil) => Ok(true),
        (Value::Nil, _) | (_, Value::Nil) => Ok(false),
        _ => Ok(compare(a, b)? == Some(Ordering::Equal)),
    }
}

fn position(value: &Value, len: usize) -> Result<usize> {
    match value {
        Value::Int(i) => match usize::try_from(*i) {
            Ok(i) if i <= len => Ok(i),
            _ => fail(format!("index out of range: {i}")),
        },
        other => fail(format!("cannot index with a {}", other.type_name())),
    }
}

fn collection(function: Function, args: &[Value]) -> Result<Value> {
    use Function as F;
    match function {
        F::Len => {
            let [value] = exactly(args)?;
            let len = match value {
                Value::Text(t) => t.len(),
                Value::List(l) => l.len(),
                Value::Labels(l) | Value::Pairs(l) => l.len(),
                Value::Map(m) => m.len(),
                other => return fail(format!("len of type {}", other.type_name())),
            };
            Ok(Value::Int(i64::try_from(len).unwrap_or(i64::MAX)))
        }
        F::Index => {
            let Some((value, keys)) = args.split_first() else { return fail("index of untyped nil") };
            keys.iter().try_fold(value.clone(), |value, key| index(&value, key))
        }
        F::Slice => slice(args),
        F::First => {
            let [value] = exactly(args)?;
            match list(value)?.first() {
                Some(first) => Ok(first.clone()),
                None => fail("first() called on vector with no elements"),
            }
        }
        F::Label => {
            let [name, sample] = exactly(args)?;
            label_of(sample, &text(name)?)
        }
        F::StrValue => {
            let [sample] = exactly(args)?;
            label_of(sample, "__value__")
        }
        F::ValueOf => {
            let [sample] = exactly(args)?;
            sample.field("Value").map_err(Error::Value)
        }
        // `sortByLabel`
        _ => {
            let [name, samples] = exactly(args)?;
            let name = text(name)?;
            let mut keyed: Vec<(String, Value)> = Vec::new();
            for sample in list(samples)?.iter() {
                keyed.push((label_of(sample, &name)?.to_text(), sample.clone()));
            }
            keyed.sort_by(|a, b| a.0.cmp(&b.0));
            Ok(Value::List(Arc::new(keyed.into_iter().map(|(_, v)| v).collect())))
        }
    }
}

fn list(value: &Value) -> Result<&Arc<Vec<Value>>> {
    match value {
        Value::List(list) => Ok(list),
        other => fail(format!("expected the answer of a query, got {}", other.type_name())),
    }
}

fn label_of(sample: &Value, name: &str) -> Result<Value> {
    sample.field("Labels").and_then(|labels| labels.field(name)).map_err(Error::Value)
}

fn index(value: &Value, key: &Value) -> Result<Value> {
    match value {
        Value::List(list) => match list.get(position(key, list.len())?) {
            Some(found) => Ok(found.clone()),
            None => fail(format!("index out of range: {}", list.len())),
        },
        Value::Text(t) => match t.as_bytes().get(position(key, t.len())?) {
            Some(byte) => Ok(Value::Int(i64::from(*byte))),
            None => fail(format!("index out of range: {}", t.len())),
        },
        Value::Labels(_) | Value::Pairs(_) | Value::Map(_) => value.field(&text(key)?).map_err(Error::Value),
        other => fail(format!("can't index item of type {}", other.type_name())),
    }
}

fn slice(args: &[Value]) -> Result<Value> {
    let (value, bounds) = match args {
        [value, bounds @ ..] if bounds.len() <= 2 => (value, bounds),
        _ => return fail("wrong number of args"),
    };
    let len = match value {
        Value::Text(t) => t.len(),
        Value::List(l) => l.len(),
        other => return fail(format!("slice of type {}", other.type_name())),
    };
    let start = bounds.first().map_or(Ok(0), |b| position(b, len))?;
    let end = bounds.get(1).map_or(Ok(len), |b| position(b, len))?;
    let cut = match value {
        Value::Text(t) => t.get(start..end).map(Value::text),
        Value::List(l) => l.get(start..end).map(|part| Value::List(Arc::new(part.to_vec()))),
        _ => None,
    };
    cut.ok_or_else(|| Error::Value(format!("invalid slice index: {start} > {end}, or inside a character")))
}

fn of_number(function: Function, value: f64) -> Value {
    use Function as F;
    match function {
        F::Humanize => Value::text(humanize(value)),
        F::Humanize1024 => Value::text(humanize_1024(value)),
        F::HumanizeDuration => Value::text(humanize_duration(value)),
        F::HumanizePercentage => Value::text(humanize_percentage(value)),
        F::HumanizeTimestamp => Value::text(humanize_timestamp(value)),
        F::ToTime if value.is_finite() => Value::Time(Timestamp::from_seconds(value)),
        F::ToDuration => Value::text(go_duration(value)),
        _ => Value::text(format_float(value, 'g', Some(4))),
    }
}

fn by_regex(function: Function, args: &[Value]) -> Result<Value> {
    let compile = |pattern: &Value| -> Result<Regex> {
        let built =
            RegexBuilder::new(&text(pattern)?).size_limit(REGEX_BYTES_MAX).dfa_size_limit(REGEX_BYTES_MAX).build();
        built.map_err(|e| Error::Value(e.to_string().lines().last().unwrap_or("bad expression").to_owned()))
    };
    if function == Function::Match {
        let [pattern, subject] = exactly(args)?;
        return Ok(Value::Bool(compile(pattern)?.is_match(&text(subject)?)));
    }
    let [pattern, replacement, subject] = exactly(args)?;
    Ok(Value::text(compile(pattern)?.replace_all(&text(subject)?, text(replacement)?.as_str())))
}

fn of_text(function: Function, subject: &str) -> Result<Value> {
    use Function as F;
    Ok(Value::text(match function {
        F::ToUpper => subject.chars().map(|c| single(c, c.to_uppercase())).collect(),
        F::ToLower => subject.chars().map(|c| single(c, c.to_lowercase())).collect(),
        F::Title => title(subject),
        F::StripPort => strip_port(subject).to_owned(),
        F::StripDomain => strip_domain(subject),
        F::Html => escape_html(subject),
        F::Js => escape_js(subject),
        F::UrlQuery | F::UrlQueryEscape => encode_query(subject),
        F::GraphLink => format!("/graph?g0.expr={}&g0.tab=0", encode_query(subject)),
        F::TableLink => format!("/graph?g0.expr={}&g0.tab=1", encode_query(subject)),
        F::ParseDuration => match parse_duration(subject) {
            Ok(duration) => return Ok(Value::Float(duration.as_secs_f64())),
            Err(e) => return fail(e.to_string()),
        },
        F::TrimSpace => subject.trim().to_owned(),
        F::UrlUnescape => unescape_query(subject)?,
        // `safeHtml`, `safeUrl`: nothing is escaped in text templates.
        _ => subject.to_owned(),
    }))
}

/// The functions that only Alertmanager has.
fn of_notice(function: Function, context: &Context<'_>, args: &[Value]) -> Result<Value> {
    use Function as F;
    let time = |value: &Value| match value {
        Value::Time(time) => Ok((*time, TimeZone::UTC)),
        Value::LocalTime(time, zone) => Ok((*time, zone.clone())),
        other => fail(format!("expected a time, got {}", other.type_name())),
    };
    Ok(match function {
        F::Join => {
            let [between, texts] = exactly(args)?;
            let texts: Vec<String> = list(texts)?.iter().map(Value::to_text).collect();
            Value::text(texts.join(&text(between)?))
        }
        F::StringSlice => Value::List(Arc::new(args.to_vec())),
        F::Date => {
            let [layout, at] = exactly(args)?;
            let (at, zone) = time(at)?;
            Value::text(format_layout(at, &zone, &text(layout)?))
        }
        F::Since => {
            let [at] = exactly(args)?;
            Value::Float(context.now.since(time(at)?.0).as_secs_f64())
        }
        F::Tz => {
            let [name, at] = exactly(args)?;
            let name = text(name)?;
            let zone = TimeZone::get(&name).map_err(|_| Error::Value(format!("unknown time zone {name}")))?;
            Value::LocalTime(time(at)?.0, zone)
        }
        _ => {
            let [value] = exactly(args)?;
            Value::text(json(value).to_string())
        }
    })
}

fn json(value: &Value) -> serde_json::Value {
    let labels = |l: &crate::model::Labels| l.iter().map(|(n, v)| (n.to_owned(), v.into())).collect();
    match value {
        Value::Nil => serde_json::Value::Null,
        Value::Bool(b) => (*b).into(),
        Value::Int(i) => (*i).into(),
        Value::Float(f) => (*f).into(),
        Value::Text(t) => t.as_ref().into(),
        Value::Time(t) | Value::LocalTime(t, _) => t.to_rfc3339().into(),
        Value::List(l) => l.iter().map(json).collect(),
        Value::Labels(l) | Value::Pairs(l) => serde_json::Value::Object(labels(l)),
        Value::Map(m) => serde_json::Value::Object(m.iter().map(|(k, v)| (k.clone(), json(v))).collect()),
        Value::Record(fields) => {
            serde_json::Value::Object(fields.iter().map(|(k, v)| ((*k).to_owned(), json(v))).collect())
        }
    }
}

/// Reads what [`encode_query`] writes.
fn unescape_query(text: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16));
                match (digit(), digit()) {
                    (Some(high), Some(low)) => u8::try_from(high * 16 + low).unwrap_or(b'?'),
                    _ => return fail(format!("invalid URL escape in {}", quote(text))),
                }
            }
            byte => byte,
        });
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Makes the first letter of each word a capital and leaves the rest, as Go's `strings.Title` does.
fn title(text: &str) -> String {
    let mut previous = ' ';
    let capital = |c: char| {
        let is_inside =
            previous.is_alphanumeric() || previous == '_' || (!previous.is_ascii() && !previous.is_whitespace());
        previous = c;
        if is_inside { c } else { single(c, c.to_uppercase()) }
    };
    text.chars().map(capital).collect()
}

/// Returns what a character becomes in another case, if that is one character; Go leaves the others as they are.
fn single(c: char, mut changed: impl Iterator<Item = char>) -> char {
    match (changed.next(), changed.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}

/// Removes the port of `host:port` and the brackets of `[host]:port`; leaves anything else as it is.
fn strip_port(text: &str) -> &str {
    match text.strip_prefix('[').and_then(|rest| rest.split_once("]:")) {
        Some((host, _)) => host,
        None => match text.rsplit_once(':') {
            Some((host, _)) if !host.contains([':', '[', ']']) => host,
            _ => text,
        },
    }
}

/// `host.example.com:9100` to `host:9100`; addresses stay as they are.
fn strip_domain(text: &str) -> String {
    let host = strip_port(text);
    if host.parse::<std::net::IpAddr>().is_ok() {
        return text.to_owned();
    }
    let port = text.strip_prefix(host).unwrap_or("");
    format!("{}{port}", host.split('.').next().unwrap_or(host))
}

fn escape_js(text: &str) -> String {
    let escape = |c: char| match c {
        '\\' => "\\\\".to_owned(),
        '\'' => "\\'".to_owned(),
        '"' => "\\\"".to_owned(),
        '<' | '>' | '&' | '=' => format!("\\u{:04X}", c as u32),
        c if c.is_control() => format!("\\u{:04X}", c as u32),
        c => c.to_string(),
    };
    text.chars().map(escape).collect()
}

/// Returns the path of a URL, without a slash at the end.
fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').and_then(|i| rest.get(i..)).unwrap_or("").trim_end_matches('/')
}
