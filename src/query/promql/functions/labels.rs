//! `label_replace` and `label_join`.

use regex::Captures;

use crate::model::{AnchoredRegex, Labels};

/// Returns the labels with `target` set to the replacement, or `None` if the source does not match.
pub(in crate::query::promql) fn replaced(
    labels: &Labels,
    target: &str,
    replacement: &str,
    source: &str,
    regex: &AnchoredRegex,
) -> Option<Labels> {
    let captures = regex.captures(labels.get(source).unwrap_or(""))?;
    let mut builder = labels.builder();
    builder.set(target, &expanded(replacement, &captures));
    Some(builder.build())
}

/// Returns the labels with `target` set to the values of the sources.
pub(in crate::query::promql) fn joined(labels: &Labels, target: &str, separator: &str, sources: &[String]) -> Labels {
    let values: Vec<&str> = sources.iter().map(|s| labels.get(s).unwrap_or("")).collect();
    let mut builder = labels.builder();
    builder.set(target, &values.join(separator));
    builder.build()
}

/// Replaces `$1`, `${1}`, `$name`, `${name}` and `$$`. A name is as long as it can be, so `$1x` is the group `1x`;
/// a group that is not there is empty; a `$` that begins no name stays. Source: Go, `regexp.Expand`.
fn expanded(template: &str, captures: &Captures<'_>) -> String {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            text.push('$');
            rest = after;
        } else if let Some((name, after)) = reference(after) {
            text.push_str(group(captures, name));
            rest = after;
        } else {
            text.push('$');
            rest = after;
        }
    }
    text.push_str(rest);
    text
}

/// Splits a name, in braces or not, from what follows.
fn reference(text: &str) -> Option<(&str, &str)> {
    let (name, braced) = match text.strip_prefix('{') {
        Some(inner) => (inner, true),
        None => (text, false),
    };
    let end = name.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(name.len());
    let (name, after) = name.split_at(end);
    if name.is_empty() {
        return None;
    }
    if braced { after.strip_prefix('}').map(|after| (name, after)) } else { Some((name, after)) }
}

fn group<'t>(captures: &Captures<'t>, name: &str) -> &'t str {
    let found = match name.parse::<usize>() {
        Ok(number) if name.bytes().all(|b| b.is_ascii_digit()) => captures.get(number),
        _ => captures.name(name),
    };
    found.map_or("", |m| m.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(regex: &str, replacement: &str, expected: &str) {
        let labels = Labels::from_pairs([("src", "a-b")]);
        let regex = AnchoredRegex::new(regex).unwrap();
        let got = replaced(&labels, "dst", replacement, "src", &regex).unwrap();
        assert_eq!(got.get("dst").unwrap_or(""), expected, "{replacement}");
    }

    #[test]
    fn references_are_read_as_go_reads_them() {
        check("(.*)-(?P<second>.*)", "$2$1", "ba");
        check("(.*)-(?P<second>.*)", "${second}x", "bx");
        check("(.*)-(?P<second>.*)", "$1x", "");
        check("(.*)-(.*)", "$$1", "$1");
        check("(.*)-(.*)", "$9|${1", "|${1");
        check("(.*)-(.*)", "a$", "a$");
        check("(.*)-(.*)", "$-1", "$-1");
    }

    #[test]
    fn labels_are_joined_with_empty_ones_between() {
        let labels = Labels::from_pairs([("a", "1"), ("c", "3")]);
        let sources = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(joined(&labels, "d", "-", &sources).get("d"), Some("1--3"));
    }
}
