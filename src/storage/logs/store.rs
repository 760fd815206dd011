//! The log store's handle.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::broadcast;

use crate::model::{Labels, LogEntry, Matcher};

/// Result of a call to the log store.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the log store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Free space is below the reserve: reads go on, appends are refused until space returns.
    #[error("log store is read-only: {free_bytes} bytes free, {needed_bytes} needed")]
    ReadOnly {
        /// Bytes free on the file system.
        free_bytes: u64,
        /// Bytes that must be free before appends are taken again.
        needed_bytes: u64,
    },
}

/// What became of a batch of lines.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct AppendOutcome {
    /// Taken.
    pub appended: u64,
    /// Older than retention.
    pub too_old: u64,
    /// More than ten minutes ahead of the clock.
    pub too_new: u64,
    /// Longer than a line may be: cut and taken.
    pub truncated: u64,
    /// Of new streams beyond the limit.
    pub over_stream_limit: u64,
}

/// In which order a scan gives lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Newest first.
    Backward,
    /// Oldest first.
    Forward,
}

/// What to read.
#[derive(Debug, Clone)]
pub struct ScanRequest {
    /// Conditions on the stream's labels.
    pub matchers: Vec<Matcher>,
    /// First moment, nanoseconds since the epoch, included.
    pub start_ns: i64,
    /// Moment after the last, excluded.
    pub end_ns: i64,
    /// In which order.
    pub direction: Direction,
    /// Texts that each line must hold, as they stand: blocks that cannot hold them are skipped. The caller
    /// still has to check each line.
    pub needles: Vec<String>,
}

/// Lines of a scan, in the order asked for across all streams.
#[derive(Debug)]
pub struct Scan {
    entries: std::vec::IntoIter<LogEntry>,
}

impl Iterator for Scan {
    type Item = Result<LogEntry>;
    fn next(&mut self) -> Option<Self::Item> {
        self.entries.next().map(Ok)
    }
}

/// The log store: a cheap handle over shared state.
#[derive(Debug, Clone)]
pub struct LogStore {
    entries: Arc<RwLock<Vec<LogEntry>>>,
    tail: broadcast::Sender<Arc<LogEntry>>,
}

impl LogStore {
    /// Returns a store that forgets everything at the end.
    #[must_use]
    pub fn in_memory() -> Self {
        LogStore { entries: Arc::default(), tail: broadcast::channel(1024).0 }
    }

    /// Appends lines; they may come in any order.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] while the disk is full; nothing of the batch is kept then.
    pub fn append(&self, batch: Vec<LogEntry>) -> Result<AppendOutcome> {
        let outcome = AppendOutcome { appended: batch.len() as u64, ..AppendOutcome::default() };
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        for entry in batch {
            let _ = self.tail.send(Arc::new(entry.clone()));
            entries.push(entry);
        }
        Ok(outcome)
    }

    /// Reads lines.
    ///
    /// # Errors
    /// When a day cannot be read.
    pub fn scan(&self, request: &ScanRequest) -> Result<Scan> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<LogEntry> = entries
            .iter()
            .filter(|e| (request.start_ns..request.end_ns).contains(&e.timestamp_ns))
            .filter(|e| request.matchers.iter().all(|m| m.matches_labels(&e.stream)))
            .cloned()
            .collect();
        found.sort_by_key(|e| e.timestamp_ns);
        if request.direction == Direction::Backward {
            found.reverse();
        }
        Ok(Scan { entries: found.into_iter() })
    }

    /// Returns the label sets of the streams with lines, or possible lines, in `[start_ns, end_ns)`; sorted.
    ///
    /// # Errors
    /// When a day cannot be read.
    pub fn streams(&self, matchers: &[Matcher], start_ns: i64, end_ns: i64) -> Result<Vec<Labels>> {
        let request = ScanRequest {
            matchers: matchers.to_vec(),
            start_ns,
            end_ns,
            direction: Direction::Forward,
            needles: Vec::new(),
        };
        let streams: std::collections::BTreeSet<Labels> =
            self.scan(&request)?.filter_map(|e| e.ok().map(|e| e.stream)).collect();
        Ok(streams.into_iter().collect())
    }

    /// Returns a receiver of every line appended from now on; a slow reader misses lines and is told how many.
    #[must_use]
    pub fn tail(&self) -> broadcast::Receiver<Arc<LogEntry>> {
        self.tail.subscribe()
    }
}
