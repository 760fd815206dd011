use std::path::Path;

use super::contents::{self, Contents, Segment};
use super::format::PlacesRecord;
use super::index::{Limits, Span};
use super::log::{Found, Log};
use super::places::Place;
use super::store_test::{keep, noise, open, read, stored};
use super::*;
use crate::storage::disk::{Fault, FaultyDisk};

const FOLDER: &str = "/stream";
/// Segments are as small as they come.
const SMALL: u64 = 64 << 10;

fn open_with(disk: &FaultyDisk, per_subject_max: Option<usize>) -> (Log, Found) {
    let limits = Limits { messages_max: None, per_subject_max };
    Log::open(disk.shared(), Path::new(FOLDER), limits, SMALL).unwrap()
}

/// Returns a stream of some segments, with contents noted, and how many messages it holds.
fn filled(disk: &FaultyDisk) -> (Log, u64) {
    let (log, _) = open(disk, SMALL);
    for n in 1..=20 {
        keep(&log, &[stored(n, &format!("a.{}", n % 3), &noise(n, 20_000))]);
    }
    assert!(log.note_contents(usize::MAX).unwrap());
    (log, 20)
}

fn contents_files(disk: &FaultyDisk) -> Vec<std::path::PathBuf> {
    let entries = disk.shared().list(Path::new(FOLDER)).unwrap();
    let ours = entries.into_iter().filter(|entry| entry.name.ends_with(contents::SUFFIX));
    ours.map(|entry| Path::new(FOLDER).join(entry.name)).collect()
}

fn remove_contents(disk: &FaultyDisk) {
    for path in contents_files(disk) {
        disk.shared().remove_file(&path).unwrap();
    }
}

/// What questions can find in a stream.
fn all(log: &Log) -> (Vec<u64>, Vec<u64>, u64, u64, usize) {
    let last = log.index().last();
    let (everything, lasts) = (read(log, ">", 0), read(log, ">", last));
    let index = log.index();
    (everything, lasts, index.first(), last, index.subjects())
}

#[test]
fn contents_of_version_1() {
    let dump = include_str!("../../../tests/formats/bus_store_contents_1.hex");
    let bytes: Vec<u8> = dump
        .lines()
        .flat_map(|line| line.split('#').next().unwrap_or("").split_whitespace())
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect();
    let segment = Segment { number: 3, bytes: 1_000_000, records: 17..40, per_subject: 1 };
    let newest = Timestamp::from_millis(1_700_000_000_007);
    let contents = Contents {
        span: Some(Span { first: 6, last: 9, newest }),
        own: vec![(7, "events.line2".parse().unwrap()), (9, "events.line1".parse().unwrap())],
        carried: vec![(3, "events.line3".parse().unwrap())],
        carried_bytes: 314,
    };
    assert_eq!(contents::encode(&segment, &contents).unwrap(), bytes);
    assert_eq!(contents::decode(&bytes).unwrap(), (segment, contents));
    for length in 0..bytes.len() {
        assert!(contents::decode(&bytes[..length]).is_err(), "cut to {length}");
    }
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        assert!(contents::decode(&damaged).is_err(), "damaged at {at}");
    }
}

#[test]
fn a_start_reads_the_newest_segment_alone() {
    let disk = FaultyDisk::new(1);
    let (log, _) = filled(&disk);
    let (expected, bytes) = (all(&log), log.bytes());
    drop(log);
    let (log, found) = open(&disk, SMALL);
    assert_eq!((all(&log), found.damages.len()), (expected.clone(), 0));
    assert!(found.read_bytes > 0 && found.read_bytes < 70_000, "{} of {bytes}", found.read_bytes);
    // The one that was the newest is closed now.
    assert!(log.note_contents(usize::MAX).unwrap());
    drop(log);
    let (log, found) = open(&disk, SMALL);
    assert_eq!((all(&log), found.read_bytes), (expected.clone(), 0));
    keep(&log, &[stored(21, "a.0", "x")]);
    drop(log);
    remove_contents(&disk);
    let (log, found) = open(&disk, SMALL);
    assert!(found.read_bytes >= bytes, "without contents all is read");
    assert_eq!(log.index().last(), 21);
}

#[test]
fn contents_that_do_not_fit_count_for_nothing() {
    let disk = FaultyDisk::new(1);
    let (log, _) = filled(&disk);
    let expected = all(&log);
    drop(log);
    let files = contents_files(&disk);
    assert!(files.len() > 3);
    // A flipped byte, a file cut short, another segment's, and one without its segment.
    let file = |at: usize| disk.shared().open(&files[at]).unwrap();
    let size = file(1).size().unwrap();
    file(0).write_at(30, &[0xff]).unwrap();
    file(1).set_size(size - 1).unwrap();
    let other = file(3).read_exact_at(0, usize::try_from(file(3).size().unwrap()).unwrap()).unwrap();
    file(2).set_size(0).unwrap();
    file(2).write_at(0, &other).unwrap();
    let orphan = Path::new(FOLDER).join("00000999.contents");
    disk.shared().create(&orphan).unwrap();
    let (log, found) = open(&disk, SMALL);
    assert_eq!((all(&log), found.damages.len()), (expected.clone(), 0));
    assert!(found.read_bytes > 3 * 40_000 && !disk.shared().exists(&orphan));
    log.note_contents(usize::MAX).unwrap();
    drop(log);
    let (log, found) = open(&disk, SMALL);
    assert_eq!((all(&log), found.read_bytes), (expected, 0));
}

