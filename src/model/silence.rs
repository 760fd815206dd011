//! A silence: for a while nobody is told of the alarms that match.

use super::{Labels, MatchOp, Matcher, Timestamp};

/// Whether a silence holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SilenceState {
    /// It holds now.
    Active,
    /// It will.
    Pending,
    /// It did.
    Expired,
}

impl SilenceState {
    /// Returns the word of the API: `active`, `pending` or `expired`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            SilenceState::Active => "active",
            SilenceState::Pending => "pending",
            SilenceState::Expired => "expired",
        }
    }
}

/// For a while nobody is told of the alarms that match. They stay on the board.
#[derive(Debug, Clone, PartialEq)]
pub struct Silence {
    /// Names it: a UUID.
    pub id: String,
    /// All must pass; at least one does not pass the empty value.
    pub matchers: Vec<Matcher>,
    /// From when it holds.
    pub starts_at: Timestamp,
    /// Until when it holds.
    pub ends_at: Timestamp,
    /// When any of this last changed.
    pub updated_at: Timestamp,
    /// Who set it.
    pub created_by: String,
    /// Why.
    pub comment: String,
}

impl Silence {
    /// Returns whether it holds at a time.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> SilenceState {
        if now < self.starts_at {
            SilenceState::Pending
        } else if now < self.ends_at {
            SilenceState::Active
        } else {
            SilenceState::Expired
        }
    }

    /// Tells whether alarms with these labels are meant, now or another time.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|m| m.matches_labels(labels))
    }

    /// Tells whether just one alarm is meant, the one with these labels: it is shelved.
    #[must_use]
    pub fn is_shelving(&self, labels: &Labels) -> bool {
        self.matchers.len() == labels.len()
            && self.matchers.iter().all(|m| m.op() == MatchOp::Equal && labels.get(m.name()) == Some(m.value()))
    }

    /// Tells whether nobody is to be told of an alarm with these labels at a time.
    #[must_use]
    pub fn mutes(&self, labels: &Labels, now: Timestamp) -> bool {
        self.state(now) == SilenceState::Active && self.matches(labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::parse_matchers;

    #[test]
    fn it_mutes_what_matches_from_its_start_until_before_its_end() {
        let at = Timestamp::from_millis;
        let silence = Silence {
            id: "a".to_owned(),
            matchers: parse_matchers("line=\"7\", severity!=\"critical\"").unwrap(),
            starts_at: at(1000),
            ends_at: at(2000),
            updated_at: at(500),
            created_by: "eva".to_owned(),
            comment: String::new(),
        };
        let states: Vec<_> = [999, 1000, 1999, 2000].into_iter().map(|ms| silence.state(at(ms)).as_str()).collect();
        assert_eq!(states, ["pending", "active", "active", "expired"]);
        assert!(silence.mutes(&Labels::from_pairs([("line", "7")]), at(1000)));
        assert!(!silence.mutes(&Labels::from_pairs([("line", "7")]), at(999)));
        assert!(!silence.mutes(&Labels::from_pairs([("line", "8")]), at(1000)));
        assert!(!silence.mutes(&Labels::from_pairs([("line", "7"), ("severity", "critical")]), at(1000)));
    }
}
