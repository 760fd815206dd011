//! What a device may publish on and subscribe to.

use super::protocol::Refusal;
use super::validate;
use crate::bus::{Subject, SubjectPattern};

/// Stands in a pattern for the device's id; three spellings that people know.
const PLACEHOLDERS: [&str; 3] = ["{device}", "{deviceId}", "{clientId}"];
/// Most patterns of one list.
pub(super) const PATTERNS_MAX: usize = 64;

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
pub(super) fn resolve(text: &str, device_id: &str) -> Result<SubjectPattern, Refusal> {
    let replaced = PLACEHOLDERS.iter().fold(text.to_owned(), |text, name| text.replace(name, device_id));
    validate::pattern(&replaced)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permissions(list: &[&str]) -> Permissions {
        let patterns: Vec<_> = list.iter().map(|text| resolve(text, "press-1").unwrap()).collect();
        Permissions { publish: patterns.clone(), subscribe: patterns }
    }

    #[test]
    fn a_placeholder_is_the_device() {
        let own = permissions(&["devices.{device}.>", "status.{deviceId}"]);
        assert!(own.may_publish(&"devices.press-1.x".parse().unwrap()));
        assert!(own.may_publish(&"status.press-1".parse().unwrap()));
        assert!(!own.may_publish(&"devices.press-2.x".parse().unwrap()));
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
        assert!(resolve("$JS.>", "d").is_err());
    }
}
