//! Who is told what as text, in Alertmanager's shape and without secrets: for programs that ask an Alertmanager for
//! its routes.

use std::fmt::Write as _;

use super::config::{Config, GroupBy, Route};
use crate::model::format_duration;

/// Writes the routing tree and the receivers' names as YAML; empty if nobody is told.
pub(super) fn show(config: &Config) -> String {
    let mut text = String::new();
    let Some(root) = &config.route else { return text };
    text.push_str("route:\n");
    route(root, 1, &mut text);
    text.push_str("receivers:\n");
    for receiver in &config.receivers {
        let _ = writeln!(text, "- name: {:?}", receiver.name);
    }
    text
}

/// Writes one node whose keys stand at a depth; a list's dash is put into its margin by the caller.
fn route(route: &Route, depth: usize, text: &mut String) {
    let margin = "  ".repeat(depth);
    let _ = writeln!(text, "{margin}receiver: {:?}", route.receiver);
    if !route.matchers.is_empty() {
        let _ = writeln!(text, "{margin}matchers:");
        for matcher in &route.matchers {
            let _ = writeln!(text, "{margin}- {:?}", matcher.to_string());
        }
    }
    let names = match &route.group_by {
        GroupBy::All => "\"...\"".to_owned(),
        GroupBy::Labels(names) => names.iter().map(|n| format!("{n:?}")).collect::<Vec<_>>().join(", "),
    };
    let _ = writeln!(text, "{margin}group_by: [{names}]");
    let times = [
        ("group_wait", route.group_wait),
        ("group_interval", route.group_interval),
        ("repeat_interval", route.repeat_interval),
    ];
    for (name, time) in times {
        let _ = writeln!(text, "{margin}{name}: {}", format_duration(time));
    }
    if route.continues {
        let _ = writeln!(text, "{margin}continue: true");
    }
    if !route.routes.is_empty() {
        let _ = writeln!(text, "{margin}routes:");
    }
    for child in &route.routes {
        let mut node = String::new();
        self::route(child, depth + 1, &mut node);
        let _ = write!(text, "{margin}- {}", node.trim_start());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::parse_matchers;
    use crate::notify::Receiver;

    #[test]
    fn the_tree_is_written_as_alertmanager_reads_it() {
        let node = |receiver: &str, matchers: &str, routes| Route {
            receiver: receiver.to_owned(),
            matchers: parse_matchers(matchers).unwrap(),
            continues: receiver == "b",
            group_by: GroupBy::Labels(vec!["line".to_owned()]),
            group_wait: Duration::from_secs(30),
            group_interval: Duration::from_secs(300),
            repeat_interval: Duration::from_secs(4 * 3600),
            mute_time_intervals: vec![],
            active_time_intervals: vec![],
            routes,
        };
        let config = Config {
            folder: "/n".into(),
            external_url: String::new(),
            box_name: String::new(),
            time_zone: jiff::tz::TimeZone::UTC,
            ack_links_for: None,
            heartbeats: vec![],
            relay: crate::notify::RelayConfig::default(),
            route: Some(node("a", "", vec![node("b", "line=~\"1|2\"", vec![])])),
            receivers: vec![Receiver { name: "a".to_owned(), ways: vec![], fallback: None, per_minute_max: None }],
            inhibit_rules: vec![],
            time_intervals: vec![],
        };
        let times = "group_wait: 30s\n  group_interval: 5m\n  repeat_interval: 4h\n";
        let expected = format!(
            "route:\n  receiver: \"a\"\n  group_by: [\"line\"]\n  {times}  routes:\n  - receiver: \"b\"\n    matchers:\n    \
             - \"line=~\\\"1|2\\\"\"\n    group_by: [\"line\"]\n    {}    continue: true\nreceivers:\n- name: \"a\"\n",
            times.replace("\n  ", "\n    ")
        );
        assert_eq!(show(&config), expected);
    }
}
