//! Takes fields out of a line: JSON and logfmt.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::model::Labels;

/// How many fields one line may give; the rest is left out.
const FIELDS_MAX: usize = 256;

/// The label that says that a line could not be parsed.
const ERROR_LABEL: &str = "__error__";

/// The labels of a line's stream and the fields taken out of it.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    stream: &'a Labels,
    extracted: Vec<(String, String)>,
    error: Option<&'static str>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(stream: &'a Labels) -> Self {
        Fields { stream, extracted: Vec::new(), error: None }
    }

    /// Returns a label of the stream or a field.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        if name == ERROR_LABEL {
            return self.error;
        }
        self.stream.get(name).or_else(|| self.extracted.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str()))
    }

    pub(super) fn has_error(&self) -> bool {
        self.error.is_some()
    }

    pub(super) fn set_error(&mut self, error: &'static str) {
        self.error = Some(error);
    }

    /// Adds a field; one that is named as a label of the stream gets a suffix; the first of a name stays.
    fn add(&mut self, name: &str, value: String) {
        if self.extracted.len() >= FIELDS_MAX || name.is_empty() {
            return;
        }
        let mut name = label_name(name);
        if self.stream.get(&name).is_some() {
            name.push_str("_extracted");
        }
        if self.extracted.iter().all(|(n, _)| *n != name) {
            self.extracted.push((name, value));
        }
    }

    pub(super) fn into_labels(self) -> Labels {
        if self.extracted.is_empty() && self.error.is_none() {
            return self.stream.clone();
        }
        let mut builder = self.stream.builder();
        for (name, value) in &self.extracted {
            builder.set(name, value);
        }
        if let Some(error) = self.error {
            builder.set(ERROR_LABEL, error);
        }
        builder.build()
    }
}

/// Adds the members of a JSON object; nested names are joined with `_`, arrays and nulls are left out.
pub(super) fn json(line: &str, fields: &mut Fields<'_>) {
    let before = fields.extracted.len();
    let mut json = serde_json::Deserializer::from_str(line);
    let parsed = Flatten { name: "", fields }.deserialize(&mut json).and_then(|()| json.end());
    if parsed.is_err() || !line.trim_start().starts_with('{') {
        fields.extracted.truncate(before);
        fields.set_error("JSONParserErr");
    }
}

/// Adds the pairs of a logfmt line: `level=warn msg="door open"`; words without a value are left out.
pub(super) fn logfmt(line: &str, fields: &mut Fields<'_>) {
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        let (name, tail) = rest.split_at_checked(end).unwrap_or((rest, ""));
        let Some(tail) = tail.strip_prefix('=') else {
            rest = tail.trim_start();
            continue;
        };
        if name.is_empty() {
            return fields.set_error("LogfmtParserErr");
        }
        let (value, tail) = if let Some(quoted) = tail.strip_prefix('"') {
            let Some(end) = closing_quote(quoted) else {
                return fields.set_error("LogfmtParserErr");
            };
            let (inner, tail) = quoted.split_at_checked(end).unwrap_or((quoted, ""));
            (unescape(inner), tail.get(1..).unwrap_or(""))
        } else {
            let end = tail.find(char::is_whitespace).unwrap_or(tail.len());
            let (value, tail) = tail.split_at_checked(end).unwrap_or((tail, ""));
            (value.to_owned(), tail)
        };
        fields.add(name, value);
        rest = tail.trim_start();
    }
}

/// Returns where the first quote without a backslash stands.
fn closing_quote(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' if !is_escaped => return Some(at),
            '\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    None
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => plain.push('\n'),
                Some('t') => plain.push('\t'),
                Some('r') => plain.push('\r'),
                Some(other) => plain.push(other),
                None => (),
            },
            c => plain.push(c),
        }
    }
    plain
}

/// Makes a legal label name: other characters become `_`, a leading digit gets one before it.
fn label_name(name: &str) -> String {
    let is_legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let legal = name.chars().map(|c| if is_legal(c) { c } else { '_' });
    let lead = name.starts_with(|c: char| c.is_ascii_digit()).then_some('_');
    lead.into_iter().chain(legal).collect()
}

/// Walks through a JSON value without building it.
struct Flatten<'f, 's> {
    /// The names down to here, joined; empty at the top.
    name: &'f str,
    fields: &'f mut Fields<'s>,
}

impl<'de> DeserializeSeed<'de> for Flatten<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Flatten<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            if self.name.is_empty() {
                map.next_value_seed(Flatten { name: &key, fields: self.fields })?;
            } else {
                let name = format!("{}_{key}", self.name);
                map.next_value_seed(Flatten { name: &name, fields: self.fields })?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        while sequence.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.fields.add(self.name, text.to_owned());
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.fields.add(self.name, value.to_string());
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.fields.add(self.name, value.to_string());
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.fields.add(self.name, value.to_string());
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.fields.add(self.name, value.to_string());
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(extract: fn(&str, &mut Fields<'_>), line: &str, expected: &str) {
        let stream = Labels::from_pairs([("job", "devices")]);
        let mut fields = Fields::new(&stream);
        extract(line, &mut fields);
        assert_eq!(fields.into_labels().drop(&["job"]).to_string(), expected, "{line}");
    }

    #[test]
    fn json_members_become_fields() {
        check(
            json,
            r#"{"a":"x","b":{"c":1.5,"d-e":true},"n":null,"l":[1,{"z":2}]}"#,
            r#"{a="x", b_c="1.5", b_d_e="true"}"#,
        );
        check(json, r#"{"job":"other","9":-7,"a\nb":"\u00fc"}"#, r#"{_9="-7", a_b="ü", job_extracted="other"}"#);
        check(json, r#"{"a":1,"a":2}"#, r#"{a="1"}"#);
        check(json, " {} ", "{}");
    }

    #[test]
    fn what_is_no_json_object_is_marked() {
        for line in ["", "plain text", r#"{"a":1"#, r#"{"a":1} and more"#, "7", r#"["a"]"#, r#""{""#] {
            check(json, line, r#"{__error__="JSONParserErr"}"#);
        }
    }

    #[test]
    fn logfmt_pairs_become_fields() {
        check(
            logfmt,
            r#"level=warn  msg="door \"3\" open" took=1.5s flag a.b= "#,
            r#"{level="warn", msg="door \"3\" open", took="1.5s"}"#,
        );
        check(logfmt, "no pairs at all", "{}");
        check(logfmt, r#"a=1 b="open"#, r#"{__error__="LogfmtParserErr", a="1"}"#);
    }

    #[test]
    fn a_line_gives_a_bounded_number_of_fields() {
        let members: Vec<String> = (0..1000).map(|n| format!("\"k{n}\":{n}")).collect();
        let stream = Labels::empty();
        let mut fields = Fields::new(&stream);
        json(&format!("{{{}}}", members.join(",")), &mut fields);
        assert_eq!(fields.into_labels().len(), FIELDS_MAX);
    }
}
