//! What pages and the API see of the notifications.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Labels, Timestamp};

/// Groups, outbox and what was told lately.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Aggregation groups that hold alarms.
    pub groups: Arc<Vec<GroupSnapshot>>,
    /// Receivers, in the order of the settings.
    pub receivers: Vec<ReceiverSnapshot>,
    /// Signs of life, in the order of their receivers' names.
    pub heartbeats: Vec<HeartbeatSnapshot>,
    /// Notices that wait to be sent, or to be sent again.
    pub outbox_len: usize,
    /// When the oldest of them was made.
    pub outbox_since: Option<Timestamp>,
    /// Why the outbox cannot be written at the moment; `None` if it can.
    pub outbox_error: Option<String>,
    /// Alarms that are not told because another one mutes them: fingerprints of both.
    pub inhibited: BTreeMap<u64, u64>,
    /// The routing tree and the receivers' names as YAML in Alertmanager's shape; empty if nobody is told.
    pub routing: Arc<str>,
    /// The latest notices, newest first; at most 200.
    pub recent: Vec<NoticeSnapshot>,
}

/// One aggregation group.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupSnapshot {
    /// How other programs know it: the route's path and the labels.
    pub key: String,
    /// Labels its alarms share by the route's `group_by`.
    pub labels: Labels,
    /// The receiver's name.
    pub receiver: String,
    /// Fingerprints of the alarms in it.
    pub alarms: Vec<u64>,
    /// When it is looked at next.
    pub next_at: Timestamp,
}

/// How a receiver fares.
#[derive(Debug, Clone, PartialEq)]
pub struct ReceiverSnapshot {
    /// Its name.
    pub name: String,
    /// Ways it has; 0 says that everything for it is dropped.
    pub integrations: usize,
    /// Notices accepted by the far end.
    pub sent: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// When a notice was last accepted.
    pub last_sent_at: Option<Timestamp>,
    /// Why the last attempt failed; `None` after one that worked.
    pub last_error: Option<String>,
    /// Since when it cannot be reached; `None` if it can, as far as is known.
    pub away_since: Option<Timestamp>,
}

/// How the signs of life to one receiver fare.
#[derive(Debug, Clone, PartialEq)]
pub struct HeartbeatSnapshot {
    /// The receiver's name.
    pub receiver: String,
    /// How far they are apart.
    pub interval: Duration,
    /// When one was last taken by all ways of the receiver: then the centre has seen this box.
    pub seen_at: Option<Timestamp>,
    /// Why the last one was not taken.
    pub error: Option<String>,
}

/// What became of a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Waits, or is being sent.
    Waiting,
    /// Taken by the other side.
    Sent,
    /// Given up: its receiver is gone, or it is too old to matter.
    GivenUp,
    /// Told as part of a digest.
    Folded,
}

/// One notice.
#[derive(Debug, Clone, PartialEq)]
pub struct NoticeSnapshot {
    /// Its number.
    pub id: u64,
    /// When it was made.
    pub at: Timestamp,
    /// The receiver's name.
    pub receiver: String,
    /// Labels of the group.
    pub group_labels: Labels,
    /// Firing alarms in it.
    pub firing: usize,
    /// Resolved alarms in it.
    pub resolved: usize,
    /// Whether it tells of many groups.
    pub is_digest: bool,
    /// Attempts so far.
    pub attempts: u32,
    /// What became of it.
    pub outcome: Outcome,
    /// Why the last attempt failed; empty if none did.
    pub error: String,
}
