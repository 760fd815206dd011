//! How receivers fare and what was told lately, for the snapshot.

use std::collections::VecDeque;

use super::config::Config;
use super::notice::Notice;
use super::snapshot::{NoticeSnapshot, Outcome, ReceiverSnapshot};
use crate::model::Timestamp;

/// Notices that are remembered for pages.
const RECENT_MAX: usize = 200;

#[derive(Debug, Default)]
pub(super) struct Report {
    receivers: Vec<ReceiverSnapshot>,
    /// Newest first.
    pub(super) recent: VecDeque<NoticeSnapshot>,
    pub(super) outbox_error: Option<String>,
}

impl Report {
    /// Takes the receivers of the settings; those that were there keep their figures.
    pub(super) fn configure(&mut self, config: &Config) {
        let before = std::mem::take(&mut self.receivers);
        let receivers = config.receivers.iter().map(|receiver| {
            let known = before.iter().find(|r| r.name == receiver.name).cloned();
            let fresh = || ReceiverSnapshot {
                name: receiver.name.clone(),
                integrations: 0,
                sent: 0,
                failed: 0,
                last_sent_at: None,
                last_error: None,
                away_since: None,
            };
            ReceiverSnapshot { integrations: receiver.ways.len(), ..known.unwrap_or_else(fresh) }
        });
        self.receivers = receivers.collect();
    }

    /// Returns how the receivers fare; `away_since` knows since when one cannot be reached.
    pub(super) fn receivers(&self, away_since: impl Fn(&str) -> Option<Timestamp>) -> Vec<ReceiverSnapshot> {
        let with = |r: &ReceiverSnapshot| ReceiverSnapshot { away_since: away_since(&r.name), ..r.clone() };
        self.receivers.iter().map(with).collect()
    }

    /// Notes that a notice is part of a digest from now on.
    pub(super) fn folded(&mut self, id: u64) {
        if let Some(known) = self.recent.iter_mut().find(|n| n.id == id) {
            known.outcome = Outcome::Folded;
        }
    }

    /// Notes how a notice stands.
    pub(super) fn note(&mut self, notice: &Notice, outcome: Outcome, attempts: u32, error: &str) {
        let firing = notice.firing();
        let entry = NoticeSnapshot {
            id: notice.id,
            at: notice.made_at,
            receiver: notice.receiver.clone(),
            group_labels: notice.group_labels.clone(),
            firing,
            resolved: notice.alarms.len() - firing,
            is_digest: notice.is_digest(),
            attempts,
            outcome,
            error: error.to_owned(),
        };
        match self.recent.iter_mut().find(|n| n.id == notice.id) {
            Some(known) => *known = entry,
            None => self.recent.push_front(entry),
        }
        self.recent.truncate(RECENT_MAX);
    }

    pub(super) fn sent(&mut self, notice: &Notice, attempts: u32, now: Timestamp) {
        self.note(notice, Outcome::Sent, attempts, "");
        if let Some(receiver) = self.receivers.iter_mut().find(|r| r.name == notice.receiver) {
            receiver.sent += 1;
            receiver.last_sent_at = Some(now);
            receiver.last_error = None;
        }
    }

    pub(super) fn failed(&mut self, notice: &Notice, attempts: u32, reason: &str) {
        self.note(notice, Outcome::Waiting, attempts, reason);
        if let Some(receiver) = self.receivers.iter_mut().find(|r| r.name == notice.receiver) {
            receiver.failed += 1;
            receiver.last_error = Some(reason.to_owned());
        }
    }
}
