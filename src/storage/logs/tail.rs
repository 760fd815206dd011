//! Lines as they come, for those who look on.

use std::sync::Arc;

use tokio::sync::broadcast;

use crate::model::LogEntry;

/// How many lines a slow reader may be behind; then it misses the oldest and is told how many.
const LINES_MAX: usize = 1024;

/// Hands every line to every reader.
#[derive(Debug)]
pub(super) struct Tail(broadcast::Sender<Arc<LogEntry>>);

impl Tail {
    pub(super) fn new() -> Self {
        Tail(broadcast::channel(LINES_MAX).0)
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Arc<LogEntry>> {
        self.0.subscribe()
    }

    /// Costs nothing while nobody looks on.
    pub(super) fn send(&self, entries: Vec<LogEntry>) {
        if self.0.receiver_count() == 0 {
            return;
        }
        for entry in entries {
            // The last reader may have left meanwhile.
            let _ = self.0.send(Arc::new(entry));
        }
    }
}
