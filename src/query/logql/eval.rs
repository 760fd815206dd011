//! Answers queries over the store.

use std::time::Duration;

use super::{Error, Filter, Result};
use crate::clock::Clock;
use crate::model::{Labels, LogEntry};
use crate::storage::logs::{Direction, LogStore, ScanRequest};

/// How long one query may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How many bytes of lines and labels one answer may hold; a larger one is cut and says so.
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// How many lines are read between two looks at the clock.
const LINES_PER_LOOK: u64 = 1024;

/// What to look for.
#[derive(Debug, Clone)]
pub struct Request {
    /// The query.
    pub query: String,
    /// First moment, nanoseconds since the epoch, included.
    pub start_ns: i64,
    /// Moment after the last, excluded.
    pub end_ns: i64,
    /// At most so many lines.
    pub limit: usize,
    /// In which order.
    pub direction: Direction,
}

/// A line that passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// The line as stored.
    pub entry: LogEntry,
    /// The stream's labels and the fields taken out of the line.
    pub labels: Labels,
}

/// The lines that passed.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// In the order asked for.
    pub lines: Vec<LogLine>,
    /// Whether the answer ended at its size before the limit of lines was reached.
    pub is_cut: bool,
    /// How many lines were looked at.
    pub scanned_lines: u64,
    /// How many bytes they had.
    pub scanned_bytes: u64,
    /// How many blocks of lines could not be used: what stood in them is missing.
    pub damaged_blocks: u64,
}

/// Answers LogQL over a store; cheap to clone.
#[derive(Debug, Clone)]
pub struct LogEngine {
    store: LogStore,
    clock: Clock,
}

impl LogEngine {
    /// Returns an engine over a store. The clock is for timeouts only.
    #[must_use]
    pub fn new(store: LogStore, clock: Clock) -> Self {
        LogEngine { store, clock }
    }

    /// Answers with lines in the order asked for. Reads from disk: run it on the pool.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn query(&self, request: &Request) -> Result<Answer> {
        let filter = Filter::new(&request.query)?;
        let mut scan = self.store.scan(&ScanRequest {
            matchers: filter.matchers.clone(),
            start_ns: request.start_ns,
            end_ns: request.end_ns,
            direction: request.direction,
            needles: filter.needles(),
        })?;
        let deadline = self.clock.elapsed() + TIMEOUT;
        let mut answer = Answer::default();
        let mut answer_bytes = 0;
        while answer.lines.len() < request.limit {
            let Some(line) = scan.next_line().transpose()? else { break };
            answer.scanned_lines += 1;
            answer.scanned_bytes += line.text.len() as u64;
            if answer.scanned_lines % LINES_PER_LOOK == 0 && self.clock.elapsed() > deadline {
                return Err(Error::Timeout);
            }
            let Some(labels) = filter.labels(line.stream, line.text) else { continue };
            answer_bytes += line.text.len() + labels.memory_bytes();
            if answer_bytes > ANSWER_BYTES_MAX {
                answer.is_cut = true;
                break;
            }
            let (stream, text) = (line.stream.clone(), line.text.to_owned());
            let entry = LogEntry { stream, timestamp_ns: line.timestamp_ns, line: text };
            answer.lines.push(LogLine { entry, labels });
        }
        answer.damaged_blocks = scan.stats().blocks_damaged;
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn engine(lines: &[(i64, &str, &str)]) -> LogEngine {
        let store = LogStore::in_memory();
        let entry = |(at, device, line): &(i64, &str, &str)| LogEntry {
            stream: Labels::from_pairs([("device", device)]),
            timestamp_ns: *at,
            line: (*line).to_owned(),
        };
        store.append(lines.iter().map(entry).collect()).unwrap();
        LogEngine::new(store, Clock::hand_set(Timestamp::from_millis(0)))
    }

    #[track_caller]
    fn check(query: &str, direction: Direction, limit: usize, expected: &[i64]) {
        let engine = engine(&[(10, "a", "jam 1"), (20, "b", "jam 2"), (30, "a", "ok"), (40, "a", r#"{"n":3}"#)]);
        let request = Request { query: query.to_owned(), start_ns: 10, end_ns: 40, limit, direction };
        let answer = engine.query(&request).unwrap();
        let found: Vec<i64> = answer.lines.iter().map(|l| l.entry.timestamp_ns).collect();
        assert_eq!(found, expected, "{query}");
    }

    #[test]
    fn lines_come_in_the_order_asked_for_up_to_the_limit() {
        check("{}", Direction::Backward, 10, &[30, 20, 10]);
        check("{}", Direction::Forward, 2, &[10, 20]);
        check("{} |= \"jam\"", Direction::Backward, 1, &[20]);
        check("{device=\"a\"}", Direction::Forward, 10, &[10, 30]);
        check("{}", Direction::Forward, 0, &[]);
    }

    #[test]
    fn an_answer_says_what_it_looked_at() {
        let engine = engine(&[(10, "a", "jam"), (20, "a", "ok")]);
        let request = Request {
            query: "{} |= \"ok\"".to_owned(),
            start_ns: 0,
            end_ns: 99,
            limit: 9,
            direction: Direction::Forward,
        };
        let answer = engine.query(&request).unwrap();
        assert_eq!((answer.lines.len(), answer.scanned_lines, answer.scanned_bytes), (1, 2, 5));
        assert!(!answer.is_cut);
    }
}
