//! Columns come back to the bit, whatever is in them, and no bytes make the decoders panic.

use proptest::prelude::*;

use super::{Effort, decode_times, decode_values, encode_times, encode_values};
use crate::model::stale_nan;
use crate::storage::disk::ByteWriter;

#[track_caller]
fn values_bytes(values: &[f64], effort: Effort) -> usize {
    let mut out = ByteWriter::default();
    encode_values(values, effort, &mut out);
    let back = decode_values(out.as_slice()).unwrap();
    let bits = |v: &[f64]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&back), bits(values), "{effort:?}");
    out.len()
}

#[track_caller]
fn check(values: &[f64], bytes_max: usize) {
    let bytes = values_bytes(values, Effort::Fast);
    assert!(bytes <= bytes_max, "{bytes} bytes, expected at most {bytes_max}");
    let small = values_bytes(values, Effort::Small);
    assert!(small <= bytes, "more effort made it larger: {small} instead of {bytes}");
}

#[test]
fn special_values_survive_to_the_bit() {
    let payload = f64::from_bits(0x7ff8_0000_dead_beef);
    let special = [stale_nan(), payload, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0];
    check(&special, 80);
    check(&[&[1.0, 1.5], &special[..], &[2.0, 0.0]].concat(), 90);
    check(&[&[std::f64::consts::E * 1e-7], &special[..], &[5e-324, f64::MAX]].concat(), 100);
    check(&[-0.1 - 0.2, 0.1 + 0.2, -5e-324, 5e-324, f64::MIN], 60);
    check(&[], 3);
    check(&[21.5], 12);
}

#[test]
fn regular_series_take_little() {
    check(&[17.0; 120], 8);
    check(&(0..120).map(f64::from).collect::<Vec<_>>(), 10);
    check(&(0..120).map(|i| f64::from(i) * 4096.0).collect::<Vec<_>>(), 11);
    check(&(0..120).map(|i| (200.0 + f64::from(i % 3)) / 10.0).collect::<Vec<_>>(), 40);
    let reset: Vec<f64> = (0..120).map(|i| f64::from(if i < 60 { 1_000_000 + i } else { i })).collect();
    check(&reset, 18);
    let slow: Vec<f64> = (0..480).map(|i| f64::from(700 + i / 100)).collect();
    check(&slow, 18);
}

#[test]
fn a_stray_double_does_not_spoil_decimals() {
    let mut values: Vec<f64> = (0..480).map(|i| (200.0 + f64::from(i % 3)) / 10.0).collect();
    values[77] = 0.1 + 0.2;
    values[300] = 1e300;
    check(&values, 150);
}

#[test]
fn times_of_a_scrape_take_next_to_nothing() {
    let times: Vec<i64> = (0..480).map(|i| 1_790_000_000_000 + i * 15_000).collect();
    let mut out = ByteWriter::default();
    encode_times(&times, Effort::Fast, &mut out);
    assert_eq!(decode_times(out.as_slice()).unwrap(), times);
    assert!(out.len() < 20, "{}", out.len());
}

#[test]
fn times_must_rise() {
    let mut out = ByteWriter::default();
    encode_times(&[1, 2, 2], Effort::Fast, &mut out);
    assert!(decode_times(out.as_slice()).is_err());
}

fn doubles() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => any::<i32>().prop_map(|i| f64::from(i) / 100.0),
        2 => (-5..5_i32).prop_map(f64::from),
        1 => any::<u64>().prop_map(f64::from_bits),
        1 => any::<u8>().prop_map(|i| (f64::from(i) / 100.0).sqrt()),
    ]
}

proptest! {
    #[test]
    fn any_values_come_back(values in prop::collection::vec(doubles(), 0..300)) {
        values_bytes(&values, Effort::Fast);
        values_bytes(&values, Effort::Small);
    }

    #[test]
    fn any_times_come_back(times in prop::collection::btree_set(any::<i64>(), 0..300)) {
        let times: Vec<i64> = times.into_iter().collect();
        for effort in [Effort::Fast, Effort::Small] {
            let mut out = ByteWriter::default();
            encode_times(&times, effort, &mut out);
            prop_assert_eq!(&decode_times(out.as_slice()).unwrap(), &times);
        }
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_values(&bytes);
        let _ = decode_times(&bytes);
    }

    #[test]
    fn a_damaged_column_is_decoded_or_refused(
        values in prop::collection::vec(doubles(), 1..300),
        at in any::<prop::sample::Index>(),
        mask in 1..=255_u8,
    ) {
        for effort in [Effort::Fast, Effort::Small] {
            let mut out = ByteWriter::default();
            encode_values(&values, effort, &mut out);
            let mut bytes = out.into_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= mask;
            let _ = decode_values(&bytes);
        }
    }
}
