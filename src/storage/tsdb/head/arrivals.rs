//! How much the head holds of which window of time, and when something last came into it: what a cut is
//! decided by.

use std::collections::BTreeMap;

use crate::storage::tsdb::compact::WINDOW_MS;

/// What the head holds of one window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Arrived {
    /// Samples held; may be more than there are, never fewer.
    pub(crate) samples: u64,
    /// When the last one came, in milliseconds since the start of the process.
    pub(crate) last_ms: u64,
    /// The count of all samples ever taken when the last one came.
    pub(crate) last_total: u64,
}

/// Windows of two hours by their first millisecond.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    windows: BTreeMap<i64, Arrived>,
    /// The window that samples come into now, and how many came that are not in `windows` yet.
    start: i64,
    fresh: u64,
    /// Samples ever taken.
    total: u64,
    now_ms: u64,
}

impl Arrivals {
    /// Notes when the batch came whose samples follow.
    pub(crate) fn begin_batch(&mut self, now_ms: u64) {
        self.settle();
        self.now_ms = now_ms;
    }

    /// Notes a sample. Cost: a comparison and an addition as long as times stay within one window.
    #[inline]
    pub(crate) fn note(&mut self, time: i64) {
        self.note_many(time, 1);
    }

    /// Notes samples that lie in the same window as `time`.
    #[inline]
    pub(crate) fn note_many(&mut self, time: i64, samples: u64) {
        let is_inside = time >= self.start && time.wrapping_sub(self.start).cast_unsigned() < WINDOW_MS.cast_unsigned();
        if !is_inside {
            self.settle();
            self.start = time.div_euclid(WINDOW_MS).saturating_mul(WINDOW_MS);
        }
        self.fresh += samples;
    }

    /// Returns the windows that hold samples, and how many samples were ever taken.
    pub(crate) fn windows(&self) -> (Vec<(i64, Arrived)>, u64) {
        let mut windows = self.windows.clone();
        if self.fresh > 0 {
            self.add_fresh(windows.entry(self.start).or_default());
        }
        (windows.into_iter().collect(), self.total + self.fresh)
    }

    /// Forgets samples that a cut took away: those counted before it.
    pub(crate) fn forget(&mut self, before: &[(i64, Arrived)]) {
        self.settle();
        for (start, gone) in before {
            if let Some(held) = self.windows.get_mut(start) {
                held.samples = held.samples.saturating_sub(gone.samples);
                if held.samples == 0 {
                    self.windows.remove(start);
                }
            }
        }
    }

    fn settle(&mut self) {
        if self.fresh > 0 {
            let mut held = self.windows.get(&self.start).copied().unwrap_or_default();
            self.add_fresh(&mut held);
            self.windows.insert(self.start, held);
            self.total += std::mem::take(&mut self.fresh);
        }
    }

    fn add_fresh(&self, held: &mut Arrived) {
        held.samples += self.fresh;
        held.last_ms = self.now_ms;
        held.last_total = self.total + self.fresh;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_window_knows_what_it_holds_and_when_something_last_came() {
        let mut arrivals = Arrivals::default();
        let of = |samples, last_ms, last_total| Arrived { samples, last_ms, last_total };
        arrivals.note(-1);
        arrivals.begin_batch(5);
        arrivals.note(WINDOW_MS);
        arrivals.note_many(2 * WINDOW_MS - 1, 3);
        arrivals.begin_batch(7);
        arrivals.note(0);
        let expected = vec![(-WINDOW_MS, of(1, 0, 1)), (0, of(1, 7, 6)), (WINDOW_MS, of(4, 5, 5))];
        assert_eq!(arrivals.windows(), (expected, 6));
        arrivals.note(i64::MAX);
        arrivals.note(i64::MIN);
        assert_eq!(arrivals.windows().0.len(), 5);
    }

    #[test]
    fn a_cut_takes_off_what_was_counted_before_it() {
        let mut arrivals = Arrivals::default();
        arrivals.note_many(0, 10);
        let (before, _) = arrivals.windows();
        arrivals.note_many(5, 2);
        arrivals.forget(&before);
        assert_eq!(arrivals.windows().0[0].1.samples, 2);
        let (before, _) = arrivals.windows();
        arrivals.forget(&before);
        assert_eq!(arrivals.windows(), (vec![], 12));
    }
}
