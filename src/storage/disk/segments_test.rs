//! Segments against crashes, full disks and damage, beside a plain list of what was appended.

use std::path::Path;
use std::sync::Arc;

use super::faulty::{Fault, FaultyDisk};
use super::{Disk, Found, Segments, SegmentsOptions, low_byte};

const FOLDER: &str = "/wal";

fn options() -> SegmentsOptions {
    SegmentsOptions { segment_bytes_max: 200, is_synced: true, has_parity: false }
}

fn open(disk: &FaultyDisk) -> (Segments, Found, Vec<(u64, Vec<u8>)>) {
    let mut read = Vec::new();
    let (log, found) = Segments::open(disk.shared(), Path::new(FOLDER), options(), &mut |r| {
        read.push((r.sequence, r.payload.to_vec()));
        Ok(())
    })
    .unwrap();
    (log, found, read)
}

fn payload(i: u64) -> Vec<u8> {
    vec![u8::try_from(i % 251).unwrap(); usize::try_from(i % 40).unwrap()]
}

#[test]
fn what_is_appended_is_read_back() {
    let disk = FaultyDisk::new(1);
    let (log, _, _) = open(&disk);
    for i in 1..=50 {
        assert_eq!(log.append(1, &payload(i)).unwrap(), i);
    }
    let (log, found, read) = open(&disk);
    assert_eq!(read, (1..=50).map(|i| (i, payload(i))).collect::<Vec<_>>());
    assert_eq!((found.records, found.truncated_bytes, found.damages), (50, 0, vec![]));
    assert_eq!(log.append(1, b"").unwrap(), 51);
}

#[test]
fn the_front_is_dropped_whole() {
    let disk = FaultyDisk::new(1);
    let (log, _, _) = open(&disk);
    for i in 1..=30 {
        log.append(1, &payload(i)).unwrap();
    }
    let next = log.rotate();
    log.append(1, b"kept").unwrap();
    assert!(log.remove_before(next).unwrap() > 1);
    let (_, found, read) = open(&disk);
    assert_eq!(read, [(31, b"kept".to_vec())]);
    assert_eq!(found.damages, []);
}

#[test]
fn a_torn_last_record_is_cut_off() {
    let disk = FaultyDisk::new(1);
    let (log, _, _) = open(&disk);
    log.append(1, b"one").unwrap();
    log.append(1, b"two").unwrap();
    let file = disk.open(Path::new("/wal/00000001")).unwrap();
    file.set_size(file.size().unwrap() - 1).unwrap();
    let (log, found, read) = open(&disk);
    assert_eq!(read, [(1, b"one".to_vec())]);
    assert_eq!((found.truncated_bytes, found.damages), (23, vec![]));
    log.append(1, b"three").unwrap();
    let (_, found, read) = open(&disk);
    assert_eq!(read, [(1, b"one".to_vec()), (2, b"three".to_vec())]);
    assert_eq!(found.truncated_bytes, 0);
}

#[test]
fn a_flipped_bit_costs_one_record_and_is_reported() {
    let disk = FaultyDisk::new(1);
    let (log, _, _) = open(&disk);
    for text in [b"one", b"two", b"six"] {
        log.append(1, text).unwrap();
    }
    let size = usize::try_from(log.bytes()).unwrap();
    for offset in 0..size {
        disk.flip(Path::new("/wal/00000001"), offset, 0x10);
        let (_, found, read) = open(&disk);
        assert!(read.len() >= 2, "at {offset}: {read:?}");
        let is_reported = !found.damages.is_empty() || found.truncated_bytes > 0;
        assert!(is_reported, "at {offset}");
        if found.truncated_bytes > 0 {
            break; // In the last record: it has been cut off.
        }
        disk.flip(Path::new("/wal/00000001"), offset, 0x10);
    }
}

