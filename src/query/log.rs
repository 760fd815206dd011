//! What is asked and what it takes: the questions that are being answered, and the slowest of the last day.
//!
//! Bounded: `SLOWEST_MAX` of the past, texts of at most `TEXT_MAX` characters. Cost: a lock and a copy of the text per
//! question.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::model::Timestamp;

/// Questions of the past that are kept.
const SLOWEST_MAX: usize = 100;

/// How long they are kept.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// Characters of a question that are kept.
const TEXT_MAX: usize = 2000;

/// Who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Origin {
    /// Some part of the box.
    #[default]
    Inside,
    /// A program at this address.
    Program(IpAddr),
    /// A page.
    Page,
    /// A rule of this name.
    Rule(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Inside => f.write_str("this box"),
            Origin::Program(address) => write!(f, "{address}"),
            Origin::Page => f.write_str("a page"),
            Origin::Rule(name) => write!(f, "rule {name}"),
        }
    }
}

/// A question.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Who asked it.
    pub origin: Origin,
    /// What was asked; the beginning, if it is very long.
    pub text: String,
    /// The first time it is about.
    pub start: Timestamp,
    /// The last; the same for a question about one moment.
    pub end: Timestamp,
    /// Distance of the steps; zero for a question about one moment.
    pub step: Duration,
    /// When it was begun.
    pub begun_at: Timestamp,
}

/// A question that is being answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Running {
    /// The question.
    pub question: Question,
    /// For how long so far.
    pub so_far: Duration,
}

/// A question that was answered, or was not.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// The question.
    pub question: Question,
    /// How long it took.
    pub took: Duration,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// An answer.
    Answer {
        /// Series in it.
        series: usize,
        /// Samples that were read for it.
        samples: usize,
    },
    /// None, and why.
    Failure(String),
}

/// The record; cheap to clone.
#[derive(Debug, Clone)]
pub struct QueryLog {
    clock: Clock,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    /// By number, so in the order they were begun; when on the clock that never steps.
    running: BTreeMap<u64, (Question, Duration)>,
    /// The slowest first.
    slowest: Vec<Answered>,
}

impl QueryLog {
    /// Returns an empty record.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        QueryLog { clock, inner: Arc::default() }
    }

    /// Notes that a question is begun; it is being answered until the entry is ended or dropped.
    #[must_use]
    pub fn begin(&self, origin: Origin, text: &str, start: Timestamp, end: Timestamp, step: Duration) -> Entry {
        let cut = text.char_indices().nth(TEXT_MAX).map(|(i, _)| i);
        let text = cut.and_then(|i| text.get(..i)).map_or_else(|| text.to_owned(), |begin| format!("{begin}…"));
        let question = Question { origin, text, start, end, step, begun_at: self.clock.now() };
        let mut inner = self.lock();
        inner.next += 1;
        let number = inner.next;
        inner.running.insert(number, (question, self.clock.elapsed()));
        Entry { log: self.clone(), number }
    }

    /// Returns what is being answered, the longest first.
    #[must_use]
    pub fn running(&self) -> Vec<Running> {
        let now = self.clock.elapsed();
        let told = |(question, begun): &(Question, Duration)| Running {
            question: question.clone(),
            so_far: now.saturating_sub(*begun),
        };
        self.lock().running.values().map(told).collect()
    }

    /// Returns the slowest questions of the last day, the slowest first.
    #[must_use]
    pub fn slowest(&self) -> Vec<Answered> {
        let mut inner = self.lock();
        inner.forget(self.clock.now());
        inner.slowest.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Forgets what is older than a day; what seems to come from the future was asked before the clock was mended.
    fn forget(&mut self, now: Timestamp) {
        self.slowest.retain(|answered| now.since(answered.question.begun_at) < KEPT);
    }

    fn keep(&mut self, answered: Answered) {
        let place = self.slowest.partition_point(|other| other.took >= answered.took);
        if place < SLOWEST_MAX {
            self.slowest.insert(place, answered);
            self.slowest.truncate(SLOWEST_MAX);
        }
    }
}

/// A question that is being answered.
#[derive(Debug)]
pub struct Entry {
    log: QueryLog,
    number: u64,
}

impl Entry {
    /// Notes what came of it.
    pub fn end(self, outcome: Outcome) {
        let (now, ended) = (self.log.clock.now(), self.log.clock.elapsed());
        let mut inner = self.log.lock();
        if let Some((question, begun)) = inner.running.remove(&self.number) {
            inner.forget(now);
            inner.keep(Answered { question, took: ended.saturating_sub(begun), outcome });
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.log.lock().running.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn begin(log: &QueryLog, text: &str) -> Entry {
        log.begin(Origin::Page, text, START, START, Duration::ZERO)
    }

    fn answer() -> Outcome {
        Outcome::Answer { series: 1, samples: 2 }
    }

    #[test]
    fn the_slowest_of_a_day_are_kept_and_no_more_than_fit() {
        let clock = Clock::hand_set(START);
        let log = QueryLog::new(clock.clone());
        for ms in 1..=150 {
            let entry = begin(&log, &format!("q{ms}"));
            clock.advance(Duration::from_millis(ms));
            entry.end(answer());
        }
        let slowest = log.slowest();
        assert_eq!(slowest.len(), SLOWEST_MAX);
        assert_eq!((slowest[0].question.text.as_str(), slowest[0].took), ("q150", Duration::from_millis(150)));
        assert_eq!(slowest[99].question.text, "q51");
        clock.advance(KEPT);
        begin(&log, "new").end(Outcome::Failure("no".to_owned()));
        assert_eq!(log.slowest().iter().map(|a| a.question.text.as_str()).collect::<Vec<_>>(), ["new"]);
    }

    #[test]
    fn what_is_being_answered_is_told_until_it_ends_or_breaks_off() {
        let clock = Clock::hand_set(START);
        let log = QueryLog::new(clock.clone());
        let (first, second) = (begin(&log, "first"), begin(&log, "second"));
        clock.advance(Duration::from_secs(3));
        let texts = |log: &QueryLog| log.running().into_iter().map(|r| r.question.text).collect::<Vec<_>>();
        assert_eq!(texts(&log), ["first", "second"]);
        assert_eq!(log.running()[0].so_far, Duration::from_secs(3));
        drop(first);
        assert_eq!(texts(&log), ["second"]);
        second.end(answer());
        assert!(log.running().is_empty());
        assert_eq!(log.slowest().len(), 1, "what broke off has no outcome");
    }

    #[test]
    fn a_very_long_question_is_cut() {
        let log = QueryLog::new(Clock::hand_set(START));
        begin(&log, &"ü".repeat(TEXT_MAX + 1)).end(answer());
        begin(&log, &"ü".repeat(TEXT_MAX)).end(answer());
        let lengths: Vec<usize> = log.slowest().iter().map(|a| a.question.text.chars().count()).collect();
        assert_eq!(lengths, [TEXT_MAX + 1, TEXT_MAX]);
        assert!(log.slowest()[0].question.text.ends_with('…'));
    }
}
