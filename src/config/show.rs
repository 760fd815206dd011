//! Settings as text for the page about the box: as they were written, without comments and without secrets.

use crate::yaml::{Kind, Node};

const HIDDEN: &str = "***";

/// Writes a tree as YAML; what is, or may hold, a secret becomes `***`.
pub(super) fn show(root: &Node) -> String {
    let mut text = String::new();
    write(root, 0, false, &mut text);
    text.trim_start_matches('\n').to_owned()
}

fn write(node: &Node, depth: usize, is_hidden: bool, out: &mut String) {
    let margin = "  ".repeat(depth);
    match &node.kind {
        Kind::Null => out.push('\n'),
        Kind::Scalar { .. } if is_hidden => out.push_str(&format!(" '{HIDDEN}'\n")),
        Kind::Scalar { text, is_plain } => out.push_str(&format!(" {}\n", scalar(&without_password(text), *is_plain))),
        Kind::List(items) if items.is_empty() => out.push_str(" []\n"),
        Kind::List(items) => {
            out.push('\n');
            for item in items {
                out.push_str(&format!("{margin}-"));
                write(item, depth + 1, is_hidden, out);
            }
        }
        Kind::Map(entries) if entries.is_empty() => out.push_str(" {}\n"),
        Kind::Map(entries) => {
            out.push('\n');
            for entry in entries {
                out.push_str(&format!("{margin}{}:", scalar(&entry.key, true)));
                write(&entry.value, depth + 1, is_hidden || is_secret(&entry.key), out);
            }
        }
    }
}

/// Tells whether what stands under a key is a secret. A webhook's address is one too: whoever knows it can
/// post there.
fn is_secret(key: &str) -> bool {
    let ends = ["password", "secret", "token", "credentials", "_key", "api_url", "webhook_url"];
    key == "headers" || key == "webhook_configs" || ends.iter().any(|end| key.ends_with(end))
}

/// Hides what stands between `//` and `@` of a URL.
fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://{HIDDEN}@{}", &rest[at + 1..]),
        None => text.to_owned(),
    }
}

/// Writes a text plainly where that means the same, else in double quotes.
fn scalar(text: &str, is_plain: bool) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "_./-+ ".contains(c);
    if is_plain && !text.is_empty() && text.trim() == text && !text.starts_with('-') && text.chars().all(safe) {
        return text.to_owned();
    }
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => quoted.push_str(&format!("\\x{:02x}", c as u32)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{Report, parse};

    #[test]
    fn what_is_shown_is_the_same_yaml_without_secrets() {
        let report = Report::new("x");
        let root = parse(
            "# comment\nglobal: {scrape_interval: 15s, external_labels: {site: 'a: b'}}\nempty: []\nnone:\n\
             remote_write:\n- url: http://u:p@c/w\n  basic_auth: {username: u, password: hunter2}\n\
             \x20 headers: {X-Key: hunter2}\nnotifications:\n  receivers:\n  - name: x\n    webhook_configs: [{url: 'http://hunter2'}]\n",
            &report,
        );
        let shown = show(&root);
        assert_eq!(
            shown,
            "global:\n  scrape_interval: 15s\n  external_labels:\n    site: \"a: b\"\nempty: []\nnone:\nremote_write:\n\
             \x20 -\n    url: \"http://***@c/w\"\n    basic_auth:\n      username: u\n      password: '***'\n    headers:\n      X-Key: '***'\n\
             notifications:\n  receivers:\n    -\n      name: x\n      webhook_configs:\n        -\n          url: '***'\n"
        );
        assert!(!shown.contains("hunter2"));
        let again = parse(&shown, &report);
        assert_eq!(show(&again), shown);
        assert!(report.is_clean());
    }
}