#[test]
fn a_lost_segment_is_reported() {
    let disk = FaultyDisk::new(1);
    let (log, _, _) = open(&disk);
    for i in 1..=50 {
        log.append(1, &payload(i)).unwrap();
    }
    disk.open(Path::new("/wal/00000002")).unwrap().set_size(0).unwrap();
    let (_, found, _) = open(&disk);
    assert!(found.damages.iter().any(|d| d.file.ends_with("00000002")), "{:?}", found.damages);
    // An empty segment is told once and removed.
    assert!(!disk.exists(Path::new("/wal/00000002")));
    let (_, found, _) = open(&disk);
    assert!(found.damages.iter().any(|d| d.reason.contains("missing")), "{:?}", found.damages);
}

/// Appends and syncs with a fault at each call in turn, crashes, and compares with what was promised.
#[test]
fn nothing_that_was_synced_is_lost_whatever_call_fails() {
    for fault in [Fault::Eio, Fault::Enospc, Fault::PowerCut] {
        for call in 1..120 {
            for seed in 0..4 {
                check_fault(fault, call, seed);
            }
        }
    }
}

fn check_fault(fault: Fault, call: u64, seed: u64) {
    let disk = FaultyDisk::new(seed);
    let (log, _, _) = open(&disk);
    disk.fail_call(call, fault);
    let (mut accepted, mut synced) = (Vec::new(), 0);
    for i in 0..40 {
        if let Ok(sequence) = log.append(1, &payload(i)) {
            accepted.push((sequence, payload(i)));
        }
        if i % 5 == 4 && log.sync().is_ok() {
            synced = accepted.len();
        }
    }
    let what = format!("{fault:?} at call {call}, seed {seed}");
    disk.mend();
    if fault != Fault::PowerCut {
        // As after kill -9: everything accepted is there.
        let (_, _, read) = open(&disk);
        assert!(read == accepted, "{what}: {} of {} records", read.len(), accepted.len());
    }
    disk.crash();
    let (_, _, read) = open(&disk);
    assert!(read.len() >= synced, "{what}: {} of {synced} synced records", read.len());
    assert!(read[..synced] == accepted[..synced], "{what}");
    let known = |r: &(u64, Vec<u8>)| accepted.contains(r) || fault == Fault::PowerCut;
    assert!(read.iter().all(known), "{what}: a record that was refused came back");
}

#[test]
fn what_a_start_read_lasts_though_its_sync_fails() {
    for call in 1..5 {
        let disk = FaultyDisk::new(call);
        let log = open(&disk).0;
        log.append(1, b"one").unwrap();
        drop(log);
        disk.fail_call(call, Fault::Eio);
        let opened = Segments::open(disk.shared(), Path::new(FOLDER), options(), &mut |_| Ok(()));
        disk.mend();
        let Ok((log, found)) = opened else { continue };
        assert_eq!(found.damages, [], "call {call}");
        log.sync().unwrap();
        disk.crash();
        assert_eq!(open(&disk).2, [(1, b"one".to_vec())], "call {call}");
    }
}

/// A start cannot read something once; what it takes then must not stand in the way of what the next one reads again.
#[test]
fn what_one_start_cannot_read_the_next_one_has_beside_what_came_between() {
    for call in 1..30 {
        let disk = FaultyDisk::new(call);
        let (log, _, _) = open(&disk);
        for i in 0..40 {
            log.append(0, &payload(i)).unwrap();
        }
        log.sync().unwrap();
        drop(log);
        disk.fail_read(call);
        let opened = Segments::open(disk.shared(), Path::new(FOLDER), options(), &mut |_| Ok(()));
        disk.mend();
        let mut expected: Vec<Vec<u8>> = (0..40).map(payload).collect();
        if let Ok((log, _)) = opened {
            log.append(0, b"later").unwrap();
            log.sync().unwrap();
            expected.push(b"later".to_vec());
        }
        let (_, _, records) = open(&disk);
        let found: Vec<Vec<u8>> = records.into_iter().map(|(_, payload)| payload).collect();
        assert!(found == expected, "call {call}: {} of {}", found.len(), expected.len());
    }
}

