//! Bounds of one query, shared by both languages: a deadline that a caller may also pull, and a budget of samples.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::clock::Clock;
use crate::headroom::{Headroom, Level};

/// Why a query has to end before it has an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// Its time is over.
    #[error("out of time")]
    Timeout,
    /// The asker went away.
    #[error("cancelled")]
    Cancelled,
    /// It would hold or read more samples than it may.
    #[error(
        "query processing would load too many samples into memory in query execution (limit {max}{})",
        if *is_scarce { ", because memory is short" } else { "" }
    )]
    Samples {
        /// The budget.
        max: usize,
        /// Whether it is that small because memory is short.
        is_scarce: bool,
    },
    /// All that run hold so much that there is no room for it now.
    #[error("other queries hold the memory that this one needs; come again")]
    Crowded,
}

/// When a query must end: by time, or because the asker went away. Asked between series, never per sample.
#[derive(Debug)]
pub struct Deadline {
    clock: Clock,
    timeout: Duration,
    cancelled: Option<Arc<AtomicBool>>,
}

impl Deadline {
    /// Returns a deadline that begins to run now. `cancelled` ends it at once when it becomes true.
    #[must_use]
    pub fn after(timeout: Duration, cancelled: Option<Arc<AtomicBool>>) -> Self {
        Deadline { clock: Clock::system(), timeout, cancelled }
    }

    /// Tells whether the query may go on.
    ///
    /// # Errors
    /// [`Stop::Cancelled`] or [`Stop::Timeout`].
    pub fn check(&self) -> Result<(), Stop> {
        if self.cancelled.as_ref().is_some_and(|c| c.load(Ordering::Relaxed)) {
            return Err(Stop::Cancelled);
        }
        if self.clock.elapsed() >= self.timeout { Err(Stop::Timeout) } else { Ok(()) }
    }

    /// Returns how long the query has run.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }
}

/// How much work is done between two looks at the deadline, in samples: a few milliseconds.
const WORK_BETWEEN_LOOKS: usize = 1 << 20;

/// Looks at the deadline now and then, for loops that work on what has been read.
#[derive(Debug)]
pub struct Pace<'d> {
    deadline: &'d Deadline,
    done: usize,
}

impl<'d> Pace<'d> {
    /// Returns one that has done nothing yet.
    #[must_use]
    pub fn new(deadline: &'d Deadline) -> Self {
        Pace { deadline, done: 0 }
    }

    /// Counts work on so many samples; tells now and then whether it may go on.
    ///
    /// # Errors
    /// As [`Deadline::check`].
    #[inline]
    pub fn work(&mut self, samples: usize) -> Result<(), Stop> {
        self.done = self.done.saturating_add(samples);
        if self.done < WORK_BETWEEN_LOOKS {
            return Ok(());
        }
        self.done = 0;
        self.deadline.check()
    }
}

/// A query may read so many times what it may hold: a sum over a day of many series holds one series at a time. The
/// deadline bounds the time that takes.
const READ_FACTOR: usize = 50;

/// A query that holds no more than this is not refused on account of others: a megabyte.
const SMALL: usize = 1 << 16;

/// How many samples a query holds or reads between two looks at memory: milliseconds of work.
const SAMPLES_BETWEEN_LOOKS: usize = 1 << 18;

/// Counts the samples of a query: those it holds, for as long as it does, up to a maximum, and those read from the
/// store, in all, up to `READ_FACTOR` times as many. All threads that work on the query count together.
///
/// How many all queries may hold follows memory while they run: a big one that began with memory ample ends when there
/// is none left.
#[derive(Debug)]
pub struct SampleBudget {
    max: usize,
    is_scarce: bool,
    read: AtomicUsize,
    held: AtomicUsize,
    peak: AtomicUsize,
    /// Who else holds samples.
    together: Together,
    /// How many all may hold.
    headroom: Headroom,
}

