//! Families and single series to text.

use std::fmt::Write;

use super::float::push_value;
use crate::model::{LABEL_NAME, Labels, MetricFamily, MetricKind, Sample};

/// What a response with rendered text says it is.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a text of OpenMetrics says it is.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

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
        if last_name.replace(name) != Some(name) {
            out.push_str("# TYPE ");
            push_name(&mut out, name, !is_plain(name));
            out.push_str(" untyped\n");
        }
        let no_instance = labels.get("instance").is_none().then_some(("instance", ""));
        push_labels(&mut out, name, labels.iter().chain(no_instance));
        out.push(' ');
        push_value(&mut out, sample.value);
        out.push_str(&format!(" {}\n", sample.timestamp.as_millis()));
    }
    out
}

/// Appends name and labels of a series.
pub fn push_series(out: &mut String, labels: &Labels) {
    push_labels(out, labels.metric_name(), labels.iter());
}

/// Appends a line of OpenMetrics: a series, which is text already, its value and when that was.
pub fn push_sample(out: &mut String, series: &str, timestamp_ms: i64, value: f64) {
    out.extend([series, " "]);
    push_value(out, value);
    let (sign, ms) = (if timestamp_ms < 0 { "-" } else { "" }, timestamp_ms.unsigned_abs());
    let written = match ms % 1000 {
        0 => writeln!(out, " {sign}{}", ms / 1000),
        part => writeln!(out, " {sign}{}.{part:03}", ms / 1000),
    };
    debug_assert!(written.is_ok(), "bug: a String takes every text");
}

fn is_plain(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

/// Appends a name and labels, passing over the one that holds the name. A name that is not plain stands in quotes
/// within the braces.
fn push_labels<'a>(out: &mut String, name: &str, labels: impl Iterator<Item = (&'a str, &'a str)>) {
    let is_quoted = !is_plain(name);
    if is_quoted {
        out.push('{');
    }
    push_name(out, name, is_quoted);
    let mut separator = if is_quoted { "," } else { "{" };
    let mut has_braces = is_quoted;
    for (label, value) in labels.filter(|(label, _)| *label != LABEL_NAME) {
        out.push_str(separator);
        push_name(out, label, !is_plain(label));
        out.push_str("=\"");
        push_escaped(out, value, true);
        out.push('"');
        (separator, has_braces) = (",", true);
    }
    if has_braces {
        out.push('}');
    }
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