#[test]
fn appends_from_many_threads_all_arrive() {
    let disk = FaultyDisk::new(1);
    let log = Arc::new(open(&disk).0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let log = log.clone();
            scope.spawn(move || {
                for i in 0..50 {
                    log.append(1, &payload(i)).unwrap();
                    if i % 7 == 0 {
                        log.sync().unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(open(&disk).2.len(), 200);
}

fn open_covered(disk: &FaultyDisk) -> (Segments, Found, Vec<(u64, Vec<u8>)>) {
    let mut read = Vec::new();
    let options = SegmentsOptions { segment_bytes_max: 1 << 20, is_synced: true, has_parity: true };
    let (log, found) = Segments::open(disk.shared(), Path::new(FOLDER), options, &mut |r| {
        read.push((r.sequence, r.payload.to_vec()));
        Ok(())
    })
    .unwrap();
    (log, found, read)
}

/// Appends records of this size, more or less, until the segment has so many bytes; returns them.
fn fill(log: &Segments, record_bytes: u64, bytes: u64) -> Vec<(u64, Vec<u8>)> {
    let mut written = Vec::new();
    let mut random = 7_u64;
    while log.bytes() < bytes {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let length = record_bytes / 2 + (random >> 33) % record_bytes;
        let payload: Vec<u8> = (0..length).map(|i| low_byte((random >> 20).wrapping_mul(i + 1) >> 7)).collect();
        written.push((log.append(1, &payload).unwrap(), payload));
    }
    written
}

const ONE: &str = "/wal/00000001";

/// Overwrites a stretch of the first segment, reads the log, and puts the stretch back.
fn with_hole(disk: &FaultyDisk, at: usize, length: usize, check: impl FnOnce(Found, Vec<(u64, Vec<u8>)>)) {
    let file = disk.open(Path::new(ONE)).unwrap();
    let size = usize::try_from(file.size().unwrap()).unwrap();
    let length = length.min(size - at);
    let before = file.read_exact_at(0, size).unwrap();
    file.write_at(at as u64, &vec![0; length]).unwrap();
    let (_, found, read) = open_covered(disk);
    check(found, read);
    file.set_size(0).unwrap();
    file.write_at(0, &before).unwrap();
}

#[test]
fn a_flipped_byte_in_what_parity_covers_costs_nothing() {
    for (record_bytes, bytes) in [(60, 9_000), (2_000, 200_000), (30_000, 300_000)] {
        let disk = FaultyDisk::new(1);
        let log = open_covered(&disk).0;
        let written = fill(&log, record_bytes, bytes);
        let _ = log.rotate();
        let size = usize::try_from(log.bytes()).unwrap();
        let step = (size / 150) | 1;
        for at in (0..size).step_by(step).chain(0..60).chain(size - 60..size) {
            disk.flip(Path::new(ONE), at, 0x41);
            let (_, found, read) = open_covered(&disk);
            assert!(read == written, "at {at} of {size}: {} of {}", read.len(), written.len());
            assert!(found.mended == 1 || at > size - 5_000, "at {at} of {size}: {found:?}");
            assert!(found.mended == 1 || !found.damages.is_empty() || found.truncated_bytes > 0, "at {at}");
            if found.mended == 0 {
                break; // In the last parity: it may have been cut off.
            }
            assert_eq!(open_covered(&disk).1.damages, [], "the file has been made good");
        }
    }
}

#[test]
fn a_hole_of_a_page_costs_nothing_but_what_lies_in_it() {
    for (record_bytes, bytes) in [(60, 100_000), (2_000, 240_000)] {
        let disk = FaultyDisk::new(1);
        let log = open_covered(&disk).0;
        let written = fill(&log, record_bytes, bytes);
        let _ = log.rotate();
        let size = usize::try_from(log.bytes()).unwrap();
        for at in (0..size).step_by(size / 61).chain(size - 9_400..size).step_by(97) {
            with_hole(&disk, at, 4096, |found, read| {
                if at < size - 14_000 {
                    assert!(read == written, "at {at} of {size}: {} of {}", read.len(), written.len());
                } else {
                    // The end of the last group and its parity stand side by side.
                    let lost = written.iter().filter(|r| !read.contains(r)).count() as u64;
                    assert!(lost <= 4096 / (record_bytes / 2) + 2, "at {at} of {size}: {lost} lost");
                    assert!(read.iter().all(|r| written.contains(r)), "at {at}");
                }
                assert!(!found.damages.is_empty() || found.truncated_bytes > 0 || read == written, "at {at}");
            });
        }
    }
}

#[test]
fn what_parity_does_not_cover_yet_costs_one_record() {
    let disk = FaultyDisk::new(1);
    let log = open_covered(&disk).0;
    let written = fill(&log, 300, 20_000);
    assert_eq!(log.groups().covered, 0);
    let size = usize::try_from(log.bytes()).unwrap();
    for at in (100..size - 600).step_by(331) {
        disk.flip(Path::new(ONE), at, 0x41);
        let (_, found, read) = open_covered(&disk);
        assert_eq!((read.len(), found.damages.len(), found.mended), (written.len() - 1, 1, 0), "at {at}");
        disk.flip(Path::new(ONE), at, 0x41);
    }
}

#[test]
fn groups_are_covered_as_the_log_grows() {
    let disk = FaultyDisk::new(1);
    let log = open_covered(&disk).0;
    let mut before = log.groups();
    for _ in 0..2_000 {
        log.append(1, &[7; 300]).unwrap();
        let groups = log.groups();
        assert!(groups.covered <= groups.current && groups.current <= groups.covered + 2, "{groups:?}");
        assert!(groups.current >= before.current && groups.covered >= before.covered);
        before = groups;
    }
    assert!(before.covered >= 8, "{before:?}");
}

/// Appends as many records as make three megabytes; returns the bytes of the log.
fn bytes_of(payload_bytes: usize, has_parity: bool) -> f64 {
    let options = SegmentsOptions { segment_bytes_max: u64::MAX, is_synced: false, has_parity };
    let disk = FaultyDisk::new(1).shared();
    let (log, _) = Segments::open(disk, Path::new(FOLDER), options, &mut |_| Ok(())).unwrap();
    for _ in 0..3_000_000 / payload_bytes {
        log.append(1, &vec![7; payload_bytes]).unwrap();
    }
    log.bytes() as f64
}

#[test]
fn parity_adds_at_most_a_fifteenth() {
    // A group ends with the record that fills it: the longer the records, the larger the groups.
    for (payload_bytes, expected) in [(60, 1.066), (300, 1.066), (1_000, 1.066), (30_000, 1.051)] {
        let share = bytes_of(payload_bytes, true) / bytes_of(payload_bytes, false);
        assert!((share - expected).abs() < 0.0015, "{share} with records of {payload_bytes} bytes");
    }
}

#[test]
fn parity_survives_whatever_call_fails() {
    for fault in [Fault::Eio, Fault::Enospc, Fault::PowerCut] {
        for call in 1..90 {
            let disk = FaultyDisk::new(call);
            let log = open_covered(&disk).0;
            disk.fail_call(call, fault);
            let (mut accepted, mut synced) = (Vec::new(), 0);
            for i in 0..60_u64 {
                let payload = vec![low_byte(i); 3_000 + usize::try_from(i).unwrap()];
                if let Ok(sequence) = log.append(1, &payload) {
                    accepted.push((sequence, payload));
                }
                if i % 20 == 19 && log.sync().is_ok() {
                    synced = accepted.len();
                }
            }
            let _ = log.rotate();
            let what = format!("{fault:?} at call {call}");
            disk.mend();
            if fault != Fault::PowerCut {
                assert!(open_covered(&disk).2 == accepted, "{what}");
            }
            disk.crash();
            let read = open_covered(&disk).2;
            assert!(read.len() >= synced && read[..synced] == accepted[..synced], "{what}: {} of {synced}", read.len());
        }
    }
}
