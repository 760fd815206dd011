//! Families to text.

use super::float::push_value;
use crate::model::{LABEL_NAME, Labels, MetricFamily, MetricKind, Sample};

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

/// Writes single samples with their times, as `/federate` does: series without a known type, sorted so that those of
/// one name stand together. One without `instance` gets an empty one, as upstream does it, so that whoever fetches
/// it does not put its own there.
pub fn render_untyped<'a>(samples: impl Iterator<Item = (&'a Labels, Sample)>) -> String {
    let mut samples: Vec<(&Labels, Sample)> = samples.collect();
    samples.sort_by(|a, b| a.0.metric_name().cmp(b.0.metric_name()));
    let mut out = String::new();
    let mut last_name = None;
    for (labels, sample) in samples {
        let name = labels.metric_name();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let is_quoted = !name.chars().all(is_plain);
        if last_name.replace(name) != Some(name) {
            out.push_str("# TYPE ");
            push_name(&mut out, name, is_quoted);
            out.push_str(" untyped\n");
        }
        // A name that is not plain stands in quotes within the braces.
        let pairs = labels.iter().filter(|(label, _)| *label != LABEL_NAME);
        let mut separator = "{";
        if is_quoted {
            out.push('{');
            push_name(&mut out, name, true);
            separator = ",";
        } else {
            out.push_str(name);
        }
        let mut has_braces = is_quoted;
        let no_instance = labels.get("instance").is_none().then_some(("instance", ""));
        for (label, value) in pairs.chain(no_instance) {
            out.push_str(separator);
            push_name(&mut out, label, !label.chars().all(is_plain));
            out.push_str("=\"");
            push_escaped(&mut out, value, true);
            out.push('"');
            (separator, has_braces) = (",", true);
        }
        out.push_str(if has_braces { "} " } else { " " });
        push_value(&mut out, sample.value);
        out.push_str(&format!(" {}\n", sample.timestamp.as_millis()));
    }
    out
}

fn push_name(out: &mut String, name: &str, is_quoted: bool) {
    if is_quoted {
        out.push('"');
        push_escaped(out, name, true);
        out.push('"');
    } else {
        out.push_str(name);
    }
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