impl SampleBudget {
    /// Returns a budget of `max` samples, or of fewer if memory is short, beside others, who hold with it what
    /// `headroom` lets them.
    #[must_use]
    pub fn new(max: usize, together: Together, headroom: Headroom) -> Self {
        if together.held() > headroom.query_samples_max() / 2 {
            // Much is held: how much memory is left is not what it was when it was last looked at.
            headroom.look();
        }
        let spare = headroom.query_samples_max();
        let is_scarce = headroom.level() > Level::Ample && spare < max;
        let (read, held, peak) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        SampleBudget { max: max.min(spare), is_scarce, read, held, peak, together, headroom }
    }

    /// Returns how many samples may be held.
    #[must_use]
    pub fn max(&self) -> usize {
        self.max
    }

    /// Returns how many samples may still be read.
    #[must_use]
    pub fn left_to_read(&self) -> usize {
        self.read_max().saturating_sub(self.read())
    }

    fn read_max(&self) -> usize {
        self.max.saturating_mul(READ_FACTOR)
    }

    /// Returns how many samples were read.
    #[must_use]
    pub fn read(&self) -> usize {
        self.read.load(Ordering::Relaxed)
    }

    /// Counts samples that were read.
    ///
    /// # Errors
    /// [`Stop::Samples`] if they are too many.
    pub fn add_read(&self, samples: usize) -> Result<(), Stop> {
        let before = self.read.fetch_add(samples, Ordering::Relaxed);
        let read = before.saturating_add(samples);
        self.look_now_and_then(before, read);
        if read > self.read_max() { Err(self.over(self.read_max())) } else { Ok(()) }
    }

    /// Counts samples that are now held.
    ///
    /// # Errors
    /// [`Stop::Samples`] if they are too many, [`Stop::Crowded`] if they are with those of others.
    pub fn hold(&self, samples: usize) -> Result<(), Stop> {
        let before = self.held.fetch_add(samples, Ordering::Relaxed);
        let held = before.saturating_add(samples);
        self.peak.fetch_max(held, Ordering::Relaxed);
        let all = self.together.add(samples);
        if held > self.max {
            return Err(self.over(self.max));
        }
        self.look_now_and_then(before, held);
        if held > SMALL && all > self.headroom.query_samples_max() { Err(Stop::Crowded) } else { Ok(()) }
    }

    /// Measures memory when a count has grown past another step.
    fn look_now_and_then(&self, before: usize, after: usize) {
        if before / SAMPLES_BETWEEN_LOOKS != after / SAMPLES_BETWEEN_LOOKS {
            self.headroom.look();
        }
    }

    fn over(&self, max: usize) -> Stop {
        Stop::Samples { max, is_scarce: self.is_scarce }
    }

    /// Returns the most that was held at one time.
    #[must_use]
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    /// Counts samples that are no longer held: as many as were counted before, or fewer.
    pub fn release(&self, samples: usize) {
        self.held.fetch_sub(samples, Ordering::Relaxed);
        self.together.subtract(samples);
    }
}

impl Drop for SampleBudget {
    fn drop(&mut self) {
        self.together.subtract(self.held.load(Ordering::Relaxed));
    }
}

/// Counts the samples that all queries hold together, their answers included until they are sent; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Together(Arc<AtomicUsize>);

impl Together {
    /// Counts samples until what is returned, and all its clones, are dropped; never refused.
    #[must_use]
    pub fn keep(&self, samples: usize) -> Kept {
        self.add(samples);
        Kept(Some(Arc::new(Share { together: self.clone(), samples })))
    }

    /// Returns how many are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, samples: usize) -> usize {
        self.0.fetch_add(samples, Ordering::Relaxed).saturating_add(samples)
    }

    fn subtract(&self, samples: usize) {
        self.0.fetch_sub(samples, Ordering::Relaxed);
    }
}

