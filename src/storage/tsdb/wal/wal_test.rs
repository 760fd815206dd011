//! Records come back as they were, and a lost one never makes another wrong.

use proptest::prelude::*;

use super::LogReader;
use super::batch::{BatchReader, BatchWriter, Place, ReadBatch};
use super::record::{Logged, LoggedChunk, LoggedLate, LoggedSample, NewSeries, Packer, encode, runs};
use super::values::Group;
use crate::model::{Labels, Metadata, MetricKind, stale_nan};
use crate::storage::disk::{ByteWriter, dump};

fn sample(series: u32, time: i64, value: f64) -> LoggedSample {
    LoggedSample { series, time, value }
}

/// Equal to the bit, NaNs too.
#[track_caller]
fn check_same(found: &[LoggedSample], expected: &[LoggedSample]) {
    let bits = |s: &[LoggedSample]| s.iter().map(|s| (s.series, s.time, s.value.to_bits())).collect::<Vec<_>>();
    assert_eq!(bits(found), bits(expected));
}

/// Each record is covered before the next.
fn group(number: u64) -> Group {
    whole(number)
}

/// All groups but the current are covered.
fn whole(number: u64) -> Group {
    let number = u16::try_from(number).unwrap();
    Group { current: number, covered: number }
}

fn write_all(batches: &[Vec<LoggedSample>], group: impl Fn(u64) -> Group) -> Vec<Vec<u8>> {
    let mut writer = BatchWriter::default();
    let write = |(samples, number): (&Vec<LoggedSample>, u64)| {
        let mut body = ByteWriter::default();
        writer.write(Place { number, group: group(number) }, &[], samples, &mut body);
        body.into_bytes()
    };
    batches.iter().zip(0..).map(write).collect()
}

#[track_caller]
fn check_batches(batches: &[Vec<LoggedSample>], group: impl Fn(u64) -> Group) -> Vec<Vec<u8>> {
    let bodies = write_all(batches, group);
    let mut reader = BatchReader::default();
    for ((samples, body), number) in batches.iter().zip(&bodies).zip(7..) {
        let read = reader.read(number, body).unwrap();
        assert_eq!(read.left_out, 0);
        check_same(&read.samples, samples);
    }
    bodies
}

#[track_caller]
fn check(logged: &Logged) {
    let mut body = ByteWriter::default();
    let kind = encode(logged, &mut body);
    let mut packer = Packer::new();
    let payload = packer.pack(body.as_slice()).to_vec();
    assert_eq!(&LogReader::default().read(1, kind, &payload).unwrap(), logged);
    for length in 0..payload.len().min(300) {
        let _ = LogReader::default().read(1, kind, &payload[..length]);
    }
}

#[test]
fn records_come_back_as_they_were() {
    let labels = Labels::from_pairs([("__name__", "up"), ("job", "a")]);
    let others = [("__name__", "up"), ("job", "aü"), ("zone", "ä")];
    let new = vec![(7, labels), (3, Labels::from_pairs(others)), (u32::MAX, Labels::empty())];
    let chunk = LoggedChunk { series: 7, times: vec![1, 2], values: vec![3] };
    check(&Logged::Chunks { new, chunks: vec![chunk] });
    for joined in [None, Some((-9, -7, 3))] {
        check(&Logged::Late(LoggedLate { sequence: 9, newest: -5, minutes: vec![(-3, 4), (8, 2)], joined }));
    }
    let about = Metadata { kind: MetricKind::Counter, help: "Help.".to_owned(), unit: "s".to_owned() };
    check(&Logged::Metadata(vec![("up".to_owned(), about)]));
}

#[test]
fn batches_come_back_to_the_bit() {
    let payload = f64::from_bits(0x7ff8_0000_dead_beef);
    let values = [1.0, -0.0, 21.5, f64::INFINITY, stale_nan(), 0.1 + 0.2, -3e300, payload, 1e15, 5e-324];
    let batch = |i: usize| (0..10).map(|j| sample(j, 1_000 - i64::from(j), values[(i + j as usize) % 10])).collect();
    check_batches(&(0..30).map(batch).collect::<Vec<_>>(), group);
    let one = |i: i32| vec![sample(u32::MAX, 5, f64::from(i)), sample(1, i64::from(i), 0.5)];
    check_batches(&(0..9).map(one).collect::<Vec<_>>(), group);
    let long = (0..5_000).map(|i| sample(3, i * 15_000, i as f64 / 10.0)).collect::<Vec<_>>();
    let bodies = check_batches(&[vec![], long], group);
    assert!(bodies[1].len() < 2_000, "{}", bodies[1].len());
}

