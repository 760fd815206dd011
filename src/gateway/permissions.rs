//! What a device may publish on and subscribe to.

use std::collections::BTreeMap;

use super::protocol::Refusal;
use super::validate;
use crate::bus::{Subject, SubjectPattern};

/// Stands in a pattern for the device's id; three spellings that people know.
const DEVICE: [&str; 3] = ["{device}", "{deviceId}", "{clientId}"];
/// Stands in a pattern for what the device belongs to.
const GROUP: &str = "{group}";
/// Most patterns of one list.
pub(super) const PATTERNS_MAX: usize = 64;

/// Lists of patterns that devices may have in common, with `{device}` and `{group}`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Role {
    /// Patterns to publish on.
    pub publish: Vec<String>,
    /// Patterns to subscribe to.
    pub subscribe: Vec<String>,
}

/// The roles of the settings, by name.
pub type Roles = BTreeMap<String, Role>;

/// Two lists of patterns; what is not in them is not allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Permissions {
    pub(super) publish: Vec<SubjectPattern>,
    pub(super) subscribe: Vec<SubjectPattern>,
}

impl Permissions {
    /// Tells whether the device may publish on this subject.
    pub(super) fn may_publish(&self, subject: &Subject) -> bool {
        self.publish.iter().any(|allowed| allowed.matches(subject))
    }

    /// Tells whether the device may subscribe to this pattern: all of it must lie in one allowed pattern.
    pub(super) fn may_subscribe(&self, pattern: &SubjectPattern) -> bool {
        self.subscribe.iter().any(|allowed| allowed.contains(pattern))
    }
}

/// Reads one pattern of a list.
pub(super) fn resolve(text: &str, device_id: &str, group: &str) -> Result<SubjectPattern, Refusal> {
    let replaced = DEVICE.iter().fold(text.to_owned(), |text, name| text.replace(name, device_id));
    validate::pattern(&replaced.replace(GROUP, group))
}

/// Reads lists, one after the other, for one device; returns what cannot be read too. A pattern with `{group}` is for
/// devices that belong to something, and each pattern counts once.
pub(super) fn resolve_all<'a>(
    lists: impl IntoIterator<Item = &'a [String]>,
    device_id: &str,
    group: &str,
) -> (Vec<SubjectPattern>, Vec<String>) {
    let (mut patterns, mut bad) = (Vec::new(), Vec::new());
    for text in lists.into_iter().flatten() {
        if group.is_empty() && text.contains(GROUP) {
            continue;
        }
        match resolve(text, device_id, group) {
            Ok(pattern) if patterns.contains(&pattern) => {}
            Ok(pattern) => patterns.push(pattern),
            Err(_) => bad.push(text.clone()),
        }
    }
    (patterns, bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permissions(list: &[&str]) -> Permissions {
        let list: Vec<String> = list.iter().map(|text| (*text).to_owned()).collect();
        let (patterns, bad) = resolve_all([list.as_slice()], "press-1", "line1");
        assert!(bad.is_empty(), "{bad:?}");
        Permissions { publish: patterns.clone(), subscribe: patterns }
    }

    #[test]
    fn placeholders_are_the_device_and_what_it_belongs_to() {
        let own = permissions(&["devices.{device}.>", "status.{deviceId}", "factory.{group}.{clientId}.*"]);
        assert!(own.may_publish(&"devices.press-1.x".parse().unwrap()));
        assert!(own.may_publish(&"status.press-1".parse().unwrap()));
        assert!(own.may_publish(&"factory.line1.press-1.a".parse().unwrap()));
        assert!(!own.may_publish(&"devices.press-2.x".parse().unwrap()));
    }

    #[test]
    fn without_a_group_there_are_no_patterns_for_groups() {
        let list = ["factory.{group}.>".to_owned(), "a".to_owned(), "a".to_owned(), "a..b".to_owned()];
        let (patterns, bad) = resolve_all([list.as_slice()], "press-1", "");
        assert_eq!(patterns, ["a".parse().unwrap()]);
        assert_eq!(bad, ["a..b"]);
    }

    #[test]
    fn a_wider_wildcard_is_not_slipped_through() {
        let star = permissions(&["factory.*"]);
        for wider in ["factory.>", "factory.*.>", ">", "*", "*.*", "factory.a.secret"] {
            assert!(!star.may_subscribe(&wider.parse().unwrap()), "{wider}");
        }
        assert!(star.may_subscribe(&"factory.*".parse().unwrap()));
        assert!(star.may_subscribe(&"factory.a".parse().unwrap()));
    }

    #[test]
    fn nothing_is_allowed_by_default_and_nats_itself_never() {
        assert!(!Permissions::default().may_publish(&"a".parse().unwrap()));
        assert!(resolve("$JS.>", "d", "").is_err());
    }
}