/// Samples of an answer, which count until it is dropped; all are equal.
#[derive(Debug, Clone, Default)]
pub struct Kept(#[expect(dead_code, reason = "held for its drop")] Option<Arc<Share>>);

impl PartialEq for Kept {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

#[derive(Debug)]
struct Share {
    together: Together,
    samples: usize,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.together.subtract(self.samples);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_ends_by_time_and_by_hand() {
        let cancelled = Arc::new(AtomicBool::new(false));
        let deadline = Deadline::after(Duration::from_secs(3600), Some(cancelled.clone()));
        assert_eq!(deadline.check(), Ok(()));
        cancelled.store(true, Ordering::Relaxed);
        assert_eq!(deadline.check(), Err(Stop::Cancelled));
        assert_eq!(Deadline::after(Duration::ZERO, None).check(), Err(Stop::Timeout));
    }

    #[test]
    fn work_is_stopped_after_a_while() {
        let deadline = Deadline::after(Duration::ZERO, None);
        let mut pace = Pace::new(&deadline);
        assert_eq!(pace.work(WORK_BETWEEN_LOOKS - 1), Ok(()));
        assert_eq!(pace.work(1), Err(Stop::Timeout));
        assert_eq!(pace.work(1), Ok(()));
    }

    #[test]
    fn what_all_hold_together_is_bounded_and_given_back() {
        let together = Together::default();
        // Ten times what is small; a sample counts 16 bytes, and queries hold a quarter.
        let headroom = Headroom::new(10 * SMALL as u64 * 64, || Some(0));
        let among = || SampleBudget::new(8 * SMALL, together.clone(), headroom.clone());
        let (first, second) = (among(), among());
        assert_eq!(first.hold(8 * SMALL), Ok(()));
        assert_eq!(second.hold(2 * SMALL), Ok(()));
        assert_eq!(second.hold(1), Err(Stop::Crowded));
        let small = among();
        assert_eq!(small.hold(SMALL), Ok(()), "what is small is answered all the same");
        assert_eq!(small.hold(1), Err(Stop::Crowded));
        drop(small);
        first.release(8 * SMALL);
        let kept = together.keep(50);
        assert_eq!(second.hold(6 * SMALL - 1), Ok(()));
        assert_eq!(second.hold(1), Err(Stop::Samples { max: 8 * SMALL, is_scarce: false }));
        drop(second);
        assert_eq!(together.held(), 50);
        drop(kept.clone());
        assert_eq!(together.held(), 50, "a clone is the same answer");
        drop(kept);
        drop(first);
        assert_eq!(together.held(), 0);
    }

    #[test]
    fn a_big_one_ends_when_memory_runs_out() {
        let used = Arc::new(AtomicUsize::new(0));
        let read = used.clone();
        let limit = SAMPLES_BETWEEN_LOOKS as u64 * 64 * 4;
        let headroom = Headroom::new(limit, move || Some(read.load(Ordering::Relaxed) as u64));
        let budget = SampleBudget::new(usize::MAX, Together::default(), headroom);
        assert_eq!(budget.hold(SAMPLES_BETWEEN_LOOKS - 1), Ok(()));
        used.store(usize::try_from(limit).unwrap(), Ordering::Relaxed);
        assert_eq!(budget.hold(1), Err(Stop::Crowded));
        budget.release(SAMPLES_BETWEEN_LOOKS);
        assert_eq!(budget.hold(SMALL), Ok(()), "what is small goes on");
        used.store(0, Ordering::Relaxed);
        assert_eq!(budget.add_read(SAMPLES_BETWEEN_LOOKS), Ok(()));
        assert_eq!(budget.hold(SAMPLES_BETWEEN_LOOKS), Ok(()), "there is memory again");
    }

    #[test]
    fn a_budget_may_be_used_up_but_not_passed() {
        let budget = SampleBudget::new(10, Together::default(), Headroom::unlimited());
        assert_eq!(budget.add_read(500), Ok(()));
        assert_eq!(budget.add_read(1), Err(Stop::Samples { max: 500, is_scarce: false }));
        assert_eq!(budget.hold(6), Ok(()));
        budget.release(3);
        assert_eq!(budget.hold(7), Ok(()));
        assert_eq!(budget.hold(1), Err(Stop::Samples { max: 10, is_scarce: false }));
    }
}
