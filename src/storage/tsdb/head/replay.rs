//! Putting a head together from a checkpoint and the log.

use super::columns::Decoded;
use super::{Head, Replayed};
use crate::storage::tsdb::wal::{Gathered, Logged, Step};

/// Puts a head together.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    head: Head,
    decoded: Decoded,
    replayed: Replayed,
}

impl Replay {
    /// Takes in what stands in the log or in a checkpoint.
    pub(crate) fn take(&mut self, step: Step) {
        match step {
            Step::Record(Logged::Batch { new, .. }) => self.head.replay_series(new),
            Step::Record(logged) => self.head.replay(logged, &mut self.replayed),
            Step::Samples(gathered) => self.take_samples(&gathered),
        }
    }

    fn take_samples(&mut self, gathered: &Gathered) {
        for (sequence, time, count) in &gathered.arrived {
            self.head.late.note(*time, *sequence);
            self.head.arrivals.note_many(*time, *count);
        }
        // No series may get a slot that the log has samples of.
        gathered.slot_max().into_iter().for_each(|slot| self.head.series.skip(slot));
        for (slot, run) in gathered.runs() {
            let count = run.len() as u64;
            match self.head.add_run(slot, run, &mut self.decoded) {
                Some(()) => self.replayed.samples += count,
                None => self.replayed.orphans += count,
            }
        }
    }

    /// Ends; returns the head, and what was met.
    pub(crate) fn finish(mut self) -> (Head, Replayed) {
        self.head.release_unnamed();
        (self.head, self.replayed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Labels;
    use crate::storage::tsdb::head::Added;
    use crate::storage::tsdb::postings::Postings;
    use crate::storage::tsdb::wal::{LoggedSample, gathered};

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

    fn replay(records: impl IntoIterator<Item = Logged>) -> (Head, Replayed) {
        let mut replay = Replay::default();
        gathered(records).into_iter().for_each(|step| replay.take(step));
        replay.finish()
    }

    #[test]
    fn series_of_a_scrape_share_their_times_after_a_start() {
        let mut records = vec![batch(&(0..600).collect::<Vec<_>>(), vec![])];
        for tick in 0..200 {
            records.push(batch(&[], scrape(0..300, tick * 15_000)));
            records.push(batch(&[], scrape(300..600, tick * 15_000 + 7)));
        }
        let (head, replayed) = replay(records);
        assert_eq!((replayed.samples, replayed.orphans), (120_000, 0));
        assert_eq!(head.shared.groups.count(), 2);
        assert_eq!(head.shared.columns().len(), 2);
    }

    #[test]
    fn samples_before_their_series_are_orphans() {
        let (head, replayed) = replay([batch(&[], scrape(3..5, 1)), batch(&[3], scrape(3..5, 2))]);
        assert_eq!((replayed.samples, replayed.orphans), (1, 3));
        assert_eq!((head.samples, head.value_at(3, 2)), (1, Some(2.0)));
    }

    #[test]
    fn a_series_that_began_anew_in_another_slot_is_one_series() {
        let anew = |slot: u32| Logged::Batch {
            new: vec![(slot, labels(7))],
            samples: scrape(slot..=slot, 10 + i64::from(slot)),
        };
        let (mut head, replayed) = replay([anew(4), batch(&[5], scrape(4..6, 20)), anew(1)]);
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
            let (mut one_by_one, mut records) = (Head::default(), vec![batch(&new, vec![])]);
            one_by_one.replay_series(new.iter().map(|slot| (*slot, labels(*slot))).collect());
            for (samples, sequence) in batches.into_iter().zip(2..) {
                let samples: Vec<LoggedSample> = samples
                    .into_iter()
                    .map(|(slot, time, value)| LoggedSample { series: slot * spread, time: time * 1000, value: value.into() })
                    .collect();
                for sample in &samples {
                    one_by_one.add(*sample, sequence);
                }
                records.push(batch(&[], samples));
            }
            let (head, _) = replay(records);
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
