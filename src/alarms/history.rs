//! Past transitions by time, alarm and label.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::journal::HISTORY_MAX;
use super::snapshot::{HistoryQuery, Transition};
use crate::model::Timestamp;

/// The newest transitions, shared between the board's task and those who ask.
#[derive(Debug, Clone, Default)]
pub(super) struct History(Arc<Mutex<VecDeque<Transition>>>);

impl History {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Transition>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, transitions: &[Transition]) {
        let mut all = self.lock();
        all.extend(transitions.iter().cloned());
        let surplus = all.len().saturating_sub(HISTORY_MAX);
        all.drain(..surplus);
    }

    /// Forgets what is older.
    pub(super) fn forget_before(&self, time: Timestamp) {
        let mut all = self.lock();
        let old = all.iter().take_while(|t| t.at < time).count();
        all.drain(..old);
    }

    /// Returns how many there are and the time of the oldest.
    pub(super) fn extent(&self) -> (usize, Option<Timestamp>) {
        let all = self.lock();
        (all.len(), all.front().map(|t| t.at))
    }

    /// Returns what is asked for, newest first.
    pub(super) fn find(&self, query: &HistoryQuery) -> Vec<Transition> {
        let limit = if query.limit == 0 { HistoryQuery::LIMIT } else { query.limit.min(HistoryQuery::LIMIT) };
        let passes = |t: &&Transition| {
            query.start.is_none_or(|start| t.at >= start)
                && query.end.is_none_or(|end| t.at < end)
                && query.fingerprint.is_none_or(|f| t.alarm.fingerprint == f)
                && query.matchers.iter().all(|m| m.matches_labels(&t.alarm.labels))
        };
        self.lock().iter().rev().filter(passes).take(limit).cloned().collect()
    }
}
