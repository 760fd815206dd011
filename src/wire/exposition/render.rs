//! Families to text.

use super::float::push_value;
use crate::model::{MetricFamily, MetricKind};

/// What a response with rendered text says it is.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes families in the text format 0.0.4, in the order given; a family without samples is left out.
#[must_use]
pub fn render(families: &[MetricFamily]) -> String {
    let mut out = String::new();
    for family in families.iter().filter(|family| !family.samples.is_empty()) {
        let name = &family.name;
        if !family.metadata.help.is_empty() {
            out.extend(["# HELP ", name, " "]);
            push_escaped(&mut out, &family.metadata.help, false);
            out.push('\n');
        }
        let kind = match family.metadata.kind {
            MetricKind::Unknown => "untyped",
            kind => kind.as_str(),
        };
        out.extend(["# TYPE ", name, " ", kind, "\n"]);
        for sample in &family.samples {
            out.extend([name, sample.suffix]);
            for (i, (label, value)) in sample.labels.iter().enumerate() {
                out.extend([if i == 0 { "{" } else { "," }, label, "=\""]);
                push_escaped(&mut out, value, true);
                out.push('"');
            }
            out.push_str(if sample.labels.is_empty() { " " } else { "} " });
            push_value(&mut out, sample.value);
            out.push('\n');
        }
    }
    out
}

fn push_escaped(out: &mut String, text: &str, in_quotes: bool) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if in_quotes => out.push_str("\\\""),
            c => out.push(c),
        }
    }
}
