//! Taking in the log: samples wait until there are several of a series, and go in series by series.
//!
//! The log has them scrape by scrape, and in memory series lie apart: one by one each sample waits for memory
//! two or three times. A series that takes several at once is waited for once, and its neighbour comes by
//! itself.

use super::{Head, Replayed};
use crate::storage::tsdb::wal::{Logged, LoggedSample};

/// So many samples wait for each series, on average. More would spread over more times than a group
/// remembers, see `groups.rs`.
const EACH: usize = 8;

/// So many wait at least, and at most: 4 MiB.
const WAITING_MIN: usize = 4_000;
const WAITING_MAX: usize = 200_000;

/// How far the base lies before the first of its times.
const BASE_BEFORE_MS: i64 = 7 * 24 * 3_600_000;

/// Puts a head together from a checkpoint and the log.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    head: Head,
    /// Samples by arrival.
    waiting: Vec<Waiting>,
    /// What their times count from.
    base: i64,
    /// The lowest and the highest slot among them.
    slots: Option<(u32, u32)>,
    /// Room to put them in order: where each slot's samples end, and their places in `waiting`.
    ends: Vec<u32>,
    order: Vec<u32>,
    replayed: Replayed,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    slot: u32,
    /// Milliseconds since the base.
    offset: u32,
    value: f64,
}

impl Replay {
    /// Takes in a record of the log or of a checkpoint.
    pub(crate) fn take(&mut self, logged: Logged, sequence: u64) {
        let Logged::Batch { new, samples } = logged else {
            self.flush();
            return self.head.replay(logged, &mut self.replayed);
        };
        // What waits for a slot goes to the series that has it now.
        if self.slots.is_some_and(|(low, high)| new.iter().any(|(slot, _)| (low..=high).contains(slot))) {
            self.flush();
        }
        let moved = self.head.replay_series(new);
        if !moved.is_empty() {
            self.flush();
            self.head.follow(&moved);
        }
        for sample in samples {
            self.head.late.note(sample.time, sequence);
            self.head.arrivals.note(sample.time);
            self.wait(sample);
        }
        let enough = self.head.series_count().saturating_mul(EACH).clamp(WAITING_MIN, WAITING_MAX);
        if self.waiting.len() >= enough {
            self.flush();
        }
    }

    #[inline]
    fn wait(&mut self, sample: LoggedSample) {
        let offset = match u32::try_from(sample.time.wrapping_sub(self.base)) {
            Ok(offset) if !self.waiting.is_empty() && sample.time >= self.base => offset,
            _ => self.rebase(sample.time),
        };
        let (low, high) = self.slots.unwrap_or((u32::MAX, 0));
        self.slots = Some((low.min(sample.series), high.max(sample.series)));
        self.waiting.push(Waiting { slot: sample.series, offset, value: sample.value });
    }

    /// Lets times count from another base; returns the offset of this one.
    #[cold]
    fn rebase(&mut self, time: i64) -> u32 {
        self.flush();
        // Most that come are newer, few a little older.
        self.base = time.saturating_sub(BASE_BEFORE_MS);
        u32::try_from(time - self.base).unwrap_or(0)
    }

    /// Ends; returns the head, and what was met.
    pub(crate) fn finish(mut self) -> (Head, Replayed) {
        self.flush();
        self.head.release_unnamed();
        (self.head, self.replayed)
    }

    /// Puts what waits into the head.
    fn flush(&mut self) {
        let Some((low, high)) = self.slots.take() else { return };
        self.head.series.skip(high);
        let Replay { head, waiting, base, ends, order, replayed, .. } = self;
        if (high - low) as usize > waiting.len() * EACH {
            waiting.sort_by_key(|w| w.slot);
            for run in waiting.chunk_by(|a, b| a.slot == b.slot) {
                let slot = run.first().map_or(0, |w| w.slot);
                add_run(head, slot, *base, run.iter(), replayed);
            }
        } else {
            put_in_order(waiting, low, high, ends, order);
            let mut start = 0;
            for (slot, end) in (low..=high).zip(&*ends) {
                let run = order.get(start..*end as usize).unwrap_or_default();
                start = *end as usize;
                if !run.is_empty() {
                    let run = run.iter().map(|at| waiting.get(*at as usize).unwrap_or(&NOTHING));
                    add_run(head, slot, *base, run, replayed);
                }
            }
        }
        waiting.clear();
    }
}

fn add_run<'a>(
    head: &mut Head,
    slot: u32,
    base: i64,
    run: impl ExactSizeIterator<Item = &'a Waiting>,
    replayed: &mut Replayed,
) {
    let count = run.len() as u64;
    match head.add_run(slot, run.map(|w| (base + i64::from(w.offset), w.value))) {
        Some(()) => replayed.samples += count,
        None => replayed.orphans += count,
    }
}

/// Stands where no sample can be missing.
const NOTHING: Waiting = Waiting { slot: 0, offset: 0, value: 0.0 };

