//! A series beside a sorted map: whatever order samples come in, the same samples are read.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::columns::Shared;
use super::index::Pairs;
use super::series::{Added, Series};

fn read(series: &Series, shared: &Shared, min: i64, max: i64) -> Vec<(i64, u64)> {
    let window = series.parts(min, max, shared).window(min, max);
    window.times.into_iter().zip(window.values.iter().map(|v| v.to_bits())).collect()
}

proptest! {
    #[test]
    fn samples_in_any_order_are_read_in_order(
        samples in prop::collection::vec((0..600_i64, 0..3_i32), 1..900),
        low in 0..600_i64,
        length in 0..600_i64,
        restored in any::<bool>(),
    ) {
        let (mut series, mut shared) = (Series::new(Pairs::default(), 0), Shared::default());
        let mut model = BTreeMap::new();
        for (time, value) in samples {
            let value = f64::from(value);
            let expected = match model.get(&time) {
                Some(there) if *there == value.to_bits() => Added::Duplicate,
                Some(_) => Added::Conflicting,
                None if model.keys().next_back().is_none_or(|last| time > *last) => Added::InOrder,
                None => Added::OutOfOrder,
            };
            model.entry(time).or_insert(value.to_bits());
            prop_assert_eq!(series.add(time, value, &mut shared), expected);
        }
        let all: Vec<_> = model.iter().map(|(t, v)| (*t, *v)).collect();
        prop_assert_eq!(read(&series, &shared, i64::MIN, i64::MAX), all.clone());
        let middle: Vec<_> = model.range(100..=300).map(|(t, v)| (*t, *v)).collect();
        prop_assert_eq!(read(&series, &shared, 100, 300), middle);

        let high = low + length;
        series.detach(low, high, &mut shared);
        prop_assert_eq!(read(&series, &shared, i64::MIN, i64::MAX), all.clone());
        if restored {
            series.take_back_detached();
            prop_assert_eq!(read(&series, &shared, i64::MIN, i64::MAX), all);
        } else {
            let cut = series.forget_detached(&shared);
            shared.keep(series.columns());
            let kept: Vec<_> = model.iter().filter(|(t, _)| !(low..=high).contains(*t)).map(|(t, v)| (*t, *v)).collect();
            prop_assert_eq!(usize::try_from(cut).unwrap() + kept.len(), all.len());
            prop_assert_eq!(read(&series, &shared, i64::MIN, i64::MAX), kept);
        }
    }

    /// Series that mostly have their times in common: now and then one misses a scrape, or gets one of its own.
    #[test]
    fn series_of_a_scrape_share_their_times(
        scrapes in prop::collection::vec((1..40_000_i64, 0..64_u8, any::<bool>()), 1..400),
        cuts in prop::collection::vec(0..400_usize, 0..4),
    ) {
        const SERIES: usize = 6;
        let mut shared = Shared::default();
        let mut all: Vec<Series> = (0..SERIES).map(|_| Series::new(Pairs::default(), 0)).collect();
        let mut model = vec![BTreeMap::new(); SERIES];
        let mut time = 1_790_000_000_000;
        for (i, (step, missing, is_alone)) in scrapes.into_iter().enumerate() {
            time += step;
            for (n, (series, model)) in all.iter_mut().zip(&mut model).enumerate() {
                if missing >> n & 1 == 1 && missing & 0b11_0000 == 0b11_0000 {
                    continue;
                }
                let time = if is_alone && n == 2 { time + 1 } else { time };
                let value = (i * n) as f64 / 10.0;
                prop_assert_eq!(series.add(time, value, &mut shared), Added::InOrder);
                model.insert(time, value.to_bits());
            }
            time += 1;
            if cuts.contains(&i) {
                let until = time - 100_000;
                for (series, model) in all.iter_mut().zip(&mut model) {
                    series.detach(i64::MIN, until - 1, &mut shared);
                    series.forget_detached(&shared);
                    *model = model.split_off(&until);
                }
                shared.keep(all.iter().flat_map(Series::columns).collect::<Vec<_>>().into_iter());
            }
        }
        for (series, model) in all.iter().zip(&model) {
            let expected: Vec<_> = model.iter().map(|(t, v)| (*t, *v)).collect();
            prop_assert_eq!(read(series, &shared, i64::MIN, i64::MAX), expected);
        }
    }
}

#[test]
fn a_scrape_of_many_series_is_one_list_of_times() {
    let mut shared = Shared::default();
    let mut all: Vec<Series> = (0..100).map(|_| Series::new(Pairs::default(), 0)).collect();
    let mut add = |time: i64, missing: usize| {
        for (i, series) in all.iter_mut().enumerate() {
            if i % 10 >= missing {
                series.add(time * 15_000, 1.5, &mut shared);
            }
        }
        (shared.groups.count(), shared.columns().len())
    };
    assert_eq!((0..100).map(|t| add(t, 0)).last(), Some((1, 0)));
    assert_eq!((100..240).map(|t| add(t, 0)).last(), Some((1, 1)));
    // A fifth misses a scrape early in a group: these have lists in common from there on, one or two.
    assert_eq!((240..250).map(|t| add(t, 0)).last(), Some((1, 2)));
    add(250, 2);
    assert!(add(251, 0).0 <= 3);
    // With the next group all are together again.
    assert_eq!((252..380).map(|t| add(t, 0)).last().map(|(groups, _)| groups), Some(1));
}

#[test]
fn late_samples_in_no_order_are_found_again() {
    const COUNT: i64 = 10_000;
    let (mut series, mut shared) = (Series::new(Pairs::default(), 0), Shared::default());
    let mut model = BTreeMap::new();
    let mut add = |time: i64, expected: Added| {
        let value = time as f64 / 2.0;
        model.insert(time, value.to_bits());
        assert_eq!(series.add(time, value, &mut shared), expected, "{time}");
    };
    (0..=COUNT).step_by(100).for_each(|i| add(2 * i, Added::InOrder));
    let late = || (0..COUNT).map(|i| i * 7919 % COUNT * 2 + 1);
    late().for_each(|time| add(time, Added::OutOfOrder));
    late().step_by(7).for_each(|time| add(time, Added::Duplicate));
    assert_eq!(series.add(1, -1.0, &mut shared), Added::Conflicting);
    let all: Vec<_> = model.into_iter().collect();
    assert_eq!(read(&series, &shared, i64::MIN, i64::MAX), all);
}
