//! A batch in: limits, WAL, head, tail.

use std::ops::RangeInclusive;

use super::store::{AppendOutcome, Shared};
use super::wal::Batch;
use super::{Error, Result};
use crate::model::{LogEntry, Timestamp};
use crate::storage::disk::WRITABLE_FROM_BYTES;

/// Longest label set of a stream, bytes of names and values.
const LABELS_BYTES_MAX: usize = 4 << 10;

/// What became of one piece of a batch.
#[derive(Debug, Default)]
struct Piece {
    /// How many entries were dealt with.
    consumed: usize,
    /// Which of them were refused because of the limit of streams.
    refused: Vec<usize>,
}

impl Shared {
    pub(super) fn append(&self, batch: Vec<LogEntry>) -> Result<AppendOutcome> {
        let retention_ns = i64::try_from(self.config.retention.as_nanos()).unwrap_or(i64::MAX);
        let oldest_ns = ns_of(self.clock.retention_now()).saturating_sub(retention_ns);
        let newest_ns = ns_of(self.clock.latest_taken(self.config.ahead_max));
        let mut outcome = AppendOutcome::default();
        let mut entries = Vec::with_capacity(batch.len());
        for mut entry in batch {
            if self.admit(&mut entry, &(oldest_ns..=newest_ns), &mut outcome) {
                entries.push(entry);
            }
        }
        let mut refused = Vec::new();
        let mut done = 0;
        let result = loop {
            let Some(rest) = entries.get(done..).filter(|rest| !rest.is_empty()) else { break Ok(()) };
            match self.make_room().and_then(|()| self.append_piece(rest)) {
                Ok(piece) => {
                    refused.extend(piece.refused.iter().map(|at| done + at));
                    done += piece.consumed;
                }
                Err(error) => break Err(error),
            }
        };
        entries.truncate(done);
        let mut at = 0;
        entries.retain(|_| {
            at += 1;
            refused.binary_search(&(at - 1)).is_err()
        });
        outcome.over_stream_limit = refused.len() as u64;
        outcome.appended = entries.len() as u64;
        self.count(&entries, &outcome);
        self.tail.send(entries);
        if let Err(error) = &result {
            self.instruments.refused.with(&[reason(error)]).inc();
        }
        result.map(|()| outcome)
    }

    /// Tells whether a line may come in by its time and its labels; cuts it if it is too long.
    fn admit(&self, entry: &mut LogEntry, taken_ns: &RangeInclusive<i64>, outcome: &mut AppendOutcome) -> bool {
        let config = &self.config;
        if entry.timestamp_ns < *taken_ns.start() {
            outcome.too_old += 1;
            return false;
        }
        if entry.timestamp_ns > *taken_ns.end() {
            outcome.too_new += 1;
            return false;
        }
        if entry.stream.memory_bytes() > LABELS_BYTES_MAX {
            outcome.over_label_limit += 1;
            return false;
        }
        if entry.line.len() > config.line_bytes_max {
            entry.line.truncate(entry.line.floor_char_boundary(config.line_bytes_max));
            outcome.truncated += 1;
        }
        true
    }

    /// Makes sure that there is room in memory and on the disk.
    fn make_room(&self) -> Result<()> {
        if self.space().is_read_only() && !self.measure_space() {
            return Err(self.read_only());
        }
        let head_bytes = self.read().head.bytes;
        if head_bytes < self.config.head_bytes_max {
            return Ok(());
        }
        if self.has_threads() && head_bytes < self.config.head_bytes_max * 2 {
            self.signal(|signals| signals.is_part_due = true);
            return Ok(());
        }
        // The thread does not keep up, or there is none: whoever appends writes the part.
        if let Err(error) = self.flush() {
            if head_bytes < self.config.head_bytes_max * 2 {
                return Ok(());
            }
            tracing::warn!(%error, head_bytes, "log lines are refused: parts cannot be written");
            return Err(Error::Overfull { head_bytes });
        }
        Ok(())
    }

    fn append_piece(&self, entries: &[LogEntry]) -> Result<Piece> {
        let mut piece = Piece::default();
        let mut batch = Batch::default();
        let mut state = self.write();
        for entry in entries {
            if batch.is_full() {
                break;
            }
            piece.consumed += 1;
            let (id, is_defined) = state.head.find(&entry.stream);
            if !is_defined {
                match batch.definition(id) {
                    Some(labels) if *labels == entry.stream => (),
                    None if state.head.stream_count() + batch.definitions().len() < self.config.streams_max => {
                        batch.define(id, &entry.stream);
                    }
                    // Too many, or two new streams with the same hash in one batch, which nobody will see.
                    None | Some(_) => {
                        piece.refused.push(piece.consumed - 1);
                        continue;
                    }
                }
            }
            batch.add(id, entry);
        }
        if batch.is_empty() {
            return Ok(piece);
        }
        let (kind, payload) = batch.encode();
        if let Err(error) = self.wal.append(kind, &payload) {
            if error.is_full() {
                self.space().found_full();
                return Err(self.read_only());
            }
            return Err(error.into());
        }
        for (id, labels) in batch.definitions() {
            state.head.define(*id, (*labels).clone());
        }
        for (id, entry) in batch.lines() {
            state.head.push(id, entry.timestamp_ns, &entry.line);
        }
        if state.head_since.is_none() {
            state.head_since = Some(self.clock.elapsed());
        }
        Ok(piece)
    }

    fn read_only(&self) -> Error {
        let free_bytes = self.disk.space(&self.folder).map_or(0, |space| space.free_bytes);
        Error::ReadOnly { free_bytes, needed_bytes: WRITABLE_FROM_BYTES }
    }

    fn count(&self, taken: &[LogEntry], outcome: &AppendOutcome) {
        let i = &self.instruments;
        i.lines.add(outcome.appended);
        i.line_bytes.add(taken.iter().map(|entry| entry.line.len() as u64).sum());
        i.truncated.add(outcome.truncated);
        let refused = [
            ("too_old", outcome.too_old),
            ("too_new", outcome.too_new),
            ("stream_limit", outcome.over_stream_limit),
            ("label_limit", outcome.over_label_limit),
        ];
        for (reason, count) in refused.into_iter().filter(|(_, count)| *count > 0) {
            i.refused.with(&[reason]).add(count);
        }
    }
}

fn reason(error: &Error) -> &'static str {
    match error {
        Error::ReadOnly { .. } => "read_only",
        Error::Overfull { .. } => "overfull",
        Error::Disk(_) => "disk",
    }
}

/// Returns a time in nanoseconds since 1970.
pub(super) fn ns_of(time: Timestamp) -> i64 {
    time.as_millis().saturating_mul(1_000_000)
}
