//! Past transitions by time, alarm and label: the newest in memory, the rest in the journal.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::journal::{HISTORY_MAX, Journal};
use super::snapshot::{HistoryQuery, Transition};
use crate::model::Timestamp;

/// All transitions there are, shared between the board's task and those who ask.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    newest: Arc<Mutex<VecDeque<Transition>>>,
    journal: Option<Arc<Mutex<Journal>>>,
}

impl History {
    /// Returns a history that goes on in a journal, if there is one.
    pub(super) fn new(journal: Option<Arc<Mutex<Journal>>>) -> Self {
        History { newest: Arc::default(), journal }
    }

    /// Returns where it goes on.
    pub(super) fn journal(&self) -> Option<Arc<Mutex<Journal>>> {
        self.journal.clone()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Transition>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Returns the newest transitions, oldest first, that `pick` makes something of.
    pub(super) fn newest<T>(&self, pick: impl Fn(&Transition) -> Option<T>) -> Vec<T> {
        self.lock().iter().filter_map(pick).collect()
    }

    /// Hands on what a query wants, newest first, until `visit` has enough. Blocking: reads the journal, unless
    /// memory has all that is wanted.
    pub(super) fn visit(&self, query: &HistoryQuery, visit: &mut dyn FnMut(Transition) -> bool) {
        let recent: Vec<Transition> = self.lock().iter().cloned().collect();
        for transition in recent.iter().rev().filter(|t| query.wants(t)) {
            if !visit(transition.clone()) {
                return;
            }
        }
        let oldest = recent.first().map(|t| t.at);
        let (Some(journal), true) = (&self.journal, recent.len() >= HISTORY_MAX) else { return };
        let pages = journal.lock().unwrap_or_else(PoisonError::into_inner).pages();
        // Of the very millisecond at which memory begins some stand there, some only on the disk.
        let end = oldest.map(|at| Timestamp::from_millis(at.as_millis().saturating_add(1)));
        let known: Vec<&Transition> = recent.iter().take_while(|t| Some(t.at) == oldest).collect();
        let older = HistoryQuery { end: query.end.into_iter().chain(end).min(), ..query.clone() };
        pages.visit(&older, &mut |transition| {
            let is_known = known.iter().any(|k| {
                (k.at, k.event, k.alarm.fingerprint) == (transition.at, transition.event, transition.alarm.fingerprint)
            });
            is_known || visit(transition)
        });
    }
}