/// Puts samples in order of their slots, those of one as they came: `order` says which comes when, `ends` where
/// the samples of each slot end there, from `low` on.
fn put_in_order(waiting: &[Waiting], low: u32, high: u32, ends: &mut Vec<u32>, order: &mut Vec<u32>) {
    let place = |w: &Waiting| w.slot.saturating_sub(low) as usize;
    ends.clear();
    ends.resize((high - low) as usize + 1, 0);
    for w in waiting {
        if let Some(count) = ends.get_mut(place(w)) {
            *count += 1;
        }
    }
    let mut sum = 0;
    for count in ends.iter_mut() {
        sum += std::mem::replace(count, sum);
    }
    // Each stands at its beginning now, and has come to its end when all are placed.
    order.clear();
    order.resize(waiting.len(), 0);
    for (w, at) in waiting.iter().zip(0_u32..) {
        let Some(next) = ends.get_mut(place(w)) else { continue };
        if let Some(to) = order.get_mut(*next as usize) {
            *to = at;
        }
        *next += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Labels;
    use crate::storage::tsdb::head::Added;
    use crate::storage::tsdb::postings::Postings;

    fn labels(series: u32) -> Labels {
        Labels::from_pairs([("__name__", "up".to_owned()), ("n", series.to_string())])
    }

    fn batch(new: &[u32], samples: Vec<LoggedSample>) -> Logged {
        Logged::Batch { new: new.iter().map(|slot| (*slot, labels(*slot))).collect(), samples }
    }

    /// A scrape of these series.
    fn scrape(series: impl Iterator<Item = u32>, time: i64) -> Vec<LoggedSample> {
        series.map(|series| LoggedSample { series, time, value: time as f64 }).collect()
    }

    #[test]
    fn series_of_a_scrape_share_their_times_after_a_start() {
        let mut replay = Replay::default();
        replay.take(batch(&(0..600).collect::<Vec<_>>(), vec![]), 1);
        for tick in 0..200 {
            replay.take(batch(&[], scrape(0..300, tick * 15_000)), 2 + tick.cast_unsigned());
            replay.take(batch(&[], scrape(300..600, tick * 15_000 + 7)), 2 + tick.cast_unsigned());
        }
        let (head, replayed) = replay.finish();
        assert_eq!((replayed.samples, replayed.orphans), (120_000, 0));
        assert_eq!(head.shared.groups.count(), 2);
        assert_eq!(head.shared.columns().len(), 2);
    }

    #[test]
    fn samples_before_their_series_are_orphans() {
        let mut replay = Replay::default();
        replay.take(batch(&[], scrape(3..5, 1)), 1);
        replay.take(batch(&[3], scrape(3..5, 2)), 2);
        let (head, replayed) = replay.finish();
        assert_eq!((replayed.samples, replayed.orphans), (1, 3));
        assert_eq!((head.samples, head.value_at(3, 2)), (1, Some(2.0)));
    }

    #[test]
    fn a_series_that_began_anew_in_another_slot_is_one_series() {
        let anew = |slot: u32| Logged::Batch {
            new: vec![(slot, labels(7))],
            samples: scrape(slot..=slot, 10 + i64::from(slot)),
        };
        let mut replay = Replay::default();
        replay.take(anew(4), 1);
        replay.take(batch(&[5], scrape(4..6, 20)), 2);
        replay.take(anew(1), 3);
        let (mut head, replayed) = replay.finish();
        assert_eq!((replayed.samples, replayed.orphans), (4, 0));
        assert_eq!((head.series_count(), head.find(&labels(7))), (2, Some(1)));
        let values: Vec<_> = [11, 14, 20].map(|time| head.value_at(1, time)).into();
        assert_eq!(values, [Some(11.0), Some(14.0), Some(20.0)]);
        let second = LoggedSample { series: 1, time: 14, value: 5.0 };
        assert_eq!(head.add(second, 4), Some(Added::Conflicting));
        assert_eq!(head.equal("n", "7"), [1]);
        // Records still name slot 4; a series that came into it now could get what is not its own.
        let begun: Vec<_> = (100..106).filter_map(|n| head.slot(&labels(n), 100)).collect();
        assert_eq!(begun, [0, 2, 3, 6, 7, 8]);
        head.forget_ended();
        assert_eq!(head.slot(&labels(106), 100), Some(4));
    }

    proptest! {
        #[test]
        fn what_waits_comes_in_as_if_it_came_one_by_one(
            batches in prop::collection::vec(
                prop::collection::vec((0..9_u32, 0..500_i64, 0..3_i32), 0..40), 1..12),
            spread in prop_oneof![Just(1_u32), Just(90_000)],
        ) {
            let new: Vec<u32> = (0..8).map(|slot| slot * spread).collect();
            let (mut one_by_one, mut replay) = (Head::default(), Replay::default());
            let _ = one_by_one.replay_series(new.iter().map(|slot| (*slot, labels(*slot))).collect());
            replay.take(batch(&new, vec![]), 1);
            for (samples, sequence) in batches.into_iter().zip(2..) {
                let samples: Vec<LoggedSample> = samples
                    .into_iter()
                    .map(|(slot, time, value)| LoggedSample { series: slot * spread, time: time * 1000, value: value.into() })
                    .collect();
                for sample in &samples {
                    one_by_one.add(*sample, sequence);
                }
                replay.take(batch(&[], samples), sequence);
            }
            let (head, _) = replay.finish();
            prop_assert_eq!((head.samples, head.late_samples), (one_by_one.samples, one_by_one.late_samples));
            for slot in new {
                let read = |head: &Head| {
                    let window = head.parts(slot, i64::MIN, i64::MAX).window(i64::MIN, i64::MAX);
                    (window.times, window.values)
                };
                prop_assert_eq!(read(&head), read(&one_by_one));
            }
        }
    }
}
