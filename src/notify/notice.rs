//! What is told to one way of a receiver: news of a group, or a digest of what came and went while it was away.

use std::collections::BTreeMap;

use crate::model::{Labels, Timestamp, priority_of};

/// The group key of digests.
pub(super) const DIGEST_KEY: &str = "digest";

/// Alarms that a digest names, at most; the most urgent stay.
pub(super) const DIGEST_ALARMS_MAX: usize = 200;

/// What is told to one integration of a receiver.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Notice {
    /// Its number in the outbox.
    pub(super) id: u64,
    /// When it was made.
    pub(super) made_at: Timestamp,
    /// Since when this group has something that was not taken: older notices whose place this one took count.
    pub(super) since: Timestamp,
    /// The group as other programs know it.
    pub(super) group_key: String,
    /// The receiver's name.
    pub(super) receiver: String,
    /// Which of the receiver's ways: `webhook[0]`.
    pub(super) integration: String,
    /// Labels of the group.
    pub(super) group_labels: Labels,
    /// What it tells of, sorted by labels; at least one, but for digests.
    pub(super) alarms: Vec<NoticeAlarm>,
    /// Of a digest, the keys of the groups that it stands for; else empty.
    pub(super) folded: Vec<String>,
    /// Of a digest, how many alarms came and went that it does not name.
    pub(super) left_out: u64,
}

/// An alarm as a notice tells it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NoticeAlarm {
    pub(super) fingerprint: u64,
    pub(super) labels: Labels,
    pub(super) annotations: Labels,
    pub(super) starts_at: Timestamp,
    /// `None`: it fires.
    pub(super) ends_at: Option<Timestamp>,
    pub(super) expression: String,
    /// Where another program shows what raised it; empty if it is a rule of this box.
    pub(super) source_url: String,
}

/// A group, a receiver's name and one of its ways.
pub(super) type Lane = (String, String, String);

/// A receiver's name and one of its ways.
pub(super) type WayKey = (String, String);

impl Notice {
    /// Returns how many of the alarms fire.
    pub(super) fn firing(&self) -> usize {
        self.alarms.iter().filter(|a| a.ends_at.is_none()).count()
    }

    /// Tells whether it stands for many groups.
    pub(super) fn is_digest(&self) -> bool {
        !self.folded.is_empty()
    }

    pub(super) fn lane(&self) -> Lane {
        (self.group_key.clone(), self.receiver.clone(), self.integration.clone())
    }

    pub(super) fn way(&self) -> WayKey {
        (self.receiver.clone(), self.integration.clone())
    }

    /// Tells whether two notices are for the same eyes about the same group.
    pub(super) fn same_lane(&self, other: &Notice) -> bool {
        self.group_key == other.group_key && self.is_for(&other.receiver, &other.integration)
    }

    /// Tells whether it is for this way of this receiver.
    pub(super) fn is_for(&self, receiver: &str, integration: &str) -> bool {
        self.receiver == receiver && self.integration == integration
    }

    /// Returns the priority of its most urgent alarm, 1 to 4; those that fire count before those that are over.
    pub(super) fn priority(&self) -> u8 {
        let of = |fires: bool| {
            let alarms = self.alarms.iter().filter(|a| a.ends_at.is_none() == fires);
            alarms.map(NoticeAlarm::priority).min()
        };
        of(true).or_else(|| of(false)).unwrap_or(4)
    }

    /// Puts notices that tell only of what is over into one. `id` is its number, `now` when it is made.
    pub(super) fn digest(over: &[&Notice], id: u64, now: Timestamp) -> Option<Notice> {
        let first = over.first()?;
        let mut alarms: BTreeMap<u64, NoticeAlarm> = BTreeMap::new();
        for alarm in over.iter().flat_map(|n| &n.alarms) {
            let known = alarms.get(&alarm.fingerprint);
            if known.is_none_or(|k| k.ends_at < alarm.ends_at) {
                alarms.insert(alarm.fingerprint, alarm.clone());
            }
        }
        let mut alarms: Vec<NoticeAlarm> = alarms.into_values().collect();
        alarms.sort_by(|a, b| (a.priority(), a.starts_at, &a.labels).cmp(&(b.priority(), b.starts_at, &b.labels)));
        let surplus = alarms.len().saturating_sub(DIGEST_ALARMS_MAX);
        alarms.truncate(DIGEST_ALARMS_MAX);
        let keys = |n: &&Notice| if n.is_digest() { n.folded.clone() } else { vec![n.group_key.clone()] };
        let mut folded: Vec<String> = over.iter().flat_map(keys).collect();
        folded.sort();
        folded.dedup();
        Some(Notice {
            id,
            made_at: now,
            since: over.iter().map(|n| n.since).min().unwrap_or(now),
            group_key: DIGEST_KEY.to_owned(),
            receiver: first.receiver.clone(),
            integration: first.integration.clone(),
            group_labels: Labels::empty(),
            alarms,
            folded,
            left_out: over.iter().map(|n| n.left_out).sum::<u64>() + surplus as u64,
        })
    }
}

impl NoticeAlarm {
    /// Returns the priority that pages show, 1 to 4.
    pub(super) fn priority(&self) -> u8 {
        priority_of(self.labels.get("severity").unwrap_or(""))
    }

    /// Returns the rule's name.
    pub(super) fn name(&self) -> &str {
        self.labels.get("alertname").unwrap_or("")
    }
}
