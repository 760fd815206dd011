//! A series beside a sorted map: whatever order samples come in, the same samples are read.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::index::Pairs;
use super::series::{Added, Series};

fn share(column: Vec<u8>) -> Arc<[u8]> {
    column.into()
}

fn read(series: &Series, min: i64, max: i64) -> Vec<(i64, u64)> {
    let window = series.parts(min, max).window(min, max);
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
        let mut series = Series::new(Pairs::default(), 0);
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
            prop_assert_eq!(series.add(time, value, share), expected);
        }
        let all: Vec<_> = model.iter().map(|(t, v)| (*t, *v)).collect();
        prop_assert_eq!(read(&series, i64::MIN, i64::MAX), all.clone());
        let middle: Vec<_> = model.range(100..=300).map(|(t, v)| (*t, *v)).collect();
        prop_assert_eq!(read(&series, 100, 300), middle);

        let high = low + length;
        series.detach(low, high, share);
        prop_assert_eq!(read(&series, i64::MIN, i64::MAX), all.clone());
        if restored {
            series.take_back_detached();
            prop_assert_eq!(read(&series, i64::MIN, i64::MAX), all);
        } else {
            let cut = series.forget_detached();
            let kept: Vec<_> = model.iter().filter(|(t, _)| !(low..=high).contains(*t)).map(|(t, v)| (*t, *v)).collect();
            prop_assert_eq!(usize::try_from(cut).unwrap() + kept.len(), all.len());
            prop_assert_eq!(read(&series, i64::MIN, i64::MAX), kept);
        }
    }
}