#[test]
fn damage_that_no_start_has_read_is_told_by_who_reads() {
    let disk = FaultyDisk::new(1);
    let (log, count) = filled(&disk);
    drop(log);
    let segment = disk.shared().open(&Path::new(FOLDER).join("00000002")).unwrap();
    segment.write_at(1000, &[0xff; 64]).unwrap();
    let (log, found) = open(&disk, SMALL);
    assert_eq!((found.damages.len(), log.new_damages()), (0, 0));
    let there = read(&log, ">", 0);
    assert_eq!(there.len() as u64, count - 1);
    assert_eq!((log.new_damages(), log.new_damages()), (1, 0), "told once");
}

#[test]
fn more_messages_of_a_subject_than_were_noted_are_read() {
    let disk = FaultyDisk::new(1);
    let (log, _) = filled(&disk);
    drop(log);
    let (log, found) = open_with(&disk, Some(4));
    assert!(found.read_bytes > 300_000);
    let expected: Vec<u64> = (9..=20).collect();
    assert_eq!(read(&log, ">", 0), expected, "the last four of three subjects");
    log.note_contents(usize::MAX).unwrap();
    drop(log);
    for (per_subject_max, read_bytes, expected) in
        [(Some(4), 0, expected.clone()), (Some(2), 0, (15..=20).collect()), (None, 0, (1..=20).collect())]
    {
        let (log, found) = open_with(&disk, per_subject_max);
        assert_eq!((read(&log, ">", 0), found.read_bytes), (expected, read_bytes), "{per_subject_max:?}");
    }
}

#[test]
fn places_are_found_where_the_newest_segment_holds_none() {
    let disk = FaultyDisk::new(1);
    let (log, _) = open(&disk, SMALL);
    let place = |through| Place { through, lasts_until: 0, used: Timestamp::from_millis(1) };
    let record = |is_whole, name: &str, through| PlacesRecord {
        next_sequence: 40,
        is_whole,
        places: vec![(name.into(), Some(place(through)))],
    };
    for (is_whole, name, through) in [(true, "old", 1), (true, "a", 1), (false, "b", 2), (false, "a", 3)] {
        log.append_places(&record(is_whole, name, through)).unwrap();
        log.rotate();
    }
    keep(&log, &[stored(1, "a.0", "x")]);
    log.rotate();
    log.sync().unwrap();
    log.note_contents(usize::MAX).unwrap();
    drop(log);
    let (log, found) = open(&disk, SMALL);
    assert_eq!(found.read_bytes, 0);
    let through = |name| found.places.get(name).map(|place: Place| place.through);
    assert_eq!((through("old"), through("a"), through("b")), (None, Some(3), Some(2)));
    assert_eq!(log.index().last(), 39, "sequences go on");
}

#[test]
fn a_start_by_contents_finds_what_one_without_them_does_whatever_failed() {
    for call in 0..150 {
        for (is_power_cut, fault) in [(true, Fault::Eio), (false, Fault::Eio), (true, Fault::Enospc)] {
            let disk = FaultyDisk::new(call);
            let (log, _) = open(&disk, SMALL);
            disk.fail_call(disk.calls() + call, fault);
            let (mut sequence, mut waiting) = (0, None);
            for round in 0..14 {
                if waiting.is_none() {
                    let next = stored(sequence + 1, &format!("a.{}", round % 3), &noise(round + 1, 25_000));
                    waiting = log.append(std::slice::from_ref(&next)).ok().map(|appended| (appended, next));
                }
                if let Some((appended, next)) = waiting.take() {
                    match log.sync() {
                        Ok(()) => {
                            sequence += 1;
                            log.added(appended.record, &[next]);
                        }
                        Err(_) => waiting = Some((appended, next)),
                    }
                }
                let _ = log.note_contents(2);
                if round % 5 == 4
                    && waiting.is_none()
                    && let Some((oldest, _, false)) = log.oldest()
                {
                    let _ = log.remove(oldest, Timestamp::MIN, 1 << 20);
                }
            }
            let acknowledged = read(&log, ">", 0);
            drop(log);
            if is_power_cut {
                disk.crash();
            } else {
                disk.kill();
            }
            disk.mend();
            let what = format!("call {call}, {fault:?}, power cut {is_power_cut}");
            let (log, _) = open(&disk, SMALL);
            let by_contents = all(&log);
            drop(log);
            assert!(by_contents.0.starts_with(&acknowledged) || by_contents.0.ends_with(&acknowledged), "{what}");
            remove_contents(&disk);
            let (log, _) = open(&disk, SMALL);
            assert_eq!(all(&log), by_contents, "{what}");
        }
    }
}
