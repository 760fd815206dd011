//! What a connection counts for others to read: written by its task, read by the devices' task.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::Timestamp;

/// Counts of one connection.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    received: AtomicU64,
    sent: AtomicU64,
    refused: AtomicU64,
    /// Milliseconds since the epoch; 0 before the first.
    last_received_ms: AtomicI64,
    /// The registry's number for the connection.
    number: AtomicU64,
    subscriptions: Mutex<Arc<Vec<String>>>,
}

impl Traffic {
    pub(super) fn note_received(&self, now: Timestamp) {
        self.received.fetch_add(1, Ordering::Relaxed);
        self.last_received_ms.store(now.as_millis(), Ordering::Relaxed);
    }

    pub(super) fn note_sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_subscribed(&self, pattern: String) {
        Arc::make_mut(&mut self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner)).push(pattern);
    }

    pub(super) fn note_unsubscribed(&self, pattern: &str) {
        let mut list = self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut list).retain(|p| p != pattern);
    }

    pub(super) fn set_number(&self, number: u64) {
        self.number.store(number, Ordering::Relaxed);
    }

    pub(super) fn number(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }

    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    pub(super) fn last_received(&self) -> Option<Timestamp> {
        let ms = self.last_received_ms.load(Ordering::Relaxed);
        (ms != 0).then(|| Timestamp::from_millis(ms))
    }

    pub(super) fn subscriptions(&self) -> Arc<Vec<String>> {
        self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