/// A box of some series that change slowly, each scrape one batch.
fn scrapes(count: i64, series: u32) -> Vec<Vec<LoggedSample>> {
    let value = |i: i64, s: u32| match s % 20 {
        0..9 => 1.0,
        9..14 => (200 + (i * 7 + i64::from(s)) % 5) as f64 / 10.0,
        14..19 => (i * 3 + i64::from(s)) as f64,
        _ => 1.0 / (3 + i * i64::from(s)) as f64,
    };
    (0..count).map(|i| (0..series).map(|s| sample(s, i * 15_000, value(i, s))).collect()).collect()
}

#[test]
fn a_scrape_that_changes_little_takes_little() {
    let bodies = check_batches(&scrapes(20, 1000), group);
    let without_doubles = bodies[19].len() - 50 * 7;
    assert!(without_doubles < 950 / 3, "{without_doubles}");
    let small = check_batches(&scrapes(20, 3), group);
    assert!(small[19].len() <= 24, "{}", small[19].len());
}

/// Reads all bodies but those left out; whatever is read must be right.
#[track_caller]
fn check_lost(batches: &[Vec<LoggedSample>], bodies: &[Vec<u8>], is_lost: impl Fn(usize) -> bool) -> Vec<usize> {
    let mut reader = BatchReader::default();
    let mut whole = Vec::new();
    for (i, body) in bodies.iter().enumerate().filter(|(i, _)| !is_lost(*i)) {
        let ReadBatch { samples, left_out, .. } = reader.read(10 + i as u64, body).unwrap();
        if left_out == 0 {
            check_same(&samples, &batches[i]);
            whole.push(i);
        } else {
            assert_eq!(left_out, batches[i].len() as u64);
        }
    }
    whole
}

#[test]
fn a_lost_record_costs_no_other_of_its_group() {
    let batches = scrapes(20, 40);
    let bodies = write_all(&batches, |number| whole(number / 10));
    // In the last group: nothing builds on it.
    assert_eq!(check_lost(&batches, &bodies, |i| i == 12).len(), 19);
    // In one before: what builds on it is left out.
    assert_eq!(check_lost(&batches, &bodies, |i| i == 9), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    // The first of a chain.
    assert_eq!(check_lost(&batches, &bodies, |i| i == 0).len(), 19);
}

#[test]
fn a_lost_record_costs_its_series_only() {
    let mut batches = scrapes(10, 40);
    for batch in batches.iter_mut().skip(1).step_by(2) {
        batch.iter_mut().for_each(|s| s.series += 1000);
    }
    let bodies = write_all(&batches, group);
    assert_eq!(check_lost(&batches, &bodies, |i| i == 4), [0, 1, 2, 3, 5, 7, 9]);
}

#[test]
fn new_series_of_a_record_that_builds_on_a_lost_one_are_kept() {
    let new: Vec<NewSeries> = vec![(9, Labels::from_pairs([("__name__", "up")]))];
    let mut writer = BatchWriter::default();
    let mut bodies = Vec::new();
    for number in 0..3 {
        let mut body = ByteWriter::default();
        let place = Place { number, group: group(number) };
        let value = if number == 1 { 1e6 } else { 2.0 };
        writer.write(place, if number == 2 { &new } else { &[] }, &[sample(1, 5, value)], &mut body);
        bodies.push(body.into_bytes());
    }
    let mut reader = BatchReader::default();
    reader.read(1, &bodies[0]).unwrap();
    let read = reader.read(3, &bodies[2]).unwrap();
    assert_eq!((read.new, read.samples, read.left_out), (new, vec![], 1));
}

#[test]
fn a_record_of_version_2() {
    let dump = include_str!("../../../../tests/formats/tsdb_wal_record_2.hex");
    let labels = |device| Labels::from_pairs([("__name__", "up"), ("device", device)]);
    let chunk = LoggedChunk { series: 7, times: vec![1, 2], values: vec![3] };
    let logged = Logged::Chunks { new: vec![(7, labels("press-1")), (8, labels("press-2"))], chunks: vec![chunk] };
    let mut body = ByteWriter::default();
    let kind = encode(&logged, &mut body);
    dump::check_same(Packer::new().pack(body.as_slice()), dump);
    assert_eq!(LogReader::default().read(1, kind, &dump::bytes(dump)).unwrap(), logged);
}

#[test]
fn accounts_of_version_2() {
    let dump = include_str!("../../../../tests/formats/tsdb_wal_record_accounts_2.hex");
    let logged = Logged::Accounts(vec![("sender 10.0.0.7".to_owned(), vec![(7, 2), (12, 1)])]);
    let mut body = ByteWriter::default();
    let kind = encode(&logged, &mut body);
    dump::check_same(Packer::new().pack(body.as_slice()), dump);
    assert_eq!(LogReader::default().read(1, kind, &dump::bytes(dump)).unwrap(), logged);
}

#[test]
fn ended_of_version_2() {
    let dump = include_str!("../../../../tests/formats/tsdb_wal_record_ended_2.hex");
    let logged = Logged::Ended(runs(&[7, 8, 12]));
    let mut body = ByteWriter::default();
    let kind = encode(&logged, &mut body);
    dump::check_same(Packer::new().pack(body.as_slice()), dump);
    assert_eq!(LogReader::default().read(1, kind, &dump::bytes(dump)).unwrap(), logged);
}

#[test]
fn batches_of_version_2() {
    let dump = include_str!("../../../../tests/formats/tsdb_wal_batch_2.hex");
    let new = vec![(7, Labels::from_pairs([("__name__", "up")]))];
    let samples = vec![sample(7, 1_787_313_600_000, 21.5), sample(8, 1_787_313_600_005, 2.0)];
    let mut body = ByteWriter::default();
    BatchWriter::default().write(Place::default(), &new, &samples, &mut body);
    dump::check_same(body.as_slice(), dump);
    let read = BatchReader::default().read(1, &dump::bytes(dump)).unwrap();
    assert_eq!((read.new, read.samples, read.left_out), (new, samples, 0));
}

#[test]
fn values_of_version_2() {
    let dump = include_str!("../../../../tests/formats/tsdb_wal_values_2.hex");
    let values = |i: i32| {
        [f64::from(i), 21.5 + f64::from(i % 2) / 10.0, 0.1 + 0.2, 1.0, if i % 2 == 0 { stale_nan() } else { -0.0 }]
    };
    let batch = |i: i32| (0..).zip(values(i)).map(|(s, v)| sample(s, 0, v)).collect::<Vec<_>>();
    let batches: Vec<_> = (0..4).map(batch).collect();
    let written = write_all(&batches, group);
    dump::check_same(&written.concat(), dump);
    let (mut reader, mut rest) = (BatchReader::default(), &dump::bytes(dump)[..]);
    for ((number, batch), body) in (1..).zip(&batches).zip(&written) {
        check_same(&reader.read(number, &rest[..body.len()]).unwrap().samples, batch);
        rest = &rest[body.len()..];
    }
}

fn doubles() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (-2000..2000_i32).prop_map(|i| f64::from(i) / 100.0),
        3 => (-2..2_i32).prop_map(f64::from),
        1 => any::<u64>().prop_map(f64::from_bits),
    ]
}

fn any_batches() -> impl Strategy<Value = Vec<Vec<LoggedSample>>> {
    let series = prop_oneof![9 => 0..6_u32, 1 => any::<u32>()];
    let time = prop_oneof![9 => 0..9_i64, 1 => any::<i64>()];
    let one = (series, time, doubles()).prop_map(|(s, t, v)| sample(s, t, v));
    prop::collection::vec(prop::collection::vec(one, 0..20), 1..12)
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(kind in 0..7_u8, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = LogReader::default().read(1, kind, &bytes);
    }

    #[test]
    fn any_batches_come_back(batches in any_batches(), size in 1..5_u64) {
        check_batches(&batches, |number| whole(number / size));
    }

    #[test]
    fn whatever_is_lost_the_rest_is_never_wrong(batches in any_batches(), size in 1..5_u64, lost in any::<u16>()) {
        let bodies = write_all(&batches, |number| whole(number / size));
        check_lost(&batches, &bodies, |i| lost & (1 << i) != 0);
    }
}
